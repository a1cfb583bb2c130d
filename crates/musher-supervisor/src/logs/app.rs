//! The log files of all apps: where a batch of lines goes, what is lost on a full disk, what is dropped on request.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use musher_api::LogStream;
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::{DatePattern, Logs};

use super::file::{self, Refused};
use super::format::{self, Origin, Stamp};
use super::index::Record;
use super::limit::{Limiter, OVER};
use super::losses::{Loss, Losses};
use super::numbered::remove_all;
use super::packer::Packer;
use super::rotation::Order;
use super::unit::{COMBINED, Lost, PLACES, Unit, UnitLog, count_lines, place_of};
use super::{LogCounters, LogNotice, LogPaths, LogTrouble, Queue};
use crate::home::Home;

/// How long nothing is tried after a file could not be written.
pub(super) const RETRY: Duration = Duration::from_millis(200);
/// Long enough for any wait that has been begun to be over.
const ANY_WAIT: Duration = Duration::from_secs(3600);
/// Records are written when so many have gathered, at the latest.
const MAX_PENDING: usize = 256;
/// Indexes also change when only one of the files does: more of them are kept than of those.
pub(super) const SPARE_INDEXES: u32 = 8;

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
    apps: HashMap<AppId, App>,
    pub(super) units: HashMap<Unit, UnitLog>,
    clock: Clock,
    notify: Box<dyn FnMut(LogNotice) + Send>,
    /// Room for formatted lines, and for the time before them.
    buffer: Vec<u8>,
    stamp: Stamp,
    /// Units with records that are not in their index yet.
    dirty: BTreeSet<Unit>,
    losses: Option<Losses>,
    pub(super) order: Order,
    pub(super) packer: Packer,
    queue: Arc<Queue>,
}

/// What is the same for all files of an app.
struct App {
    name: Arc<str>,
    logs: Logs,
    limiter: Option<Limiter>,
    counters: Arc<LogCounters>,
}

/// Cursors: the time in nanoseconds since 1970, but strictly growing.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: u64,
}

impl Clock {
    /// The first of `count` cursors in a row. The one before it stays free, for lines that are found without a record.
    pub(super) fn next(&mut self, count: u32) -> u64 {
        let first = unix_ns().max(self.last + 2);
        self.last = first + u64::from(count.max(1)) - 1;
        first
    }

    /// This cursor has been given.
    pub(super) fn see(&mut self, cursor: u64) {
        self.last = self.last.max(cursor);
    }
}

fn unix_ns() -> u64 {
    u64::try_from(crate::clock::since_1970().as_nanos()).unwrap_or(u64::MAX)
}

impl Apps {
    pub(super) fn new(
        home: Home,
        losses: Option<Losses>,
        queue: Arc<Queue>,
        notify: Box<dyn FnMut(LogNotice) + Send>,
    ) -> Apps {
        Apps {
            home,
            apps: HashMap::new(),
            units: HashMap::new(),
            clock: Clock::default(),
            notify,
            buffer: Vec::new(),
            stamp: Stamp::new(),
            dirty: BTreeSet::new(),
            losses,
            order: Order::from_env(),
            packer: Packer::new(&queue),
            queue,
        }
    }

    /// Opens the files of an app, or changes how they are written.
    pub(super) fn open(&mut self, id: AppId, name: &str, logs: Logs) {
        let mut lost: HashMap<Unit, [Option<Lost>; 3]> = HashMap::new();
        for unit in self.units_of(id).collect::<Vec<_>>() {
            self.flush_index(unit);
            if let Some(log) = self.units.remove(&unit) {
                lost.insert(unit, log.lost);
            }
        }
        let mut slots: Vec<Option<u32>> = vec![None];
        if logs.per_worker {
            // Those that have files are put in order also when they write nothing.
            slots = LogPaths::slots(&self.home, name).into_iter().map(Some).collect();
        }
        let counters = Arc::clone(self.queue.counters().entry(id).or_default());
        let limiter = logs.limit.map(Limiter::new);
        self.apps.insert(id, App { name: name.into(), logs, limiter, counters });
        for slot in slots {
            let unit = Unit { app: id, slot };
            let lost = lost.remove(&unit);
            self.open_unit(unit, lost);
        }
        self.tidy(id);
    }

