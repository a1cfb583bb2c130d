//! From a decision to a process, and what is let go of when the process is gone.
//!
//! The descriptors of a run are with the keeper before its process exists, and its pidfd before the process executes the
//! program. So none ever does anything that a later supervisor would not find.

use std::os::fd::{AsFd, OwnedFd};

use musher_api::{EventKind, LogStream};
use musher_cluster::{Bounds, WorkerConfig};
use musher_core::lifecycle::Input;
use musher_core::spec::{AppSpec, Runtime};
use musher_core::{Generation, RunId, SlotId};
use musher_process::postmortem::MemoryGroup;
use musher_process::{Child, SpawnError, foreign};

use crate::control::News;
use crate::logs::Output;

use super::app::{ManagedApp, ManagedRun};
use super::launch::{self, Launch};
use super::readiness::Proof;
use super::records::{RunRecord, names};
use super::{Preload, World, wall_clock_ms};

/// How many descriptors of a run are held at most: two pipes, the channel, the pidfd, and a socket of its slot.
const OF_A_RUN: usize = 5;

impl World {
    /// Makes the process of a run.
    pub(super) fn spawn(&mut self, app: &mut ManagedApp, slot: SlotId, run: RunId, generation: Generation) -> Input {
        let failed = |reason: String| Input::SpawnFailed { run, reason };
        let Some(spec) = app.spec(generation).cloned() else {
            return failed(format!("the description of generation {generation} is lost; start the app again"));
        };
        match self.try_spawn(app, (generation, &spec), (slot, run)) {
            Ok(child) => {
                self.spawned(app, &spec, SpawnedRun { slot, run, generation, child });
                Input::Spawned { run }
            }
            Err(failure) => {
                let reason = failure.reason();
                self.forget_process(run);
                self.forget_pipes(run);
                let death = musher_api::Death {
                    run: run.0,
                    slot: slot.0,
                    pid: None,
                    status: format!("could not be started: {reason}"),
                    time_ms: wall_clock_ms(),
                    restarts: app.restarts_of(slot),
                    ..musher_api::Death::default()
                };
                app.deaths.insert(slot, death);
                failed(reason)
            }
        }
    }

