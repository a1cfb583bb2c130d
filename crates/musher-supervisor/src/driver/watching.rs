//! Apps whose workers are replaced when files change.
//!
//! They are watched while the app is meant to run. A change during another operation is taken up when that has ended,
//! so that the last word of the files is always what runs. After a supervisor has died its successor looks once whether
//! a file is younger than the workers: what changed while nobody watched is not missed.

use std::time::{Duration, SystemTime};

use musher_api::{EventKind, OperationKind};
use musher_core::AppId;
use musher_core::spec::{OnChange, WatchFiles};

use crate::control::News;
use crate::files::{self, Watched};

use super::app::ManagedApp;
use super::{Driver, Wake, World};

/// The watch of an app's files.
#[derive(Debug)]
pub(super) struct Files {
    rules: WatchFiles,
    /// Ends when it is dropped.
    _watched: Watched,
    /// Changed while an operation went on.
    waiting: Option<String>,
}

impl World {
    /// Begins or ends to look at what the app follows by itself: its load, its files, and the clock.
    pub(super) fn follow(&self, app: &mut ManagedApp) {
        app.follow_load();
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
        let since = Some(since.unwrap_or_else(SystemTime::now));
        let (id, wakes) = (app.id, self.wakes.clone());
        let tell = move |told| {
            let wake = match told {
                files::Told::Changed(what) => Wake::FilesChanged(id, what),
                files::Told::NotWatched(why) => Wake::NotWatched(id, why),
            };
            // Without a driver nobody needs to know.
            let _ = wakes.blocking_send(wake);
        };
        let watched = files::watch(rules.clone(), own, since, tell);
        app.files = Some(Files { rules, _watched: watched, waiting: None });
    }
}

impl Driver {
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