    fn open_unit(&mut self, unit: Unit, lost: Option<[Option<Lost>; 3]>) {
        let Some(app) = self.apps.get(&unit.app) else { return };
        let paths = LogPaths::new(&self.home, &app.name, &app.logs).of_slot(unit.slot);
        let mut left = |place| self.losses.as_mut()?.take(unit.app, unit.loss_key(place));
        let left = || PLACES.map(|place| left(place).map(|loss| Lost { loss, next_try: Instant::now() }));
        let log = UnitLog {
            name: Arc::clone(&app.name),
            paths,
            files: [None, None, None],
            lost: lost.unwrap_or_else(left),
            index: None,
            pending: Vec::new(),
            generation: 0,
            no_rotation_until: None,
            pattern: app.logs.date_format.as_deref().and_then(|pattern| DatePattern::parse(pattern).ok()),
            max_bytes: app.logs.max_bytes,
            counters: Arc::clone(&app.counters),
            logs: app.logs.clone(),
        };
        self.units.insert(unit, log);
        // Apps that share a file with it get an index that says so.
        for member in self.group(unit) {
            self.open_files(member);
        }
        self.clear_unfinished(unit);
        self.share_out(unit.app);
    }

    pub(super) fn units_of(&self, app: AppId) -> impl Iterator<Item = Unit> {
        self.units.keys().filter(move |unit| unit.app == app).copied()
    }

    /// Closes the files of an app. They stay.
    pub(super) fn close(&mut self, id: AppId) {
        for unit in self.units_of(id).collect::<Vec<_>>() {
            self.retry_lost(unit, Instant::now() + ANY_WAIT);
            self.flush_index(unit);
            self.units.remove(&unit);
        }
        self.apps.remove(&id);
        self.order.forget(id);
        self.queue.counters().remove(&id);
        self.keep_losses();
    }

    /// What is lost by now outlives this process.
    fn keep_losses(&self) {
        let Some(losses) = &self.losses else { return };
        let all = self.units.iter().flat_map(|(unit, log)| {
            let places = log.lost.iter().enumerate();
            places.filter_map(|(place, lost)| Some((unit.app, unit.loss_key(place), &lost.as_ref()?.loss)))
        });
        losses.keep(all);
    }

    /// Opens all files again by their names.
    pub(super) fn reopen(&mut self) {
        for unit in self.units.keys().copied().collect::<Vec<_>>() {
            self.open_files(unit);
        }
    }

    /// Deletes what is in the files of an app.
    pub(super) fn clear(&mut self, id: AppId) -> io::Result<()> {
        let Some(app) = self.apps.get(&id) else { return Ok(()) };
        let mut result = Ok(());
        for paths in LogPaths::all(&self.home, &app.name, &app.logs) {
            for path in [Some(&paths.index), Some(&paths.out), Some(&paths.err), paths.combined.as_ref()] {
                result = result.and(path.map_or(Ok(()), |path| remove_all(path)));
            }
        }
        for unit in self.units_of(id).collect::<Vec<_>>() {
            if let Some(log) = self.units.get_mut(&unit) {
                log.pending.clear();
            }
            self.open_files(unit);
        }
        result
    }

