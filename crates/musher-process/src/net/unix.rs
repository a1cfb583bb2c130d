//! Listening unix sockets and their files.
//!
//! A file whose server is dead (a connect is refused) is replaced; one that somebody serves is an `EADDRINUSE`. A path
//! longer than the 107 bytes of `sun_path` is reached over its directory. [`SocketFile::remove`] removes the file only
//! while it still is the one that was made here.
//!
//! ```
//! use musher_process::net::{self, unix};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("api.sock");
//! let (socket, file) = unix::bind(&path, unix::Access::default())?;
//! net::listen(&socket, 511)?;
//! // … serve …
//! file.ok_or(std::io::ErrorKind::NotFound)?.remove()?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

/// The longest path that fits in `sun_path` (unix(7)).
const MAX_SUN_PATH: usize = 107;

/// The file of a bound socket, by its identity on disk: what [`bind`] gives. Abstract sockets have none.
///
/// ```
/// use musher_process::net::unix;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// let (_socket, file) = unix::bind(&path, unix::Access::default())?;
/// assert_eq!(file.map(|file| file.path), Some(path));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// Who may connect, besides the owner: nobody else by default. Node's `readableAll` and `writableAll`.
///
/// ```
/// use musher_process::net::unix::{self, Access};
/// use std::os::unix::fs::PermissionsExt;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// let _bound = unix::bind(&path, Access { readable_all: true, writable_all: true })?;
/// assert_eq!(path.metadata()?.permissions().mode() & 0o666, 0o666);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Everybody may read.
    pub readable_all: bool,
    /// Everybody may write, which is what connect(2) needs.
    pub writable_all: bool,
}

/// A bound stream socket, not yet listening, and its file. A path that begins with NUL is an abstract name. A file
/// whose server is dead is replaced.
///
/// # Errors
///
/// `EADDRINUSE` if somebody serves there, or it is no socket; `ENOENT` and `EACCES` of the directory.
///
/// ```
/// use musher_process::net::{self, unix};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// let (socket, file) = unix::bind(&path, unix::Access::default())?;
/// net::listen(&socket, 511)?;
/// let client = std::os::unix::net::UnixStream::connect(&path)?;
/// assert!(unix::bind(&path, unix::Access::default()).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn bind(path: &Path, access: Access) -> io::Result<(OwnedFd, Option<SocketFile>)> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, super::FLAGS, None)?;
    if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"\0") {
        rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
        return Ok((socket, None));
    }
    let reach = Reach::of(path)?;
    match rustix::net::bind(&socket, &reach.address) {
        Err(Errno::ADDRINUSE) if is_stale(path, &reach)? => {
            rustix::fs::unlink(path)?;
            rustix::net::bind(&socket, &reach.address)?;
        }
        result => result?,
    }
    let mut mode = Mode::empty();
    if access.readable_all {
        mode |= Mode::RUSR | Mode::RGRP | Mode::ROTH;
    }
    if access.writable_all {
        mode |= Mode::WUSR | Mode::WGRP | Mode::WOTH;
    }
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if !mode.is_empty() {
        rustix::fs::chmod(path, Mode::from_raw_mode(stat.st_mode) | mode)?;
    }
    Ok((socket, Some(SocketFile { path: path.to_owned(), device: stat.st_dev, inode: stat.st_ino })))
}

/// The path that a unix socket is bound to; none for abstract names and for what is no unix socket.
///
/// ```
/// use musher_process::net::unix;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("socket");
/// let listener = std::os::unix::net::UnixListener::bind(&path)?;
/// assert_eq!(unix::path_of(&listener), Some(path));
/// assert_eq!(unix::path_of(std::net::UdpSocket::bind("127.0.0.1:0")?), None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn path_of(socket: impl AsFd) -> Option<PathBuf> {
    let name = SocketAddrUnix::try_from(rustix::net::getsockname(socket).ok()?).ok()?;
    Some(std::ffi::OsStr::from_bytes(name.path_bytes()?).into())
}

impl SocketFile {
    /// Removes the file if it is still this one; one that is gone, or another's by now, is no error.
    ///
    /// ```
    /// use musher_process::net::unix;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("socket");
    /// let (_socket, file) = unix::bind(&path, unix::Access::default())?;
    /// if let Some(file) = file {
    ///     file.remove()?;
    /// }
    /// assert!(!path.exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn remove(&self) -> io::Result<()> {
        match rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.st_dev == self.device && stat.st_ino == self.inode => Ok(rustix::fs::unlink(&self.path)?),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// An address for a path; the directory, when there is one, has to stay open as long as the address is used.
struct Reach {
    address: SocketAddrUnix,
    _directory: Option<OwnedFd>,
}

impl Reach {
    fn of(path: &Path) -> io::Result<Reach> {
        if path.as_os_str().len() <= MAX_SUN_PATH {
            return Ok(Reach { address: SocketAddrUnix::new(path)?, _directory: None });
        }
        let too_long = || io::Error::from(Errno::NAMETOOLONG);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(too_long()) };
        let directory = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()));
        short.push(name);
        if short.as_os_str().len() > MAX_SUN_PATH {
            return Err(too_long());
        }
        Ok(Reach { address: SocketAddrUnix::new(&short)?, _directory: Some(directory) })
    }
}

/// Whether the path is a socket that nobody serves any more.
fn is_stale(path: &Path, reach: &Reach) -> io::Result<bool> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Ok(false);
    }
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, super::FLAGS, None)?;
    Ok(rustix::net::connect(&probe, &reach.address) == Err(Errno::CONNREFUSED))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::{Access, bind};
    use crate::net;

    #[test]
    fn a_dead_servers_file_is_replaced_and_a_live_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        drop(bind(&path, Access::default()).unwrap());
        assert!(path.exists());
        let (listener, file) = bind(&path, Access { readable_all: false, writable_all: true }).unwrap();
        net::listen(&listener, 5).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o222, 0o222);
        assert_eq!(bind(&path, Access::default()).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        file.unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(bind(&path, Access::default()).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[test]
    fn somebody_elses_file_survives_our_removal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.sock");
        let (_listener, file) = bind(&path, Access::default()).unwrap();
        // The new file is made before the old one is gone, so that it cannot get the same inode.
        let (_other, _) = bind(&directory.path().join("o.sock"), Access::default()).unwrap();
        std::fs::rename(directory.path().join("o.sock"), &path).unwrap();
        file.unwrap().remove().unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_path_longer_than_sun_path_is_bound_over_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("s.sock");
        let (listener, file) = bind(&path, Access::default()).unwrap();
        net::listen(&listener, 5).unwrap();
        assert!(path.exists());
        file.unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn an_abstract_name_has_no_file() {
        let name = format!("\0musher-test-{}", std::process::id());
        let (_listener, file) = bind(std::path::Path::new(&name), Access::default()).unwrap();
        assert_eq!(file, None);
    }
}
