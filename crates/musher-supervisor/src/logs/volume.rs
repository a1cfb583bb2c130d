//! One index with the log files that it speaks of, seen by a reader.
//!
//! A volume is cut into pieces: the batches that the index describes, and the gaps between them. The files stay open, so
//! a rotation takes nothing away from a reader that is in the middle of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use musher_api::LogStream;
use musher_core::spec::LogFormat;

use super::index::{self, Backwards, FileId, HEADER, Header, RECORD, Record};
use super::numbered::rotated;
use super::source::Source;
use super::{LogPaths, format};

/// How much of a gap is read at a time.
const PART: u64 = 256 << 10;
/// Records in a step of a search.
const STEP: u64 = 512;

/// The volumes of an app.
#[derive(Debug)]
pub(super) struct Volumes {
    paths: LogPaths,
}

/// One of them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    shared: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    header: Header,
    index: Option<File>,
    files: [Option<Arc<Source>>; 2],
    /// Where the volume begins in its files.
    starts: [u64; 2],
    /// Where it ends in them; none: it is the newest and still grows.
    ends: [Option<u64>; 2],
}

/// Lines that lie together in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first cursor.
    time_ns: u64,
    /// Each line has a cursor of its own; otherwise they share one.
    described: bool,
    lines: u32,
    file: usize,
    offset: u64,
    length: u64,
    format: LogFormat,
    prefix: u16,
    pub(super) stream: LogStream,
    pub(super) slot: u32,
    pub(super) run: u64,
    pub(super) pid: u32,
}

impl Volumes {
    pub(super) fn new(paths: LogPaths) -> Volumes {
        Volumes { paths }
    }

    /// All volumes, the oldest first.
    pub(super) fn list(&self) -> io::Result<Vec<Volume>> {
        let mut found: Vec<(Header, File)> = Vec::new();
        let names = [self.paths.index.clone()].into_iter();
        for name in names.chain(rotated(&self.paths.index).into_iter().map(|file| file.path)) {
            let file = match File::open(name) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A rotation in this instant may show a file twice, never hide it: files move to higher numbers.
            if let Some(header) = index::read_header(&file)?
                && !found.iter().any(|(other, _)| other.generation == header.generation)
            {
                found.push((header, file));
            }
        }
        let sources = self.sources()?;
        let find = |id: FileId| sources.iter().find(|(known, _)| *known == id).map(|(_, source)| Arc::clone(source));
        found.sort_by_key(|(header, _)| header.generation);
        let headers: Vec<Header> = found.iter().map(|(header, _)| *header).collect();
        let volume = |(n, (header, index)): (usize, (Header, File))| {
            let before = n.checked_sub(1).and_then(|n| headers.get(n));
            let after = headers.get(n + 1);
            let files = header.files.map(find);
            let starts = [0, 1].map(|file| start(&header, file, before));
            let ends = [0, 1].map(|file| {
                let size = || size(files[file].as_deref());
                let after = after?;
                let base = base_in(after, header.files[file]);
                // With a file of both outputs, that is described, and those of one go on without an index.
                if base.is_none() && self.paths.combined.is_some() {
                    return None;
                }
                Some(base.unwrap_or_else(size))
            });
            Ok(Volume { shared: Arc::new(Open { header, index: Some(index), files, starts, ends }) })
        };
        found.into_iter().enumerate().map(volume).collect()
    }

    /// All log files that there are.
    fn sources(&self) -> io::Result<Vec<(FileId, Arc<Source>)>> {
        let mut sources = Vec::new();
        for path in self.paths.files() {
            sources.extend(Source::all(path)?.into_iter().map(|(id, source)| (id, Arc::new(source))));
        }
        Ok(sources)
    }

