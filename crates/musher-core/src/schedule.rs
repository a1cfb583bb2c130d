//! When a pattern of cron comes true. Pure: the moment is a parameter, and the rules of all time zones are built in.
//!
//! A pattern speaks of local times. Twice a year some of them do not exist, or exist twice:
//!
//! | the pattern's hour | a time that is left out (clock goes forward) | a time that comes twice (clock goes back) |
//! |---|---|---|
//! | begins with `*`: every hour, or every so many | left out: the next hour has its own | both times: it is every hour |
//! | fixed: `2`, `1-5`, `2,14` | at the first moment after the gap, once | the first time only |

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 256;
/// A time later than this after its moment was missed, not late.
pub const LATE: Duration = Duration::from_secs(60);
/// A clock that was set back by more than this had been wrong before.
const WRONG_CLOCK: u64 = 3 * 3600 * 1000;
/// Where a search for the first time ever begins: any day will do.
const ANY_DAY: u64 = 1_700_000_000_000;
/// No change of the clock is so far from an hour that contains it.
const MOST_CHANGES: usize = 8;

/// A pattern in a time zone.
#[derive(Clone)]
pub struct Calendar {
    cron: Cron,
    zone: Tz,
    /// Whether its hours are all, or each so many.
    hourly: bool,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether the moment has come.
    pub due: bool,
    /// The last moment that passed unused since the look before, more than [`LATE`] ago: nobody was there.
    pub missed_ms: Option<u64>,
    /// Up to when all moments are dealt with: what the next look is given.
    pub seen_ms: u64,
    /// The next moment; none: there is none any more.
    pub next_ms: Option<u64>,
}

impl Calendar {
    /// Reads a pattern of five fields, or six with seconds first, for a zone such as `Europe/Berlin`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for people.
    pub fn new(pattern: &str, zone: &str) -> Result<Calendar, String> {
        let zone: Tz = zone.parse().map_err(|_| unknown_zone(zone))?;
        let pattern = pattern.trim();
        if pattern.len() > MAX_PATTERN {
            return Err(format!("a pattern has at most {MAX_PATTERN} bytes"));
        }
        let fields: Vec<&str> = pattern.split_ascii_whitespace().collect();
        if !pattern.starts_with('@') && !(5..=6).contains(&fields.len()) {
            return Err(format!(
                "{pattern:?} has {} fields: 5 are needed (minute hour day month weekday), or 6 with seconds first",
                fields.len()
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser.parse(pattern).map_err(|error| format!("{pattern:?} is no pattern of cron: {error}"))?;
        let hour = fields.len().checked_sub(4).and_then(|at| fields.get(at)).copied().unwrap_or("");
        let hourly = hour.starts_with('*') || pattern.eq_ignore_ascii_case("@hourly");
        let calendar = Calendar { cron, zone, hourly };
        match calendar.after(ANY_DAY) {
            Some(_) => Ok(calendar),
            None => Err(format!("{pattern:?} never comes true")),
        }
    }

    /// The first moment after this one; both in milliseconds since 1970.
    pub fn after(&self, ms: u64) -> Option<u64> {
        // A pattern knows whole seconds.
        let from = DateTime::from_timestamp(i64::try_from(ms / 1000).ok()?, 0)?;
        let found = if self.hourly { self.next_of_each_hour(from)? } else { self.next_of_fixed_hours(from)? };
        u64::try_from(found.timestamp_millis()).ok()
    }

    /// Looks at the clock. `seen_ms` is that of the look before; of the first one the moment when the schedule began.
    pub fn look(&self, seen_ms: u64, now_ms: u64) -> Look {
        // A clock that was wrong, and far ahead, is no reason to wait until that time comes.
        let seen_ms = if seen_ms > now_ms.saturating_add(WRONG_CLOCK) { now_ms } else { seen_ms };
        let mut look = Look { due: false, missed_ms: None, seen_ms, next_ms: self.after(seen_ms) };
        let Some(first) = look.next_ms.filter(|first| *first <= now_ms) else { return look };
        let late = u64::try_from(LATE.as_millis()).unwrap_or(u64::MAX);
        // Moments within the last minute count as come; what lies before them was missed.
        let begin = now_ms.saturating_sub(late).max(seen_ms);
        look.due = self.after(begin).is_some_and(|at| at <= now_ms);
        look.missed_ms = (first <= begin).then_some(first);
        look.seen_ms = now_ms;
        look.next_ms = self.after(now_ms);
        look
    }

    /// Local times as they come, with the clock's changes between them.
    fn next_of_each_hour(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut from = from;
        let mut inclusive = false;
        for _ in 0..MOST_CHANGES {
            let offset = self.offset(from);
            let local = from.naive_utc() + offset;
            let found = self.naive_after(local, inclusive)? - offset;
            let found = found.and_utc();
            if self.offset(found) == offset {
                return Some(found);
            }
            // From the change on with the new offset.
            from = self.change_between(from, found);
            inclusive = true;
        }
        None
    }

    fn next_of_fixed_hours(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut local = from.naive_utc() + self.offset(from);
        // What comes twice may have been there the first time.
        loop {
            local = self.naive_after(local, false)?;
            let found = match self.zone.from_local_datetime(&local) {
                LocalResult::Single(found) | LocalResult::Ambiguous(found, _) => found.to_utc(),
                LocalResult::None => self.after_gap(local),
            };
            if found > from {
                return Some(found);
            }
        }
    }

    /// The next local time, as if there were no zones.
    fn naive_after(&self, local: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        Some(self.cron.find_next_occurrence(&local.and_utc(), inclusive).ok()?.naive_utc())
    }

    /// The first moment after the gap in which this local time would be.
    fn after_gap(&self, local: NaiveDateTime) -> DateTime<Utc> {
        let day = chrono::Duration::days(1);
        let guess = local.and_utc();
        self.change_between(guess - day, guess + day)
    }

    /// The first change of the clock between two moments; the second one if there is none.
    fn change_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> DateTime<Utc> {
        let before = self.offset(from);
        let (mut low, mut high) = (from.timestamp(), to.timestamp());
        // Of two changes within the span it is the first one whose other side has another offset than its beginning.
        let at = |second: i64| DateTime::from_timestamp(second, 0).unwrap_or(to);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offset(at(middle)) == before { low = middle } else { high = middle }
        }
        at(high)
    }

    fn offset(&self, at: DateTime<Utc>) -> chrono::Duration {
        let offset = self.zone.offset_from_utc_datetime(&at.naive_utc());
        chrono::Duration::seconds(i64::from(offset.fix().local_minus_utc()))
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calendar").field("zone", &self.zone.name()).finish_non_exhaustive()
    }
}

/// Whether a time zone is known.
pub fn is_zone(name: &str) -> bool {
    name.parse::<Tz>().is_ok()
}

fn unknown_zone(name: &str) -> String {
    format!("there is no time zone {name:?}; write for example \"Europe/Berlin\" or \"UTC\"")
}

#[cfg(test)]
mod tests;
