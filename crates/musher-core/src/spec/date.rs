//! How times are written before lines: patterns in the tokens of day.js, which PM2's users know.
//!
//! Pure: the time and the zone's offset are parameters.

use std::fmt::Write;

/// The longest pattern.
const LONGEST: usize = 200;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Every token, the longer before the shorter that it begins with.
const TOKENS: [(&str, Token); 25] = [
    ("YYYY", Token::Year),
    ("YY", Token::YearOfCentury),
    ("MMMM", Token::MonthName),
    ("MMM", Token::MonthShort),
    ("MM", Token::Month(2)),
    ("M", Token::Month(1)),
    ("DD", Token::Day(2)),
    ("D", Token::Day(1)),
    ("dddd", Token::WeekdayName(9)),
    ("ddd", Token::WeekdayName(3)),
    ("dd", Token::WeekdayName(2)),
    ("d", Token::Weekday),
    ("HH", Token::Hour(2)),
    ("H", Token::Hour(1)),
    ("hh", Token::Hour12(2)),
    ("h", Token::Hour12(1)),
    ("mm", Token::Minute(2)),
    ("m", Token::Minute(1)),
    ("ss", Token::Second(2)),
    ("s", Token::Second(1)),
    ("SSS", Token::Millisecond),
    ("ZZ", Token::Offset("")),
    ("Z", Token::Offset(":")),
    ("A", Token::Half(true)),
    ("a", Token::Half(false)),
];

/// A pattern such as `YYYY-MM-DD HH:mm:ss.SSS Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatePattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Out of brackets.
    Quoted(String),
    Token(Token),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Year,
    YearOfCentury,
    MonthName,
    MonthShort,
    Month(usize),
    Day(usize),
    /// So many letters of the name.
    WeekdayName(usize),
    Weekday,
    Hour(usize),
    Hour12(usize),
    Minute(usize),
    Second(usize),
    Millisecond,
    /// What stands between hours and minutes.
    Offset(&'static str),
    /// In capitals.
    Half(bool),
}

impl DatePattern {
    /// Reads a pattern. Words in `[brackets]` and what is no token stand for themselves.
    ///
    /// # Errors
    ///
    /// When it is too long, or has no token at all.
    pub fn parse(text: &str) -> Result<DatePattern, String> {
        if text.len() > LONGEST {
            return Err(format!("a pattern has at most {LONGEST} bytes"));
        }
        if text.contains(['\n', '\r', '\0']) {
            return Err("a pattern is on one line".into());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((literal, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                parts.push(Part::Quoted(literal.to_owned()));
                rest = behind;
            } else if let Some((token, meaning)) = TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
                parts.push(Part::Token(*meaning));
                rest = &rest[token.len()..];
            } else {
                push_text(&mut parts, &rest[..first.len_utf8()]);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::Token(_))) {
            return Err(format!("{text:?} has nothing of a time: write for example \"YYYY-MM-DD HH:mm:ss\""));
        }
        Ok(DatePattern { parts })
    }

