//! One log file: whole lines at its end, or none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::index::FileId;
use crate::home::make_private_dir;

/// How far back the beginning of a half line is looked for: a line of JSON may be six times as long as it was.
const MEND: u64 = 512 << 10;

/// A file open for appending.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    /// Devices and pipes have no positions, no index and no rotation.
    pub(super) regular: bool,
    /// Whatever is written to it is nowhere.
    pub(super) off: bool,
}

/// Where bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: usize,
}

/// Why not everything could be written.
#[derive(Debug)]
pub(super) struct Refused {
    /// The whole lines in front that are in the file.
    pub(super) written: Place,
    pub(super) error: io::Error,
}

/// Our own standard streams are not opened anew: that needs rights that we may not have any more (a pipe of another
/// user), does not work for sockets, and would write over a file from its beginning.
fn own_stream(path: &Path) -> io::Result<Option<File>> {
    let stream = match path.to_str() {
        Some("/dev/stdout") => io::stdout().as_fd().try_clone_to_owned()?,
        Some("/dev/stderr") => io::stderr().as_fd().try_clone_to_owned()?,
        _ => return Ok(None),
    };
    Ok(Some(stream.into()))
}

impl LogFile {
    /// Opens or makes the file (0600) and the directories above it (0700).
    pub(super) fn open(path: &Path) -> io::Result<LogFile> {
        if let Some(stream) = own_stream(path)? {
            let found = stream.metadata()?;
            // Also when it is a file: that is somebody else's.
            return Ok(LogFile {
                id: FileId::from(&found),
                regular: false,
                off: false,
                path: path.to_path_buf(),
                file: stream,
            });
        }
        // O_NONBLOCK: opening a named pipe that nobody reads must not hold up everything.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let open = || OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private_dir(path.parent().unwrap_or(Path::new("/")))?;
                open()?
            }
            other => other?,
        };
        let found = file.metadata()?;
        let off = path == Path::new("/dev/null");
        Ok(LogFile { id: FileId::from(&found), regular: found.is_file(), off, path: path.to_path_buf(), file })
    }

    /// The size and whether the file still has a name.
    pub(super) fn look(&self) -> io::Result<(u64, bool)> {
        let found = self.file.metadata()?;
        Ok((found.len(), found.nlink() > 0))
    }

    /// Writes whole lines at the end, which is at `size`. What cannot be written is left out by whole lines.
    pub(super) fn append(&mut self, lines: &[u8], size: u64) -> Result<Place, Refused> {
        let mut done = 0;
        while done < lines.len() {
            match self.file.write(&lines[done..]) {
                Ok(0) => return Err(self.give_up(lines, done, size, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.give_up(lines, done, size, error)),
            }
        }
        Ok(Place { offset: size, length: done })
    }

    /// Mends a file that does not end with the end of a line.
    ///
    /// A predecessor that was killed in the middle of a write left half a batch, whose bytes are still in their pipe and
    /// will be written again: the half line is taken away if it lies behind `ours`, up to where the file is known to be
    /// ours. Otherwise somebody else wrote it, and it gets an end.
    pub(super) fn mend(&mut self, ours: Option<u64>) -> io::Result<()> {
        let size = self.file.metadata()?.len();
        if !self.regular || size == 0 {
            return Ok(());
        }
        // Ours is open for writing only.
        let read = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        let start = size.saturating_sub(MEND).max(ours.unwrap_or(0)).min(size - 1);
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(0)];
        read.read_exact_at(&mut bytes, start)?;
        if bytes.last() == Some(&b'\n') {
            return Ok(());
        }
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| start + at as u64 + 1);
        match (ours, end) {
            (Some(_), Some(end)) => self.file.set_len(end),
            // The half line begins right behind what is known.
            (Some(ours), None) if ours == start => self.file.set_len(ours),
            _ => self.file.write_all(b"\n"),
        }
    }

    /// Takes half a line back out of the file.
    fn give_up(&self, lines: &[u8], done: usize, size: u64, error: io::Error) -> Refused {
        let mut whole = lines[..done].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < done && self.regular {
            // Unless somebody else has written behind it.
            let ours = self.look().is_ok_and(|(now, _)| now == size + done as u64);
            if !ours || self.file.set_len(size + whole as u64).is_err() {
                whole = done;
            }
        }
        Refused { written: Place { offset: size, length: whole }, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_taken_away_if_it_is_ours_and_ended_if_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.log");
        for (text, ours, mended) in [
            ("", Some(0), ""),
            ("whole\n", Some(0), "whole\n"),
            ("whole\nhal", Some(0), "whole\n"),
            ("whole\nhal", Some(6), "whole\n"),
            ("hal", Some(0), ""),
            ("whole\ntheirs", None, "whole\ntheirs\n"),
            ("ours\nsomebody cut this", Some(100), "ours\nsomebody cut this\n"),
        ] {
            std::fs::write(&path, text).unwrap();
            LogFile::open(&path).unwrap().mend(ours).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), mended, "{text:?} {ours:?}");
        }
    }
}
