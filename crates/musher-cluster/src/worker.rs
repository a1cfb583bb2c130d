//! A worker: its channel, what it was given and what it was offered.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use musher_core::ids::{AppId, RunId, SlotId};
use musher_process::channel::{Channel, SendError};
use serde_json::Value;

use crate::cluster::{Listens, Watching};
use crate::group::{Connection, Part, Question};
use crate::handle::Passed;
use crate::message::{self, Identity};
use crate::reactor::Token;
use crate::saved::{SavedAsked, SavedRun};

/// One run of the app's program with a channel.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) app: AppId,
    pub(crate) slot: SlotId,
    pub(crate) run: RunId,
    /// Whether it is a worker of a cluster; else only messages go over the channel.
    pub(crate) cluster: bool,
    pub(crate) listens: Arc<Listens>,
    pub(crate) channel: Channel,
    pub(crate) token: Token,
    /// The number of the next message of ours.
    seq: u64,
    /// What it asked for and was given.
    pub(crate) asked: Vec<Asked>,
    /// Connections that it was offered and has not answered, by the number of the offer.
    pub(crate) offered: BTreeMap<u64, Offer>,
    /// Messages with a descriptor whose receipt it has not told, in order.
    handles: VecDeque<Sent>,
    pub(crate) online: bool,
    pub(crate) ready: bool,
    /// The preload is loaded.
    pub(crate) preload: bool,
    pub(crate) draining: bool,
    /// It told of an exception that ends it.
    pub(crate) failed: bool,
    /// What is wanted to be known of it.
    pub(crate) vitals: Vitals,
    /// It is told of changes of what the workers share.
    pub(crate) watches: bool,
    /// How many messages found no room in its channel, which it was not told of yet.
    pub(crate) missed: u32,
    /// It said that it leaves of its own will.
    pub(crate) leaving: bool,
    /// Its channel has ended.
    pub(crate) ended: bool,
    /// The peer's end is closed; what it sent before is still to be read.
    pub(crate) hung_up: bool,
    /// It is in the queue of channels to read.
    pub(crate) due: bool,
    /// It is to be read as soon as its messages were consumed.
    pub(crate) paused: bool,
    /// It declined a connection; none is offered before this time.
    pub(crate) declined_until: Option<Instant>,
    decline_pause: Duration,
    /// Its channel is told about when it has room too.
    pub(crate) wants_room: bool,
    /// When it was last seen to be alive: it sent something, or read everything that it was sent.
    seen_alive: Option<Instant>,
    /// A sign of life is waited for, to give it what waits elsewhere.
    pub(crate) wanted_since: Option<Instant>,
}

/// The watch over a worker's event loop.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    pub(crate) watching: Watching,
    /// A timer is set.
    pub(crate) timed: bool,
    /// When it was looked at last.
    looked: Option<Instant>,
    /// How many looks in a row found that it had read nothing.
    idle: u32,
}

/// Something the worker listens on, or is about to.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) group: u32,
    pub(crate) identity: Identity,
    /// What it was given.
    pub(crate) part: Part,
    pub(crate) listening: bool,
}

/// A connection that the worker was offered.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) group: u32,
    pub(crate) connection: Connection,
    pub(crate) since: Instant,
}

/// A message that was sent with a descriptor.
#[derive(Debug)]
pub(crate) enum Sent {
    /// An answer to a query, or a message of the program: its text and descriptor, and how often it was sent again.
    Listener { text: String, socket: Arc<OwnedFd>, again: u8 },
    /// An offer with this number.
    Offer(u64),
}

/// The first and the longest pause after a worker declined a connection.
const DECLINE_PAUSE: Duration = Duration::from_millis(4);
const MAX_DECLINE_PAUSE: Duration = Duration::from_millis(128);
/// How long a sign of life counts.
const FRESH: Duration = Duration::from_micros(500);
/// How often a listener is sent again that did not arrive. As Node does it.
const MAX_AGAIN: u8 = 3;

