//! Lines on their way to other places: journald, and whoever speaks OTLP.
//!
//! The log files are the queue: what is sent is read from them, behind a cursor that is kept beside them. So a receiver
//! that is slow or away slows no worker and costs no memory, a `kill -9` of the supervisor forgets nothing (what was under
//! way is sent again), and what rotation deletes before it was sent is counted.
//!
//! One thread serves all apps, apart from the supervisor's; it exists when the first app wants it.

mod journald;
mod otlp;
mod place;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use musher_api::{Cursor, LogLine};
use musher_core::ids::AppId;
use musher_core::spec::Logs;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use self::journald::Journald;
use self::otlp::Otlp;
use self::place::Place;
use super::{LogCounters, LogFilter, LogHandle, LogPaths, LogReader};
use crate::home::Home;
use crate::otlp::Backoff;

/// How many lines are sent together.
const BATCH: usize = 256;
/// How long an app that is deleted may take to send the rest.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The exports of all apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exports {
    home: Home,
    handle: LogHandle,
    owner: Arc<Owner>,
}

/// The end of the last one is the end of the thread.
#[derive(Debug, Default)]
struct Owner {
    changes: Arc<Changes>,
}

/// What the thread is told: for each app that has changed what is exported of it; none: the app is deleted.
#[derive(Debug, Default)]
struct Changes {
    apps: Mutex<BTreeMap<AppId, Option<Vec<Export>>>>,
    bell: Notify,
    /// Whether the thread has been started.
    begun: AtomicBool,
    /// Whether it is to end.
    closed: AtomicBool,
}

/// One app to one receiver.
#[derive(Clone, Debug)]
struct Export {
    app: AppId,
    name: String,
    logs: Logs,
    to: Receiver,
    home: Home,
    handle: LogHandle,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Receiver {
    Journald(PathBuf),
    Otlp(String),
}

/// Who gets lines.
#[derive(Debug)]
enum Sink {
    Journald(Journald),
    Otlp(Otlp),
}

/// Why lines were not taken.
#[derive(Debug)]
struct Refused {
    why: String,
    /// Whether the same may be taken later, and when to come again at the earliest.
    again: Option<Option<Duration>>,
    /// How many are given up, when they may not.
    lost: usize,
}

impl Exports {
    /// Nothing is sent yet.
    pub fn new(home: Home, handle: LogHandle) -> Exports {
        Exports { home, handle, owner: Arc::default() }
    }

    /// Sends what the app writes from now on to where its spec says, and nowhere else.
    pub fn set(&self, app: AppId, name: &str, logs: &Logs) {
        let journald = logs.journald.clone().map(Receiver::Journald);
        let otlp = logs.otlp.clone().map(Receiver::Otlp);
        for (receiver, word) in [(&journald, Receiver::JOURNALD), (&otlp, Receiver::OTLP)] {
            match receiver {
                Some(_) => Place::begin(&self.home, name, logs, word),
                None => Place::forget_all(&self.home, name, word),
            }
        }
        let export = |to| Export {
            app,
            name: name.to_owned(),
            logs: logs.clone(),
            to,
            home: self.home.clone(),
            handle: self.handle.clone(),
        };
        let exports: Vec<Export> = [journald, otlp].into_iter().flatten().map(export).collect();
        let changes = &self.owner.changes;
        if exports.is_empty() && !changes.begun.load(Ordering::Relaxed) {
            return;
        }
        changes.tell(app, Some(exports));
        if !changes.begun.swap(true, Ordering::Relaxed) {
            start(Arc::clone(changes));
        }
    }

    /// The app is deleted: what it has written is sent, if that goes at once.
    pub fn remove(&self, app: AppId) {
        if self.owner.changes.begun.load(Ordering::Relaxed) {
            self.owner.changes.tell(app, None);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.changes.closed.store(true, Ordering::Relaxed);
        self.changes.bell.notify_one();
    }
}

impl Changes {
    fn tell(&self, app: AppId, exports: Option<Vec<Export>>) {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).insert(app, exports);
        self.bell.notify_one();
    }

