//! Which apps have logs, and the reading of them for the control server, beside the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use musher_api::{ApiError, Cursor, LogLine, LogQuery};
use musher_core::AppId;
use musher_core::spec::Logs;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use crate::control::LogSource;
use crate::home::Home;
use crate::logs::{Exports, LogFilter, LogHandle, LogPaths, LogReader, LogReaders, Pattern};

/// How many lines are given when nobody says how many.
const DEFAULT_LINES: u32 = 15;
/// How many lines of each app are read at a time.
const BATCH: usize = 512;

/// The apps and where they log. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LogRegistry {
    home: Home,
    handle: LogHandle,
    apps: Arc<Mutex<BTreeMap<AppId, (String, Logs)>>>,
    /// Changes when an app comes.
    added: Arc<watch::Sender<u64>>,
    exports: Exports,
}

impl LogRegistry {
    pub(super) fn new(home: Home, handle: LogHandle) -> LogRegistry {
        let exports = Exports::new(home.clone(), handle.clone());
        LogRegistry { home, handle, apps: Arc::default(), added: Arc::new(watch::Sender::new(0)), exports }
    }

    /// Opens the log files of an app.
    pub(super) fn insert(&self, app: AppId, name: &str, logs: &Logs) {
        self.handle.open_app(app, name, logs);
        self.exports.set(app, name, logs);
        self.apps().insert(app, (name.to_owned(), logs.clone()));
        self.added.send_modify(|count| *count += 1);
    }

    /// Closes the log files of an app.
    pub(super) fn remove(&self, app: AppId) {
        self.apps().remove(&app);
        drop(self.handle.close_app(app));
        self.exports.remove(app);
    }

    /// The apps that a query names, separated by commas.
    fn chosen(&self, target: Option<&str>) -> Result<Vec<(AppId, String, Logs)>, ApiError> {
        let apps = self.apps();
        let entry = |(id, (name, logs)): (&AppId, &(String, Logs))| (*id, name.clone(), logs.clone());
        let Some(target) = target.filter(|target| *target != "all") else {
            return Ok(apps.iter().map(entry).collect());
        };
        let mut chosen = Vec::new();
        for target in target.split(',') {
            let named = |(id, (name, _)): &(&AppId, &(String, Logs))| name == target || id.to_string() == target;
            let found = apps.iter().find(named).map(entry);
            chosen.push(found.ok_or_else(|| {
                ApiError::not_found(format!("there is no app {target:?}")).with_hint("`musher list` shows all apps")
            })?);
        }
        Ok(chosen)
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<AppId, (String, Logs)>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogSource for LogRegistry {
    fn read(&self, query: LogQuery, sink: mpsc::Sender<LogLine>) -> Result<(), ApiError> {
        let added = self.added.subscribe();
        let chosen = self.chosen(query.target.as_deref())?;
        let pattern = query
            .pattern
            .as_deref()
            .map(Pattern::parse)
            .transpose()
            .map_err(|why| ApiError::bad_request(format!("the pattern is no regular expression: {why}")))?;
        let filter = LogFilter { stream: query.stream, text: query.text.clone(), pattern, ..LogFilter::default() };
        let mut reading = Reading {
            readers: LogReaders::new(Vec::new()),
            known: BTreeSet::new(),
            filter,
            opened: BTreeSet::new(),
            watches: JoinSet::new(),
            sink,
            written: Arc::new(Notify::new()),
            registry: self.clone(),
            added,
            query,
        };
        for (app, name, logs) in chosen {
            reading.watch(app);
            for reader in reading.open(&name, &logs) {
                reading.readers.add(reader);
            }
            reading.known.insert((app, name));
        }
        // On a thread of its own: to search the packed past may take long, and nobody else is to wait for it.
        let read = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let read = runtime.and_then(|runtime| runtime.block_on(reading.run()));
            if let Err(error) = read {
                tracing::warn!(%error, "logs cannot be read");
            }
        };
        let thread = std::thread::Builder::new().name("log-reader".into()).spawn(read);
        thread.map(drop).map_err(|error| ApiError::internal(format!("logs cannot be read: {error}")))
    }
}

/// One reader at work.
struct Reading {
    readers: LogReaders,
    /// The apps whose lines are read.
    known: BTreeSet<(AppId, String)>,
    filter: LogFilter,
    /// The indexes of the files that are read.
    opened: BTreeSet<PathBuf>,
    watches: JoinSet<()>,
    sink: mpsc::Sender<LogLine>,
    written: Arc<Notify>,
    registry: LogRegistry,
    added: watch::Receiver<u64>,
    query: LogQuery,
}

impl Reading {
    /// Readers of the files of an app that are not read yet.
    fn open(&mut self, name: &str, logs: &Logs) -> Vec<LogReader> {
        let mut paths = LogPaths::all(&self.registry.home, name, logs);
        paths.retain(|paths| self.opened.insert(paths.index.clone()));
        paths.into_iter().map(|paths| LogReader::open(name, paths, self.filter.clone())).collect()
    }

