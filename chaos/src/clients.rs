//! The clients of the whole team, and the count of what became of their requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use musher_bench::load::{Load, Outcome, Plan, Report, Sample, Shape};

use crate::apps::APPS;
use crate::fates::{Fate, Tally};
use crate::schedule::Kind;
use crate::team::Team;
use crate::world::{AFTERMATH, Episode, World};

/// Whoever waits longer has lost. It is much longer than any fault lasts: the worst is a version that never listens while
/// the only worker is dead.
const TIMEOUT: Duration = Duration::from_secs(45);

/// So many lost requests are told one by one.
const TOLD: usize = 200;
/// So many of the longest waits are told.
const LONGEST: usize = 5;

#[derive(Debug)]
struct Client {
    app: usize,
    shape: Shape,
    load: Load,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    pub(crate) count: Count,
    /// Number of the first episode that may still be of interest.
    first_live: usize,
}

/// What became of all requests.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// By fault; None: while nothing was done.
    pub(crate) by_fault: BTreeMap<Option<Kind>, Tally>,
    /// By the clients' kind.
    pub(crate) by_shape: BTreeMap<&'static str, Tally>,
    pub(crate) all: Tally,
    pub(crate) lost: Vec<Told>,
    /// Those that waited longest for their answer, the longest first.
    pub(crate) longest: Vec<(Duration, Told)>,
    /// Kept connections and WebSockets that the server closed in good order.
    pub(crate) closed: u64,
}

/// A request that is told of, when it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) at: Duration,
    pub(crate) what: String,
}

impl Clients {
    pub(crate) fn start(team: &Team) -> Clients {
        let mut clients = Vec::new();
        for (app, of) in APPS.iter().enumerate() {
            for shape in of.clients {
                let plan = Plan { timeout: TIMEOUT, ..Plan::new(team.port(app), *shape) };
                clients.push(Client { app, shape: *shape, load: Load::start(plan) });
            }
        }
        Clients { clients, count: Count::default(), first_live: 0 }
    }

    /// Whether each has been answered at least this often.
    pub(crate) fn all_answered(&self, times: u64) -> bool {
        self.clients.iter().all(|client| client.load.answered() >= times)
    }

    /// Who was not.
    pub(crate) fn unanswered(&self, times: u64) -> Vec<String> {
        let without = self.clients.iter().filter(|client| client.load.answered() < times);
        without.map(|client| format!("{} ({})", APPS[client.app].name, word(client.shape))).collect()
    }

    /// Counts what has ended since the last time.
    pub(crate) fn look(&mut self, world: &World) {
        let samples: Vec<(usize, Shape, Vec<Sample>)> =
            self.clients.iter().map(|client| (client.app, client.shape, client.load.take())).collect();
        self.tally(world, samples);
    }

    /// Ends all clients and counts the rest.
    pub(crate) fn finish(mut self, world: &World) -> Count {
        let mut samples = Vec::new();
        for client in std::mem::take(&mut self.clients) {
            let Report { samples: rest, idle_closed, .. } = client.load.finish();
            self.count.closed += idle_closed;
            samples.push((client.app, client.shape, rest));
        }
        self.tally(world, samples);
        self.count
    }

    fn tally(&mut self, world: &World, samples: Vec<(usize, Shape, Vec<Sample>)>) {
        let episodes = {
            let episodes = world.episodes();
            // What was over long before any request that can end now began is of no interest any more.
            let long_ago = |episode: &&Episode| episode.end.is_some_and(|end| end.elapsed() > TIMEOUT + 3 * AFTERMATH);
            self.first_live += episodes[self.first_live..].iter().take_while(long_ago).count();
            episodes[self.first_live..].to_vec()
        };
        for (app, shape, samples) in samples {
            for sample in samples {
                let fate = world.deaths().fate(world.team.port(app), &sample);
                self.count.add(fate, &sample, app, shape, &episodes, world.started);
            }
        }
    }
}

impl Count {
    fn add(&mut self, fate: Fate, sample: &Sample, app: usize, shape: Shape, episodes: &[Episode], started: Instant) {
        let own = match shape {
            Shape::Streaming { chunks, every, .. } => (chunks + 1) * every,
            _ => Duration::ZERO,
        };
        let touching: Vec<&Episode> =
            episodes.iter().filter(|e| e.touches(sample.planned, sample.planned + sample.latency)).collect();
        let mut kinds: Vec<Option<Kind>> = touching.iter().map(|episode| Some(episode.kind)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            kinds.push(None);
        }
        for kind in kinds {
            self.by_fault.entry(kind).or_default().add(fate, sample, own);
        }
        self.by_shape.entry(word(shape)).or_default().add(fate, sample, own);
        self.all.add(fate, sample, own);
        let told = || {
            let active: Vec<&str> = touching.iter().map(|episode| episode.what.as_str()).collect();
            Told {
                at: (sample.planned + sample.latency).saturating_duration_since(started),
                what: told(sample, app, shape, &active),
            }
        };
        if fate == Fate::Lost && self.lost.len() < TOLD {
            self.lost.push(told());
        }
        let wait = sample.latency.saturating_sub(own);
        let shortest = self.longest.last().map_or(Duration::ZERO, |(wait, _)| *wait);
        if fate == Fate::Answered && (self.longest.len() < LONGEST || wait > shortest) {
            let place = self.longest.partition_point(|(other, _)| *other >= wait);
            self.longest.insert(place, (wait, told()));
            self.longest.truncate(LONGEST);
        }
    }
}

fn told(sample: &Sample, app: usize, shape: Shape, active: &[&str]) -> String {
    let outcome = match &sample.outcome {
        Outcome::Wrong(what) | Outcome::Failed(what) => format!("{}: {what}", sample.outcome.kind()),
        outcome => outcome.kind().to_owned(),
    };
    format!(
        "{} ({}): {outcome} after {:.3} s, client port {:?}; active: {}",
        APPS[app].name,
        word(shape),
        sample.latency.as_secs_f64(),
        sample.local_port,
        if active.is_empty() { "nothing".to_owned() } else { active.join("; ") },
    )
}

fn word(shape: Shape) -> &'static str {
    match shape {
        Shape::Fresh { .. } => "new connections",
        Shape::KeepAlive { .. } => "kept connections",
        Shape::Streaming { .. } => "long downloads",
        Shape::WebSocket { .. } => "WebSockets",
    }
}
