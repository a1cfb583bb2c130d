//! clone3(2) with a pidfd from the start.
//!
//! The child shares our memory until execve(2), as with posix_spawn(3): a copy costs some 30 us per MiB of the parent. But
//! this thread is not stopped by the kernel (CLONE_VFORK), which knows no deadline: a program on a file system that hangs
//! would keep it for ever. It waits for the word that the kernel clears when the child has left the memory
//! (CLONE_CHILD_CLEARTID), and gives up in time; what the child may still use then stays allocated.
//!
//! A child that becomes another user gets a copy, as with fork(2): another user must not sit in our memory.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::pid::Pid;
use crate::sys::child::{self, Image, Report, Reporting};
use crate::sys::raw;

/// `CLONE_INTO_CGROUP` of linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// What a child does before it executes its program needs a tenth of that, also without optimization.
const STACK: usize = 64 << 10;

/// `struct clone_args` of linux/sched.h.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A process on its way to its program, and all that it needs of our memory meanwhile.
pub(crate) struct Birth {
    /// From a box. A pointer, since a box would be ours alone.
    all: NonNull<Cradle>,
}

/// What the child uses.
struct Cradle {
    image: Image,
    /// Not zero while a child is in our memory.
    inside: AtomicU32,
    /// Empty if the child has a copy.
    stack: Vec<u128>,
}

impl Birth {
    /// Of a process that is to become what `image` says.
    pub(crate) fn new(image: Image) -> Birth {
        let shares = matches!(image.report, Reporting::Memory(_));
        let stack = Vec::with_capacity(if shares { STACK / size_of::<u128>() } else { 0 });
        Birth { all: NonNull::from(Box::leak(Box::new(Cradle { image, inside: AtomicU32::new(0), stack }))) }
    }

    /// Makes the process, once, and returns its number and pidfd. Whether the program could be executed comes later.
    ///
    /// With a cgroup the child is born in it; where the system refuses that (no clone3 in the sandbox, no permission,
    /// the cgroup is gone), it is made as usual and tries to move itself.
    pub(crate) fn begin(&self) -> io::Result<(Pid, OwnedFd)> {
        // No handler of ours (tokio's writes into a pipe that the child shares with us) may run in the child before it has
        // reset its dispositions.
        let mask = block_all_signals()?;
        let result = self.all().clone_blocked();
        set_signal_mask(mask);
        result
    }

    pub(crate) fn image(&self) -> &Image {
        &self.all().image
    }

    /// Waits until the child is out of our memory. `None`: it takes too long. A child that has its own copy never was in it.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Option<Report>> {
        let deadline = Instant::now() + patience;
        while self.is_inside() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            futex_wait(&self.all().inside, left);
        }
        match &self.all().image.report {
            Reporting::Memory(told) => Some(told.report()),
            Reporting::Pipe(_) => Some(None),
        }
    }

    fn all(&self) -> &Cradle {
        // SAFETY: from a box that only `drop` gives back. The child changes nothing in it but cells and atomics.
        unsafe { self.all.as_ref() }
    }

    fn is_inside(&self) -> bool {
        self.all().inside.load(Ordering::Acquire) != 0
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        // What a child may still use is not given back: it waits for a file system, or for SIGKILL to be delivered.
        if !self.is_inside() {
            // SAFETY: it came from a box, and nobody else uses it any more.
            drop(unsafe { Box::from_raw(self.all.as_ptr()) });
        }
    }
}

