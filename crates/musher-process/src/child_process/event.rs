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
