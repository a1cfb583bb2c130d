//! The half of a channel that sends.

mod handles;

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use serde::Serialize;

use super::frame::{HandleHead, Outward};
use super::handle::Handle;
use super::outbound::Turn;
use super::shared::{Push, Shared};
use super::{HIGH_WATER, SendError};
use crate::net;
use crate::v8::Value;

/// Sends over a channel. Clones send over the same one, which closes when the last of them and its
/// [`Receiver`](super::Receiver) are dropped.
///
/// - messages: [`send`](Sender::send), [`try_send`](Sender::try_send), [`send_value`](Sender::send_value);
/// - many messages: [`send_all`](Sender::send_all), [`feed`](Sender::feed) and [`flush`](Sender::flush);
/// - sockets: [`send_handle`](Sender::send_handle), [`send_handle_keeping`](Sender::send_handle_keeping),
///   [`socket_count`](Sender::socket_count), [`sockets_closed`](Sender::sockets_closed);
/// - the end: [`flush`](Sender::flush), [`disconnect`](Sender::disconnect).
///
/// In the examples `ours` and `theirs` are the two ends of a [`Channel::pair`](super::Channel::pair).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// let sender = ours.sender.clone();
/// tokio::spawn(async move { sender.send("from another task").await });
/// assert_eq!(theirs.recv().await.ok_or("no message")?.parse::<String>()?, "from another task");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

/// How a message of the runtime takes its turn: for [`Sender::send_internal`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// use musher_process::ipc::Order;
/// use serde_json::json;
///
/// ours.sender.send_internal(&json!({"cmd": "NODE_LATER"}), None, Order::Queued)?;
/// ours.sender.send_internal(&json!({"cmd": "NODE_NOW"}), None, Order::Pipelined)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Behind everything, also behind handles that the peer has not confirmed yet; and others behind it.
    Queued,
    /// At once. Several handles may be on their way; what is sent behind one may be delivered before it.
    Pipelined,
}

impl Sender {
    pub(crate) fn new(shared: Arc<Shared>) -> Sender {
        shared.used();
        Sender { shared }
    }

