//! The channel of a worker to its primary: one task reads it, everybody writes.
//!
//! What the primary says is acted upon in the order it comes. An offered connection is answered when somebody accepts it
//! (so that what a busy worker has not looked at can go to a sibling), and declined when nobody will.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use musher_process::ipc::{self, Handle, Internal, Order as Turn, Received, Receiver, SendError, Sender};
use musher_process::v8;
use rustix::io::Errno;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::drain;
use super::environment::Environment;
use super::hearing::{Hearing, Message};
use super::words::{self, Answer, Order, Wanted};
use crate::message::{CLUSTER, MUSHER};

/// Connections that may wait for a worker to accept them. A primary stops long before.
const OFFERS: usize = 1024;

/// The channel.
#[derive(Debug)]
pub(crate) struct Link {
    /// The number of this worker; none for a child that is no worker of a cluster.
    pub(crate) id: Option<u32>,
    sender: Sender,
    inner: Mutex<Inner>,
    pub(crate) hearing: Hearing,
    /// Messages for a runtime.
    pub(crate) internal: Hearing,
    /// It speaks V8's format.
    advanced: bool,
    /// The primary's end means nothing: musher's workers go on serving with what they have.
    survives: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of the next message of ours.
    seq: u64,
    questions: BTreeMap<u64, oneshot::Sender<Given>>,
    /// Where connections go, by the primary's name.
    fed: HashMap<String, Feed>,
    /// What was asked for and is not closed, each with its number among the same.
    asked: Vec<(Wanted, u64)>,
    leaving: bool,
    /// The primary asked this worker to leave: it answers no more questions.
    dismissed: bool,
    ended: bool,
}

/// Where the connections go that are offered for something.
#[derive(Debug)]
struct Feed {
    offers: mpsc::Sender<Offer>,
    kept: Kept,
}

/// A copy of the socket that the primary accepts from. It is to be used when connections are offered no more, and is taken
/// away before that when they are not to be accepted either.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Option<OwnedFd>>>);

impl Kept {
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.put(None)
    }

    fn put(&self, socket: Option<OwnedFd>) -> Option<OwnedFd> {
        std::mem::replace(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), socket)
    }
}

/// What the primary gave for a question.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) key: String,
    /// A socket to accept from; without one connections are offered.
    pub(crate) socket: Option<OwnedFd>,
    /// Where the primary listens.
    pub(crate) address: Option<std::net::SocketAddr>,
    /// Connections that are offered.
    pub(crate) offers: mpsc::Receiver<Offer>,
    /// What to accept from when they end.
    pub(crate) kept: Kept,
    refused: Option<i32>,
}

/// A connection that is offered. Dropped without [`take`](Offer::take) it is declined.
#[derive(Debug)]
pub(crate) struct Offer {
    socket: Option<OwnedFd>,
    seq: u64,
    link: Arc<Link>,
}

impl Offer {
    /// It is this worker's from now on.
    pub(crate) fn take(mut self) -> Option<OwnedFd> {
        let socket = self.socket.take();
        self.link.tell(words::answer(self.seq, true));
        socket
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.socket.take().is_some() {
            self.link.tell(words::answer(self.seq, false));
        }
    }
}

/// The channel, or why there is none for ever.
type Opened = Result<Option<Arc<Link>>, (io::ErrorKind, String)>;

/// The channel that this process was started with. The first call takes it and begins to read, in the runtime it is
/// made in.
///
/// # Errors
///
/// There is a channel, and it cannot be used.
pub(crate) fn link(environment: &Environment) -> io::Result<Option<&'static Arc<Link>>> {
    static LINK: OnceLock<Opened> = OnceLock::new();
    if environment.channel.is_none() {
        return Ok(None);
    }
    if LINK.get().is_none() && tokio::runtime::Handle::try_current().is_err() {
        return Err(io::Error::other("the channel to the primary needs a tokio runtime: call this from within one"));
    }
    let opened = LINK.get_or_init(|| match ipc::parent() {
        Ok(channel) => Ok(channel.map(|channel| Link::open(channel, environment))),
        Err(error) => Err((error.kind(), format!("the channel to the primary is unusable: {error}"))),
    });
    opened.as_ref().map(Option::as_ref).map_err(|(kind, words)| io::Error::new(*kind, words.clone()))
}