    /// The volume that was begun after this generation, if there is one.
    pub(super) fn after(&self, generation: u64) -> io::Result<Option<Volume>> {
        let current = match File::open(&self.paths.index) {
            Ok(file) => index::read_header(&file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if current.is_none_or(|header| header.generation <= generation) {
            return Ok(None);
        }
        Ok(self.list()?.into_iter().find(|volume| volume.header().generation > generation))
    }

    /// Log files that no volume speaks of, the oldest first, each with one piece that is all of it.
    pub(super) fn without_index(&self, volumes: &[Volume]) -> io::Result<Vec<(Volume, Piece)>> {
        let known = |id| volumes.iter().any(|volume| volume.header().files.contains(&id));
        let mut found: Vec<(Volume, Piece)> = Vec::new();
        // With a file of both outputs, that has every line.
        let files = match &self.paths.combined {
            Some(combined) => vec![(LogStream::Out, combined)],
            None => vec![(LogStream::Out, &self.paths.out), (LogStream::Err, &self.paths.err)],
        };
        for (stream, path) in files {
            for (id, source) in Source::all(path)? {
                let twice = |(volume, _): &(Volume, Piece)| volume.header().files[0] == id;
                if known(id) || found.iter().any(twice) {
                    continue;
                }
                let (time_ns, length) = (source.modified_ns()?, source.length());
                let header = Header { files: [id, id], ..Header::default() };
                let files = [Some(Arc::new(source)), None];
                let open = Open { header, index: None, files, starts: [0; 2], ends: [None; 2] };
                let piece = Piece::gap(time_ns, stream, 0, 0..length, LogFormat::Raw);
                found.push((Volume { shared: Arc::new(open) }, piece));
            }
        }
        found.sort_by_key(|(_, piece)| piece.time_ns);
        Ok(found)
    }
}

impl Volume {
    pub(super) fn header(&self) -> &Header {
        &self.shared.header
    }

    /// Where it begins in its files.
    pub(super) fn starts(&self) -> [u64; 2] {
        self.shared.starts
    }

    /// Where it begins in its files, given the volume before it.
    pub(super) fn starts_after(&self, before: &Volume) -> [u64; 2] {
        [0, 1].map(|file| start(self.header(), file, Some(before.header())))
    }

    /// The position behind the last whole record.
    pub(super) fn end_of_index(&self) -> io::Result<u64> {
        let Some(index) = &self.shared.index else { return Ok(HEADER) };
        let length = index.metadata()?.len();
        Ok(HEADER + length.saturating_sub(HEADER) / RECORD * RECORD)
    }

    /// A position in the index with every line behind `cursor` behind it, and few others.
    pub(super) fn position_after(&self, cursor: u64) -> io::Result<u64> {
        let Some(index) = &self.shared.index else { return Ok(HEADER) };
        let steps = (self.end_of_index()? - HEADER) / (RECORD * STEP);
        let (mut low, mut high) = (0, steps + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let (records, _) = index::read_forward(index, HEADER + middle * STEP * RECORD)?;
            match records.first() {
                Some(record) if record.last_cursor() > cursor => high = middle,
                Some(_) => low = middle,
                None => high = middle,
            }
        }
        Ok(HEADER + low * STEP * RECORD)
    }

    /// The pieces before a position of the index, the newest first.
    pub(super) fn pieces_backward(&self, position: u64) -> PiecesBackward<'_> {
        PiecesBackward {
            volume: self,
            records: self.shared.index.as_ref().map(|index| Backwards::new(index, position)),
            known_from: [None; 2],
            newest_ends: [None; 2],
            found: VecDeque::new(),
            oldest_time: self.header().time_ns,
        }
    }

    /// The next pieces from a position of the index on, and the position behind them.
    pub(super) fn pieces_forward(
        &self,
        position: u64,
        covered: &mut [Option<u64>; 2],
    ) -> io::Result<(Vec<Piece>, u64)> {
        let Some(index) = &self.shared.index else { return Ok((Vec::new(), position)) };
        let (records, next) = index::read_forward(index, position)?;
        let mut pieces = Vec::new();
        for record in &records {
            let file = self.file_of(record.stream);
            if let Some(known) = covered[file]
                && known < record.offset
            {
                pieces.extend(self.gap_before(record, known..record.offset));
            }
            covered[file] = Some(record.offset + u64::from(record.length));
            pieces.push(Piece::described(record, file));
        }
        Ok((pieces, next))
    }

    /// What lies behind the last record, once another volume has begun.
    pub(super) fn rest(&self, covered: &[Option<u64>; 2], next: &Volume) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (file, stream) in [LogStream::Out, LogStream::Err].into_iter().enumerate() {
            let end = base_in(next.header(), self.header().files[file])
                .unwrap_or_else(|| size(self.shared.files[file].as_deref()));
            if let Some(known) = covered[file]
                && known < end
                && self.file_of(stream) == file
                && !self.header().shared
            {
                pieces.push(Piece::gap(next.header().time_ns - 1, stream, file, known..end, LogFormat::Raw));
            }
        }
        pieces
    }

