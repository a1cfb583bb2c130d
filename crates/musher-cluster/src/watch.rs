//! Is the worker of a slot alive, blocked or only busy? Pure.
//!
//! A slot's socket is watched for its first waiting connection, once. After that its queue is looked at on a common tick:
//! empty a few times, and the socket is left to itself again; not empty, and the worker is sent a message. A worker whose
//! event loop turns reads it; one that has not after [`ANSWER`] is blocked, and its siblings get what waits. So a
//! connection waits at most [`TICK`] or [`AGAIN`], and [`ANSWER`], because of it; and an idle slot costs nothing.
//!
//! A worker that reads soon after the verdict was not blocked: the machine is so busy that it had to wait for a processor.
//! Such verdicts cost more than they help, so each makes the next one later, up to [`MOST_DOUBT`] times.

use std::time::{Duration, Instant};

/// How often the queues of watched slots are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// How long a worker may take to read a message while connections wait.
const ANSWER: Duration = Duration::from_millis(10);
/// How long after an answer a worker with a queue is believed to be alive.
const AGAIN: Duration = Duration::from_millis(5);
/// Looks at an empty queue before the socket is left to itself.
const QUIET: u8 = 3;

/// How soon after a verdict it is seen to be wrong.
const SOON: Duration = Duration::from_millis(60);
/// How often the time for an answer is doubled at most.
const MOST_DOUBT: u32 = 3;

/// The watch over a slot's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    state: State,
    /// How many verdicts in a row were wrong.
    doubt: u32,
}

/// What is known of a slot's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing waits; the kernel tells when something does.
    Armed,
    /// Looked at on every tick.
    Watching { quiet: u8, believed_until: Option<Instant> },
    /// Connections wait and the worker was sent a message.
    Asked { since: Instant },
    /// It did not read it in time.
    Blocked { since: Instant },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look again on the next tick.
    Wait,
    /// Have the kernel tell when a connection waits; no ticks are needed.
    Arm,
    /// Send the worker a message, and look again on the next tick.
    Ask,
    /// The worker is alive: it can take what waits elsewhere. Look again on the next tick.
    Alive,
    /// Give what waits to siblings, and new connections too. No ticks are needed.
    Relieve,
}

impl Watch {
    /// Nothing waits, as far as is known.
    pub(crate) fn new() -> Watch {
        Watch { state: State::Armed, doubt: 0 }
    }

    /// The kernel told that a connection waits.
    #[must_use]
    pub(crate) fn readable(&mut self) -> Step {
        match self.state {
            State::Armed => {
                self.state = State::Watching { quiet: 0, believed_until: None };
                Step::Wait
            }
            State::Watching { .. } | State::Asked { .. } => Step::Wait,
            State::Blocked { .. } => Step::Relieve,
        }
    }

    /// A tick: so many connections wait, and the worker has or has not read everything it was sent.
    #[must_use]
    pub(crate) fn tick(&mut self, now: Instant, queued: u32, all_read: bool) -> Step {
        match self.state {
            State::Armed | State::Blocked { .. } => Step::Wait,
            State::Watching { quiet, believed_until } if queued == 0 => {
                if quiet + 1 >= QUIET {
                    self.state = State::Armed;
                    return Step::Arm;
                }
                self.state = State::Watching { quiet: quiet + 1, believed_until };
                Step::Wait
            }
            State::Watching { believed_until: Some(until), .. } if now < until => {
                self.state = State::Watching { quiet: 0, believed_until: Some(until) };
                Step::Wait
            }
            State::Watching { .. } => {
                self.state = State::Asked { since: now };
                Step::Ask
            }
            State::Asked { .. } if all_read || queued == 0 => {
                self.state = State::Watching { quiet: 0, believed_until: Some(now + AGAIN) };
                Step::Alive
            }
            State::Asked { since } if now < since + ANSWER * (1 << self.doubt) => Step::Wait,
            State::Asked { .. } => {
                self.state = State::Blocked { since: now };
                Step::Relieve
            }
        }
    }

