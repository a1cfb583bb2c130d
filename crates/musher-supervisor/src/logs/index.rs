//! The index of an app's log files: which bytes were written when, and by whom.
//!
//! One file beside each pair of out and err files, a header and then records of fixed size, in the order of time. It is
//! what lets a reader merge streams and slots and go on behind a cursor; the log files are complete without it.
//!
//! ```text
//! header   88 bytes  magic, generation, time, (device, inode, base) of out and err, flags, checksum
//! records  48 bytes  time, offset, length, stream, format, prefix, slot, pid, run, lines, checksum
//! ```
//!
//! The header names the files by inode, because a rotation renames several files and can be cut off between two. A
//! record's checksum tells it from what a crash or a full disk left; damaged records are skipped, and the bytes that no
//! record describes are still found, as lines of unknown origin.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use musher_api::LogStream;
use musher_core::spec::LogFormat;

pub(super) const HEADER: u64 = 88;
pub(super) const RECORD: u64 = 48;
const RECORD_SIZE: usize = RECORD as usize;
const MAGIC: &[u8; 8] = b"mushidx1";

/// Which file on this machine: its device, mixed with the time when it was made, and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(file: &File) -> io::Result<FileId> {
        file.metadata().map(|found| FileId::from(&found))
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(found: &std::fs::Metadata) -> FileId {
        // A file system gives the number of a deleted file to the next one: when it was made tells them apart.
        let made = found.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let made = made.map_or(0, |made| checksum(&made.as_nanos().to_le_bytes()));
        FileId { device: found.dev() ^ (u64::from(made) << 32), inode: found.ino() }
    }
}

/// The first bytes of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// Grows by one with each new index of an app.
    pub(super) generation: u64,
    /// When it was begun, in nanoseconds since 1970.
    pub(super) time_ns: u64,
    /// The out and err files.
    pub(super) files: [FileId; 2],
    /// Their sizes when the index was begun.
    pub(super) bases: [u64; 2],
    /// Another app writes to one of the files: bytes without a record are not this app's.
    pub(super) shared: bool,
}

/// One batch of whole lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When it was read, in nanoseconds since 1970. The lines have the cursors from here on, one each.
    pub(super) time_ns: u64,
    /// Where it is in its file.
    pub(super) offset: u64,
    /// Its length in bytes.
    pub(super) length: u32,
    pub(super) stream: LogStream,
    pub(super) format: LogFormat,
    /// The length of the time that stands before each line by a pattern; 0: none.
    pub(super) prefix: u16,
    pub(super) slot: u32,
    /// The process that was started for the run. 0: musher itself wrote this.
    pub(super) pid: i32,
    pub(super) run: u64,
    pub(super) lines: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER as usize] {
        let mut bytes = [0; HEADER as usize];
        bytes[..8].copy_from_slice(MAGIC);
        let [out, err] = self.files;
        let numbers = [
            self.generation,
            self.time_ns,
            out.device,
            out.inode,
            err.device,
            err.inode,
            self.bases[0],
            self.bases[1],
            u64::from(self.shared),
        ];
        for (field, number) in bytes[8..].chunks_exact_mut(8).zip(numbers) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(&bytes[..80]);
        bytes[80..84].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER as usize]) -> Option<Header> {
        if &bytes[..8] != MAGIC || bytes[80..84] != checksum(&bytes[..80]).to_le_bytes() {
            return None;
        }
        let mut numbers = bytes[8..80].chunks_exact(8).map(|field| field.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || numbers.next().unwrap_or(0);
        Some(Header {
            generation: next(),
            time_ns: next(),
            files: [FileId { device: next(), inode: next() }, FileId { device: next(), inode: next() }],
            bases: [next(), next()],
            shared: next() != 0,
        })
    }
}

