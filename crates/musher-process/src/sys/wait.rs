//! wait4(2): rustix's wait functions do not give the resources that the child used.

use std::io;

/// The pid, wait status and largest resident memory (in KiB) of a child that has ended, which is reaped by this. None
/// when none has ended, or there is none.
pub(crate) fn wait_any() -> io::Result<Option<(i32, i32, i64)>> {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some((pid, status, usage.ru_maxrss))),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        },
    }
}
