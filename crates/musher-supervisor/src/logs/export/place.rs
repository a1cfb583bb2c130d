//! Up to where the lines of some files were sent: a cursor in a file beside them.

use std::path::PathBuf;

use musher_api::Cursor;
use musher_core::spec::Logs;

use super::super::LogPaths;
use super::super::numbered::suffixed;
use crate::home::Home;

/// Where a sender is.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    cursor: Cursor,
}

impl Place {
    /// The place of a sender in these files; if it has not sent anything of them yet, it begins behind `first`.
    pub(super) fn of(paths: &LogPaths, receiver: &str, first: Cursor) -> Place {
        let name = paths.index.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let path = paths.index.with_file_name(format!("sent-{receiver}-{name}"));
        let found = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let place = Place { path, cursor: found.unwrap_or(first) };
        if found.is_none() {
            place.write();
        }
        place
    }

    /// Makes sure that nothing is sent of what was written before anybody wanted it to be sent. Files that come later are
    /// sent from their beginning.
    pub(super) fn begin(home: &Home, app: &str, logs: &Logs, receiver: &str) {
        let all = LogPaths::all(home, app, logs);
        let sends = |paths: &LogPaths| paths.index.with_file_name(format!("sent-{receiver}-index")).exists();
        if all.iter().any(sends) {
            return;
        }
        let now = Cursor(u64::try_from(crate::clock::since_1970().as_nanos()).unwrap_or(u64::MAX));
        all.iter().for_each(|paths| drop(Place::of(paths, receiver, now)));
    }

    /// The last line that was sent.
    pub(super) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Lines up to here have been sent.
    pub(super) fn store(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.write();
    }

    fn write(&self) {
        // Never half a number, at whatever instant the process dies.
        let new = suffixed(&self.path, ".new");
        let written = std::fs::write(&new, self.cursor.to_string()).and_then(|()| std::fs::rename(&new, &self.path));
        if let Err(error) = written {
            tracing::debug!(path = %self.path.display(), %error, "lines may be sent again after a restart");
        }
    }

    /// Nothing is sent to this receiver any more.
    pub(super) fn forget_all(home: &Home, app: &str, receiver: &str) {
        let Ok(entries) = std::fs::read_dir(home.logs().join(app)) else { return };
        let prefix = format!("sent-{receiver}-");
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
