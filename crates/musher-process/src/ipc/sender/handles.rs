//! Sockets and pipes that go with messages, and what the peer does with them.

use serde::Serialize;

use super::Sender;
use crate::ipc::SendError;
use crate::ipc::frame::Outward;
use crate::ipc::handle::Handle;
use crate::ipc::outbound::Turn;

impl Sender {
    /// Sends a message with a socket or pipe. This end's copy is closed when the peer has confirmed that it got it;
    /// keep a clone, or use [`send_handle_keeping`](Sender::send_handle_keeping), to go on using it here. Messages
    /// behind it wait for the confirmation; if the handle does not arrive, it is sent up to three times more.
    ///
    /// # Errors
    ///
    /// As of [`send`](Sender::send), and [`SendError::Handle`] if it cannot be made non-blocking.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, theirs) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(theirs, Options::default())?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// ours.sender.send_handle("server", listener.into()).await?;
    /// let handle = theirs.recv().await.and_then(|message| message.handle).ok_or("no handle")?;
    /// let listener = tokio::net::TcpListener::from_std(handle.into_tcp_listener()?)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_handle<T: Serialize + ?Sized>(&self, message: &T, handle: Handle) -> Result<(), SendError> {
        self.deliver_handle(&Outward::User(message), &handle, Turn::Queued).await
    }

    /// The same, and the handle stays open here, too: Node's `keepOpen`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Handle, Options};
    /// # let (mut one, end) = Channel::pair(Options::default())?;
    /// # let one_child = Channel::from_fd(end, Options::default())?;
    /// # let (mut other, end) = Channel::pair(Options::default())?;
    /// # let other_child = Channel::from_fd(end, Options::default())?;
    /// // One listener for two children.
    /// let listener = Handle::from(std::net::TcpListener::bind("127.0.0.1:0")?);
    /// one_child.sender.send_handle_keeping(&"server", &listener).await?;
    /// other_child.sender.send_handle(&"server", listener).await?;
    /// # for channel in [&mut one, &mut other] {
    /// #     channel.recv().await.unwrap().handle.unwrap().into_tcp_listener()?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_handle_keeping<T: Serialize + ?Sized>(
        &self,
        message: &T,
        handle: &Handle,
    ) -> Result<(), SendError> {
        self.deliver_handle(&Outward::User(message), handle, Turn::Queued).await
    }

    /// Queues a message with a socket or pipe without waiting: [`try_send`](Sender::try_send) and
    /// [`send_handle`](Sender::send_handle) in one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Options};
    /// # let (mut ours, end) = Channel::pair(Options::default())?;
    /// # let theirs = Channel::from_fd(end, Options::default())?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// assert!(theirs.sender.try_send_handle(&"server", &listener.into())?);
    /// assert!(ours.recv().await.ok_or("no message")?.handle.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_send_handle<T: Serialize + ?Sized>(&self, message: &T, handle: &Handle) -> Result<bool, SendError> {
        self.push_with(&Outward::User(message), Some(handle))
    }

    /// Asks how many of the connections that were sent under this key ([`Handle::accepted`]) the peer still has open.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::ipc::{Channel, Handle, Options};
    /// # let (ours, end) = Channel::pair(Options::default())?;
    /// # let mut theirs = Channel::from_fd(end, Options::default())?;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let _client = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let handle = Handle::accepted(listener.accept()?.0, &listener)?;
    /// let key = handle.key().unwrap_or_default().to_owned();
    /// ours.sender.send_handle(&"take it", handle).await?;
    /// let connection = theirs.recv().await.ok_or("no message")?.handle;
    /// # let reading = tokio::spawn(async move { theirs.recv().await });
    /// assert_eq!(ours.sender.socket_count(&key).await?, 1);
    /// drop(connection);
    /// ours.sender.sockets_closed(&key).await?;
    /// assert_eq!(ours.sender.socket_count(&key).await?, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn socket_count(&self, key: &str) -> Result<u32, SendError> {
        self.shared.ask_count(key)?.await.map_err(|_| SendError::Closed)
    }

    /// Waits until the peer has closed all connections that were sent under this key.
    /// [`socket_count`](Sender::socket_count) has an example.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when the channel ends before; [`SendError::Full`] when too many questions wait.
    pub async fn sockets_closed(&self, key: &str) -> Result<(), SendError> {
        self.shared.ask_closed(key)?.await.map_err(|_| SendError::Closed)
    }
}
