//! What users see: rows, summaries and details, made when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use musher_api::{
    AppDetail, AppSummary, Listener, LogFiles, Mode, ProcessStatus, Progress, RunDetail, RunState, SlotDetail, SlotRow,
    SlotStatus, Status,
};
use musher_core::SlotId;
use musher_core::lifecycle::{self, SlotState, Vacancy};
use musher_core::spec::AppSpec;
use musher_process::Pid;
use musher_process::stat::{ProcessStat, since_boot};

use crate::logs::LogPaths;

use super::app::ManagedApp;
use super::{Driver, World, millis, now};

impl Driver {
    pub(super) fn status(&self) -> Status {
        let workers = self.apps.values().map(|app| app.runs.len()).sum::<usize>();
        Status {
            version: crate::VERSION.to_owned(),
            api_version: musher_api::API_VERSION,
            home: self.world.home.root().display().to_string(),
            supervisor: process_status(Some(Pid::own()), crate::VERSION.to_owned()),
            keeper: process_status(self.world.link.keeper_pid(), self.world.link.keeper_software()),
            apps: count(self.apps.len()),
            workers: count(workers),
        }
    }

    /// The rows of these apps, or of all when there are none.
    pub(super) fn rows(&mut self, only: &[musher_core::AppId], pulse: bool) -> Vec<SlotRow> {
        let Driver { world, apps, .. } = self;
        let mut rows = Vec::new();
        for app in apps.values_mut().filter(|app| only.is_empty() || only.contains(&app.id)) {
            let first = rows.len();
            rows.extend(world.app_rows(app));
            if pulse {
                world.ask_for_pulses(app);
                rows[first..].iter_mut().for_each(|row| row.pulse = app.pulse_of(row.pid));
            }
        }
        rows
    }

    pub(super) fn summaries(&mut self) -> Vec<AppSummary> {
        let Driver { world, apps, .. } = self;
        let summary = |app: &ManagedApp| {
            let rows = world.app_rows(app);
            AppSummary {
                app: app.name.clone(),
                id: app.id.0,
                namespace: app.target_spec().map(|spec| spec.namespace.clone()).unwrap_or_default(),
                mode: rows.first().map_or(Mode::Fork, |row| row.mode),
                running: app.machine.is_wanted(),
                instances: app.machine.size(),
                online: app.machine.ready_slots(),
                restarts: rows.iter().map(|row| row.restarts).sum(),
                memory_bytes: rows.iter().map(|row| row.memory_bytes).sum(),
                cpu_percent: rows.iter().map(|row| row.cpu_percent).sum(),
                generation: app.machine.target().0.into(),
                program: app.target_spec().map(|spec| program(spec)).unwrap_or_default(),
            }
        };
        apps.values().map(summary).collect()
    }

    pub(super) fn detail(&mut self, id: musher_core::AppId) -> Option<AppDetail> {
        let Driver { world, apps, .. } = self;
        let app = apps.get(&id)?;
        let spec = Arc::clone(app.target_spec()?);
        let rows = world.app_rows(app);
        let slots = rows.into_iter().map(|row| world.slot_detail(app, row)).collect();
        let files = LogPaths::new(&world.home, &app.name, &spec.logs);
        let mut shown = (*spec).clone();
        shown.instances = app.machine.size();
        Some(AppDetail {
            app: app.name.clone(),
            id: app.id.0,
            mode: spec.exec.runtime.into(),
            balance: spec.effective_balance(),
            running: app.machine.is_wanted(),
            generation: app.machine.target().0.into(),
            added_ms: app.added_ms,
            slots,
            listeners: listeners(app, &spec),
            canary: app.canary_detail(),
            log_files: LogFiles {
                out: files.out.display().to_string(),
                err: files.err.display().to_string(),
                combined: files.combined.map(|combined| combined.display().to_string()),
                per_worker: spec.logs.per_worker,
                figures: world.logs.counters(id).figures(),
            },
            schedule: app.schedule_detail(),
            waits_for: app.awaited.as_ref().map(|awaited| awaited.what.clone()).unwrap_or_default(),
            operation: world.operations.newest_of(app.id),
            spec: shown,
        })
    }
}

