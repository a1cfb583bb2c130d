//! Few connections are dealt out in strict turns, many by the kernel. Pure.
//!
//! A kernel that draws lots spreads many short connections evenly, but not few long ones: of 64 that stay, one of two
//! workers has more than 35 every third time. So as long as connections come slowly, or as a burst after quiet, they
//! are accepted here and handed over in turns; when they keep coming, the kernel deals them out to the slots.

use std::time::{Duration, Instant};

/// A bucket of turns: each connection takes one, time refills it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    turns: f64,
    at: Instant,
    in_turns: bool,
}

/// The largest burst that is dealt out in turns.
const MOST: f64 = 256.0;
/// Turns gained a second: what comes slower than this is always dealt out in turns.
const PER_SECOND: f64 = 64.0;
/// With so many, turns are taken up again.
const ENOUGH: f64 = 192.0;
/// How often the bucket is looked at while the kernel deals.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

impl Pace {
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { turns: MOST, at: now, in_turns: true }
    }

    /// Whether connections are dealt out in turns.
    pub(crate) fn in_turns(&self) -> bool {
        self.in_turns
    }

    /// So many connections have come, perhaps none. Whether the way to deal has changed.
    #[must_use]
    pub(crate) fn arrived(&mut self, now: Instant, count: u32) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        self.at = now;
        self.turns = ((self.turns + gained).min(MOST) - f64::from(count)).max(0.0);
        let before = self.in_turns;
        self.in_turns = if before { self.turns > 0.0 } else { self.turns >= ENOUGH };
        self.in_turns != before
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Pace;

    #[test]
    fn bursts_and_trickles_go_in_turns_and_streams_do_not() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(!pace.arrived(start, 64));
        assert!(pace.in_turns());

        // A second each, at 500 a second and then at 20.
        let mut seconds = 0;
        let mut second = |pace: &mut Pace, count| {
            seconds += 1;
            let _ = pace.arrived(start + Duration::from_secs(seconds), count);
            pace.in_turns()
        };
        assert!(!second(&mut pace, 500));
        assert!(!second(&mut pace, 500));
        let back = (0..10).take_while(|_| !second(&mut pace, 20)).count();
        assert!((3..9).contains(&back), "{back}");
        assert!((0..100).all(|_| second(&mut pace, 20)));
    }
}
