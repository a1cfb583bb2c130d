//! When a dead supervisor is started again. Pure: time is a parameter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
/// The longest wait for a successor of one that had taken over: with the policy `round-robin` clients wait, too.
const LONGEST_AFTER_WORK: Duration = Duration::from_secs(1);
/// A supervisor that lived this long was sound.
const SOUND: Duration = Duration::from_secs(10);
/// How many supervisors in a row that had taken over are followed at once. Until the next one has taken over the keeper
/// is alone, so nobody waits for one that was merely killed; but one that always fails at its work must not spin.
const FOLLOWED_AT_ONCE: u32 = 20;

/// Counts short lives in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    short_lives: u32,
}

impl Backoff {
    /// How long to wait after a supervisor that lived for `life` and had or had not `taken_over`: not at all the first
    /// time (20 times, if it had), then 50 ms, doubling to 5 s (1 s, if it had), from the beginning again after a life of 10 s.
    pub(crate) fn after(&mut self, life: Duration, taken_over: bool) -> Duration {
        if life >= SOUND {
            self.short_lives = 0;
        }
        self.short_lives = self.short_lives.saturating_add(1);
        let (free, longest) = if taken_over { (FOLLOWED_AT_ONCE, LONGEST_AFTER_WORK) } else { (1, LONGEST) };
        match self.short_lives.checked_sub(free + 1) {
            None => Duration::ZERO,
            Some(n) => FIRST.saturating_mul(1u32.checked_shl(n).unwrap_or(u32::MAX)).min(longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_then_the_wait_doubles_to_its_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.after(Duration::from_millis(5), false).as_millis()).collect();
        assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!((0..100).all(|_| backoff.after(Duration::ZERO, false) == LONGEST));
    }

    #[test]
    fn supervisors_that_had_taken_over_are_followed_at_once_for_a_while() {
        let mut backoff = Backoff::default();
        assert!((0..FOLLOWED_AT_ONCE).all(|_| backoff.after(Duration::from_millis(90), true) == Duration::ZERO));
        assert_eq!(backoff.after(Duration::from_millis(90), true), FIRST);
        assert_eq!(backoff.after(Duration::from_millis(90), true), FIRST * 2);
        assert!((0..100).all(|_| backoff.after(Duration::from_millis(90), true) <= LONGEST_AFTER_WORK));
        assert_eq!(backoff.after(SOUND, true), Duration::ZERO);
    }

    #[test]
    fn a_sound_life_resets_the_wait() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after(Duration::ZERO, false);
        }
        assert_eq!(backoff.after(Duration::from_secs(10), false), Duration::ZERO);
        assert_eq!(backoff.after(Duration::ZERO, false), FIRST);
    }
}