impl Cradle {
    fn clone_blocked(&self) -> io::Result<(Pid, OwnedFd)> {
        if let Some(cgroup) = self.image.cgroup {
            match self.clone3(Some(cgroup)) {
                Ok(child) => return Ok(child),
                // These would fail without a cgroup, too.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE)
                    ) =>
                {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        match self.clone3(None) {
            // The default sandbox of Docker answers ENOSYS to clone3, since it cannot look into its arguments.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => self.clone2(),
            result => result,
        }
    }

    fn shares(&self) -> bool {
        matches!(self.image.report, Reporting::Memory(_))
    }

    /// The flags of both calls, and where the stack is, if it is ours to give.
    fn flags(&self) -> (u64, usize) {
        match self.shares() {
            true => {
                ((libc::CLONE_PIDFD | libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID) as u64, self.stack.as_ptr() as usize)
            }
            false => (libc::CLONE_PIDFD as u64, 0),
        }
    }

    fn clone3(&self, cgroup: Option<RawFd>) -> io::Result<(Pid, OwnedFd)> {
        let pidfd = Cell::new(-1);
        let (flags, stack) = self.flags();
        let args = CloneArgs {
            flags: flags | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
            pidfd: pidfd.as_ptr() as u64,
            exit_signal: libc::SIGCHLD as u64,
            child_tid: self.inside.as_ptr() as u64,
            stack: stack as u64,
            stack_size: (self.stack.capacity() * size_of::<u128>()) as u64,
            cgroup: cgroup.map_or(0, |fd| fd as u64),
            ..CloneArgs::default()
        };
        // The layout and size that it says.
        let args = [ptr::from_ref(&args) as usize, size_of::<CloneArgs>(), 0, 0, 0];
        self.make(libc::SYS_clone3, args, cgroup.is_none(), &pidfd)
    }

    /// The older call, with the same meaning.
    fn clone2(&self) -> io::Result<(Pid, OwnedFd)> {
        let pidfd = Cell::new(-1);
        let (flags, stack) = self.flags();
        let top = stack + self.stack.capacity() * size_of::<u128>();
        let (store, inside) = (pidfd.as_ptr() as usize, self.inside.as_ptr() as usize);
        // The third argument is where CLONE_PIDFD stores, on all 64-bit architectures but s390, which swaps only the first
        // two. x86 swaps the last two, of which one is unused.
        let (fourth, fifth) = if cfg!(target_arch = "x86_64") { (inside, 0) } else { (0, inside) };
        let args = [flags as usize | libc::SIGCHLD as usize, top, store, fourth, fifth];
        self.make(libc::SYS_clone, args, true, &pidfd)
    }

    fn make(
        &self,
        number: libc::c_long,
        args: [usize; 5],
        join_cgroup: bool,
        pidfd: &Cell<RawFd>,
    ) -> io::Result<(Pid, OwnedFd)> {
        let result = if self.shares() {
            let start: raw::Entry = if join_cgroup { start_and_join } else { start };
            self.inside.store(1, Ordering::Release);
            // SAFETY: the stack is aligned and nobody else's, as is everything that the image points to, and both live until
            // the kernel has cleared `inside` (see Birth's drop). The child does nothing but `child::run`.
            let result = unsafe { raw::call_with_child(number, args, start, ptr::from_ref(&self.image).cast()) };
            if result < 0 {
                self.inside.store(0, Ordering::Release);
            }
            result
        } else {
            // SAFETY: without CLONE_VM and without a stack this is fork(2): the child goes on here in its own copy of the
            // memory, and does nothing but `child::run`, which never returns.
            let result = unsafe { raw::call(number, args) };
            if result == 0 {
                child::run(&self.image, join_cgroup);
            }
            result
        };
        match i32::try_from(result).ok().and_then(Pid::from_raw) {
            // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
            Some(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd.get()) })),
            None => Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL))),
        }
    }
}

/// Where a child in our memory begins.
unsafe extern "C" fn start(image: *const c_void) -> ! {
    // SAFETY: `make` passes the address of an image that lives for as long as the child needs it.
    child::run(unsafe { &*image.cast::<Image>() }, false)
}

/// The same for one that is not born in its cgroup.
unsafe extern "C" fn start_and_join(image: *const c_void) -> ! {
    // SAFETY: as above.
    child::run(unsafe { &*image.cast::<Image>() }, true)
}

/// Sleeps until the kernel says that the word has changed, or the time is over, or for no reason.
fn futex_wait(word: &AtomicU32, most: Duration) {
    let time = libc::timespec { tv_sec: most.as_secs().cast_signed(), tv_nsec: i64::from(most.subsec_nanos()) };
    // SAFETY: both addresses live for the call. Not "private": neither is the kernel's wake (set_tid_address(2)).
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 1, ptr::from_ref(&time), 0, 0) };
}