    /// Sends a message. Waits first while more than [`HIGH_WATER`] bytes are queued; so whoever sends faster than the
    /// peer reads is slowed down to its pace. When it returns, the message is in the socket or will be.
    ///
    /// If the future is dropped before it is ready, the message was not sent.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`]; [`SendError::NotAMessage`] for what JSON cannot say, such as a map with keys that are no
    /// strings.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// ours.sender.send(&serde_json::json!({"text": "hello"})).await?;
    /// assert_eq!(theirs.recv().await.ok_or("no message")?.text()?, r#"{"text":"hello"}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), SendError> {
        self.deliver(&Outward::User(message), None, Turn::Queued).await
    }

    /// Puts a message with others that go to the peer in one call: where many small ones are to be sent, that is several
    /// times as fast as [`send`](Sender::send), whoever the peer is. It is on its way after [`flush`](Sender::flush), and
    /// not before: call it when nothing more is to be sent for now.
    ///
    /// What was fed also goes when 64 KiB have come together, before anything that is sent in another way (the order
    /// stays), at [`disconnect`](Sender::disconnect), and when this sender or a clone of it is dropped. It waits like
    /// `send` while the peer does not read. If the future is dropped, the message was not fed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// let theirs = Channel::from_fd(theirs, Options::default())?;
    /// for number in 0..1000 {
    ///     ours.sender.feed(&number).await?;
    /// }
    /// ours.sender.flush().await?;
    /// # let mut theirs = theirs;
    /// # for number in 0..1000 {
    /// #     assert_eq!(theirs.recv().await.ok_or("no message")?.parse::<u32>()?, number);
    /// # }
    /// # theirs.sender.disconnect();
    /// # assert!(ours.recv().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn feed<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), SendError> {
        self.deliver(&Outward::User(message), None, Turn::Gathered).await
    }

    /// [Feeds](Sender::feed) many messages and sees them on their way. When it returns, all are in the socket or will be;
    /// after an error, or if the future is dropped, those before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// ours.sender.send_all(["one", "two", "three"]).await?;
    /// # for word in ["one", "two", "three"] {
    /// #     assert_eq!(theirs.recv().await.ok_or("no message")?.parse::<String>()?, word);
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_all<T: Serialize>(&self, messages: impl IntoIterator<Item = T>) -> Result<(), SendError> {
        let _on_their_way = Flush(&self.shared);
        for message in messages {
            self.feed(&message).await?;
        }
        self.shared.flush_gathered().map(drop)
    }

    /// Sends a value of JavaScript. In a channel of JSON it becomes what `JSON.stringify` makes of it. Waits and fails
    /// as [`send`](Sender::send) does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ipc::{Channel, Options, Serialization};
    /// use musher_process::v8::Value;
    ///
    /// let options = Options::default().serialization(Serialization::Advanced);
    /// let (ours, theirs) = Channel::pair(options.clone())?;
    /// let mut theirs = Channel::from_fd(theirs, options)?;
    /// ours.sender.send_value(&Value::Set(vec![Value::Null])).await?;
    /// assert_eq!(theirs.recv().await.ok_or("no message")?.value()?, Value::Set(vec![Value::Null]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_value(&self, value: &Value) -> Result<(), SendError> {
        self.deliver(&Outward::<()>::Value(value), None, Turn::Queued).await
    }

    /// Queues a message without waiting. `Ok(false)`, as in Node, means: it is queued, but send no more for now, because
    /// [`HIGH_WATER`] bytes wait, or another message for the peer's word that it got a handle.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// let (ours, _theirs) = Channel::pair(Options::default())?;
    /// let mut sent = 0;
    /// while ours.sender.try_send(&"to somebody who does not read")? {
    ///     sent += 1;
    /// }
    /// assert!(sent > 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_send<T: Serialize + ?Sized>(&self, message: &T) -> Result<bool, SendError> {
        self.push_now(&Outward::User(message), None, Turn::Queued)
    }

    /// Queues a value of JavaScript without waiting, with a socket or pipe if you like.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options, Serialization};
    /// use musher_process::v8::Value;
    /// # let options = Options::default().serialization(Serialization::Advanced);
    /// # let (mut ours, end) = Channel::pair(options.clone())?;
    /// # let theirs = Channel::from_fd(end, options)?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// theirs.sender.try_send_value(&Value::Buffer(vec![1, 2, 3]), Some(&listener.into()))?;
    /// assert_eq!(ours.recv().await.ok_or("no message")?.value()?, Value::Buffer(vec![1, 2, 3]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_send_value(&self, value: &Value, handle: Option<&Handle>) -> Result<bool, SendError> {
        self.push_with(&Outward::<()>::Value(value), handle)
    }

    /// Queues a message of the runtime: an object whose `cmd` begins with `NODE_`, which a Node program does not see
    /// as a message but as `internalMessage`. Like [`try_send`](Sender::try_send).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// use musher_process::ipc::{Order, Received};
    /// use serde_json::json;
    ///
    /// ours.sender.send_internal(&json!({"cmd": "NODE_HELLO"}), None, Order::Queued)?;
    /// let Some(Received::Internal(internal)) = theirs.receiver.recv_any().await else { panic!("something else came") };
    /// assert_eq!(internal.cmd, "NODE_HELLO");
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_internal<T: Serialize + ?Sized>(
        &self,
        message: &T,
        handle: Option<&Handle>,
        order: Order,
    ) -> Result<bool, SendError> {
        let turn = match order {
            Order::Queued => Turn::Queued,
            Order::Pipelined => Turn::AtOnce,
        };
        let message = Outward::Internal(message);
        match handle {
            None => self.push_now(&message, None, turn),
            Some(handle) => {
                let fd = ready_to_send(handle)?;
                self.push_now(&Outward::Handle { head: &head(handle), inner: &message }, Some(fd), turn)
            }
        }
    }

    /// Sends what was [fed](Sender::feed), and waits until all that was queued is in the socket, and every handle confirmed.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the channel ends before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// while ours.sender.try_send("as much as the socket takes")? {}
    /// let reading = tokio::spawn(async move { while theirs.recv().await.is_some() {} });
    /// ours.sender.flush().await?;
    /// assert_eq!(ours.sender.queued_bytes(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn flush(&self) -> Result<(), SendError> {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            // What was queued before a disconnect is still sent.
            if self.shared.flush_gathered()? {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Closes the channel when all that was queued is sent. The peer's `disconnect` event comes of it, and this end
    /// receives nothing more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// let (ours, theirs) = Channel::pair(Options::default())?;
    /// let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// ours.sender.send("the last").await?;
    /// ours.sender.disconnect();
    /// assert!(ours.sender.send("too late").await.is_err());
    /// assert_eq!(theirs.recv().await.ok_or("no message")?.text()?, "\"the last\"");
    /// assert!(theirs.recv().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn disconnect(&self) {
        self.shared.disconnect();
    }

    /// Whether messages can be sent. It is told by reading, so a channel that nobody receives from may be found closed
    /// late.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// assert!(ours.sender.connected());
    /// drop(theirs);
    /// assert!(ours.recv().await.is_none());
    /// assert!(!ours.sender.connected());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn connected(&self) -> bool {
        self.shared.connected()
    }

    /// How many bytes wait for the peer, and to be [flushed](Sender::flush). Those in the socket, which the system has
    /// already, do not count.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// assert_eq!(ours.sender.queued_bytes(), 0);
    /// while ours.sender.try_send("to somebody who does not read")? {}
    /// assert!(ours.sender.queued_bytes() >= musher_process::ipc::HIGH_WATER);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let state = self.shared.lock();
        state.out.queued().0 + state.out.gathered()
    }

    /// How many messages were given up because their handle did not arrive, however often it was sent.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// assert_eq!(ours.sender.handles_given_up(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handles_given_up(&self) -> u64 {
        self.shared.lock().given_up
    }

    async fn deliver_handle<T: Serialize + ?Sized>(
        &self,
        message: &Outward<'_, T>,
        handle: &Handle,
        turn: Turn,
    ) -> Result<(), SendError> {
        let fd = ready_to_send(handle)?;
        if let Some(key) = handle.key() {
            self.shared.sends_key(key);
        }
        self.deliver(&Outward::Handle { head: &head(handle), inner: message }, Some(fd), turn).await
    }

    async fn deliver<T: Serialize + ?Sized>(
        &self,
        message: &Outward<'_, T>,
        handle: Option<Arc<OwnedFd>>,
        turn: Turn,
    ) -> Result<(), SendError> {
        loop {
            // Not held over an await: a task that waits may go on in another thread.
            let pushed = with_scratch(|bytes| self.push(message, handle.clone(), turn, HIGH_WATER, bytes))?;
            match pushed {
                Push::Done { .. } => return Ok(()),
                Push::NoRoom => self.room().await,
            }
        }
    }

    /// Waits until the queue has gone down well below the limit: one message at a time would be one wake-up at a time.
    async fn room(&self) {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            if self.shared.has_room(HIGH_WATER / 4) {
                return;
            }
            changed.await;
        }
    }

    fn push_with<T: Serialize + ?Sized>(
        &self,
        message: &Outward<'_, T>,
        handle: Option<&Handle>,
    ) -> Result<bool, SendError> {
        let Some(handle) = handle else { return self.push_now(message, None, Turn::Queued) };
        let fd = ready_to_send(handle)?;
        if let Some(key) = handle.key() {
            self.shared.sends_key(key);
        }
        self.push_now(&Outward::Handle { head: &head(handle), inner: message }, Some(fd), Turn::Queued)
    }

    fn push_now<T: Serialize + ?Sized>(
        &self,
        message: &Outward<'_, T>,
        handle: Option<Arc<OwnedFd>>,
        turn: Turn,
    ) -> Result<bool, SendError> {
        match with_scratch(|bytes| self.push(message, handle, turn, usize::MAX, bytes))? {
            Push::Done { slow_down } => Ok(!slow_down),
            Push::NoRoom => Err(SendError::Full),
        }
    }

    fn push<T: Serialize + ?Sized>(
        &self,
        message: &Outward<'_, T>,
        handle: Option<Arc<OwnedFd>>,
        turn: Turn,
        most: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<Push, SendError> {
        loop {
            // Before it is written, which takes longer than to look.
            let Some((frame, marks)) = self.shared.framing(most) else { return Ok(Push::NoRoom) };
            frame.write_into(message, marks, bytes)?;
            if let Some(pushed) = self.shared.push((frame, bytes), handle.clone(), turn, most)? {
                return Ok(pushed);
            }
        }
    }
}

