//! Calls on a pidfd that rustix does not offer: any signal number, and the exit status of somebody else's child.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `PIDFD_INFO_EXIT` of linux/pidfd.h: ask for, and say that there is, an exit code (Linux 6.15).
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` of linux/pidfd.h in its first published size, which every kernel that knows the call accepts.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, and real, effective, saved and file system uid and gid.
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)` of asm-generic/ioctl.h.
const PIDFD_GET_INFO: u32 = (3 << 30) | ((size_of::<PidfdInfo>() as u32) << 16) | (0xff << 8) | 11;

/// pidfd_send_signal(2) with any number, also 0 (only check) and real-time signals.
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers and a null `siginfo_t` pointer, which the kernel allows. It touches no memory.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `PIDFD_GET_INFO`: the status, as wait(2) gives it, of a process that somebody has reaped. `None` before that. An old
/// kernel answers with `ENOTTY` or `EINVAL`; one that has not kept it with `ESRCH`.
pub(crate) fn kept_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request number encodes the size of `info`, so the kernel writes within it; every bit pattern of its
    // integer fields is valid.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}
