//! The receiving end of sd_notify(3); the sending one is [`NotifySender`].
//!
//! The socket has an abstract name: anyone in the network namespace can send to it. So the kernel's word on who sent a
//! datagram comes with it, and it is the caller's to check that this process belongs to a run.
//!
//! ```
//! use musher_process::Spawn;
//! use musher_process::notify::NotifySocket;
//!
//! let socket = NotifySocket::bind()?;
//! let env = vec![("NOTIFY_SOCKET".into(), socket.address()?.into())];
//! let service = Spawn { env, ..Spawn::new("/bin/true") }.spawn()?;
//! while let Some(notification) = socket.recv()? {
//!     if notification.pid == Some(service.pid) && notification.value("READY") == Some("1") {
//!         println!("it is ready");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod sender;

use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::pid::Pid;
use crate::sys::credentials;

pub use self::sender::NotifySender;

/// The longest notification that is read.
pub const MAX_NOTIFICATION: usize = 4096;

/// No user has this number: it means "none" to system calls.
const NO_USER: u32 = u32::MAX;

/// How the names begin.
const PREFIX: &str = "musher/notify/";

/// A datagram socket with an abstract name (nothing in the file system; it ends with its last descriptor). Its
/// descriptor, there as [`AsFd`], is readable when a notification waits.
///
/// ```
/// use musher_process::notify::{NotifySender, NotifySocket};
///
/// let socket = NotifySocket::bind()?;
/// // What a child does that got the address as NOTIFY_SOCKET: systemd-notify, or its own library.
/// NotifySender::new(socket.address()?.as_ref())?.send("READY=1\nSTATUS=serving")?;
/// let notification = socket.recv()?.ok_or("nothing came")?;
/// assert_eq!(notification.pid, Some(musher_process::Pid::own()));
/// assert_eq!(notification.value("STATUS"), Some("serving"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
}

/// One datagram of sd_notify(3).
///
/// ```
/// use musher_process::notify::Notification;
///
/// let fields = vec![("STATUS".to_owned(), "loading".to_owned()), ("STATUS".to_owned(), "serving".to_owned())];
/// let notification = Notification { pid: None, uid: 1000, fields };
/// assert_eq!(notification.value("STATUS"), Some("serving"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Who sent it, as the kernel says; `None` from outside of our pid namespace. It may have ended since.
    pub pid: Option<Pid>,
    /// The sender's user.
    pub uid: u32,
    /// The assignments, like `READY=1`. Lines without `=` are left out; bytes that are not UTF-8 are replaced.
    pub fields: Vec<(String, String)>,
}

impl NotifySocket {
    /// Binds a new name, of 128 random bits. Non-blocking, close-on-exec.
    ///
    /// ```
    /// let socket = musher_process::notify::NotifySocket::bind()?;
    /// assert!(socket.address()?.starts_with('@'));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind() -> io::Result<NotifySocket> {
        let mut random = [0_u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let mut name = String::from(PREFIX);
        for byte in random {
            let _ = write!(name, "{byte:02x}");
        }
        NotifySocket::bind_name(name.as_bytes())
    }

    /// Binds the name of this address again, which a socket had that is gone: processes that were told of it go on to
    /// notify.
    ///
    /// ```
    /// use musher_process::notify::NotifySocket;
    ///
    /// let address = NotifySocket::bind()?.address()?;
    /// assert_eq!(NotifySocket::bind_again(&address)?.address()?, address);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind_again(address: &str) -> io::Result<NotifySocket> {
        let name = address.strip_prefix('@').filter(|name| name.starts_with(PREFIX));
        NotifySocket::bind_name(name.ok_or(io::ErrorKind::InvalidInput)?.as_bytes())
    }

    fn bind_name(name: &[u8]) -> io::Result<NotifySocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        rustix::net::sockopt::set_socket_passcred(&fd, true)?;
        rustix::net::bind(&fd, &SocketAddrUnix::new_abstract_name(name)?)?;
        Ok(NotifySocket { fd })
    }

    /// Takes a socket that [`NotifySocket::bind`] made, here or in another process. An error for every other
    /// descriptor.
    ///
    /// ```
    /// use musher_process::notify::NotifySocket;
    /// use std::os::fd::AsFd;
    ///
    /// let socket = NotifySocket::bind()?;
    /// let same = NotifySocket::from_fd(socket.as_fd().try_clone_to_owned()?)?;
    /// assert_eq!(same.address()?, socket.address()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_fd(fd: OwnedFd) -> io::Result<NotifySocket> {
        let socket = NotifySocket { fd };
        socket.address()?;
        // Also set if it is: without it a datagram would have no sender.
        rustix::net::sockopt::set_socket_passcred(&socket.fd, true)?;
        Ok(socket)
    }

    /// The value for `NOTIFY_SOCKET`: `@` and the name.
    ///
    /// ```
    /// use musher_process::Spawn;
    /// use musher_process::notify::NotifySocket;
    ///
    /// let socket = NotifySocket::bind()?;
    /// let env = vec![("NOTIFY_SOCKET".into(), socket.address()?.into())];
    /// let service = Spawn { env, ..Spawn::new("/bin/true") };
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn address(&self) -> io::Result<String> {
        let not_ours = || io::Error::new(io::ErrorKind::InvalidInput, "not a socket for notifications");
        let address = SocketAddrUnix::try_from(rustix::net::getsockname(&self.fd)?).map_err(|_| not_ours())?;
        let name = address.abstract_name().and_then(|name| std::str::from_utf8(name).ok());
        Ok(format!("@{}", name.filter(|name| name.starts_with(PREFIX)).ok_or_else(not_ours)?))
    }

    /// The next notification; `None` if none waits. One that is longer than [`MAX_NOTIFICATION`] comes without fields.
    /// Descriptors that came with it are closed (which answers `sd_notify_barrier(3)`).
    ///
    /// ```
    /// let socket = musher_process::notify::NotifySocket::bind()?;
    /// assert_eq!(socket.recv()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv(&self) -> io::Result<Option<Notification>> {
        let mut buffer = [0; MAX_NOTIFICATION];
        loop {
            let datagram = match credentials::recv(self.fd.as_fd(), &mut buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (pid, uid) = datagram.sender.unwrap_or((0, NO_USER));
            let bytes = buffer.get(..datagram.bytes).filter(|_| !datagram.cut).unwrap_or_default();
            return Ok(Some(Notification { pid: Pid::from_raw(pid), uid, fields: parse(bytes) }));
        }
    }
}

