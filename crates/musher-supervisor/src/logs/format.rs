//! How a worker's lines look in a file, and back.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use musher_api::{LogStream, rfc3339};
use musher_core::spec::{DatePattern, LogFormat};
use serde::{Deserialize, Serialize};

/// Who wrote a batch of lines, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) app: &'a str,
    pub(super) slot: u32,
    pub(super) pid: i32,
    pub(super) stream: LogStream,
    pub(super) time_ms: u64,
}

/// A line of the JSON form. The order of the fields is that of the file.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: &'a str,
    app: &'a str,
    slot: u32,
    pid: i32,
    stream: LogStream,
    message: Cow<'a, str>,
}

/// A line as PM2 writes it with `log_type: json`, but one for each line. The order of the members is PM2's.
#[derive(Serialize)]
struct Pm2Line<'a> {
    message: Cow<'a, str>,
    timestamp: &'a str,
    r#type: LogStream,
    process_id: u32,
    app_name: &'a str,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// What stands between a name and the line.
const NAME_END: &[u8] = b" | ";
/// What stands between a time by a pattern and the line, as in PM2's files.
const STAMP_END: &[u8] = b": ";
/// Length of `2026-01-31T23:59:59.123Z` and the space behind it.
const STAMP: usize = 25;

/// The time as it stands in lines: written once for a batch.
pub(super) struct Stamp {
    zone: TimeZone,
    text: String,
}

impl Stamp {
    /// Times are those of the daemon's zone.
    pub(super) fn new() -> Stamp {
        Stamp { zone: TimeZone::system(), text: String::new() }
    }

    /// The time by a pattern; none: there is no pattern.
    pub(super) fn at(&mut self, time_ms: u64, pattern: Option<&DatePattern>) -> Option<&str> {
        let pattern = pattern?;
        let moment = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok())?;
        self.text.clear();
        pattern.write(time_ms, self.zone.to_offset(moment).seconds(), &mut self.text);
        Some(&self.text)
    }
}

/// How many bytes of a time stand before each line, where only the batch itself tells.
pub(super) fn prefix(format: LogFormat, stamp: Option<&str>) -> u16 {
    match (format, stamp) {
        (LogFormat::Raw | LogFormat::Timestamp, Some(stamp)) => {
            u16::try_from(stamp.len() + STAMP_END.len()).unwrap_or(0)
        }
        _ => 0,
    }
}

/// `lines` (whole, each with its end) in the form of the file. The raw form is the bytes themselves.
pub(super) fn write<'a>(
    format: LogFormat,
    origin: Origin<'_>,
    stamp: Option<&str>,
    lines: &'a [u8],
    buffer: &'a mut Vec<u8>,
) -> &'a [u8] {
    if format == LogFormat::Raw && stamp.is_none() {
        return lines;
    }
    buffer.clear();
    let time = stamp.map_or_else(|| Cow::Owned(rfc3339(origin.time_ms)), Cow::Borrowed);
    let name = if format == LogFormat::Named { format!("{}/{}", origin.app, origin.slot) } else { String::new() };
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        // Writing to a Vec and serializing strings and numbers cannot fail.
        match format {
            LogFormat::Raw | LogFormat::Timestamp => {
                buffer.extend_from_slice(time.as_bytes());
                buffer.extend_from_slice(if stamp.is_some() { STAMP_END } else { b" " });
                buffer.extend_from_slice(line);
            }
            LogFormat::Named => {
                buffer.extend_from_slice(name.as_bytes());
                buffer.extend_from_slice(NAME_END);
                buffer.extend_from_slice(line);
            }
            LogFormat::Json => {
                let line = JsonLine {
                    time: &time,
                    app: origin.app,
                    slot: origin.slot,
                    pid: origin.pid,
                    stream: origin.stream,
                    message: String::from_utf8_lossy(text(line)),
                };
                let _ = serde_json::to_writer(&mut *buffer, &line);
                buffer.push(b'\n');
            }
            LogFormat::Pm2Json => {
                let line = Pm2Line {
                    message: String::from_utf8_lossy(text(line)),
                    timestamp: &time,
                    r#type: origin.stream,
                    process_id: origin.slot,
                    app_name: origin.app,
                };
                let _ = serde_json::to_writer(&mut *buffer, &line);
                buffer.push(b'\n');
            }
        }
    }
    buffer
}