    /// Writes whole lines of one worker.
    pub(super) fn write(&mut self, writer: Writer, lines: &[u8]) {
        let Some(app) = self.apps.get_mut(&writer.app) else {
            tracing::error!(app = %writer.app, "output of an app without log files");
            return;
        };
        let unit = Unit { app: writer.app, slot: app.logs.per_worker.then_some(writer.slot.0) };
        let (mut admitted, mut over) = (lines.len(), None);
        if let Some(limiter) = &mut app.limiter {
            admitted = limiter.admit(lines, Instant::now());
            over = (admitted < lines.len()).then(|| (limiter.reason(), limiter.end()));
        }
        if unit.slot.is_some() && !self.units.contains_key(&unit) {
            self.open_unit(unit, None);
        }
        let (lines, dropped) = lines.split_at(admitted);
        if !lines.is_empty() {
            self.write_lines(unit, writer, lines);
        }
        if let Some((why, until)) = over {
            self.drop_lines(unit, writer.stream, dropped, &why, until);
        }
    }

    fn write_lines(&mut self, unit: Unit, writer: Writer, lines: &[u8]) {
        let Some(log) = self.units.get(&unit) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let origin = Origin {
            app: &log.name,
            slot: writer.slot.0,
            pid: writer.pid,
            stream: writer.stream,
            time_ms: unix_ns() / 1_000_000,
        };
        let format = log.logs.format;
        let stamp = self.stamp.at(origin.time_ms, log.pattern.as_ref());
        let bytes = format::write(format, origin, stamp, lines, &mut buffer);
        let record = Record {
            time_ns: 0,
            offset: 0,
            length: 0,
            stream: writer.stream,
            format,
            prefix: format::prefix(format, stamp),
            slot: writer.slot.0,
            pid: writer.pid,
            run: writer.run.0,
            lines: 0,
        };
        let combined = log.paths.combined.is_some();
        self.put(unit, place_of(writer.stream), record, bytes);
        if combined {
            self.put(unit, COMBINED, record, bytes);
        }
        // One huge batch must not stay in memory for ever.
        if buffer.capacity() <= 4 * super::tap::MAX_BATCH {
            self.buffer = buffer;
        }
    }

    /// Counts lines that somebody wants to be dropped.
    fn drop_lines(&mut self, unit: Unit, stream: LogStream, bytes: &[u8], why: &str, until: Instant) {
        let Some(log) = self.units.get_mut(&unit) else { return };
        log.counters.dropped.fetch_add(count_lines(bytes).into(), Ordering::Relaxed);
        let combined = log.paths.combined.is_some().then_some(COMBINED);
        for place in [Some(place_of(stream)), combined].into_iter().flatten() {
            let lost = log.lost[place].get_or_insert_with(|| Lost {
                loss: Loss { lines: 0, bytes: 0, error: why.to_owned() },
                next_try: until,
            });
            lost.add(bytes);
        }
        self.keep_losses();
    }

    /// Whether lines were lost and nothing has told so yet.
    pub(super) fn has_lost(&self) -> bool {
        self.units.values().any(|log| log.lost.iter().any(Option::is_some))
    }

    /// Tries to tell about lost lines, where it is time to.
    pub(super) fn retry_all_lost(&mut self) {
        let now = Instant::now();
        let losing = |log: &UnitLog| log.lost.iter().flatten().any(|lost| lost.next_try <= now);
        for unit in self.units.iter().filter(|(_, log)| losing(log)).map(|(unit, _)| *unit).collect::<Vec<_>>() {
            self.retry_lost(unit, now);
        }
    }

    /// Writes the index records that have gathered, and says which apps have new lines up to which cursor.
    pub(super) fn flush(&mut self, mut tell: impl FnMut(AppId, u64)) {
        for unit in std::mem::take(&mut self.dirty) {
            self.flush_index(unit);
            tell(unit.app, self.clock.last);
        }
    }

