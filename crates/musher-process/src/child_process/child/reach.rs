//! What a child is asked, told and sent.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::Child;
use super::process::KillError;
use crate::child_process::signal::Signal;
use crate::exit::ExitStatus;
use crate::ipc::{Handle, SendError, Sender};
use crate::pid::Pid;

impl Child {
    /// Its number. It is its own only until it has ended; [`kill`](Child::kill) never mistakes it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.handle.pid()
    }

    /// See [`ChildHandle::kill`].
    pub fn kill(&self, signal: Signal) -> Result<(), KillError> {
        self.handle.kill(signal)
    }

    /// Whether a signal was sent to it by [`kill`](Child::kill), or because of a limit.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.handle.process.killed.load(Ordering::Relaxed)
    }

    /// Whether it ran longer than its [`timeout`](Command::timeout).
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.handle.process.timed_out.load(Ordering::Relaxed)
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.handle.exit_status()
    }

    /// The program that was executed: Node's `spawnfile`.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.handle.process.program
    }

    /// All arguments with `argv[0]`: Node's `spawnargs`.
    #[must_use]
    pub fn args(&self) -> &[OsString] {
        &self.handle.process.args
    }

    /// Whether it has a channel that is open.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.handle.connected()
    }

    /// Sends it a message. See [`Sender::send`] for what happens when it does not read.
    pub async fn send<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), SendError> {
        self.sender()?.send(message).await
    }

    /// Sends it a message with a socket or pipe. See [`Sender::send_handle`].
    pub async fn send_handle<T: Serialize + ?Sized>(&self, message: &T, handle: Handle) -> Result<(), SendError> {
        self.sender()?.send_handle(message, handle).await
    }

    /// Closes the channel when all that was queued is sent: the child gets its `disconnect`, we get
    /// [`Event::Disconnect`].
    pub fn disconnect(&self) -> Result<(), SendError> {
        self.handle.disconnect()
    }

    /// The sending half of its channel, for all that it can do. An error if it has none.
    pub fn sender(&self) -> Result<&Sender, SendError> {
        self.handle.sender.as_ref().ok_or(SendError::Closed)
    }
}
