//! Waiting for something true, with a deadline.
//!
//! The one place of the tests where time passes: every other wait names its condition and comes here.

use std::time::{Duration, Instant};

/// How long between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks at `condition` until it yields a value; `None` when `limit` has passed before.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
