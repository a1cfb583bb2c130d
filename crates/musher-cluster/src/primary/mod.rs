//! The thread's loop: wait, act, commit.
//!
//! Everything that happens in one turn is committed at its end in this order: state is kept, messages go out, events go
//! out, messages are taken off the channels. So whatever happens to this process in between, its successor sees the
//! message again rather than never.
//!
//! - [`commands`]: what the supervisor asks for.
//! - [`inbound`]: what workers say.
//! - [`listeners`]: groups and their sockets, opened and closed.
//! - [`slots`]: steering, watching and relieving the sockets of slots.
//! - [`sharing`]: what workers of an app share.
//! - [`handover`]: connections offered to workers.
//! - [`vitals`]: how workers are.
//! - [`custody`]: connections that nobody has taken for a while, kept for a successor.
//! - [`restore`]: what a supervisor before this one has left.

mod commands;
mod custody;
mod handover;
mod inbound;
mod listeners;
mod restore;
mod sharing;
mod slots;
mod vitals;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use musher_core::ids::{AppId, RunId, SlotId};
use musher_process::channel::{READ_BUFFER, SendError, State};

use crate::cluster::{Command, FdStore, Stats};
use crate::event::{ClusterEvent, EventSink, Outbox};
use crate::group::Group;
use crate::reactor::{self, Found, Reactor, Source, Timer};
use crate::saved::{self, SavedApp, SavedRun};
use crate::shared::Shared;
use crate::worker::Worker;

/// An app with its listeners.
#[derive(Debug)]
pub(crate) struct App {
    groups: BTreeMap<u32, Group>,
    next_group: u32,
    epoch: u32,
    workers: BTreeSet<RunId>,
    /// What was known of workers that are still to be adopted.
    memory: HashMap<RunId, SavedRun>,
    /// Its workers are being adopted.
    restoring: bool,
    /// Connections that its workers had not taken when the supervisor before this one ended.
    inherited: custody::Inherited,
    stats: Stats,
    /// What its workers share.
    shared: Shared,
    /// Something changed that has to be kept.
    dirty: bool,
}

/// Everything the thread has.
pub(crate) struct Primary {
    reactor: Reactor,
    store: Arc<dyn FdStore>,
    outbox: Outbox,
    apps: HashMap<AppId, App>,
    workers: HashMap<RunId, Worker>,
    /// Channels that may have something to read.
    due: VecDeque<RunId>,
    /// Channels whose messages were handed out in this turn or an earlier one, and not consumed.
    handed_out: BTreeSet<RunId>,
    /// Channels that may have something to send.
    to_flush: BTreeSet<RunId>,
    /// Sockets of slots that are looked at on every tick.
    watched: BTreeSet<(AppId, u32, SlotId)>,
    ticking: bool,
    /// A timer for the outbox or for channels that could not send is set.
    retrying: bool,
    /// A timer is set for connections that nobody takes.
    keeping: bool,
    /// The number of the last connection that was kept while it waited.
    next_kept: u64,
    now: Instant,
    buffer: Vec<u8>,
}

/// How soon a full sink, or a channel that could not send for lack of resources, is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// Commands taken in one turn.
const COMMANDS: usize = 256;

impl Primary {
    pub(crate) fn new(store: Arc<dyn FdStore>, events: EventSink) -> io::Result<(Primary, OwnedFd)> {
        let (reactor, wake) = Reactor::new()?;
        let primary = Primary {
            reactor,
            store,
            outbox: Outbox::new(events),
            apps: HashMap::new(),
            workers: HashMap::new(),
            due: VecDeque::new(),
            handed_out: BTreeSet::new(),
            to_flush: BTreeSet::new(),
            watched: BTreeSet::new(),
            ticking: false,
            retrying: false,
            keeping: false,
            next_kept: 0,
            now: Instant::now(),
            buffer: vec![0; READ_BUFFER],
        };
        Ok((primary, wake))
    }

    /// Runs until all handles are gone.
    pub(crate) fn run(&mut self, commands: &Receiver<Command>, wake: &OwnedFd) -> io::Result<()> {
        let mut found = Found::default();
        let mut more_commands = false;
        loop {
            self.reactor.wait(more_commands || !self.due.is_empty(), &mut found)?;
            self.now = Instant::now();
            for source in found.sources.drain(..) {
                match source {
                    Source::Commands => {
                        more_commands = true;
                        let _ = rustix::io::read(wake, &mut [0u8; 8]);
                    }
                    Source::Channel { run, hung_up } => self.channel_changed(run, hung_up),
                    Source::Slot { app, group, slot } => self.slot_readable(app, group, slot),
                    Source::Single { app, group } => self.pump(app, group),
                }
            }
            for timer in self.reactor.due(self.now) {
                self.timer(timer);
            }
            for _ in 0..if more_commands { COMMANDS } else { 0 } {
                match commands.try_recv() {
                    Ok(Command::Abandon) | Err(TryRecvError::Disconnected) => return Ok(()),
                    Ok(Command::Stop(stopped)) => {
                        self.keep_connections(Duration::ZERO);
                        self.commit();
                        let _ = stopped.try_send(());
                        return Ok(());
                    }
                    Ok(command) => self.command(command),
                    Err(TryRecvError::Empty) => {
                        more_commands = false;
                        break;
                    }
                }
            }
            for run in std::mem::take(&mut self.due) {
                self.read(run);
            }
            self.commit();
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Tick => self.tick(),
            Timer::Settle { app, group } => self.settle_now(app, group),
            Timer::Linger { app, group, slot } => self.lingered(app, group, slot),
            Timer::Unused { app, group } => self.unused(app, group),
            Timer::Vitals { run } => self.look_at_vitals(run),
            Timer::Keep => self.keep_old_connections(),
            Timer::Retry => {
                self.retrying = false;
                let waiting: Vec<RunId> = self
                    .workers
                    .values()
                    .filter(|worker| worker.channel.wants_write())
                    .map(|worker| worker.run)
                    .collect();
                self.to_flush.extend(waiting);
            }
        }
    }

