//! Reading what happened.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use musher_api::{Event, EventFilter};

use super::{FILE_BYTES, files};

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of which apps and kinds, and from when.
    pub filter: EventFilter,
    /// Only those with a larger number.
    pub after: u64,
    /// Only those with a smaller number; none: all.
    pub before: Option<u64>,
    /// Only so many, the newest.
    pub last: Option<usize>,
}

impl Wanted {
    fn wants(&self, event: &Event) -> bool {
        event.seq > self.after && self.before.is_none_or(|before| event.seq < before) && self.filter.wants(event)
    }
}

/// Gives the events of a home that are wanted, in the order of time, until `give` says that it is enough.
///
/// # Errors
///
/// When the files cannot be read. That there are none is no error, nor is a file that is removed meanwhile.
pub fn read(home: &Path, wanted: &Wanted, give: &mut dyn FnMut(Event) -> bool) -> io::Result<()> {
    let files = files(&super::directory(home))?;
    // A file is over when the next one begins.
    let ends = files.iter().skip(1).map(|(first, _)| *first).chain([u64::MAX]);
    let relevant = files.iter().zip(ends).filter(|((first, path), end)| {
        *end > wanted.after.saturating_add(1)
            && wanted.before.is_none_or(|before| *first < before)
            && is_newer(path, wanted.filter.from_ms)
    });
    let relevant: Vec<&Path> = relevant.map(|((_, path), _)| path.as_path()).collect();
    let Some(last) = wanted.last else {
        for path in relevant {
            if !read_file(path, wanted, give)? {
                return Ok(());
            }
        }
        return Ok(());
    };
    // From the newest file back, until there are enough.
    let mut parts: Vec<Vec<Event>> = Vec::new();
    let mut count = 0;
    for path in relevant.into_iter().rev() {
        if count >= last {
            break;
        }
        let mut part = Vec::new();
        read_file(path, wanted, &mut |event| {
            part.push(event);
            true
        })?;
        count += part.len();
        parts.push(part);
    }
    let events = parts.into_iter().rev().flatten().skip(count.saturating_sub(last));
    for event in events {
        if !give(event) {
            break;
        }
    }
    Ok(())
}

/// Whether a file was written to since a time; a second is given for a clock that is behind.
fn is_newer(path: &Path, from_ms: u64) -> bool {
    let Ok(changed) = std::fs::metadata(path).and_then(|about| about.modified()) else { return true };
    changed + Duration::from_secs(1) >= SystemTime::UNIX_EPOCH + Duration::from_millis(from_ms)
}

/// Whether more is wanted. Lines that are no events (torn, or of somebody else) are skipped.
fn read_file(path: &Path, wanted: &Wanted, give: &mut dyn FnMut(Event) -> bool) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file.take(2 * FILE_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(true);
        }
        let Ok(event) = serde_json::from_slice::<Event>(&line) else { continue };
        if wanted.wants(&event) && !give(event) {
            return Ok(false);
        }
    }
}
