//! The receiving end of sd_notify(3).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::pid::Pid;

/// The longest notification that is read.
pub const MAX_NOTIFICATION: usize = 4096;

/// A datagram socket with an abstract name (nothing in the file system; it ends with its last descriptor).
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
}

/// One datagram of sd_notify(3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Who sent it, as the kernel says; `None` from outside of our pid namespace.
    pub pid: Option<Pid>,
    /// The sender's user.
    pub uid: u32,
    /// The assignments, like `READY=1`. Lines without `=` are left out.
    pub fields: Vec<(String, String)>,
}

impl NotifySocket {
    /// Binds a new name. Non-blocking, close-on-exec.
    pub fn bind() -> io::Result<NotifySocket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes a socket that [`NotifySocket::bind`] made in another process.
    pub fn from_fd(fd: OwnedFd) -> io::Result<NotifySocket> {
        Ok(NotifySocket { fd })
    }

    /// The value for `NOTIFY_SOCKET`: `@` and the name.
    pub fn address(&self) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The next notification; `None` if none waits. What is longer than [`MAX_NOTIFICATION`] is dropped.
    /// Descriptors that came with it are closed (which answers `sd_notify_barrier(3)`).
    pub fn recv(&self) -> io::Result<Option<Notification>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
