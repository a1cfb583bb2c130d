//! Packed log files: gzip, in members of their own for each part of the file, so that any line is found without
//! unpacking what is before it.
//!
//! Any tool for gzip reads them. Each member has an extra field (RFC 1952, 2.3.1.1):
//!
//! ```text
//! "MU"  32 bytes  device and inode of the file that was packed, offset of the part in it, its length, the member's length
//! ```
//!
//! The identity is that of the file that was packed: by it the index of a volume still finds its lines.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::index::FileId;

/// How much is packed into a member.
const PART: usize = 1 << 20;
/// Magic, method, flags, time, system; the length of the extra fields; our field.
const HEAD: usize = 10 + 2 + 4 + 32;
/// Checksum and length behind each member.
const FOOT: usize = 8;
/// gzip, deflated, with extra fields, at no time, by nobody in particular.
const BEGIN: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 36, 0, b'M', b'U', 32, 0];

/// One member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    id: FileId,
    /// Where its part was in the file.
    offset: u64,
    length: u32,
    /// Its own length, head and foot included.
    size: u32,
}

/// A packed file, open for reading.
#[derive(Debug)]
pub(super) struct Packed {
    file: File,
    /// Each with its place in this file.
    members: Vec<(u64, Member)>,
    /// The part that was read last, by its number.
    last: Mutex<Option<(usize, Vec<u8>)>>,
}

