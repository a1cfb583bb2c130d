//! The half of a channel that receives.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::Fault;
use super::message::{Message, Received};
use super::shared::Shared;

/// Receives from a channel. As a [`Stream`] it gives the program's messages. In the examples `ours` and `theirs` are the two
/// ends of a [`Channel::pair`](super::Channel::pair).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use musher_process::ipc::{Channel, Options};
/// # let (mut ours, theirs) = Channel::pair(Options::default())?;
/// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
/// use tokio_stream::StreamExt;
///
/// for word in ["one", "two"] {
///     theirs.sender.send(word).await?;
/// }
/// drop(theirs);
/// let words: Vec<_> = ours.receiver.filter_map(|message| message.parse::<String>().ok()).collect().await;
/// assert_eq!(words, ["one", "two"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
}

impl Receiver {
    pub(crate) fn new(shared: Arc<Shared>) -> Receiver {
        shared.used();
        Receiver { shared }
    }

    /// The next message of the program at the other end; `None` when the channel is closed. Messages of its runtime are
    /// passed over. Dropping the future loses nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (ours, theirs) = Channel::pair(Options::default())?;
    /// # let theirs = Channel::from_fd(theirs, Options::default())?;
    /// let (sender, mut receiver) = (theirs.sender, ours.receiver);
    /// tokio::spawn(async move {
    ///     for number in 0..3 {
    ///         let _ = sender.send(&number).await;
    ///     }
    ///     sender.disconnect();
    /// });
    /// let mut sum = 0;
    /// while let Some(message) = receiver.recv().await {
    ///     sum += message.parse::<u32>()?;
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message of the program at the other end, or of its runtime; `None` when the channel is closed.
    /// Dropping the future loses nothing. See [`Received`] for an example.
    pub async fn recv_any(&mut self) -> Option<Received> {
        poll_fn(|cx| self.poll_recv_any(cx)).await
    }

    /// The same as [`recv`](Receiver::recv), to be polled: for futures and streams of your own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// theirs.sender.send(&7).await?;
    /// let message = std::future::poll_fn(|cx| ours.receiver.poll_recv(cx)).await;
    /// assert_eq!(message.ok_or("no message")?.parse::<u8>()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            match ready!(self.shared.poll_received(cx, false)) {
                Some(Received::Message(message)) => return Poll::Ready(Some(message)),
                Some(Received::Internal(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }

    /// The same as [`recv_any`](Receiver::recv_any), to be polled.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// drop(theirs);
    /// assert!(std::future::poll_fn(|cx| ours.receiver.poll_recv_any(cx)).await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_recv_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.shared.poll_received(cx, false)
    }

    /// The same, when the peer has just ended: what it sent is there, whether the runtime has heard of it or not.
    pub(crate) fn poll_recv_last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.shared.poll_received(cx, true)
    }

    /// Why the channel was closed, if the peer broke the rules; `None` for an end as it should be. [`Fault`] shows
    /// one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// drop(theirs);
    /// assert!(ours.recv().await.is_none());
    /// assert_eq!(ours.receiver.fault(), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.shared.lock().fault.clone()
    }

    /// The same, told once.
    pub(crate) fn take_fault(&mut self) -> Option<Fault> {
        self.shared.lock().fault.take()
    }
}

impl Stream for Receiver {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv(cx)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.unused();
    }
}
