//! When files are rotated, packed and deleted.
//!
//! A rotation renames; nothing is copied, so nothing is lost. It may be cut off between any two steps: what is left over
//! is put in order when the app is opened the next time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use musher_core::ids::AppId;

use super::LogTrouble;
use super::app::{Apps, SPARE_INDEXES, reason};
use super::index::FileId;
use super::numbered::{Rotated, ignore_missing, name, rotated, shift, unfinished};
use super::packer::{Done, Job};
use super::unit::Unit;

/// How long nothing is tried after files could not be rotated.
const ROTATION_RETRY: Duration = Duration::from_secs(60);
/// With a limit for all files, those that are written may have this part of it together.
const WRITTEN_PART: u64 = 4;
/// The least size at which such a file is rotated.
const LEAST: u64 = 4096;

/// Nothing is looked at again sooner, also what could not be deleted.
const SOON: Duration = Duration::from_secs(60);
/// The variable that limits all log files of all apps.
const MAX_TOTAL: &str = "MUSHER_LOGS_MAX_TOTAL";

/// What is under way, and what is to come.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Files of which a rotated one is being packed, by their names without number.
    packing: BTreeSet<PathBuf>,
    /// Those of which one could not be packed; tried again after the next rotation.
    unpackable: BTreeSet<PathBuf>,
    /// When something becomes too old.
    due: BTreeMap<AppId, Instant>,
    /// How much all files of all apps may have together; 0: no limit.
    max_total_bytes: u64,
}

impl Order {
    /// With the limit that the daemon's environment sets.
    pub(super) fn from_env() -> Order {
        let text = std::env::var(MAX_TOTAL).unwrap_or_default();
        let max_total_bytes = bytes_of(&text).unwrap_or_else(|| {
            tracing::warn!("{MAX_TOTAL} is {text:?}, which is no size: there is no limit for all log files");
            0
        });
        Order { max_total_bytes, ..Order::default() }
    }

    /// The apps of which something has become too old.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<AppId> {
        let apps: Vec<AppId> = self.due.iter().filter(|(_, due)| **due <= now).map(|(app, _)| *app).collect();
        self.due.retain(|_, due| *due > now);
        apps
    }

    /// When the next one does.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The app is closed.
    pub(super) fn forget(&mut self, app: AppId) {
        self.due.remove(&app);
    }
}

impl Apps {
    /// The unit and those that share a file with it, with those that share one with them, and so on.
    pub(super) fn group(&self, unit: Unit) -> Vec<Unit> {
        let mut members = vec![unit];
        let mut next = 0;
        while let Some(log) = members.get(next).and_then(|member| self.units.get(member)) {
            next += 1;
            for (other, theirs) in &self.units {
                if !members.contains(other) && log.paths.meet(&theirs.paths) {
                    members.push(*other);
                }
            }
        }
        members
    }

    /// Whether a file of this size, with so much more to come, is to be rotated first.
    pub(super) fn is_full(&self, unit: Unit, place: usize, size: u64, room: usize) -> bool {
        let Some(log) = self.units.get(&unit) else { return false };
        let regular = log.files[place].as_ref().is_some_and(|file| file.regular);
        let large = log.max_bytes > 0 && size + room as u64 > log.max_bytes;
        let old = || {
            let age = log.logs.max_age.zip(log.begun());
            age.is_some_and(|(age, begun)| crate::clock::since_1970() > Duration::from_nanos(begun) + age)
        };
        regular && size > 0 && (large || old()) && log.no_rotation_until.is_none_or(|until| Instant::now() >= until)
    }