impl Member {
    fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..16].copy_from_slice(&BEGIN);
        bytes[16..24].copy_from_slice(&self.id.device.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.id.inode.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.length.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEAD]) -> Option<Member> {
        if bytes[..16] != BEGIN {
            return None;
        }
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let member = Member {
            id: FileId { device: u64_at(16), inode: u64_at(24) },
            offset: u64_at(32),
            length: u32_at(40),
            size: u32_at(44),
        };
        // Whoever made this file up cannot make us ask for more memory.
        let sane = member.length as usize <= PART && member.size as usize >= HEAD + FOOT;
        (sane && member.size as usize <= HEAD + FOOT + 2 * PART).then_some(member)
    }

    fn at(file: &File, place: u64) -> io::Result<Option<Member>> {
        let mut head = [0; HEAD];
        match file.read_exact_at(&mut head, place) {
            Ok(()) => Ok(Member::decode(&head)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Packs the whole of `source`, which has this identity, into `packed`, which is empty.
pub(super) fn pack(source: &File, id: FileId, packed: &mut File) -> io::Result<()> {
    let mut part = vec![0; PART];
    let mut offset = 0;
    loop {
        let mut length = 0;
        while length < PART {
            match source.read_at(&mut part[length..], offset + length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // A file without anything in it is a member, too.
        if length == 0 && offset > 0 {
            return Ok(());
        }
        packed.write_all(&member(&part[..length], id, offset)?)?;
        offset += length as u64;
        if length < PART {
            return Ok(());
        }
    }
}

fn member(part: &[u8], id: FileId, offset: u64) -> io::Result<Vec<u8>> {
    let length = u32::try_from(part.len()).map_err(io::Error::other)?;
    let mut member = Member { id, offset, length, size: 0 };
    let mut encoder = DeflateEncoder::new(member.encode().to_vec(), Compression::default());
    encoder.write_all(part)?;
    let mut bytes = encoder.finish()?;
    let mut crc = Crc::new();
    crc.update(part);
    bytes.extend_from_slice(&crc.sum().to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    member.size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    bytes[..HEAD].copy_from_slice(&member.encode());
    Ok(bytes)
}

impl Packed {
    /// Which file was packed into this one; none: it was not packed by us.
    pub(super) fn id_of(file: &File) -> io::Result<Option<FileId>> {
        Ok(Member::at(file, 0)?.map(|member| member.id))
    }

    /// Opens a packed file. What does not fit behind whole members is left out.
    pub(super) fn open(file: File) -> io::Result<Packed> {
        let end = file.metadata()?.len();
        let (mut members, mut place, mut offset) = (Vec::new(), 0, 0);
        while let Some(member) = Member::at(&file, place)? {
            let next = place + u64::from(member.size);
            if member.offset != offset || next > end {
                break;
            }
            members.push((place, member));
            offset += u64::from(member.length);
            place = next;
        }
        Ok(Packed { file, members, last: Mutex::new(None) })
    }

    /// The length of the file that was packed.
    pub(super) fn length(&self) -> u64 {
        self.members.last().map_or(0, |(_, member)| member.offset + u64::from(member.length))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// As of the file that was packed.
    pub(super) fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let number = self.members.partition_point(|(_, member)| member.offset <= offset);
            let number = number.checked_sub(1).ok_or(io::ErrorKind::UnexpectedEof)?;
            let (place, member) = self.members[number];
            let start = usize::try_from(offset - member.offset).map_err(io::Error::other)?;
            if start >= member.length as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let part = match last.take() {
                Some((known, part)) if known == number => part,
                _ => self.unpack(place, member)?,
            };
            let count = bytes.len().min(part.len() - start);
            bytes[..count].copy_from_slice(&part[start..start + count]);
            bytes = &mut bytes[count..];
            offset += count as u64;
            *last = Some((number, part));
        }
        Ok(())
    }

    fn unpack(&self, place: u64, member: Member) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; member.size as usize];
        self.file.read_exact_at(&mut bytes, place)?;
        let (body, foot) = bytes[HEAD..].split_at(member.size as usize - HEAD - FOOT);
        let mut part = vec![0; member.length as usize];
        DeflateDecoder::new(body).read_exact(&mut part)?;
        let mut crc = Crc::new();
        crc.update(&part);
        if foot[..4] != crc.sum().to_le_bytes() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a packed log file is damaged"));
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::MultiGzDecoder;

    use super::*;

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| b"0123456789abcdef\n"[(n * 7 + n / 1000) % 17]).collect()
    }

    fn packed(text: &[u8]) -> File {
        let (mut source, mut packed) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        source.write_all(text).unwrap();
        pack(&source, FileId { device: 5, inode: 77 }, &mut packed).unwrap();
        packed
    }

    #[test]
    fn any_tool_for_gzip_reads_what_was_packed() {
        for length in [0, 1, PART - 1, PART, 2 * PART + 12_345] {
            let mut file = packed(&text(length));
            io::Seek::rewind(&mut file).unwrap();
            let mut read = Vec::new();
            MultiGzDecoder::new(file).read_to_end(&mut read).unwrap();
            assert_eq!(read, text(length), "{length}");
        }
    }

    #[test]
    fn any_part_is_read_back() {
        let whole = text(2 * PART + 12_345);
        let file = packed(&whole);
        assert_eq!(Packed::id_of(&file).unwrap(), Some(FileId { device: 5, inode: 77 }));
        let reader = Packed::open(file).unwrap();
        assert_eq!(reader.length(), whole.len() as u64);
        for (offset, length) in [(0, 10), (PART - 5, 10), (PART - 5, PART + 10), (2 * PART + 12_340, 5), (3, 0)] {
            let mut bytes = vec![0; length];
            reader.read_exact_at(&mut bytes, offset as u64).unwrap();
            assert_eq!(bytes, whole[offset..offset + length], "{offset} {length}");
        }
        assert!(reader.read_exact_at(&mut [0; 10], whole.len() as u64 - 5).is_err());
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error_and_no_line() {
        let whole = text(2 * PART);
        let file = packed(&whole);
        let end = file.metadata().unwrap().len();
        file.set_len(end - 3).unwrap();
        let reader = Packed::open(file.try_clone().unwrap()).unwrap();
        assert_eq!(reader.length(), PART as u64, "the second part is not whole");
        file.write_all_at(&[0xff; 64], 200).unwrap();
        assert!(reader.read_exact_at(&mut [0; 10], 0).is_err());
        let foreign = tempfile::tempfile().unwrap();
        foreign.write_all_at(&[0x1f; 100], 0).unwrap();
        assert_eq!(Packed::id_of(&foreign).unwrap(), None);
    }
}