    /// Slots that have files of their own may have written for the first time.
    fn add_slots(&mut self, from: Cursor) -> std::io::Result<()> {
        let chosen = self.registry.chosen(None).unwrap_or_default();
        for (app, name, logs) in chosen {
            if logs.per_worker && self.known.iter().any(|(known, _)| *known == app) {
                self.add(&name, &logs, from)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, logs: &Logs, from: Cursor) -> std::io::Result<()> {
        for mut reader in self.open(name, logs) {
            reader.since(from)?;
            self.readers.add(reader);
        }
        Ok(())
    }

    /// Wakes the reading when the app writes.
    fn watch(&mut self, app: AppId) {
        let (mut watch, written) = (self.registry.handle.watch(app), Arc::clone(&self.written));
        self.watches.spawn(async move {
            while watch.changed().await.is_ok() {
                written.notify_one();
            }
        });
    }

    /// Reads the lines of apps that came since, from this cursor on, when all apps are wanted.
    fn add_new(&mut self, from: Cursor) -> std::io::Result<()> {
        if self.query.target.as_deref().is_some_and(|target| target != "all") {
            return Ok(());
        }
        for (app, name, logs) in self.registry.chosen(None).unwrap_or_default() {
            if self.known.iter().any(|(known, _)| *known == app) {
                continue;
            }
            self.watch(app);
            // One of the same name that was deleted before wrote to the same files.
            if !self.known.iter().any(|(_, known)| *known == name) {
                self.add(&name, &logs, from)?;
            }
            self.known.insert((app, name));
        }
        Ok(())
    }

    async fn run(mut self) -> std::io::Result<()> {
        let (lines, since, follow) = (self.query.lines, self.query.since, self.query.follow);
        let begun = since.unwrap_or_else(|| Cursor(super::wall_clock_ms().saturating_mul(1_000_000)));
        match since {
            Some(cursor) => self.readers.since(cursor)?,
            None => {
                let count = usize::try_from(lines.unwrap_or(DEFAULT_LINES)).unwrap_or(usize::MAX);
                let last = self.readers.last(count)?;
                if !self.give(last).await || !follow {
                    return Ok(());
                }
            }
        }
        let mut left = since.and(lines);
        loop {
            let mut batch = self.readers.next_batch(BATCH)?;
            if let Some(left) = &mut left {
                batch.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= u32::try_from(batch.len()).unwrap_or(*left);
                if *left == 0 && !follow {
                    self.give(batch).await;
                    return Ok(());
                }
            }
            if batch.is_empty() {
                if !follow {
                    return Ok(());
                }
                tokio::select! {
                    () = self.written.notified() => self.add_slots(begun)?,
                    Ok(()) = self.added.changed() => self.add_new(begun)?,
                    () = self.sink.closed() => return Ok(()),
                }
            } else if !self.give(batch).await {
                return Ok(());
            }
        }
    }

    /// Whether the reader is still there.
    async fn give(&self, lines: Vec<LogLine>) -> bool {
        for line in lines {
            if self.sink.send(line).await.is_err() {
                return false;
            }
        }
        true
    }
}