    /// Something happened at a channel: read it, and send what waits.
    fn channel_changed(&mut self, run: RunId, hung_up: bool) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        worker.hung_up |= hung_up;
        if worker.channel.wants_write() {
            self.to_flush.insert(run);
        }
        self.read_later(run);
        self.may_have_read(run);
    }

    fn read_later(&mut self, run: RunId) {
        if let Some(worker) = self.workers.get_mut(&run)
            && !worker.due
            && !worker.ended
        {
            worker.due = true;
            self.due.push_back(run);
        }
    }

    /// Reads one batch of a worker's messages: so much in a turn, and no worker starves the others.
    fn read(&mut self, run: RunId) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        worker.due = false;
        // While its events wait, its messages stay where they are.
        worker.paused = self.handed_out.contains(&run);
        if worker.ended || worker.paused {
            return;
        }
        let batch = worker.channel.read(&mut self.buffer);
        let again = match batch.state {
            State::More => true,
            State::Idle => worker.hung_up && !batch.messages.is_empty(),
            State::Ended | State::Broken(_) => false,
        };
        if !batch.messages.is_empty() {
            self.seen_alive(run);
        }
        self.handed_out.insert(run);
        self.to_flush.insert(run);
        for message in batch.messages {
            self.message(run, message);
        }
        match batch.state {
            State::Ended => {
                self.channel_ended(run);
                self.take_offers_back(run);
            }
            State::Broken(fault) => self.violation(run, &fault),
            State::More | State::Idle if again => self.read_later(run),
            State::More | State::Idle => {}
        }
    }

    /// The worker broke the protocol: nothing more is read from it. What it was offered it may still take, until it is dead.
    fn violation(&mut self, run: RunId, reason: &dyn std::fmt::Display) {
        let Some(worker) = self.workers.get(&run) else { return };
        if worker.ended {
            return;
        }
        tracing::warn!(%run, %reason, "a worker broke the protocol of its channel");
        self.outbox.push(ClusterEvent::Violation { run, reason: reason.to_string() });
        self.channel_ended(run);
    }

    /// Keeps what has changed, so that answers that rest on it may go out.
    fn keep(&mut self) {
        for (id, app) in &mut self.apps {
            if std::mem::take(&mut app.dirty) {
                let state = app.saved(&self.workers);
                self.store.put_bytes(&saved::state_name(*id), &state.encode());
            }
        }
    }

    fn commit(&mut self) {
        self.keep();
        let mut retry = false;
        for run in std::mem::take(&mut self.to_flush) {
            retry |= self.flush(run);
        }
        retry |= !self.outbox.deliver();
        if retry && !self.retrying {
            self.retrying = true;
            self.reactor.at(self.now + RETRY, Timer::Retry);
        }
        for run in std::mem::take(&mut self.handed_out) {
            if self.outbox.keeps(run) {
                self.handed_out.insert(run);
                continue;
            }
            let Some(worker) = self.workers.get_mut(&run) else { continue };
            worker.channel.consume();
            if std::mem::take(&mut worker.paused) {
                self.read_later(run);
            }
        }
    }

    /// Sends what waits for a worker. Whether it should be tried again though nothing will tell when.
    fn flush(&mut self, run: RunId) -> bool {
        let Some(worker) = self.workers.get_mut(&run) else { return false };
        if worker.ended {
            return false;
        }
        let mut flushed = worker.channel.flush();
        if flushed.is_ok() && worker.tell_missed() {
            flushed = worker.channel.flush();
        }
        let retry = match flushed {
            Ok(()) => false,
            // The end will be read.
            Err(SendError::Closed | SendError::Full { .. } | SendError::LineBreak) => return false,
            Err(error) => {
                tracing::warn!(%run, %error, "cannot send to a worker yet");
                true
            }
        };
        self.watch_room(run);
        retry
    }

    /// Has the kernel tell about room in a channel when that is of interest.
    fn watch_room(&mut self, run: RunId) {
        let blocked = self.is_found_blocked(run);
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let wanted = blocked || worker.wanted_since.is_some() || worker.channel.wants_write();
        if worker.wants_room != wanted {
            worker.wants_room = wanted;
            let flags = if wanted { reactor::READ_WRITE } else { reactor::READ };
            self.reactor.set(&worker.channel, worker.token, flags);
        }
    }

    fn group(&mut self, app: AppId, group: u32) -> Option<&mut Group> {
        self.apps.get_mut(&app)?.groups.get_mut(&group)
    }

    fn mark_dirty(&mut self, app: AppId) {
        if let Some(app) = self.apps.get_mut(&app) {
            app.dirty = true;
        }
    }
}

impl App {
    fn saved(&self, workers: &HashMap<RunId, Worker>) -> SavedApp {
        SavedApp {
            version: 0,
            epoch: self.epoch,
            next_group: self.next_group,
            groups: self.groups.values().map(Group::saved).collect(),
            shared: Some(self.shared.clone()).filter(|shared| !shared.is_untouched()),
            // Those not adopted yet are remembered on.
            runs: self
                .workers
                .iter()
                .filter_map(|run| workers.get(run).map(Worker::saved))
                .chain(self.memory.values().cloned())
                .collect(),
        }
    }
}
