//! What is done to the team, and when: made from a seed before anything runs, so that a seed names a run.
//!
//! A schedule speaks of apps by number and of workers by chance numbers; who that is, is decided when the time comes.

use std::fmt;
use std::time::Duration;

use crate::apps::{APPS, App, Language};

/// A kind of fault: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillWorker,
    PauseWorker,
    KillSupervisor,
    PauseSupervisor,
    KillKeeper,
    PauseKeeper,
    Reload,
    BrokenReload,
    Scale,
    Config,
    FullDisk,
    LogFlood,
    Block,
    Leak,
    Uncaught,
    Upgrade,
}

impl Kind {
    pub(crate) const ALL: [Kind; 16] = [
        Kind::KillWorker,
        Kind::PauseWorker,
        Kind::KillSupervisor,
        Kind::PauseSupervisor,
        Kind::KillKeeper,
        Kind::PauseKeeper,
        Kind::Reload,
        Kind::BrokenReload,
        Kind::Scale,
        Kind::Config,
        Kind::FullDisk,
        Kind::LogFlood,
        Kind::Block,
        Kind::Leak,
        Kind::Uncaught,
        Kind::Upgrade,
    ];

    /// Its word on the command line and in the table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::KillWorker => "kill-worker",
            Kind::PauseWorker => "pause-worker",
            Kind::KillSupervisor => "kill-supervisor",
            Kind::PauseSupervisor => "pause-supervisor",
            Kind::KillKeeper => "kill-keeper",
            Kind::PauseKeeper => "pause-keeper",
            Kind::Reload => "reload",
            Kind::BrokenReload => "broken-reload",
            Kind::Scale => "scale",
            Kind::Config => "config",
            Kind::FullDisk => "full-disk",
            Kind::LogFlood => "log-flood",
            Kind::Block => "block",
            Kind::Leak => "leak",
            Kind::Uncaught => "uncaught",
            Kind::Upgrade => "upgrade",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Kind::KillWorker => "kill -9 of a worker, also of one that starts or drains",
            Kind::PauseWorker => "SIGSTOP of a worker for up to 3 s; sometimes it is killed then",
            Kind::KillSupervisor => "kill -9 of the supervisor",
            Kind::PauseSupervisor => "SIGSTOP of the supervisor for up to 3 s; sometimes it is killed then",
            Kind::KillKeeper => "kill -9 of the keeper",
            Kind::PauseKeeper => "SIGSTOP of the keeper for up to 3 s; sometimes it is killed then",
            Kind::Reload => "musher reload",
            Kind::BrokenReload => "musher reload onto a version that throws or never listens: has to be refused",
            Kind::Scale => "musher scale, up or down",
            Kind::Config => "a changed process file, musher start FILE",
            Kind::FullDisk => "the home's file system is full for up to 3 s",
            Kind::LogFlood => "a worker writes thousands of lines at once",
            Kind::Block => "a worker computes for up to 1.5 s and serves nobody meanwhile",
            Kind::Leak => "a worker grows beyond limits.memory",
            Kind::Uncaught => "a worker throws what nobody catches",
            Kind::Upgrade => "musher upgrade to another copy of the executable",
        }
    }

    /// Whether it can be done to this app.
    fn fits(self, app: &App) -> bool {
        match self {
            // Orders are understood by the Node programs only, silence by those that say when they are ready.
            Kind::LogFlood | Kind::Block | Kind::Leak | Kind::Uncaught => app.language == Language::Node,
            Kind::BrokenReload => app.language != Language::Rust,
            _ => true,
        }
    }
}

/// How a version is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The files on disk throw at start.
    Throws,
    /// The files on disk never listen.
    Silent,
    /// The changed process file makes it throw.
    Config,
}

