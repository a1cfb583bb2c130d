//! The log files of all apps: where a batch of lines goes, when files are rotated, what is lost on a full disk.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use musher_api::LogStream;
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Logs;

use super::file::{self, LogFile, Refused};
use super::format::{self, Origin};
use super::index::{self, Header, IndexWriter, Record};
use super::losses::{Loss, Losses};
use super::{LogNotice, LogPaths, LogTrouble};
use crate::home::{Home, make_private_dir};

/// How long nothing is tried after a file could not be written.
pub(super) const RETRY: Duration = Duration::from_millis(200);
/// How long nothing is tried after files could not be rotated.
const ROTATION_RETRY: Duration = Duration::from_secs(60);
/// Records are written when so many have gathered, at the latest.
const MAX_PENDING: usize = 256;
/// Indexes also change when only one of the files does: more of them are kept than of those.
const SPARE_INDEXES: u32 = 8;

/// Who wrote a batch of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) app: AppId,
    pub(super) slot: SlotId,
    pub(super) run: RunId,
    pub(super) pid: i32,
    pub(super) stream: LogStream,
}

/// The files of all apps.
pub(super) struct Apps {
    home: Home,
    apps: HashMap<AppId, AppLog>,
    clock: Clock,
    notify: Box<dyn FnMut(LogNotice) + Send>,
    /// Room for formatted lines.
    buffer: Vec<u8>,
    /// Apps with records that are not in their index yet.
    dirty: BTreeSet<AppId>,
    losses: Option<Losses>,
}

struct AppLog {
    name: String,
    logs: Logs,
    paths: LogPaths,
    /// Out and err.
    files: [Option<LogFile>; 2],
    lost: [Option<Lost>; 2],
    index: Option<IndexWriter>,
    pending: Vec<Record>,
    generation: u64,
    no_rotation_until: Option<Instant>,
}

/// What could not be written since the last time that something could.
#[derive(Debug)]
struct Lost {
    loss: Loss,
    next_try: Instant,
}

/// Cursors: the time in nanoseconds since 1970, but strictly growing.
#[derive(Debug, Default)]
struct Clock {
    last: u64,
}

impl Clock {
    /// The first of `count` cursors in a row. The one before it stays free, for lines that are found without a record.
    fn next(&mut self, count: u32) -> u64 {
        let first = unix_ns().max(self.last + 2);
        self.last = first + u64::from(count.max(1)) - 1;
        first
    }
}

fn unix_ns() -> u64 {
    u64::try_from(crate::clock::since_1970().as_nanos()).unwrap_or(u64::MAX)
}

fn slot_of(stream: LogStream) -> usize {
    usize::from(stream == LogStream::Err)
}

impl Apps {
    pub(super) fn new(home: Home, losses: Option<Losses>, notify: Box<dyn FnMut(LogNotice) + Send>) -> Apps {
        let (apps, clock) = (HashMap::new(), Clock::default());
        Apps { home, apps, clock, notify, buffer: Vec::new(), dirty: BTreeSet::new(), losses }
    }

    /// Opens the files of an app, or changes how they are written.
    pub(super) fn open(&mut self, id: AppId, name: String, logs: Logs) {
        self.flush_index(id);
        let paths = LogPaths::new(&self.home, &name, &logs);
        let mut left = |stream| self.losses.as_mut()?.take(id, stream);
        let left = [left(0), left(1)].map(|loss| loss.map(|loss| Lost { loss, next_try: Instant::now() }));
        let lost = self.apps.remove(&id).map_or(left, |app| app.lost);
        let app = AppLog {
            name,
            logs,
            paths,
            files: [None, None],
            lost,
            index: None,
            pending: Vec::new(),
            generation: 0,
            no_rotation_until: None,
        };
        self.apps.insert(id, app);
        // Apps that share a file with it get an index that says so.
        for member in self.group(id) {
            self.open_files(member);
        }
    }

    /// Closes the files of an app. They stay.
    pub(super) fn close(&mut self, id: AppId) {
        self.retry_lost(id, Instant::now() + RETRY);
        self.flush_index(id);
        self.apps.remove(&id);
        self.keep_losses();
    }

    /// What is lost by now outlives this process.
    fn keep_losses(&self) {
        let Some(losses) = &self.losses else { return };
        let all = self.apps.iter().flat_map(|(id, app)| {
            let streams = app.lost.iter().enumerate();
            streams.filter_map(|(stream, lost)| Some((*id, stream, &lost.as_ref()?.loss)))
        });
        losses.keep(all);
    }

    /// Opens all files again by their names.
    pub(super) fn reopen(&mut self) {
        for id in self.apps.keys().copied().collect::<Vec<_>>() {
            self.open_files(id);
        }
    }

