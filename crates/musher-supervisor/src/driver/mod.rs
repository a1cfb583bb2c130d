//! The driver: it turns the world into inputs of the decisions, and carries out the effects that come back.
//!
//! One task owns every app. Whatever can happen is a [`Wake`] (or a [`Request`] of the control server); each is handled
//! to its end before the next, and none of it waits for anything slow: processes are watched, probes and logs work
//! beside it and wake it.
//!
//! # Order of writing and acting
//!
//! After each decision the app's record goes to the keeper, then the effects are carried out. Descriptors of a run are
//! put before its process exists, the pidfd before the process executes the program. So a supervisor that is killed
//! between any two steps leaves a record from which [`adopt`] goes on.
//!
//! # Where things are
//!
//! [`app`]: an app and its processes. [`effects`]: doing what was decided. [`spawning`]: making processes, [`births`]:
//! many of them. [`trees`]: ending all of a run's. [`exits`]: processes that end. [`death`]: how they did. [`commands`], [`hooks`]: what users want to be run then. [`fitness`],
//! [`messages`], [`custom`], [`input`]: what users and workers say to each other.
//! [`liveness`]: what watches runs that serve. [`notify`]: what they notify. [`unfit`]: runs that have to go.
//! [`canary`]: new versions on trial. [`scaling`]: following load.
//! [`news`]: telling what was decided. [`requests`]: what users ask. [`views`]: what users see. [`plan`]: what a start
//! changes. [`operations`]: how far commands are.
//! [`upgrade`]: becoming another executable. [`launch`], [`sockets`], [`readiness`], [`sample`]: one concern of a worker each. [`records`]: what is written.
//! [`group`]: sockets of slots. [`retiring`]: slots that are scaled away.
//! [`foreground`]: a team in the foreground. [`resume`], [`renewal`]: beginning with the list on the disk. [`saving`]: saving and resurrecting. [`boot`]: how it
//! begins. [`birth`]: whether a process became its program. [`vitals`]: how workers are. [`figures`], [`tally`]: what metrics are made of. [`wakes`]: what happens.
//! [`watching`]: files whose change replaces workers. [`timetable`]: what is done at certain times. [`dependencies`]: apps
//! that need others. [`gate`]: commands that wait for hooks and for those. [`registry`]: logs for the control server.
//! [`pid_files`]: pids for other programs.

mod adopt;
mod app;
mod birth;
mod births;
mod boot;
mod canary;
mod commands;
mod custom;
mod death;
mod dependencies;
mod effects;
mod exits;
mod figures;
mod fitness;
mod foreground;
mod gate;
mod group;
mod hooks;
mod input;
mod launch;
mod liveness;
mod messages;
mod news;
mod notify;
mod operations;
mod pid_files;
mod plan;
mod preload;
mod readiness;
mod records;
mod registry;
mod renewal;
mod requests;
mod resume;
mod retiring;
mod sample;
mod saving;
mod scaling;
mod singles;
mod sockets;
mod spawning;
mod strays;
mod tally;
#[cfg(test)]
mod tests;
mod timetable;
mod trees;
mod unfit;
mod upgrade;
mod views;
mod vitals;
mod wakes;
mod watching;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use musher_api::EventKind;
use musher_cluster::{Cluster, ClusterEvent};
use musher_core::lifecycle::Input;
use musher_core::{AppId, OpId, RunId, SlotId, Time};
use musher_process::cgroup::Cgroups;
use musher_process::notify::NotifySocket;
use musher_process::postmortem::MemoryGroup;
use musher_process::{Look, Pid, Rlimit, inherit, own};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::clock::now;
use crate::control::{Events, News, Requests};
use crate::home::Home;
use crate::keeper::ExitRecord;
use crate::link::KeeperLink;
use crate::logs::LogHandle;
use crate::takeover::{Refusal, Successor};
use crate::team::Order;

pub(crate) use self::boot::supervise;
#[cfg(test)]
pub(crate) use self::figures::WorkerFigures;
pub(crate) use self::figures::{AppFigures, Figures, SlotFigures};
pub(crate) use self::records::can_read;
pub(crate) use self::sample::descendants;

use self::app::ManagedApp;
use self::births::Births;
use self::commands::{Commands, Outcome};
use self::death::LastWords;
use self::foreground::{InForeground, Step};
use self::gate::Gate;
use self::operations::Operations;
use self::preload::Preload;
use self::records::{HomeRecord, names};
use self::registry::LogRegistry;
use self::sample::Samples;
use self::saving::Resurrection;
use self::strays::Stray;
use self::timetable::Alarm;

