//! Descriptors, signals and images that a process of musher takes over at its start or hands on by exec.
//!
//! The keeper and the supervisor get descriptors by number; the supervisor can turn itself into the keeper by execve(2),
//! with its descriptors and children. Descriptors that are not named stay behind: all of ours are close-on-exec.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::io::FdFlags;

use crate::sys;

/// Takes the descriptor `number` that this process was started with, and makes it close-on-exec. A second call for the
/// same number fails, and so does one for stdin, stdout and stderr.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    sys::inherit::take(number)
}

/// A duplicate of the descriptor with this number, whatever it is, close-on-exec: to be handed on to a child.
///
/// # Errors
///
/// There is none, or no room for one more.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    sys::inherit::duplicate(number)
}

/// Blocks these signals for this thread and those that it starts, and gives a non-blocking, close-on-exec signalfd(2)
/// that reports them.
pub fn block_signals(signals: &[i32]) -> io::Result<OwnedFd> {
    sys::inherit::signalfd(signals)
}

/// Blocks no signal of this thread any more: a program that was executed by [`exec_file`] begins with what its forerunner
/// had blocked.
pub fn unblock_signals() {
    sys::inherit::unblock_signals();
}

/// The next signal that waits in a descriptor of [`block_signals`].
pub fn next_signal(signalfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    // struct signalfd_siginfo has 128 bytes and begins with ssi_signo.
    let mut record = [0u8; 128];
    loop {
        return match rustix::io::read(signalfd, &mut record) {
            Ok(128) => Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Becomes another program (or another role of this one) with the same pid, children and environment. Only stdin,
/// stdout, stderr and `keep` stay open. Returns only if that fails; then `keep` is close-on-exec again.
pub fn exec_self(args: &[impl AsRef<OsStr>], keep: &[BorrowedFd<'_>]) -> io::Error {
    exec(SELF.as_ref(), args, None, keep)
}

/// As [`exec_self`], with this environment.
pub fn exec_self_in(
    environment: &[(OsString, OsString)],
    args: &[impl AsRef<OsStr>],
    keep: &[BorrowedFd<'_>],
) -> io::Error {
    exec(SELF.as_ref(), args, Some(environment), keep)
}

/// The same with the executable behind a descriptor, whatever became of its path. It must not be a script.
pub fn exec_file(executable: BorrowedFd<'_>, args: &[impl AsRef<OsStr>], keep: &[BorrowedFd<'_>]) -> io::Error {
    exec(format!("/proc/self/fd/{}", executable.as_raw_fd()).as_ref(), args, None, keep)
}

/// The executable that this process runs.
const SELF: &str = "/proc/self/exe";

fn exec(
    program: &OsStr,
    args: &[impl AsRef<OsStr>],
    environment: Option<&[(OsString, OsString)]>,
    keep: &[BorrowedFd<'_>],
) -> io::Error {
    let (program, args, env) = match strings(program, args, environment) {
        Ok(strings) => strings,
        Err(error) => return error.into(),
    };
    let flags = |flags| keep.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, flags));
    if let Err(error) = flags(FdFlags::empty()) {
        return error.into();
    }
    // Not with std: execvp(3) takes what the kernel refuses for a script, and becomes a shell.
    let error = sys::inherit::execve(&program, &args, &env);
    let _ = flags(FdFlags::CLOEXEC);
    error
}

/// Program, arguments and environment as execve(2) wants them.
fn strings(
    program: &OsStr,
    args: &[impl AsRef<OsStr>],
    environment: Option<&[(OsString, OsString)]>,
) -> Result<(CString, Vec<CString>, Vec<CString>), std::ffi::NulError> {
    let variable = |(name, value): (OsString, OsString)| [name, value].join(OsStr::new("="));
    let environment = environment.map_or_else(|| std::env::vars_os().collect(), <[_]>::to_vec);
    Ok((
        CString::new(program.as_bytes())?,
        args.iter().map(|arg| CString::new(arg.as_ref().as_bytes())).collect::<Result<_, _>>()?,
        environment.into_iter().map(|pair| CString::new(variable(pair).into_vec())).collect::<Result<_, _>>()?,
    ))
}
