//! The form of the file.
//!
//! Lines of text between which the records stand as they are, each behind a line with its name and length:
//!
//! ```text
//! musher-team 1
//! boot 6f1b…            the boot of the machine in which it was written
//! ended no              yes: everything was stopped in order, and is to run again at the next start
//! fd listen/1/0/0 8812  a descriptor that workers have too, by the number of its inode
//! record app/1 734
//! {"version":1, …}
//! sum 52c1…             of all bytes before this line (FNV-1a, 64 bits)
//! ```
//!
//! A later version may add words; unknown ones are skipped. A file without its last line, or with a wrong one, was not
//! written by us: nothing of it is used.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version that is written.
const VERSION: u32 = 1;
/// What is larger was not written by us: an app has a record and some specs of at most a mebibyte each.
const MAX_FILE: u64 = 1 << 30;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TeamFile {
    /// The boot of the machine in which it was written.
    pub(crate) boot: String,
    /// Everything was stopped in order.
    pub(crate) ended: bool,
    /// Inodes of descriptors by their names in the keeper.
    pub(crate) fds: BTreeMap<String, u64>,
    /// Records by their names in the keeper.
    pub(crate) records: BTreeMap<String, Vec<u8>>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TeamFault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("a newer musher wrote it: it has version {0}, this one knows {VERSION}")]
    Version(u32),
}

impl TeamFile {
    /// The number of apps.
    pub(crate) fn apps(&self) -> usize {
        self.records.keys().filter(|name| name.starts_with("app/")).count()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let ended = if self.ended { "yes" } else { "no" };
        let mut bytes = format!("musher-team {VERSION}\nboot {}\nended {ended}\n", self.boot).into_bytes();
        for (name, inode) in &self.fds {
            bytes.extend(format!("fd {name} {inode}\n").into_bytes());
        }
        for (name, record) in &self.records {
            bytes.extend(format!("record {name} {}\n", record.len()).into_bytes());
            bytes.extend(record);
            bytes.push(b'\n');
        }
        let sum = sum(&bytes);
        bytes.extend(format!("sum {sum:016x}\n").into_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<TeamFile, TeamFault> {
        let mut file = TeamFile::default();
        let mut rest = bytes;
        let first = line(&mut rest)?;
        let version = first.strip_prefix("musher-team ").and_then(|version| version.parse().ok());
        match version.ok_or(TeamFault::Damaged("it does not begin as a list of apps"))? {
            VERSION => {}
            version => return Err(TeamFault::Version(version)),
        }
        loop {
            let before = bytes.len() - rest.len();
            let line = line(&mut rest)?;
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "boot" => file.boot = value.to_owned(),
                "ended" => file.ended = value == "yes",
                "fd" => {
                    let (name, inode) = number(value)?;
                    file.fds.insert(name.to_owned(), inode);
                }
                "record" => {
                    let (name, length) = number(value)?;
                    let length = usize::try_from(length).map_err(|_| TeamFault::Damaged("a length is wrong"))?;
                    let cut = || TeamFault::Damaged("it ends within a record");
                    let record = rest.get(..length).ok_or_else(cut)?;
                    rest = rest.get(length + 1..).ok_or_else(cut)?;
                    file.records.insert(name.to_owned(), record.to_vec());
                }
                "sum" => {
                    let written = u64::from_str_radix(value, 16).ok();
                    let right = written == Some(sum(&bytes[..before])) && rest.is_empty();
                    return if right { Ok(file) } else { Err(TeamFault::Damaged("its sum is wrong")) };
                }
                _ => {}
            }
        }
    }

    /// Reads the file at `path`; none: there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<TeamFile>, TeamFault> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut bytes)?;
        TeamFile::decode(&bytes).map(Some)
    }

    /// Writes the file at `path`, so that a power cut at any moment leaves the old one or this one, and gives its size.
    pub(crate) fn write(&self, path: &Path) -> io::Result<usize> {
        let bytes = self.encode();
        let new = beside(path, "new");
        let written = create(&new).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| std::fs::rename(&new, path)) {
            // On a full disk what it takes is missed elsewhere.
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        sync_directory(path)?;
        Ok(bytes.len())
    }