/// What is done at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// From the start.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    /// To which app, by its number; the daemon's faults have none.
    pub(crate) app: usize,
    /// Chooses a worker.
    pub(crate) pick: u64,
    /// For how long, where it lasts.
    pub(crate) lasts: Duration,
    /// Whether what was paused is killed then.
    pub(crate) kill: bool,
    /// To how many workers it is scaled.
    pub(crate) workers: usize,
    pub(crate) broken: Broken,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app = APPS[self.app].name;
        write!(f, "{}", self.kind.word())?;
        match self.kind {
            Kind::KillSupervisor | Kind::KillKeeper | Kind::Upgrade => Ok(()),
            Kind::KillWorker | Kind::Reload | Kind::Config | Kind::LogFlood | Kind::Leak | Kind::Uncaught => {
                write!(f, " {app}")
            }
            Kind::PauseWorker if self.kill => write!(f, " {app}, {:?}, then kill -9", self.lasts),
            Kind::PauseWorker | Kind::Block => write!(f, " {app}, {:?}", self.lasts),
            Kind::PauseSupervisor | Kind::PauseKeeper if self.kill => write!(f, ", {:?}, then kill -9", self.lasts),
            Kind::PauseSupervisor | Kind::PauseKeeper | Kind::FullDisk => write!(f, ", {:?}", self.lasts),
            Kind::BrokenReload => write!(f, " {app}, {:?}", self.broken),
            Kind::Scale => write!(f, " {app} to {}", self.workers),
        }
    }
}

/// The schedule of `seed` for this time and these kinds. Every kind comes once before any comes twice.
pub(crate) fn schedule(seed: u64, length: Duration, kinds: &[Kind]) -> Vec<Event> {
    let mut chance = Chance(seed);
    let mut events = Vec::new();
    let mut bag: Vec<Kind> = Vec::new();
    let mut at = Duration::from_secs(1);
    while at < length && !kinds.is_empty() {
        if bag.is_empty() {
            bag = kinds.to_vec();
        }
        let kind = bag.swap_remove(chance.below(bag.len()));
        let fitting: Vec<usize> = (0..APPS.len()).filter(|app| kind.fits(&APPS[*app])).collect();
        let app = fitting[chance.below(fitting.len())];
        events.push(Event {
            at,
            kind,
            app,
            pick: chance.next(),
            lasts: Duration::from_millis(match kind {
                Kind::Block => 200 + chance.next() % 1300,
                _ => 300 + chance.next() % 2700,
            }),
            kill: chance.next().is_multiple_of(3),
            workers: 1 + chance.below(3),
            broken: match APPS[app].language {
                Language::Node => [Broken::Throws, Broken::Silent, Broken::Config][chance.below(3)],
                Language::Python | Language::Rust => [Broken::Throws, Broken::Config][chance.below(2)],
            },
        });
        // Sometimes close together, so that one thing comes in the middle of another; two seconds on average.
        let gap = if chance.below(3) == 0 { 50 + chance.next() % 350 } else { 500 + chance.next() % 4500 };
        at += Duration::from_millis(gap);
    }
    events
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is small and not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_seed_names_a_schedule() {
        assert_eq!(schedule(7, MINUTE, &Kind::ALL), schedule(7, MINUTE, &Kind::ALL));
        assert_ne!(schedule(7, MINUTE, &Kind::ALL), schedule(8, MINUTE, &Kind::ALL));
    }

    #[test]
    fn a_longer_run_begins_like_the_shorter_one() {
        let short = schedule(7, MINUTE, &Kind::ALL);
        assert_eq!(schedule(7, 10 * MINUTE, &Kind::ALL)[..short.len()], short);
    }

    #[test]
    fn every_kind_comes_and_none_much_more_often() {
        let events = schedule(1, 10 * MINUTE, &Kind::ALL);
        let count = |kind| events.iter().filter(|event| event.kind == kind).count();
        let counts: Vec<usize> = Kind::ALL.into_iter().map(count).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least >= 10 && most - least <= 1, "{counts:?}");
        assert!(events.iter().all(|event| event.kind.fits(&APPS[event.app]) && (1..=3).contains(&event.workers)));
    }

    #[test]
    fn only_the_kinds_that_were_asked_for_come() {
        assert!(schedule(1, MINUTE, &[Kind::Reload]).iter().all(|event| event.kind == Kind::Reload));
        assert!(schedule(1, MINUTE, &[]).is_empty());
    }
}
