//! Where the log files of an app are.

use std::io;
use std::path::{Path, PathBuf};

use musher_core::spec::Logs;

use super::file::LogFile;
use super::numbered::suffixed;
use super::unit::PLACES;
use crate::home::Home;

/// The most slots that have files of their own.
const MOST_SLOTS: usize = 1000;

/// Where the log files of an app are, or those of one of its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPaths {
    /// Standard output. Rotated files have `.1`, `.2`… behind it, the newest first, and `.gz` if they are packed.
    pub out: PathBuf,
    /// Standard error; may be the same file.
    pub err: PathBuf,
    /// A file that gets both; it is the one that the index speaks of.
    pub combined: Option<PathBuf>,
    /// The index.
    pub index: PathBuf,
}

impl LogPaths {
    /// The paths of the app `name`, as its spec says or in the home.
    pub fn new(home: &Home, name: &str, logs: &Logs) -> LogPaths {
        let directory = home.logs().join(name);
        let path = |given: &Option<PathBuf>, default: &str| given.clone().unwrap_or_else(|| directory.join(default));
        LogPaths {
            out: path(&logs.out, "out.log"),
            err: path(&logs.err, "err.log"),
            combined: logs.combined.clone(),
            index: directory.join("index"),
        }
    }

    /// Those that the first worker writes to.
    pub fn first(home: &Home, name: &str, logs: &Logs) -> LogPaths {
        LogPaths::new(home, name, logs).of_slot(logs.per_worker.then_some(0))
    }

    /// How the names of all files begin, those of rotated ones and, maybe, those of slots as well.
    pub fn beginnings(&self, per_worker: bool) -> Vec<PathBuf> {
        let beginning = |path: &Path| match path.file_stem().filter(|_| per_worker) {
            Some(stem) => path.with_file_name(stem),
            None => path.to_path_buf(),
        };
        self.files().into_iter().map(beginning).collect()
    }

    /// Those of one slot that has files of its own.
    pub(super) fn of_slot(self, slot: Option<u32>) -> LogPaths {
        let Some(slot) = slot else { return self };
        let own = |path: &Path| with_slot(path, slot);
        LogPaths {
            out: own(&self.out),
            err: own(&self.err),
            combined: self.combined.as_deref().map(own),
            index: suffixed(&self.index, &format!("-{slot}")),
        }
    }

    /// Everything that an app has written to: the files of all, and those of each slot.
    pub fn all(home: &Home, name: &str, logs: &Logs) -> Vec<LogPaths> {
        let paths = LogPaths::new(home, name, logs);
        let slots = LogPaths::slots(home, name);
        let of_slots = slots.into_iter().map(|slot| paths.clone().of_slot(Some(slot)));
        [paths.clone()].into_iter().chain(of_slots).collect()
    }

    /// The slots that have, or had, files of their own.
    pub(super) fn slots(home: &Home, name: &str) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir(home.logs().join(name)) else { return Vec::new() };
        let slot = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_prefix("index-")?.parse().ok();
        let mut slots: Vec<u32> = entries.flatten().filter_map(slot).take(MOST_SLOTS).collect();
        slots.sort_unstable();
        slots
    }

    /// Makes sure that all files can be opened, and makes them.
    ///
    /// # Errors
    ///
    /// The first file that cannot, and why. A named pipe that nobody reads yet is none.
    pub fn try_open(&self) -> Result<(), (PathBuf, io::Error)> {
        for path in PLACES.into_iter().filter_map(|place| self.at(place)) {
            match LogFile::open(path) {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                    return Err((path.to_path_buf(), error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The file at a place: out, err, both.
    pub(super) fn at(&self, place: usize) -> Option<&Path> {
        match place {
            0 => Some(&self.out),
            1 => Some(&self.err),
            _ => self.combined.as_deref(),
        }
    }

    /// Every file once.
    pub(super) fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = PLACES.into_iter().filter_map(|place| self.at(place)).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Whether they have a log file in common.
    pub(super) fn meet(&self, other: &LogPaths) -> bool {
        PLACES
            .into_iter()
            .filter_map(|place| self.at(place))
            .any(|path| PLACES.into_iter().any(|place| other.at(place) == Some(path)))
    }
}

/// `out.log` as `out-3.log`. Devices stay what they are.
fn with_slot(path: &Path, slot: u32) -> PathBuf {
    let Some(stem) = path.file_stem().filter(|_| !path.starts_with("/dev")) else { return path.to_path_buf() };
    let mut name = stem.to_owned();
    name.push(format!("-{slot}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_slot_stands_before_the_extension() {
        for (path, own) in [
            ("/a/out.log", "/a/out-3.log"),
            ("/a/out", "/a/out-3"),
            ("/a/b.c.log", "/a/b.c-3.log"),
            ("/dev/null", "/dev/null"),
            ("/dev/stdout", "/dev/stdout"),
        ] {
            assert_eq!(with_slot(Path::new(path), 3), Path::new(own));
        }
    }
}
