//! `musher.log`: what keeper and supervisor themselves have to say. It is their standard error.
//!
//! It is rotated by the supervisor, which looks at its size now and then: copied to `musher.log.1` and emptied. (Renaming
//! would not do: the keeper and everything it starts has the file open.) What is written between the copy and the emptying
//! is lost, which may be a line of the daemon's own, never one of a worker.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The size at which it is rotated: as much again is kept.
const LIMIT: u64 = 8 << 20;
/// How much the supervisor writes between two looks.
const LOOK: u64 = 64 << 10;

/// The supervisor's way to it.
#[derive(Clone, Debug)]
pub(crate) struct DaemonLog {
    /// None in the foreground: what keeper and supervisor say goes to whoever started them.
    path: Option<PathBuf>,
    /// Bytes written since the last look.
    written: Arc<AtomicU64>,
}

impl DaemonLog {
    /// The log of the home at this path, which is our standard error, or becomes it if somebody deleted the one before.
    pub(crate) fn take(path: PathBuf) -> DaemonLog {
        let log = DaemonLog { path: Some(path), written: Arc::default() };
        log.reopen();
        log.look();
        log
    }

    /// Our standard error, whatever it is.
    pub(crate) fn of_foreground() -> DaemonLog {
        DaemonLog { path: None, written: Arc::default() }
    }

    /// Makes the file at the path our standard error, if it is not. A directory that is gone is no reason to be silent:
    /// the file before goes on.
    pub(crate) fn reopen(&self) {
        let Some(path) = self.path.as_ref().filter(|path| !is_at(path)) else { return };
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        if let Ok(file) = opened {
            let _ = rustix::stdio::dup2_stdout(&file);
            let _ = rustix::stdio::dup2_stderr(&file);
        }
    }

    fn look(&self) {
        if let Some(path) = self.path.as_ref().filter(|path| is_at(path))
            && let Err(error) = rotate(path, LIMIT)
        {
            let _ = writeln!(io::stderr(), "musher.log cannot be rotated: {error}");
        }
    }
}

impl Write for DaemonLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = io::stderr().write(bytes)?;
        let before = self.written.fetch_add(count as u64, Ordering::Relaxed);
        if before + count as u64 >= LOOK {
            self.written.store(0, Ordering::Relaxed);
            self.look();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether our standard error is the file with this name.
fn is_at(path: &Path) -> bool {
    let ours = rustix::fs::fstat(rustix::stdio::stderr());
    let named = std::fs::metadata(path);
    matches!((ours, named), (Ok(ours), Ok(named)) if (ours.st_dev, ours.st_ino) == (named.dev(), named.ino()))
}

/// Copies the file to `<path>.1` and empties it, when it is larger than this.
fn rotate(path: &Path, limit: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() <= limit {
        return Ok(());
    }
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let (new, kept) = (named(".1.new"), named(".1"));
    let copied = copy(&file, &new).and_then(|()| std::fs::rename(&new, kept));
    if copied.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    // On a full disk the past is given up, not the present.
    file.set_len(0)?;
    copied
}

fn copy(mut from: &File, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut from, &mut to).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::rotate;

    #[test]
    fn a_large_log_is_kept_once_and_emptied_for_all_who_have_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("musher.log");
        let mut writer = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        writer.write_all(b"small\n").unwrap();
        rotate(&path, 10).unwrap();
        assert_eq!((read("musher.log").as_str(), read("musher.log.1").as_str()), ("small\n", ""));
        for round in 0..3 {
            writer.write_all(format!("so much more, {round}\n").as_bytes()).unwrap();
            rotate(&path, 10).unwrap();
            assert_eq!(read("musher.log"), "");
            assert!(read("musher.log.1").ends_with(&format!("more, {round}\n")));
        }
        writer.write_all(b"on\n").unwrap();
        assert_eq!(read("musher.log"), "on\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_log_that_cannot_be_kept_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("musher.log");
        std::fs::write(&path, "so much more\n").unwrap();
        std::fs::create_dir(directory.path().join("musher.log.1.new")).unwrap();
        rotate(&path, 10).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
