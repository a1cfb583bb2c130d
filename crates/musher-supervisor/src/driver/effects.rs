//! Doing what was decided.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_api::{EventKind, LogStream};
use musher_cluster::WorkerConfig;
use musher_core::lifecycle::{Effect, Event, Input, OpError};
use musher_core::spec::{AppSpec, Runtime};
use musher_core::{Generation, OpId, RunId, SlotId};
use musher_process::{Child, Pid, SpawnError, Tree};

use crate::control::News;
use crate::logs::Output;

use super::app::{Held, ManagedApp, ManagedRun, Until};
use super::launch::{self, Launch};
use super::operations::explain;
use super::readiness::Proof;
use super::records::{RunRecord, names};
use super::{Wake, World, wall_clock_ms};

/// How long a draining Node worker keeps idle keep-alive connections open, so that a client that is just sending on one
/// is still answered (with `Connection: close`).
const KEEP_ALIVE_GRACE: Duration = Duration::from_millis(1000);

impl World {
    /// Carries out one effect; gives the input that follows at once, if any.
    pub(super) fn carry_out(&mut self, app: &mut ManagedApp, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Spawn { slot, run, generation } => Some(self.spawn(app, slot, run, generation)),
            Effect::Drain { run } => {
                self.ask_to_end(app, run);
                self.cluster.drain(run, KEEP_ALIVE_GRACE);
                None
            }
            Effect::Signal { run, signal } => {
                self.ask_to_end(app, run);
                self.with_tree(app, run, |tree| tree.signal_all(signal).map(|_| ()));
                None
            }
            Effect::Kill { run } => {
                self.ask_to_end(app, run);
                self.with_tree(app, run, |tree| tree.kill_all(Duration::ZERO).map(|_| ()));
                None
            }
            Effect::RetireSlot { slot } => {
                if app.clustered {
                    self.cluster.retire_slot(app.id, slot);
                }
                app.sockets.retire(slot, app.id, &self.link);
                app.deaths.remove(&slot);
                None
            }
            Effect::CloseListeners => {
                app.sockets.close(app.id, &self.link);
                app.addresses.clear();
                if app.clustered {
                    app.closing = true;
                    app.clustered = false;
                    self.cluster.close_app(app.id);
                }
                None
            }
            Effect::Finished { op, result } => {
                self.finish_when_told(app, op, result);
                None
            }
            Effect::Event(event) => {
                self.tell(app, event);
                None
            }
        }
    }

    /// The end of an operation is told when what it says is true for everybody: the ports closed, the story complete.
    fn finish_when_told(&mut self, app: &mut ManagedApp, op: OpId, result: Result<(), OpError>) {
        let until = match &result {
            Ok(()) if app.closing => Some(Until::Closed),
            Err(OpError::Died { run, .. } | OpError::ReloadAborted { run, .. }) if app.stories.contains(run) => {
                Some(Until::Story(*run))
            }
            Ok(()) | Err(_) => None,
        };
        match until {
            Some(until) => {
                app.held.push(Held { op, result, until });
                self.write_app(app);
            }
            None => self.finish(app, op, result),
        }
    }

    /// Ends an operation.
    pub(super) fn finish(&mut self, app: &ManagedApp, op: OpId, result: Result<(), OpError>) {
        let slot = match &result {
            Err(
                OpError::Died { slot, .. }
                | OpError::Ended { slot, .. }
                | OpError::GaveUp { slot, .. }
                | OpError::ReloadAborted { slot, .. },
            ) => Some(*slot),
            Err(OpError::Superseded { .. } | OpError::Busy { .. } | OpError::Deleted | OpError::OutOfRange { .. })
            | Ok(()) => None,
        };
        let death = slot.and_then(|slot| app.deaths.get(&slot).cloned());
        let result = result.map_err(|error| {
            let explained = explain(&error, &app.name);
            let own_port = app.target_spec().is_some_and(|spec| spec.exec.runtime != Runtime::NodeCluster);
            let port_taken = death.as_ref().is_some_and(|death| death.stderr.iter().any(|line| says_port_taken(line)));
            match error {
                OpError::ReloadAborted { .. } if own_port && port_taken => (explained.with_hint(OWN_PORT), death),
                _ => (explained, death),
            }
        });
        let Some(operation) = self.operations.finish(op, result) else { return };
        self.write_home();
        let outcome = match &operation.error {
            None => "done".to_owned(),
            Some(error) => format!("failed: {error}"),
        };
        let detail = format!("{} (operation {op}) {outcome}", operation.kind.word());
        self.events.publish(News::new(EventKind::OperationDone, detail).of_app(&app.name, app.id.0));
    }

    /// Tells the ends that waited for this.
    pub(super) fn release(&mut self, app: &mut ManagedApp, what: Until) {
        let (told, held) = std::mem::take(&mut app.held).into_iter().partition(|held| held.until == what);
        app.held = held;
        for Held { op, result, .. } in told {
            self.finish(app, op, result);
        }
    }

    /// Makes the process of a run.
    fn spawn(&mut self, app: &mut ManagedApp, slot: SlotId, run: RunId, generation: Generation) -> Input {
        let failed = |reason: String| Input::SpawnFailed { run, reason };
        let Some(spec) = app.spec(generation).cloned() else {
            return failed(format!("the description of generation {generation} is lost; start the app again"));
        };
        match self.try_spawn(app, &spec, slot, run) {
            Ok(child) => {
                self.spawned(app, &spec, SpawnedRun { slot, run, generation, child });
                Input::Spawned { run }
            }
            Err(failure) => {
                let reason = failure.reason();
                self.forget_process(app, run);
                self.forget_pipes(run);
                let death = musher_api::Death {
                    run: run.0,
                    slot: slot.0,
                    pid: None,
                    status: format!("could not be started: {reason}"),
                    code: None,
                    signal: None,
                    asked: false,
                    was_ready: false,
                    time_ms: wall_clock_ms(),
                    uptime_ms: 0,
                    memory_bytes: 0,
                    stderr: Vec::new(),
                };
                app.deaths.insert(slot, death);
                failed(reason)
            }
        }
    }

    fn try_spawn(
        &mut self,
        app: &mut ManagedApp,
        spec: &AppSpec,
        slot: SlotId,
        run: RunId,
    ) -> Result<Child, SpawnFailure> {
        let sockets = app.sockets.open(app.id, spec, slot, &self.link).map_err(SpawnFailure::Socket)?;
        if spec.exec.runtime != Runtime::Plain && !app.clustered {
            self.cluster.add_app(app.id, app.cluster_config(spec).map_err(SpawnFailure::Descriptors)?);
            app.clustered = true;
        }
        let plumbing = Plumbing::make(spec.exec.runtime).map_err(SpawnFailure::Descriptors)?;
        self.link.put(&names::run(run, names::RUN_OUT), plumbing.out.0.as_fd());
        self.link.put(&names::run(run, names::RUN_ERR), plumbing.err.0.as_fd());
        let (channel, worker_channel) = plumbing.channel.unzip();
        if let Some(channel) = &channel {
            self.link.put(&names::run(run, names::RUN_CHANNEL), channel.as_fd());
        }
        app.next_worker += 1;
        let marker = launch::marker(run, &self.record.home_id);
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| cgroups.create(&run.to_string()).ok());
        let preload = self.preload.as_ref().filter(|preload| preload.for_all_users || spec.user.is_none());
        let cluster_sockets = spec.exec.runtime == Runtime::NodeCluster;
        let launch = Launch {
            spec,
            slot,
            instances: u32::try_from(app.machine.slots().len()).unwrap_or(u32::MAX),
            marker: &marker,
            notify: &self.notify_address,
            worker_id: app.next_worker,
            preload: preload.map(|preload| preload.path.as_path()),
            open_files: self.open_files,
            out: plumbing.out.1,
            err: plumbing.err.1,
            channel: worker_channel,
            // A cluster's worker asks for them over its channel: `listen({fd: 3})` means the primary's descriptor.
            sockets: if cluster_sockets { Vec::new() } else { sockets },
            cgroup,
        };
        let child = launch.into_spawn().spawn().map_err(SpawnFailure::Spawn)?;
        self.link.put(&names::run(run, names::RUN_PIDFD), child.pidfd.as_fd());
        let pid = child.pid.as_raw();
        for (stream, pipe) in [(LogStream::Out, plumbing.out.0), (LogStream::Err, plumbing.err.0)] {
            self.logs.attach(Output { app: app.id, slot, run, pid, stream, pipe });
        }
        if let Some(channel) = channel {
            let cluster = spec.exec.runtime == Runtime::NodeCluster;
            self.cluster.add_worker(WorkerConfig { app: app.id, slot, run, channel, cluster, adopted: false });
        }
        Ok(child)
    }

    fn spawned(&mut self, app: &mut ManagedApp, spec: &AppSpec, spawned: SpawnedRun) {
        let SpawnedRun { slot, run, generation, child } = spawned;
        let record = RunRecord {
            slot,
            generation,
            pid: Some(child.pid.as_raw()),
            started_ms: wall_clock_ms(),
            was_ready: false,
            asked: false,
        };
        let has_channel = spec.exec.runtime != Runtime::Plain;
        let proof = Proof::of(&spec.ready.when, spec.exec.runtime, app.listens, child.pid);
        let proof = proof.map(|proof| proof.watch(run, self.wakes.clone()));
        self.roots.insert(child.pid);
        app.runs.insert(run, ManagedRun { record, pidfd: child.pidfd, has_channel, proof, exit: None });
        let news = News::new(EventKind::Spawned, format!("spawned as process {}", child.pid));
        self.events.publish(
            news.of_app(&app.name, app.id.0).of_slot(slot.0).of_run(run.0, u32::try_from(child.pid.as_raw()).ok()),
        );
    }

    /// What was made for the process of a run goes; its pipes stay until all of it is written.
    pub(super) fn forget_process(&mut self, app: &mut ManagedApp, run: RunId) {
        if let Some(root) = app.runs.remove(&run).and_then(|run| run.pid()) {
            self.roots.remove(&root);
        }
        self.samples.forget(run);
        for part in [names::RUN_PIDFD, names::RUN_CHANNEL] {
            self.link.remove(&names::run(run, part));
        }
        if let Some(cgroups) = &self.cgroups
            && let Err(error) = cgroups.remove(&run.to_string())
        {
            tracing::debug!(%run, %error, "the run's cgroup stays");
        }
    }

    /// The pipes of a run go.
    pub(super) fn forget_pipes(&self, run: RunId) {
        for part in [names::RUN_OUT, names::RUN_ERR] {
            self.link.remove(&names::run(run, part));
        }
    }

    /// Lets the logs finish with a run that has ended; they wake the driver when they have.
    pub(super) fn detach_logs(&self, run: RunId) {
        let (detached, wakes) = (self.logs.detach(run), self.wakes.clone());
        tokio::spawn(async move {
            let last_words = detached.await.unwrap_or_default().stderr_tail;
            let _ = wakes.send(Wake::LogsDone(run, last_words)).await;
        });
    }

    fn ask_to_end(&mut self, app: &mut ManagedApp, run: RunId) {
        if let Some(run) = app.runs.get_mut(&run) {
            run.record.asked = true;
        }
    }

    /// Does something to every process of a run.
    pub(super) fn with_tree(&self, app: &ManagedApp, run: RunId, act: impl FnOnce(&Tree<'_>) -> std::io::Result<()>) {
        let Some(managed) = app.runs.get(&run) else { return };
        let Some(root) = managed.pid() else { return };
        let marker = launch::marker(run, &self.record.home_id);
        let cgroup = self.cgroups.as_ref().map(|cgroups| cgroups.path(&run.to_string()));
        // Orphans of an adopted run may have fallen to init, if a keeper has died since.
        let init = managed.exit.is_some().then_some(Pid::INIT);
        let reapers: Vec<Pid> = [self.link.keeper_pid(), Some(Pid::own()), init].into_iter().flatten().collect();
        let mut others = self.roots.clone();
        others.remove(&root);
        let tree = Tree {
            root,
            pidfd: managed.pidfd.as_fd(),
            marker: &marker,
            cgroup: cgroup.as_deref(),
            reapers: &reapers,
            others: &others,
        };
        if let Err(error) = act(&tree) {
            tracing::warn!(app = app.name, %run, %error, "a process of the run could not be signalled");
        }
    }

    /// Publishes what was decided.
    fn tell(&self, app: &ManagedApp, event: Event) {
        let about = |slot: SlotId, run: RunId, kind: EventKind, detail: String| {
            let pid = app.runs.get(&run).and_then(ManagedRun::pid).and_then(|pid| u32::try_from(pid.as_raw()).ok());
            Some(News::new(kind, detail).of_slot(slot.0).of_run(run.0, pid))
        };
        let news = match event {
            Event::Starting { .. } | Event::Started { .. } | Event::Recovered { .. } | Event::Deleted => None,
            Event::Online { slot, run, after_ms, .. } => {
                about(slot, run, EventKind::Online, format!("ready after {after_ms} ms"))
            }
            Event::SpawnFailed { slot, run, reason, .. } => about(slot, run, EventKind::SpawnFailed, reason),
            Event::NotReady { slot, run, timeout_ms, .. } => {
                about(slot, run, EventKind::NotReady, format!("not ready within {timeout_ms} ms"))
            }
            Event::Draining { slot, run, .. } => {
                about(slot, run, EventKind::Draining, "takes nothing new and finishes what it has".into())
            }
            Event::Stopping { slot, run, .. } => about(slot, run, EventKind::Signalled, "got the stop signal".into()),
            Event::Killing { slot, run, .. } => {
                about(slot, run, EventKind::Killed, "did not end in its grace and was killed".into())
            }
            Event::Exited { slot, run, outcome, uptime_ms, .. } => {
                about(slot, run, EventKind::Exited, format!("ended with {outcome} after {uptime_ms} ms"))
            }
            Event::Ended { slot, death } => {
                Some(News::new(EventKind::Stopped, format!("{death} and stays down")).of_slot(slot.0))
            }
            Event::Backoff { slot, delay_ms, attempt } => {
                let detail = format!("starts again in {delay_ms} ms (attempt {attempt})");
                Some(News::new(EventKind::Backoff, detail).of_slot(slot.0))
            }
            Event::Giveup { slot, restarts, window_ms, death } => {
                let detail = format!("given up after {restarts} restarts in {} s: {death}", window_ms / 1000);
                Some(News::new(EventKind::Giveup, detail).of_slot(slot.0))
            }
            Event::ReloadStarted { slots, generation } => Some(News::new(
                EventKind::OperationStarted,
                format!("reload of {slots} slots to generation {generation} begins"),
            )),
            Event::ReloadFinished { generation } => {
                Some(News::new(EventKind::Changed, format!("generation {generation} serves")))
            }
            Event::ReloadAborted { slot, run, death, .. } => {
                about(slot, run, EventKind::Changed, format!("reload aborted: {death}; the old workers are kept"))
            }
            Event::Scaled { from, to } => Some(News::new(EventKind::Scaled, format!("from {from} to {to} slots"))),
            Event::Stopped => Some(News::new(EventKind::Stopped, "stopped")),
        };
        if let Some(news) = news {
            self.events.publish(news.of_app(&app.name, app.id.0));
        }
    }
}

