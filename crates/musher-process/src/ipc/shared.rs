//! What both halves of a channel share: the socket, both directions, and the task that helps when nobody waits.

mod pump;
mod understand;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use serde_json::json;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, oneshot};

use super::frame::{Frame, Outward};
use super::inbound::{Inbound, Look};
use super::message::{FAST_FRAME, Internal, Received};
use super::outbound::{Outbound, Turn};
use super::sockets::{MAX_KEYS, Sockets};
use super::{Fault, HIGH_WATER, MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, Options, SendError};
use crate::{net, sys};

/// The most messages, and their bytes, that are read ahead for a receiver that does not come.
const INBOX_MESSAGES: usize = 1024;
const INBOX_BYTES: usize = 4 << 20;
/// The most answers to the peer's own questions that wait for it to read them.
const MAX_ANSWERS: usize = 4096;

/// One channel.
#[derive(Debug)]
pub(crate) struct Shared {
    io: AsyncFd<OwnedFd>,
    runtime: Runtime,
    state: Mutex<State>,
    /// Room in the queue, an answer, or the end.
    pub(crate) changed: Notify,
    /// How many senders and receivers there are.
    users: AtomicUsize,
    /// The pump has something else to wait for.
    nudge: Notify,
    this: Weak<Shared>,
}

/// How far the channel's life has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// This end wants to disconnect; what is queued goes first.
    Closing,
    Closed,
}

#[derive(Debug)]
pub(crate) struct State {
    life: Life,
    pub(crate) out: Outbound,
    /// How the peer is written to.
    frame: Frame,
    inn: Inbound,
    inbox: VecDeque<Received>,
    inbox_bytes: usize,
    receiver: Option<Waker>,
    /// The peer marks the runtime's messages by a byte (Bun).
    marks: bool,
    /// The peer may go on in fast frames.
    may_switch: bool,
    /// This end is to go on in fast frames as soon as nothing waits for an answer.
    switch: bool,
    /// The socket refused what was sent: nobody will read it. What came before is still read.
    deaf: bool,
    /// Something that was queued was not sent.
    lost: bool,
    /// The pump runs, and waits to write and to read.
    pump: Option<(bool, bool)>,
    sockets: Sockets,
    /// The keys of the sockets that were sent: Node answers for no others.
    sent_keys: HashSet<String>,
    /// Questions of this end that the peer has not answered.
    counts: Vec<(String, oneshot::Sender<u32>)>,
    closes: Vec<(String, oneshot::Sender<()>)>,
    pub(crate) fault: Option<Fault>,
    /// Messages whose handles were given up.
    pub(crate) given_up: u64,
}

