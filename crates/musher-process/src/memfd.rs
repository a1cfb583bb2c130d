//! Files in memory that can be passed as a file descriptor: sealed ones are values and never change.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

/// A new memory file with this content, sealed against every change. `name` is only seen in /proc/PID/fd.
pub fn memfd_with(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// A new, empty memory file that can be written.
pub fn memfd(name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?)
}

/// The whole content of a memory file (sealed or not), from its beginning whatever the file's position is. More than
/// `limit` bytes, or a descriptor that is no regular file, is an `InvalidData` error.
pub fn read_memfd(fd: BorrowedFd<'_>, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::from(fd.as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a memory file"));
    }
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a memory file of {size} bytes where at most {limit} are allowed"),
        ));
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
