//! Apps whose workers are replaced when files change.
//!
//! They are watched while the app is meant to run. A change during another operation is taken up when that has ended,
//! so that the last word of the files is always what runs. After a supervisor has died its successor looks once whether
//! a file is younger than the workers: what changed while nobody watched is not missed.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use musher_api::{EventKind, OperationKind};
use musher_core::spec::{OnChange, WatchFiles};
use musher_core::{AppId, RunId};
use serde_json::Value;

use crate::control::News;
use crate::files::{self, Watched};

use super::app::ManagedApp;
use super::{Driver, Wake, World};

/// The watch of an app's files.
#[derive(Debug)]
pub(super) struct Files {
    rules: WatchFiles,
    /// Where what is watched really lies, and where by the rules: Node tells of files without links.
    places: Vec<(PathBuf, PathBuf)>,
    /// Ends when it is dropped.
    _watched: Watched,
    /// Changed while an operation went on.
    waiting: Option<String>,
}

impl World {
    /// Begins or ends to look at what the app follows by itself: its load, its files, and the clock.
    pub(super) fn follow(&self, app: &mut ManagedApp) {
        app.follow_load();
        app.forget_loaded();
        self.follow_files(app);
        self.follow_times(app);
    }

    /// Begins or ends to watch an app's files, as its spec and its state say.
    fn follow_files(&self, app: &mut ManagedApp) {
        let spec = app.target_spec().filter(|_| app.machine.is_wanted());
        let Some((spec, rules)) = spec.and_then(|spec| Some((spec, spec.watch.as_ref()?))) else {
            app.files = None;
            return;
        };
        // After each step of the app: nothing is copied while nothing changes.
        if app.files.as_ref().is_some_and(|files| files.rules == *rules) {
            return;
        }
        let rules = rules.clone();
        let logs = crate::logs::LogPaths::new(&self.home, &app.name, &spec.logs);
        let mut own = logs.beginnings(spec.logs.per_worker);
        own.push(self.home.root().to_owned());
        // What nobody has seen change is younger than the oldest worker; before the first start, than this moment.
        let started = app.runs.values().map(|run| run.record.started_ms).min();
        let since = started.map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
        let since = Some(since.unwrap_or_else(SystemTime::now) - files::coarseness());
        let (id, wakes) = (app.id, self.wakes.clone());
        let tell = move |told| {
            let wake = match told {
                files::Told::Changed(what) => Wake::FilesChanged(id, what),
                files::Told::NotWatched(why) => Wake::NotWatched(id, why),
            };
            // Without a driver nobody needs to know.
            let _ = wakes.blocking_send(wake);
        };
        let real = |path: &PathBuf| (path.canonicalize().unwrap_or_else(|_| path.clone()), path.clone());
        let places = if rules.loaded { rules.paths.iter().map(real).collect() } else { Vec::new() };
        let watched = files::watch(rules.clone(), app.loaded.clone(), own, since, tell);
        app.files = Some(Files { rules, places, _watched: watched, waiting: None });
    }
}

impl Files {
    /// The path of a file as those who watch know it, if it is among what may count.
    fn watched(&self, path: &Path) -> Option<PathBuf> {
        let found = self.places.iter().find_map(|(real, named)| Some(named.join(path.strip_prefix(real).ok()?)))?;
        (!found.iter().any(|name| name == "node_modules")).then_some(found)
    }
}

impl ManagedApp {
    /// Leaves out what only runs that have ended have loaded. Not while workers are replaced: those of a version that does
    /// not start end as well, and its files are what will be mended.
    fn forget_loaded(&self) {
        if !self.loaded.is_empty()
            && self.machine.operations().is_empty()
            && let Some(oldest) = self.runs.keys().min()
        {
            self.loaded.forget_before(*oldest);
        }
    }
}

impl Driver {
    /// Keeps which files a worker loads. False: the message does not tell of that.
    pub(super) fn loaded(&mut self, run: RunId, message: &Value) -> bool {
        let Some(app) = self.apps.get(&run.app()) else { return false };
        let Some(files) = app.files.as_ref().filter(|files| files.rules.loaded) else { return false };
        let Some(paths) = files::told(message) else { return false };
        let home = self.world.home.root();
        let counting = paths.iter().filter(|path| !path.starts_with(home)).filter_map(|path| files.watched(path));
        let unknown = counting.filter(|path| app.loaded.note(run, path.clone())).count();
        // What is loaded at the start is written with the next step of the app.
        if unknown > 0 && app.machine.run(run).is_some_and(|run| run.is_online()) {
            self.world.write_app(app);
        }
        true
    }

    /// Files have changed: the workers are replaced, now or when what goes on has ended.
    pub(super) fn files_changed(&mut self, id: AppId, what: String) {
        let Some(files) = self.apps.get_mut(&id).and_then(|app| app.files.as_mut()) else { return };
        files.waiting = Some(what);
        self.take_up_changes(id);
    }

    /// Replaces the workers if files have changed and nothing else goes on.
    pub(super) fn take_up_changes(&mut self, id: AppId) {
        if self.world.record.shutting_down {
            return;
        }
        let Some(app) = self.apps.get_mut(&id).filter(|app| app.machine.operations().is_empty() && app.gate.is_none())
        else {
            return;
        };
        let Some(files) = &mut app.files else { return };
        let Some(what) = files.waiting.take() else { return };
        let (name, on_change) = (app.name.clone(), files.rules.on_change);
        app.machine.count_restart();
        self.world.events.publish(News::new(EventKind::Files, what).of_app(&name, id.0));
        let (kind, command) = match on_change {
            OnChange::Reload => (OperationKind::Reload, self.reload_command(id, None, None)),
            OnChange::Restart => (OperationKind::Restart, self.restart_command(id)),
        };
        let (op, _) = self.begin(id, &name, kind);
        self.world.write_home();
        self.command(id, op, command);
    }

    pub(super) fn not_watched(&mut self, id: AppId, why: &str) {
        let Some(app) = self.apps.get(&id) else { return };
        tracing::warn!(app = app.name, "{why}");
        self.world.events.publish(News::new(EventKind::Files, why).of_app(&app.name, id.0));
    }
}