impl Record {
    pub(super) fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut bytes = [0; RECORD_SIZE];
        bytes[..8].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20] = u8::from(self.stream == LogStream::Err);
        bytes[21] = match self.format {
            LogFormat::Raw => 0,
            LogFormat::Timestamp => 1,
            LogFormat::Json => 2,
            LogFormat::Named => 3,
            LogFormat::Pm2Json => 4,
        };
        bytes[22..24].copy_from_slice(&self.prefix.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.slot.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.pid.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.run.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.lines.to_le_bytes());
        let sum = checksum(&bytes[..44]);
        bytes[44..48].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; RECORD_SIZE]) -> Option<Record> {
        if bytes[44..48] != checksum(&bytes[..44]).to_le_bytes() {
            return None;
        }
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        Some(Record {
            time_ns: u64_at(0),
            offset: u64_at(8),
            length: u32_at(16),
            stream: if bytes[20] == 0 { LogStream::Out } else { LogStream::Err },
            format: match bytes[21] {
                1 => LogFormat::Timestamp,
                2 => LogFormat::Json,
                3 => LogFormat::Named,
                4 => LogFormat::Pm2Json,
                _ => LogFormat::Raw,
            },
            prefix: u16::from_le_bytes([bytes[22], bytes[23]]),
            slot: u32_at(24),
            pid: u32_at(28).cast_signed(),
            run: u64_at(32),
            lines: u32_at(40),
        })
    }

    /// The cursor of its last line.
    pub(super) fn last_cursor(&self) -> u64 {
        self.time_ns + u64::from(self.lines.max(1)) - 1
    }
}

/// FNV-1a: enough to tell a record from leftovers, and nothing more is asked of it.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// An index that is written. There is one writer at a time.
#[derive(Debug)]
pub(super) struct IndexWriter {
    file: File,
    end: u64,
    pub(super) header: Header,
}

impl IndexWriter {
    /// Writes the header of a new index into an empty file.
    pub(super) fn create(file: File, header: Header) -> io::Result<IndexWriter> {
        file.write_all_at(&header.encode(), 0)?;
        Ok(IndexWriter { file, end: HEADER, header })
    }

    /// Goes on with an index that exists; none: it is damaged at its head.
    pub(super) fn resume(file: File) -> io::Result<Option<IndexWriter>> {
        let Some(header) = read_header(&file)? else { return Ok(None) };
        let length = file.metadata()?.len();
        let end = HEADER + (length - HEADER) / RECORD * RECORD;
        Ok(Some(IndexWriter { file, end, header }))
    }

    /// Adds records. Those that cannot be written are dropped; the log files have what they described.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        self.file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// The newest cursor in it.
    pub(super) fn last_cursor(&self) -> u64 {
        let mut records = Backwards::new(&self.file, self.end);
        match records.next() {
            Some(Ok(record)) => record.last_cursor(),
            _ => self.header.time_ns,
        }
    }

    /// Up to where one of the files is known to hold batches of this index. Only the last records are looked at.
    pub(super) fn known_end(&self, file: usize) -> u64 {
        let [out, err] = self.header.files;
        let records = Backwards::new(&self.file, self.end).take(CHUNK as usize).map_while(Result::ok);
        let of_file = |record: &Record| out == err || usize::from(record.stream == LogStream::Err) == file;
        let ends = records.filter(of_file).map(|record| record.offset + u64::from(record.length));
        ends.max().unwrap_or(0).max(self.header.bases[file])
    }

    /// Its size in bytes.
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    pub(super) fn links(&self) -> io::Result<u64> {
        self.file.metadata().map(|found| found.nlink())
    }
}

