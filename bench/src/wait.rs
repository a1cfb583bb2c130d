//! Waiting for something true, with a deadline.
//!
//! The one place of the tests where time passes: every other wait names its condition and comes here.

use std::time::{Duration, Instant};

/// How long between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks at `condition` until it yields a value; `None` when `limit` has passed before.
pub fn until<T>(limit: Duration, condition: impl FnMut() -> Option<T>) -> Option<T> {
    until_every(LOOK_EVERY, limit, condition)
}

/// As [`until`], with another time between two looks.
pub fn until_every<T>(pause: Duration, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
    }
}
