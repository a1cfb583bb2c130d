//! Is the worker of a slot alive, blocked or only busy? Pure.
//!
//! A slot's socket is watched for its first waiting connection, once. After that its queue is looked at on a common tick:
//! empty a few times, and the socket is left to itself again; not empty, and the worker is sent a message. A worker whose
//! event loop turns reads it; one that has not after [`ANSWER`] is blocked, and its siblings get what waits. So a
//! connection waits at most [`TICK`] or [`AGAIN`], and [`ANSWER`], because of it; and an idle slot costs nothing.

use std::time::{Duration, Instant};

/// How often the queues of watched slots are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(5);
/// How long a worker may take to read a message while connections wait.
const ANSWER: Duration = Duration::from_millis(10);
/// How long after an answer a worker with a queue is believed to be alive.
const AGAIN: Duration = Duration::from_millis(5);
/// Looks at an empty queue before the socket is left to itself.
const QUIET: u8 = 3;

/// What is known of a slot's worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing waits; the kernel tells when something does.
    Armed,
    /// Looked at on every tick.
    Watching { quiet: u8, believed_until: Option<Instant> },
    /// Connections wait and the worker was sent a message.
    Asked { since: Instant },
    /// It did not read it in time.
    Blocked,
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
    /// The kernel told that a connection waits.
    #[must_use]
    pub(crate) fn readable(&mut self) -> Step {
        match *self {
            Watch::Armed => {
                *self = Watch::Watching { quiet: 0, believed_until: None };
                Step::Wait
            }
            Watch::Watching { .. } | Watch::Asked { .. } => Step::Wait,
            Watch::Blocked => Step::Relieve,
        }
    }

    /// A tick: so many connections wait, and the worker has or has not read everything it was sent.
    #[must_use]
    pub(crate) fn tick(&mut self, now: Instant, queued: u32, all_read: bool) -> Step {
        match *self {
            Watch::Armed | Watch::Blocked => Step::Wait,
            Watch::Watching { quiet, believed_until } if queued == 0 => {
                if quiet + 1 >= QUIET {
                    *self = Watch::Armed;
                    return Step::Arm;
                }
                *self = Watch::Watching { quiet: quiet + 1, believed_until };
                Step::Wait
            }
            Watch::Watching { believed_until: Some(until), .. } if now < until => {
                *self = Watch::Watching { quiet: 0, believed_until: Some(until) };
                Step::Wait
            }
            Watch::Watching { .. } => {
                *self = Watch::Asked { since: now };
                Step::Ask
            }
            Watch::Asked { .. } if all_read || queued == 0 => {
                *self = Watch::Watching { quiet: 0, believed_until: Some(now + AGAIN) };
                Step::Alive
            }
            Watch::Asked { since } if now < since + ANSWER => Step::Wait,
            Watch::Asked { .. } => {
                *self = Watch::Blocked;
                Step::Relieve
            }
        }
    }

    /// A blocked worker has read what it was sent. Whether that changes anything.
    #[must_use]
    pub(crate) fn recovered(&mut self) -> bool {
        let was_blocked = *self == Watch::Blocked;
        if was_blocked {
            *self = Watch::Watching { quiet: 0, believed_until: None };
        }
        was_blocked
    }

    /// Whether new connections may go to the slot.
    pub(crate) fn is_blocked(self) -> bool {
        self == Watch::Blocked
    }

    /// Whether other slots' connections may be given to the slot's worker: nothing speaks against its being alive.
    pub(crate) fn takes_more(self) -> bool {
        matches!(self, Watch::Armed | Watch::Watching { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Step, TICK, Watch};

    /// Runs a watch from its first connection; `look` says at each tick how many wait and whether all was read.
    fn run(ticks: u32, look: impl Fn(u32) -> (u32, bool)) -> Vec<(u32, Step)> {
        let start = Instant::now();
        let mut watch = Watch::Armed;
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

    #[test]
    fn a_blocked_worker_that_reads_is_watched_again() {
        let mut watch = Watch::Blocked;
        assert_eq!(watch.readable(), Step::Relieve);
        assert_eq!(watch.tick(Instant::now(), 3, true), Step::Wait);
        assert!(watch.recovered());
        assert!(!watch.is_blocked());
        assert!(!watch.recovered());
    }
}