impl Link {
    pub(crate) fn open(channel: ipc::Channel, environment: &Environment) -> Arc<Link> {
        let link = Arc::new(Link {
            id: environment.id,
            sender: channel.sender,
            inner: Mutex::default(),
            hearing: Hearing::default(),
            internal: Hearing::default(),
            advanced: environment.advanced,
            survives: environment.slot.is_some(),
        });
        if link.id.is_some() {
            link.tell(words::online());
        }
        tokio::spawn(follow(Arc::clone(&link), channel.receiver));
        link
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.sender.connected()
    }

    /// Sends a message of the cluster, if there is anybody to read it.
    fn tell(&self, members: Value) {
        let seq = self.lock().next_seq();
        self.tell_as(seq, members);
    }

    fn tell_as(&self, seq: u64, members: Value) {
        match self.sender.send_internal(&words::cluster(seq, members), None, Turn::Pipelined) {
            Ok(_) | Err(SendError::Closed) => {}
            Err(error) => tracing::warn!(%error, "the primary is not told"),
        }
    }

    /// Sends a message of the program's.
    pub(crate) fn send(&self, value: &Value) -> io::Result<()> {
        self.sender.try_send(value).map(drop).map_err(failed)
    }

    /// Sends a value of JavaScript.
    pub(crate) async fn send_v8(&self, value: &v8::Value) -> io::Result<()> {
        self.sender.send_value(value).await.map_err(failed)
    }

    /// Sends a message with a socket.
    pub(crate) async fn send_handle(&self, value: &Value, handle: Handle) -> io::Result<()> {
        self.sender.send_handle(value, handle).await.map_err(failed)
    }

