//! All workers of a primary, and how what happens changes them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use musher_core::Time;
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::lifecycle::Input;
use musher_core::spec::Limits;
use musher_process::channel::Channel;
use musher_process::ipc::{Handle, HandleKind, Serialization};
use musher_process::{ExitStatus, exit, net};

use super::event::{Address, Event, Told};
use super::keeping::Kept;
use super::member::{Worker, WorkerState};
use super::settings::Settings;
use super::{Shared, now};
use crate::cluster::{Cluster, WorkerConfig};
use crate::event::ClusterEvent;
use crate::handle::Passed;
use crate::serving::Message;

/// The only app of a primary: all its workers share listeners.
pub(super) const APP: AppId = AppId(1);
/// The runs of workers that are forked by hand have numbers of their own.
const BY_HAND: AppId = AppId(0);
/// How long the listeners of a primary whose last worker died are kept for the next one.
const HELD: std::time::Duration = std::time::Duration::from_secs(5);
/// What the cluster's thread may take to close them.
const CLOSES_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Their slots lie behind those of a team.
const FIRST_SLOT: u32 = musher_core::spec::MAX_INSTANCES;

/// The workers.
pub(super) struct Table {
    state: Mutex<State>,
}

pub(super) struct State {
    settings: Arc<Settings>,
    last_id: u32,
    last_run: u64,
    workers: BTreeMap<u32, Worker>,
    pub(super) runs: HashMap<RunId, Worker>,
    pub(super) kept: Option<Kept>,
    /// No worker is left; until then one may come for what waits at the listeners.
    held_until: Option<Time>,
    events: VecDeque<Event>,
}

