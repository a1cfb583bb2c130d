//! One app as the driver has it: the decisions, the specs they refer to, and what is known of each process.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use musher_api::{CustomMetric, Death, RunPhase};
use musher_cluster::limits::LastSeen;
use musher_cluster::{Listens, Watching};
use musher_core::compare::Comparison;
use musher_core::lifecycle::{App, OpError, RunState, Slot};
use musher_core::spec::AppSpec;
use musher_core::{AppId, Generation, OpId, RunId, SlotId, Time};
use musher_process::{Pid, exit};

use crate::files::Loaded;

use super::dependencies::Awaited;
use super::fitness::Checks;
use super::gate::Gate;
use super::hooks::HookRecord;
use super::readiness::Watch;
use super::records::{AppRecord, HeldRecord, READABLE_FROM, RunRecord, VERSION};
use super::renewal::Renewal;
use super::retiring::AllRetiring;
use super::scaling::Looks;
use super::sockets::Sockets;
use super::tally::Tally;
use super::timetable::{Times, TimesRecord};
use super::watching::Files;

/// One app.
pub(super) struct ManagedApp {
    pub(super) id: AppId,
    pub(super) name: String,
    /// When it was added, in milliseconds since 1970.
    pub(super) added_ms: u64,
    pub(super) machine: App,
    /// The specs of the generations in use.
    pub(super) specs: BTreeMap<Generation, Arc<AppSpec>>,
    /// The newest generation, in use or withdrawn.
    pub(super) newest: Generation,
    pub(super) runs: BTreeMap<RunId, ManagedRun>,
    pub(super) deaths: BTreeMap<SlotId, Death>,
    /// Node's id for the next cluster worker.
    pub(super) next_worker: u32,
    /// Whether a Node program of this app proved ready by listening.
    pub(super) listens: bool,
    /// Until when somebody wants to see how its workers are.
    pub(super) pulses_until: Option<Time>,
    /// How often its workers tell how they are.
    pub(super) pulses: Option<Duration>,
    /// When its load is looked at next, if its number of slots follows that.
    pub(super) looks: Option<Looks>,
    /// What its schedule does next, while it is wanted, and what is remembered of it.
    pub(super) times: Option<Times>,
    pub(super) times_record: TimesRecord,
    /// What it waits for before it starts.
    pub(super) awaited: Option<Awaited>,
    /// Watches its files, if a change of them replaces its workers.
    pub(super) files: Option<Files>,
    /// What its programs have loaded, if only that counts as a change.
    pub(super) loaded: Loaded,
    /// What is compared while a new version is on trial.
    pub(super) comparison: Option<Comparison>,
    /// The sockets that the driver opened for the spec's `listen`.
    pub(super) sockets: Sockets,
    /// Slots that are scaled away and have a socket.
    pub(super) retiring: AllRetiring,
    /// Whether the cluster thread knows the app.
    pub(super) clustered: bool,
    /// How the cluster's workers listen, by generation, as long as the sockets are open.
    pub(super) cluster_listens: BTreeMap<Generation, Arc<Listens>>,
    /// Ends of operations that are not told yet.
    pub(super) held: Vec<Held>,
    /// Whether the cluster thread is closing the app's listeners.
    pub(super) closing: bool,
    /// Runs that ended and whose last words are not known yet.
    pub(super) stories: BTreeSet<RunId>,
    /// What is counted for its metrics.
    pub(super) tally: Tally,
    /// Addresses that the workers of a cluster listen on.
    pub(super) addresses: BTreeSet<String>,
    /// A command that waits for a hook, or for other apps to end.
    pub(super) gate: Option<Gate>,
    /// Hooks that have not ended.
    pub(super) hooks: Vec<HookRecord>,
    /// How far the replacement of workers without a channel is.
    pub(super) renewal: Renewal,
}