    /// Parts of a piece that fit into memory, the oldest first.
    pub(super) fn parts_forward(&self, piece: &Piece) -> impl Iterator<Item = io::Result<Piece>> {
        let mut left = Some(piece.clone());
        std::iter::from_fn(move || {
            let mut piece = left.take()?;
            if piece.described || piece.length <= PART {
                return Some(Ok(piece));
            }
            let mut part = Piece { length: PART, ..piece.clone() };
            match self.read(&part) {
                Ok(bytes) => {
                    if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                        part.length = end as u64 + 1;
                    }
                }
                Err(error) => return Some(Err(error)),
            }
            piece.offset += part.length;
            piece.length -= part.length;
            left = Some(piece);
            Some(Ok(part))
        })
    }

    /// Parts of a piece that fit into memory, the newest first.
    pub(super) fn parts_backward(&self, piece: &Piece) -> impl Iterator<Item = io::Result<Piece>> {
        let mut left = Some(piece.clone());
        std::iter::from_fn(move || {
            let piece = left.take()?;
            match self.last_part(&piece) {
                Ok((rest, part)) => {
                    left = rest;
                    Some(Ok(part))
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// Its bytes.
    pub(super) fn read(&self, piece: &Piece) -> io::Result<Vec<u8>> {
        let file = self.shared.files[piece.file].as_ref().ok_or(io::ErrorKind::NotFound)?;
        let length = usize::try_from(piece.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, piece.offset)?;
        Ok(bytes)
    }

    /// Cuts whole lines off the end of a piece, if it is too large to be read at once.
    fn last_part(&self, piece: &Piece) -> io::Result<(Option<Piece>, Piece)> {
        if piece.described || piece.length <= PART {
            return Ok((None, piece.clone()));
        }
        let mut part = Piece { offset: piece.offset + piece.length - PART, length: PART, ..piece.clone() };
        let bytes = self.read(&part)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
            && (end as u64) + 1 < PART
        {
            part.offset += end as u64 + 1;
            part.length -= end as u64 + 1;
        }
        let rest = Piece { length: piece.length - part.length, ..piece.clone() };
        Ok((Some(rest), part))
    }

    /// Which of the two files a stream goes to; both may be the same.
    fn file_of(&self, stream: LogStream) -> usize {
        let [out, err] = self.header().files;
        usize::from(stream == LogStream::Err && out != err)
    }

    fn gap_before(&self, record: &Record, range: std::ops::Range<u64>) -> Option<Piece> {
        // The log thread leaves one cursor free before each batch.
        let gap = || Piece::gap(record.time_ns - 1, record.stream, self.file_of(record.stream), range, record.format);
        (!self.header().shared).then(gap)
    }
}

/// See [`Volume::pieces_backward`].
pub(super) struct PiecesBackward<'a> {
    volume: &'a Volume,
    records: Option<Backwards<'a>>,
    /// From where on the log files are known.
    known_from: [Option<u64>; 2],
    newest_ends: [Option<u64>; 2],
    found: VecDeque<Piece>,
    oldest_time: u64,
}

impl PiecesBackward<'_> {
    /// Where the newest records that were seen end.
    pub(super) fn newest_ends(&self) -> [Option<u64>; 2] {
        self.newest_ends
    }

    fn see(&mut self, record: &Record) {
        let volume = self.volume;
        let file = volume.file_of(record.stream);
        let end = record.offset + u64::from(record.length);
        // Behind the last record of the newest volume there is what is being written in this instant.
        let known_from = self.known_from[file].or(volume.shared.ends[file]);
        if let Some(known) = known_from
            && end < known
            && !volume.header().shared
        {
            let time = record.last_cursor() + 1;
            self.found.push_back(Piece::gap(time, record.stream, file, end..known, record.format));
        }
        self.known_from[file] = Some(record.offset);
        self.newest_ends[file].get_or_insert(end);
        self.oldest_time = record.time_ns;
        self.found.push_back(Piece::described(record, file));
    }

    /// What lies before the first record: the files are older than their index.
    fn see_beginning(&mut self) {
        let volume = self.volume;
        for (file, stream) in [LogStream::Out, LogStream::Err].into_iter().enumerate() {
            let (start, base) = (volume.starts()[file], volume.header().bases[file]);
            let end = self.known_from[file].or(volume.shared.ends[file]).unwrap_or(base);
            if start < end && volume.file_of(stream) == file && !volume.header().shared {
                let time = self.oldest_time - 1;
                self.found.push_back(Piece::gap(time, stream, file, start..end, LogFormat::Raw));
            }
        }
    }
}

impl Iterator for PiecesBackward<'_> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<io::Result<Piece>> {
        loop {
            if let Some(piece) = self.found.pop_front() {
                // A gap may end where its file does not reach any more.
                return match self.volume.last_part(&piece) {
                    Ok((rest, part)) => {
                        if let Some(rest) = rest {
                            self.found.push_front(rest);
                        }
                        Some(Ok(part))
                    }
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                    Err(error) => Some(Err(error)),
                };
            }
            match self.records.as_mut()?.next() {
                Some(Ok(record)) => self.see(&record),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.records = None;
                    self.see_beginning();
                }
            }
        }
    }
}

