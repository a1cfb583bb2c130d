//! Descriptors as events of tokio.

use std::io;
use std::os::fd::OwnedFd;

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
