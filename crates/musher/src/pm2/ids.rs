//! The numbers by which PM2 names processes: one for each worker of each app, given when it is first seen and kept.
//!
//! The supervisor knows apps and slots. What PM2's ids belong to, and how often a person restarted each, is a small file in
//! the home that only these commands read and write, one at a time. A file that cannot be read is begun anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// More than any home has.
const MAX_FILE: u64 = 16 << 20;

/// A worker's place: the app, when it was added, the slot. An id of an app is used again by another daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) app: u32,
    pub(super) added_ms: u64,
    pub(super) slot: u32,
}

/// What is remembered of one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) place: Place,
    /// The number.
    pub(super) id: u32,
    /// How often a command restarted it.
    #[serde(default)]
    pub(super) asked: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    next: u32,
    entries: Vec<Entry>,
}

/// The file, held by this command alone.
pub(super) struct Ids {
    path: PathBuf,
    known: Known,
    _lock: File,
}

impl Ids {
    /// The places that have a number now.
    pub(super) fn known(home: &Path) -> BTreeSet<Place> {
        read(&home.join("pm2-ids.json")).entries.into_iter().map(|entry| entry.place).collect()
    }

    /// Reads the file, and gives numbers to workers that have none. Those of `known` that are gone are forgotten: what was
    /// known before `places` was asked for, because another command may have seen workers that came since.
    pub(super) fn open(home: &Path, places: &[Place], known: &BTreeSet<Place>) -> io::Result<Ids> {
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(home.join("pm2-ids.lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let path = home.join("pm2-ids.json");
        let mut ids = Ids { known: read(&path), path, _lock: lock };
        ids.settle(places, known);
        ids.save()?;
        Ok(ids)
    }

    fn settle(&mut self, places: &[Place], known: &BTreeSet<Place>) {
        self.known.entries.retain(|entry| places.contains(&entry.place) || !known.contains(&entry.place));
        if self.known.entries.is_empty() {
            // As with PM2: an empty list begins at 0 again.
            self.known.next = 0;
        }
        for place in places {
            if self.known.entries.iter().all(|entry| entry.place != *place) {
                let id = self.known.next;
                self.known.next = id.saturating_add(1);
                self.known.entries.push(Entry { place: *place, id, asked: 0 });
            }
        }
    }

    /// What is remembered, by place.
    pub(super) fn entries(&self) -> BTreeMap<Place, Entry> {
        self.known.entries.iter().map(|entry| (entry.place, entry.clone())).collect()
    }

    /// Counts a restart that was asked for, or begins to count anew.
    pub(super) fn count(&mut self, ids: &[u32], reset: bool) -> io::Result<()> {
        for entry in self.known.entries.iter_mut().filter(|entry| ids.contains(&entry.id)) {
            entry.asked = if reset { 0 } else { entry.asked.saturating_add(1) };
        }
        self.save()
    }

    /// Gives numbers that others had to these.
    pub(super) fn give(&mut self, moved: Vec<Entry>) -> io::Result<()> {
        let entries = &mut self.known.entries;
        entries.retain(|entry| moved.iter().all(|new| new.id != entry.id && new.place != entry.place));
        entries.extend(moved);
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let next = self.path.with_extension("json.next");
        let text = serde_json::to_vec(&self.known)?;
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?.write_all(&text)?;
        std::fs::rename(next, &self.path)
    }
}

/// What the file says; nothing when it cannot be read.
fn read(path: &Path) -> Known {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Ids, Place};

    #[test]
    fn a_command_that_asked_earlier_does_not_take_numbers_away() {
        let home = tempfile::tempdir().unwrap();
        let place = |app| Place { app, added_ms: 7, slot: 0 };
        let asked = Ids::known(home.path());
        drop(Ids::open(home.path(), &[place(1)], &BTreeSet::new()).unwrap());
        let late = Ids::open(home.path(), &[], &asked).unwrap();
        assert_eq!(late.entries()[&place(1)].id, 0);
    }

    #[test]
    fn a_number_is_kept_as_long_as_its_worker_has_a_place() {
        let home = tempfile::tempdir().unwrap();
        let place = |app, slot| Place { app, added_ms: 7, slot };
        let ids = |places: &[Place]| {
            let ids = Ids::open(home.path(), places, &Ids::known(home.path())).unwrap();
            ids.entries().values().map(|entry| (entry.place.app, entry.place.slot, entry.id)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[place(1, 0), place(2, 0)]), [(1, 0, 0), (2, 0, 1)]);
        assert_eq!(ids(&[place(1, 0), place(1, 1), place(2, 0)]), [(1, 0, 0), (1, 1, 2), (2, 0, 1)]);
        assert_eq!(ids(&[place(2, 0)]), [(2, 0, 1)], "the first are gone");
        assert_eq!(ids(&[place(2, 0), place(3, 0)]), [(2, 0, 1), (3, 0, 3)], "a number is not given twice");
        assert_eq!(ids(&[]), []);
        assert_eq!(ids(&[place(4, 0)]), [(4, 0, 0)], "an empty list begins at 0");
        std::fs::write(home.path().join("pm2-ids.json"), "broken").unwrap();
        assert_eq!(ids(&[place(4, 0)]), [(4, 0, 0)]);
    }

    #[test]
    fn restarts_that_were_asked_for_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let place = Place { app: 1, added_ms: 7, slot: 0 };
        let mut ids = Ids::open(home.path(), &[place], &BTreeSet::new()).unwrap();
        ids.count(&[0], false).unwrap();
        drop(ids);
        let mut ids = Ids::open(home.path(), &[place], &BTreeSet::new()).unwrap();
        assert_eq!(ids.entries()[&place].asked, 1);
        ids.count(&[0], true).unwrap();
        assert_eq!(ids.entries()[&place].asked, 0);
    }
}
