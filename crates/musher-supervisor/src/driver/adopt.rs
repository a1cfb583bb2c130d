//! Going on where an earlier supervisor was cut off.
//!
//! What the keeper held is read; every run of every record gets its process back, by its pidfd or, if that was lost, by
//! the `MUSHER_RUN` in its environment. A process that did not execute its program, because the supervisor was killed
//! before, counts for nothing. Then the decisions are told what is still there, and say again what may not have been
//! done.
//!
//! A record that cannot be read costs no worker: its processes live on, their output is still taken (into the logs of
//! an app called `unreadable`), their sockets and channels stay with the keeper, and `musher.log` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use musher_api::{EventKind, LogStream};
use musher_cluster::{Bounds, Listens, WorkerConfig};
use musher_core::lifecycle::{Effect, Observation, RunState};
use musher_core::spec::{AppSpec, Logs, Probe, ReadyWhen, Runtime};
use musher_core::{AppId, Generation, RunId, SlotId};
use musher_process::stat::ProcessStat;
use musher_process::{Pid, exit, memfd, pidfd_open, tree};

use crate::control::{Events, News};
use crate::keeper::ExitRecord;
use crate::logs::Output;

use super::app::{ManagedApp, ManagedRun};
use super::birth;
use super::death::{Inquest, Kills};
use super::exits::watch_exit;
use super::gate::Gate;
use super::readiness::Proof;
use super::records::{
    AppRecord, HeldRecord, HomeRecord, READABLE_FROM, RunRecord, VERSION, decode, decode_spec, names,
};
use super::sockets::{Recorded, Sockets};
use super::strays;
use super::wakes::AfterEnd;
use super::{Driver, World, launch, now, wall_clock_ms};

/// How many numbers of operations are left out when the list on the disk is all that there is: it may be older than the
/// last ones.
const FORGOTTEN: u64 = 1000;
/// The largest record that is read.
pub(super) const RECORD_LIMIT: usize = 64 << 20;
/// The app under which the output of runs is logged whose own app's record cannot be read.
const UNREADABLE: (AppId, &str) = (AppId(u32::MAX), "unreadable");

/// Descriptors by their names in the keeper.
pub(super) type Held = BTreeMap<String, OwnedFd>;

/// The home's record, or a new one. One that cannot be read is replaced; its counters then start far ahead.
pub(super) fn home_record(held: &mut Held) -> HomeRecord {
    let ours = |record| HomeRecord { version: VERSION, readable_from: READABLE_FROM, ..record };
    let fresh = || ours(HomeRecord { home_id: new_home_id(), ..HomeRecord::default() });
    let Some(fd) = held.remove(names::HOME) else { return fresh() };
    let record = memfd::read_memfd(fd.as_fd(), RECORD_LIMIT).map_err(Into::into).and_then(|bytes| decode(&bytes));
    match record {
        Ok(record) => ours(record),
        Err(error) => {
            tracing::error!(%error, "the home's record: it is begun anew");
            let ahead = wall_clock_ms() / 1000;
            HomeRecord { next_app: u32::try_from(ahead).unwrap_or(1 << 30), next_operation: ahead, ..fresh() }
        }
    }
}

fn new_home_id() -> String {
    let mut id = [0; 8];
    if rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty()).is_err() {
        id = wall_clock_ms().to_ne_bytes();
    }
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    /// Gives no number again that a process has, or a command was told, of which the list on the disk does not know.
    fn skip_numbers(&mut self) {
        self.record.next_operation += FORGOTTEN;
        let of_strays = self.strays.iter().map(|stray| stray.run().app().0).max().unwrap_or(0);
        self.record.next_app = self.record.next_app.max(of_strays);
    }
}