/// Set for a daemon that is started at boot: without a list of its own it begins with the saved one.
const BOOTED: &str = "MUSHER_AT_BOOT";
/// How many wakes may wait.
const WAKES: usize = 1024;
/// How long the disk is waited for that events go to, before this process ends or becomes another one.
const EVENT_PATIENCE: Duration = Duration::from_millis(250);
/// How long after something happened memory is let go of.
const QUIET: Duration = Duration::from_millis(500);

/// Everything that can happen, but for requests.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The proof that a run is ready came true.
    Proved(RunId),
    /// The process of an adopted run has ended.
    Gone(RunId),
    /// A run's output is written to its end; this is how the story of its death ends.
    LogsDone(RunId, LastWords),
    /// What an operation asked of log files is done, or cannot be.
    LogsTended(OpId, Result<(), String>),
    /// What watches this run found that it has to be replaced, and why.
    Unfit(RunId, String),
    /// Nothing new comes to this slot, which is scaled away.
    Settled(AppId, SlotId),
    /// Nothing waits any more for this run, whose slot is scaled away.
    Accepted(RunId),
    /// Files of this app have changed: which, and how many.
    FilesChanged(AppId, String),
    /// Files of this app cannot be watched, or not all of them.
    NotWatched(AppId, String),
    /// A hook of this app has ended.
    HookDone(AppId, u64, Result<Outcome, String>),
    /// Something happened in a Node channel or a listener.
    Cluster(ClusterEvent),
    /// Writing logs does not work, or works again.
    Logs(String),
    /// So many lines of an app could not be written.
    LinesLost(AppId, u64),
    /// The keeper reaped this orphan.
    KeeperReaped(ExitRecord),
    /// The keeper is gone.
    KeeperGone,
    /// The keeper became another executable.
    KeeperRenewed,
    /// The keeper should have become another executable by now.
    KeeperLate,
    /// An executable was examined for an upgrade.
    Examined(Box<Result<Successor, Refusal>>),
    /// Children of ours have ended.
    ChildEnded,
    /// Somebody notified over NOTIFY_SOCKET.
    Notified,
    /// The daemon is asked to end.
    Terminate,
    /// A process that no record knows was asked to end: what is left of it now is killed.
    StrayLeft(Stray),
    /// A signal to a team in the foreground.
    Signalled(i32),
    /// A step of the end of a team in the foreground.
    Leaving(Step),
    /// The saved list was read, for somebody who wants it back.
    Resurrect(Box<Resurrection>),
    /// A deadline passed.
    Deadline,
    /// A moment of a schedule has come, or the clock was set.
    Alarm,
}

/// The driver's state.
pub(crate) struct Driver {
    world: World,
    apps: BTreeMap<AppId, ManagedApp>,
    /// There may be children that have ended and were not reaped in the last turn.
    more_ended: bool,
}

/// What all apps share.
struct World {
    home: Home,
    record: HomeRecord,
    operations: Operations,
    link: KeeperLink,
    logs: LogHandle,
    cluster: Cluster,
    events: Events,
    wakes: mpsc::Sender<Wake>,
    commands: Commands,
    samples: Samples,
    /// Until when workers tell how they are for the metrics, if somebody asked for those.
    measured_until: Option<Time>,
    notify: NotifySocket,
    notify_address: String,
    cgroups: Option<Cgroups>,
    /// What bounds the memory of everything here.
    memory_group: Option<MemoryGroup>,
    open_files: Rlimit,
    preload: Option<Preload>,
    chance: Chance,
    registry: LogRegistry,
    /// The operation and the path of an executable that is being examined.
    examined: Option<(OpId, String)>,
    /// Why this supervisor has to end.
    broken: Option<io::Error>,
    /// The first processes of all runs.
    roots: BTreeSet<Pid>,
    pid_files: pid_files::PidFiles,
    /// Where this turn's signals look for orphans.
    look: Look,
    /// Runs that ended and whose leftovers are killed, but whose ends were not heard of yet.
    cleared: BTreeSet<RunId>,
    births: Births,
    /// How adopted runs ended that the keeper had reaped before, until their pidfds tell that they did.
    keeper_exits: HashMap<i32, ExitRecord>,
    /// Whether this supervisor began with the list on the disk, of this boot.
    resumed: bool,
    /// Processes of this home that no record knows.
    strays: Vec<Stray>,
    /// Whether a worker was left without its channel when this supervisor began.
    orphaned: bool,
    /// Set for a team in the foreground.
    foreground: Option<InForeground>,
}

