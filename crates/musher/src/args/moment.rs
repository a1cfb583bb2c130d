//! Points in time as people type them: so long ago, or a date.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

/// `10m`: so long ago. `2026-01-31`, `2026-01-31T12:30`, `2026-01-31 12:30:15`, with or without Z: UTC.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(0);
    at(text, now).ok_or_else(|| "so long ago (10m, 2h, 1d), or a time in UTC: 2026-01-31, 2026-01-31T12:30".into())
}

fn at(text: &str, now: u64) -> Option<Moment> {
    let text = text.trim();
    if let Some(ago) = ago(text) {
        return Some(Moment(now.saturating_sub(ago)));
    }
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00"));
    let numbers =
        |text: &str, sign: char| text.split(sign).map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let millis = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    let mut time = numbers(time, ':')?;
    time.resize(time.len().max(3), 0);
    let [hour, minute, second] = time.try_into().ok()?;
    let valid = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // As in musher_api::rfc3339: years begin in March, in eras of 400.
    let (year, month_from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (year / 400 * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(Moment((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis))
}

/// Milliseconds of `90s`, `10m`, `2h`, `1d`.
fn ago(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let factor = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use musher_api::rfc3339;

    use super::{Moment, at, moment};

    #[test]
    fn moments_are_so_long_ago_or_dates() {
        const NOW: u64 = 1_800_000_000_000;
        for (text, ms) in
            [("10m", NOW - 600_000), ("2h", NOW - 7_200_000), ("1d", NOW - 86_400_000), ("500ms", NOW - 500)]
        {
            assert_eq!(at(text, NOW), Some(Moment(ms)), "{text}");
        }
        for (text, written) in [
            ("1970-01-01", "1970-01-01T00:00:00.000Z"),
            ("2000-02-29T23:59:59.999Z", "2000-02-29T23:59:59.999Z"),
            ("2024-02-29 12:30", "2024-02-29T12:30:00.000Z"),
            ("2100-03-01T00:00:07.5", "2100-03-01T00:00:07.500Z"),
        ] {
            assert_eq!(rfc3339(at(text, NOW).unwrap().0), written, "{text}");
        }
        for text in
            ["", "10", "ten minutes", "2026-13-01", "2026-01-32", "26-01-01", "2026-01-31T25:00", "2026-01", "-1h"]
        {
            assert_eq!(at(text, NOW), None, "{text}");
        }
        assert!(moment("soon").unwrap_err().contains("10m"));
    }
}
