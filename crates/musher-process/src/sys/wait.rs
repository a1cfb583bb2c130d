//! waitid(2) and wait4(2): rustix's wait functions do not give the resources that the child used.

use std::io;

/// A child that has ended and was not reaped.
pub(crate) struct Ended {
    pub(crate) pid: i32,
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub(crate) code: i32,
    /// Its exit code or signal.
    pub(crate) status: i32,
    /// Its largest resident memory, in KiB.
    pub(crate) peak_kib: i64,
}

/// A child that has ended, which stays what it is: the same one is given until it is [`reap`]ed. None when none has
/// ended, or there is none.
pub(crate) fn peek_any() -> io::Result<Option<Ended>> {
    // SAFETY: siginfo_t is plain data, for which zeroes are valid; a pid of 0 then means that nothing was found.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: rusage is plain integers, for which zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // The system call has an argument for the resources, the C library's function has not.
    // SAFETY: both pointers are to live values of the right types.
    let result = unsafe { libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, &raw mut info, options, &raw mut usage) };
    if result != 0 {
        return match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        };
    }
    // SAFETY: waitid fills in the fields of SIGCHLD, or leaves the zeroes.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid > 0).then_some(Ended { pid, code: info.si_code, status, peak_kib: usage.ru_maxrss }))
}

/// Takes away a child that has ended: its number may have a new owner then.
pub(crate) fn reap(pid: i32) -> io::Result<()> {
    // SAFETY: no pointer is given.
    let result = unsafe { libc::wait4(pid, std::ptr::null_mut(), libc::WNOHANG, std::ptr::null_mut()) };
    if result == pid { Ok(()) } else { Err(io::Error::last_os_error()) }
}
