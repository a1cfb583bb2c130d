//! What everybody shares while it runs: the team, what was done to it and when, and what was found wrong.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::apps::APPS;
use crate::fates::Deaths;
use crate::schedule::{Event, Kind};
use crate::team::{Team, Wanted};

/// How long a fault counts as active after it is over: what it left behind is its doing, too.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(2);

/// Something that was done.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) kind: Kind,
    /// What was planned, then what it came to.
    pub(crate) what: String,
    pub(crate) begin: Instant,
    /// None while it goes on.
    pub(crate) end: Option<Instant>,
}

impl Episode {
    /// Whether it was active in some part of this time.
    pub(crate) fn touches(&self, from: Instant, to: Instant) -> bool {
        self.begin <= to && self.end.is_none_or(|end| from <= end + AFTERMATH)
    }
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) at: Duration,
    pub(crate) what: String,
}

/// A command that ended with an error, as it may when something is done to the daemon meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) what: String,
}

/// What everybody shares.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) team: Team,
    pub(crate) started: Instant,
    stopping: AtomicBool,
    deaths: Mutex<Deaths>,
    episodes: Mutex<Vec<Episode>>,
    findings: Mutex<Vec<Finding>>,
    refusals: Mutex<Vec<Refusal>>,
    /// What each app should be; held while a command for it is under way, since a second one would be refused.
    wanted: Vec<Mutex<Wanted>>,
    /// When nothing of the daemon lived; None: still.
    dark: Mutex<Vec<(Instant, Option<Instant>)>>,
    /// Held while a process of the daemon is dead: the promise is about any one of them.
    pub(crate) daemon: Mutex<()>,
    /// Held while a process of the daemon is stopped.
    pub(crate) paused: Mutex<()>,
    /// Held while the disk is full.
    pub(crate) disk: Mutex<()>,
    /// The executable of the next upgrade.
    pub(crate) copies: Mutex<Vec<PathBuf>>,
}

impl World {
    pub(crate) fn new(team: Team) -> World {
        World {
            team,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            deaths: Mutex::default(),
            episodes: Mutex::default(),
            findings: Mutex::default(),
            refusals: Mutex::default(),
            wanted: APPS.iter().map(|app| Mutex::new(Wanted { workers: app.workers, build: 0 })).collect(),
            dark: Mutex::default(),
            daemon: Mutex::default(),
            paused: Mutex::default(),
            disk: Mutex::default(),
            copies: Mutex::default(),
        }
    }

    /// Does nothing more that is planned.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn deaths(&self) -> MutexGuard<'_, Deaths> {
        lock(&self.deaths)
    }

    /// What the app should be; nobody else gives it commands meanwhile.
    pub(crate) fn wanted(&self, app: usize) -> MutexGuard<'_, Wanted> {
        lock(&self.wanted[app])
    }

    /// An event begins; its number.
    pub(crate) fn begin(&self, event: &Event) -> usize {
        let mut episodes = lock(&self.episodes);
        episodes.push(Episode { kind: event.kind, what: event.to_string(), begin: Instant::now(), end: None });
        episodes.len() - 1
    }

    /// It begins only now: until now it waited for another one.
    pub(crate) fn begins_now(&self, number: usize) {
        if let Some(episode) = lock(&self.episodes).get_mut(number) {
            episode.begin = Instant::now();
        }
    }

    /// An event is over.
    pub(crate) fn end(&self, number: usize, came_to: &str) {
        if let Some(episode) = lock(&self.episodes).get_mut(number) {
            episode.end = Some(Instant::now());
            if !came_to.is_empty() {
                episode.what = format!("{}: {came_to}", episode.what);
            }
        }
    }

    /// All events that began, in that order.
    pub(crate) fn episodes(&self) -> MutexGuard<'_, Vec<Episode>> {
        lock(&self.episodes)
    }

    /// All of the daemon dies now.
    pub(crate) fn dark_from(&self) {
        lock(&self.dark).push((Instant::now(), None));
    }

    /// There is a daemon again.
    pub(crate) fn dark_to(&self) {
        for (_, to) in lock(&self.dark).iter_mut().filter(|(_, to)| to.is_none()) {
            *to = Some(Instant::now());
        }
    }

    pub(crate) fn dark(&self) -> Vec<(Instant, Option<Instant>)> {
        lock(&self.dark).clone()
    }

    pub(crate) fn found(&self, what: impl Into<String>) {
        lock(&self.findings).push(Finding { at: self.started.elapsed(), what: what.into() });
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        lock(&self.findings).clone()
    }

    pub(crate) fn refused(&self, from: Instant, what: String) {
        lock(&self.refusals).push(Refusal { from, to: Instant::now(), what });
    }

    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        lock(&self.refusals).clone()
    }
}

/// A thread that panicked leaves what it had written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
