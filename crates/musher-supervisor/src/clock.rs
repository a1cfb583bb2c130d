//! The two clocks: one for deadlines, one for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use musher_core::Time;

/// The time for deadlines, on the clock that every supervisor and keeper since boot shares.
pub(crate) fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    Time(seconds * 1000 + millis)
}

/// The time for people: since 1970.
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
