use chrono::DateTime;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::{Calendar, Look};

fn ms(text: &str) -> u64 {
    u64::try_from(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()).unwrap()
}

#[test]
fn local_times_that_are_left_out_or_come_twice_are_as_the_table_says() {
    // Pattern, zone, from when, the next ones.
    let cases = [
        // The clock goes forward at 02:00 to 03:00.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00+01:00",
            "2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00",
        ),
        (
            "*/20 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00+01:00",
            "2026-03-29T03:00:00+02:00 2026-03-30T02:00:00+02:00",
        ),
        (
            "30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00+01:00",
            "2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00",
        ),
        (
            "0 3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00+01:00",
            "2026-03-29T03:00:00+02:00 2026-03-30T03:00:00+02:00",
        ),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T01:29:00+01:00",
            "2026-03-29T01:30:00+01:00 2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00",
        ),
        (
            "30 */2 * * *",
            "Europe/Berlin",
            "2026-03-29T00:29:00+01:00",
            "2026-03-29T00:30:00+01:00 2026-03-29T04:30:00+02:00",
        ),
        // It goes back at 03:00 to 02:00.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00+02:00",
            "2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00",
        ),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T02:30:00+01:00 2026-10-25T03:00:00+01:00",
        ),
        (
            "@hourly",
            "Europe/Berlin",
            "2026-10-25T01:30:00+02:00",
            "2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T03:00:00+01:00",
        ),
        // Half an hour, at midnight, in the south.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00+10:30",
            "2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00",
        ),
        ("15 1 * * *", "Australia/Lord_Howe", "2026-10-04T01:15:00+10:30", "2026-10-05T01:15:00+11:00"),
        (
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T12:00:00-04:00",
            "2026-09-06T01:00:00-03:00 2026-09-07T00:00:00-03:00",
        ),
        // A day that a country left out.
        (
            "0 12 30 12 *",
            "Pacific/Apia",
            "2011-12-01T00:00:00-10:00",
            "2011-12-31T00:00:00+14:00 2012-12-30T12:00:00+14:00",
        ),
        // Without changes.
        ("30 5 * * * *", "UTC", "2026-01-01T00:05:29Z", "2026-01-01T00:05:30Z 2026-01-01T01:05:30Z"),
        ("* * * * * *", "UTC", "2026-01-01T00:05:29.200Z", "2026-01-01T00:05:30Z"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z 2032-02-29T00:00:00Z"),
        ("0 0 L * *", "Asia/Kolkata", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00+05:30"),
        ("0 9 * * MON-FRI", "America/New_York", "2026-11-20T20:00:00Z", "2026-11-23T09:00:00-05:00"),
    ];
    for (pattern, zone, from, expected) in cases {
        let calendar = Calendar::new(pattern, zone).unwrap();
        let mut at = ms(from);
        for next in expected.split(' ') {
            at = calendar.after(at).unwrap();
            let shown = DateTime::from_timestamp_millis(i64::try_from(at).unwrap()).unwrap();
            assert_eq!(at, ms(next), "{pattern} in {zone}: expected {next}, found {shown}");
        }
    }
}

#[test]
fn what_is_no_pattern_or_no_zone_is_said_in_words() {
    let cases = [
        ("", "UTC", "0 fields"),
        ("* * * *", "UTC", "4 fields"),
        ("* * * * * * *", "UTC", "7 fields"),
        ("61 * * * *", "UTC", "no pattern of cron"),
        ("*/0 * * * *", "UTC", "no pattern of cron"),
        ("a b c d e", "UTC", "no pattern of cron"),
        ("@whenever", "UTC", "no pattern of cron"),
        ("0 0 30 2 *", "UTC", "never comes true"),
        ("0 3 * * *", "Europe/Berlln", "no time zone"),
        ("0 3 * * *", "", "no time zone"),
    ];
    for (pattern, zone, expected) in cases {
        let error = Calendar::new(pattern, zone).unwrap_err();
        assert!(error.contains(expected), "{pattern:?} in {zone:?}: {error}");
    }
    assert!(Calendar::new(&"*".repeat(1000), "UTC").unwrap_err().contains("256 bytes"));
}

#[test]
fn a_look_tells_what_is_due_what_was_missed_and_what_is_next() {
    let daily = Calendar::new("0 3 * * *", "UTC").unwrap();
    let day = |day: u64, time: &str| ms(&format!("2026-01-{day:02}T{time}Z"));
    // Seen until, now; due, the one that was missed, the next.
    let cases = [
        (day(1, "12:00:00"), day(2, "02:59:59"), false, None, day(2, "03:00:00")),
        (day(1, "12:00:00"), day(2, "03:00:00"), true, None, day(3, "03:00:00")),
        // A supervisor that was away for some seconds is late, and no more.
        (day(1, "12:00:00"), day(2, "03:00:59"), true, None, day(3, "03:00:00")),
        (day(1, "12:00:00"), day(2, "03:01:01"), false, Some(day(2, "03:00:00")), day(3, "03:00:00")),
        (day(1, "12:00:00"), day(9, "12:00:00"), false, Some(day(2, "03:00:00")), day(10, "03:00:00")),
        (day(1, "12:00:00"), day(9, "03:00:10"), true, Some(day(2, "03:00:00")), day(10, "03:00:00")),
        // What was seen does not come again when the clock is set back a little.
        (day(2, "03:00:00"), day(2, "02:30:00"), false, None, day(3, "03:00:00")),
        // A clock that was wrong by years is believed no more.
        (ms("2099-01-01T00:00:00Z"), day(2, "02:30:00"), false, None, day(2, "03:00:00")),
    ];
    for (seen, now, due, missed_ms, next) in cases {
        let look = daily.look(seen, now);
        assert_eq!((look.due, look.missed_ms, look.next_ms), (due, missed_ms, Some(next)), "seen {seen}, now {now}");
        // Looked at again in the same moment nothing is due twice.
        let again = daily.look(look.seen_ms, now);
        assert_eq!((again.due, again.missed_ms, again.next_ms), (false, None, Some(next)));
    }
}

proptest! {
    #[test]
    fn moments_come_one_after_the_other_and_none_is_due_twice(
        start in 1_700_000_000_000_u64..1_900_000_000_000,
        steps in proptest::collection::vec(0_u64..7_200_000, 1..40),
        which in 0_usize..4,
    ) {
        let (pattern, zone) = [
            ("*/7 * * * *", "Europe/Berlin"),
            ("30 2 * * *", "America/New_York"),
            ("15 1-3 * * *", "Australia/Lord_Howe"),
            ("0 */6 * * *", "UTC"),
        ][which];
        let calendar = Calendar::new(pattern, zone).unwrap();
        let (mut seen, mut now) = (start, start);
        let mut last_next = 0;
        for step in steps {
            now += step;
            let Look { due, missed_ms, seen_ms, next_ms } = calendar.look(seen, now);
            let next = next_ms.unwrap();
            prop_assert!(next > now && seen_ms <= now && seen_ms >= seen);
            prop_assert!(next >= last_next);
            // Something came, or was missed, exactly when the moment that was next has passed.
            prop_assert_eq!(due || missed_ms.is_some(), last_next > 0 && last_next <= now || last_next == 0 && calendar.after(start).unwrap() <= now);
            (seen, last_next) = (seen_ms, next);
        }
    }
}