impl Notification {
    /// The last value of a variable; `None` if it was not assigned.
    ///
    /// ```
    /// use musher_process::notify::Notification;
    ///
    /// let notification = Notification { pid: None, uid: 0, fields: vec![("READY".into(), "1".into())] };
    /// assert_eq!((notification.value("READY"), notification.value("STATUS")), (Some("1"), None));
    /// ```
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn parse(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    assignments.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::time::Duration;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

    use super::*;

    fn sender() -> OwnedFd {
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn send(socket: &NotifySocket, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let name = socket.address().unwrap();
        let address = SocketAddrUnix::new_abstract_name(&name.as_bytes()[1..]).unwrap();
        let mut space = [MaybeUninit::uninit(); 2048];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let parts = [IoSlice::new(bytes)];
        rustix::net::sendmsg_addr(sender(), &address, &parts, &mut control, SendFlags::empty()).unwrap();
    }

    #[test]
    fn sender_and_fields() {
        let socket = NotifySocket::bind().unwrap();
        assert_eq!(socket.recv().unwrap(), None);
        send(&socket, b"READY=1\nSTATUS=a=b\nnothing\nREADY=2", &[]);
        let notification = socket.recv().unwrap().unwrap();
        assert_eq!(notification.pid, Some(Pid::own()));
        assert_eq!(notification.uid, rustix::process::getuid().as_raw());
        assert_eq!(notification.fields.len(), 3);
        assert_eq!((notification.value("READY"), notification.value("STATUS")), (Some("2"), Some("a=b")));
        assert_eq!(notification.value("nothing"), None);
    }

    #[test]
    fn too_long_is_empty_and_the_next_one_comes() {
        let socket = NotifySocket::bind().unwrap();
        send(&socket, &[b'x'; MAX_NOTIFICATION + 1], &[]);
        send(&socket, b"READY=1", &[]);
        assert_eq!(socket.recv().unwrap().unwrap().fields, []);
        assert_eq!(socket.recv().unwrap().unwrap().value("READY"), Some("1"));
        assert_eq!(socket.recv().unwrap(), None);
    }

    #[test]
    fn descriptors_are_closed() {
        let socket = NotifySocket::bind().unwrap();
        for count in [1, 7, crate::fdpass::MAX_FDS] {
            let (reading, writing) = rustix::pipe::pipe().unwrap();
            send(&socket, b"BARRIER=1", &vec![writing.as_fd(); count]);
            drop(writing);
            assert_eq!(socket.recv().unwrap().unwrap().value("BARRIER"), Some("1"));
            // The end of the pipe: nobody has the writing end any more.
            assert!(crate::wait::readable_within(&reading, Duration::from_secs(5)).unwrap());
            assert_eq!(rustix::io::read(&reading, &mut [0_u8; 1]).unwrap(), 0);
        }
    }

    #[test]
    fn the_name_of_one_that_is_gone_is_bound_again() {
        let socket = NotifySocket::bind().unwrap();
        let address = socket.address().unwrap();
        assert!(NotifySocket::bind_again(&address).is_err(), "it is not gone");
        drop(socket);
        assert_eq!(NotifySocket::bind_again(&address).unwrap().address().unwrap(), address);
        assert!(NotifySocket::bind_again("@somebody-elses").is_err());
    }

    #[test]
    fn survives_as_a_descriptor() {
        let socket = NotifySocket::bind().unwrap();
        let address = socket.address().unwrap();
        let copy = socket.as_fd().try_clone_to_owned().unwrap();
        drop(socket);
        let socket = NotifySocket::from_fd(copy).unwrap();
        assert_eq!(socket.address().unwrap(), address);
        let (other, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(NotifySocket::from_fd(other.into()).is_err());
    }
}
