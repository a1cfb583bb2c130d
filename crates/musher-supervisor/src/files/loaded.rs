//! The files that the programs of an app have loaded, as Node tells with `WATCH_REPORT_DEPENDENCIES`: a message
//! `{"watch:require": ["/a/b.js"]}` or `{"watch:import": ["file:///a/b.mjs"]}` for each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use musher_core::RunId;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The most files of an app; those that come after them do not count.
const MOST_FILES: usize = 10_000;
/// The longest path (PATH_MAX).
const LONGEST: usize = 4096;

/// Which files were loaded, each with the newest run that did. Clones are the same set: one has whoever hears of files, the
/// other one whoever watches them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded(Arc<Mutex<BTreeMap<PathBuf, RunId>>>);

impl Loaded {
    /// A run has loaded a file. `true`: nobody had before.
    pub(crate) fn note(&self, run: RunId, path: PathBuf) -> bool {
        let mut files = self.files();
        if let Some(newest) = files.get_mut(&path) {
            *newest = run.max(*newest);
            return false;
        }
        files.len() < MOST_FILES && files.insert(path, run).is_none()
    }

    /// Whether a change of a file, or the end of a directory, concerns what was loaded. Before anything is known
    /// everything does.
    pub(crate) fn counts(&self, path: &Path) -> bool {
        let files = self.files();
        let next = files.range(path.to_owned()..).next();
        files.is_empty() || next.is_some_and(|(next, _)| next.starts_with(path))
    }

    /// Leaves out what only runs before this one have loaded.
    pub(crate) fn forget_before(&self, oldest: RunId) {
        self.files().retain(|_, newest| *newest >= oldest);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, RunId>> {
        // Each change is whole: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that a message names, if it is one of Node's that tell of loaded files.
pub(crate) fn told(message: &Value) -> Option<Vec<PathBuf>> {
    let members = message.as_object().filter(|members| members.len() == 1)?;
    let (kind, names) = members.iter().next()?;
    let path: fn(&str) -> Option<PathBuf> = match kind.as_str() {
        "watch:require" => |name| Some(PathBuf::from(name)),
        "watch:import" => of_url,
        _ => return None,
    };
    let names = names.as_array()?.iter().filter_map(Value::as_str).filter(|name| name.len() <= LONGEST);
    Some(names.filter_map(path).filter(|path| path.is_absolute()).collect())
}

/// The path of a `file:` address, without what a program put behind it to load a file anew.
fn of_url(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://")?.split(['?', '#']).next()?;
    // What is not UTF-8 could not be written into a record.
    Some(PathBuf::from(percent_decode_str(path).decode_utf8().ok()?.into_owned()))
}

impl Serialize for Loaded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.files().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Loaded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Loaded, D::Error> {
        BTreeMap::deserialize(deserializer).map(|files| Loaded(Arc::new(Mutex::new(files))))
    }
}

#[cfg(test)]
mod tests {
    use musher_core::AppId;
    use serde_json::json;

    use super::*;

    fn run(number: u64) -> RunId {
        RunId::of(AppId(1), number)
    }

    #[test]
    fn what_node_tells_are_absolute_paths_and_nothing_else_is_taken_for_it() {
        let path = |text: &str| vec![PathBuf::from(text)];
        assert_eq!(told(&json!({ "watch:require": ["/a/b.js"] })), Some(path("/a/b.js")));
        assert_eq!(told(&json!({ "watch:import": ["file:///a/b%20c.mjs?v=1"] })), Some(path("/a/b c.mjs")));
        assert_eq!(told(&json!({ "watch:import": ["node:fs", "file:///%ff", 7] })), Some(Vec::new()));
        for other in
            [json!({}), json!("watch:require"), json!({ "watch:require": 1 }), json!({ "watch:import": [], "x": 1 })]
        {
            assert_eq!(told(&other), None, "{other}");
        }
    }

    #[test]
    fn only_what_a_living_run_loaded_counts_once_anything_is_known() {
        let loaded = Loaded::default();
        assert!(loaded.counts(Path::new("/a/data.json")));
        assert!(loaded.note(run(1), "/a/lib/b.js".into()) && loaded.note(run(1), "/a/c.js".into()));
        assert!(!loaded.note(run(2), "/a/c.js".into()));
        let counts = |path: &str| loaded.counts(Path::new(path));
        assert!(counts("/a/c.js") && counts("/a/lib") && !counts("/a/data.json") && !counts("/a/li"));
        let copy: Loaded = serde_json::from_str(&serde_json::to_string(&loaded).unwrap()).unwrap();
        loaded.forget_before(run(2));
        assert!(loaded.counts(Path::new("/a/c.js")) && !loaded.counts(Path::new("/a/lib")));
        assert!(copy.counts(Path::new("/a/lib")));
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let loaded = Loaded::default();
        let taken = (0..=MOST_FILES).filter(|number| loaded.note(run(1), format!("/{number}").into())).count();
        assert_eq!(taken, MOST_FILES);
    }
}