impl Shared {
    pub(crate) fn new(socket: OwnedFd, options: &Options) -> io::Result<Arc<Shared>> {
        let runtime = Runtime::try_current().map_err(io::Error::other)?;
        net::set_nonblocking(&socket)?;
        let io = sys::reactor::watch(socket, Interest::READABLE | Interest::WRITABLE)?;
        let frame = Frame::from(options.serialization);
        let state = State {
            life: Life::Open,
            out: Outbound::default(),
            frame,
            inn: Inbound::new(frame, options.max_message),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            receiver: None,
            marks: false,
            may_switch: options.fast_frames && frame == Frame::Json,
            switch: false,
            deaf: false,
            lost: false,
            pump: None,
            sockets: Sockets::default(),
            sent_keys: HashSet::new(),
            counts: Vec::new(),
            closes: Vec::new(),
            fault: None,
            given_up: 0,
        };
        Ok(Arc::new_cyclic(|this| Shared {
            io,
            runtime,
            state: Mutex::new(state),
            changed: Notify::new(),
            users: AtomicUsize::new(0),
            nudge: Notify::new(),
            this: this.clone(),
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn used(&self) {
        self.users.fetch_add(1, Ordering::Relaxed);
    }

    /// The last user disconnects: nobody else would.
    pub(crate) fn unused(&self) {
        if self.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.disconnect();
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.lock().takes_messages()
    }

    /// How the peer is written to, and whether the runtime's messages are marked; `None`: a message would find no room.
    pub(crate) fn framing(&self, most: usize) -> Option<(Frame, bool)> {
        let state = self.lock();
        (!state.takes_messages() || state.has_room(most)).then_some((state.frame, state.marks))
    }

    /// This end can do fast frames: says so, and goes on in them. For a child whose parent said that it can.
    pub(crate) fn switch_to_fast_frames(&self) {
        let mut state = self.lock();
        state.switch = true;
        self.flush(&mut state);
    }

    /// Whether a message would be queued, or refused at once because nobody will read it.
    pub(crate) fn has_room(&self, most: usize) -> bool {
        let state = self.lock();
        !state.takes_messages() || state.has_room(most)
    }

    /// Sends or queues a message in the frame that it was written in, which is taken if it is queued; `None`: the frame has
    /// changed since, write it again.
    pub(crate) fn push(
        &self,
        written: (Frame, &mut Vec<u8>),
        handle: Option<Arc<OwnedFd>>,
        turn: Turn,
        most: usize,
    ) -> Result<Option<Push>, SendError> {
        let (frame, bytes) = written;
        let mut state = self.lock();
        if !state.takes_messages() {
            return Err(SendError::Closed);
        }
        if state.frame != frame {
            return Ok(None);
        }
        if !state.has_room(most) {
            return Ok(Some(Push::NoRoom));
        }
        if turn == Turn::Gathered && handle.is_none() {
            if !state.out.gathers(bytes.len()) {
                self.send_gathered(&mut state);
                if !state.takes_messages() {
                    return Err(SendError::Closed);
                }
            }
            if state.out.gathers(bytes.len()) {
                state.out.gather(bytes);
                return Ok(Some(Push::Done { slow_down: false }));
            }
        }
        // What was fed before comes before, and goes in the same call.
        state.out.queue_gathered();
        let sent = match handle {
            None if !state.switch => state.out.send_now(self.as_fd(), bytes, turn),
            _ => 0,
        };
        if sent < bytes.len() {
            let mut rest = Bytes::from(std::mem::take(bytes));
            rest.advance(sent);
            state.out.push(rest, handle, turn);
            self.flush(&mut state);
        }
        Ok(Some(Push::Done { slow_down: state.out.queued().0 > HIGH_WATER || state.out.held() > 1 }))
    }

    /// What was fed is on its way from here on. True: all that was sent is in the socket, and every handle confirmed. An
    /// error: something will not be sent any more.
    pub(crate) fn flush_gathered(&self) -> Result<bool, SendError> {
        let mut state = self.lock();
        if state.out.gathered() > 0 {
            self.send_gathered(&mut state);
        }
        if state.lost { Err(SendError::Closed) } else { Ok(state.out.is_done()) }
    }

    fn send_gathered(&self, state: &mut State) {
        state.out.send_gathered(self.as_fd());
        self.flush(state);
    }

    /// Sends what can be sent now, and sees to the rest.
    fn flush(&self, state: &mut State) {
        let before = state.out.queued();
        if state.switch && state.out.is_quiet() {
            state.announce_fast_frames();
        }
        if state.life != Life::Closed && (state.deaf || state.out.flush(self.as_fd()).is_err()) {
            state.deaf = true;
            state.give_up();
        }
        if state.life == Life::Closing && state.out.is_done() {
            self.close(state);
        }
        if state.out.queued() != before {
            self.changed.notify_waiters();
        }
        self.start_pump(state);
    }

    /// The peer sees the end.
    fn close(&self, state: &mut State) {
        let _ = net::shutdown(self.as_fd());
        self.ended(state);
    }

    /// The peer broke the rules. Nothing behind that can be understood.
    fn fail(&self, state: &mut State, fault: Fault) {
        state.fault = Some(fault);
        state.inn.clear();
        self.close(state);
    }

    fn ended(&self, state: &mut State) {
        state.life = Life::Closed;
        state.give_up();
        state.counts.clear();
        state.closes.clear();
        if let Some(waker) = state.receiver.take() {
            waker.wake();
        }
        self.changed.notify_waiters();
    }

    /// Closes this end when everything that is queued was sent.
    pub(crate) fn disconnect(&self) {
        let mut state = self.lock();
        if state.life == Life::Open {
            state.out.queue_gathered();
            state.life = Life::Closing;
            self.flush(&mut state);
        }
    }

    /// The next message that came. `at_once`: what is in the socket counts, also if the runtime has not heard of it yet.
    pub(crate) fn poll_received(&self, cx: &mut Context<'_>, at_once: bool) -> Poll<Option<Received>> {
        loop {
            {
                let mut state = self.lock();
                if let Some(received) = state.take_received(self) {
                    return Poll::Ready(Some(received));
                }
                if state.life == Life::Closed {
                    return Poll::Ready(None);
                }
                if at_once && self.look(&mut state) != Looked::Nothing {
                    continue;
                }
                state.receiver = Some(cx.waker().clone());
            }
            let mut guard = match self.io.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(_)) => return Poll::Ready(None),
            };
            if self.look(&mut self.lock()) != Looked::MayBeMore {
                guard.clear_ready();
            }
        }
    }

    /// Reads once.
    fn look(&self, state: &mut State) -> Looked {
        match state.inn.read(self.as_fd()) {
            Ok(Look::Some { all: false }) => return Looked::MayBeMore,
            Ok(Look::Some { all: true }) => {}
            Ok(Look::Nothing) => return Looked::Nothing,
            Ok(Look::End) => self.ended(state),
            Err(fault) => {
                self.fail(state, fault);
            }
        }
        Looked::All
    }

    fn start_pump(&self, state: &mut State) {
        let waits = state.pump_waits();
        match state.pump {
            None if waits == (false, false) => {}
            None => {
                if let Some(this) = self.this.upgrade() {
                    state.pump = Some(waits);
                    self.runtime.spawn(pump::pump(this));
                }
            }
            Some(for_what) if for_what == waits => {}
            Some(_) => self.nudge.notify_one(),
        }
    }

    /// A socket that came over this channel was closed.
    pub(crate) fn socket_closed(&self, key: &str) {
        let mut state = self.lock();
        if state.sockets.closed(key) {
            let told = state.answer(&json!({"cmd": "NODE_SOCKET_ALL_CLOSED", "key": key}));
            if told.is_ok() {
                self.flush(&mut state);
            }
        }
    }

    /// A socket is sent under this key.
    pub(crate) fn sends_key(&self, key: &str) {
        let mut state = self.lock();
        if state.sent_keys.len() < MAX_KEYS && !state.sent_keys.contains(key) {
            state.sent_keys.insert(key.to_owned());
        }
    }

    /// Asks how many sockets the peer has open under a key.
    pub(crate) fn ask_count(&self, key: &str) -> Result<oneshot::Receiver<u32>, SendError> {
        let (tell, told) = oneshot::channel();
        let known = self.lock().knows_key(key);
        match known {
            true => self.ask(&json!({"cmd": "NODE_SOCKET_GET_COUNT", "key": key}), |state| {
                state.counts.push((key.to_owned(), tell));
            })?,
            false => drop(tell.send(0)),
        }
        Ok(told)
    }

    /// Asks to be told when the peer has no socket open under a key.
    pub(crate) fn ask_closed(&self, key: &str) -> Result<oneshot::Receiver<()>, SendError> {
        let (tell, told) = oneshot::channel();
        let known = self.lock().knows_key(key);
        match known {
            true => self.ask(&json!({"cmd": "NODE_SOCKET_NOTIFY_CLOSE", "key": key}), |state| {
                state.closes.push((key.to_owned(), tell));
            })?,
            false => drop(tell.send(())),
        }
        Ok(told)
    }

    fn ask(&self, question: &serde_json::Value, note: impl FnOnce(&mut State)) -> Result<(), SendError> {
        let mut state = self.lock();
        if !state.takes_messages() {
            return Err(SendError::Closed);
        }
        state.counts.retain(|(_, tell)| !tell.is_closed());
        state.closes.retain(|(_, tell)| !tell.is_closed());
        if state.counts.len() + state.closes.len() >= MAX_ANSWERS {
            return Err(SendError::Full);
        }
        // In its turn: a count has to have the sockets that were sent before.
        state.out.queue_gathered();
        let bytes = state.frame.write(&Outward::Internal(question), state.marks)?;
        state.out.push(bytes, None, Turn::Queued);
        note(&mut state);
        self.flush(&mut state);
        Ok(())
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.get_ref().as_fd()
    }
}

/// What a look at the socket found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Something came, and more may be there.
    MayBeMore,
    /// Something came, and no more is there; or the end.
    All,
    Nothing,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Push {
    Done {
        /// Much waits, or several messages for the answer to a handle, as Node counts it.
        slow_down: bool,
    },
    NoRoom,
}

impl State {
    /// What is queued will not be sent.
    fn give_up(&mut self) {
        self.lost |= !self.out.is_done();
        self.out.clear();
    }

    /// Whether a socket was sent under this key, as far as keys are remembered.
    fn knows_key(&self, key: &str) -> bool {
        self.sent_keys.contains(key) || self.sent_keys.len() >= MAX_KEYS
    }

    fn takes_messages(&self) -> bool {
        self.life == Life::Open && !self.deaf
    }

    fn has_room(&self, most: usize) -> bool {
        let (bytes, messages) = self.out.queued();
        bytes <= most.min(MAX_QUEUED_BYTES) && messages < MAX_QUEUED_MESSAGES
    }

    /// Whether somebody has to wait to write and to read, in the name of what was sent.
    fn pump_waits(&self) -> (bool, bool) {
        let open = self.life != Life::Closed;
        (open && self.out.has_ready(), open && self.has_to_hear())
    }

    /// Something that was sent waits for the peer's word, and there is room for what comes before it.
    fn has_to_hear(&self) -> bool {
        let waits = self.out.is_unanswered() || !self.counts.is_empty() || !self.closes.is_empty();
        waits && self.inbox.len() < INBOX_MESSAGES && self.inbox_bytes < INBOX_BYTES
    }

    /// What this end sends from now on is in fast frames. Nothing that was written before may come later.
    fn announce_fast_frames(&mut self) {
        self.switch = false;
        self.out.queue_gathered();
        if let Ok(bytes) = self.frame.write(&Outward::Internal(&json!({"cmd": FAST_FRAME})), false) {
            self.out.push(bytes, None, Turn::Queued);
            self.frame = Frame::Fast;
        }
    }
}

/// How much memory it holds, roughly.
fn size(received: &Received) -> usize {
    match received {
        Received::Message(message) | Received::Internal(Internal { message, .. }) => message.size(),
    }
}
