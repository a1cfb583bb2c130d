//! The files that are written together: those of an app, or of one slot of an app whose workers have files of their own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use musher_api::LogStream;
use musher_core::ids::AppId;
use musher_core::spec::{DatePattern, Logs};

use super::app::{Clock, SPARE_INDEXES};
use super::file::LogFile;
use super::index::{self, Header, IndexWriter, Record};
use super::losses::Loss;
use super::numbered::{shift, suffixed};
use super::{LogCounters, LogPaths};
use crate::home::make_private_dir;

/// The places of a unit's files.
pub(super) const PLACES: [usize; 3] = [0, 1, COMBINED];
/// The file of both outputs.
pub(super) const COMBINED: usize = 2;

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Unit {
    pub(super) app: AppId,
    /// None: those of all slots.
    pub(super) slot: Option<u32>,
}

/// Them.
pub(super) struct UnitLog {
    pub(super) name: Arc<str>,
    pub(super) logs: Logs,
    pub(super) paths: LogPaths,
    /// Out, err, and that of both.
    pub(super) files: [Option<LogFile>; 3],
    pub(super) lost: [Option<Lost>; 3],
    pub(super) index: Option<IndexWriter>,
    pub(super) pending: Vec<Record>,
    pub(super) generation: u64,
    pub(super) no_rotation_until: Option<Instant>,
    /// How times are written, if not as RFC 3339.
    pub(super) pattern: Option<DatePattern>,
    /// A file that is larger is rotated; 0: never.
    pub(super) max_bytes: u64,
    pub(super) counters: Arc<LogCounters>,
}

/// What could not be written since the last time that something could.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) loss: Loss,
    pub(super) next_try: Instant,
}

impl Unit {
    /// The number under which the losses of a place outlive this process.
    pub(super) fn loss_key(self, place: usize) -> usize {
        place + self.slot.map_or(0, |slot| 4 * (slot as usize + 1))
    }
}

/// The place of the file of a stream.
pub(super) fn place_of(stream: LogStream) -> usize {
    usize::from(stream == LogStream::Err)
}

impl UnitLog {
    /// The place that the index speaks of.
    pub(super) fn described(&self, stream: LogStream) -> usize {
        if self.paths.combined.is_some() { COMBINED } else { place_of(stream) }
    }

    /// Opens all files by their names. What cannot be opened stays closed.
    pub(super) fn open(&mut self, shared: bool, clock: &mut Clock) {
        for place in PLACES {
            self.files[place] = self.paths.at(place).and_then(|path| LogFile::open(path).ok());
        }
        self.mend();
        match self.open_index(shared, clock) {
            Ok(index) => {
                clock.see(index.last_cursor());
                self.generation = index.header.generation;
                self.index = Some(index);
            }
            Err(error) => {
                tracing::debug!(app = &*self.name, %error, "no index");
                self.index = None;
            }
        }
    }

    /// The files that have a size.
    pub(super) fn regular(&self) -> impl Iterator<Item = &LogFile> {
        self.files.iter().flatten().filter(|file| file.regular)
    }

    pub(super) fn index_length(&self) -> u64 {
        self.index.as_ref().map_or(0, IndexWriter::length)
    }

    /// When the files were begun, in nanoseconds since 1970.
    pub(super) fn begun(&self) -> Option<u64> {
        self.index.as_ref().map(|index| index.header.time_ns)
    }

    /// See [`LogFile::mend`]. Before the index is opened, because that may begin a new one, which begins where the files end.
    fn mend(&mut self) {
        let index = OpenOptions::new().read(true).write(true).open(&self.paths.index);
        let index = index.ok().and_then(|file| IndexWriter::resume(file).ok().flatten());
        for file in self.files.iter_mut().flatten() {
            let ours = index.as_ref().and_then(|index| {
                let n = index.header.files.iter().position(|id| *id == file.id)?;
                Some(index.known_end(n))
            });
            if let Err(error) = file.mend(ours) {
                tracing::debug!(path = %file.path.display(), %error, "half a line stays");
            }
        }
    }

    /// Goes on with the index if it speaks of these files, else begins another.
    fn open_index(&self, shared: bool, clock: &mut Clock) -> io::Result<IndexWriter> {
        let path = &self.paths.index;
        let described = [LogStream::Out, LogStream::Err].map(|stream| self.files[self.described(stream)].as_ref());
        let files = described.map(|file| file.map(|file| file.id).unwrap_or_default());
        let mut generation = self.generation.max(newest_generation(path));
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                if let Some(index) = IndexWriter::resume(file)? {
                    if index.header.files == files && index.header.shared == shared {
                        return Ok(index);
                    }
                    clock.see(index.last_cursor());
                    generation = generation.max(index.header.generation);
                }
                shift(path, self.logs.keep + SPARE_INDEXES)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let bases = described.map(|file| file.and_then(|file| file.look().ok()).map_or(0, |(size, _)| size));
        let header = Header { generation: generation + 1, time_ns: clock.next(1), files, bases, shared };
        // Readers never see an index without its header.
        let new = suffixed(path, ".new");
        if let Some(directory) = path.parent() {
            make_private_dir(directory)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let index = IndexWriter::create(file, header)?;
        std::fs::rename(&new, path)?;
        Ok(index)
    }
}

impl Lost {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.loss.lines += u64::from(count_lines(bytes));
        self.loss.bytes += bytes.len() as u64;
    }
}

fn newest_generation(index: &Path) -> u64 {
    let generation = |path: PathBuf| {
        let file = File::open(path).ok()?;
        index::read_header(&file).ok()?.map(|header| header.generation)
    };
    generation(index.to_path_buf()).or_else(|| generation(suffixed(index, ".1"))).unwrap_or(0)
}

pub(super) fn count_lines(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u32::MAX)
}
