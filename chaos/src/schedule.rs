//! What is done to the team, and when: made from a seed before anything runs, so that a seed names a run.
//!
//! A schedule speaks of apps by number and of workers by chance numbers; who that is, is decided when the time comes.

use std::fmt;
use std::time::Duration;

use rustix::process::Signal;

use crate::apps::{APPS, App, Language};

/// A kind of fault: a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KillWorker,
    CrashWorker,
    PauseWorker,
    KillSupervisor,
    PauseSupervisor,
    KillKeeper,
    PauseKeeper,
    KillBoth,
    Reload,
    BrokenReload,
    Canary,
    Scale,
    Config,
    FullDisk,
    LogFlood,
    Block,
    Leak,
    Uncaught,
    Upgrade,
    /// Not in [`Kind::ALL`]: it loses requests, to see that they are found.
    Planted,
}

impl Kind {
    /// Whether the two may not coincide: what waits in the queue of a worker that ends while keeper and supervisor are dead
    /// has nobody left to hold it, as the guide says.
    fn excludes(self, other: Kind) -> bool {
        let ends_worker = |kind| {
            matches!(kind, Kind::KillWorker | Kind::CrashWorker | Kind::PauseWorker | Kind::Leak | Kind::Uncaught)
        };
        self == Kind::KillBoth && ends_worker(other) || other == Kind::KillBoth && ends_worker(self)
    }

