//! What a child is made of: its program's file and its descriptors, with our ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::child_process::child::Streams;
use crate::child_process::stdio::{ChildInput, ChildOutput, ChildPipe, Stdio};
use crate::ipc::{self, Channel, Options};
use crate::lookup::{self, LookupError};
use crate::spawn::{Problem, SpawnError};
use crate::sys;

/// The program's file, looked for as execvp(3) does, in the child's own `PATH`.
pub(super) fn find(program: &OsStr, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, SpawnError> {
    let failed = |path: PathBuf, problem, errno| SpawnError::Program {
        program: path,
        problem,
        error: io::Error::from_raw_os_error(errno),
    };
    lookup::find_in_path(program, path, cwd).map_err(|error| match error {
        LookupError::NotInPath { .. } => failed(program.into(), Problem::Missing, libc::ENOENT),
        LookupError::NoFile { path } if !cwd.is_dir() => {
            let _ = path;
            SpawnError::WorkingDirectory { path: cwd.into(), error: io::Error::from_raw_os_error(libc::ENOENT) }
        }
        LookupError::NoFile { path } => {
            // A directory on the way may be none, or closed to us.
            let errno = path.metadata().err().and_then(|error| error.raw_os_error()).unwrap_or(libc::ENOENT);
            let problem = if errno == libc::EACCES { Problem::Forbidden } else { Problem::Missing };
            failed(path, problem, errno)
        }
        LookupError::NotExecutable { path } => failed(path, Problem::NotExecutable, libc::EACCES),
    })
}

/// The descriptors of a child that is about to be, and our ends.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) fds: Vec<(OwnedFd, i32)>,
    pub(super) streams: Streams,
    /// The number of the channel, and the inode of the child's end.
    pub(super) channel: Option<(i32, u64)>,
}

impl Parts {
    pub(super) fn add(&mut self, number: i32, what: &Stdio, channel: &Options) -> Result<(), SpawnError> {
        let failed = |error: io::Error| SpawnError::system("prepare the child's descriptors", error);
        let standard = number <= 2;
        let fd = match what {
            Stdio::Default if standard => self.pipe(number).map_err(failed)?,
            Stdio::Pipe => self.pipe(number).map_err(failed)?,
            // /dev/null for the first three is what nobody else gives them.
            Stdio::Default | Stdio::Ignore if !standard => return Ok(()),
            Stdio::Default | Stdio::Ignore => {
                File::options().read(true).write(true).open("/dev/null").map_err(failed)?.into()
            }
            Stdio::Ipc if self.channel.is_some() => {
                return Err(SpawnError::invalid("a child can have only one channel".to_owned()));
            }
            Stdio::Ipc => {
                let (ours, childs) = Channel::pair(channel.clone()).map_err(failed)?;
                self.channel = Some((number, ipc::inode(&childs).map_err(failed)?));
                self.streams.channel = Some(ours);
                childs
            }
            Stdio::Inherit => duplicate(number)?,
            Stdio::Number(ours) => duplicate(*ours)?,
            Stdio::Fd(fd) => fd.try_clone().map_err(failed)?,
        };
        self.fds.push((fd, number));
        Ok(())
    }

    fn pipe(&mut self, number: i32) -> io::Result<OwnedFd> {
        if number > 2 {
            let (ours, childs) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            let pipe = ChildPipe::new(ours, self.streams.open.opened())?;
            self.streams.pipes.insert(number, pipe);
            return Ok(childs);
        }
        let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        if number == 0 {
            self.streams.stdin = Some(ChildInput::new(writing)?);
            return Ok(reading);
        }
        let output = Some(ChildOutput::new(reading, self.streams.open.opened())?);
        match number {
            1 => self.streams.stdout = output,
            _ => self.streams.stderr = output,
        }
        Ok(writing)
    }
}

fn duplicate(number: i32) -> Result<OwnedFd, SpawnError> {
    sys::inherit::duplicate(number).map_err(|error| match error.raw_os_error() {
        Some(libc::EBADF) => SpawnError::NoDescriptor { number },
        _ => SpawnError::system("duplicate a descriptor", error),
    })
}