    /// Asks the primary for something to listen on.
    ///
    /// # Errors
    ///
    /// It refuses, or is gone.
    pub(crate) async fn ask(self: &Arc<Self>, wanted: &Wanted) -> io::Result<(Given, u64)> {
        let (index, answer) = {
            let mut inner = self.lock();
            // That of one that was closed is free again; those of the others are theirs.
            let taken = |index: &u64| inner.asked.iter().any(|(other, taken)| other == wanted && taken == index);
            let index = (0..).find(|index| !taken(index)).unwrap_or_default();
            inner.asked.push((wanted.clone(), index));
            (index, inner.question())
        };
        let given = match answer {
            Some((seq, answer)) => {
                self.tell_as(seq, wanted.question(index));
                answer.await.map_err(|_| self.gone())?
            }
            None => return Err(self.gone()),
        };
        match given.refused {
            None => Ok((given, index)),
            Some(errno) => {
                self.forget(wanted, index);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Why there is no answer.
    fn gone(&self) -> io::Error {
        let dismissed = self.lock().dismissed;
        let why = if dismissed { "the primary has asked this worker to leave" } else { "the primary is gone" };
        io::Error::new(io::ErrorKind::NotConnected, why)
    }

    /// Says that it listens now.
    pub(crate) fn listens(&self, wanted: &Wanted, index: u64, port: Option<u16>) {
        self.tell(wanted.listening(index, port, self.survives));
    }

    /// It does not any more.
    pub(crate) fn close(&self, wanted: &Wanted, index: u64, key: &str) {
        self.forget(wanted, index);
        self.lock().fed.remove(key);
        self.tell(words::close(key));
    }

    fn forget(&self, wanted: &Wanted, index: u64) {
        self.lock().asked.retain(|(other, taken)| (other, *taken) != (wanted, index));
    }

    /// Whether the primary is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Tells the primary that this worker leaves of its own will, and waits until it knows.
    pub(crate) async fn leave(&self) {
        let question = {
            let mut inner = self.lock();
            inner.leaving = true;
            inner.question()
        };
        if let Some((seq, answer)) = question {
            self.tell_as(seq, words::leaving());
            // A primary that is gone needs no telling.
            let _ = answer.await;
        }
    }

    /// Closes the channel after what is to be sent.
    pub(crate) fn disconnect(&self) {
        self.sender.disconnect();
    }

    fn hear(self: &Arc<Self>, received: Received) {
        match received {
            Received::Message(message) => {
                // Nested too deeply for us: passed on as its text.
                let value = message.parse().unwrap_or_else(|_| Value::String(message.text().unwrap_or_default()));
                let v8 = if self.advanced { message.value().ok() } else { None };
                self.hearing.hear(Message { value, v8, handle: message.handle });
            }
            Received::Internal(Internal { cmd, message }) => {
                let value = message.parse().unwrap_or(Value::Null);
                let order = Order::parse(&cmd, &value);
                if matches!(order, Order::Other) {
                    if !matches!(cmd.as_str(), CLUSTER | MUSHER) {
                        self.internal.hear_now(Message { value, v8: None, handle: message.handle });
                    }
                    return;
                }
                let socket = message.handle.and_then(|handle| handle.into_fd().ok());
                match order {
                    Order::Answer(answer) => self.answered(answer, socket),
                    Order::Connection { key, seq } => self.offered(&key, seq, socket),
                    Order::Entrust { key } => self.entrusted(&key, socket),
                    Order::Drain => self.dismissed(),
                    Order::Other => {}
                }
            }
        }
    }

    /// The primary asks this worker to leave. It answers no more questions, as Node's does not.
    fn dismissed(&self) {
        let mut inner = self.lock();
        (inner.leaving, inner.dismissed) = (true, true);
        let unanswered = std::mem::take(&mut inner.questions);
        drop(inner);
        drop(unanswered);
        drain::begin();
    }

    fn answered(&self, answer: Answer, socket: Option<OwnedFd>) {
        let mut inner = self.lock();
        let Some(question) = inner.questions.remove(&answer.ack) else { return };
        let (feeds, offers) = mpsc::channel(OFFERS);
        let kept = Kept::default();
        if answer.refused.is_none() && !answer.key.is_empty() {
            inner.fed.insert(answer.key.clone(), Feed { offers: feeds, kept: kept.clone() });
        }
        let Answer { refused, key, address, .. } = answer;
        // Who asked may have gone away.
        let _ = question.send(Given { key, socket, address, offers, kept, refused });
    }

    fn offered(self: &Arc<Self>, key: &str, seq: u64, socket: Option<OwnedFd>) {
        let offer = Offer { socket, seq, link: Arc::clone(self) };
        let feeds = self.lock().fed.get(key).map(|feed| feed.offers.clone());
        match feeds {
            // One that it does not take comes back in the error and is declined.
            Some(feeds) => drop(feeds.try_send(offer)),
            None => drop(offer),
        }
    }

    /// Only for a worker that goes on without its primary; the socket of what was closed meanwhile, or takes nothing more,
    /// is closed too.
    fn entrusted(&self, key: &str, socket: Option<OwnedFd>) {
        if self.survives
            && socket.is_some()
            && let Some(feed) = self.lock().fed.get(key)
            && !feed.offers.is_closed()
        {
            feed.kept.put(socket);
        }
    }

    fn ended(&self) {
        let (leaving, left) = {
            let mut inner = self.lock();
            inner.ended = true;
            inner.questions.clear();
            (inner.leaving, std::mem::take(&mut inner.fed))
        };
        let drains = leaving || !self.survives;
        if drains {
            for feed in left.values() {
                feed.kept.take();
            }
        }
        // Who listens sees the end of its offers, and goes on with the socket that it has for that case.
        drop(left);
        self.hearing.end();
        if self.id.is_some() && drains {
            drain::begin();
        }
    }
}

impl Inner {
    fn next_seq(&mut self) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        seq
    }

    /// A question's number and its answer; none after the end.
    fn question(&mut self) -> Option<(u64, oneshot::Receiver<Given>)> {
        if self.ended || self.dismissed {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        let seq = self.next_seq();
        self.questions.insert(seq, sender);
        Some((seq, answer))
    }
}

fn failed(error: SendError) -> io::Error {
    let kind = match error {
        SendError::Closed => io::ErrorKind::NotConnected,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("the primary does not get the message: {error}"))
}

/// Reads the channel until its end.
async fn follow(link: Arc<Link>, mut receiver: Receiver) {
    while let Some(received) = receiver.recv_any().await {
        link.hear(received);
    }
    if let Some(fault) = receiver.fault() {
        tracing::error!(%fault, "the primary broke the protocol of the channel");
    }
    link.ended();
}

/// The error of an address that somebody else has.
pub(crate) fn address_in_use() -> io::Error {
    Errno::ADDRINUSE.into()
}