    /// A blocked worker has read what it was sent. Whether that changes anything.
    #[must_use]
    pub(crate) fn recovered(&mut self, now: Instant) -> bool {
        let State::Blocked { since } = self.state else { return false };
        self.doubt = if now < since + SOON { (self.doubt + 1).min(MOST_DOUBT) } else { 0 };
        self.state = State::Watching { quiet: 0, believed_until: None };
        true
    }

    /// Whether the kernel has to tell when a connection waits.
    pub(crate) fn is_armed(self) -> bool {
        self.state == State::Armed
    }

    /// Whether an answer of the worker is waited for.
    pub(crate) fn is_asked(self) -> bool {
        matches!(self.state, State::Asked { .. })
    }

    /// Whether new connections must not go to the slot.
    pub(crate) fn is_blocked(self) -> bool {
        matches!(self.state, State::Blocked { .. })
    }

    /// Whether other slots' connections may be given to the slot's worker: nothing speaks against its being alive.
    pub(crate) fn takes_more(self) -> bool {
        matches!(self.state, State::Armed | State::Watching { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Step, TICK, Watch};

    /// Runs a watch from its first connection; `look` says at each tick how many wait and whether all was read.
    fn run(ticks: u32, look: impl Fn(u32) -> (u32, bool)) -> Vec<(u32, Step)> {
        let start = Instant::now();
        let mut watch = Watch::new();
        let mut steps = vec![(0, watch.readable())];
        for n in 1..=ticks {
            let (queued, all_read) = look(n);
            steps.push((n, watch.tick(start + TICK * n, queued, all_read)));
        }
        steps.retain(|(_, step)| !matches!(step, Step::Wait | Step::Alive));
        steps
    }

    #[test]
    fn an_idle_slot_is_left_to_itself() {
        assert_eq!(run(3, |_| (0, true)), [(3, Step::Arm)]);
    }

    #[test]
    fn a_busy_worker_is_asked_now_and_then() {
        let steps = run(12, |n| (5, n % 2 == 0));
        assert!(steps.iter().all(|(_, step)| *step == Step::Ask), "{steps:?}");
        assert!((3..=6).contains(&steps.len()), "{steps:?}");
    }

    #[test]
    fn a_blocked_worker_is_found_in_time() {
        assert_eq!(run(4, |_| (1, false)), [(1, Step::Ask), (3, Step::Relieve)]);
        // Also when it blocks just after it has answered.
        let steps = run(9, |n| (1, n <= 2));
        assert_eq!(steps, [(1, Step::Ask), (3, Step::Ask), (5, Step::Relieve)]);
        assert!(TICK * 3 <= Duration::from_millis(15));
    }

    /// A watch over a worker that was just found to be blocked.
    fn blocked(watch: &mut Watch, start: Instant) -> Instant {
        let _ = watch.readable();
        for n in 1.. {
            let now = start + TICK * n;
            if watch.tick(now, 1, false) == Step::Relieve {
                return now;
            }
        }
        unreachable!("it is found at some time");
    }

    #[test]
    fn a_blocked_worker_that_reads_is_watched_again() {
        let mut watch = Watch::new();
        let now = blocked(&mut watch, Instant::now());
        assert_eq!(watch.readable(), Step::Relieve);
        assert_eq!(watch.tick(now, 3, true), Step::Wait);
        assert!(watch.is_blocked());
        assert!(watch.recovered(now));
        assert!(!watch.is_blocked());
        assert!(!watch.recovered(now));
    }

    #[test]
    fn wrong_verdicts_make_the_next_one_later_and_a_right_one_does_not() {
        let mut watch = Watch::new();
        let mut start = Instant::now();
        let mut found_after = Vec::new();
        for blocked_for in [1, 1, 1, 1, 1, 2000, 2000].map(Duration::from_millis) {
            let now = blocked(&mut watch, start);
            found_after.push((now - start).as_millis());
            start = now + blocked_for;
            assert!(watch.recovered(start));
        }
        assert_eq!(found_after, [15, 25, 45, 85, 85, 85, 15]);
    }
}
