//! Times and sizes as people read them.

/// A size in powers of 1024: `980 KB`, `52.1 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 99.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// A time in its two largest units: `3d 4h`, `2m 5s`, `12s`, `0s`.
pub(crate) fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A short time exactly: `43 ms`, `1.2 s`; longer ones as [`uptime`].
pub(crate) fn precise(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 if ms % 1000 < 100 => format!("{} s", ms / 1000),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => uptime(ms),
    }
}

/// CPU in percent of one core.
pub(crate) fn percent(percent: f64) -> String {
    if percent < 9.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// `1 worker`, `2 workers`.
pub(crate) fn count(number: impl Into<u64>, one: &str) -> String {
    let number = number.into();
    if number == 1 { format!("{number} {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, percent, precise, uptime};

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KB"),
            (54_631_000, "52.1 MB"),
            (1023 << 10, "1.0 MB"),
            (u64::MAX, "16384 PB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (ms, text) in [(0, "0s"), (59_999, "59s"), (61_000, "1m 1s"), (3_600_000, "1h 0m"), (90_000_000, "1d 1h")] {
            assert_eq!(uptime(ms), text);
        }
        for (ms, text) in [(43, "43 ms"), (1250, "1.2 s"), (30_000, "30 s"), (61_000, "1m 1s")] {
            assert_eq!(precise(ms), text);
        }
        assert_eq!((percent(0.04), percent(9.96), percent(180.0)), ("0.0%".into(), "10%".into(), "180%".into()));
        assert_eq!((count(1u32, "worker"), count(0u32, "worker")), ("1 worker".into(), "0 workers".into()));
    }
}
