//! Which Node a program is, asked once for each executable and kept beside the ids: `jlist` tells it of every worker.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config;

/// More than any home has.
const MAX_FILE: u64 = 1 << 20;
/// Executables that are gone are forgotten by beginning anew.
const MAX_KNOWN: usize = 64;

/// Versions by executable.
pub(super) struct Versions {
    path: PathBuf,
    known: BTreeMap<String, Option<String>>,
}

impl Versions {
    /// Those that were asked before.
    pub(super) fn open(home: &Path) -> Versions {
        let path = home.join("pm2-node-versions.json");
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
        let known = read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default();
        Versions { path, known }
    }

    /// The version of this executable: `20.20.2`. One that was replaced is another.
    pub(super) fn of(&mut self, program: &Path) -> Option<String> {
        let found = std::fs::metadata(program).ok()?;
        let key = format!("{}:{}:{}:{}", found.dev(), found.ino(), found.mtime(), found.size());
        if let Some(version) = self.known.get(&key) {
            return version.clone();
        }
        let version = config::node_version(program);
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, version.clone());
        // Another command that writes at the same time asks once more than needed.
        let _ = self.save();
        version
    }

    fn save(&self) -> std::io::Result<()> {
        let next = self.path.with_extension(format!("{}.next", std::process::id()));
        let text = serde_json::to_vec(&self.known)?;
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?.write_all(&text)?;
        std::fs::rename(next, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Versions;

    #[test]
    fn what_was_asked_is_kept_and_what_is_no_node_has_none() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("node");
        std::fs::write(&program, "not executable").unwrap();
        assert_eq!(Versions::open(home.path()).of(&program), None);
        let mut again = Versions::open(home.path());
        assert_eq!(again.known.len(), 1);
        *again.known.values_mut().next().unwrap() = Some("20.1.2".into());
        assert_eq!(again.of(&program).as_deref(), Some("20.1.2"));
        assert_eq!(again.of(Path::new("/nowhere/node")), None);
    }
}