/// A small generator of chance (splitmix64) for jitter: seeded once, good enough to keep restarts apart.
struct Chance(u64);

/// Where the driver's wakes come from.
pub(crate) struct Sources {
    pub(crate) requests: Requests,
    pub(crate) wakes: mpsc::Receiver<Wake>,
    pub(crate) cluster: mpsc::Receiver<ClusterEvent>,
}

impl Driver {
    /// Handles everything that happens until the daemon ends.
    ///
    /// # Errors
    ///
    /// When signals cannot be received: nothing works then.
    pub(crate) async fn run(mut self, mut sources: Sources) -> io::Result<()> {
        let mut child_ended = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let notify = crate::watch::watch(self.world.notify.as_fd().try_clone_to_owned()?)?;
        // Children that ended before the signal was listened to.
        self.wake(Wake::ChildEnded);
        let mut release = Some(now() + QUIET);
        // A supervisor that became this executable had them blocked.
        inherit::unblock_signals();
        self.world.link.serving();
        let mut keeper_lives = true;
        let mut alarm = Alarm::new()?;
        self.release();
        while !self.has_ended() {
            // Until this process has become the keeper, its death would be the end of both: it is not kept waiting by
            // what workers do. Later attempts have their own wakes.
            if keeper_lives && self.world.link.keeper_has_died() {
                keeper_lives = false;
                self.become_keeper();
            }
            if let Some(error) = self.world.broken.take() {
                return Err(error);
            }
            let deadline = self.next_deadline();
            alarm.set(self.next_moment());
            tokio::select! {
                Some(request) = sources.requests.recv() => self.answer(request),
                Some(wake) = sources.wakes.recv() => self.wake(wake),
                Some(event) = sources.cluster.recv() => self.wake(Wake::Cluster(event)),
                Some(()) = child_ended.recv() => self.wake(Wake::ChildEnded),
                () = std::future::ready(()), if self.more_ended => self.wake(Wake::ChildEnded),
                () = std::future::ready(()), if self.world.births.are_waiting() => self.spawn_waiting(),
                Some(()) = terminate.recv() => self.wake(Wake::Terminate),
                Ok(mut ready) = notify.readable() => {
                    ready.clear_ready();
                    self.wake(Wake::Notified);
                }
                () = until(deadline) => self.wake(Wake::Deadline),
                () = alarm.rings() => self.wake(Wake::Alarm),
                () = until(release) => {
                    own::release_memory();
                    release = None;
                    continue;
                }
            }
            self.release();
            self.attend();
            // Whatever was just done may have used memory that is not needed again for long.
            release.get_or_insert_with(|| now() + QUIET);
            // There may always be something to do, a worker to spawn in each turn: the control server and the watch of
            // the keeper get their turn in between, not when the runtime's budget of 128 turns is used up.
            tokio::task::yield_now().await;
        }
        self.farewell().await;
        Ok(())
    }

    /// Gives an input to an app's decisions, writes, and carries out what they say, until nothing is left to do.
    fn step(&mut self, app: AppId, input: Input) {
        self.step_all(app, vec![input]);
    }

    /// The same with several inputs of one moment.
    fn step_all(&mut self, app: AppId, mut inputs: Vec<Input>) {
        let Some(managed) = self.apps.get_mut(&app) else { return };
        let world = &mut self.world;
        while !inputs.is_empty() {
            let mut effects = Vec::new();
            let chance = &mut world.chance;
            // All at once, so that the record is written once for all workers of a large team that were just spawned.
            for input in inputs.drain(..) {
                managed.machine.step(now(), &mut || chance.next(), input, &mut effects);
            }
            managed.tally.look_at(managed.machine.slots());
            world.write_app(managed);
            inputs.extend(world.carry_out_all(managed, effects));
            managed.machine.carried_out();
        }
        world.tend(managed);
        world.retire(managed);
        world.report_progress(managed);
        world.follow(managed);
        world.watch_all(managed);
        self.renew(app);
        self.take_up_changes(app);
        self.take_up_moment(app);
        self.end_strays(app);
        self.remove_if_deleted(app);
    }