impl Driver {
    /// A driver that takes over everything that the keeper held.
    pub(super) fn adopt(world: World, mut held: Held) -> Driver {
        let mut driver = Driver { world, apps: BTreeMap::new(), more_ended: false };
        // An app may have been added by a supervisor that was killed before it wrote the home's record.
        let recorded: BTreeSet<AppId> = held.keys().filter_map(|name| record_of(name)).collect();
        let last = recorded.last().map_or(0, |app| app.0);
        driver.world.record.next_app = driver.world.record.next_app.max(last);
        let records = read_apps(&held, &driver.world.events);
        driver.world.strays = strays::take(&mut held, &records, &recorded);
        if driver.world.resumed {
            driver.world.skip_numbers();
        }
        for mut record in records {
            let ends = std::mem::take(&mut record.held);
            let (app, seen) = driver.world.adopt_app(record, &mut held);
            let id = app.id;
            driver.apps.insert(id, app);
            driver.recover(id, &seen);
            driver.tell_held(id, ends);
        }
        driver.resume_commands();
        driver.forget_strays(&mut held, &recorded);
        driver.world.adopt_unreadable(&held);
        driver.end_lost_operations();
        if driver.world.record.shutting_down {
            driver.begin_shutdown(AfterEnd::IsForgotten);
        }
        driver.end_all_strays();
        driver.world.orphaned = driver.apps.values().any(ManagedApp::has_orphans);
        let apps: Vec<AppId> = driver.apps.keys().copied().collect();
        for app in apps {
            driver.renew(app);
            if let Some(app) = driver.apps.get_mut(&app) {
                driver.world.write_pid_files(app);
                driver.world.follow(app);
            }
        }
        driver.world.write_home();
        driver
    }

    /// Tells the decisions what is still there and does what they say.
    fn recover(&mut self, id: AppId, seen: &BTreeMap<RunId, Observation>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let world = &mut self.world;
        let mut effects = Vec::new();
        let chance = &mut world.chance;
        app.machine.recover(now(), &mut || chance.next(), seen, &mut effects);
        app.tally.look_at(app.machine.slots());
        world.write_app(app);
        let mut inputs = world.carry_out_all(app, effects);
        app.machine.carried_out();
        world.tend(app);
        world.retire(app);
        // Killed between the decision to close them and the end of it.
        if app.is_down() && !app.closing && (app.clustered || !app.sockets.is_empty()) {
            inputs.extend(world.carry_out(app, Effect::CloseListeners));
        }
        for input in inputs {
            self.step(id, input);
        }
        self.drop_unused_specs(id);
        self.steer(id);
    }

    /// Starts hooks again that had not ended. Their processes, and those of probes, had nobody to kill them in time.
    fn resume_commands(&mut self) {
        let probes = |spec: &Arc<AppSpec>| matches!(spec.health.liveness, Some(Probe::Exec { .. }));
        if self.apps.values().any(|app| !app.hooks.is_empty() || app.specs.values().any(probes)) {
            self.world.commands.kill_leftovers();
        }
        for app in self.apps.values_mut() {
            self.world.start_hooks(app);
        }
    }

    /// Tells the ends of operations that waited to be told, when their time has come.
    fn tell_held(&mut self, id: AppId, ends: Vec<HeldRecord>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        for HeldRecord { op, result } in ends {
            self.world.finish_when_told(app, op, result);
        }
        self.remove_if_deleted(id);
    }

    /// Lets the keeper forget what no record knows: the supervisor was killed before it could. What belongs to a record
    /// or a spec that cannot be read stays, and so does what belongs to a process that lives.
    fn forget_strays(&mut self, held: &mut Held, recorded: &BTreeSet<AppId>) {
        let lives = |(name, pidfd): (&String, &OwnedFd)| {
            let run = name.ends_with(names::RUN_PIDFD).then(|| run_of(name)).flatten()?;
            exit::has_ended(pidfd.as_fd()).is_ok_and(|ended| !ended).then_some(run)
        };
        let living: BTreeSet<RunId> = held.iter().filter_map(lives).collect();
        held.retain(|name, _| {
            let Some(app) = app_of(name) else { return true };
            let known = self.apps.get(&app).is_some_and(|app| app.target_spec().is_some());
            let stays = !known && recorded.contains(&app)
                || run_of(name).is_some_and(|run| living.contains(&run) || self.find_run(run).is_some());
            if !stays {
                self.world.link.remove(name);
            }
            stays
        });
    }

    /// Lets the keeper forget exits that are none of a run's. The others are needed until they are dealt with.
    pub(super) fn forget_foreign_exits(&mut self, exits: &[ExitRecord]) {
        for exit in exits {
            let newest = self.world.keeper_exits.get(&exit.pid) == Some(exit);
            if newest && self.find_pid(exit.pid).is_some() {
                continue;
            }
            if newest {
                self.world.keeper_exits.remove(&exit.pid);
            }
            self.world.link.forget_exit(exit);
        }
    }