impl Table {
    pub(super) fn new(cluster: &Cluster, settings: Settings) -> Table {
        cluster.add_app(APP);
        let settings = Arc::new(settings);
        Table {
            state: Mutex::new(State {
                settings: Arc::clone(&settings),
                last_id: 0,
                last_run: 0,
                workers: BTreeMap::new(),
                runs: HashMap::new(),
                kept: None,
                held_until: None,
                events: VecDeque::from([Event::Setup(settings)]),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn setup(&self, settings: Settings) {
        let mut state = self.lock();
        state.settings = Arc::new(settings);
        let settings = Arc::clone(&state.settings);
        state.push(Event::Setup(settings));
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock().settings)
    }

    /// Those that Node's `cluster.workers` has.
    pub(super) fn workers(&self) -> BTreeMap<u32, Worker> {
        let state = self.lock();
        let leaves = |worker: &Worker| worker.exited_after_disconnect() == Some(true);
        state.workers.iter().filter(|(_, worker)| !leaves(worker)).map(|(id, worker)| (*id, worker.clone())).collect()
    }

    /// Those that messages reach.
    pub(super) fn connected(&self) -> Vec<Worker> {
        self.lock().workers.values().filter(|worker| worker.is_connected()).cloned().collect()
    }

    pub(super) fn next_event(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let state = self.lock();
        state.kept.as_ref().and_then(Kept::next_deadline).into_iter().chain(state.held_until).min()
    }

    pub(super) fn fork(&self, shared: &Shared, env: &BTreeMap<OsString, OsString>) -> io::Result<Worker> {
        let mut state = self.lock();
        state.last_run += 1;
        let run = RunId::of(BY_HAND, state.last_run);
        let slot = state.free_slot();
        let settings = Arc::clone(&state.settings);
        let worker = state.spawn(shared, &settings, (run, slot), (env, &Limits::default()))?;
        shared.wake.notify_one();
        Ok(worker)
    }

    /// The cluster tells something of a worker.
    pub(super) fn heard(&self, shared: &Shared, event: ClusterEvent) {
        let mut state = self.lock();
        match event {
            ClusterEvent::Online { run } => state.about(run, |worker, state| {
                worker.reach(WorkerState::Online);
                state.push(Event::Online(worker.clone()));
                state.proved(shared, run, Proof::Online);
            }),
            ClusterEvent::Listening { run, address, told } => state.about(run, |worker, state| {
                let told = Told::from(*told);
                let address = Address::parse(address);
                worker.life().addresses.push(address.clone());
                worker.reach(WorkerState::Listening);
                state.push(Event::Listening { worker: worker.clone(), address, told });
                state.proved(shared, run, Proof::Listening);
            }),
            ClusterEvent::Ready { run } => state.about(run, |worker, state| {
                state.message(worker, Message { value: "ready".into(), v8: None, handle: None });
                state.proved(shared, run, Proof::Message);
            }),
            ClusterEvent::Message { run, value, v8, handle } => {
                let message = Message { value, v8: v8.map(|v8| *v8), handle: handle.map(received) };
                state.about(run, |worker, state| state.message(worker, message));
            }
            ClusterEvent::Internal { run, value, handle } => state.about(run, |worker, state| {
                state.push(Event::Internal { worker: worker.clone(), value, handle: handle.map(received) });
            }),
            ClusterEvent::Leaving { run } => {
                state.about(run, |worker, _| worker.life().leaves());
            }
            ClusterEvent::Disconnected { run } => state.about(run, |worker, state| state.disconnected(shared, worker)),
            ClusterEvent::Drained { run } => state.step(shared, Input::Drained { run }),
            ClusterEvent::Violation { run, reason } => state.about(run, |worker, state| {
                tracing::error!(worker = worker.id(), %reason, "a worker that breaks the protocol is killed");
                // It may be dead already.
                let _ = worker.kill(9);
                state.disconnected(shared, worker);
            }),
            ClusterEvent::TooLong { run, bytes } => {
                state.about(run, |worker, _| {
                    tracing::warn!(worker = worker.id(), bytes, "a message is too long and was dropped");
                });
            }
            ClusterEvent::BindFailed { run, address, errno } => state.about(run, |worker, _| {
                let error = io::Error::from_raw_os_error(errno);
                tracing::debug!(worker = worker.id(), address, %error, "a worker cannot listen");
            }),
            ClusterEvent::Uncaught { run, stack, drains } => state.about(run, |worker, state| {
                worker.life().failed = true;
                state.push(Event::Uncaught { worker: worker.clone(), stack });
                if drains {
                    state.step(shared, Input::Failing { run });
                }
            }),
            ClusterEvent::Cut { run, count } => state.about(run, |worker, _| {
                tracing::warn!(worker = worker.id(), count, "connections were closed: the drain's limit was reached");
            }),
            ClusterEvent::Pulse { run, pulse } => state.pulse(shared, run, *pulse),
            ClusterEvent::Stuck { .. } | ClusterEvent::Freed { .. } | ClusterEvent::Closed { .. } => {}
        }
    }

    /// A process has ended.
    pub(super) fn exited(&self, shared: &Shared, run: RunId, status: ExitStatus) {
        let mut state = self.lock();
        state.about(run, |worker, state| {
            // What a worker of a team leaves is gone when its end is told.
            if worker.0.slot.0 < FIRST_SLOT && !std::mem::replace(&mut worker.life().cleared, true) {
                return shared.clear(run, status, state.traces(worker));
            }
            worker.life().exit = Some(status);
            // What it still wrote is read, and the end of its channel told, before its end is.
            shared.cluster.remove_worker(run);
            if !worker.is_connected() {
                state.ended(shared, worker);
            }
        });
    }

    /// A worker of the team exceeds a limit.
    pub(super) fn unfit(&self, shared: &Shared, run: RunId, reason: String) {
        self.lock().step(shared, Input::Unfit { run, reason });
    }

    /// Time has passed.
    pub(super) fn tick(&self, shared: &Shared) {
        let mut state = self.lock();
        if state.held_until.is_some_and(|until| until <= now()) {
            state.close_listeners(shared);
        }
        state.step(shared, Input::Tick);
    }
}

/// What shows that a worker is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Online,
    Listening,
    Message,
}

impl State {
    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    fn about(&mut self, run: RunId, act: impl FnOnce(&Worker, &mut State)) {
        if let Some(worker) = self.runs.get(&run).cloned() {
            act(&worker, self);
        }
    }

    /// The lowest that no worker has: a successor takes what waits at the socket of one that died.
    fn free_slot(&self) -> SlotId {
        let taken = |slot: &u32| self.runs.values().any(|worker| worker.0.slot.0 == *slot);
        let free = (FIRST_SLOT..u32::MAX).find(|slot| !taken(slot));
        SlotId(free.unwrap_or(u32::MAX))
    }

    /// Starts a worker. Nobody else may have the table meanwhile: its end could be told before its beginning.
    pub(super) fn spawn(
        &mut self,
        shared: &Shared,
        settings: &Settings,
        (run, slot): (RunId, SlotId),
        (env, limits): (&BTreeMap<OsString, OsString>, &Limits),
    ) -> io::Result<Worker> {
        let id = self.last_id + 1;
        let (channel, childs) = Channel::pair()?;
        let spawned = settings.spawn((id, slot), (env, limits), childs)?;
        let (pid, pidfd) = (spawned.child.pid, spawned.child.pidfd);
        match pidfd.try_clone() {
            Ok(copy) => shared.await_exit(run, copy),
            Err(error) => {
                end(&pidfd);
                return Err(error);
            }
        }
        self.last_id = id;
        let of_process = (pid, pidfd, settings.exec_path.clone(), spawned.command);
        let worker = Worker::new((id, run, slot), shared.cluster.clone(), of_process, spawned.pipes);
        self.held_until = None;
        shared.cluster.add_worker(WorkerConfig {
            app: APP,
            listens: Arc::clone(&settings.listens),
            slot,
            run,
            channel: channel.into_socket(),
            cluster: true,
            advanced: settings.serialization == Serialization::Advanced,
            bounds: settings.bounds(),
            adopted: false,
        });
        self.workers.insert(id, worker.clone());
        self.runs.insert(run, worker.clone());
        self.push(Event::Fork(worker.clone()));
        Ok(worker)
    }

    fn message(&mut self, worker: &Worker, message: Message) {
        worker.0.hearing.hear(message.clone());
        let Message { value, v8, handle } = message;
        self.push(Event::Message { worker: worker.clone(), value, v8, handle });
    }

    /// A worker's channel has ended.
    fn disconnected(&mut self, shared: &Shared, worker: &Worker) {
        {
            let mut life = worker.life();
            if !std::mem::take(&mut life.connected) {
                return;
            }
            life.exited_after_disconnect.get_or_insert(false);
            life.addresses.clear();
        }
        worker.0.hearing.end();
        let is_dead = worker.life().exit.is_some();
        if is_dead {
            self.forget(worker);
        }
        self.push(Event::Disconnect(worker.clone()));
        if is_dead {
            self.ended(shared, worker);
        } else if worker.exited_after_disconnect() == Some(true) {
            self.left(shared, true);
        }
        worker.reach(WorkerState::Disconnected);
    }

    /// A worker's process and its channel have ended.
    fn ended(&mut self, shared: &Shared, worker: &Worker) {
        let Some(status) = worker.life().exit else { return };
        self.forget(worker);
        let (run, slot) = (worker.0.run, worker.0.slot);
        self.runs.remove(&run);
        self.push(Event::Exit { worker: worker.clone(), status });
        let wanted = worker.exited_after_disconnect() == Some(true);
        if slot.0 >= FIRST_SLOT && wanted && !self.runs.values().any(|other| other.0.slot == slot) {
            shared.cluster.retire_slot(APP, slot);
        }
        self.left(shared, wanted || status.is_success());
        worker.reach(WorkerState::Dead);
        self.step(shared, Input::Exited { run, outcome: super::keeping::outcome(status) });
    }

    /// A worker is not there any more. With the last one the listeners are closed, as in Node; one that died may have a
    /// successor, whom clients wait for.
    fn left(&mut self, shared: &Shared, well: bool) {
        if self.kept.is_some() || self.runs.values().any(Worker::is_connected) {
            return;
        }
        if well {
            self.close_listeners(shared);
        } else if self.held_until.is_none() {
            self.held_until = Some(now() + HELD);
        }
    }

    /// Waits for it: where a worker's end is told, its address is free. The cluster's thread never waits for us, and takes a
    /// moment.
    pub(super) fn close_listeners(&mut self, shared: &Shared) {
        self.held_until = None;
        shared.cluster.close_app(APP);
        let (closed, closes) = std::sync::mpsc::sync_channel(1);
        shared.cluster.stats(APP, move |_| closed.try_send(()).unwrap_or_default());
        shared.cluster.add_app(APP);
        if closes.recv_timeout(CLOSES_WITHIN).is_err() {
            tracing::warn!("the listeners are not closed yet");
        }
    }

    fn forget(&mut self, worker: &Worker) {
        if !std::mem::replace(&mut worker.life().forgotten, true) {
            self.workers.remove(&worker.id());
        }
    }
}

/// What it is, by its own word.
fn received(socket: Passed) -> Handle {
    let is_udp = net::kind(&socket).is_ok_and(|kind| kind == net::Kind::Udp);
    let kind = match (is_udp, socket.listens()) {
        (true, _) => HandleKind::DgramSocket,
        (false, true) => HandleKind::NetServer,
        (false, false) => HandleKind::NetSocket,
    };
    Handle::shared(kind, Arc::clone(socket.socket()))
}

/// Ends a process that nobody could follow.
fn end(pidfd: &OwnedFd) {
    let _ = exit::signal(pidfd.as_fd(), 9);
    if exit::wait_for_end(pidfd.as_fd(), std::time::Duration::from_secs(1)).is_ok_and(|ended| ended) {
        let _ = exit::reap(pidfd.as_fd());
    }
}