/// What to do about a program that cannot run twice at a time.
const OWN_PORT: &str = "the program opens its port by itself, so two of them cannot run at a time, as a reload needs: \
    let musher open the port (`listen` in the process file), or use `musher restart`, which has a gap";

/// Whether a program complains that its port is taken, as libuv or strerror(3) put it.
fn says_port_taken(line: &str) -> bool {
    line.contains("EADDRINUSE") || line.contains("ddress already in use")
}

/// A run that was just spawned.
struct SpawnedRun {
    slot: SlotId,
    run: RunId,
    generation: Generation,
    child: Child,
}

/// The descriptors between a run and us: (ours, the worker's).
struct Plumbing {
    out: (OwnedFd, OwnedFd),
    err: (OwnedFd, OwnedFd),
    channel: Option<(OwnedFd, OwnedFd)>,
}

impl Plumbing {
    fn make(runtime: Runtime) -> std::io::Result<Plumbing> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        use rustix::pipe::{PipeFlags, pipe_with};

        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from);
        let channel = match runtime {
            Runtime::Plain => None,
            Runtime::NodeFork | Runtime::NodeCluster => {
                Some(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
            }
        };
        Ok(Plumbing { out: pipe()?, err: pipe()?, channel })
    }
}

/// Why there is no process.
enum SpawnFailure {
    Descriptors(std::io::Error),
    Socket(super::sockets::SocketError),
    Spawn(SpawnError),
}

impl SpawnFailure {
    fn reason(&self) -> String {
        match self {
            SpawnFailure::Descriptors(error) => format!("no descriptors for it: {error}"),
            SpawnFailure::Socket(error) => error.to_string(),
            SpawnFailure::Spawn(error) => match error.hint() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            },
        }
    }
}