    /// Moves the files of the unit, and of those that share one with it, out of the way.
    pub(super) fn rotate(&mut self, unit: Unit, place: usize) {
        let Some(log) = self.units.get(&unit) else { return };
        let keep = log.logs.keep;
        let members = self.group(unit);
        let mut paths = BTreeSet::new();
        let mut result = Ok(());
        for member in &members {
            self.flush_index(*member);
            if let Some(log) = self.units.get(member) {
                // The index goes first: a rotation that is cut off here leaves files without index, whose lines are
                // still found, and never an index that speaks of other files.
                result = result.and(shift(&log.paths.index, keep + SPARE_INDEXES));
                paths.extend(log.regular().map(|file| file.path.clone()));
            }
        }
        for path in paths {
            result = result.and(shift(&path, keep));
            self.order.unpackable.remove(&path);
        }
        for member in &members {
            self.open_files(*member);
        }
        let apps: BTreeSet<AppId> = members.iter().map(|member| member.app).collect();
        apps.into_iter().for_each(|app| self.tidy(app));
        if let Err(error) = result {
            if let Some(log) = self.units.get_mut(&unit) {
                log.no_rotation_until = Some(Instant::now() + ROTATION_RETRY);
            }
            self.notice(unit, place, LogTrouble::NotRotated { error: reason(&error) });
        }
    }

    /// Divides what an app may have among the files that are written.
    pub(super) fn share_out(&mut self, app: AppId) {
        let units: Vec<Unit> = self.units_of(app).collect();
        let paths: BTreeSet<PathBuf> = units
            .iter()
            .filter_map(|unit| self.units.get(unit))
            .flat_map(|log| log.regular().map(|file| file.path.clone()))
            .collect();
        for unit in units {
            let Some(log) = self.units.get_mut(&unit) else { continue };
            let share = log.logs.max_total_bytes / (WRITTEN_PART * paths.len().max(1) as u64);
            let limited = log.logs.max_total_bytes > 0;
            log.max_bytes = if limited { log.logs.max_bytes.min(share.max(LEAST)) } else { log.logs.max_bytes };
        }
    }

    /// Deletes rotated files that are too many, too old or too large together, and has one more packed.
    pub(super) fn tidy(&mut self, app: AppId) {
        let Some((logs, mut left)) = self.rotated_of(app) else { return };
        if let Some(age) = logs.keep_for {
            let now = crate::clock::since_1970().as_secs();
            let kept = |file: &Rotated| file.modified + age.as_secs() > now;
            left.retain(|_, (file, _)| kept(file) || delete(file).is_err());
            let oldest = left.values().map(|(file, _)| file.modified).min();
            match oldest {
                Some(oldest) => {
                    let wait = Duration::from_secs((oldest + age.as_secs()).saturating_sub(now)).max(SOON);
                    self.order.due.insert(app, Instant::now() + wait);
                }
                None => self.order.forget(app),
            }
        }
        if logs.max_total_bytes > 0 {
            let written: u64 = self
                .units_of(app)
                .filter_map(|unit| self.units.get(&unit))
                .map(|log| log.regular().count() as u64 * log.max_bytes + log.index_length())
                .sum();
            delete_oldest(&mut left, logs.max_total_bytes.saturating_sub(written));
        }
        if logs.compress {
            let files = left.into_values().filter_map(|(file, base)| Some((file, base?)));
            self.pack_next(app, files.filter(|(file, _)| !file.packed).collect());
        }
        self.keep_to_the_limit_of_all();
    }

    /// How an app logs, and its rotated files, the oldest first, each with its name without number if it may be packed.
    fn rotated_of(&self, app: AppId) -> Option<(musher_core::spec::Logs, Files)> {
        let mut logs = None;
        let mut bases = BTreeMap::new();
        for unit in self.units_of(app) {
            let log = self.units.get(&unit)?;
            bases.insert(log.paths.index.clone(), false);
            bases.extend(log.regular().map(|file| (file.path.clone(), true)));
            logs.get_or_insert_with(|| log.logs.clone());
        }
        let logs = logs?;
        let mut files = Files::new();
        for (base, packable) in bases {
            let keep = if packable { logs.keep } else { logs.keep + SPARE_INDEXES };
            let mut plain = None;
            for file in rotated(&base) {
                // Packed, but the end of the plain one was cut off: it is packed again.
                let twice = file.packed && plain == Some(file.number);
                plain = (!file.packed).then_some(file.number);
                if file.number > keep || twice {
                    let _ = delete(&file);
                    continue;
                }
                // Of one age, those with the higher number are the older ones.
                let key = (file.modified, u32::MAX - file.number, file.path.clone());
                files.insert(key, (file, packable.then(|| base.clone())));
            }
        }
        Some((logs, files))
    }