/// The process of a run.
pub(super) struct ManagedRun {
    pub(super) record: RunRecord,
    pub(super) pidfd: OwnedFd,
    /// Whether it has a channel, known to the cluster thread.
    pub(super) has_channel: bool,
    /// Waits for the proof that it is ready.
    pub(super) proof: Option<Watch>,
    /// How it is, by its own word of a moment ago; none when it is not asked.
    pub(super) pulse: Option<musher_core::vitals::Pulse>,
    /// What its program told that it measures.
    pub(super) custom_metrics: BTreeMap<String, CustomMetric>,
    /// What the cluster thread was last told to watch over.
    pub(super) watched: Watching,
    /// What watches it while it is online.
    pub(super) checks: Option<Checks>,
    /// Its memory when it was last looked at.
    pub(super) memory_seen: Arc<LastSeen>,
    /// What it notified that it is about.
    pub(super) phase: Option<RunPhase>,
    /// Waits until it has accepted what waits at a slot that is scaled away.
    pub(super) accepted: Option<Watch>,
    /// Waits for the exit of a process that is not our child.
    pub(super) exit: Option<Watch>,
}

/// The end of an operation that is told when it is true for everybody.
pub(super) struct Held {
    pub(super) op: OpId,
    pub(super) result: Result<(), OpError>,
}

impl ManagedApp {
    /// An app that nothing is known of but what is given.
    pub(super) fn new(id: AppId, name: String, machine: App, added_ms: u64) -> ManagedApp {
        let newest = machine.target();
        ManagedApp {
            id,
            name,
            added_ms,
            machine,
            specs: BTreeMap::new(),
            newest,
            runs: BTreeMap::new(),
            deaths: BTreeMap::new(),
            next_worker: 0,
            listens: false,
            pulses_until: None,
            pulses: None,
            looks: None,
            times: None,
            times_record: TimesRecord::default(),
            awaited: None,
            files: None,
            loaded: Loaded::default(),
            comparison: None,
            sockets: Sockets::default(),
            retiring: AllRetiring::new(),
            clustered: false,
            cluster_listens: BTreeMap::new(),
            held: Vec::new(),
            closing: false,
            stories: BTreeSet::new(),
            tally: Tally::default(),
            addresses: BTreeSet::new(),
            gate: None,
            hooks: Vec::new(),
            renewal: Renewal::default(),
        }
    }

    /// The spec of a generation.
    pub(super) fn spec(&self, generation: Generation) -> Option<&Arc<AppSpec>> {
        self.specs.get(&generation)
    }

    /// The spec that the app is meant to run.
    pub(super) fn target_spec(&self) -> Option<&Arc<AppSpec>> {
        self.specs.get(&self.machine.target()).or_else(|| self.specs.values().next_back())
    }

    /// The run whose process this is.
    pub(super) fn run_of(&self, pid: i32) -> Option<RunId> {
        let (run, _) = self.runs.iter().find(|(_, run)| run.record.pid == Some(pid))?;
        Some(*run)
    }

    /// Whether the end of an operation can be told: the story of the death that it failed of is complete; when nothing
    /// is to run any more, the ports are closed and the last words of all workers are written.
    pub(super) fn is_due(&self, result: &Result<(), OpError>) -> bool {
        match result {
            Ok(()) => !self.closing && (self.machine.is_wanted() || self.stories.is_empty()),
            // One that was not ready in time is still being stopped.
            Err(OpError::Died { run, .. } | OpError::ReloadAborted { run, .. }) => {
                !self.stories.contains(run) && self.machine.run(*run).is_none()
            }
            Err(OpError::CanaryFailed { run, .. }) => run.is_none_or(|run| !self.stories.contains(&run)),
            Err(
                OpError::Ended { .. }
                | OpError::GaveUp { .. }
                | OpError::Superseded { .. }
                | OpError::Busy { .. }
                | OpError::Deleted
                | OpError::NoSlot { .. }
                | OpError::Dependency { .. }
                | OpError::OutOfRange { .. },
            ) => true,
        }
    }

