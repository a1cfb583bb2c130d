//! What a PM2 has: from its daemon if it runs, else from its dump; and the same apps in the words of its process files.

mod daemon;
mod records;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) use daemon::Daemon;
pub(crate) use records::{Found, found};

/// More than any list of apps.
const MAX_DUMP: u64 = 64 << 20;

/// Where the apps were found.
pub(crate) enum Source {
    /// PM2 runs; what it runs has to be stopped there.
    Daemon(Daemon),
    /// It does not: the list that it saved.
    Dump(PathBuf),
}

/// The home of PM2, or its dump, that the user names; else its usual home.
pub(crate) fn place(asked: Option<&Path>) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".pm2")).unwrap_or_default();
    asked.map(Path::to_path_buf).or_else(|| std::env::var_os("PM2_HOME").map(PathBuf::from)).unwrap_or_else(home)
}

/// What is there, as records of PM2. `Err`: what is wrong, in words.
pub(crate) fn read(place: &Path) -> Result<(Source, Vec<Value>), String> {
    if place.is_dir() {
        if let Some(mut daemon) = Daemon::connect(place) {
            let records = daemon.list()?;
            return Ok((Source::Daemon(daemon), records));
        }
        return saved(&place.join("dump.pm2")).or_else(|fault| {
            // What PM2 itself falls back to.
            saved(&place.join("dump.pm2.bak")).map_err(|_| fault)
        });
    }
    saved(place)
}

fn saved(path: &Path) -> Result<(Source, Vec<Value>), String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_DUMP).read_to_string(&mut text));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let records: Vec<Value> = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((Source::Dump(path.to_path_buf()), records))
}
