//! The events on the disk: what happened stays known when the supervisor dies, and when the daemon ends.
//!
//! The directory `events` of the home has files of JSON lines, one event a line as the API gives it, each file named by
//! the number of its first event. A thread ([`EventWriter`]) appends and keeps the bounds: [`FILES`] files of at most
//! [`FILE_BYTES`] and [`FILE_EVENTS`] each; the oldest file goes first. [`read`] needs no daemon.
//!
//! # What is promised
//!
//! - The supervisor never waits for the disk. An event is on its way to the file in the moment in which it is told to
//!   anybody; a kill in that very moment may lose it.
//! - A line that a kill or a power cut has torn is cut off by the next supervisor, and skipped by readers.
//! - A disk that refuses is told once and tried again; what does not fit into memory meanwhile is counted, and an event
//!   of the kind `lagged` stands in its place.
//!
//! No fsync: events survive the death of any process; of the machine's, but for the last half minute.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

pub use reader::{Wanted, read};
pub(crate) use writer::EventWriter;

/// How many files are kept.
const FILES: usize = 8;
/// The most bytes of a file.
const FILE_BYTES: u64 = 2 << 20;
/// The most events of a file.
const FILE_EVENTS: u64 = 10_000;
/// The longest line. A longer event goes without the story of its death.
const LINE_BYTES: usize = 64 << 10;

/// The directory of a home that has the files.
pub fn directory(home: &Path) -> PathBuf {
    home.join("events")
}

/// The files, oldest first, with the number of their first event.
fn files(directory: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<(u64, PathBuf)> = paths.filter_map(|path| Some((number(&path)?, path))).collect();
    files.sort_unstable();
    Ok(files)
}

/// The number in a file's name.
fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jsonl")?.parse().ok()
}

fn path_of(directory: &Path, first: u64) -> PathBuf {
    // Of equal length, so that `ls` and `cat *` have the order of time.
    directory.join(format!("{first:016}.jsonl"))
}
