//! How much could not be written, where it outlives this process: a file in memory, of which the keeper has a copy.
//!
//! One line for each file that has lost something, up to a NUL: `app file lines bytes reason`. It is written over by
//! one write, before the lines are taken from their pipe; so a kill counts some lines twice at most, and forgets none.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use musher_core::ids::AppId;
use musher_process::memfd;

/// A line has at most some hundred bytes, and an app two lines.
const LIMIT: usize = 4 << 20;

/// What was lost of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    /// Why, in words.
    pub(super) error: String,
}

/// Where it is kept.
#[derive(Debug)]
pub(super) struct Losses {
    file: File,
    /// What an earlier supervisor left, until its apps are opened.
    left: HashMap<(AppId, usize), Loss>,
}

impl Losses {
    /// Goes on with what is in the file. What makes no sense is skipped.
    pub(super) fn open(file: OwnedFd) -> io::Result<Losses> {
        let bytes = memfd::read_memfd(file.as_fd(), LIMIT)?;
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let left = String::from_utf8_lossy(text).lines().filter_map(parse).collect();
        Ok(Losses { file: file.into(), left })
    }

    /// What an earlier supervisor had lost of this stream.
    pub(super) fn take(&mut self, app: AppId, stream: usize) -> Option<Loss> {
        self.left.remove(&(app, stream))
    }

    /// Keeps this, and what nobody has taken yet.
    pub(super) fn keep<'a>(&'a self, losses: impl Iterator<Item = (AppId, usize, &'a Loss)>) {
        let mut text = String::new();
        let left = self.left.iter().map(|((app, stream), loss)| (*app, *stream, loss));
        for (app, stream, Loss { lines, bytes, error }) in losses.chain(left) {
            let _ = writeln!(text, "{app} {stream} {lines} {bytes} {}", error.replace(['\n', '\0'], " "));
        }
        text.truncate(LIMIT - 1);
        text.push('\0');
        if let Err(error) = self.file.write_all_at(text.as_bytes(), 0) {
            tracing::error!(%error, "how many lines were lost will be forgotten when the supervisor is killed");
        }
    }
}

fn parse(line: &str) -> Option<((AppId, usize), Loss)> {
    let mut words = line.splitn(5, ' ');
    let app = AppId(words.next()?.parse().ok()?);
    let stream = words.next()?.parse().ok()?;
    let (lines, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(((app, stream), Loss { lines, bytes, error: words.next()?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_found_again_by_the_next_one() {
        let file = memfd::memfd("losses").unwrap();
        let open = || Losses::open(file.try_clone().unwrap()).unwrap();
        let loss = |lines| Loss { lines, bytes: 10 * lines, error: "no space left on device".into() };
        let (one, two) = (loss(1_000_000), loss(2));
        open().keep([(AppId(1), 0, &one), (AppId(2), 1, &two)].into_iter());
        let mut next = open();
        assert_eq!((next.take(AppId(1), 0), next.take(AppId(1), 1)), (Some(one.clone()), None));
        // The other app is not opened yet when this one is told of.
        next.keep(std::iter::empty());
        let mut last = open();
        assert_eq!((last.take(AppId(1), 0), last.take(AppId(2), 1)), (None, Some(two)));
        last.keep(std::iter::empty());
        assert!(open().left.is_empty());
    }

    #[test]
    fn nonsense_is_skipped() {
        let file = memfd::memfd_with("losses", b"1 0 5 6 full\nx\n1 -2 3 4 no file\n7 1 8\n\0rest").unwrap();
        assert_eq!(Losses::open(file).unwrap().left.len(), 1);
    }
}