impl World {
    fn app_rows(&mut self, app: &ManagedApp) -> Vec<SlotRow> {
        let runs: BTreeMap<_, _> = app.machine.runs().collect();
        let slots = (0u32..).map(SlotId).zip(app.machine.slots()).filter(|(_, slot)| !slot.is_removed());
        slots.map(|(id, slot)| self.row(app, id, slot, &runs)).collect()
    }

    fn row(
        &mut self,
        app: &ManagedApp,
        id: SlotId,
        slot: &lifecycle::Slot,
        runs: &BTreeMap<musher_core::RunId, &lifecycle::Run>,
    ) -> SlotRow {
        let draining = || runs.iter().find(|(_, run)| run.slot == id && run.is_draining()).map(|(run, _)| *run);
        let shown = app.machine.occupant(id).map(|(run, _)| run).or_else(draining);
        let successor = match &slot.state {
            SlotState::Replacing { new, .. } if Some(*new) != shown => Some(*new),
            SlotState::Replacing { .. } | SlotState::Filled { .. } | SlotState::Vacant(_) => None,
        };
        let status = status(shown.and_then(|run| runs.get(&run)).map(|run| run.state), &slot.state);
        let managed = shown.and_then(|run| Some((run, app.runs.get(&run)?)));
        let pid = managed.and_then(|(_, run)| run.pid());
        let usage = match (managed, pid) {
            (Some((run, _)), Some(pid)) => self.samples.measure(run, pid, now()),
            _ => super::sample::Usage::default(),
        };
        let leaving: Vec<_> =
            runs.iter().filter(|(run, of)| of.slot == id && of.is_draining() && Some(**run) != shown).collect();
        let draining = leaving.into_iter().filter_map(|(run, of)| self.run_detail(app, *run, of)).collect();
        let generation = managed.map_or(slot.generation, |(_, run)| run.record.generation);
        let retry_in_ms = match &slot.state {
            SlotState::Vacant(Vacancy::Backoff { until, .. }) => {
                Some(u64::try_from(until.since(now()).as_millis()).unwrap_or(u64::MAX))
            }
            SlotState::Vacant(_) | SlotState::Filled { .. } | SlotState::Replacing { .. } => None,
        };
        SlotRow {
            app: app.name.clone(),
            id: app.id.0,
            slot: id.0,
            pid: pid.and_then(number),
            status,
            restarts: slot.restarts,
            uptime_ms: managed.and_then(|(id, _)| runs.get(&id)).map_or(0, |run| millis(now().since(run.since))),
            memory_bytes: usage.memory_bytes,
            cpu_percent: usage.cpu_percent,
            mode: app.spec(generation).or(app.target_spec()).map_or(Mode::Fork, |spec| spec.exec.runtime.into()),
            generation: generation.0.into(),
            draining,
            successor_pid: successor.and_then(|run| app.runs.get(&run)?.pid()).and_then(number),
            retry_in_ms,
            pulse: None,
            starts_in_ms: if pid.is_none() { app.starts_in_ms() } else { None },
        }
    }

    fn slot_detail(&mut self, app: &ManagedApp, row: SlotRow) -> SlotDetail {
        let slot = SlotId(row.slot);
        let runs = app.machine.runs().filter(|(_, run)| run.slot == slot);
        let runs = runs.filter_map(|(id, run)| self.run_detail(app, id, run)).collect();
        let state = usize::try_from(slot.0).ok().and_then(|slot| app.machine.slots().get(slot));
        let unfit = state.and_then(|slot| Some(slot.unfit.as_ref()?.reason.clone()));
        SlotDetail { row, runs, unfit, last_death: app.deaths.get(&slot).cloned() }
    }

