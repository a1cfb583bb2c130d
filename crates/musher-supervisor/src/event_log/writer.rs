//! The thread that appends.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use musher_api::Event;

use crate::control::lagged;

use super::{FILE_BYTES, FILE_EVENTS, FILES, LINE_BYTES, files, path_of};

/// How many events wait for a disk.
const WAITING: usize = 4096;
/// The first pause after a write that failed.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The thread needs little.
const STACK: usize = 128 << 10;

/// A thing for the operator to know.
type Tell = Box<dyn Fn(String) + Send>;

/// The handle of the thread. Cheap to clone; no call waits for the disk but [`EventWriter::settle`].
#[derive(Clone, Debug)]
pub(crate) struct EventWriter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<Event>>,
    /// Whether the thread has something in its hands.
    writing: bool,
    /// Whether the disk refuses.
    failing: bool,
    /// How many did not fit, and the newest of them.
    missed: Option<(u64, Arc<Event>)>,
}

impl EventWriter {
    /// Goes on with the files of a directory, and makes it if need be. Gives also the number of the newest event that is
    /// in them, 0 without one.
    pub(crate) fn start(directory: PathBuf, tell: Tell) -> io::Result<(EventWriter, u64)> {
        let mut files = Files { directory, open: None };
        // A disk that refuses now may work later; numbers begin with the time then.
        let newest = files.go_on().unwrap_or(0);
        let shared = Arc::new(Shared::default());
        let thread = Thread { shared: Arc::clone(&shared), files, tell, failures: 0 };
        std::thread::Builder::new().name("events".into()).stack_size(STACK).spawn(move || thread.run())?;
        Ok((EventWriter { shared }, newest))
    }

    /// Has an event written.
    pub(crate) fn push(&self, event: Arc<Event>) {
        let mut state = self.shared.lock();
        if state.waiting.len() >= WAITING {
            // The oldest are worth most: they tell how it began.
            let count = state.missed.as_ref().map_or(0, |(count, _)| *count);
            state.missed = Some((count + 1, event));
            return;
        }
        state.waiting.push_back(event);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Waits until everything is written, so long at most, and not for a disk that refuses.
    pub(crate) fn settle(&self, patience: Duration) {
        let state = self.shared.lock();
        let busy = |state: &mut State| (state.writing || !state.waiting.is_empty()) && !state.failing;
        drop(self.shared.settled.wait_timeout_while(state, patience, busy));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    shared: Arc<Shared>,
    files: Files,
    tell: Tell,
    /// Failures in a row.
    failures: u32,
}

impl Thread {
    fn run(mut self) {
        loop {
            let events = self.next();
            let result = self.files.append(&events);
            let failed = result.as_ref().err().map(|(written, error)| (*written, error.to_string()));
            {
                let mut state = self.shared.lock();
                state.writing = false;
                state.failing = failed.is_some();
                let written = failed.as_ref().map_or(events.len(), |(written, _)| *written);
                // What was not written is tried again, before what came meanwhile.
                for event in events.into_iter().skip(written).rev() {
                    state.waiting.push_front(event);
                }
            }
            self.shared.settled.notify_all();
            match failed {
                None if std::mem::take(&mut self.failures) > 0 => {
                    (self.tell)("events can be written to the disk again".to_owned());
                }
                None => {}
                Some((_, error)) => self.failed(&error),
            }
        }
    }

    /// Tells once, and waits for a while.
    fn failed(&mut self, error: &str) {
        if self.failures == 0 {
            let directory = self.files.directory.display();
            (self.tell)(format!(
                "{directory}: events cannot be written: {error}; they are kept in memory, and tried again"
            ));
        }
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(8)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        // Nothing but time helps: what comes meanwhile wakes nobody.
        let deadline = Instant::now() + pause;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
    }

    /// Waits for events.
    fn next(&self) -> Vec<Arc<Event>> {
        let mut state = self.shared.lock();
        while state.waiting.is_empty() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        let mut events: Vec<Arc<Event>> = state.waiting.drain(..).collect();
        if let Some((count, newest)) = state.missed.take() {
            let what = format!("{count} events are missing here: they could not be written");
            events.push(Arc::new(lagged(newest.seq, newest.time_ms, what)));
        }
        events
    }
}

/// The files as they are written.
struct Files {
    directory: PathBuf,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    bytes: u64,
    events: u64,
}

impl Files {
    /// Opens the newest file to go on with it, without what a kill has torn. The number of the newest event.
    fn go_on(&mut self) -> io::Result<u64> {
        let Some((first, path)) = files(&self.directory)?.pop() else { return Ok(0) };
        let mut file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut bytes = Vec::new();
        // What is much larger was not written by us.
        (&mut file).take(2 * FILE_BYTES).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))?;
        }
        let lines = || bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let newest = lines().filter_map(|line| Some(serde_json::from_slice::<Event>(line).ok()?.seq)).next_back();
        self.open = Some(OpenFile { file, bytes: whole as u64, events: lines().count() as u64 });
        Ok(newest.unwrap_or(first))
    }

    /// Appends events. On failure, how many are written.
    fn append(&mut self, events: &[Arc<Event>]) -> Result<(), (usize, io::Error)> {
        // Somebody may have deleted the home.
        let is_there = |open: &OpenFile| open.file.metadata().is_ok_and(|about| about.nlink() > 0);
        self.open = self.open.take().filter(is_there);
        let mut done = 0;
        while done < events.len() {
            let open = self.room(events[done].seq).map_err(|error| (done, error))?;
            let mut bytes = Vec::new();
            let mut count = 0;
            for event in &events[done..] {
                let full = open.bytes + bytes.len() as u64 >= FILE_BYTES || open.events + count >= FILE_EVENTS;
                if full && count > 0 {
                    break;
                }
                line(event, &mut bytes);
                count += 1;
            }
            if let Err(error) = open.file.write_all(&bytes) {
                // The part of a line that was written is taken back; what cannot be is skipped by readers.
                drop(open.file.set_len(open.bytes));
                return Err((done, error));
            }
            open.bytes += bytes.len() as u64;
            open.events += count;
            done += usize::try_from(count).unwrap_or(usize::MAX);
        }
        Ok(())
    }

    /// A file with room for an event of this number.
    fn room(&mut self, seq: u64) -> io::Result<&mut OpenFile> {
        let open = match self.open.take().filter(|open| open.bytes < FILE_BYTES && open.events < FILE_EVENTS) {
            Some(open) => open,
            None => self.begin(seq)?,
        };
        Ok(self.open.insert(open))
    }

    fn begin(&self, seq: u64) -> io::Result<OpenFile> {
        let mut directory = std::fs::DirBuilder::new();
        directory.mode(0o700).recursive(false);
        match directory.create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        remove_oldest(&self.directory)?;
        let path = path_of(&self.directory, seq);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(OpenFile { file, bytes, events: 0 })
    }
}

/// Makes room for one more file.
fn remove_oldest(directory: &Path) -> io::Result<()> {
    let files = files(directory)?;
    for (_, path) in files.iter().take((files.len() + 1).saturating_sub(FILES)) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Adds the line of an event.
fn line(event: &Event, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    // Writing to memory cannot fail, nor can an event.
    let _ = serde_json::to_writer(&mut *bytes, event);
    if bytes.len() - before > LINE_BYTES {
        bytes.truncate(before);
        let mut detail = event.detail.clone();
        detail.truncate(detail.floor_char_boundary(LINE_BYTES / 8));
        let _ = serde_json::to_writer(&mut *bytes, &Event { death: None, detail, ..event.clone() });
    }
    bytes.push(b'\n');
}