    /// Operations that were written but never reached the decisions were not begun: their askers are told so.
    fn end_lost_operations(&mut self) {
        let mut lost = BTreeSet::new();
        for (op, id) in self.world.operations.unfinished() {
            let app = self.apps.get(&id);
            let pending = app.is_some_and(|app| {
                app.machine.operations().contains(&op)
                    || app.held.iter().any(|held| held.op == op)
                    || app.gate.as_ref().and_then(Gate::op) == Some(op)
            });
            let upgrade = self.world.record.upgrade.as_ref().is_some_and(|upgrade| upgrade.operation == op.0);
            if pending || upgrade {
                continue;
            }
            let error = musher_api::ApiError::unavailable("the supervisor was killed before it could begin this")
                .with_hint("nothing was changed by it; give the command again");
            self.world.operations.finish(op, Err((error, None)));
            lost.insert(op.0);
        }
        // Nothing was begun for these, and nobody got an answer: who asks again means it.
        self.world.record.requests.retain(|request| {
            request.operations.is_empty() || !request.operations.iter().all(|operation| lost.contains(&operation.id))
        });
    }
}

/// The app whose record has this name.
fn record_of(name: &str) -> Option<AppId> {
    name.strip_prefix("app/")?.parse().ok().map(AppId)
}

/// The app to which something belongs that has this name, but for its record.
fn app_of(name: &str) -> Option<AppId> {
    let (kind, rest) = name.split_once('/')?;
    let number = rest.split('/').next()?;
    match kind {
        "run" => number.parse().ok().map(RunId::app),
        "spec" | "socket" | "cluster" | "listen" => number.parse().ok().map(AppId),
        _ => None,
    }
}

/// The records of apps that can be read. Of the others is told.
fn read_apps(held: &Held, events: &Events) -> Vec<AppRecord> {
    let mut records = Vec::new();
    for (name, fd) in held.iter().filter(|(name, _)| name.starts_with("app/")) {
        let bytes = memfd::read_memfd(fd.as_fd(), RECORD_LIMIT);
        match bytes.map_err(Into::into).and_then(|bytes| decode::<AppRecord>(&bytes)) {
            Ok(record) => records.push(record),
            Err(error) => {
                tracing::error!(name, %error, "the record of an app: its workers live on, but are not supervised");
                let detail = format!("the record {name} cannot be used: {error}; its workers are left alone");
                events.publish(News::new(EventKind::Other, detail));
            }
        }
    }
    records
}

impl World {
    fn adopt_app(&mut self, record: AppRecord, held: &mut Held) -> (ManagedApp, BTreeMap<RunId, Observation>) {
        let mut app = ManagedApp::new(record.id, record.name, record.machine, record.added_ms);
        app.newest = record.newest;
        app.deaths = record.deaths;
        app.next_worker = record.next_worker;
        app.listens = record.listens;
        app.tally = record.tally;
        app.hooks = record.hooks;
        app.gate = record.gate;
        app.times_record = record.times;
        app.loaded = record.loaded;
        app.specs = read_specs(app.id, held);
        for stray in self.strays.iter().filter(|stray| stray.run().app() == app.id) {
            app.machine.skip_runs(stray.run());
        }
        let spec = app.target_spec().cloned();
        self.registry.insert(app.id, &app.name, &spec.as_ref().map(|spec| spec.logs.clone()).unwrap_or_default());
        if let Some(spec) = spec {
            let recorded = Recorded { addresses: &record.sockets, orders: &record.orders, on_disk: self.resumed };
            app.sockets = Sockets::restore(app.id, &recorded, &spec, held, &self.link);
            self.restore_cluster(&mut app, held);
        }
        let mut seen = BTreeMap::new();
        let runs: Vec<(RunId, RunRecord)> = app
            .machine
            .runs()
            .map(|(id, run)| {
                let known = record.runs.get(&id).cloned();
                let unknown = || RunRecord {
                    slot: run.slot,
                    generation: run.generation,
                    pid: None,
                    started_ms: wall_clock_ms(),
                    was_ready: false,
                    asked: false,
                    violation: None,
                    uncaught: None,
                    cut: 0,
                    said: None,
                    unfit: None,
                    kills_before: None,
                    custom_actions: Vec::new(),
                };
                (id, known.unwrap_or_else(unknown))
            })
            .collect();
        for (id, record) in runs {
            if self.adopt_run(&mut app, id, record, held) {
                seen.insert(id, Observation::Alive);
            } else if self.resumed {
                seen.insert(id, Observation::Lost);
            }
        }
        if app.clustered {
            self.cluster.adopted(app.id);
        }
        self.log_strays(app.id, held);
        let runs = held.keys().filter_map(|name| run_of(name));
        let ended = runs.filter(|run| run.app() == app.id && !app.runs.contains_key(run));
        for run in ended.collect::<BTreeSet<RunId>>() {
            self.take_last_words(&mut app, run, held);
        }
        (app, seen)
    }

