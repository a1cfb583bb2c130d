//! An address that workers of an app listen on, and what is kept for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use musher_core::ids::{RunId, SlotId};
use musher_core::spec::Balance;
use musher_process::net;
use musher_process::net::reuseport::{Dealing, Members};
use musher_process::net::unix::SocketFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bind::Bind;
use crate::reactor::Token;
use crate::ring::Ring;
use crate::saved::{SavedGroup, SavedSharing};
use crate::steering::Deal;
use crate::watch::Watch;

/// An address of an app.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) number: u32,
    /// Its name among the workers.
    pub(crate) key: String,
    pub(crate) bind: Bind,
    pub(crate) backlog: u32,
    /// What the first worker said; every worker is told.
    pub(crate) data: Value,
    pub(crate) sharing: Sharing,
    /// The workers that listen here, for turns.
    pub(crate) ring: Ring<RunId>,
    /// Connections that were accepted for a worker which did not take them.
    pub(crate) waiting: VecDeque<Connection>,
    /// A timer for `waiting` is set.
    pub(crate) settling: bool,
    /// Connections may be in the kernel's queue that no worker could take when it was looked at.
    pub(crate) starved: bool,
    /// Since when no worker has it, and who closed it last if that is why.
    pub(crate) unused: Option<(Instant, Option<RunId>)>,
}

/// How workers share an address.
#[derive(Debug)]
pub(crate) enum Sharing {
    /// Each slot has a socket.
    Slots(Slots),
    /// All have the same socket.
    Shared(Single),
    /// They are given connections in turn.
    RoundRobin(Single),
}

/// What a worker was given of a group. As a rule all workers were given the same; not while a spec with another policy
/// takes the place of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// The socket of its slot.
    Slot,
    /// The socket of all.
    All,
    /// None: connections are handed to it in turns.
    Turns,
}

/// A member of the kernel's array: a slot, or the front.
pub(crate) type Member = Option<SlotId>;

/// The sockets of the slots.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) sockets: BTreeMap<SlotId, SlotSocket>,
    /// The socket of none of them: what comes while no slot can serve waits here for a worker.
    pub(crate) front: Option<Single>,
    /// Who deals connections out: follows from what the workers who serve were given.
    pub(crate) deal: Deal,
    /// The listening ones in the kernel's order.
    pub(crate) members: Members<Member>,
    /// What the program in the kernel chooses among, and how; none when it has to be attached anew.
    pub(crate) steered: Option<(Vec<u32>, Dealing)>,
    /// The kernel refuses programs (a sandbox); stealing alone has to do.
    pub(crate) cannot_steer: bool,
    /// Slots whose connections go to siblings, and had none to go to when they were looked at.
    pub(crate) starved: BTreeSet<SlotId>,
}

/// The socket of one slot.
#[derive(Debug)]
pub(crate) struct SlotSocket {
    pub(crate) socket: Arc<OwnedFd>,
    pub(crate) token: Token,
    /// The workers that listen on it.
    pub(crate) runs: Vec<RunId>,
    pub(crate) watch: Watch,
    /// The kernel tells when a connection waits.
    pub(crate) armed: bool,
    pub(crate) retiring: bool,
}

/// The one socket of a group.
#[derive(Clone, Debug)]
pub(crate) struct Single {
    pub(crate) socket: Arc<OwnedFd>,
    /// Of a unix socket.
    pub(crate) file: Option<SocketFile>,
    pub(crate) token: Token,
}

/// An accepted connection on its way to a worker.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Arc<OwnedFd>,
    /// How many workers died with it in their hands.
    pub(crate) deaths: u8,
    /// Under which name a copy is kept, in case that this process is killed.
    pub(crate) kept: Option<String>,
    /// It is a question to that very worker: no other gets it.
    pub(crate) question: Option<Question>,
}

/// Who wants to know whether a worker took a connection.
#[derive(Clone)]
pub(crate) struct Question(pub(crate) Arc<dyn Fn(bool) + Send + Sync>);

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Question")
    }
}

/// A connection is closed when so many workers died with it offered to them: it may be what kills them.
pub(crate) const MAX_DEATHS: u8 = 3;
/// How long a group that no worker has is kept when the app's workers listen elsewhere.
pub(crate) const UNUSED: Duration = Duration::from_secs(10);
/// How long a group is kept after its last worker closed its server and lives on. A worker that leaves by
/// `cluster.worker.disconnect()` closes its servers first: this is the time to see that it leaves.
pub(crate) const CLOSED: Duration = Duration::from_millis(200);

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Connection {
        Connection { socket: Arc::new(socket), deaths: 0, kept: None, question: None }
    }
}

