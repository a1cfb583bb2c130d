//! The output of workers: from their pipes to files, and from the files to people.
//!
//! One thread with its own epoll ([`LogThread`]) owns the read ends of all workers' stdout and stderr and all files.
//! A slow disk slows the workers that write, never the supervisor; memory does not depend on what they write.
//!
//! - [`LogHandle`] is how the supervisor speaks to the thread; no call waits for a disk.
//! - [`LogReader`] reads the files: the last lines, from a cursor on, and what comes. It needs no thread and no daemon.
//! - [`Exports`] sends lines on, from the files.
//! - `tap` takes whole lines from a pipe without losing any to a `kill -9`; `app` writes the files of apps (`unit`: those that
//!   are written together), `rotation` puts them out of the way, `packer` and `packed` make them small; `index` says which bytes were written when and by whom; `format` is the form of a line.
//!
//! # What is promised
//!
//! - Whole lines. A line without its end stays in the pipe until it is complete; it is cut (and ended) only if it fills
//!   the pipe, is longer than 64 KiB, or its writer is gone.
//! - No line is lost when the supervisor dies at any instant: bytes are read by tee(2), written, and only then taken from
//!   the pipe, which the keeper holds too. A batch that was written but not yet taken is written again.
//! - When the disk is full (or fails) workers are not held up: their lines are dropped and counted, and a line
//!   `[musher] N lines (M bytes) lost: …` says so as soon as writing works again, also after a kill of the supervisor.
//! - Rotation loses nothing but the oldest file. All files and the index of a unit are rotated together. A rotated file is
//!   packed beside itself and deleted when that is done; a packing that was cut off is done again.
//! - Nothing is dropped because there is too much of it, unless a limit was asked for; then it is counted and told.
//!
//! # What is not done
//!
//! No fsync: lines survive the death of any process, not that of the machine. A log file that another
//! program renames is followed until [`LogHandle::reopen`]; one that is deleted is made again.

mod app;
mod export;
mod file;
mod format;
mod index;
mod limit;
mod losses;
mod numbered;
mod packed;
mod packer;
mod paths;
mod reader;
mod rotation;
mod source;
mod tail;
mod tap;
mod thread;
mod unit;
mod volume;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use musher_api::{LogFigures, LogStream};
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Logs;
use tokio::sync::{oneshot, watch};

pub use export::Exports;
pub use paths::LogPaths;
pub use reader::{LogFilter, LogReader, LogReaders, Pattern};
pub use thread::LogThread;

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

impl LogCounters {
    /// What they are now.
    pub fn figures(&self) -> LogFigures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogFigures {
            lines: of(&self.lines),
            bytes: of(&self.bytes),
            lost: of(&self.lost),
            dropped: of(&self.dropped),
            not_exported: of(&self.not_exported),
        }
    }
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

    /// How much the app has logged since the supervisor began.
    pub fn counters(&self, app: AppId) -> Arc<LogCounters> {
        self.owner.queue.counters().get(&app).cloned().unwrap_or_default()
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
    counters: Mutex<HashMap<AppId, Arc<LogCounters>>>,
}

/// How much an app has logged since the supervisor began.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Lines that were written.
    pub lines: AtomicU64,
    /// Their bytes, as they stand in the file.
    pub bytes: AtomicU64,
    /// Lines that could not be written.
    pub lost: AtomicU64,
    /// Lines that were dropped because of the limit.
    pub dropped: AtomicU64,
    /// Lines that were deleted before they were exported, or that nobody wanted to take.
    pub not_exported: AtomicU64,
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
    Packed(packer::Done),
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

    fn counters(&self) -> MutexGuard<'_, HashMap<AppId, Arc<LogCounters>>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, HashMap<AppId, watch::Sender<u64>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
