//! Descriptors of another process: seen by the inode behind them, had back from it.
//!
//! What a process that died had shared with others is not gone while they live. A pipe can be opened anew by its name in
//! /proc (which needs the right to read that process, ptrace(2)); of a socket pidfd_getfd(2) gives a duplicate, which
//! needs the right to attach to it: the same user and, with Yama's `ptrace_scope` of 1 or more, CAP_SYS_PTRACE.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::process::PidfdGetfdFlags;

use crate::pid::Pid;

/// A descriptor of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignFd {
    /// Its number there.
    pub number: RawFd,
    /// What it is.
    pub kind: Kind,
    /// The inode behind it: the same for all duplicates, and for nothing else of its kind while one is open.
    pub inode: u64,
}

/// Kinds of descriptors that can be had back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An end of a pipe.
    Pipe,
    /// A socket.
    Socket,
}

/// The pipes and sockets of a process, by number.
///
/// # Errors
///
/// The process has ended, or we may not look.
pub fn list(pid: Pid) -> io::Result<Vec<ForeignFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // Closed meanwhile, perhaps.
        let target = fs::read_link(entry.path()).ok();
        if let (Some(number), Some((kind, inode))) = (number, target.as_ref().and_then(|link| parse(link.to_str()?))) {
            found.push(ForeignFd { number, kind, inode });
        }
    }
    found.sort_by_key(|fd| fd.number);
    Ok(found)
}

/// What is behind this number of the process, if it is an end of a pipe as [`writing_end_that_reads`] makes it: an output, or
/// an input, that we gave it. What a program put in its place is another's, and an end that only writes.
#[must_use]
pub fn pipe_of_ours(pid: Pid, number: RawFd) -> Option<ForeignFd> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    let reads_and_writes = flags & rustix::fs::OFlags::ACCMODE.bits() == rustix::fs::OFlags::RDWR.bits();
    let fd = list(pid).ok()?.into_iter().find(|fd| fd.number == number && fd.kind == Kind::Pipe)?;
    reads_and_writes.then_some(fd)
}

/// Opens the reading end of a pipe of which the process has some end. Non-blocking, close-on-exec.
///
/// # Errors
///
/// The process has ended, or does not have this pipe under this number any more, or we may not.
pub fn reopen_pipe(pid: Pid, fd: ForeignFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/fd/{}", fd.number);
    // Non-blocking also so that the opening of something else does not wait.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let pipe: OwnedFd = OpenOptions::new().read(true).custom_flags(flags).open(path)?.into();
    same(pipe, fd.inode)
}

/// Opens the writing end of a pipe of which the process has some end. Non-blocking, close-on-exec.
///
/// # Errors
///
/// As [`reopen_pipe`].
pub fn open_for_writing(pid: Pid, fd: ForeignFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/{pid}/fd/{}", fd.number);
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let pipe: OwnedFd = OpenOptions::new().write(true).custom_flags(flags).open(path)?.into();
    same(pipe, fd.inode)
}

/// A duplicate of a descriptor of the process, close-on-exec.
///
/// # Errors
///
/// The process has ended, or the number is another descriptor's now, or we may not.
pub fn duplicate(pidfd: BorrowedFd<'_>, fd: ForeignFd) -> io::Result<OwnedFd> {
    same(rustix::process::pidfd_getfd(pidfd, fd.number, PidfdGetfdFlags::empty())?, fd.inode)
}

/// The inode behind a descriptor of ours.
///
/// # Errors
///
/// When it cannot be looked at.
pub fn inode(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}

/// A writing end of a pipe of ours that is a reading end as well: its owner never finds the pipe without a reader, which
/// would end it (SIGPIPE) or fail its writes, while nobody else reads. The pipe has ended all the same when every such
/// owner has.
///
/// # Errors
///
/// Without /proc.
pub fn writing_end_that_reads(pipe: impl AsFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
    let file: File = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(file.into())
}

fn same(fd: OwnedFd, inode: u64) -> io::Result<OwnedFd> {
    if self::inode(&fd)? == inode { Ok(fd) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// `pipe:[123]` or `socket:[123]` (proc_pid_fd(5)).
fn parse(link: &str) -> Option<(Kind, u64)> {
    let (kind, rest) = link.split_once(":[")?;
    let kind = match kind {
        "pipe" => Kind::Pipe,
        "socket" => Kind::Socket,
        _ => return None,
    };
    Some((kind, rest.strip_suffix(']')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::exit::pidfd_open;

    fn own(fd: impl AsFd) -> ForeignFd {
        let number = fd.as_fd().as_raw_fd();
        list(Pid::own()).unwrap().into_iter().find(|found| found.number == number).unwrap()
    }

    #[test]
    fn a_pipe_whose_reader_died_is_read_on_by_another() {
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        let writing = writing_end_that_reads(writing).unwrap();
        let found = own(&writing);
        assert_eq!((found.kind, found.inode), (Kind::Pipe, inode(&reading).unwrap()));
        rustix::io::write(&writing, b"before ").unwrap();
        assert_eq!(pipe_of_ours(Pid::own(), found.number), Some(found));
        drop(reading);
        rustix::io::write(&writing, b"between ").unwrap();
        let mut again = File::from(reopen_pipe(Pid::own(), found).unwrap());
        File::from(writing).write_all(b"after").unwrap();
        let mut text = String::new();
        again.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before between after", "and it has ended, since its writer has");
    }

    #[test]
    fn a_listener_is_had_back_with_its_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let found = own(&listener);
        assert_eq!(found.kind, Kind::Socket);
        let pidfd = pidfd_open(Pid::own()).unwrap();
        let copy = duplicate(pidfd.as_fd(), found).unwrap();
        drop(listener);
        let (_, peer) = TcpListener::from(copy).accept().unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
    }

    #[test]
    fn a_number_that_is_another_descriptor_now_is_refused() {
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        assert_eq!(pipe_of_ours(Pid::own(), own(&writing).number), None, "not as we make them");
        let wrong = ForeignFd { inode: 1, ..own(&reading) };
        assert!(reopen_pipe(Pid::own(), wrong).is_err());
        assert!(duplicate(pidfd_open(Pid::own()).unwrap().as_fd(), wrong).is_err());
        assert_eq!(parse("anon_inode:[eventfd]"), None);
        assert_eq!(parse("/dev/null"), None);
    }
}
