//! How a worker's lines look in a file, and back.

use std::borrow::Cow;

use musher_api::{LogStream, rfc3339};
use musher_core::spec::LogFormat;
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

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// What stands between a name and the line.
const NAME_END: &[u8] = b" | ";
/// Length of `2026-01-31T23:59:59.123Z` and the space behind it.
const STAMP: usize = 25;

/// `lines` (whole, each with its end) in the form of the file. The raw form is the bytes themselves.
pub(super) fn write<'a>(format: LogFormat, origin: Origin<'_>, lines: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if format == LogFormat::Raw {
        return lines;
    }
    buffer.clear();
    let time = rfc3339(origin.time_ms);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if format == LogFormat::Timestamp {
            buffer.extend_from_slice(time.as_bytes());
            buffer.push(b' ');
            buffer.extend_from_slice(line);
            continue;
        }
        if format == LogFormat::Named {
            buffer.extend_from_slice(format!("{}/{} | ", origin.app, origin.slot).as_bytes());
            buffer.extend_from_slice(line);
            continue;
        }
        let line = JsonLine {
            time: &time,
            app: origin.app,
            slot: origin.slot,
            pid: origin.pid,
            stream: origin.stream,
            message: String::from_utf8_lossy(text(line)),
        };
        // Writing to a Vec and serializing strings and numbers cannot fail.
        let _ = serde_json::to_writer(&mut *buffer, &line);
        buffer.push(b'\n');
    }
    buffer
}

/// What the worker wrote, from one line of a file (without its end). A line that is not in the form is taken as it is.
pub(super) fn read(format: LogFormat, line: &[u8]) -> String {
    let plain = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    match format {
        LogFormat::Raw => plain(line),
        LogFormat::Timestamp => match line.split_at_checked(STAMP) {
            Some((stamp, rest)) if stamp.ends_with(b"Z ") => plain(rest),
            _ => plain(line),
        },
        LogFormat::Named => match line.windows(NAME_END.len()).position(|end| end == NAME_END) {
            Some(at) => plain(&line[at + NAME_END.len()..]),
            None => plain(line),
        },
        LogFormat::Json => serde_json::from_slice(line).map_or_else(|_| plain(line), |line: Message| line.message),
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
        write(format, origin, lines, &mut Vec::new()).to_vec()
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
        for format in [LogFormat::Raw, LogFormat::Timestamp, LogFormat::Json, LogFormat::Named] {
            let line = written(format, "a \"quoted\" \u{e4} line\r\n".as_bytes());
            assert_eq!(read(format, text(&line)), "a \"quoted\" \u{e4} line", "{format:?}");
            assert_eq!(read(format, b"[not of the form"), "[not of the form");
        }
    }
}
