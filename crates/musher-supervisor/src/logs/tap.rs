//! Taking whole lines from a worker's pipe so that a `kill -9` at any instant loses none.
//!
//! The bytes are duplicated by tee(2), written by the caller, and only then taken from the pipe. A successor that gets
//! the same pipe sees everything that was not taken. Nothing of a line without its end is kept in memory: it stays in
//! the pipe, unless it would block its writer there or its writer is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, SpliceFlags};

/// The most bytes that are looked at in one go, and with that the longest line.
pub(super) const MAX_BATCH: usize = 64 << 10;
/// A pipe of so many pages is duplicated in one go even if each page has one byte.
const SCRATCH_SIZE: usize = 256 << 10;
/// The fewest bytes that can fill a pipe: one in each of 16 pages.
const FEWEST_FULL: usize = 16;

/// What one go has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing to be had now; so many bytes of a line without its end stay in the pipe.
    ///
    /// A pipe that is not empty wakes nobody when a write larger than its room begins to wait (pipe_write in the kernel
    /// wakes readers then only if the pipe was empty), so a rest has to be looked at again without an event.
    Rest(u64),
    /// Something, and there may be more.
    Some,
    /// Nothing, and nothing will come: no process has the other end.
    End,
}

/// What all taps of a thread share: room for one batch.
#[derive(Debug)]
pub(super) struct Scratch {
    read: File,
    write: OwnedFd,
    null: File,
    buffer: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Scratch> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user with many pipes; then a batch is smaller.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, SCRATCH_SIZE);
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        // One byte more, for the end of a line that is cut.
        Ok(Scratch { read: read.into(), write, null, buffer: vec![0; MAX_BATCH + 1] })
    }

    /// Takes whole lines from `pipe`: at most one batch, which goes to `write` before it leaves the pipe. With `last`
    /// a line without its end is taken too.
    pub(super) fn take(&mut self, pipe: BorrowedFd<'_>, last: bool, write: impl FnOnce(&[u8])) -> io::Result<Taken> {
        let mut cut = if last { Cut::Now } else { Cut::Not };
        loop {
            let seen = match rustix::pipe::tee(pipe, &self.write, MAX_BATCH, SpliceFlags::NONBLOCK) {
                Ok(0) => return Ok(Taken::End),
                Ok(seen) => seen,
                Err(rustix::io::Errno::AGAIN) => return Ok(Taken::Rest(0)),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.read.read_exact(&mut self.buffer[..seen])?;
            let whole = self.buffer[..seen].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole > 0 {
                write(&self.buffer[..whole]);
                self.consume(pipe, whole)?;
                return Ok(Taken::Some);
            }
            if cut == Cut::Now || cut == Cut::IfStill(seen) {
                self.buffer[seen] = b'\n';
                write(&self.buffer[..=seen]);
                self.consume(pipe, seen)?;
                return Ok(Taken::Some);
            }
            // The end of the line may have come since the pipe was looked at: look again before it is cut.
            cut = must_cut(pipe, seen)?;
            if cut == Cut::Not {
                return Ok(Taken::Rest(seen as u64));
            }
        }
    }

    /// Removes bytes from the pipe that are known to be there.
    fn consume(&self, pipe: BorrowedFd<'_>, mut count: usize) -> io::Result<()> {
        while count > 0 {
            match rustix::pipe::splice(pipe, None, &self.null, None, count, SpliceFlags::NONBLOCK) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(gone) => count -= gone,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What to do with a line without end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// It stays in the pipe.
    Not,
    /// It is taken if there is still no more to see than this.
    IfStill(usize),
    /// It is taken.
    Now,
}

/// Whether the `seen` bytes without an end that are all there is to see in `pipe` have to be taken as they are: their
/// writer is gone, or there is no room for the end.
fn must_cut(pipe: BorrowedFd<'_>, seen: usize) -> io::Result<Cut> {
    if seen >= MAX_BATCH {
        return Ok(Cut::Now);
    }
    if (seen as u64) < rustix::io::ioctl_fionread(pipe)? {
        // There was no room for more in the scratch pipe; or more has come in this instant.
        return Ok(Cut::IfStill(seen));
    }
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&now))?;
    if fds[0].revents().contains(PollFlags::HUP) {
        return Ok(Cut::Now);
    }
    if seen < FEWEST_FULL {
        return Ok(Cut::Not);
    }
    // How many bytes fill a pipe depends on how they were written, and only its writing end tells whether it is full.
    // A second writing end for an instant harms nobody: other writers exist, else the pipe would have been hung up.
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let full = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(writer) => {
            let mut fds = [PollFd::new(&writer, PollFlags::OUT)];
            rustix::event::poll(&mut fds, Some(&now))?;
            !fds[0].revents().contains(PollFlags::OUT)
        }
        Err(_) => seen >= MAX_BATCH / 2,
    };
    Ok(if full { Cut::Now } else { Cut::Not })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    fn pipe() -> (OwnedFd, File) {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        (read, write.into())
    }

    fn take(scratch: &mut Scratch, pipe: &OwnedFd, last: bool) -> (Taken, Vec<u8>) {
        let mut written = Vec::new();
        let taken = scratch.take(pipe.as_fd(), last, |bytes| written.extend_from_slice(bytes)).unwrap();
        (taken, written)
    }

    #[test]
    fn a_line_without_its_end_stays_in_the_pipe_until_it_is_complete() {
        let mut scratch = Scratch::new().unwrap();
        let (read, mut write) = pipe();
        assert_eq!(take(&mut scratch, &read, false), (Taken::Rest(0), vec![]));
        write.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(take(&mut scratch, &read, false), (Taken::Some, b"one\ntwo\n".to_vec()));
        assert_eq!(take(&mut scratch, &read, false), (Taken::Rest(3), vec![]));
        write.write_all(b"ee\n").unwrap();
        assert_eq!(take(&mut scratch, &read, false), (Taken::Some, b"three\n".to_vec()));
    }

    #[test]
    fn the_last_line_of_a_writer_that_is_gone_gets_an_end() {
        let mut scratch = Scratch::new().unwrap();
        let (read, mut write) = pipe();
        write.write_all(b"no end").unwrap();
        drop(write);
        assert_eq!(take(&mut scratch, &read, false), (Taken::Some, b"no end\n".to_vec()));
        assert_eq!(take(&mut scratch, &read, false), (Taken::End, vec![]));
    }

    #[test]
    fn a_line_that_fills_the_pipe_is_cut_however_it_was_written() {
        for size in [1, 7, 2100, 4096, 5000] {
            let mut scratch = Scratch::new().unwrap();
            let (read, mut write) = pipe();
            rustix::io::ioctl_fionbio(&write, true).unwrap();
            let mut sent = 0;
            while let Ok(count) = write.write(&vec![b'x'; size]) {
                sent += count;
            }
            let (taken, written) = take(&mut scratch, &read, false);
            assert_eq!(taken, Taken::Some, "written by {size}");
            assert_eq!(written.len(), sent + 1);
            assert!(write.write(b"there is room again").is_ok());
        }
    }

    #[test]
    fn a_pipe_larger_than_a_batch_is_taken_in_batches() {
        let mut scratch = Scratch::new().unwrap();
        let (read, mut write) = pipe();
        rustix::pipe::fcntl_setpipe_size(&write, 1 << 20).unwrap();
        write.write_all(&vec![b'x'; 200_000]).unwrap();
        write.write_all(b"\nshort\n").unwrap();
        let mut all = Vec::new();
        loop {
            let (taken, written) = take(&mut scratch, &read, false);
            if taken != Taken::Some {
                break;
            }
            all.extend(written);
        }
        assert_eq!(all.iter().filter(|byte| **byte == b'x').count(), 200_000);
        assert!(all.ends_with(b"\nshort\n"));
    }

    #[test]
    fn what_was_seen_but_not_taken_is_seen_again() {
        let mut scratch = Scratch::new().unwrap();
        let (read, mut write) = pipe();
        write.write_all(b"a line\n").unwrap();
        // As after a death between writing and taking.
        rustix::pipe::tee(&read, &scratch.write, MAX_BATCH, SpliceFlags::NONBLOCK).unwrap();
        let mut scratch_of_the_next = Scratch::new().unwrap();
        assert_eq!(take(&mut scratch_of_the_next, &read, false).1, b"a line\n");
        scratch.buffer.clear();
    }
}
