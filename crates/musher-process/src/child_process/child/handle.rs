//! What any number of tasks may have of a child.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};

use super::process::{KillError, Process};
use crate::child_process::signal::Signal;
use crate::exit::ExitStatus;
use crate::ipc::{SendError, Sender};
use crate::pid::Pid;

/// A child, for any number of tasks: signals and messages.
#[derive(Clone, Debug)]
pub struct ChildHandle {
    pub(super) process: Arc<Process>,
    pub(super) sender: Option<Sender>,
}

impl ChildHandle {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid
    }

    /// Sends it a signal, only to it. A child that has ended is an error, whoever has its number now.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{KillError, Signal, spawn};
    ///
    /// let mut child = spawn("true", [""; 0])?;
    /// child.wait().await;
    /// assert!(matches!(child.kill(Signal::TERM), Err(KillError::Ended)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self, signal: Signal) -> Result<(), KillError> {
        self.process.kill(signal)
    }

    /// How it ended, if it has and that was heard of.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.process.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has ended.
    pub async fn exited(&self) -> ExitStatus {
        self.process.exited().await
    }

    /// Whether it has a channel that is open.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.sender.as_ref().is_some_and(Sender::connected)
    }

    /// The sending half of its channel.
    #[must_use]
    pub fn sender(&self) -> Option<&Sender> {
        self.sender.as_ref()
    }

    /// Closes the channel when all that was queued is sent. An error if it is closed already.
    pub fn disconnect(&self) -> Result<(), SendError> {
        match &self.sender {
            Some(sender) if sender.connected() => {
                sender.disconnect();
                Ok(())
            }
            _ => Err(SendError::Closed),
        }
    }
}

impl AsFd for ChildHandle {
    /// Its pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.get_ref().as_fd()
    }
}
