//! The files in which the pid of each worker stands, for programs that look for it there.
//!
//! A thread of its own writes them, one after the other: a file may be on a disk that is slow. A file is removed when its worker
//! has ended, unless the number of a later one stands in it by then.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::World;
use super::app::ManagedApp;

/// How many wait to be written. When the disk is that slow, the rest is left out.
const WAITING: usize = 4096;

/// What is to be done with a file.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    Write(PathBuf, i32),
    Remove(PathBuf, i32),
}

/// Writes and removes the files. Costs nothing before the first.
#[derive(Debug, Default)]
pub(super) struct PidFiles {
    work: Option<SyncSender<Work>>,
}

impl World {
    /// Writes the files of all workers of an app that was adopted: nobody knows whether they were written before.
    pub(super) fn write_pid_files(&mut self, app: &ManagedApp) {
        for (run, managed) in &app.runs {
            // Where there are two in a slot, the file is of the one that fills it.
            let fills = app.machine.occupant(managed.record.slot).is_some_and(|(other, _)| other == *run);
            let path = app.spec(managed.record.generation).and_then(|spec| spec.pid_file_of(managed.record.slot));
            if let Some((path, pid)) = path.zip(managed.pid()).filter(|_| fills && !managed.has_ended()) {
                self.pid_files.write(path, pid.as_raw());
            }
        }
    }
}

impl PidFiles {
    /// A worker has this pid.
    pub(super) fn write(&mut self, path: PathBuf, pid: i32) {
        self.hand_on(Work::Write(path, pid));
    }

    /// The worker with this pid has ended.
    pub(super) fn remove(&mut self, path: PathBuf, pid: i32) {
        self.hand_on(Work::Remove(path, pid));
    }

    fn hand_on(&mut self, work: Work) {
        if self.work.is_none() {
            let (sender, receiver) = sync_channel(WAITING);
            match std::thread::Builder::new().name("pid-files".into()).spawn(move || run(&receiver)) {
                Ok(_) => self.work = Some(sender),
                Err(error) => tracing::error!(%error, "pid files cannot be written"),
            }
        }
        if let Some(sender) = &self.work
            && let Err(error) = sender.try_send(work)
        {
            tracing::error!(%error, "a pid file is left as it is");
        }
    }
}

fn run(work: &Receiver<Work>) {
    while let Ok(work) = work.recv() {
        let (path, done) = match &work {
            Work::Write(path, pid) => (path, write(path, *pid)),
            Work::Remove(path, pid) => (path, remove(path, *pid)),
        };
        if let Err(error) = done {
            tracing::error!(path = %path.display(), %error, "a pid file cannot be written");
        }
    }
}

fn write(path: &Path, pid: i32) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // A new file, renamed: nobody reads half a number, and where the worker's account may write, no link of its own leads a
    // daemon of root somewhere else.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    write!(OpenOptions::new().write(true).create_new(true).open(&new)?, "{pid}")?;
    fs::rename(&new, path)
}

fn remove(path: &Path, pid: i32) -> io::Result<()> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() < 32);
    if is_file && fs::read_to_string(path)?.trim() == pid.to_string() { fs::remove_file(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::{remove, write};

    #[test]
    fn no_link_is_followed() {
        let home = tempfile::tempdir().unwrap();
        let (path, other) = (home.path().join("web-0.pid"), home.path().join("other"));
        std::fs::write(&other, "precious").unwrap();
        for link in [&path, &home.path().join("web-0.pid.new")] {
            std::os::unix::fs::symlink(&other, link).unwrap();
        }
        write(&path, 41).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "41");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
    }

    #[test]
    fn a_file_goes_with_its_worker_and_not_with_an_earlier_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pids/web-0.pid");
        write(&path, 41).unwrap();
        write(&path, 42).unwrap();
        remove(&path, 41).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "42");
        remove(&path, 42).unwrap();
        assert!(!path.exists());
        remove(&path, 42).unwrap();
    }
}
