//! The names of rotated files: `.1` is the newest, and `.gz` stands behind those that are packed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many numbers are looked at: more than can be kept, with the spare indexes.
const MOST: u32 = 1010;
/// How many numbers in a row may be missing: one is for an instant in a rotation.
const GAP: u32 = 3;

/// A file that was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rotated {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) packed: bool,
    pub(super) size: u64,
    /// When it was last written, in seconds since 1970.
    pub(super) modified: u64,
}

/// The rotated files of `path`, the newest first; of two with one number the packed one comes last.
pub(super) fn rotated(path: &Path) -> Vec<Rotated> {
    let mut found = Vec::new();
    let mut missing = 0;
    for number in 1..=MOST {
        let before = found.len();
        for packed in [false, true] {
            let path = name(path, number, packed);
            if let Ok(metadata) = std::fs::symlink_metadata(&path)
                && metadata.is_file()
            {
                let modified = u64::try_from(metadata.mtime()).unwrap_or(0);
                found.push(Rotated { number, path, packed, size: metadata.len(), modified });
            }
        }
        missing = if found.len() == before { missing + 1 } else { 0 };
        if missing >= GAP {
            break;
        }
    }
    found
}

/// The name with a number; 0 is the file that is written.
pub(super) fn name(path: &Path, number: u32, packed: bool) -> PathBuf {
    match (number, packed) {
        (0, _) => path.to_path_buf(),
        (_, false) => suffixed(path, &format!(".{number}")),
        (_, true) => suffixed(path, &format!(".{number}.gz")),
    }
}

/// Renames `path` to `path.1`, `path.1` to `path.2` and so on, so that at most `keep` of them are left.
pub(super) fn shift(path: &Path, keep: u32) -> io::Result<()> {
    let there = |number| [false, true].iter().any(|packed| name(path, number, *packed).symlink_metadata().is_ok());
    // Only what is there is renamed: find the first free number.
    let mut free = 0;
    while free < keep && there(free) {
        free += 1;
    }
    if free == keep {
        remove_number(path, keep)?;
    }
    for number in (0..free).rev() {
        ignore_missing(std::fs::rename(name(path, number, false), name(path, number + 1, false)))?;
        if number > 0 {
            ignore_missing(std::fs::rename(name(path, number, true), name(path, number + 1, true)))?;
        }
    }
    Ok(())
}

/// Deletes the file, those that were rotated, and what was being packed. What is no file is left alone: a terminal, a pipe,
/// /dev/null.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    ignore_missing(std::fs::remove_file(path))?;
    ignore_missing(std::fs::remove_file(unfinished(path)))?;
    rotated(path).into_iter().try_for_each(|file| ignore_missing(std::fs::remove_file(file.path)))
}

/// Where a rotated file of `path` is packed to, before it gets its name.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    suffixed(path, ".gz.new")
}

fn remove_number(path: &Path, number: u32) -> io::Result<()> {
    ignore_missing(std::fs::remove_file(name(path, number, false)))?;
    ignore_missing(std::fs::remove_file(name(path, number, true)))
}

pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shifted_up_to_the_number_that_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.log");
        for n in 0..5 {
            std::fs::write(&path, n.to_string()).unwrap();
            shift(&path, 2).unwrap();
        }
        let read = |suffix| std::fs::read_to_string(suffixed(&path, suffix)).ok();
        assert_eq!(read(""), None);
        assert_eq!(read(".1").as_deref(), Some("4"));
        assert_eq!(read(".2").as_deref(), Some("3"));
        assert_eq!(read(".3"), None);
    }

    #[test]
    fn packed_files_keep_their_ending_and_count_as_one_of_those_that_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.log");
        for (suffix, text) in [("", "new"), (".1", "one"), (".2.gz", "two"), (".3.gz", "three")] {
            std::fs::write(suffixed(&path, suffix), text).unwrap();
        }
        shift(&path, 3).unwrap();
        let found: Vec<_> = rotated(&path).into_iter().map(|file| (file.number, file.packed, file.size)).collect();
        assert_eq!(found, [(1, false, 3), (2, false, 3), (3, true, 3)]);
        remove_all(&path).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_kept_when_nothing_is_to_be_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.log");
        std::fs::write(&path, "x").unwrap();
        shift(&path, 0).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