    fn run_detail(&mut self, app: &ManagedApp, id: musher_core::RunId, run: &lifecycle::Run) -> Option<RunDetail> {
        let managed = app.runs.get(&id)?;
        let usage = managed.pid().map(|pid| self.samples.measure(id, pid, now())).unwrap_or_default();
        Some(RunDetail {
            run: id.0,
            pid: managed.pid().and_then(number).unwrap_or(0),
            state: match run.state {
                lifecycle::RunState::Starting { .. } => RunState::Starting,
                lifecycle::RunState::Online { .. } => RunState::Online,
                lifecycle::RunState::Draining { .. } => RunState::Draining,
            },
            started_ms: managed.record.started_ms,
            uptime_ms: millis(now().since(run.since)),
            memory_bytes: usage.memory_bytes,
            cpu_percent: usage.cpu_percent,
            generation: managed.record.generation.0.into(),
            pulse: managed.pulse.clone(),
            said: managed.record.said.clone(),
            phase: managed.phase,
            custom_actions: managed.record.custom_actions.clone(),
            custom_metrics: managed.custom_metrics.clone(),
        })
    }

    /// Tells the followers of an app's operations how far they are.
    pub(super) fn report_progress(&mut self, app: &ManagedApp) {
        for op in app.machine.operations() {
            let Some(progress) = app.machine.progress(op) else { continue };
            let finishing = match progress.leaving {
                0 => String::new(),
                1 => "1 worker is finishing".to_owned(),
                n => format!("{n} workers are finishing"),
            };
            let text = app.canary_text().unwrap_or(finishing);
            self.operations.progress(op, Progress { ready: progress.ready, total: progress.total, text });
        }
    }
}

/// What a slot is shown as: by the state of the run that is shown for it, or without one by its own.
pub(super) fn status(run: Option<lifecycle::RunState>, slot: &SlotState) -> SlotStatus {
    match run {
        Some(lifecycle::RunState::Starting { .. }) => SlotStatus::Starting,
        Some(lifecycle::RunState::Online { .. }) => SlotStatus::Online,
        Some(lifecycle::RunState::Draining { .. }) => SlotStatus::Draining,
        None => vacancy(slot),
    }
}

fn vacancy(state: &SlotState) -> SlotStatus {
    match state {
        SlotState::Vacant(Vacancy::Stopped | Vacancy::Removed) => SlotStatus::Stopped,
        SlotState::Vacant(Vacancy::Ended { .. }) => SlotStatus::Exited,
        SlotState::Vacant(Vacancy::Backoff { .. }) => SlotStatus::Backoff,
        SlotState::Vacant(Vacancy::Scheduled) => SlotStatus::Scheduled,
        SlotState::Vacant(Vacancy::Waiting) => SlotStatus::Waiting,
        SlotState::Vacant(Vacancy::GaveUp { .. }) => SlotStatus::GaveUp,
        SlotState::Vacant(Vacancy::Clearing { .. }) => SlotStatus::Draining,
        SlotState::Filled { .. } | SlotState::Replacing { .. } => SlotStatus::Starting,
    }
}

fn listeners(app: &ManagedApp, spec: &AppSpec) -> Vec<Listener> {
    let balance = spec.effective_balance();
    let of_cluster =
        app.addresses.iter().map(|address| Listener { address: address.clone(), balance, slot: None, queue: None });
    let own = app.sockets.list().into_iter().map(|(address, slot, queue)| Listener {
        address,
        balance: if slot.is_some() { balance } else { musher_core::spec::Balance::Shared },
        slot: slot.map(|slot| slot.0),
        queue,
    });
    own.chain(of_cluster).collect()
}

/// What people call the program.
fn program(spec: &AppSpec) -> String {
    let path = spec.exec.script.as_ref().unwrap_or(&spec.exec.program);
    path.display().to_string()
}

fn process_status(pid: Option<Pid>, version: String) -> ProcessStatus {
    let stat = pid.and_then(|pid| ProcessStat::read(pid).ok());
    let uptime = stat.as_ref().map(|stat| since_boot().saturating_sub(stat.started)).unwrap_or_default();
    ProcessStatus {
        pid: pid.and_then(number).unwrap_or(0),
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: stat.map_or(0, |stat| stat.rss_bytes),
        version,
    }
}

fn number(pid: Pid) -> Option<u32> {
    u32::try_from(pid.as_raw()).ok()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