impl SlotSocket {
    pub(crate) fn new(socket: OwnedFd, token: Token, retiring: bool) -> SlotSocket {
        let socket = Arc::new(socket);
        SlotSocket { socket, token, runs: Vec::new(), watch: Watch::new(), armed: false, retiring }
    }
}

impl Slots {
    pub(crate) fn new(front: Option<Single>, members: Members<Member>) -> Slots {
        Slots {
            sockets: BTreeMap::new(),
            front,
            deal: Deal::Kernel,
            members,
            steered: None,
            cannot_steer: false,
            starved: BTreeSet::new(),
        }
    }
}

impl Group {
    /// The TCP port, if it is an address of TCP.
    pub(crate) fn port(&self) -> Option<u16> {
        let socket = match (&self.bind, &self.sharing) {
            (Bind::Tcp { port, .. }, _) => return Some(*port),
            (Bind::Udp { .. } | Bind::Unix { .. }, _) => return None,
            (Bind::Inherited { .. }, Sharing::Shared(single) | Sharing::RoundRobin(single)) => &single.socket,
            (Bind::Inherited { .. }, Sharing::Slots(slots)) => &slots.sockets.values().next()?.socket,
        };
        let is_tcp = matches!(net::kind(socket), Ok(net::Kind::Tcp));
        net::local_address(socket).ok().filter(|_| is_tcp).map(|address| address.port())
    }

    pub(crate) fn saved(&self) -> SavedGroup {
        let sharing = match &self.sharing {
            Sharing::Slots(slots) => SavedSharing::Slots {
                members: slots.members.order().to_vec(),
                retiring: slots.sockets.iter().filter(|(_, socket)| socket.retiring).map(|(slot, _)| *slot).collect(),
            },
            Sharing::Shared(single) => SavedSharing::Shared { file: single.file.as_ref().map(Into::into) },
            Sharing::RoundRobin(single) => SavedSharing::RoundRobin { file: single.file.as_ref().map(Into::into) },
        };
        SavedGroup {
            number: self.number,
            key: self.key.clone(),
            bind: self.bind.clone(),
            backlog: self.backlog,
            data: self.data.clone(),
            sharing,
        }
    }

    /// What a worker with this policy gets.
    pub(crate) fn part(&self, policy: Balance) -> Part {
        let is_udp = |single: &Single| net::kind(&single.socket).is_ok_and(|kind| kind == net::Kind::Udp);
        match (policy, &self.sharing) {
            (Balance::Auto | Balance::Kernel, Sharing::Slots(_)) => Part::Slot,
            (_, Sharing::Slots(slots)) if slots.front.is_none() => Part::Slot,
            (Balance::RoundRobin, Sharing::Slots(_)) => Part::Turns,
            (Balance::RoundRobin, Sharing::Shared(single) | Sharing::RoundRobin(single)) if !is_udp(single) => {
                Part::Turns
            }
            (Balance::Auto | Balance::Kernel | Balance::Shared | Balance::RoundRobin, _) => Part::All,
        }
    }

    /// What its workers have who got all the same.
    pub(crate) fn usual_part(&self) -> Part {
        match self.sharing {
            Sharing::Slots(_) => Part::Slot,
            Sharing::Shared(_) => Part::All,
            Sharing::RoundRobin(_) => Part::Turns,
        }
    }

    /// A worker listens.
    pub(crate) fn enter(&mut self, run: RunId, slot: SlotId, part: Part) {
        self.ring.add(run);
        if part == Part::Slot
            && let Some(socket) = self.slots().and_then(|slots| slots.sockets.get_mut(&slot))
            && !socket.runs.contains(&run)
        {
            socket.runs.push(run);
            // Whatever is known of the others, this one is not blocked.
            socket.watch = Watch::new();
        }
    }

    /// A worker does not listen any more.
    pub(crate) fn leave(&mut self, run: RunId, slot: SlotId) {
        self.ring.remove(run);
        if let Some(socket) = self.slots().and_then(|slots| slots.sockets.get_mut(&slot)) {
            socket.runs.retain(|other| *other != run);
        }
    }

    /// The socket whose connections are handed over in turns.
    pub(crate) fn front(&self) -> Option<&Single> {
        match &self.sharing {
            Sharing::Slots(slots) => slots.front.as_ref().filter(|_| slots.deal != Deal::KernelAndFront),
            Sharing::RoundRobin(single) => Some(single),
            Sharing::Shared(_) => None,
        }
    }

    /// The sockets of the slots, if each has one.
    pub(crate) fn slots(&mut self) -> Option<&mut Slots> {
        match &mut self.sharing {
            Sharing::Slots(slots) => Some(slots),
            Sharing::Shared(_) | Sharing::RoundRobin(_) => None,
        }
    }
}
