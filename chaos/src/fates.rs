//! The fate of every request: answered, held by a worker that was killed, or lost.
//!
//! A request is *held* only if all of this is true, and *lost* otherwise:
//!
//! 1. Its connection broke (reset, or ended before or within the answer). A refusal, no answer in time or a wrong answer
//!    are lost whatever happened.
//! 2. A process that this program killed had that very connection among its open files in the instant before its death:
//!    the process was stopped by SIGSTOP first, then its files were read from `/proc`, then it got SIGKILL. What only
//!    waited to be accepted, or was under way to the worker in a message, is not among them.
//! 3. The connection was opened before that instant and broke after it: a port is used again by later connections.
//!
//! So nothing that musher lets go of can pass for held, and a worker that ends by any other hand excuses nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use musher_bench::load::{Outcome, Sample};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    Held,
    Lost,
}

/// The connections that died with killed workers.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    /// By the server's port and the client's: when the worker was stopped to look.
    held: HashMap<(u16, u16), Vec<Instant>>,
}

impl Deaths {
    /// A worker that served `port` was stopped at `stopped`, held the connections of these clients, and was killed.
    pub(crate) fn add(&mut self, port: u16, clients: impl IntoIterator<Item = u16>, stopped: Instant) {
        for client in clients {
            self.held.entry((port, client)).or_default().push(stopped);
        }
    }

    /// The fate of a request to the server's `port`.
    pub(crate) fn fate(&self, port: u16, sample: &Sample) -> Fate {
        if matches!(sample.outcome, Outcome::Ok { .. }) {
            return Fate::Answered;
        }
        let (Some(client), Some(opened)) = (sample.local_port, sample.opened) else { return Fate::Lost };
        let ended = sample.planned + sample.latency;
        let deaths = self.held.get(&(port, client)).map(Vec::as_slice).unwrap_or_default();
        let held = sample.outcome.is_broken() && deaths.iter().any(|death| opened <= *death && *death <= ended);
        if held { Fate::Held } else { Fate::Lost }
    }
}

/// Requests by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) held: u64,
    pub(crate) lost: u64,
    /// The longest that an answered request took beyond what its answer takes.
    pub(crate) worst: Duration,
}

impl Tally {
    /// `own`: how long the answer takes by itself.
    pub(crate) fn add(&mut self, fate: Fate, sample: &Sample, own: Duration) {
        self.requests += 1;
        match fate {
            Fate::Answered => {
                self.answered += 1;
                self.worst = self.worst.max(sample.latency.saturating_sub(own));
            }
            Fate::Held => self.held += 1,
            Fate::Lost => self.lost += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sample(start: Instant, opened: u32, ended: u32, outcome: Outcome) -> Sample {
        let planned = start + opened * MS;
        let latency = (ended - opened) * MS;
        Sample { id: 1, planned, latency, local_port: Some(4000), opened: Some(planned), outcome }
    }

    fn deaths(start: Instant) -> Deaths {
        let mut deaths = Deaths::default();
        deaths.add(80, [4000], start + 100 * MS);
        deaths
    }

    #[test]
    fn what_broke_with_the_worker_that_held_it_is_held() {
        let start = Instant::now();
        let deaths = deaths(start);
        for outcome in [Outcome::Reset, Outcome::Eof, Outcome::Truncated] {
            assert_eq!(deaths.fate(80, &sample(start, 50, 101, outcome)), Fate::Held);
        }
    }

    #[test]
    fn nothing_else_is_held() {
        let start = Instant::now();
        let deaths = deaths(start);
        for outcome in [Outcome::Refused, Outcome::Timeout, Outcome::Wrong("x".into()), Outcome::Failed("x".into())] {
            assert_eq!(deaths.fate(80, &sample(start, 50, 101, outcome)), Fate::Lost);
        }
        let reset = || Outcome::Reset;
        assert_eq!(deaths.fate(81, &sample(start, 50, 101, reset())), Fate::Lost, "another server");
        assert_eq!(deaths.fate(80, &sample(start, 101, 110, reset())), Fate::Lost, "a later connection of that port");
        assert_eq!(deaths.fate(80, &sample(start, 50, 99, reset())), Fate::Lost, "broken before the death");
        let other = Sample { local_port: Some(4001), ..sample(start, 50, 101, reset()) };
        assert_eq!(deaths.fate(80, &other), Fate::Lost, "not among the files of the dead");
        let never = Sample { local_port: None, opened: None, ..sample(start, 50, 101, reset()) };
        assert_eq!(deaths.fate(80, &never), Fate::Lost, "never connected");
        let answered = sample(start, 50, 101, Outcome::Ok { pid: None, version: None });
        assert_eq!(deaths.fate(80, &answered), Fate::Answered);
    }
}
