//! What happens to a child, in Node's words and order.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Child;
use crate::ExitStatus;
use crate::ipc::{Fault, Internal, Message};

/// What happened to a child.
///
/// The order is Node's: `Spawn` first; messages, then `Disconnect` when the channel is closed; `Exit` when the program has
/// ended; and last `Close`, when its outputs are at their end, too, which another process may hold open.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Event};
///
/// let mut child = Command::shell("echo '[1]' >&3").ipc().spawn()?;
/// let mut seen = Vec::new();
/// while let Some(event) = child.next_event().await {
///     seen.push(match event {
///         Event::Spawn => "spawn".to_owned(),
///         Event::Message(message) => message.text()?,
///         Event::Disconnect => "disconnect".to_owned(),
///         Event::Exit(status) => format!("exit: {status}"),
///         Event::Close(_) => "close".to_owned(),
///         other => format!("{other:?}"),
///     });
/// }
/// assert_eq!(seen, ["spawn", "[1]", "disconnect", "exit: exit code 0", "close"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// It runs.
    Spawn,
    /// It sent a message.
    Message(Message),
    /// Its runtime sent a message, as `cluster` does: Node's `internalMessage`.
    Internal(Internal),
    /// The channel is closed, by either end.
    Disconnect,
    /// Something went wrong that is nobody's call's result.
    Error(ChildError),
    /// It has ended.
    Exit(ExitStatus),
    /// It has ended, and so have its outputs.
    Close(ExitStatus),
}

/// What went wrong with a child.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{ChildError, Command, Event};
///
/// // An empty line is no message.
/// let mut child = Command::shell("echo >&3").ipc().spawn()?;
/// let mut faults = Vec::new();
/// while let Some(event) = child.next_event().await {
///     if let Event::Error(ChildError::Channel(fault)) = event {
///         faults.push(fault.to_string());
///     }
/// }
/// assert_eq!(faults, ["sent what is no message: an empty line"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// It broke the rules of the channel, which was closed.
    #[error("the child {0}")]
    Channel(Fault),
    /// A handle did not arrive, however often it was sent: Node's `SentHandleNotReceivedWarning`.
    #[error("a handle was not received by the child, and was closed")]
    HandleNotReceived,
}

/// The events of a child as a stream: [`Child::events`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Event, spawn};
/// use tokio_stream::StreamExt;
///
/// let mut child = spawn("true", [""; 0])?;
/// let mut ends = child.events().filter(|event| matches!(event, Event::Exit(_) | Event::Close(_)));
/// assert!(matches!(ends.next().await, Some(Event::Exit(status)) if status.is_success()));
/// assert!(matches!(ends.next().await, Some(Event::Close(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events<'a> {
    pub(super) child: &'a mut Child,
}

impl futures_core::Stream for Events<'_> {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.child.poll_event(cx)
    }
}
