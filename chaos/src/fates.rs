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
//! There is one exception, and it is counted apart: *closed* is what found no listener, or waited at one that went, while
//! keeper and supervisor were both dead, of an app whose workers have no socket of their own (docs/guide/saved-apps.md).
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
    Closed,
    Lost,
}

/// The connections that died with killed workers.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    /// By the server's port and the client's: when the worker was stopped to look.
    held: HashMap<(u16, u16), Vec<Instant>>,
    /// When ports were closed since nothing of the daemon lived; None: still.
    closed: Vec<(u16, Instant, Option<Instant>)>,
}

impl Deaths {
    /// A worker that served `port` was stopped at `stopped`, held the connections of these clients, and was killed.
    pub(crate) fn add(&mut self, port: u16, clients: impl IntoIterator<Item = u16>, stopped: Instant) {
        for client in clients {
            self.held.entry((port, client)).or_default().push(stopped);
        }
    }

    /// Nothing of the daemon lives: `port` is closed from now on.
    pub(crate) fn close(&mut self, port: u16) {
        self.closed.push((port, Instant::now(), None));
    }

    /// All closed ports are open again.
    pub(crate) fn open(&mut self) {
        for (_, _, to) in self.closed.iter_mut().filter(|(_, _, to)| to.is_none()) {
            *to = Some(Instant::now());
        }
    }

    /// The fate of a request to the server's `port`.
    pub(crate) fn fate(&self, port: u16, sample: &Sample) -> Fate {
        if matches!(sample.outcome, Outcome::Ok { .. }) {
            return Fate::Answered;
        }
        let ended = sample.planned + sample.latency;
        let closed = |(of, from, to): &(u16, Instant, Option<Instant>)| {
            *of == port && *from <= ended && to.is_none_or(|to| ended <= to)
        };
        let waited = matches!(sample.outcome, Outcome::Refused | Outcome::Reset) && self.closed.iter().any(closed);
        let (Some(client), Some(opened)) = (sample.local_port, sample.opened) else {
            return if waited { Fate::Closed } else { Fate::Lost };
        };
        let deaths = self.held.get(&(port, client)).map(Vec::as_slice).unwrap_or_default();
        let held = sample.outcome.is_broken() && deaths.iter().any(|death| opened <= *death && *death <= ended);
        match (held, waited) {
            (true, _) => Fate::Held,
            (false, true) => Fate::Closed,
            (false, false) => Fate::Lost,
        }
    }
}

/// Requests by fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) held: u64,
    pub(crate) closed: u64,
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
            Fate::Closed => self.closed += 1,
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
    fn a_closed_port_excuses_what_ended_while_it_was_closed() {
        let start = Instant::now();
        let deaths = Deaths { closed: vec![(80, start + 40 * MS, Some(start + 60 * MS))], ..deaths(start) };
        for (ended, outcome, fate) in [
            (50, Outcome::Refused, Fate::Closed),
            (50, Outcome::Reset, Fate::Closed),
            (61, Outcome::Refused, Fate::Lost),
            (39, Outcome::Reset, Fate::Lost),
            (50, Outcome::Eof, Fate::Lost),
            (50, Outcome::Timeout, Fate::Lost),
        ] {
            let never = Sample { local_port: None, opened: None, ..sample(start, 30, ended, outcome.clone()) };
            assert_eq!(deaths.fate(80, &never), fate, "{outcome:?} at {ended}");
            assert_eq!(deaths.fate(80, &sample(start, 30, ended, outcome)), fate);
            assert_eq!(deaths.fate(81, &never), Fate::Lost, "another port");
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