    /// Writes the output of a run that has ended and whose end was seen, but not what it said at last.
    fn take_last_words(&self, app: &mut ManagedApp, run: RunId, held: &mut Held) {
        let death = app.deaths.values().find(|death| death.run == run.0);
        let slot = SlotId(death.map_or(0, |death| death.slot));
        let pid = death.and_then(|death| i32::try_from(death.pid?).ok()).unwrap_or(0);
        if self.attach_outputs(app.id, slot, run, pid, held) {
            app.stories.insert(run);
            let inquest = death.and_then(|death| Inquest::of(death, app.target_spec()?, Kills::default()));
            self.detach_logs(run, inquest);
        }
    }

    /// Gives the outputs of a run to the logs; whether there were any.
    pub(super) fn attach_outputs(&self, app: AppId, slot: SlotId, run: RunId, pid: i32, held: &mut Held) -> bool {
        let mut any = false;
        for (part, stream) in [(names::RUN_OUT, LogStream::Out), (names::RUN_ERR, LogStream::Err)] {
            if let Some(pipe) = held.remove(&names::run(run, part)) {
                self.logs.attach(Output { app, slot, run, pid, stream, pipe });
                any = true;
            }
        }
        any
    }

    fn restore_cluster(&self, app: &mut ManagedApp, held: &mut Held) {
        let saved = held.remove(&format!("cluster/{}", app.id));
        // Workers of an earlier generation may need it though the newest is of another kind.
        let needed = !app.is_down() && app.specs.values().any(|spec| spec.exec.runtime != Runtime::Plain);
        if saved.is_none() && !needed {
            return;
        }
        let saved = match saved.map(|saved| memfd::read_memfd(saved.as_fd(), RECORD_LIMIT)).transpose() {
            Ok(saved) => saved,
            Err(error) => {
                tracing::error!(app = app.name, %error, "the record of the app's listeners cannot be read");
                Some(Vec::new())
            }
        };
        let prefix = format!("listen/{}/", app.id);
        let names: Vec<String> = held.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        let listeners = names.into_iter().filter_map(|name| held.remove_entry(&name)).collect();
        match saved {
            Some(saved) => self.cluster.restore_app(app.id, saved, listeners),
            // None of its workers had asked to listen.
            None => self.cluster.add_app(app.id),
        }
        app.clustered = true;
    }