    /// Whether nothing of it runs, or will by itself: its ports are to be closed then.
    pub(super) fn is_down(&self) -> bool {
        self.machine.runs().next().is_none() && self.machine.slots().iter().all(Slot::is_at_rest)
    }

    /// The process id of a run, also of the last one that ended in its slot.
    pub(super) fn pid_of(&self, run: RunId) -> Option<u32> {
        let living = self.runs.get(&run).and_then(ManagedRun::pid).and_then(|pid| u32::try_from(pid.as_raw()).ok());
        living.or_else(|| self.deaths.values().find(|death| death.run == run.0)?.pid)
    }

    /// How often a slot was restarted.
    pub(super) fn restarts_of(&self, slot: SlotId) -> u32 {
        let slot = usize::try_from(slot.0).ok().and_then(|slot| self.machine.slots().get(slot));
        slot.map_or(0, |slot| slot.restarts)
    }

    /// Whether the run waits to be proved ready.
    pub(super) fn is_starting(&self, run: RunId) -> bool {
        match self.machine.run(run).map(|run| run.state) {
            Some(RunState::Starting { .. }) => true,
            Some(RunState::Online { .. } | RunState::Draining { .. }) | None => false,
        }
    }

    /// How the cluster's workers of a generation listen. Its sockets are open.
    pub(super) fn cluster_listens(&mut self, generation: Generation, spec: &AppSpec) -> std::io::Result<Arc<Listens>> {
        if let Some(known) = self.cluster_listens.get(&generation) {
            return Ok(Arc::clone(known));
        }
        let listens = Listens { policy: spec.effective_balance(), inherited: self.sockets.copies(spec)?, own: false };
        let listens = Arc::new(listens);
        self.cluster_listens.insert(generation, Arc::clone(&listens));
        Ok(listens)
    }

    /// Connections of slots with sockets of their own go to those that serve.
    pub(super) fn steer(&self) {
        let online = self.machine.runs().filter(|(_, run)| run.is_online());
        let mut serving: Vec<SlotId> = online.map(|(_, run)| run.slot).collect();
        serving.sort_unstable();
        self.sockets.steer(&serving, |slot| !self.machine.is_retired(slot));
    }

    /// What is written to the keeper.
    pub(super) fn record(&self) -> AppRecord {
        AppRecord {
            version: VERSION,
            readable_from: READABLE_FROM,
            id: self.id,
            name: self.name.clone(),
            added_ms: self.added_ms,
            machine: self.machine.clone(),
            runs: self.runs.iter().map(|(id, run)| (*id, run.record.clone())).collect(),
            deaths: self.deaths.clone(),
            next_worker: self.next_worker,
            listens: self.listens,
            sockets: self.sockets.addresses(),
            orders: self.sockets.orders(),
            newest: self.newest,
            tally: self.tally.clone(),
            hooks: self.hooks.clone(),
            gate: self.gate.clone(),
            times: self.times_record.clone(),
            loaded: self.loaded.clone(),
            held: self.held.iter().map(|held| HeldRecord { op: held.op, result: held.result.clone() }).collect(),
        }
    }
}

impl ManagedRun {
    /// A process of which nothing more is known.
    pub(super) fn new(record: RunRecord, pidfd: OwnedFd, has_channel: bool) -> ManagedRun {
        ManagedRun {
            record,
            pidfd,
            has_channel,
            proof: None,
            pulse: None,
            custom_metrics: BTreeMap::new(),
            watched: Watching::default(),
            checks: None,
            memory_seen: Arc::default(),
            phase: None,
            accepted: None,
            exit: None,
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.record.pid.and_then(Pid::from_raw)
    }

    /// Whether the process has ended, reaped or not.
    pub(super) fn has_ended(&self) -> bool {
        exit::has_ended(self.pidfd.as_fd()).unwrap_or(false)
    }

    /// Sends a signal to the process itself.
    pub(super) fn signal(&self, signal: i32) -> std::io::Result<()> {
        musher_process::signal(self.pidfd.as_fd(), signal)
    }
}
