//! clone3(2) with a pidfd from the start.
//!
//! The child gets a copy of the memory, as with fork(2). Sharing it until execve(2), as posix_spawn(3) does, saves some
//! 30 us per MiB of the parent (musher's processes have few), but it stops the calling thread without a deadline if the
//! program lies on a file system that hangs, and lets a child that has just become another user sit in our memory.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::pid::Pid;
use crate::sys::child::{self, Image};

/// `CLONE_INTO_CGROUP` of linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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

/// Makes a process that becomes what `image` says, and returns its number and pidfd. Whether the program could be
/// executed comes later, over the pipe.
///
/// With a cgroup the child is born in it; where the system refuses that (no clone3 in the sandbox, no permission,
/// the cgroup is gone), it is made as usual and tries to move itself.
pub(crate) fn clone(image: &Image) -> io::Result<(Pid, OwnedFd)> {
    // No handler of ours (tokio's writes into a pipe that the child shares with us) may run in the child before it has
    // reset its dispositions.
    let mask = block_all_signals()?;
    let result = clone_blocked(image);
    set_signal_mask(mask);
    result
}

fn clone_blocked(image: &Image) -> io::Result<(Pid, OwnedFd)> {
    if let Some(cgroup) = image.cgroup {
        match clone3(image, Some(cgroup)) {
            Ok(child) => return Ok(child),
            // These would fail without a cgroup, too.
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE)) =>
            {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    match clone3(image, None) {
        // The default sandbox of Docker answers ENOSYS to clone3, since it cannot look into its arguments.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => clone2(image),
        result => result,
    }
}

fn clone3(image: &Image, cgroup: Option<RawFd>) -> io::Result<(Pid, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let args = CloneArgs {
        flags: libc::CLONE_PIDFD as u64 | if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.map_or(0, |fd| fd as u64),
        ..CloneArgs::default()
    };
    // SAFETY: `args` has the layout and size that it says. Without CLONE_VM and without a stack this is fork(2): the
    // child goes on here in its own copy of the memory, and does nothing but `child::run`, which never returns.
    let result = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of::<CloneArgs>()) };
    after(result, image, cgroup.is_none(), pidfd)
}

/// The older call, with the same meaning.
fn clone2(image: &Image) -> io::Result<(Pid, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let flags = (libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
    // SAFETY: as above. The third argument is where CLONE_PIDFD stores, on all 64-bit architectures but s390, which
    // swaps only the first two; the others are unused.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, ptr::from_mut(&mut pidfd), 0_usize, 0_usize) };
    after(result, image, true, pidfd)
}

/// Both ways out of the call.
fn after(result: i64, image: &Image, join_cgroup: bool, pidfd: RawFd) -> io::Result<(Pid, OwnedFd)> {
    if result == 0 {
        child::run(image, join_cgroup);
    }
    match i32::try_from(result).ok().and_then(Pid::from_raw) {
        // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
        Some(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        None => Err(io::Error::last_os_error()),
    }
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
    use std::time::Duration;

    use super::*;
    use crate::cgroup::Cgroups;
    use crate::exit::{self, ExitStatus};
    use crate::sys::child::{Group, StringArray};

    /// The output of `cat /proc/self/cgroup`, or of another file.
    fn run(file: &str, cgroup: Option<RawFd>, way: impl Fn(&Image) -> io::Result<(Pid, OwnedFd)>) -> String {
        let strings = |texts: &[&str]| texts.iter().map(|text| CString::new(*text).unwrap()).collect();
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (_report, reporting) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let image = Image {
            program: c"/bin/cat".to_owned(),
            args: StringArray::new(strings(&["cat", file]), Vec::new()),
            env: StringArray::new(vec![], Vec::new()),
            cwd: c"/".to_owned(),
            fds: vec![(writing.as_raw_fd(), 1)],
            group: Group::Own,
            limits: vec![],
            nice: None,
            identity: None,
            cgroup,
            gate: None,
            report: reporting.as_raw_fd(),
        };
        let (_, pidfd) = way(&image).unwrap();
        drop(writing);
        let mut text = String::new();
        File::from(reading).read_to_string(&mut text).unwrap();
        assert!(exit::wait_for_end(pidfd.as_fd(), Duration::from_secs(30)).unwrap());
        assert_eq!(exit::reap(pidfd.as_fd()).unwrap(), Some(ExitStatus::Code(0)));
        text
    }

    #[test]
    fn without_clone3() {
        let text = run("/proc/self/status", None, clone2);
        assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
    }

    #[test]
    fn into_a_cgroup_by_hand() {
        let Some(cgroups) = Cgroups::open(&format!("test-{}-by-hand", std::process::id())) else { return };
        let directory = cgroups.create("1").unwrap();
        for way in [clone2, |image: &Image| clone3(image, None), clone_blocked] {
            let text = run("/proc/self/cgroup", Some(directory.as_raw_fd()), way);
            assert!(text.contains("/run.1\n"), "{text}");
        }
        cgroups.clean();
    }
}