    /// Gives a run its process back. Whether there is one; it may have ended, which its pidfd then tells.
    fn adopt_run(&mut self, app: &mut ManagedApp, run: RunId, mut record: RunRecord, held: &mut Held) -> bool {
        let marker = launch::marker(run, &self.record.home_id);
        let mut pidfd = held.remove(&names::run(run, names::RUN_PIDFD));
        if record.pid.is_none() {
            // Killed between the put of the pidfd and the writing of the record. A dead process has no number.
            record.pid = pidfd.as_ref().and_then(|pidfd| exit::pid_of(pidfd.as_fd()).ok().flatten()).map(Pid::as_raw);
            let kept = record.pid.and_then(|pid| self.keeper_exits.get(&pid)).map(ExitRecord::status);
            pidfd = pidfd.filter(|pidfd| birth::was_executed(pidfd.as_fd(), record.pid, &marker, kept));
        }
        let pidfd = pidfd.or_else(|| {
            if self.resumed {
                // They were all looked for.
                return None;
            }
            let root = root_of(&tree::find_by_marker(&marker).ok()?)?;
            record.pid = Some(root.as_raw());
            pidfd_open(root).ok()
        });
        let Some(pidfd) = pidfd else {
            self.forget_process(run);
            return false;
        };
        let spec = app.spec(record.generation).or(app.target_spec()).cloned();
        self.link.put(&names::run(run, names::RUN_PIDFD), pidfd.as_fd());
        let pid = record.pid.unwrap_or(0);
        self.attach_outputs(app.id, record.slot, run, pid, held);
        let channel = held.remove(&names::run(run, names::RUN_CHANNEL)).zip(spec.as_deref());
        let has_channel = channel.is_some();
        if let Some((channel, spec)) = channel {
            let cluster = spec.exec.runtime == Runtime::NodeCluster;
            // Without a copy of the app's own sockets it still has what it was given.
            let listens = app.cluster_listens(record.generation, spec).unwrap_or_else(|error| {
                tracing::error!(app = app.name, %error, "the app's own sockets cannot be shared");
                Arc::new(Listens { policy: spec.effective_balance(), inherited: Vec::new(), own: false })
            });
            let (app, slot) = (app.id, record.slot);
            self.cluster.add_worker(WorkerConfig {
                app,
                listens,
                slot,
                run,
                channel,
                cluster,
                advanced: false,
                bounds: Bounds::default(),
                adopted: true,
            });
        }
        let starting = matches!(app.machine.run(run).map(|run| run.state), Some(RunState::Starting { .. }));
        let proof = Pid::from_raw(pid)
            .filter(|_| starting)
            .and_then(|pid| adopted_proof(spec.as_deref()?, app.listens, pid))
            .map(|proof| proof.after(app.machine.run(run).map_or(Duration::ZERO, |run| now().since(run.since))))
            .map(|proof| proof.watch(run, self.wakes.clone()));
        let exit = pidfd.try_clone().ok().map(|pidfd| watch_exit(run, pidfd, self.wakes.clone()));
        let news = News::new(EventKind::Adopted, "found again by a new supervisor").of_app(&app.name, app.id.0);
        self.events.publish(news.of_slot(record.slot.0).of_run(run.0, u32::try_from(pid).ok()));
        self.roots.extend(Pid::from_raw(pid));
        app.runs.insert(run, ManagedRun { proof, exit, ..ManagedRun::new(record, pidfd, has_channel) });
        self.watch_vitals(app, run);
        true
    }

    /// Takes the output of runs whose records cannot be read, so that they do not stand still.
    fn adopt_unreadable(&self, held: &Held) {
        let mut opened = false;
        for (name, fd) in held {
            let Some((run, part)) = name.strip_prefix("run/").and_then(|rest| rest.split_once('/')) else { continue };
            let (Ok(run), Ok(copy)) = (run.parse().map(RunId), fd.try_clone()) else { continue };
            let stream = match part {
                names::RUN_OUT => LogStream::Out,
                names::RUN_ERR => LogStream::Err,
                _ => continue,
            };
            if !opened {
                self.registry.insert(UNREADABLE.0, UNREADABLE.1, &Logs::default());
                opened = true;
            }
            let (app, slot) = (UNREADABLE.0, SlotId(0));
            self.logs.attach(Output { app, slot, run, pid: 0, stream, pipe: copy });
        }
    }
}

/// The run to which something belongs that has this name.
pub(super) fn run_of(name: &str) -> Option<RunId> {
    name.strip_prefix("run/")?.split('/').next()?.parse().ok().map(RunId)
}

fn read_specs(app: AppId, held: &mut Held) -> BTreeMap<Generation, Arc<AppSpec>> {
    let prefix = format!("spec/{app}/");
    let names: Vec<String> = held.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
    let mut specs = BTreeMap::new();
    for name in names {
        let generation = name.strip_prefix(&prefix).and_then(|generation| generation.parse().ok().map(Generation));
        let (Some(generation), Some(fd)) = (generation, held.remove(&name)) else { continue };
        let bytes = memfd::read_memfd(fd.as_fd(), RECORD_LIMIT);
        match bytes
            .map_err(|error| error.to_string())
            .and_then(|bytes| decode_spec(&bytes).map_err(|error| error.to_string()))
        {
            Ok(spec) => drop(specs.insert(generation, Arc::new(spec))),
            Err(error) => tracing::error!(name, error, "the description of an app cannot be read"),
        }
    }
    specs
}

