//! Watches files by inotify(7) and tells, when nothing has changed for a while, what has.
//!
//! Each directory is watched by itself, because most of what lies below a project (`node_modules`, `.git`, what
//! `.gitignore` names) shall not be: it would cost a watch of the kernel for each directory. A thread of its own waits for
//! changes; it costs nothing while there are none, and ends with its [`Watched`].

mod loaded;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use musher_core::spec::WatchFiles;
use notify::event::{EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// The most directories of an app.
const MOST_DIRECTORIES: usize = 20_000;
/// Changes that never stop are told after so many delays.
const MOST_DELAYS: u32 = 20;
/// Events that may wait here; behind them is the kernel's own queue, which tells when it was too short.
const EVENTS: usize = 1024;
/// The most names that are told.
const MOST_NAMES: usize = 3;

pub(crate) use loaded::{Loaded, told};

/// How much older than its change a file may look: the kernel gives files the time of its last tick (the clock
/// `CLOCK_REALTIME_COARSE` of clock_gettime(2)).
pub(crate) fn coarseness() -> Duration {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::RealtimeCoarse);
    Duration::try_from(tick).unwrap_or_default()
}

/// What is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Files have changed: which.
    Changed(String),
    /// Something cannot be watched: what, why, and what to do.
    NotWatched(String),
}

/// A watch; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watched {
    ended: Arc<AtomicBool>,
    wake: SyncSender<Heard>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Where there is no room it is awake, and a thread that has ended needs no word.
        let _ = self.wake.try_send(Heard::End);
    }
}

#[derive(Debug)]
enum Heard {
    Event(notify::Result<Event>),
    End,
}

/// Begins to watch, without what is `own` (the app's logs, musher's home). What is younger than `since` has changed
/// already. `tell` is called on a thread of its own.
pub(crate) fn watch(
    rules: WatchFiles,
    loaded: Loaded,
    own: Vec<PathBuf>,
    since: Option<SystemTime>,
    mut tell: impl FnMut(Told) + Send + 'static,
) -> Watched {
    let (wake, heard) = mpsc::sync_channel(EVENTS);
    let (events, ended) = (wake.clone(), Arc::new(AtomicBool::new(false)));
    let end = Arc::clone(&ended);
    let thread = std::thread::Builder::new().name("files".into()).stack_size(256 << 10);
    let begun = thread.spawn(move || {
        let hear = move |event| drop(events.send(Heard::Event(event)));
        match notify::recommended_watcher(hear) {
            Ok(watcher) => Tree::new(rules, loaded, own, watcher).follow(&heard, &end, since, &mut tell),
            Err(error) => tell(Told::NotWatched(format!("files cannot be watched: {error}"))),
        }
    });
    if let Err(error) = begun {
        tracing::error!(%error, "no thread to watch files");
    }
    Watched { ended, wake }
}

/// What is watched of a file system.
struct Tree {
    rules: WatchFiles,
    /// What the app has loaded, where only that counts.
    loaded: Loaded,
    own: Vec<PathBuf>,
    watcher: RecommendedWatcher,
    /// Patterns of the spec, by the path that they are relative to.
    patterns: Vec<(PathBuf, Gitignore)>,
    /// `.gitignore` of each directory that has one.
    files: BTreeMap<PathBuf, Gitignore>,
    directories: BTreeSet<PathBuf>,
    /// What could not be watched, told once.
    faults: Vec<String>,
}

impl Tree {
    fn new(rules: WatchFiles, loaded: Loaded, own: Vec<PathBuf>, watcher: RecommendedWatcher) -> Tree {
        let mut faults = Vec::new();
        let patterns = rules.paths.iter().map(|root| {
            let mut builder = GitignoreBuilder::new(root);
            for pattern in &rules.ignore {
                if let Err(error) = builder.add_line(None, pattern) {
                    faults.push(format!("watch.ignore: {error}"));
                }
            }
            (root.clone(), builder.build().unwrap_or_else(|_| Gitignore::empty()))
        });
        let patterns = patterns.collect();
        Tree { rules, loaded, own, watcher, patterns, files: BTreeMap::new(), directories: BTreeSet::new(), faults }
    }

