//! What the new process does between clone3(2) and execve(2).
//!
//! The child is one thread of a program with many, in a copy of its memory or in the very same: any lock of the C library or
//! the allocator may be held for ever, and the variables of the thread are somebody else's. So everything is laid out in
//! an [`Image`] before, and the child makes only system calls: no allocation, no panic, no function of the C library, no
//! `errno`. It writes to nothing but its own stack, [`Told`] and [`PidVariable`].

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_long};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::raw;

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "musher-process is written for 64-bit Linux: 32-bit system calls have other names for setresuid and more"
);

/// Signals that Linux has.
const SIGNALS: c_long = 64;
/// Size of the kernel's `sigset_t`.
const SIGSET_BYTES: usize = 8;
/// The highest descriptor that is looked at where close_range(2) is not allowed.
const CLOSE_WITHOUT_RANGE: RawFd = 65_536;

/// What runs a text without a `#!` line.
pub(crate) const SHELL: &CStr = c"/bin/sh";

/// The exit code of a child that executed nothing: 127, as of a shell that finds no program. Only
/// [`Spawn::spawn_known`](crate::Spawn::spawn_known) leaves such a child.
pub const NOT_EXECUTED: i32 = 127;

/// Where the child failed. Sent over the report pipe as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    /// setsid or setpgid.
    Session = 1,
    /// dup3 to the number at this index of the list.
    Descriptor,
    /// prlimit64 of the limit at this index.
    Limit,
    /// setpriority.
    Nice,
    /// setgroups.
    Groups,
    /// setresgid.
    Group,
    /// setresuid.
    User,
    /// The identity after all that is not what was asked for.
    Verify,
    /// chdir.
    WorkingDirectory,
    /// execve.
    Execute,
}

impl Step {
    const ALL: [Step; 10] = [
        Step::Session,
        Step::Descriptor,
        Step::Limit,
        Step::Nice,
        Step::Groups,
        Step::Group,
        Step::User,
        Step::Verify,
        Step::WorkingDirectory,
        Step::Execute,
    ];
}

/// How the child says that it failed.
pub(crate) enum Reporting {
    /// It has its own copy of the memory: over this pipe.
    Pipe(RawFd),
    /// It shares ours: in this place.
    Memory(Told),
}

/// A report in shared memory.
#[derive(Default)]
pub(crate) struct Told {
    step: AtomicU32,
    index: AtomicU32,
    errno: AtomicU32,
}

impl Told {
    fn tell(&self, report: Report) {
        self.index.store(report.index as u32, Ordering::Relaxed);
        self.errno.store(report.errno.cast_unsigned(), Ordering::Relaxed);
        self.step.store(report.step as u32, Ordering::Release);
    }

    /// What was told, when the child is out of the memory.
    pub(crate) fn report(&self) -> Option<Report> {
        let step = self.step.load(Ordering::Acquire);
        let step = Step::ALL.into_iter().find(|known| *known as u32 == step)?;
        let errno = self.errno.load(Ordering::Relaxed).cast_signed();
        Some(Report { step, index: self.index.load(Ordering::Relaxed) as usize, errno })
    }
}

/// What the child says before it ends without having executed the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) step: Step,
    /// Which descriptor or limit.
    pub(crate) index: usize,
    pub(crate) errno: i32,
}

impl Report {
    /// Length on the pipe: one write, well below PIPE_BUF.
    pub(crate) const LEN: usize = 12;

    pub(crate) fn from_bytes(bytes: [u8; Report::LEN]) -> Option<Report> {
        let number = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let step = Step::ALL.into_iter().find(|step| *step as u32 == number(0))?;
        Some(Report { step, index: number(4) as usize, errno: number(8).cast_signed() })
    }
}

/// A variable like `LISTEN_PID` with room for a number that only the child knows. Cells, since the child writes into what
/// the array of pointers also points to.
pub(crate) struct PidVariable {
    text: Box<[Cell<u8>]>,
    /// Where the number begins.
    value: usize,
}