/// The first process among those with a run's marker: the one whose parent is none of them.
pub(super) fn root_of(pids: &[Pid]) -> Option<Pid> {
    let parent = |pid: &Pid| ProcessStat::read(*pid).ok().and_then(|stat| stat.parent);
    pids.iter().copied().find(|pid| parent(pid).is_none_or(|parent| !pids.contains(&parent)))
}

/// What proves that an adopted run is ready: its own proof may have come while nobody listened, so that a worker that
/// is seen to listen is ready, and one of unknown habits when it has lived for a while.
fn adopted_proof(spec: &AppSpec, listens: bool, pid: Pid) -> Option<Proof> {
    match (&spec.ready.when, spec.exec.runtime) {
        (ReadyWhen::Listening, _) => Some(Proof::TreeListens(pid)),
        (ReadyWhen::Auto, Runtime::NodeCluster) if listens => Some(Proof::TreeListens(pid)),
        (when, runtime) => Proof::of(when, runtime, listens, pid),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use musher_core::lifecycle::{App, Policy, Target};
    use musher_core::{AppId, Generation};
    use musher_process::memfd::memfd_with;

    use super::{Held, home_record, read_apps};
    use crate::control::Events;
    use crate::driver::app::ManagedApp;
    use crate::driver::records::names;

    fn record(id: AppId) -> serde_json::Value {
        let target = Target { generation: Generation(1), policy: Policy::default() };
        let app = ManagedApp::new(id, format!("app {id}"), App::new(id, 2, target), 0);
        serde_json::to_value(app.record()).unwrap()
    }

    fn held(records: &[(&str, Vec<u8>)]) -> Held {
        records.iter().map(|(name, bytes)| ((*name).to_owned(), memfd_with(name, bytes).unwrap())).collect()
    }

    #[tokio::test]
    async fn records_that_cannot_be_read_are_told_and_left_alone() {
        let mut newer = record(AppId(3));
        newer["version"] = 99.into();
        newer["readable_from"] = 98.into();
        let held = held(&[
            ("app/1", record(AppId(1)).to_string().into_bytes()),
            ("app/2", b"{\"version\":1,\"id\":".to_vec()),
            ("app/3", newer.to_string().into_bytes()),
            ("run/7/pidfd", b"not a record".to_vec()),
        ]);
        let events = Events::new();
        let mut told = events.subscribe(None);
        let read: Vec<AppId> = read_apps(&held, &events).into_iter().map(|record| record.id).collect();
        assert_eq!(read, [AppId(1)]);
        let told = told.next().await.unwrap();
        assert_eq!(told.len(), 2);
        assert!(told[0].detail.contains("app/2"), "{told:?}");
        assert!(told[1].detail.contains("version 99"), "{told:?}");
        assert_eq!(held.len(), 4);
    }

    #[test]
    fn a_record_of_the_next_version_with_more_fields_is_read() {
        let mut more = record(AppId(1));
        more["version"] = (super::VERSION + 1).into();
        more["a_field_of_the_future"] = serde_json::json!({"x": 1});
        let held = held(&[("app/1", more.to_string().into_bytes())]);
        assert_eq!(read_apps(&held, &Events::new()).len(), 1);
    }

    #[test]
    fn a_record_of_the_version_before_without_the_newer_fields_is_read() {
        let mut less = record(AppId(1));
        for field in ["readable_from", "deaths", "next_worker", "listens", "sockets", "orders", "held"] {
            less.as_object_mut().unwrap().remove(field);
        }
        let held = held(&[("app/1", less.to_string().into_bytes())]);
        assert_eq!(read_apps(&held, &Events::new()).len(), 1);
    }

    #[test]
    fn numbers_of_a_home_whose_record_is_lost_start_far_ahead() {
        let record = home_record(&mut held(&[(names::HOME, b"garbage".to_vec())]));
        assert!(record.next_app > 1_000_000 && record.next_operation > 1_000_000);
        assert_eq!(home_record(&mut BTreeMap::new()).next_app, 0);
    }
}