    /// Until the other side has enough.
    fn follow(
        mut self,
        heard: &Receiver<Heard>,
        end: &AtomicBool,
        since: Option<SystemTime>,
        tell: &mut dyn FnMut(Told),
    ) {
        let mut young = BTreeSet::new();
        for root in self.rules.paths.clone() {
            self.add(&root, true, since, &mut young);
        }
        self.tell_faults(tell);
        if !young.is_empty() {
            tell(Told::Changed(words(&young)));
        }
        while let Ok(Heard::Event(first)) = heard.recv() {
            if end.load(Ordering::Relaxed) {
                return;
            }
            let mut changed = BTreeSet::new();
            self.take(first, &mut changed);
            let begun = Instant::now();
            let most = self.rules.delay * MOST_DELAYS;
            while !changed.is_empty() && begun.elapsed() < most {
                match heard.recv_timeout(self.rules.delay) {
                    _ if end.load(Ordering::Relaxed) => return,
                    Ok(Heard::Event(event)) => self.take(event, &mut changed),
                    Ok(Heard::End) | Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => break,
                }
            }
            self.tell_faults(tell);
            if !changed.is_empty() {
                tell(Told::Changed(words(&changed)));
            }
        }
    }

    fn tell_faults(&mut self, tell: &mut dyn FnMut(Told)) {
        self.faults.drain(..).for_each(|fault| tell(Told::NotWatched(fault)));
    }

    /// Watches a directory with everything below it, or a file that is named. What is younger than `since` is put into
    /// `young`.
    fn add(&mut self, path: &Path, is_named: bool, since: Option<SystemTime>, young: &mut BTreeSet<PathBuf>) {
        let mut open = vec![(path.to_owned(), is_named)];
        while let Some((path, is_named)) = open.pop() {
            // Links are not followed, unless they are named.
            let metadata = if is_named { path.metadata() } else { path.symlink_metadata() };
            let Ok(metadata) = metadata else {
                if is_named {
                    self.faults.push(format!("{} cannot be watched: it does not exist", path.display()));
                }
                continue;
            };
            if !is_named && self.is_ignored(&path, metadata.is_dir()) {
                continue;
            }
            let is_young = || since.is_some_and(|since| metadata.modified().is_ok_and(|at| at > since));
            if metadata.is_file() && (is_named || self.counts(&path)) && is_young() {
                young.insert(path.clone());
            }
            if (is_named || metadata.is_dir()) && !self.watch_one(&path) {
                return;
            }
            if metadata.is_dir() {
                self.read_patterns(&path);
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                // Files only where somebody asks how young they are.
                let wanted =
                    entries.filter(|entry| since.is_some() || entry.file_type().is_ok_and(|kind| kind.is_dir()));
                open.extend(wanted.map(|entry| (entry.path(), false)));
            }
        }
    }