impl Worker {
    pub(crate) fn new(
        (app, slot, run): (AppId, SlotId, RunId),
        (cluster, listens): (bool, Arc<Listens>),
        (channel, token): (Channel, Token),
        epoch: u32,
    ) -> Worker {
        Worker {
            app,
            slot,
            run,
            cluster,
            listens,
            channel,
            token,
            // Stays below 2^53, the largest number that JavaScript counts exactly.
            seq: u64::from(epoch & 0xf_ffff) << 32,
            asked: Vec::new(),
            offered: BTreeMap::new(),
            handles: VecDeque::new(),
            online: false,
            ready: false,
            preload: false,
            draining: false,
            failed: false,
            vitals: Vitals::default(),
            watches: false,
            missed: 0,
            leaving: false,
            ended: false,
            hung_up: false,
            due: false,
            paused: false,
            declined_until: None,
            decline_pause: DECLINE_PAUSE,
            wants_room: false,
            seen_alive: None,
            wanted_since: None,
        }
    }

    pub(crate) fn saved(&self) -> SavedRun {
        SavedRun {
            run: self.run,
            online: self.online,
            ready: self.ready,
            preload: self.preload,
            marks_internal: self.channel.marks_internal(),
            draining: self.draining,
            failed: self.failed,
            watches: self.watches,
            missed: self.missed,
            asked: self
                .asked
                .iter()
                .map(|asked| SavedAsked {
                    group: asked.group,
                    identity: asked.identity.clone(),
                    part: Some(asked.part),
                    listening: asked.listening,
                })
                .collect(),
        }
    }

    /// Whether it accepts connections of this group.
    pub(crate) fn serves(&self, group: u32) -> bool {
        !self.ended && !self.draining && self.asked.iter().any(|asked| asked.group == group && asked.listening)
    }

    /// What it has of this group.
    pub(crate) fn part(&self, group: u32) -> Option<Part> {
        self.asked.iter().find(|asked| asked.group == group).map(|asked| asked.part)
    }

    /// Whether another connection may be offered: fewer than `window` are unanswered, none of them for longer than
    /// `patience`, and none was declined a moment ago.
    pub(crate) fn takes(&self, now: Instant, window: usize, patience: Duration) -> bool {
        self.offered.len() < window
            && self.declined_until.is_none_or(|until| now >= until)
            && self.offered.first_key_value().is_none_or(|(_, offer)| now < offer.since + patience)
    }

    /// It is alive now. Whether somebody waited for that.
    pub(crate) fn is_alive(&mut self, now: Instant) -> bool {
        self.seen_alive = Some(now);
        self.wanted_since.take().is_some()
    }

    /// Whether it was alive a moment ago. Nothing that cannot be taken back is given to one that may be blocked.
    pub(crate) fn was_alive(&self, now: Instant) -> bool {
        self.seen_alive.is_some_and(|seen| now < seen + FRESH)
    }

    /// Looks whether the event loop has turned since the last look. How many looks in a row it has not.
    pub(crate) fn looks_idle(&mut self, now: Instant) -> u32 {
        let looked = self.vitals.looked.replace(now);
        // While it is sent something all the time there is always something that it has not read yet.
        let spoke = self.seen_alive.is_some_and(|seen| looked.is_none_or(|looked| seen >= looked));
        let unread = self.channel.peer_has_unread() || self.channel.wants_write();
        self.vitals.idle = if unread && !spoke && looked.is_some() { self.vitals.idle + 1 } else { 0 };
        self.vitals.idle
    }

    /// Sends something, to see whether it is read. Whatever it has not read yet does as well.
    pub(crate) fn probe(&mut self) -> Result<(), SendError> {
        if self.channel.peer_has_unread() || self.channel.wants_write() {
            return Ok(());
        }
        self.channel.queue_internal(&message::probe(), None)
    }

    /// Tells it how much it has missed, now that there is room. Whether something was to be told.
    pub(crate) fn tell_missed(&mut self) -> bool {
        if self.missed == 0 || self.channel.wants_write() {
            return false;
        }
        let text = message::to_preload("missed", serde_json::json!({ "count": self.missed }));
        let told = self.channel.queue_internal(&text, None).is_ok();
        if told {
            self.missed = 0;
        }
        told
    }

