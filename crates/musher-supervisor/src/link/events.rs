//! What a keeper tells a supervisor while both live.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use tokio::io::unix::AsyncFd;

use super::{About, KeeperLink};
use crate::keeper::ExitRecord;
use crate::keeper::wire::{self, Incoming, Message};

/// What a keeper has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperEvent {
    /// A child of the keeper ended; say [`KeeperLink::forget_exit`] when it is dealt with.
    Exit(ExitRecord),
    /// Everything is to be stopped (SIGTERM).
    EndRequested,
    /// The answer to [`KeeperLink::ping`].
    Pong(u64),
    /// The keeper became another executable. What it speaks is told by [`KeeperLink::version`].
    Renewed,
    /// A signal to a team in the foreground.
    Signalled(i32),
    /// The keeper is gone: become the keeper. It comes again at every call.
    Died,
}

/// Waits for what the keeper has to tell, in tokio.
#[derive(Debug)]
pub struct KeeperWatch {
    link: KeeperLink,
    socket: AsyncFd<OwnedFd>,
}

impl KeeperLink {
    /// What the keeper has told, if anything, without waiting.
    pub fn next_event(&self) -> Option<KeeperEvent> {
        loop {
            if self.keeper_has_died() {
                return Some(KeeperEvent::Died);
            }
            match wire::receive(&self.shared.socket) {
                Ok(Some(Incoming::Message(Message::Exit(exit), _))) => {
                    self.mirror().mirror_exit(exit);
                    return Some(KeeperEvent::Exit(exit));
                }
                Ok(Some(Incoming::Message(Message::EndRequested, _))) => {
                    self.shared.end_requested.store(true, Ordering::Release);
                    return Some(KeeperEvent::EndRequested);
                }
                Ok(Some(Incoming::Message(Message::Hello { versions, software, .. }, _))) => {
                    *self.about() = About { versions, software };
                    return Some(KeeperEvent::Renewed);
                }
                Ok(Some(Incoming::Message(Message::Pong { token }, _))) => return Some(KeeperEvent::Pong(token)),
                Ok(Some(Incoming::Message(Message::Signalled { signal }, _))) => {
                    return Some(KeeperEvent::Signalled(signal));
                }
                Ok(Some(Incoming::Message(..) | Incoming::Ignored { .. })) => {}
                Ok(None) => return None,
                Ok(Some(Incoming::End)) | Err(_) => {
                    self.shared.lost.store(true, Ordering::Release);
                    return Some(KeeperEvent::Died);
                }
            }
        }
    }

    /// Whether the keeper is known to be dead. Cheap while it lives. It is known at the first [`put`](KeeperLink::put)
    /// that fails, long before a watch that waits in a queue tells it.
    pub fn keeper_has_died(&self) -> bool {
        self.shared.lost.load(Ordering::Acquire) && self.shared.keeper_is_dead()
    }

    /// A watch for tokio. To be called inside a runtime; one is enough.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the socket.
    pub fn watch(&self) -> io::Result<KeeperWatch> {
        let socket = self.shared.socket.try_clone()?;
        let socket = crate::watch::watch(socket)?;
        Ok(KeeperWatch { link: self.clone(), socket })
    }
}

impl KeeperWatch {
    /// What the keeper tells next. Cancel-safe.
    pub async fn next(&mut self) -> KeeperEvent {
        loop {
            if let Some(event) = self.link.next_event() {
                return event;
            }
            match self.socket.readable().await {
                // Readiness is cleared only when there was nothing to read after it was seen.
                Ok(mut ready) => match self.link.next_event() {
                    Some(event) => return event,
                    None => ready.clear_ready(),
                },
                Err(_) => return KeeperEvent::Died,
            }
        }
    }
}