    /// Writes `bytes` into one file, or counts them as lost.
    fn put(&mut self, unit: Unit, place: usize, mut record: Record, bytes: &[u8]) {
        let Some(log) = self.units.get_mut(&unit) else { return };
        if log.files[place].as_ref().is_some_and(|file| file.off) {
            return;
        }
        let described = log.described(record.stream) == place;
        if let Some(lost) = &mut log.lost[place]
            && Instant::now() < lost.next_try
        {
            lost.add(bytes);
            let counter = if lost.is_asked() { &log.counters.dropped } else { &log.counters.lost };
            if described {
                counter.fetch_add(count_lines(bytes).into(), Ordering::Relaxed);
            }
            return self.keep_losses();
        }
        let written = match self.end_of_file(unit, place, bytes.len()) {
            Ok(size) => self.tell_lost(unit, place, size).and_then(|size| self.append(unit, place, bytes, size)),
            Err(error) => Err(Refused { written: file::Place { offset: 0, length: 0 }, error }),
        };
        let (written, error) = match written {
            Ok(written) => (written, None),
            Err(refused) => (refused.written, Some(refused.error)),
        };
        // A refusal may concern the line about what was lost before; then none of these bytes are in the file.
        let length = written.length.min(bytes.len());
        if let Some(error) = error {
            self.lose(unit, place, &bytes[length..], &error, described);
        }
        if length > 0 && described {
            record.offset = written.offset;
            record.length = u32::try_from(length).unwrap_or(u32::MAX);
            record.lines = count_lines(&bytes[..length]);
            record.time_ns = self.clock.next(record.lines);
            self.push(unit, record);
        }
    }

    fn append(&mut self, unit: Unit, place: usize, bytes: &[u8], size: u64) -> Result<file::Place, Refused> {
        match self.units.get_mut(&unit).and_then(|log| log.files[place].as_mut()) {
            Some(file) => file.append(bytes, size),
            None => {
                Err(Refused { written: file::Place { offset: size, length: 0 }, error: io::ErrorKind::NotFound.into() })
            }
        }
    }

    /// Makes sure that the file is open, has a name and has room, and says where it ends.
    fn end_of_file(&mut self, unit: Unit, place: usize, room: usize) -> io::Result<u64> {
        let mut look = self.look(unit, place);
        if !matches!(look, Ok((_, true))) {
            self.open_files(unit);
            look = self.look(unit, place);
        }
        let (size, _) = look?;
        if !self.is_full(unit, place, size, room) {
            return Ok(size);
        }
        self.rotate(unit, place);
        self.look(unit, place).map(|(size, _)| size)
    }

