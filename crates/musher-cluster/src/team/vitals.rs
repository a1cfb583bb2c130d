//! How the workers of a team are: limits that they exceed, exceptions, and a new version on trial. What follows is decided
//! by the daemon's code ([`Pressure`], [`compare`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use musher_core::compare::{Bounds, Comparison, compare};
use musher_core::ids::RunId;
use musher_core::lifecycle::{App, Input, Policy};
use musher_core::spec::{Limits, Runtime};
use musher_core::vitals::Pulse;
use musher_process::Pid;
use tokio::task::AbortHandle;

use super::keeping::Kept;
use super::settings::Settings;
use super::table::State;
use super::{Shared, now};
use crate::cluster::Watching;
use crate::limits::Pressure;
use crate::script::{self, Locks, Script};

/// How often workers tell how they are while a trial is judged by it.
const PULSE: Duration = Duration::from_secs(1);

/// What is watched of a team's workers.
#[derive(Default)]
pub(super) struct Vitals {
    pub(super) limits: Limits,
    /// How much worse a version on trial may be.
    pub(super) bounds: Option<Bounds>,
    comparison: Option<Comparison>,
    pulses: HashMap<RunId, Pulse>,
    /// Runs that tell how they are.
    asked: BTreeSet<RunId>,
    checks: HashMap<RunId, Check>,
}

/// A task that ends with what it is about.
struct Check(Option<AbortHandle>);

impl Drop for Check {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Vitals {
    /// Of a team whose workers have these limits.
    pub(super) fn of(limits: Limits) -> Vitals {
        Vitals { limits, ..Vitals::default() }
    }

    /// A worker has told how it is. In what the new version is worse, if that shows.
    fn heard(&mut self, app: &App, run: RunId, pulse: Pulse) -> Option<String> {
        self.pulses.insert(run, pulse);
        let trial = app.trial().filter(|trial| trial.until.is_some())?;
        let comparison = self.comparison.get_or_insert_default();
        comparison.note(app, &trial, self.pulses.iter().map(|(run, pulse)| (*run, pulse)));
        let sides = comparison.sides(app, &trial, |run| self.pulses.get(&run));
        let worse = compare(&sides.old, &sides.new, self.bounds?)?;
        self.comparison = None;
        Some(worse.to_string())
    }
}

impl State {
    /// A worker has told how it is: a trial may end with that.
    pub(super) fn pulse(&mut self, shared: &Shared, run: RunId, pulse: Pulse) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(reason) = kept.vitals.heard(&kept.app, run, pulse) {
            self.step(shared, Input::CanaryWorse { reason });
        }
    }

    /// Begins to watch runs that are online, and leaves those that are not any more.
    pub(super) fn tend(&self, shared: &Shared, kept: &mut Kept) {
        let online: BTreeSet<RunId> = kept.app.runs().filter(|(_, run)| run.is_online()).map(|(run, _)| run).collect();
        let vitals = &mut kept.vitals;
        vitals.checks.retain(|run, _| online.contains(run));
        vitals.pulses.retain(|run, _| online.contains(run));
        let on_trial = kept.app.trial().is_some();
        if !on_trial {
            vitals.comparison = None;
        }
        let wanted = if on_trial { online.clone() } else { BTreeSet::new() };
        for run in vitals.asked.symmetric_difference(&wanted) {
            let pulses = wanted.contains(run).then_some(PULSE);
            shared.cluster.watch(*run, Watching { pulses, stuck_after: None });
        }
        vitals.asked = wanted;
        for run in online {
            let Some(worker) = self.runs.get(&run) else { continue };
            let limits = &vitals.limits;
            vitals.checks.entry(run).or_insert_with(|| check(shared, run, worker.process().pid(), limits));
        }
    }
}

/// Watches the limits of a run, if it has some.
fn check(shared: &Shared, run: RunId, pid: Pid, limits: &Limits) -> Check {
    let pressure = Pressure::new((pid, None), limits, Arc::default(), now);
    let unfit = shared.unfit.clone();
    Check(pressure.map(|mut pressure| {
        let task = tokio::spawn(async move {
            loop {
                let reason = pressure.exceeded().await;
                if unfit.send((run, reason)).await.is_err() {
                    return;
                }
            }
        });
        task.abort_handle()
    }))
}

/// The script for Node workers, for as long as this process lives.
static SCRIPT: LazyLock<Option<(Script, Held)>> = LazyLock::new(|| {
    let held = Held::default();
    let placed = own_directory().and_then(|own| Script::place(&own, &held, env!("CARGO_PKG_VERSION"), crate::PRELOAD));
    match placed {
        Ok(script) => Some((script, held)),
        Err(error) => {
            tracing::warn!(%error, "no preload for Node: workers that are replaced close idle connections at once");
            None
        }
    }
});

/// What this process holds.
#[derive(Default)]
struct Held(Mutex<BTreeMap<String, File>>);

impl Locks for Held {
    fn held(&self, name: &str) -> Option<File> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name)?.try_clone().ok()
    }

    fn hold(&self, name: &str, file: BorrowedFd<'_>) {
        if let Ok(copy) = file.try_clone_to_owned() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), copy.into());
        }
    }
}

/// A directory of this user's, into which nobody else can write.
fn own_directory() -> std::io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|at| PathBuf::from(at).join("musher"));
    let path = runtime.unwrap_or_else(|| std::env::temp_dir().join(format!("musher-{user}")));
    if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(&path)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    let found = std::fs::symlink_metadata(&path)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    Ok(path)
}

impl Settings {
    /// Whether this is Node, and may read the script.
    pub(super) fn takes_script(&self) -> bool {
        let name = self.exec_path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let own = self.node_options().unwrap_or_default();
        let named = self.exec_args.iter().filter_map(|arg| arg.to_str());
        Runtime::is_node(name) && !script::is_permission_bound(named.chain(own.split([' ', '"'])))
    }

    fn node_options(&self) -> Option<String> {
        let own = self.env.get(std::ffi::OsStr::new("NODE_OPTIONS")).cloned();
        own.or_else(|| std::env::var_os("NODE_OPTIONS"))?.into_string().ok()
    }

    /// What the script and its readers need to know.
    pub(super) fn script_variables(&self, run: RunId, policy: &Policy) -> BTreeMap<OsString, OsString> {
        let Some((script, held)) = SCRIPT.as_ref().filter(|_| self.takes_script()) else { return BTreeMap::new() };
        if !script.is_readable(self.credentials.is_some(), held) {
            return BTreeMap::new();
        }
        let options = script::node_options(self.node_options().as_deref(), &script.path());
        // Under musher all workers are processes of its run, which has a marker of its own.
        let marker = std::env::var("MUSHER_RUN").unwrap_or_else(|_| format!("{run}@{}", std::process::id()));
        let variables = [
            ("NODE_OPTIONS", options),
            ("MUSHER_RUN", marker),
            ("MUSHER_ON_UNCAUGHT", policy.uncaught.as_millis().to_string()),
        ];
        variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}