/// What the worker wrote, from one line of a file (without its end). A line that is not in the form is taken as it is.
pub(super) fn read(format: LogFormat, prefix: u16, line: &[u8]) -> String {
    let plain = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    match format {
        LogFormat::Raw | LogFormat::Timestamp if prefix > 0 => match line.split_at_checked(prefix.into()) {
            Some((stamp, rest)) if stamp.ends_with(STAMP_END) => plain(rest),
            _ => plain(line),
        },
        LogFormat::Raw => plain(line),
        LogFormat::Timestamp => match line.split_at_checked(STAMP) {
            Some((stamp, rest)) if stamp.ends_with(b"Z ") => plain(rest),
            _ => plain(line),
        },
        LogFormat::Named => match line.windows(NAME_END.len()).position(|end| end == NAME_END) {
            Some(at) => plain(&line[at + NAME_END.len()..]),
            None => plain(line),
        },
        LogFormat::Json | LogFormat::Pm2Json => {
            serde_json::from_slice(line).map_or_else(|_| plain(line), |line: Message| line.message)
        }
    }
}

/// A line without its end, `\n` or `\r\n`.
pub(super) fn text(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, lines: &[u8]) -> Vec<u8> {
        let origin = Origin { app: "web", slot: 2, pid: 77, stream: LogStream::Err, time_ms: 951_782_400_123 };
        write(format, origin, None, lines, &mut Vec::new()).to_vec()
    }

    fn written_at(format: LogFormat, stamp: &str, lines: &[u8]) -> Vec<u8> {
        let origin = Origin { app: "web", slot: 2, pid: 77, stream: LogStream::Err, time_ms: 951_782_400_123 };
        write(format, origin, Some(stamp), lines, &mut Vec::new()).to_vec()
    }

    #[test]
    fn a_time_by_a_pattern_stands_before_each_line_or_in_it() {
        let lines = written_at(LogFormat::Raw, "29.2. 00:00", b"a: b\n\n");
        assert_eq!(lines, b"29.2. 00:00: a: b\n29.2. 00:00: \n");
        let prefix = prefix(LogFormat::Raw, Some("29.2. 00:00"));
        assert_eq!(read(LogFormat::Raw, prefix, b"29.2. 00:00: a: b"), "a: b");
        assert_eq!(read(LogFormat::Raw, prefix, b"short"), "short");
        let line = String::from_utf8(written_at(LogFormat::Json, "29.2.", b"x\n")).unwrap();
        assert!(line.starts_with(r#"{"time":"29.2.","#), "{line}");
    }

    #[test]
    fn the_json_of_pm2_is_one_object_a_line() {
        let lines = String::from_utf8(written(LogFormat::Pm2Json, b"a\nb\n")).unwrap();
        let line = |message| {
            format!(
                r#"{{"message":"{message}","timestamp":"2000-02-29T00:00:00.123Z","type":"err","process_id":2,"app_name":"web"}}"#
            )
        };
        assert_eq!(lines, format!("{}\n{}\n", line("a"), line("b")));
    }

    #[test]
    fn a_pattern_is_written_in_the_zone_of_the_daemon() {
        let mut stamp = Stamp { zone: TimeZone::fixed(jiff::tz::offset(2)), text: String::new() };
        let pattern = DatePattern::parse("YYYY-MM-DD HH:mm Z").unwrap();
        assert_eq!(stamp.at(951_782_400_123, Some(&pattern)), Some("2000-02-29 02:00 +02:00"));
        assert_eq!(stamp.at(951_782_400_123, None), None);
    }

    #[test]
    fn raw_lines_stay_as_they_are() {
        assert_eq!(written(LogFormat::Raw, b"a\n\xff\xfe\n"), b"a\n\xff\xfe\n");
    }

    #[test]
    fn every_line_gets_the_time_in_front() {
        let text = "2000-02-29T00:00:00.123Z a\n2000-02-29T00:00:00.123Z \n";
        assert_eq!(written(LogFormat::Timestamp, b"a\n\n"), text.as_bytes());
    }

    #[test]
    fn every_line_gets_a_name_in_front() {
        assert_eq!(written(LogFormat::Named, b"a | b\n\n"), b"web/2 | a | b\nweb/2 | \n");
    }

    #[test]
    fn json_is_valid_whatever_the_bytes_are() {
        let bytes: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').chain([b'\n']).collect();
        let line = written(LogFormat::Json, &bytes);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["app"], "web");
        assert_eq!(value["slot"], 2);
        assert_eq!(value["stream"], "err");
        assert_eq!(value["time"], "2000-02-29T00:00:00.123Z");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn what_was_written_is_read_back() {
        for format in [LogFormat::Raw, LogFormat::Timestamp, LogFormat::Json, LogFormat::Named, LogFormat::Pm2Json] {
            let line = written(format, "a \"quoted\" \u{e4} line\r\n".as_bytes());
            assert_eq!(read(format, 0, text(&line)), "a \"quoted\" \u{e4} line", "{format:?}");
            assert_eq!(read(format, 0, b"[not of the form"), "[not of the form");
        }
    }
}