    fn take(&self) -> BTreeMap<AppId, Option<Vec<Export>>> {
        std::mem::take(&mut *self.apps.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Receiver {
    const JOURNALD: &'static str = "journald";
    const OTLP: &'static str = "otlp";

    fn word(&self) -> &'static str {
        match self {
            Receiver::Journald(_) => Receiver::JOURNALD,
            Receiver::Otlp(_) => Receiver::OTLP,
        }
    }
}

fn start(changes: Arc<Changes>) {
    let thread = std::thread::Builder::new().name("musher-export".into()).spawn(move || {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(serve(&changes)),
            Err(error) => tracing::error!(%error, "no lines can be exported"),
        }
    });
    if let Err(error) = thread {
        tracing::error!(%error, "no lines can be exported");
    }
}

/// The tasks of an app, and how they are told of its end.
struct Running {
    tasks: Vec<JoinHandle<()>>,
    end: watch::Sender<bool>,
}

async fn serve(changes: &Changes) {
    let mut running: BTreeMap<AppId, Running> = BTreeMap::new();
    loop {
        changes.bell.notified().await;
        if changes.closed.load(Ordering::Relaxed) {
            return;
        }
        for (app, exports) in changes.take() {
            let before = running.remove(&app);
            let Some(exports) = exports else {
                if let Some(running) = before {
                    running.end.send_replace(true);
                }
                continue;
            };
            // What they have sent is on the disk.
            before.iter().flat_map(|running| &running.tasks).for_each(JoinHandle::abort);
            let end = watch::Sender::new(false);
            let tasks = exports.into_iter().map(|export| tokio::spawn(export.run(end.subscribe())));
            running.insert(app, Running { tasks: tasks.collect(), end });
        }
    }
}

impl Export {
    async fn run(self, mut end: watch::Receiver<bool>) {
        let name = self.name.clone();
        let mut sink = match self.sink() {
            Ok(sink) => sink,
            Err(why) => return tracing::error!(app = name, why, "lines cannot be exported"),
        };
        let ended = async {
            // An end without a word is the end of the process.
            if end.wait_for(|end| *end).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let worked = tokio::select! {
            worked = self.follow_on(&mut sink) => worked,
            () = ended => {
                let rest = tokio::time::timeout(LAST_WORDS, self.send_rest(&mut sink)).await;
                Place::forget_all(&self.home, &self.name, self.to.word());
                rest.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = worked {
            tracing::error!(app = name, %error, "lines cannot be exported: the log files cannot be read");
        }
    }

    fn sink(&self) -> Result<Sink, String> {
        Ok(match &self.to {
            Receiver::Journald(path) => Sink::Journald(Journald::new(path.clone())),
            Receiver::Otlp(base) => Sink::Otlp(Otlp::new(base, &self.name)?),
        })
    }

    /// Readers of all files of the app behind what was sent.
    fn readers(&self) -> io::Result<Vec<(LogReader, Place)>> {
        let paths = LogPaths::all(&self.home, &self.name, &self.logs);
        let reader = |paths: LogPaths| {
            let place = Place::of(&paths, self.to.word(), Cursor(0));
            let mut reader = LogReader::open(&self.name, paths, LogFilter::default());
            reader.since(place.cursor())?;
            Ok((reader, place))
        };
        paths.into_iter().map(reader).collect()
    }

    /// Follows the files, also after they could not be read for a while.
    async fn follow_on(&self, sink: &mut Sink) -> io::Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let Err(error) = self.follow(sink).await else { return Ok(()) };
            tracing::error!(app = self.name, %error, "the log files cannot be read: lines are exported later");
            tokio::time::sleep(backoff.after_failure(None)).await;
        }
    }

    async fn follow(&self, sink: &mut Sink) -> io::Result<()> {
        let mut written = self.handle.watch(self.app);
        let mut readers = self.readers()?;
        loop {
            written.mark_unchanged();
            if self.send_all(&mut readers, sink, true).await? {
                continue;
            }
            if written.changed().await.is_err() {
                return Ok(());
            }
            // A slot may have files now.
            if self.logs.per_worker {
                readers = self.readers()?;
            }
        }
    }

    async fn send_rest(&self, sink: &mut Sink) -> io::Result<()> {
        let mut readers = self.readers()?;
        while self.send_all(&mut readers, sink, false).await? {}
        Ok(())
    }

    /// Sends a batch of each reader; whether there was anything.
    async fn send_all(&self, readers: &mut [(LogReader, Place)], sink: &mut Sink, insist: bool) -> io::Result<bool> {
        let counters = self.handle.counters(self.app);
        let mut some = false;
        for (reader, place) in readers {
            let lines = reader.next_batch(BATCH)?;
            counters.not_exported.fetch_add(reader.take_missed(), Ordering::Relaxed);
            let Some(last) = lines.last() else { continue };
            some = true;
            self.send(&lines, sink, &counters, insist).await;
            place.store(last.cursor);
        }
        Ok(some)
    }

    /// Sends lines until they are taken, or refused for good.
    async fn send(&self, lines: &[LogLine], sink: &mut Sink, counters: &LogCounters, insist: bool) {
        let mut backoff = Backoff::default();
        let mut told = false;
        loop {
            let refused = match sink.take(lines).await {
                Ok(()) => {
                    if told {
                        tracing::info!(app = self.name, to = self.to.word(), "lines are exported again");
                    }
                    return;
                }
                Err(refused) => refused,
            };
            let Refused { why, again, lost } = refused;
            match again.filter(|_| insist) {
                Some(after) => {
                    if !told {
                        tracing::warn!(app = self.name, why, "lines cannot be exported now; they wait in their files");
                        told = true;
                    }
                    tokio::time::sleep(backoff.after_failure(after)).await;
                }
                None => {
                    let count = if again.is_some() { lines.len() } else { lost } as u64;
                    tracing::warn!(app = self.name, why, lines = count, "lines are not exported");
                    counters.not_exported.fetch_add(count, Ordering::Relaxed);
                    return;
                }
            }
        }
    }
}

impl Sink {
    async fn take(&mut self, lines: &[LogLine]) -> Result<(), Refused> {
        match self {
            Sink::Journald(journald) => journald.take(lines).await,
            Sink::Otlp(otlp) => otlp.take(lines).await,
        }
    }
}
