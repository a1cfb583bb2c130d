//! The sending end of sd_notify(3): what a service manager above us is told.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// A service manager that does not read for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a service manager wants to be notified: what sd_notify(3) does, without its library.
///
/// ```
/// use musher_process::notify::NotifySender;
///
/// if let Some(address) = std::env::var_os("NOTIFY_SOCKET") {
///     NotifySender::new(&address)?.send("READY=1")?;
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct NotifySender {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl NotifySender {
    /// For a value of `NOTIFY_SOCKET`: an absolute path, or `@` and an abstract name. Others are `Unsupported`.
    /// Whether somebody is there shows when something is sent.
    ///
    /// ```
    /// use musher_process::notify::NotifySender;
    /// assert!(NotifySender::new("@anybody".as_ref()).is_ok());
    /// assert!(NotifySender::new("vsock:2:1".as_ref()).is_err());
    /// ```
    pub fn new(address: &OsStr) -> io::Result<NotifySender> {
        let bytes = address.as_bytes();
        let address = match bytes.split_first() {
            Some((b'/', _)) => SocketAddrUnix::new(bytes)?,
            Some((b'@', name)) => SocketAddrUnix::new_abstract_name(name)?,
            // Others (vsock) are for virtual machines.
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        Ok(NotifySender { socket, address })
    }

    /// Sends assignments, one a line, like `READY=1`. Waits up to 5 s for a service manager that does not read.
    ///
    /// # Errors
    ///
    /// Nobody is there (`ECONNREFUSED`, `ENOENT`), or nobody reads (`EAGAIN`).
    ///
    /// ```
    /// use musher_process::notify::{NotifySender, NotifySocket};
    ///
    /// let socket = NotifySocket::bind()?;
    /// let sender = NotifySender::new(socket.address()?.as_ref())?;
    /// sender.send("WATCHDOG=1")?;
    /// assert_eq!(socket.recv()?.unwrap().value("WATCHDOG"), Some("1"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, assignments: &str) -> io::Result<()> {
        rustix::net::sendto(&self.socket, assignments.as_bytes(), SendFlags::NOSIGNAL, &self.address)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::notify::NotifySocket;

    #[test]
    fn abstract_names_and_paths_are_reached() {
        let socket = NotifySocket::bind().unwrap();
        let sender = NotifySender::new(socket.address().unwrap().as_ref()).unwrap();
        sender.send("READY=1\nSTATUS=2 apps").unwrap();
        let heard = socket.recv().unwrap().unwrap();
        assert_eq!((heard.value("READY"), heard.value("STATUS")), (Some("1"), Some("2 apps")));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        NotifySender::new(path.as_os_str()).unwrap().send("STOPPING=1").unwrap();
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STOPPING=1");
    }

    #[test]
    fn what_is_no_address_is_refused_and_one_that_is_gone_is_an_error() {
        for wrong in ["", "relative", "vsock:2:1", &format!("/{}", "x".repeat(200))] {
            assert!(NotifySender::new(wrong.as_ref()).is_err(), "{wrong}");
        }
        let sender = NotifySender::new("/nowhere/notify".as_ref()).unwrap();
        assert!(sender.send("READY=1").is_err());
    }
}
