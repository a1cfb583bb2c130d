//! The thread that packs rotated files, so that nobody waits for it.
//!
//! It writes beside the file; the log thread gives the result its name, because only that one knows what the file is
//! called by then. A packing that was cut off leaves a file that has no number: it is begun again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Weak};

use musher_core::ids::AppId;

use super::index::FileId;
use super::numbered::unfinished;
use super::{Command, Queue, packed};

/// How much less of the processor it gets than those that serve.
const NICE: i32 = 10;

/// How many files may wait; each holds a descriptor. Others are packed after the next rotation of their app.
const WAITING: usize = 256;

/// A file to pack.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) app: AppId,
    /// The name without any number.
    pub(super) base: PathBuf,
    pub(super) file: File,
    pub(super) id: FileId,
}

/// A file that was packed, or could not be.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) app: AppId,
    pub(super) base: PathBuf,
    pub(super) id: FileId,
    pub(super) result: io::Result<()>,
}

/// The way to the thread, which lives as long as there is this.
#[derive(Debug)]
pub(super) struct Packer {
    jobs: Option<SyncSender<Job>>,
    queue: Weak<Queue>,
}

impl Packer {
    /// Who has packed something is told by `queue`.
    pub(super) fn new(queue: &Arc<Queue>) -> Packer {
        Packer { jobs: None, queue: Arc::downgrade(queue) }
    }

    /// Packs a file; the thread is started when there is the first.
    pub(super) fn pack(&mut self, job: Job) -> io::Result<()> {
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None => {
                let (jobs, waiting) = mpsc::sync_channel(WAITING);
                let queue = Weak::clone(&self.queue);
                std::thread::Builder::new().name("musher-gzip".into()).spawn(move || work(&waiting, &queue))?;
                jobs
            }
        };
        let sent = jobs.try_send(job);
        // A thread that ended is replaced by the next job.
        if !matches!(sent, Err(TrySendError::Disconnected(_))) {
            self.jobs = Some(jobs);
        }
        sent.map_err(|refused| match refused {
            TrySendError::Full(_) => io::ErrorKind::WouldBlock.into(),
            TrySendError::Disconnected(_) => io::ErrorKind::BrokenPipe.into(),
        })
    }
}

fn work(jobs: &mpsc::Receiver<Job>, queue: &Weak<Queue>) {
    // On Linux this is the thread's own.
    let _ = rustix::process::setpriority_process(None, NICE);
    for Job { app, base, file, id } in jobs {
        let result = pack(&base, &file, id);
        let Some(queue) = queue.upgrade() else { return };
        queue.push(Command::Packed(Done { app, base, id, result }));
    }
}

fn pack(base: &std::path::Path, file: &File, id: FileId) -> io::Result<()> {
    let path = unfinished(base);
    let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let packed = open().and_then(|mut packed| {
        packed::pack(file, id, &mut packed)?;
        if let Ok(modified) = file.metadata()?.modified() {
            // Its age is that of its lines.
            packed.set_modified(modified)?;
        }
        // The lines are safe already; they must not be lost to a power failure because they were packed.
        packed.sync_all()
    });
    if packed.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    packed
}