    pub(crate) const ALL: [Kind; 19] = [
        Kind::KillWorker,
        Kind::CrashWorker,
        Kind::PauseWorker,
        Kind::KillSupervisor,
        Kind::PauseSupervisor,
        Kind::KillKeeper,
        Kind::PauseKeeper,
        Kind::KillBoth,
        Kind::Reload,
        Kind::BrokenReload,
        Kind::Canary,
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
            Kind::CrashWorker => "crash-worker",
            Kind::PauseWorker => "pause-worker",
            Kind::KillSupervisor => "kill-supervisor",
            Kind::PauseSupervisor => "pause-supervisor",
            Kind::KillKeeper => "kill-keeper",
            Kind::PauseKeeper => "pause-keeper",
            Kind::KillBoth => "kill-both",
            Kind::Reload => "reload",
            Kind::BrokenReload => "broken-reload",
            Kind::Canary => "canary",
            Kind::Scale => "scale",
            Kind::Config => "config",
            Kind::FullDisk => "full-disk",
            Kind::LogFlood => "log-flood",
            Kind::Block => "block",
            Kind::Leak => "leak",
            Kind::Uncaught => "uncaught",
            Kind::Upgrade => "upgrade",
            Kind::Planted => "planted-loss",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Kind::KillWorker => "kill -9 of a worker, also of one that starts or drains",
            Kind::CrashWorker => "SIGSEGV or SIGABRT of a worker",
            Kind::PauseWorker => "SIGSTOP of a worker for up to 3 s; sometimes it is killed then",
            Kind::KillSupervisor => "kill -9 of the supervisor",
            Kind::PauseSupervisor => "SIGSTOP of the supervisor for up to 3 s; sometimes it is killed then",
            Kind::KillKeeper => "kill -9 of the keeper",
            Kind::PauseKeeper => "SIGSTOP of the keeper for up to 3 s; sometimes it is killed then",
            Kind::KillBoth => "kill -9 of keeper and supervisor at once; the next command comes up to 3 s later",
            Kind::Reload => "musher reload",
            Kind::BrokenReload => "musher reload onto a version that throws or never listens: has to be refused",
            Kind::Canary => "a reload that tries the new version first; one that throws later has to be taken back",
            Kind::Scale => "musher scale, up or down",
            Kind::Config => "a changed process file, musher start FILE",
            Kind::FullDisk => "the home's file system is full for up to 3 s",
            Kind::LogFlood => "a worker writes thousands of lines at once",
            Kind::Block => "a worker computes for up to 1.5 s and serves nobody meanwhile",
            Kind::Leak => "a worker grows beyond limits.memory",
            Kind::Uncaught => "a worker throws what nobody catches",
            Kind::Upgrade => "musher upgrade to another copy of the executable",
            Kind::Planted => "kill -9 of a worker of which this program takes no note: the run has to fail",
        }
    }

    /// Whether it can be done to this app.
    fn fits(self, app: &App) -> bool {
        match self {
            // Orders are understood by the Node programs only, silence by those that say when they are ready.
            Kind::LogFlood | Kind::Block | Kind::Leak | Kind::Uncaught | Kind::Canary => app.language == Language::Node,
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
    /// Whether what was paused is killed then, and which of two a crash or a canary is.
    pub(crate) kill: bool,
    /// To how many workers it is scaled.
    pub(crate) workers: usize,
    pub(crate) broken: Broken,
}

impl Event {
    /// The signal by which a worker crashes, and its name. Rust's own handler takes the first SIGSEGV that nothing caused.
    pub(crate) fn crash(&self) -> (Signal, &'static str) {
        if self.kill || APPS[self.app].language == Language::Rust {
            (Signal::ABORT, "SIGABRT")
        } else {
            (Signal::SEGV, "SIGSEGV")
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let app = APPS[self.app].name;
        write!(f, "{}", self.kind.word())?;
        match self.kind {
            Kind::KillSupervisor | Kind::KillKeeper | Kind::Upgrade => Ok(()),
            Kind::KillWorker | Kind::Planted | Kind::Reload | Kind::Config => write!(f, " {app}"),
            Kind::LogFlood | Kind::Leak | Kind::Uncaught => write!(f, " {app}"),
            Kind::CrashWorker => write!(f, " {app}, {}", self.crash().1),
            Kind::Canary => write!(f, " {app}, {}", if self.kill { "throws later" } else { "good" }),
            Kind::KillBoth => write!(f, ", the next command after {:?}", self.lasts),
            Kind::PauseWorker if self.kill => write!(f, " {app}, {:?}, then kill -9", self.lasts),
            Kind::PauseWorker | Kind::Block => write!(f, " {app}, {:?}", self.lasts),
            Kind::PauseSupervisor | Kind::PauseKeeper if self.kill => write!(f, ", {:?}, then kill -9", self.lasts),
            Kind::PauseSupervisor | Kind::PauseKeeper | Kind::FullDisk => write!(f, ", {:?}", self.lasts),
            Kind::BrokenReload => write!(f, " {app}, {:?}", self.broken),
            Kind::Scale => write!(f, " {app} to {}", self.workers),
        }
    }
}

/// How long after a fault one comes that is not to coincide with it: longer than the next command takes to come, and the
/// daemon that it starts.
const APART: Duration = Duration::from_secs(5);

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
        let recent = events.iter().rev().take_while(|event: &&Event| at - event.at < APART);
        if recent.into_iter().any(|event| kind.excludes(event.kind)) {
            at += APART;
        }
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
        // Sometimes at the same time, sometimes close together, so that one thing comes in the middle of another; two
        // seconds on average.
        at += Duration::from_millis(match chance.below(6) {
            0 => 0,
            1 => 50 + chance.next() % 350,
            _ => 500 + chance.next() % 4000,
        });
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
    fn some_come_at_the_same_time() {
        let events = schedule(1, 10 * MINUTE, &Kind::ALL);
        let pairs = events.windows(2).filter(|pair| pair[0].at == pair[1].at).count();
        assert!(pairs * 10 > events.len(), "{pairs} of {}", events.len());
    }

    #[test]
    fn no_worker_is_ended_while_nobody_holds_its_queue() {
        let kinds = [Kind::KillBoth, Kind::KillWorker, Kind::Reload];
        let events = schedule(1, 10 * MINUTE, &kinds);
        let pairs = events.iter().enumerate().flat_map(|(n, a)| events[n + 1..].iter().map(move |b| (a, b)));
        let near: Vec<_> = pairs.filter(|(a, b)| b.at - a.at < APART).collect();
        assert!(near.iter().all(|(a, b)| !a.kind.excludes(b.kind)));
        assert!(near.iter().any(|(a, b)| a.kind == Kind::KillBoth || b.kind == Kind::KillBoth));
    }

    #[test]
    fn only_the_kinds_that_were_asked_for_come() {
        assert!(schedule(1, MINUTE, &[Kind::Reload]).iter().all(|event| event.kind == Kind::Reload));
        assert!(schedule(1, MINUTE, &[]).is_empty());
    }
}