    /// Deletes what is in the files of an app.
    pub(super) fn clear(&mut self, id: AppId) -> io::Result<()> {
        let Some(app) = self.apps.get_mut(&id) else { return Ok(()) };
        app.pending.clear();
        let paths = app.paths.clone();
        let mut result = Ok(());
        for path in [&paths.index, &paths.out, &paths.err] {
            result = result.and(remove_with_rotated(path));
        }
        self.open_files(id);
        result
    }

    /// Writes whole lines of one worker.
    pub(super) fn write(&mut self, writer: Writer, lines: &[u8]) {
        let Some(app) = self.apps.get(&writer.app) else {
            tracing::error!(app = %writer.app, "output of an app without log files");
            return;
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let origin = Origin {
            app: &app.name,
            slot: writer.slot.0,
            pid: writer.pid,
            stream: writer.stream,
            time_ms: unix_ns() / 1_000_000,
        };
        let bytes = format::write(app.logs.format, origin, lines, &mut buffer);
        let record = Record {
            time_ns: 0,
            offset: 0,
            length: 0,
            stream: writer.stream,
            format: app.logs.format,
            slot: writer.slot.0,
            pid: writer.pid,
            run: writer.run.0,
            lines: 0,
        };
        self.put(writer.app, record, bytes);
        // One huge batch must not stay in memory for ever.
        if buffer.capacity() <= 4 * super::tap::MAX_BATCH {
            self.buffer = buffer;
        }
    }

    /// Whether lines were lost and nothing has told so yet.
    pub(super) fn has_lost(&self) -> bool {
        self.apps.values().any(|app| app.lost.iter().any(Option::is_some))
    }

    /// Tries to tell about lost lines, where it is time to.
    pub(super) fn retry_all_lost(&mut self) {
        let now = Instant::now();
        let losing = |app: &AppLog| app.lost.iter().flatten().any(|lost| lost.next_try <= now);
        for id in self.apps.iter().filter(|(_, app)| losing(app)).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.retry_lost(id, now);
        }
    }

    /// Writes the index records that have gathered, and says which apps have new lines up to which cursor.
    pub(super) fn flush(&mut self, mut tell: impl FnMut(AppId, u64)) {
        for id in std::mem::take(&mut self.dirty) {
            self.flush_index(id);
            tell(id, self.clock.last);
        }
    }

    /// Writes `bytes`, or counts them as lost.
    fn put(&mut self, id: AppId, mut record: Record, bytes: &[u8]) {
        let stream = record.stream;
        if let Some(lost) = self.lost(id, stream)
            && Instant::now() < lost.next_try
        {
            lost.add(bytes);
            return self.keep_losses();
        }
        let written = match self.end_of_file(id, stream, bytes.len()) {
            Ok(size) => self.tell_lost(id, stream, size).and_then(|size| self.append(id, stream, bytes, size)),
            Err(error) => Err(Refused { written: file::Place { offset: 0, length: 0 }, error }),
        };
        let (place, error) = match written {
            Ok(place) => (place, None),
            Err(refused) => (refused.written, Some(refused.error)),
        };
        // A refusal may concern the line about what was lost before; then none of these bytes are in the file.
        let length = place.length.min(bytes.len());
        if let Some(error) = error {
            self.lose(id, stream, &bytes[length..], &error);
        }
        if length > 0 {
            record.offset = place.offset;
            record.length = u32::try_from(length).unwrap_or(u32::MAX);
            record.lines = count_lines(&bytes[..length]);
            record.time_ns = self.clock.next(record.lines);
            self.push(id, record);
        }
    }

    fn lost(&mut self, id: AppId, stream: LogStream) -> Option<&mut Lost> {
        self.apps.get_mut(&id)?.lost[slot_of(stream)].as_mut()
    }

    fn append(&mut self, id: AppId, stream: LogStream, bytes: &[u8], size: u64) -> Result<file::Place, Refused> {
        match self.apps.get_mut(&id).and_then(|app| app.files[slot_of(stream)].as_mut()) {
            Some(file) => file.append(bytes, size),
            None => {
                Err(Refused { written: file::Place { offset: size, length: 0 }, error: io::ErrorKind::NotFound.into() })
            }
        }
    }

    /// Makes sure that the file is open, has a name and has room, and says where it ends.
    fn end_of_file(&mut self, id: AppId, stream: LogStream, room: usize) -> io::Result<u64> {
        let mut look = self.look(id, stream);
        if !matches!(look, Ok((_, true))) {
            self.open_files(id);
            look = self.look(id, stream);
        }
        let (size, _) = look?;
        let Some(app) = self.apps.get_mut(&id) else { return Ok(size) };
        let regular = app.files[slot_of(stream)].as_ref().is_some_and(|file| file.regular);
        let full = app.logs.max_bytes > 0 && size > 0 && size + room as u64 > app.logs.max_bytes;
        if !regular || !full || app.no_rotation_until.is_some_and(|until| Instant::now() < until) {
            return Ok(size);
        }
        if let Err(error) = self.rotate(id) {
            self.rotation_failed(id, stream, &error);
        }
        self.look(id, stream).map(|(size, _)| size)
    }