    /// Removes the file at `path`, if there is one.
    pub(crate) fn remove(path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_directory(path),
        }
    }

    /// Puts a file that cannot be used where it is in nobody's way, and says where that is.
    pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
        let aside = beside(path, &format!("unreadable-{}", crate::clock::since_1970().as_millis()));
        std::fs::rename(path, &aside)?;
        Ok(aside)
    }
}

/// The boot that this is. Empty, and so no boot at all, where the kernel does not tell.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn create(path: &Path) -> io::Result<File> {
    // A leftover may have other permissions.
    let _ = std::fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// What a rename did is on the disk when the directory is (fsync(2)).
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(directory)?.sync_all()
}

fn beside(path: &Path, word: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let _ = write!(name, ".{word}");
    path.with_file_name(name)
}

/// Takes the next line.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, TeamFault> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(TeamFault::Damaged("its end is missing"))?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    std::str::from_utf8(line).map_err(|_| TeamFault::Damaged("a line is no text"))
}

/// A name and a number.
fn number(value: &str) -> Result<(&str, u64), TeamFault> {
    let (name, number) = value.rsplit_once(' ').ok_or(TeamFault::Damaged("a line has too few words"))?;
    Ok((name, number.parse().map_err(|_| TeamFault::Damaged("a number is none"))?))
}

/// FNV-1a. It guards against accidents, not against people who may write into the home anyway.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file() -> TeamFile {
        TeamFile {
            boot: "b-1".into(),
            ended: true,
            fds: BTreeMap::from([("socket/1/0/all".into(), 77)]),
            records: BTreeMap::from([
                ("home".into(), b"{}".to_vec()),
                ("app/1".into(), b"two\nlines \xff\n".to_vec()),
                ("spec/1/1".into(), Vec::new()),
            ]),
        }
    }

    #[test]
    fn what_was_written_is_read_back_and_is_nobody_elses_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("team.list");
        assert_eq!(TeamFile::read(&path).unwrap(), None);
        // A leftover of a writer that was killed.
        std::fs::write(beside(&path, "new"), "half").unwrap();
        file().write(&path).unwrap();
        assert_eq!(TeamFile::read(&path).unwrap(), Some(file()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
        assert_eq!(file().apps(), 1);
        TeamFile::remove(&path).unwrap();
        TeamFile::remove(&path).unwrap();
        assert_eq!(TeamFile::read(&path).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_cut_anywhere_or_changed_anywhere_is_not_believed() {
        let bytes = file().encode();
        for end in 0..bytes.len() {
            assert!(TeamFile::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(TeamFile::decode(&changed).is_err(), "changed at {at}");
        }
        let mut more = bytes.clone();
        more.extend(b"more");
        assert!(TeamFile::decode(&more).is_err());
    }

    #[test]
    fn a_word_of_the_next_version_is_skipped_and_another_form_is_refused() {
        let mut text = b"musher-team 1\nboot b\nweather fine\nalone\n".to_vec();
        text.extend(format!("sum {:016x}\n", sum(&text)).into_bytes());
        assert_eq!(TeamFile::decode(&text).unwrap().boot, "b");
        assert!(matches!(TeamFile::decode(b"musher-team 2\n"), Err(TeamFault::Version(2))));
        let huge = b"musher-team 1\nrecord app/1 18446744073709551615\n{}\n";
        assert!(matches!(TeamFile::decode(huge), Err(TeamFault::Damaged(_))));
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("team.list");
        file().write(&path).unwrap();
        // Something that cannot be removed has the name of the new file.
        std::fs::create_dir(beside(&path, "new")).unwrap();
        assert!(TeamFile::default().write(&path).is_err());
        assert_eq!(TeamFile::read(&path).unwrap(), Some(file()));
    }

    #[test]
    fn what_cannot_be_used_is_kept_under_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("team.list");
        std::fs::write(&path, "garbage").unwrap();
        assert!(TeamFile::read(&path).is_err());
        let aside = TeamFile::put_aside(&path).unwrap();
        assert_eq!(std::fs::read_to_string(aside).unwrap(), "garbage");
        assert!(!path.exists());
    }
}
