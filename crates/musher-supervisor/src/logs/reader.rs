//! Reading log files in the order of time: the last lines, from a cursor on, and what comes.
//!
//! A reader needs the files only; it works while the log thread writes and rotates, and without any daemon. It never
//! waits: whoever follows calls [`LogReader::next_batch`] when [`super::LogHandle::watch`] says that there is something.
//!
//! The order and the writers of lines come from the index. Bytes that it does not describe (it was deleted, damaged, or
//! its disk was full) are still given, where they are in their file, with the time of what follows them or of the file,
//! and without a writer (slot, run and pid 0).

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use musher_api::{Cursor, LogLine, LogStream};
use regex_lite::{Regex, RegexBuilder};

use super::LogPaths;
use super::volume::{Piece, Volume, Volumes};

/// How much memory an expression may take.
const MAX_PATTERN: usize = 1 << 20;

/// Which lines are wanted. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only this output.
    pub stream: Option<LogStream>,
    /// Only lines that contain this.
    pub text: Option<String>,
    /// Only lines that match this.
    pub pattern: Option<Pattern>,
    /// Only this slot.
    pub slot: Option<u32>,
    /// Only this run.
    pub run: Option<u64>,
}

/// A regular expression for lines. It takes linear time, whatever the line is.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        RegexBuilder::new(text).size_limit(MAX_PATTERN).build().map(Pattern).map_err(|error| error.to_string())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Reads the log files of one app.
#[derive(Debug)]
pub struct LogReader {
    app: String,
    volumes: Volumes,
    filter: LogFilter,
    /// Where to go on; none: at the beginning.
    place: Option<Place>,
    /// Lines up to here have been given, or are not wanted.
    since: u64,
    /// Pieces that have been found but not read.
    found: VecDeque<(Volume, Piece)>,
    /// Lines that the index knows, and whose file is gone.
    missed: AtomicU64,
}

/// A place between two records.
#[derive(Debug)]
struct Place {
    volume: Volume,
    /// Position in the index.
    position: u64,
    /// Up to where the log files are known; none: not known.
    covered: [Option<u64>; 2],
}

impl LogReader {
    /// A reader of the files at `paths`. Files that do not exist are empty.
    pub fn open(app: &str, paths: LogPaths, filter: LogFilter) -> LogReader {
        LogReader {
            app: app.to_owned(),
            volumes: Volumes::new(paths),
            filter,
            place: None,
            since: 0,
            found: VecDeque::new(),
            missed: AtomicU64::new(0),
        }
    }

    /// How many lines could not be read since the last call, because their file was deleted.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    /// The last `count` lines that pass the filter, the oldest first. [`LogReader::next_batch`] goes on behind them.
    ///
    /// # Errors
    ///
    /// When a file that is there cannot be read.
    pub fn last(&mut self, count: usize) -> io::Result<Vec<LogLine>> {
        self.found.clear();
        self.place = None;
        let mut lines = VecDeque::new();
        let volumes = self.volumes.list()?;
        for volume in volumes.iter().rev() {
            let end = volume.end_of_index()?;
            let mut pieces = volume.pieces_backward(end);
            for piece in pieces.by_ref() {
                if lines.len() >= count {
                    break;
                }
                self.prepend(volume, &piece?, count, &mut lines);
            }
            if self.place.is_none() {
                let covered = pieces.newest_ends();
                self.place = Some(Place { volume: volume.clone(), position: end, covered });
            }
            if lines.len() >= count {
                break;
            }
        }
        if lines.len() < count {
            for (volume, piece) in self.volumes.without_index(&volumes)?.iter().rev() {
                for part in volume.parts_backward(piece) {
                    if lines.len() < count {
                        self.prepend(volume, &part?, count, &mut lines);
                    }
                }
            }
        }
        self.since = lines.back().map_or(0, |line: &LogLine| line.cursor.0);
        Ok(lines.into())
    }

    /// Goes on behind `cursor`: [`LogReader::next_batch`] gives what came after it.
    ///
    /// # Errors
    ///
    /// When a file that is there cannot be read.
    pub fn since(&mut self, cursor: Cursor) -> io::Result<()> {
        self.found.clear();
        self.since = cursor.0;
        self.place = None;
        let volumes = self.volumes.list()?;
        // The last one that was begun before the cursor has the first line behind it.
        let first = volumes.iter().rposition(|volume| volume.header().time_ns <= cursor.0);
        if first.is_none() {
            for (volume, piece) in self.volumes.without_index(&volumes)? {
                self.found.push_back((volume, piece));
            }
        }
        if let Some(volume) = volumes.get(first.unwrap_or(0)) {
            let position = volume.position_after(cursor.0)?;
            let covered = if first.is_none() { volume.starts().map(Some) } else { [None, None] };
            self.place = Some(Place { volume: volume.clone(), position, covered });
        }
        Ok(())
    }