    /// `false`: there is no use in going on.
    fn watch_one(&mut self, path: &Path) -> bool {
        if self.directories.contains(path) {
            return true;
        }
        if self.directories.len() >= MOST_DIRECTORIES {
            self.faults.push(format!(
                "only {MOST_DIRECTORIES} directories are watched: name some in watch.paths, or leave some out by watch.ignore"
            ));
            return false;
        }
        match self.watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.directories.insert(path.to_owned());
                true
            }
            Err(error) => {
                let hint = match error.kind {
                    notify::ErrorKind::MaxFilesWatch => {
                        ": raise fs.inotify.max_user_watches, or leave directories out by watch.ignore"
                    }
                    _ => "",
                };
                self.faults.push(format!("{} cannot be watched: {error}{hint}", path.display()));
                !matches!(error.kind, notify::ErrorKind::MaxFilesWatch)
            }
        }
    }

    fn read_patterns(&mut self, directory: &Path) {
        let file = directory.join(".gitignore");
        if !self.rules.gitignore || !file.is_file() {
            self.files.remove(directory);
            return;
        }
        // A line that is no pattern is left out, as git does.
        let (patterns, _) = Gitignore::new(&file);
        self.files.insert(directory.to_owned(), patterns);
    }

    /// Puts what an event changed into `changed`.
    fn take(&mut self, event: notify::Result<Event>, changed: &mut BTreeSet<PathBuf>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.faults.push(format!("changes of files may be missed: {error}")),
        };
        if event.need_rescan() {
            // The kernel's queue was full: something has changed, nobody knows what.
            changed.extend(self.rules.paths.first().cloned());
        }
        if !matters(event.kind) {
            return;
        }
        for path in event.paths {
            if path.file_name().is_some_and(|name| name == ".gitignore") {
                if let Some(directory) = path.parent().map(Path::to_owned) {
                    self.read_patterns(&directory);
                }
                continue;
            }
            let is_directory = path.is_dir();
            // A file that is watched by itself has no rule against it.
            let is_named = self.rules.paths.contains(&path);
            if !is_named && self.is_ignored(&path, is_directory || self.directories.contains(&path)) {
                continue;
            }
            if is_directory {
                // What was put into it before it was watched is new as well.
                self.add(&path, is_named, Some(SystemTime::UNIX_EPOCH), changed);
            } else if !is_named && !self.counts(&path) {
                self.directories.remove(&path);
            } else if self.directories.remove(&path) {
                // It is gone; a named file that an editor has put another in place of is watched again.
                if is_named && path.exists() {
                    self.watch_one(&path);
                }
                changed.insert(path);
            } else {
                changed.insert(path);
            }
        }
    }

    /// Whether what is not ignored is among what shall count: its ending, and whether it was loaded.
    fn counts(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let has = |ending: &String| name.strip_suffix(ending.as_str()).is_some_and(|rest| rest.ends_with('.'));
        // A directory that is gone took along what it had.
        let suits = self.rules.extensions.is_empty()
            || self.directories.contains(path)
            || self.rules.extensions.iter().any(has);
        suits && (!self.rules.loaded || self.loaded.counts(path))
    }

    /// Whether a change of this does not count.
    fn is_ignored(&self, path: &Path, is_directory: bool) -> bool {
        // With what is rotated beside a log file.
        let is_own =
            |own: &PathBuf| path.as_os_str().as_encoded_bytes().starts_with(own.as_os_str().as_encoded_bytes());
        if self.own.iter().any(is_own) {
            return true;
        }
        let Some(root) = self.rules.paths.iter().find(|root| path.starts_with(root)) else { return true };
        let below = path.strip_prefix(root).unwrap_or(path);
        let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".") || name == "node_modules";
        if below.iter().any(hidden) {
            return true;
        }
        let (_, patterns) = match self.patterns.iter().find(|(of, _)| of == root) {
            Some(found) => found,
            None => return false,
        };
        let by_rule = patterns.matched_path_or_any_parents(path, is_directory);
        if !by_rule.is_none() {
            return by_rule.is_ignore();
        }
        // The nearest file that says anything.
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(root));
        let said = above
            .filter_map(|above| self.files.get(above))
            .map(|file| file.matched_path_or_any_parents(path, is_directory));
        said.into_iter().find(|said| !said.is_none()).is_some_and(|said| said.is_ignore())
    }
}

/// Whether an event is a change of a file's content or name. That somebody reads it, or changes its times, is none.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(how) => !matches!(how, ModifyKind::Metadata(_)),
        EventKind::Any | EventKind::Access(_) | EventKind::Other => false,
    }
}