    /// Letters that are no token and are written as they are, other than the `T` of ISO 8601.
    pub fn unknown(&self) -> Vec<char> {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            Part::Quoted(_) | Part::Token(_) => None,
        });
        let mut letters: Vec<char> = texts.flat_map(|text| text.chars()).filter(char::is_ascii_alphabetic).collect();
        letters.retain(|letter| *letter != 'T');
        letters.dedup();
        letters
    }

    /// Writes the time `unix_ms` milliseconds after 1970, in a zone that is so many seconds ahead of UTC.
    pub fn write(&self, unix_ms: u64, offset_seconds: i32, out: &mut String) {
        let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX / 2);
        let local = unix_ms + i64::from(offset_seconds) * 1000;
        let (days, of_day) = (local.div_euclid(86_400_000), local.rem_euclid(86_400_000));
        let (year, month, day) = civil(days);
        let weekday = (days + 4).rem_euclid(7) as usize;
        let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
        let number = |out: &mut String, value: i64, width: usize| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{value:0width$}");
        };
        let month_name = MONTHS[(month - 1) as usize % 12];
        for part in &self.parts {
            let token = match part {
                Part::Text(text) | Part::Quoted(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Token(token) => *token,
            };
            match token {
                Token::Year => number(out, year, 4),
                Token::YearOfCentury => number(out, year.rem_euclid(100), 2),
                Token::MonthName => out.push_str(month_name),
                Token::MonthShort => out.push_str(&month_name[..3]),
                Token::Month(width) => number(out, month, width),
                Token::Day(width) => number(out, day, width),
                Token::WeekdayName(letters) => out.push_str(DAYS[weekday].get(..letters).unwrap_or(DAYS[weekday])),
                Token::Weekday => number(out, weekday as i64, 1),
                Token::Hour(width) => number(out, hour, width),
                Token::Hour12(width) => number(out, (hour + 11) % 12 + 1, width),
                Token::Minute(width) => number(out, minute, width),
                Token::Second(width) => number(out, second, width),
                Token::Millisecond => number(out, of_day % 1000, 3),
                Token::Offset(between) => {
                    let minutes = offset_seconds.abs() / 60;
                    let sign = if offset_seconds < 0 { '-' } else { '+' };
                    let _ = write!(out, "{sign}{:02}{between}{:02}", minutes / 60, minutes % 60);
                }
                Token::Half(capitals) => out.push_str(match (hour < 12, capitals) {
                    (true, true) => "AM",
                    (true, false) => "am",
                    (false, true) => "PM",
                    (false, false) => "pm",
                }),
            }
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// Year, month and day of so many days after 1970 in the Gregorian calendar: years begin in March, in eras of 400.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29, a Thursday, 23:05:07.089 UTC.
    const MOMENT: u64 = 1_709_247_907_089;

    fn written(pattern: &str, offset_seconds: i32) -> String {
        let mut out = String::new();
        DatePattern::parse(pattern).unwrap().write(MOMENT, offset_seconds, &mut out);
        out
    }

    #[test]
    fn tokens_mean_what_they_mean_to_day_js() {
        for (pattern, text) in [
            ("YYYY-MM-DDTHH:mm:ss", "2024-02-29T23:05:07"),
            ("YYYY-MM-DD HH:mm:ss.SSS Z", "2024-02-29 23:05:07.089 +00:00"),
            ("YY M D d H m s ZZ", "24 2 29 4 23 5 7 +0000"),
            ("dddd, MMMM D, h:mm A", "Thursday, February 29, 11:05 PM"),
            ("ddd dd MMM hh a", "Thu Th Feb 11 pm"),
            ("[at] HH [o'clock] [", "at 23 o'clock ["),
        ] {
            assert_eq!(written(pattern, 0), text, "{pattern}");
        }
    }

    #[test]
    fn zones_move_the_day() {
        assert_eq!(written("YYYY-MM-DD HH:mm Z", 3600), "2024-03-01 00:05 +01:00");
        assert_eq!(written("YYYY-MM-DD HH:mm Z", -(5 * 3600 + 1800)), "2024-02-29 17:35 -05:30");
    }

    #[test]
    fn every_day_of_four_centuries_is_the_day_after_the_one_before() {
        let lengths = |year: i64| {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil(days), (year, month, day));
            day += 1;
            if day > lengths(year)[(month - 1) as usize] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn what_is_no_token_is_told() {
        assert_eq!(DatePattern::parse("YYYY-MM-DDTHH:mm:ss").unwrap().unknown(), []);
        assert_eq!(DatePattern::parse("YYYY [week] Qo").unwrap().unknown(), ['Q', 'o']);
        for wrong in ["", "::", "T", "[YYYY]", "YYYY\nMM", &"Y".repeat(300)] {
            assert!(DatePattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