    fn look(&self, id: AppId, stream: LogStream) -> io::Result<(u64, bool)> {
        match self.apps.get(&id).and_then(|app| app.files[slot_of(stream)].as_ref()) {
            Some(file) => file.look(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// If lines were lost, says so in the file, which ends at `size`. Returns its new end.
    fn tell_lost(&mut self, id: AppId, stream: LogStream, size: u64) -> Result<u64, Refused> {
        let Some(app) = self.apps.get(&id) else { return Ok(size) };
        let Some(lost) = &app.lost[slot_of(stream)] else { return Ok(size) };
        let (lines, bytes) = (lost.loss.lines, lost.loss.bytes);
        let text = format!("[musher] {lines} lines ({bytes} bytes) lost: {}\n", lost.loss.error);
        let origin = Origin { app: &app.name, slot: 0, pid: 0, stream, time_ms: unix_ns() / 1_000_000 };
        let format = app.logs.format;
        let mut buffer = Vec::new();
        let line = format::write(format, origin, text.as_bytes(), &mut buffer);
        let place = self
            .append(id, stream, line, size)
            .map_err(|refused| Refused { written: file::Place { offset: size, length: 0 }, error: refused.error })?;
        let length = u32::try_from(place.length).unwrap_or(u32::MAX);
        let time_ns = self.clock.next(1);
        let record = Record { time_ns, offset: size, length, stream, format, slot: 0, pid: 0, run: 0, lines: 1 };
        self.push(id, record);
        if let Some(app) = self.apps.get_mut(&id) {
            app.lost[slot_of(stream)] = None;
        }
        self.keep_losses();
        self.notice(id, stream, LogTrouble::Recovered { lines, bytes });
        Ok(size + place.length as u64)
    }

    fn retry_lost(&mut self, id: AppId, now: Instant) {
        for stream in [LogStream::Out, LogStream::Err] {
            if self.lost(id, stream).is_none_or(|lost| lost.next_try > now) {
                continue;
            }
            let told = match self.end_of_file(id, stream, 0) {
                Ok(size) => self.tell_lost(id, stream, size).map_err(|refused| refused.error),
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                self.lose(id, stream, &[], &error);
            }
        }
    }

    fn lose(&mut self, id: AppId, stream: LogStream, bytes: &[u8], error: &io::Error) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let first = app.lost[slot_of(stream)].is_none();
        let error = reason(error);
        let lost = app.lost[slot_of(stream)].get_or_insert_with(|| Lost {
            loss: Loss { lines: 0, bytes: 0, error: error.clone() },
            next_try: Instant::now(),
        });
        lost.add(bytes);
        lost.next_try = Instant::now() + RETRY;
        self.keep_losses();
        if first {
            self.notice(id, stream, LogTrouble::Losing { error });
        }
    }

    fn push(&mut self, id: AppId, record: Record) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        self.dirty.insert(id);
        if app.files[slot_of(record.stream)].as_ref().is_some_and(|file| file.regular) {
            app.pending.push(record);
            if app.pending.len() >= MAX_PENDING {
                self.flush_index(id);
            }
        }
    }

    fn flush_index(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        if app.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut app.pending);
        let named = app.index.as_ref().is_some_and(|index| index.links().is_ok_and(|links| links > 0));
        if !named {
            // Without an index, or with one that somebody deleted: a new one begins behind these records.
            self.open_files(id);
            return;
        }
        if let Some(index) = &mut app.index {
            // The lines are in their file and will be found without their records.
            if let Err(error) = index.append(&pending) {
                tracing::debug!(app = app.name, %error, "index records dropped");
            }
            app.pending = pending;
            app.pending.clear();
        }
    }

    /// The app and those that share a file with it, with those that share one with them, and so on.
    fn group(&self, id: AppId) -> Vec<AppId> {
        let mut members = vec![id];
        let mut next = 0;
        while let Some(app) = members.get(next).and_then(|member| self.apps.get(member)) {
            next += 1;
            for (other, log) in &self.apps {
                if !members.contains(other) && app.paths.meet(&log.paths) {
                    members.push(*other);
                }
            }
        }
        members
    }