    fn look(&self, unit: Unit, place: usize) -> io::Result<(u64, bool)> {
        match self.units.get(&unit).and_then(|log| log.files[place].as_ref()) {
            Some(file) => file.look(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// If lines were lost, says so in the file, which ends at `size`. Returns its new end.
    fn tell_lost(&mut self, unit: Unit, place: usize, size: u64) -> Result<u64, Refused> {
        let Some(log) = self.units.get(&unit) else { return Ok(size) };
        let Some(lost) = &log.lost[place] else { return Ok(size) };
        let (lines, bytes, asked) = (lost.loss.lines, lost.loss.bytes, lost.is_asked());
        let text = format!("[musher] {lines} lines ({bytes} bytes) lost: {}\n", lost.loss.error);
        let stream = if place == place_of(LogStream::Err) { LogStream::Err } else { LogStream::Out };
        let described = log.described(stream) == place;
        let origin = Origin { app: &log.name, slot: 0, pid: 0, stream, time_ms: unix_ns() / 1_000_000 };
        let format = log.logs.format;
        let stamp = self.stamp.at(origin.time_ms, log.pattern.as_ref());
        let prefix = format::prefix(format, stamp);
        let mut buffer = Vec::new();
        let line = format::write(format, origin, stamp, text.as_bytes(), &mut buffer);
        let place_of_line = self
            .append(unit, place, line, size)
            .map_err(|refused| Refused { written: file::Place { offset: size, length: 0 }, error: refused.error })?;
        if described {
            let length = u32::try_from(place_of_line.length).unwrap_or(u32::MAX);
            let time_ns = self.clock.next(1);
            let (slot, lines) = (unit.slot.unwrap_or(0), 1);
            self.push(
                unit,
                Record { time_ns, offset: size, length, stream, format, prefix, slot, pid: 0, run: 0, lines },
            );
        }
        if let Some(log) = self.units.get_mut(&unit) {
            log.lost[place] = None;
        }
        self.keep_losses();
        if !asked {
            self.notice(unit, place, LogTrouble::Recovered { lines, bytes });
        }
        Ok(size + place_of_line.length as u64)
    }

    fn retry_lost(&mut self, unit: Unit, now: Instant) {
        for place in PLACES {
            let lost = self.units.get(&unit).and_then(|log| log.lost[place].as_ref());
            if lost.is_none_or(|lost| lost.next_try > now) {
                continue;
            }
            let told = match self.end_of_file(unit, place, 0) {
                Ok(size) => self.tell_lost(unit, place, size).map_err(|refused| refused.error),
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                self.lose(unit, place, &[], &error, false);
            }
        }
    }

    fn lose(&mut self, unit: Unit, place: usize, bytes: &[u8], error: &io::Error, count: bool) {
        let Some(log) = self.units.get_mut(&unit) else { return };
        // What was dropped on request is no news; that writing fails is.
        let first = log.lost[place].as_ref().is_none_or(Lost::is_asked);
        let error = reason(error);
        let lost = log.lost[place].get_or_insert_with(|| Lost {
            loss: Loss { lines: 0, bytes: 0, error: error.clone() },
            next_try: Instant::now(),
        });
        lost.add(bytes);
        if first {
            lost.loss.error.clone_from(&error);
        }
        lost.next_try = Instant::now() + RETRY;
        if count {
            log.counters.lost.fetch_add(count_lines(bytes).into(), Ordering::Relaxed);
        }
        self.keep_losses();
        if first {
            self.notice(unit, place, LogTrouble::Losing { error });
        }
    }

    fn push(&mut self, unit: Unit, record: Record) {
        let Some(log) = self.units.get_mut(&unit) else { return };
        self.dirty.insert(unit);
        log.counters.lines.fetch_add(record.lines.into(), Ordering::Relaxed);
        log.counters.bytes.fetch_add(record.length.into(), Ordering::Relaxed);
        let file = log.files[log.described(record.stream)].as_ref();
        if file.is_some_and(|file| file.regular) {
            log.pending.push(record);
            if log.pending.len() >= MAX_PENDING {
                self.flush_index(unit);
            }
        }
    }

    pub(super) fn flush_index(&mut self, unit: Unit) {
        let Some(log) = self.units.get_mut(&unit) else { return };
        if log.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut log.pending);
        let named = log.index.as_ref().is_some_and(|index| index.links().is_ok_and(|links| links > 0));
        if !named {
            // Without an index, or with one that somebody deleted: a new one begins behind these records.
            self.open_files(unit);
            return;
        }
        if let Some(index) = &mut log.index {
            // The lines are in their file and will be found without their records.
            if let Err(error) = index.append(&pending) {
                tracing::debug!(app = &*log.name, %error, "index records dropped");
            }
            log.pending = pending;
            log.pending.clear();
        }
    }

    /// Opens the files and the index by their names. What cannot be opened stays closed and is tried again later.
    pub(super) fn open_files(&mut self, unit: Unit) {
        let shared = self.group(unit).len() > 1;
        if let Some(log) = self.units.get_mut(&unit) {
            log.open(shared, &mut self.clock);
        }
    }

    pub(super) fn notice(&mut self, unit: Unit, place: usize, trouble: LogTrouble) {
        if let Some(path) = self.units.get(&unit).and_then(|log| log.paths.at(place)) {
            let path = path.to_path_buf();
            (self.notify)(LogNotice { app: unit.app, path, trouble });
        }
    }
}

impl Lost {
    /// Whether it was dropped because of a limit that somebody set.
    fn is_asked(&self) -> bool {
        self.loss.error.starts_with(OVER)
    }
}

/// An error as part of a sentence: "no space left on device".
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