/// Blocks all signals of the calling thread, also those that the C library keeps for itself, and returns the old mask.
fn block_all_signals() -> io::Result<u64> {
    let (all, mut old) = (u64::MAX, 0_u64);
    // SAFETY: both addresses are of 8 bytes, the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(&all),
            ptr::from_mut(&mut old),
            size_of::<u64>(),
        )
    };
    if result == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

fn set_signal_mask(mask: u64) {
    // SAFETY: as above; a null address for what is not wanted. Cannot fail with these arguments.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(&mask),
            ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// The ways that this kernel does not need: what old kernels and sandboxes make of a spawn.
#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::cgroup::Cgroups;
    use crate::exit::{self, ExitStatus};
    use crate::sys::child::{Group, StringArray, Told};

    type Way = fn(&Cradle) -> io::Result<(Pid, OwnedFd)>;

    fn strings(texts: &[&str]) -> StringArray {
        StringArray::new(texts.iter().map(|text| CString::new(*text).unwrap()).collect(), Vec::new())
    }

    fn image(args: &[&str], report: Reporting) -> Image {
        Image {
            program: CString::new(args[0]).unwrap(),
            args: strings(args),
            shell_args: None,
            env: strings(&[]),
            cwd: c"/".to_owned(),
            fds: vec![],
            group: Group::Own,
            limits: vec![],
            nice: None,
            identity: None,
            cgroup: None,
            gate: None,
            report,
        }
    }

    /// The output of `cat` of a file, by a child in our memory and by one with a copy.
    fn run(file: &str, cgroup: Option<RawFd>, way: Way) -> [String; 2] {
        [true, false].map(|shares| {
            let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            let (_report, reporting) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            let report = match shares {
                true => Reporting::Memory(Told::default()),
                false => Reporting::Pipe(reporting.as_raw_fd()),
            };
            let fds = vec![(writing.as_raw_fd(), 1)];
            let birth = Birth::new(Image { fds, cgroup, ..image(&["/bin/cat", file], report) });
            let (_, pidfd) = way(birth.all()).unwrap();
            drop(writing);
            assert_eq!(birth.wait(Duration::from_secs(30)), Some(None));
            let mut text = String::new();
            File::from(reading).read_to_string(&mut text).unwrap();
            assert!(exit::wait_for_end(pidfd.as_fd(), Duration::from_secs(30)).unwrap());
            assert_eq!(exit::reap(pidfd.as_fd()).unwrap(), Some(ExitStatus::Code(0)));
            text
        })
    }

    #[test]
    fn without_clone3() {
        for text in run("/proc/self/status", None, Cradle::clone2) {
            assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
            assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
        }
    }

    #[test]
    fn into_a_cgroup_by_hand() {
        let Some(cgroups) = Cgroups::open(&format!("test-{}-by-hand", std::process::id())) else { return };
        let directory = cgroups.create("1").unwrap();
        let by_hand: Way = |cradle| cradle.clone3(None);
        for way in [Cradle::clone2 as Way, by_hand, Cradle::clone_blocked] {
            for text in run("/proc/self/cgroup", Some(directory.as_raw_fd()), way) {
                assert!(text.contains("/run.1\n"), "{text}");
            }
        }
        cgroups.clean();
    }

    #[test]
    fn a_child_that_is_held_up_in_our_memory_is_waited_for_no_longer_than_said() {
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let gate = Some((reading.as_raw_fd(), writing.as_raw_fd()));
        let birth = Birth::new(Image { gate, ..image(&["/bin/true"], Reporting::Memory(Told::default())) });
        let (_, pidfd) = birth.begin().unwrap();
        assert_eq!(birth.wait(Duration::from_millis(20)), None);
        drop(writing);
        // Nobody opened the gate, and nobody can any more.
        assert_eq!(birth.wait(Duration::from_secs(30)), Some(None));
        assert!(exit::wait_for_end(pidfd.as_fd(), Duration::from_secs(30)).unwrap());
        assert_eq!(exit::reap(pidfd.as_fd()).unwrap(), Some(ExitStatus::Code(child::NOT_EXECUTED)));
    }
}