impl PidVariable {
    /// The longest decimal pid.
    const DIGITS: usize = 10;

    pub(crate) fn new(name: &str) -> PidVariable {
        let value_and_end = [0; PidVariable::DIGITS + 1];
        let text = name.bytes().chain([b'=']).chain(value_and_end).map(Cell::new).collect();
        PidVariable { text, value: name.len() + 1 }
    }

    /// Writes the number of the calling process: the number in its own pid namespace, which is what the program sees.
    fn set_own_pid(&self) {
        let Ok(mut rest) = call(libc::SYS_getpid, [0; 5]) else { return };
        let digits = rest.checked_ilog10().map_or(1, |log| log as usize + 1);
        for cell in self.text.iter().skip(self.value).take(digits.min(PidVariable::DIGITS)).rev() {
            cell.set(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
    }
}

/// Strings and the null-terminated array of pointers to them, as execve(2) wants it.
pub(crate) struct StringArray {
    /// Owns what `pointers` points to. Moving a `CString` does not move its bytes.
    strings: Vec<CString>,
    pids: Vec<PidVariable>,
    pointers: Vec<*const c_char>,
}

impl StringArray {
    pub(crate) fn new(strings: Vec<CString>, pids: Vec<PidVariable>) -> StringArray {
        let last = pids.iter().map(|variable| variable.text.as_ptr().cast::<c_char>());
        let pointers = strings.iter().map(|string| string.as_ptr()).chain(last).chain([ptr::null()]).collect();
        StringArray { strings, pids, pointers }
    }

    /// What it needs on the new program's stack, pointers included.
    pub(crate) fn size(&self) -> usize {
        self.strings.iter().map(|string| string.as_bytes_with_nul().len() + size_of::<usize>()).sum()
    }
}

/// A user as numbers.
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// `struct rlimit64`.
#[repr(C)]
pub(crate) struct Limit {
    pub(crate) current: u64,
    pub(crate) maximum: u64,
}

/// The process group of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Its own, in a session of its own.
    Session,
    /// Its own, in our session.
    Own,
    /// Ours.
    #[cfg(feature = "tokio")]
    Parents,
}

/// All that the child needs, complete before it exists.
pub(crate) struct Image {
    pub(crate) program: CString,
    pub(crate) args: StringArray,
    /// What a shell is executed with if the program is a text without a `#!` line; `None`: it is not.
    pub(crate) shell_args: Option<StringArray>,
    pub(crate) env: StringArray,
    pub(crate) cwd: CString,
    /// From, to. No "from" is the number of a "to", and the pipe and cgroup descriptors are neither.
    pub(crate) fds: Vec<(RawFd, RawFd)>,
    pub(crate) group: Group,
    pub(crate) limits: Vec<(u32, Limit)>,
    pub(crate) nice: Option<i32>,
    pub(crate) identity: Option<Identity>,
    /// A cgroup directory.
    pub(crate) cgroup: Option<RawFd>,
    /// Both ends of a pipe: the program is executed when a byte comes, and never if the pipe is closed without one.
    pub(crate) gate: Option<(RawFd, RawFd)>,
    pub(crate) report: Reporting,
}

/// A failed system call's errno.
type Errno = i32;

/// One system call. Every argument is a number or an address as a number.
fn call(number: c_long, args: [usize; 5]) -> Result<usize, Errno> {
    // SAFETY: the callers in this file pass addresses only of memory that outlives the call and has the size that the call
    // expects.
    let result = unsafe { raw::call(number, args) };
    if result >= 0 { Ok(result.cast_unsigned()) } else { Err((-result) as Errno) }
}

/// A descriptor or other small number, sign-extended as the kernel takes it.
fn word(number: i32) -> usize {
    number as isize as usize
}

/// Runs in the child. Never returns: the program is executed or the process ends.
pub(crate) fn run(image: &Image, join_cgroup: bool) -> ! {
    let report = match prepare_and_execute(image, join_cgroup) {
        Ok(never) => match never {},
        Err(report) => report,
    };
    match &image.report {
        Reporting::Pipe(pipe) => {
            let fields = [report.step as u32, report.index as u32, report.errno.cast_unsigned()];
            let _ = call(libc::SYS_write, [word(*pipe), fields.as_ptr() as usize, Report::LEN, 0, 0]);
        }
        Reporting::Memory(told) => told.tell(report),
    }
    end()
}

/// The end of a process that executed nothing.
fn end() -> ! {
    loop {
        let _ = call(libc::SYS_exit_group, [NOT_EXECUTED as usize, 0, 0, 0, 0]);
    }
}

/// Waits for the byte that means that whoever has to know of this process does. Without it the parent is dead.
fn pass_gate(reading: RawFd, writing: RawFd) {
    // Our own copy would keep the pipe open for ever.
    let _ = call(libc::SYS_close, [word(writing), 0, 0, 0, 0]);
    let byte = Cell::new(0_u8);
    loop {
        match call(libc::SYS_read, [word(reading), byte.as_ptr() as usize, 1, 0, 0]) {
            Ok(1) => return,
            Err(libc::EINTR) => {}
            Ok(_) | Err(_) => end(),
        }
    }
}

fn prepare_and_execute(image: &Image, join_cgroup: bool) -> Result<std::convert::Infallible, Report> {
    let failed = |step: Step, index: usize| move |errno: Errno| Report { step, index, errno };
    reset_dispositions();
    match image.group {
        Group::Session => call(libc::SYS_setsid, [0; 5]),
        Group::Own => call(libc::SYS_setpgid, [0; 5]),
        #[cfg(feature = "tokio")]
        Group::Parents => Ok(0),
    }
    .map_err(failed(Step::Session, 0))?;
    if let (true, Some(cgroup)) = (join_cgroup, image.cgroup) {
        enter_cgroup(cgroup);
    }
    close_all_on_exec();
    for (index, (from, to)) in image.fds.iter().enumerate() {
        // The duplicate is not close-on-exec.
        call(libc::SYS_dup3, [word(*from), word(*to), 0, 0, 0]).map_err(failed(Step::Descriptor, index))?;
    }
    // After the descriptors: a number may be above the program's limit.
    for (index, (resource, limit)) in image.limits.iter().enumerate() {
        call(libc::SYS_prlimit64, [0, *resource as usize, ptr::from_ref(limit) as usize, 0, 0])
            .map_err(failed(Step::Limit, index))?;
    }
    if let Some(nice) = image.nice {
        call(libc::SYS_setpriority, [libc::PRIO_PROCESS as usize, 0, word(nice), 0, 0])
            .map_err(failed(Step::Nice, 0))?;
    }
    if let Some(identity) = &image.identity {
        become_user(identity)?;
    }
    call(libc::SYS_chdir, [image.cwd.as_ptr() as usize, 0, 0, 0, 0]).map_err(failed(Step::WorkingDirectory, 0))?;
    for variable in &image.env.pids {
        variable.set_own_pid();
    }
    // Last, so that all the rest goes on beside the parent.
    if let Some((reading, writing)) = image.gate {
        pass_gate(reading, writing);
    }
    // Here, and behind the dispositions: a handler of ours must never run in the child, and a core dump of it, where it
    // shares our memory, was one of ours before Linux 5.16.
    unblock_signals();
    let errno = match (execute(&image.program, &image.args, &image.env), &image.shell_args) {
        // As execvp(3) does it.
        (libc::ENOEXEC, Some(args)) => execute(SHELL, args, &image.env),
        (errno, _) => errno,
    };
    Err(Report { step: Step::Execute, index: 0, errno })
}

/// Returns only if the program could not be executed.
fn execute(program: &CStr, args: &StringArray, env: &StringArray) -> Errno {
    let (args, env) = (args.pointers.as_ptr() as usize, env.pointers.as_ptr() as usize);
    match call(libc::SYS_execve, [program.as_ptr() as usize, args, env, 0, 0]) {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

/// Every disposition to the default (execve resets handlers but keeps what is ignored, as Rust does with SIGPIPE).
fn reset_dispositions() {
    // A `struct sigaction` of the kernel with SIG_DFL, no flags and an empty mask is all zeros on every architecture.
    let default_action = [0_u64; 8];
    for signal in 1..=SIGNALS {
        // Fails for SIGKILL and SIGSTOP, which have no other disposition.
        let _ = call(libc::SYS_rt_sigaction, [signal as usize, default_action.as_ptr() as usize, 0, SIGSET_BYTES, 0]);
    }
}

fn unblock_signals() {
    let nothing = 0_u64;
    let mask = ptr::from_ref(&nothing) as usize;
    let _ = call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, mask, 0, SIGSET_BYTES, 0]);
}

/// Moves the child into its cgroup by hand, where clone3 could not. Failure is no error: the tree is also found without.
fn enter_cgroup(cgroup: RawFd) {
    const NAME: &CStr = c"cgroup.procs";
    let flags = word(libc::O_WRONLY | libc::O_CLOEXEC);
    if let Ok(procs) = call(libc::SYS_openat, [word(cgroup), NAME.as_ptr() as usize, flags, 0, 0]) {
        let _ = call(libc::SYS_write, [procs, b"0".as_ptr() as usize, 1, 0, 0]);
        let _ = call(libc::SYS_close, [procs, 0, 0, 0, 0]);
    }
}

/// Marks every descriptor close-on-exec, whatever the rest of the program did.
fn close_all_on_exec() {
    let range = [0, u32::MAX as usize, libc::CLOSE_RANGE_CLOEXEC as usize, 0, 0];
    if call(libc::SYS_close_range, range).is_err() {
        // A sandbox without the call (it is in every kernel that musher supports).
        for fd in 0..CLOSE_WITHOUT_RANGE {
            let _ = call(libc::SYS_fcntl, [word(fd), libc::F_SETFD as usize, libc::FD_CLOEXEC as usize, 0, 0]);
        }
    }
}

/// Groups, group, user: in this order, since each needs a privilege that the last gives up. The plain system calls are
/// for one thread, which is all that there is here; the C library's functions would wait for the other threads.
fn become_user(identity: &Identity) -> Result<(), Report> {
    let failed = |step: Step| move |errno: Errno| Report { step, index: 0, errno };
    let groups = [identity.groups.len(), identity.groups.as_ptr() as usize, 0, 0, 0];
    call(libc::SYS_setgroups, groups).map_err(failed(Step::Groups))?;
    let (uid, gid) = (identity.uid as usize, identity.gid as usize);
    call(libc::SYS_setresgid, [gid, gid, gid, 0, 0]).map_err(failed(Step::Group))?;
    call(libc::SYS_setresuid, [uid, uid, uid, 0, 0]).map_err(failed(Step::User))?;
    let mut now = [[0_u32; 3]; 2];
    for (number, ids) in [libc::SYS_getresuid, libc::SYS_getresgid].into_iter().zip(&mut now) {
        let [real, effective, saved] = ids;
        let addresses = [ptr::from_mut(real), ptr::from_mut(effective), ptr::from_mut(saved)];
        call(number, [addresses[0] as usize, addresses[1] as usize, addresses[2] as usize, 0, 0])
            .map_err(failed(Step::Verify))?;
    }
    if now != [[identity.uid; 3], [identity.gid; 3]] {
        return Err(Report { step: Step::Verify, index: 0, errno: libc::EPERM });
    }
    Ok(())
}