impl Piece {
    fn described(record: &Record, file: usize) -> Piece {
        Piece {
            time_ns: record.time_ns,
            described: true,
            lines: record.lines,
            file,
            offset: record.offset,
            length: record.length.into(),
            format: record.format,
            prefix: record.prefix,
            stream: record.stream,
            slot: record.slot,
            run: record.run,
            pid: record.pid.unsigned_abs(),
        }
    }

    fn gap(time_ns: u64, stream: LogStream, file: usize, range: std::ops::Range<u64>, format: LogFormat) -> Piece {
        Piece {
            time_ns,
            described: false,
            lines: 0,
            file,
            offset: range.start,
            length: range.end - range.start,
            format,
            prefix: 0,
            stream,
            slot: 0,
            run: 0,
            pid: 0,
        }
    }

    /// The cursor of its last line.
    pub(super) fn last_cursor(&self) -> u64 {
        self.time_ns + u64::from(self.lines.max(1)) - 1
    }

    /// How many lines the index says it has; 0: it says nothing.
    pub(super) fn told_lines(&self) -> u32 {
        self.lines
    }

    /// Its lines with their cursors, given its bytes.
    pub(super) fn lines(&self, bytes: &[u8]) -> Vec<(u64, String)> {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
        lines
            .map(|(n, line)| {
                let cursor = if self.described { self.time_ns + n as u64 } else { self.time_ns };
                (cursor, format::read(self.format, self.prefix, format::text(line)))
            })
            .collect()
    }
}

fn size(source: Option<&Source>) -> u64 {
    source.map_or(0, Source::length)
}

/// Where a volume begins in a file.
fn start(header: &Header, file: usize, before: Option<&Header>) -> u64 {
    let same = before.is_some_and(|before| before.files.contains(&header.files[file]));
    if same { header.bases[file] } else { 0 }
}

/// Where the volume of `header` begins in the file with this identity, if it has it.
fn base_in(header: &Header, id: FileId) -> Option<u64> {
    let file = header.files.iter().position(|file| *file == id)?;
    Some(header.bases[file])
}