    fn keep_to_the_limit_of_all(&mut self) {
        let limit = self.order.max_total_bytes;
        if limit == 0 {
            return;
        }
        let (mut written, mut all) = (0, Files::new());
        let apps: BTreeSet<AppId> = self.units.keys().map(|unit| unit.app).collect();
        for app in apps {
            let units = self.units_of(app).filter_map(|unit| self.units.get(&unit));
            written += units
                .map(|log| {
                    log.index_length()
                        + log.regular().filter_map(|file| file.look().ok()).map(|(size, _)| size).sum::<u64>()
                })
                .sum::<u64>();
            all.extend(self.rotated_of(app).into_iter().flat_map(|(_, files)| files));
        }
        delete_oldest(&mut all, limit.saturating_sub(written));
    }

    /// Has the first of these packed of whose kind none is being packed.
    fn pack_next(&mut self, app: AppId, files: Vec<(Rotated, PathBuf)>) {
        for (file, base) in files {
            if self.order.packing.contains(&base) || self.order.unpackable.contains(&base) {
                continue;
            }
            let job = File::open(&file.path).and_then(|file| {
                let id = FileId::of(&file)?;
                self.packer.pack(Job { app, base: base.clone(), file, id })
            });
            match job {
                Ok(()) => self.order.packing.insert(base),
                Err(error) => {
                    tracing::warn!(path = %file.path.display(), %error, "a log file cannot be packed");
                    self.order.unpackable.insert(base)
                }
            };
        }
    }

    /// Gives what was packed the name of the file that it was.
    pub(super) fn packed(&mut self, done: Done) {
        let Done { app, base, id, result } = done;
        self.order.packing.remove(&base);
        if let Err(error) = result.and_then(|()| put_in_place(&base, id)) {
            tracing::warn!(path = %base.display(), %error, "a rotated log file cannot be packed");
            self.order.unpackable.insert(base);
        }
        self.tidy(app);
    }

    /// Deletes what a packing that was cut off has left.
    pub(super) fn clear_unfinished(&self, unit: Unit) {
        for file in self.units.get(&unit).into_iter().flat_map(|log| log.regular()) {
            if !self.order.packing.contains(&file.path) {
                let _ = std::fs::remove_file(unfinished(&file.path));
            }
        }
    }
}

/// Rotated files by age; each with its name without number, if it may be packed.
type Files = BTreeMap<(u64, u32, PathBuf), (Rotated, Option<PathBuf>)>;

fn delete(file: &Rotated) -> io::Result<()> {
    ignore_missing(std::fs::remove_file(&file.path))
}

/// Deletes the oldest until the rest is no larger than `limit`.
fn delete_oldest(files: &mut Files, limit: u64) {
    let mut size: u64 = files.values().map(|(file, _)| file.size).sum();
    while size > limit
        && let Some((_, (file, _))) = files.pop_first()
    {
        if let Err(error) = delete(&file) {
            tracing::warn!(path = %file.path.display(), %error, "a log file cannot be deleted");
        }
        size -= file.size;
    }
}

fn put_in_place(base: &std::path::Path, id: FileId) -> io::Result<()> {
    let new = unfinished(base);
    let is_it = |file: &Rotated| {
        !file.packed && File::open(&file.path).and_then(|file| FileId::of(&file)).is_ok_and(|found| found == id)
    };
    let Some(file) = rotated(base).into_iter().find(is_it) else {
        // It was deleted meanwhile.
        return ignore_missing(std::fs::remove_file(new));
    };
    std::fs::rename(new, name(base, file.number, true))?;
    std::fs::remove_file(file.path)
}

/// A size such as `5GiB` or `500M`, in powers of 1024; nothing is 0.
fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("", 0), ("700", 700), ("5GiB", 5 << 30), ("500M", 500 << 20), (" 1 KiB ", 1024)] {
            assert_eq!(bytes_of(text), Some(bytes), "{text}");
        }
        for wrong in ["much", "-1", "1.5G", "1GB", "99999999999T"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }
}