    /// Moves out, err and index of the app, and of those that share a file with it, out of the way.
    fn rotate(&mut self, id: AppId) -> io::Result<()> {
        let Some(app) = self.apps.get(&id) else { return Ok(()) };
        let keep = app.logs.keep;
        let members = self.group(id);
        let mut paths = BTreeSet::new();
        let mut result = Ok(());
        for member in &members {
            self.flush_index(*member);
            if let Some(app) = self.apps.get(member) {
                // The index goes first: a rotation that is cut off here leaves files without index, whose lines are
                // still found, and never an index that speaks of other files.
                result = result.and(file::shift(&app.paths.index, keep + SPARE_INDEXES));
                let regular = |file: &&LogFile| file.regular;
                paths.extend(app.files.iter().flatten().filter(regular).map(|file| file.path.clone()));
            }
        }
        for path in paths {
            result = result.and(file::shift(&path, keep));
        }
        for member in members {
            self.open_files(member);
        }
        result
    }

    fn rotation_failed(&mut self, id: AppId, stream: LogStream, error: &io::Error) {
        if let Some(app) = self.apps.get_mut(&id) {
            app.no_rotation_until = Some(Instant::now() + ROTATION_RETRY);
        }
        self.notice(id, stream, LogTrouble::NotRotated { error: reason(error) });
    }

    /// Opens both files and the index by their names. What cannot be opened stays closed and is tried again later.
    fn open_files(&mut self, id: AppId) {
        let shared = self.group(id).len() > 1;
        let Some(app) = self.apps.get_mut(&id) else { return };
        for stream in [LogStream::Out, LogStream::Err] {
            app.files[slot_of(stream)] = LogFile::open(app.paths.of(stream)).ok();
        }
        app.mend_files();
        match app.open_index(shared, &mut self.clock) {
            Ok(index) => {
                self.clock.last = self.clock.last.max(index.last_cursor());
                app.generation = index.header.generation;
                app.index = Some(index);
            }
            Err(error) => {
                tracing::debug!(app = app.name, %error, "no index");
                app.index = None;
            }
        }
    }

    fn notice(&mut self, id: AppId, stream: LogStream, trouble: LogTrouble) {
        if let Some(app) = self.apps.get(&id) {
            let path = app.paths.of(stream).to_path_buf();
            (self.notify)(LogNotice { app: id, path, trouble });
        }
    }
}

impl AppLog {
    /// See [`LogFile::mend`]. Before the index is opened, because that may begin a new one, which begins where the files end.
    fn mend_files(&mut self) {
        let index = OpenOptions::new().read(true).write(true).open(&self.paths.index);
        let index = index.ok().and_then(|file| IndexWriter::resume(file).ok().flatten());
        for (n, file) in self.files.iter_mut().enumerate() {
            let Some(file) = file else { continue };
            let ours = index.as_ref().filter(|index| index.header.files[n] == file.id).map(|index| index.known_end(n));
            if let Err(error) = file.mend(ours) {
                tracing::debug!(path = %file.path.display(), %error, "half a line stays");
            }
        }
    }

    /// Goes on with the index if it speaks of these files, else begins another.
    fn open_index(&self, shared: bool, clock: &mut Clock) -> io::Result<IndexWriter> {
        let path = &self.paths.index;
        let identity = |file: &Option<LogFile>| file.as_ref().map(|file| file.id).unwrap_or_default();
        let files = [identity(&self.files[0]), identity(&self.files[1])];
        let mut generation = self.generation.max(newest_generation(path));
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                if let Some(index) = IndexWriter::resume(file)? {
                    if index.header.files == files && index.header.shared == shared {
                        return Ok(index);
                    }
                    clock.last = clock.last.max(index.last_cursor());
                    generation = generation.max(index.header.generation);
                }
                file::shift(path, self.logs.keep + SPARE_INDEXES)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let size = |file: &Option<LogFile>| file.as_ref().and_then(|file| file.look().ok()).map_or(0, |(size, _)| size);
        let bases = [size(&self.files[0]), size(&self.files[1])];
        let header = Header { generation: generation + 1, time_ns: clock.next(1), files, bases, shared };
        // Readers never see an index without its header.
        let new = file::suffixed(path, ".new");
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
    fn add(&mut self, bytes: &[u8]) {
        self.loss.lines += u64::from(count_lines(bytes));
        self.loss.bytes += bytes.len() as u64;
    }
}

impl LogPaths {
    /// Whether they have a log file in common.
    fn meet(&self, other: &LogPaths) -> bool {
        [&self.out, &self.err].iter().any(|path| **path == other.out || **path == other.err)
    }
}

fn newest_generation(index: &Path) -> u64 {
    let generation = |path: PathBuf| {
        let file = File::open(path).ok()?;
        index::read_header(&file).ok()?.map(|header| header.generation)
    };
    generation(index.to_path_buf()).or_else(|| generation(file::suffixed(index, ".1"))).unwrap_or(0)
}

fn remove_with_rotated(path: &Path) -> io::Result<()> {
    file::ignore_missing(std::fs::remove_file(path))?;
    for n in 1.. {
        match std::fs::remove_file(file::suffixed(path, &format!(".{n}"))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn count_lines(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u32::MAX)
}

/// An error as part of a sentence: "no space left on device".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