/// The most memory that a thread keeps for the next message.
const MAX_SCRATCH: usize = 256 << 10;

thread_local! {
    /// Where messages are written. One for all channels of a thread, so that a message takes no memory of its own if the
    /// socket takes it.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn with_scratch<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    // Taken out: a message may send another one while it is written.
    let mut bytes = SCRATCH.take();
    let result = write(&mut bytes);
    if bytes.capacity() <= MAX_SCRATCH {
        SCRATCH.set(bytes);
    }
    result
}

fn head(handle: &Handle) -> HandleHead {
    HandleHead {
        cmd: "NODE_HANDLE",
        kind: handle.kind().name(),
        key: handle.key().map(str::to_owned),
        dgram_type: handle.dgram_type(),
    }
}

/// libuv does not set the flag for descriptors that it receives, and uses them as if it were set.
fn ready_to_send(handle: &Handle) -> Result<Arc<OwnedFd>, SendError> {
    let fd = handle.fd();
    net::set_nonblocking(&fd).map_err(SendError::Handle)?;
    Ok(fd)
}

impl Clone for Sender {
    fn clone(&self) -> Sender {
        Sender::new(self.shared.clone())
    }
}

/// What was fed goes when this does.
struct Flush<'a>(&'a Shared);

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        let _ = self.0.flush_gathered();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.shared.flush_gathered();
        self.shared.unused();
    }
}
