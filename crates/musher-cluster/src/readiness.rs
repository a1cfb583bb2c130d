//! Descriptors as events of tokio.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use musher_process::{ExitStatus, exit, reap};
use tokio::io::unix::AsyncFd;

/// Watches a descriptor. To be called inside the runtime.
///
/// # Errors
///
/// When the runtime cannot watch it, for want of memory or because it is of a kind that epoll(7) refuses.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(deprecated, reason = "unsound only for types whose descriptor can change; an OwnedFd's cannot")]
    AsyncFd::new(fd)
}

/// Waits for the end of a child and reaps it.
///
/// # Errors
///
/// It cannot be watched.
pub(crate) async fn end_of(pidfd: OwnedFd) -> io::Result<ExitStatus> {
    let pidfd = watch(pidfd)?;
    loop {
        // A pidfd is readable when its process has ended (pidfd_open(2)).
        let mut ready = pidfd.readable().await?;
        if exit::has_ended(pidfd.get_ref().as_fd())? {
            return Ok(reap(pidfd.get_ref().as_fd())?.unwrap_or(ExitStatus::Unknown));
        }
        ready.clear_ready();
    }
}