/// The header of an index; none: there is no valid one.
pub(super) fn read_header(file: &File) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(Header::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many records are read at a time.
const CHUNK: u64 = 512;

/// The valid records from `position` on, and the position behind them. At most 512 at a time: call it until it gives
/// the position that it got.
pub(super) fn read_forward(file: &File, position: u64) -> io::Result<(Vec<Record>, u64)> {
    let length = file.metadata()?.len();
    let count = (length.saturating_sub(position) / RECORD).min(CHUNK);
    let mut bytes = vec![0; (count * RECORD) as usize];
    file.read_exact_at(&mut bytes, position)?;
    Ok((decode_all(&bytes), position + count * RECORD))
}

fn decode_all(bytes: &[u8]) -> Vec<Record> {
    let (records, _) = bytes.as_chunks::<RECORD_SIZE>();
    records.iter().filter_map(Record::decode).collect()
}

/// The valid records before a position, the newest first.
pub(super) struct Backwards<'a> {
    file: &'a File,
    /// Everything before this has not been read.
    unread: u64,
    chunk: Vec<Record>,
}

impl Backwards<'_> {
    pub(super) fn new(file: &File, end: u64) -> Backwards<'_> {
        Backwards { file, unread: end, chunk: Vec::new() }
    }
}

impl Iterator for Backwards<'_> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<io::Result<Record>> {
        while self.chunk.is_empty() {
            let count = (self.unread.saturating_sub(HEADER) / RECORD).min(CHUNK);
            if count == 0 {
                return None;
            }
            self.unread -= count * RECORD;
            let mut bytes = vec![0; (count * RECORD) as usize];
            if let Err(error) = self.file.read_exact_at(&mut bytes, self.unread) {
                self.unread = 0;
                return Some(Err(error));
            }
            self.chunk = decode_all(&bytes);
        }
        self.chunk.pop().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u32) -> Record {
        Record {
            time_ns: 1_000 + u64::from(n) * 10,
            offset: u64::from(n) * 7,
            length: 7,
            stream: if n.is_multiple_of(2) { LogStream::Out } else { LogStream::Err },
            format: LogFormat::Json,
            prefix: 21,
            slot: n,
            pid: 4000 + n.cast_signed(),
            run: 1 << 40 | u64::from(n),
            lines: 3,
        }
    }

    fn header() -> Header {
        let id = |inode| FileId { device: 9, inode };
        Header { generation: 5, time_ns: 77, files: [id(1), id(2)], bases: [10, 20], shared: true }
    }

    fn filled(count: u32) -> (File, IndexWriter) {
        let file = tempfile::tempfile().unwrap();
        let mut writer = IndexWriter::create(file.try_clone().unwrap(), header()).unwrap();
        writer.append(&(0..count).map(record).collect::<Vec<_>>()).unwrap();
        (file, writer)
    }

    #[test]
    fn header_and_records_are_read_back() {
        let (file, writer) = filled(1200);
        assert_eq!(read_header(&file).unwrap(), Some(header()));
        assert_eq!(writer.last_cursor(), record(1199).time_ns + 2);
        let (mut position, mut read) = (HEADER, Vec::new());
        loop {
            let (records, next) = read_forward(&file, position).unwrap();
            if next == position {
                break;
            }
            read.extend(records);
            position = next;
        }
        assert_eq!(read, (0..1200).map(record).collect::<Vec<_>>());
        let backwards: Vec<Record> = Backwards::new(&file, position).map(Result::unwrap).collect();
        assert_eq!(backwards, (0..1200).rev().map(record).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_and_cut_records_are_skipped_and_writing_goes_on_behind_them() {
        let (file, writer) = filled(4);
        drop(writer);
        file.write_all_at(b"damage", HEADER + RECORD + 3).unwrap();
        file.set_len(HEADER + 3 * RECORD + 11).unwrap();
        let mut writer = IndexWriter::resume(file.try_clone().unwrap()).unwrap().unwrap();
        writer.append(&[record(9)]).unwrap();
        let (records, _) = read_forward(&file, HEADER).unwrap();
        assert_eq!(records, [record(0), record(2), record(9)]);
    }

    #[test]
    fn a_file_that_is_no_index_has_no_header() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(read_header(&file).unwrap(), None);
        file.write_all_at(&[7; 500], 0).unwrap();
        assert_eq!(read_header(&file).unwrap(), None);
    }
}
