//! The output of workers: from their pipes to files, and from the files to people.
//!
//! One thread with its own epoll ([`LogThread`]) owns the read ends of all workers' stdout and stderr and all files.
//! A slow disk slows the workers that write, never the supervisor; memory does not depend on what they write.
//!
//! - [`LogHandle`] is how the supervisor speaks to the thread; no call waits for a disk.
//! - [`LogReader`] reads the files: the last lines, from a cursor on, and what comes. It needs no thread and no daemon.
//! - `tap` takes whole lines from a pipe without losing any to a `kill -9`; `app` writes and rotates the files of an app;
//!   `index` says which bytes were written when and by whom; `format` is the form of a line.
//!
//! # What is promised
//!
//! - Whole lines. A line without its end stays in the pipe until it is complete; it is cut (and ended) only if it fills
//!   the pipe, is longer than 64 KiB, or its writer is gone.
//! - No line is lost when the supervisor dies at any instant: bytes are read by tee(2), written, and only then taken from
//!   the pipe, which the keeper holds too. A batch that was written but not yet taken is written again.
//! - When the disk is full (or fails) workers are not held up: their lines are dropped and counted, and a line
//!   `[musher] N lines (M bytes) lost: …` says so as soon as writing works again, also after a kill of the supervisor.
//! - Rotation loses nothing but the oldest file. Out, err and index are rotated together.
//!
//! # What is not done
//!
//! No fsync: lines survive the death of any process, not that of the machine. No compression. A log file that another
//! program renames is followed until [`LogHandle::reopen`]; one that is deleted is made again.

mod app;
mod file;
mod format;
mod index;
mod losses;
mod reader;
mod tail;
mod tap;
mod thread;
mod volume;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use musher_api::LogStream;
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Logs;
use tokio::sync::{oneshot, watch};

use crate::home::Home;

pub use reader::{LogFilter, LogReader, LogReaders};
pub use thread::LogThread;

/// Where the log files of an app are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPaths {
    /// Standard output. Rotated files have `.1`, `.2`… behind it, the newest first.
    pub out: PathBuf,
    /// Standard error; may be the same file.
    pub err: PathBuf,
    /// The index of both.
    pub index: PathBuf,
}

impl LogPaths {
    /// The paths of the app `name`, as its spec says or in the home.
    pub fn new(home: &Home, name: &str, logs: &Logs) -> LogPaths {
        let directory = home.logs().join(name);
        let path = |given: &Option<PathBuf>, default: &str| given.clone().unwrap_or_else(|| directory.join(default));
        LogPaths { out: path(&logs.out, "out.log"), err: path(&logs.err, "err.log"), index: directory.join("index") }
    }

    /// Makes sure that both files can be opened, and makes them.
    ///
    /// # Errors
    ///
    /// The first file that cannot, and why. A named pipe that nobody reads yet is none.
    pub fn try_open(&self) -> Result<(), (PathBuf, io::Error)> {
        for path in [&self.out, &self.err] {
            match file::LogFile::open(path) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                    return Err((path.clone(), error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn of(&self, stream: LogStream) -> &Path {
        match stream {
            LogStream::Out => &self.out,
            LogStream::Err => &self.err,
        }
    }
}

/// One output of one run, as it is given to the log thread.
#[derive(Debug)]
pub struct Output {
    /// The app; it must have been opened.
    pub app: AppId,
    /// The slot.
    pub slot: SlotId,
    /// The run.
    pub run: RunId,
    /// The run's process id.
    pub pid: i32,
    /// Which output.
    pub stream: LogStream,
    /// The read end of the pipe.
    pub pipe: OwnedFd,
}

/// What is left of a run whose outputs were detached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// The last lines that it wrote to stderr: at most 40, at most 8 KiB.
    pub stderr_tail: Vec<String>,
}

/// Something that people should know about the writing of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogNotice {
    /// The app.
    pub app: AppId,
    /// The file.
    pub path: PathBuf,
    /// What is the matter.
    pub trouble: LogTrouble,
}

/// What can be the matter with a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTrouble {
    /// It cannot be written; lines are dropped and counted from now on.
    Losing {
        /// The system's word.
        error: String,
    },
    /// It can be written again.
    Recovered {
        /// Lines that were lost.
        lines: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// It cannot be rotated and grows beyond its limit.
    NotRotated {
        /// The system's word.
        error: String,
    },
}

/// How the supervisor speaks to the log thread. Cheap to clone; no call waits. The thread ends, without draining any
/// pipe, when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct LogHandle {
    owner: Arc<Owner>,
}

impl LogHandle {
    /// Opens the files of an app, or changes how they are written. To be called before its first [`LogHandle::attach`].
    pub fn open_app(&self, app: AppId, name: &str, logs: &Logs) {
        self.owner.queue.push(Command::OpenApp { app, name: name.to_owned(), logs: logs.clone() });
    }

