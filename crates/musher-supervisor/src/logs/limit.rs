//! How many lines of an app are written in a second, when somebody asked for a limit.

use std::time::{Duration, Instant};

/// What counts as one moment.
const WINDOW: Duration = Duration::from_secs(1);

/// The lines of one second, counted.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    end: Instant,
    used: u32,
}

impl Limiter {
    pub(super) fn new(limit: u32) -> Limiter {
        Limiter { limit, end: Instant::now(), used: 0 }
    }

    /// How many of these bytes, whole lines, may be written at `now`. What is behind them is to be dropped.
    pub(super) fn admit(&mut self, lines: &[u8], now: Instant) -> usize {
        if now >= self.end {
            (self.end, self.used) = (now + WINDOW, 0);
        }
        let mut admitted = 0;
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if self.used >= self.limit {
                break;
            }
            self.used += 1;
            admitted += line.len();
        }
        admitted
    }

    /// When the next lines may be written.
    pub(super) fn end(&self) -> Instant {
        self.end
    }

    /// Why lines were dropped. It begins with [`OVER`].
    pub(super) fn reason(&self) -> String {
        format!("{OVER} {} a second", self.limit)
    }
}

/// How the reason of what was dropped on purpose begins.
pub(super) const OVER: &str = "over the limit of";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_dropped_until_the_second_is_over() {
        let mut limiter = Limiter::new(3);
        let now = Instant::now();
        assert_eq!(limiter.admit(b"a\nbb\n", now), 5);
        assert_eq!(limiter.admit(b"ccc\nd\n", now + WINDOW / 2), 4);
        assert_eq!(limiter.admit(b"e\n", now + WINDOW / 2), 0);
        let next = limiter.end();
        assert_eq!(limiter.admit(b"f\n", next), 2);
        assert!(limiter.reason().starts_with(OVER));
    }
}