    /// The next lines that pass the filter, at least one if there is any now, and about `limit` at most.
    ///
    /// # Errors
    ///
    /// When a file that is there cannot be read.
    pub fn next_batch(&mut self, limit: usize) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        while lines.len() < limit {
            if self.found.is_empty() && !self.find_more()? {
                break;
            }
            let Some((volume, piece)) = self.found.pop_front() else { continue };
            for part in volume.parts_forward(&piece) {
                let part = part?;
                lines.extend(self.lines_of(&volume, &part).filter(|line| line.cursor.0 > self.since));
            }
            self.since = self.since.max(piece.last_cursor());
        }
        Ok(lines)
    }

    /// Finds pieces behind the place. False: there are none now.
    fn find_more(&mut self) -> io::Result<bool> {
        let Some(place) = &mut self.place else {
            let volumes = self.volumes.list()?;
            let Some(volume) = volumes.into_iter().next() else { return Ok(false) };
            let covered = volume.starts().map(Some);
            self.place = Some(Place { position: super::index::HEADER, volume, covered });
            return Ok(true);
        };
        let (pieces, position) = place.volume.pieces_forward(place.position, &mut place.covered)?;
        if position > place.position {
            place.position = position;
            self.found.extend(pieces.into_iter().map(|piece| (place.volume.clone(), piece)));
            return Ok(true);
        }
        let Some(next) = self.volumes.after(place.volume.header().generation)? else { return Ok(false) };
        // A new index is begun after the last record of the old one; there may be some that came since we looked.
        let (pieces, position) = place.volume.pieces_forward(place.position, &mut place.covered)?;
        if position > place.position {
            place.position = position;
            self.found.extend(pieces.into_iter().map(|piece| (place.volume.clone(), piece)));
            return Ok(true);
        }
        let rest = place.volume.rest(&place.covered, &next);
        self.found.extend(rest.into_iter().map(|piece| (place.volume.clone(), piece)));
        let covered = next.starts_after(&place.volume).map(Some);
        self.place = Some(Place { volume: next, position: super::index::HEADER, covered });
        Ok(true)
    }

    /// Puts the wanted lines of a piece in front of `lines`, as long as there are fewer than `count`.
    fn prepend(&self, volume: &Volume, piece: &Piece, count: usize, lines: &mut VecDeque<LogLine>) {
        let wanted: Vec<LogLine> = self.lines_of(volume, piece).collect();
        for line in wanted.into_iter().rev() {
            if lines.len() >= count {
                return;
            }
            lines.push_front(line);
        }
    }

    fn lines_of(&self, volume: &Volume, piece: &Piece) -> impl Iterator<Item = LogLine> {
        let filter = &self.filter;
        let wanted = filter.stream.is_none_or(|stream| stream == piece.stream)
            && filter.slot.is_none_or(|slot| slot == piece.slot && piece.run != 0)
            && filter.run.is_none_or(|run| run == piece.run);
        // A file that is gone, or shorter than its index says: somebody deleted or emptied it.
        let bytes = if wanted { volume.read(piece) } else { Ok(Vec::new()) };
        let bytes = bytes.unwrap_or_else(|_| {
            self.missed.fetch_add(piece.told_lines().into(), Ordering::Relaxed);
            Vec::new()
        });
        piece
            .lines(&bytes)
            .into_iter()
            .filter_map(|(cursor, line)| {
                if filter.text.as_ref().is_some_and(|text| !line.contains(text.as_str())) {
                    return None;
                }
                if filter.pattern.as_ref().is_some_and(|pattern| !pattern.0.is_match(&line)) {
                    return None;
                }
                Some(LogLine {
                    cursor: Cursor(cursor),
                    time_ms: cursor / 1_000_000,
                    app: self.app.clone(),
                    slot: piece.slot,
                    run: piece.run,
                    pid: piece.pid,
                    stream: piece.stream,
                    line,
                })
            })
            .collect::<Vec<_>>()
            .into_iter()
    }
}

/// Readers of several apps as one: lines in the order of time.
#[derive(Debug, Default)]
pub struct LogReaders {
    readers: Vec<LogReader>,
}

impl LogReaders {
    /// These readers as one.
    pub fn new(readers: Vec<LogReader>) -> LogReaders {
        LogReaders { readers }
    }

    /// One more.
    pub fn add(&mut self, reader: LogReader) {
        self.readers.push(reader);
    }

    /// The last `count` lines of all together, the oldest first.
    ///
    /// # Errors
    ///
    /// When a file that is there cannot be read.
    pub fn last(&mut self, count: usize) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        for reader in &mut self.readers {
            lines.extend(reader.last(count)?);
        }
        lines.sort_by_key(|line| line.cursor);
        lines.drain(..lines.len().saturating_sub(count));
        Ok(lines)
    }

    /// Goes on behind `cursor`.
    ///
    /// # Errors
    ///
    /// When a file that is there cannot be read.
    pub fn since(&mut self, cursor: Cursor) -> io::Result<()> {
        self.readers.iter_mut().try_for_each(|reader| reader.since(cursor))
    }

    /// What has come, in the order of time within this batch; about `limit` lines of each app at most.
    ///
    /// # Errors
    ///
    /// When a file that is there cannot be read.
    pub fn next_batch(&mut self, limit: usize) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        for reader in &mut self.readers {
            lines.extend(reader.next_batch(limit)?);
        }
        lines.sort_by_key(|line| line.cursor);
        Ok(lines)
    }
}