/// `3 files changed: /a/b.js, /a/c.js, ...`
fn words(changed: &BTreeSet<PathBuf>) -> String {
    let names: Vec<String> = changed.iter().take(MOST_NAMES).map(|path| path.display().to_string()).collect();
    match changed.len() {
        1 => format!("changed: {}", names.concat()),
        many if many <= MOST_NAMES => format!("changed: {}", names.join(", ")),
        many => format!("{many} files changed: {}, ...", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Ground {
        directory: tempfile::TempDir,
        told: Receiver<Told>,
        _watched: Watched,
    }

    impl Ground {
        fn new(files: &[&str], ignore: &[&str], since: Option<SystemTime>) -> Ground {
            let directory = tempfile::tempdir().unwrap();
            for file in files {
                write(&directory.path().join(file), "1");
            }
            let mut rules = WatchFiles::of(vec![directory.path().to_owned()]);
            rules.ignore = ignore.iter().map(|&pattern| pattern.to_owned()).collect();
            rules.delay = Duration::from_millis(50);
            let (tell, told) = mpsc::sync_channel(100);
            let own = vec![directory.path().join("out.log")];
            let watched = watch(rules, Loaded::default(), own, since, move |said| drop(tell.send(said)));
            let ground = Ground { directory, told, _watched: watched };
            // It watches when a change of a file that nobody else changes is seen.
            if since.is_none() {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    ground.write("begun", "1");
                    if let Ok(Told::Changed(_)) = ground.told.recv_timeout(Duration::from_millis(200)) {
                        break;
                    }
                    assert!(Instant::now() < deadline, "it does not watch");
                }
                while ground.told.recv_timeout(Duration::from_millis(200)).is_ok() {}
            }
            ground
        }

        fn write(&self, file: &str, text: &str) {
            write(&self.directory.path().join(file), text);
        }

        /// The next thing that is told, without the directory's name.
        fn next(&self) -> String {
            let told = match self.told.recv_timeout(PATIENCE).expect("something is told") {
                Told::Changed(text) | Told::NotWatched(text) => text,
            };
            told.replace(&format!("{}/", self.directory.path().display()), "")
        }
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_changes_together_is_told_once_and_what_is_ignored_never() {
        let files = ["a.js", "lib/b.js", ".git/HEAD", "node_modules/x/index.js", "build/out.js", "lib/.gitignore"];
        let ground = Ground::new(&files, &["/build/", "*.tmp", "!keep.tmp"], None);
        ground.write("lib/.gitignore", "made.js\n");
        for ignored in
            [".git/HEAD", "node_modules/x/index.js", "build/out.js", "x.tmp", "out.log", "lib/made.js", ".env"]
        {
            ground.write(ignored, "2");
        }
        ground.write("a.js", "2");
        ground.write("lib/b.js", "2");
        assert_eq!(ground.next(), "changed: a.js, lib/b.js");
        ground.write("keep.tmp", "1");
        assert_eq!(ground.next(), "changed: keep.tmp");
        // Reading is no change.
        fs::read(ground.directory.path().join("a.js")).unwrap();
        fs::remove_file(ground.directory.path().join("lib/b.js")).unwrap();
        assert_eq!(ground.next(), "changed: lib/b.js");
    }

    #[test]
    fn new_directories_are_watched_with_what_was_put_into_them_at_once() {
        let ground = Ground::new(&["a.js"], &[], None);
        let made = ground.directory.path().join("elsewhere");
        write(&made.join("deep/er/c.js"), "1");
        assert!(ground.next().contains("elsewhere/deep/er/c.js"));
        while ground.told.recv_timeout(Duration::from_millis(300)).is_ok() {}
        ground.write("elsewhere/deep/er/c.js", "2");
        assert_eq!(ground.next(), "changed: elsewhere/deep/er/c.js");
    }

    #[test]
    fn what_changed_before_anybody_watched_is_told() {
        let hour = Duration::from_secs(3600);
        let ground = Ground::new(&["a.js", "node_modules/b.js"], &[], Some(SystemTime::now() - hour));
        assert_eq!(ground.next(), "changed: a.js");
        let ground = Ground::new(&["a.js"], &[], Some(SystemTime::now() + hour));
        ground.told.recv_timeout(Duration::from_millis(200)).expect_err("nothing is young");
    }
}