    fn try_spawn(
        &mut self,
        app: &mut ManagedApp,
        (generation, spec): (Generation, &AppSpec),
        (slot, run): (SlotId, RunId),
    ) -> Result<Child, SpawnFailure> {
        if !self.link.has_room_for(OF_A_RUN) {
            return Err(SpawnFailure::NoRoom);
        }
        let (sockets, opened) = app.sockets.open(app.id, spec, slot, &self.link).map_err(SpawnFailure::Socket)?;
        if opened {
            // The place of a socket in its group can be told only as long as it is the last.
            self.write_app(app);
        }
        if spec.exec.runtime != Runtime::Plain && !app.clustered {
            self.cluster.add_app(app.id);
            app.clustered = true;
        }
        let plumbing = Plumbing::make(spec.exec.runtime).map_err(SpawnFailure::Descriptors)?;
        let listens = plumbing.channel.as_ref().map(|_| app.cluster_listens(generation, spec));
        let listens = listens.transpose().map_err(SpawnFailure::Descriptors)?;
        self.link.put(&names::run(run, names::RUN_OUT), plumbing.out.0.as_fd());
        self.link.put(&names::run(run, names::RUN_ERR), plumbing.err.0.as_fd());
        let (channel, worker_channel) = plumbing.channel.unzip();
        if let Some(channel) = &channel {
            self.link.put(&names::run(run, names::RUN_CHANNEL), channel.as_fd());
        }
        app.next_worker += 1;
        let marker = launch::marker(run, &self.record.home_id);
        let cgroup = self.cgroups.as_ref().and_then(|cgroups| cgroups.create(&run.to_string()).ok());
        let preload = self.preload.as_ref().filter(|preload| preload.suits(spec, &self.link));
        let preload = preload.map(Preload::path);
        let cluster_sockets = spec.exec.runtime == Runtime::NodeCluster;
        let launch = Launch {
            spec,
            slot,
            instances: app.machine.size(),
            marker: &marker,
            notify: &self.notify_address,
            worker_id: app.next_worker,
            preload: preload.as_deref(),
            open_files: self.open_files,
            input: plumbing.input,
            out: plumbing.out.1,
            err: plumbing.err.1,
            channel: worker_channel,
            // A cluster's worker asks for them over its channel: `listen({fd: 3})` means the primary's descriptor.
            sockets: if cluster_sockets { Vec::new() } else { sockets },
            cgroup,
        };
        let known = |child: &Child| self.link.put(&names::run(run, names::RUN_PIDFD), child.pidfd.as_fd());
        let child = launch.into_spawn().spawn_known(known).map_err(SpawnFailure::Spawn)?;
        let pid = child.pid.as_raw();
        for (stream, pipe) in [(LogStream::Out, plumbing.out.0), (LogStream::Err, plumbing.err.0)] {
            self.logs.attach(Output { app: app.id, slot, run, pid, stream, pipe });
        }
        if let Some((channel, listens)) = channel.zip(listens) {
            let cluster = spec.exec.runtime == Runtime::NodeCluster;
            self.cluster.add_worker(WorkerConfig {
                app: app.id,
                listens,
                slot,
                run,
                channel,
                cluster,
                advanced: false,
                bounds: Bounds::default(),
                adopted: false,
            });
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
            violation: None,
            uncaught: None,
            cut: 0,
            said: None,
            unfit: None,
            kills_before: self.memory_group.as_ref().and_then(MemoryGroup::kills),
            custom_actions: Vec::new(),
        };
        let has_channel = spec.exec.runtime != Runtime::Plain;
        let proof = Proof::of(&spec.ready.when, spec.exec.runtime, app.listens, child.pid);
        let proof = proof.map(|proof| proof.watch(run, self.wakes.clone()));
        self.roots.insert(child.pid);
        if let Some(path) = spec.pid_file_of(slot) {
            self.pid_files.write(path, child.pid.as_raw());
        }
        app.runs.insert(run, ManagedRun { proof, ..ManagedRun::new(record, child.pidfd, has_channel) });
        let news = News::new(EventKind::Spawned, format!("spawned as process {}", child.pid));
        self.events.publish(
            news.of_app(&app.name, app.id.0).of_slot(slot.0).of_run(run.0, u32::try_from(child.pid.as_raw()).ok()),
        );
    }

    /// What was made for the process of a run goes; its pipes stay until all of it is written.
    pub(super) fn forget_process(&mut self, run: RunId) {
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
    /// Ours is opened when somebody writes ([`super::input`]).
    input: OwnedFd,
    channel: Option<(OwnedFd, OwnedFd)>,
}

impl Plumbing {
    fn make(runtime: Runtime) -> std::io::Result<Plumbing> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
        use rustix::pipe::{PipeFlags, pipe_with};

        // The worker's end reads as well: with supervisor and keeper dead, a worker that writes must not be ended for it.
        let pipe = || -> std::io::Result<(OwnedFd, OwnedFd)> {
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            let both_ways = foreign::writing_end_that_reads(&theirs);
            Ok((ours, both_ways.unwrap_or(theirs)))
        };
        let channel = match runtime {
            Runtime::Plain => None,
            Runtime::NodeFork | Runtime::NodeCluster => {
                Some(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
            }
        };
        Ok(Plumbing { out: pipe()?, err: pipe()?, input: super::input::pipe()?, channel })
    }
}

/// Why there is no process.
enum SpawnFailure {
    /// No later supervisor could take it over.
    NoRoom,
    Descriptors(std::io::Error),
    Socket(super::sockets::SocketError),
    Spawn(SpawnError),
}

impl SpawnFailure {
    fn reason(&self) -> String {
        match self {
            SpawnFailure::NoRoom => String::from(
                "musher may not open enough files to hold one more worker; raise the hard limit (`ulimit -Hn`, or \
                 LimitNOFILE= of a unit) before the daemon is started",
            ),
            SpawnFailure::Descriptors(error) => format!("no descriptors for it: {error}"),
            SpawnFailure::Socket(error) => error.to_string(),
            SpawnFailure::Spawn(error) => match error.hint() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            },
        }
    }
}