    /// Forgets the specs that an app does not need any more. Not before all commands of a request were given to the
    /// decisions: until then a new spec is needed by nobody.
    fn drop_unused_specs(&mut self, app: AppId) {
        if let Some(managed) = self.apps.get_mut(&app) {
            self.world.drop_unused_specs(managed);
        }
    }

    /// Forgets an app that was deleted, once its workers' last words are written and everybody was told.
    fn remove_if_deleted(&mut self, app: AppId) {
        let is_gone = |app: &ManagedApp| app.machine.is_deleted() && app.held.is_empty() && app.stories.is_empty();
        if !self.apps.get(&app).is_some_and(is_gone) {
            return;
        }
        let Some(managed) = self.apps.remove(&app) else { return };
        self.world.registry.remove(app);
        self.world.link.remove(&names::app(app));
        for generation in managed.specs.keys() {
            self.world.link.remove(&names::spec(app, *generation));
        }
        self.world.events.publish(News::new(EventKind::Deleted, "deleted").of_app(managed.name, app.0));
    }

    fn next_deadline(&self) -> Option<Time> {
        let of_apps = self.apps.values().filter_map(|app| app.machine.next_deadline());
        let looks = self.apps.values().filter_map(ManagedApp::next_look);
        let shown = self.apps.values().filter_map(|app| app.pulses_until);
        let measured = self.world.measured_until;
        let waits = self.apps.values().filter_map(ManagedApp::waits_until);
        of_apps.chain(looks).chain(shown).chain(waits).chain(self.next_watchdog()).chain(measured).min()
    }

    fn has_ended(&self) -> bool {
        self.world.record.shutting_down && self.apps.is_empty()
    }

    /// The last words, when every app is gone: the keeper may end too.
    async fn farewell(self) {
        self.world.events.publish(News::new(EventKind::Shutdown, "the daemon ends"));
        self.world.events.settle(EVENT_PATIENCE);
        if let Some(cgroups) = &self.world.cgroups {
            cgroups.clean();
        }
        if let Some(team) = self.world.link.team() {
            if !self.world.record.keeps_list {
                team.order(Order::Forget);
            }
            team.settle().await;
        }
        if self.world.foreground.as_ref().is_some_and(|team| team.plan.throw_away) {
            // Whatever of it stays is in nobody's way.
            let _ = std::fs::remove_dir_all(self.world.home.root());
        }
        self.world.link.shutdown();
        // Let the control server send its last answers and events.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl World {
    /// Writes an app's record ahead of acting on it.
    fn write_app(&self, app: &ManagedApp) {
        match serde_json::to_vec(&app.record()) {
            Ok(bytes) => self.link.put_bytes(&names::app(app.id), &bytes),
            Err(error) => tracing::error!(app = app.name, %error, "the app's record cannot be written"),
        }
    }

    /// Writes the home's record.
    fn write_home(&mut self) {
        self.record.operations = self.operations.save();
        match serde_json::to_vec(&self.record) {
            Ok(bytes) => self.link.put_bytes(names::HOME, &bytes),
            Err(error) => tracing::error!(%error, "the home's record cannot be written"),
        }
    }

    /// Forgets the specs of generations that are not in use, and closes the sockets that only those wanted.
    fn drop_unused_specs(&self, app: &mut ManagedApp) {
        let id = app.id;
        if app.specs.len() > 1 {
            let mut used = app.machine.generations_in_use();
            used.extend(app.gate.as_ref().and_then(Gate::generation));
            app.specs.retain(|generation, _| {
                let keep = used.contains(generation);
                if !keep {
                    app.cluster_listens.remove(generation);
                    self.link.remove(&names::spec(id, *generation));
                }
                keep
            });
        }
        app.sockets.keep(id, app.specs.values().map(|spec| &**spec), &self.link);
    }
}

impl Chance {
    fn new() -> Chance {
        let mut seed = [0; 8];
        // Without the kernel's randomness the clock has to do: this is only jitter.
        if rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
            seed = now().0.to_ne_bytes();
        }
        Chance(u64::from_ne_bytes(seed))
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)
    }
}

/// A duration in whole milliseconds.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
fn wall_clock_ms() -> u64 {
    millis(crate::clock::since_1970())
}

/// A sleep until a deadline; for ever without one.
async fn until(deadline: Option<Time>) {
    match deadline {
        // A millisecond more: our clock is cut to milliseconds, and a deadline is only passed when it is reached.
        Some(deadline) => tokio::time::sleep(deadline.since(now()) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}
