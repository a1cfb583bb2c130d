//! Which apps have logs, and the reading of them for the control server, beside the driver.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use musher_api::{ApiError, Cursor, LogLine, LogQuery};
use musher_core::AppId;
use musher_core::spec::Logs;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::control::LogSource;
use crate::home::Home;
use crate::logs::{LogFilter, LogHandle, LogPaths, LogReader, LogReaders};

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
}

impl LogRegistry {
    pub(super) fn new(home: Home, handle: LogHandle) -> LogRegistry {
        LogRegistry { home, handle, apps: Arc::default() }
    }

    /// Opens the log files of an app.
    pub(super) fn insert(&self, app: AppId, name: &str, logs: &Logs) {
        self.handle.open_app(app, name, logs);
        self.apps().insert(app, (name.to_owned(), logs.clone()));
    }

    /// Closes the log files of an app.
    pub(super) fn remove(&self, app: AppId) {
        self.apps().remove(&app);
        drop(self.handle.close_app(app));
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
        let chosen = self.chosen(query.target.as_deref())?;
        let written = Arc::new(Notify::new());
        let mut watches = JoinSet::new();
        let mut readers = Vec::new();
        for (app, name, logs) in chosen {
            let filter = LogFilter { stream: query.stream, text: query.text.clone(), ..LogFilter::default() };
            readers.push(LogReader::open(&name, LogPaths::new(&self.home, &name, &logs), filter));
            let (mut watch, written) = (self.handle.watch(app), Arc::clone(&written));
            watches.spawn(async move {
                while watch.changed().await.is_ok() {
                    written.notify_one();
                }
            });
        }
        let reading = Reading { readers: LogReaders::new(readers), sink, written, follow: query.follow };
        tokio::spawn(async move {
            if let Err(error) = reading.run(query.lines, query.since).await {
                tracing::warn!(%error, "logs cannot be read");
            }
            drop(watches);
        });
        Ok(())
    }
}

/// One reader at work.
struct Reading {
    readers: LogReaders,
    sink: mpsc::Sender<LogLine>,
    written: Arc<Notify>,
    follow: bool,
}

impl Reading {
    async fn run(mut self, lines: Option<u32>, since: Option<Cursor>) -> std::io::Result<()> {
        match since {
            Some(cursor) => self.readers.since(cursor)?,
            None => {
                let count = usize::try_from(lines.unwrap_or(DEFAULT_LINES)).unwrap_or(usize::MAX);
                let last = self.readers.last(count)?;
                if !self.give(last).await || !self.follow {
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
                if *left == 0 && !self.follow {
                    self.give(batch).await;
                    return Ok(());
                }
            }
            if batch.is_empty() {
                if !self.follow {
                    return Ok(());
                }
                tokio::select! {
                    () = self.written.notified() => {}
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