    /// Sends a message of the cluster.
    pub(crate) fn tell(&mut self, members: Value) -> Result<(), SendError> {
        let text = message::cluster(self.next_seq(), members);
        self.channel.queue_internal(&text, None)
    }

    /// Answers a query with a listener.
    pub(crate) fn give(&mut self, handle_type: &str, members: Value, socket: Arc<OwnedFd>) -> Result<(), SendError> {
        let text = message::with_handle(handle_type, &message::cluster(self.next_seq(), members));
        self.channel.queue_internal(&text, Some(Arc::clone(&socket)))?;
        self.handles.push_back(Sent::Listener { text, socket, again: 0 });
        Ok(())
    }

    /// Gives it a listening socket to accept from when nobody hands it connections any more.
    pub(crate) fn entrust(&mut self, text: String, socket: Arc<OwnedFd>) -> Result<(), SendError> {
        self.channel.queue_internal(&text, Some(Arc::clone(&socket)))?;
        self.handles.push_back(Sent::Listener { text, socket, again: 0 });
        Ok(())
    }

    /// Sends a message of the primary's program with a socket.
    pub(crate) fn send_handle(&mut self, text: &str, handle: Passed) -> Result<(), String> {
        let text = handle.wrap(text).map_err(|error| error.to_string())?;
        let socket = Arc::clone(handle.socket());
        self.channel.queue_internal(&text, Some(Arc::clone(&socket))).map_err(|error| error.to_string())?;
        self.handles.push_back(Sent::Listener { text, socket, again: 0 });
        Ok(())
    }

    /// Offers a connection of a group with this key.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        group: u32,
        key: &str,
        connection: Connection,
    ) -> Result<(), (Connection, SendError)> {
        let seq = self.next_seq();
        let key = Value::from(key).to_string();
        match self.channel.queue_internal(&message::new_connection(seq, &key), Some(Arc::clone(&connection.socket))) {
            Ok(()) => {
                self.handles.push_back(Sent::Offer(seq));
                self.offered.insert(seq, Offer { group, connection, since: now });
                Ok(())
            }
            Err(error) => Err((connection, error)),
        }
    }

    /// It answered an offer, if there was one: the connection is its own now, or goes to another.
    pub(crate) fn answered(&mut self, now: Instant, ack: u64, accepted: bool) -> Option<Offer> {
        let offer = self.offered.remove(&ack)?;
        if accepted {
            self.decline_pause = DECLINE_PAUSE;
            self.declined_until = None;
            if let Some(Question(answer)) = &offer.connection.question {
                answer(true);
            }
        } else {
            self.decline(now);
        }
        Some(offer)
    }

    /// The supervisor before this one offered it a connection and was not answered.
    pub(crate) fn was_offered(&mut self, seq: u64, offer: Offer) {
        self.handles.push_back(Sent::Offer(seq));
        self.offered.insert(seq, offer);
    }

    fn decline(&mut self, now: Instant) {
        self.declined_until = Some(now + self.decline_pause);
        self.decline_pause = (self.decline_pause * 2).min(MAX_DECLINE_PAUSE);
    }

    /// It told that the oldest descriptor arrived.
    pub(crate) fn handle_taken(&mut self) {
        self.handles.pop_front();
    }

    /// It told that the oldest descriptor did not arrive. A connection comes back; a listener is sent again.
    pub(crate) fn handle_missed(&mut self, now: Instant) -> Result<Option<Offer>, SendError> {
        match self.handles.pop_front() {
            Some(Sent::Offer(seq)) => {
                self.decline(now);
                Ok(self.offered.remove(&seq))
            }
            Some(Sent::Listener { text, socket, again }) if again < MAX_AGAIN => {
                self.channel.queue_internal(&text, Some(Arc::clone(&socket)))?;
                self.handles.push_back(Sent::Listener { text, socket, again: again + 1 });
                Ok(None)
            }
            Some(Sent::Listener { .. }) | None => Ok(None),
        }
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }
}