    /// Gives the thread an output of a run to read.
    pub fn attach(&self, output: Output) {
        self.owner.queue.push(Command::Attach(output));
    }

    /// The run has ended: what is in its pipes now is written, then they are closed. The answer comes when that is done
    /// and the keeper may let go of them too.
    pub fn detach(&self, run: RunId) -> oneshot::Receiver<Detached> {
        self.ask(|reply| Command::Detach { run, reply })
    }

    /// The last lines that an attached run wrote to stderr: at most 40, at most 8 KiB. What is in its pipe now counts.
    pub fn tail(&self, run: RunId) -> oneshot::Receiver<Vec<String>> {
        self.ask(|reply| Command::Tail { run, reply })
    }

    /// Opens all files again by their names, for programs that rename log files.
    pub fn reopen(&self) -> oneshot::Receiver<()> {
        self.ask(|reply| Command::Reopen { reply })
    }

    /// Deletes everything that is in the log files of an app.
    pub fn clear(&self, app: AppId) -> oneshot::Receiver<io::Result<()>> {
        self.ask(|reply| Command::Clear { app, reply })
    }

    /// Closes the files of an app whose runs are all detached. The files stay.
    pub fn close_app(&self, app: AppId) -> oneshot::Receiver<()> {
        self.owner.queue.watches().remove(&app);
        self.ask(|reply| Command::CloseApp { app, reply })
    }

    /// Changes whenever lines of this app were written; the value is the newest cursor. For readers that follow.
    pub fn watch(&self, app: AppId) -> watch::Receiver<u64> {
        self.owner.queue.watches().entry(app).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Ends the thread without draining any pipe, whoever else has a handle, and waits for its end.
    pub fn stop(&self) {
        self.owner.queue.close();
        let thread = self.owner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        self.owner.queue.push(command(reply));
        answer
    }
}

/// The end of the last one is the end of the thread.
#[derive(Debug)]
struct Owner {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What the thread is asked to do. Its length is bounded by what the supervisor has runs and requests for.
#[derive(Debug)]
struct Queue {
    commands: Mutex<Commands>,
    /// Counts up when there is something.
    bell: OwnedFd,
    watches: Mutex<HashMap<AppId, watch::Sender<u64>>>,
}

#[derive(Debug, Default)]
struct Commands {
    waiting: VecDeque<Command>,
    closed: bool,
}

#[derive(Debug)]
enum Command {
    OpenApp { app: AppId, name: String, logs: Logs },
    Attach(Output),
    Detach { run: RunId, reply: oneshot::Sender<Detached> },
    Tail { run: RunId, reply: oneshot::Sender<Vec<String>> },
    Reopen { reply: oneshot::Sender<()> },
    Clear { app: AppId, reply: oneshot::Sender<io::Result<()>> },
    CloseApp { app: AppId, reply: oneshot::Sender<()> },
}

impl Queue {
    fn push(&self, command: Command) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if !commands.closed {
            commands.waiting.push_back(command);
        }
        self.ring();
    }

    /// None: the thread is to end.
    fn take(&self) -> Option<VecDeque<Command>> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        (!commands.closed).then(|| std::mem::take(&mut commands.waiting))
    }

    fn close(&self) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.closed = true;
        // Whoever waits for an answer learns that none will come.
        commands.waiting.clear();
        self.ring();
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<AppId, watch::Sender<u64>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
