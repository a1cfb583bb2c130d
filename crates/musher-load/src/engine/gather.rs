//! When to let answers gather before they are taken.
//!
//! A client that is faster than the server sleeps after each answer, and the server has to wake it for the next: on many
//! machines that costs both of them more than the request. Where many requests are under way at once, a short rest
//! between two looks lets some answers come meanwhile. It is at most a twentieth of the mean response time, so that is
//! how much it can add to a latency; a server that is saturated adds as much less of its own (Little's law: users =
//! rate x response time, and the rate is the server's).

use std::time::{Duration, Instant};

/// How long the rate is measured before a rest is chosen anew.
const WINDOW: Duration = Duration::from_millis(10);
/// Fewer answers a second than this are not worth a rest.
const WORTH_RATE: f64 = 20_000.0;
/// The part of the mean response time that a rest may take.
const PART: f64 = 0.05;
/// A shorter rest gathers nothing: it costs as much as it saves.
const SHORTEST: Duration = Duration::from_micros(15);
const LONGEST: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct Gather {
    since: Instant,
    answers: u64,
    rest: Duration,
}

impl Gather {
    pub(super) fn new(now: Instant) -> Gather {
        Gather { since: now, answers: 0, rest: Duration::ZERO }
    }

    pub(super) fn answered(&mut self) {
        self.answers += 1;
    }

    /// How long to rest now, with so many requests under way; zero for not at all.
    pub(super) fn rest(&mut self, now: Instant, in_flight: u32) -> Duration {
        let window = now.saturating_duration_since(self.since);
        if window >= WINDOW {
            let rate = crate::tally::count(self.answers) / window.as_secs_f64();
            let response = f64::from(in_flight) / rate.max(1.0);
            let rest = Duration::from_secs_f64((response * PART).min(LONGEST.as_secs_f64()));
            self.rest = if rate >= WORTH_RATE && rest >= SHORTEST { rest } else { Duration::ZERO };
            (self.since, self.answers) = (now, 0);
        }
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen after a window with so many answers a second.
    fn chosen(rate: u64, in_flight: u32) -> Duration {
        let begin = Instant::now();
        let mut gather = Gather::new(begin);
        (0..rate / 100).for_each(|_| gather.answered());
        assert_eq!(gather.rest(begin + WINDOW / 2, in_flight), Duration::ZERO);
        gather.rest(begin + WINDOW, in_flight)
    }

    #[test]
    fn only_many_requests_at_once_rest_and_a_twentieth_at_most() {
        // 64 users at 100,000/s: 640 us each.
        assert_eq!(chosen(100_000, 64), Duration::from_micros(32));
        // One user sees the response time as it is, however fast it is.
        assert_eq!(chosen(50_000, 1), Duration::ZERO);
        assert_eq!(chosen(100_000, 16), Duration::ZERO);
        // A slow server needs no help.
        assert_eq!(chosen(10_000, 1000), Duration::ZERO);
        assert_eq!(chosen(0, 0), Duration::ZERO);
        assert_eq!(chosen(100_000, 10_000), LONGEST);
    }
}
