//! A log file as a reader sees it: plain or packed, with the same positions.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::index::FileId;
use super::numbered::rotated;
use super::packed::Packed;

/// A file with lines.
#[derive(Debug)]
pub(super) enum Source {
    Plain(File),
    Packed(Packed),
}

impl Source {
    /// The file `path` and those that were rotated, the newest first, each with its identity. Only what is a file has
    /// anything to read twice, and opening a named pipe would wait.
    pub(super) fn all(path: &Path) -> io::Result<Vec<(FileId, Source)>> {
        let mut found = Vec::new();
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            add(path, false, &mut found)?;
        }
        for file in rotated(path) {
            add(&file.path, file.packed, &mut found)?;
        }
        Ok(found)
    }

    /// The length of its lines.
    pub(super) fn length(&self) -> u64 {
        match self {
            Source::Plain(file) => file.metadata().map_or(0, |found| found.len()),
            Source::Packed(packed) => packed.length(),
        }
    }

    /// When it was written last, in nanoseconds since 1970.
    pub(super) fn modified_ns(&self) -> io::Result<u64> {
        let metadata = match self {
            Source::Plain(file) => file.metadata()?,
            Source::Packed(packed) => packed.file().metadata()?,
        };
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        Ok(seconds.saturating_mul(1_000_000_000) + u64::try_from(metadata.mtime_nsec()).unwrap_or(0))
    }

    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Source::Plain(file) => file.read_exact_at(bytes, offset),
            Source::Packed(packed) => packed.read_exact_at(bytes, offset),
        }
    }
}

/// Adds what is at `path`, if it is there, ours, and not known from before: a rotation in this instant may show a file
/// twice, and one that is being packed has two names.
fn add(path: &Path, packed: bool, found: &mut Vec<(FileId, Source)>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let id = if packed { Packed::id_of(&file)? } else { Some(FileId::of(&file)?) };
    let Some(id) = id.filter(|id| !found.iter().any(|(known, _)| known == id)) else { return Ok(()) };
    found.push((id, if packed { Source::Packed(Packed::open(file)?) } else { Source::Plain(file) }));
    Ok(())
}
