//! What any number of tasks may have of a child.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, PoisonError};

use super::process::{KillError, Process};
use crate::child_process::signal::Signal;
use crate::exit::ExitStatus;
use crate::ipc::{SendError, Sender};
use crate::pid::Pid;

/// A child, for any number of tasks: signals, messages, its end. Made by
/// [`Child::handle`](crate::child_process::Child::handle); a clone means the same child, also when it has ended.
///
/// Its pidfd is there as [`AsFd`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Signal, spawn};
///
/// let mut child = spawn("cat", [""; 0])?;
/// let handle = child.handle();
/// let watcher = tokio::spawn({
///     let handle = handle.clone();
///     async move { handle.exited().await }
/// });
/// handle.kill(Signal::TERM)?;
/// assert_eq!(watcher.await?, child.wait().await);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ChildHandle {
    pub(super) process: Arc<Process>,
    pub(super) sender: Option<Sender>,
}

impl ChildHandle {
    /// Its number, which is its own only until it has ended.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let child = musher_process::child_process::spawn("true", [""; 0])?;
    /// assert_eq!(child.handle().pid(), child.pid());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid
    }

    /// Sends it a signal, only to it, by its pidfd (pidfd_send_signal(2)). A child that has ended is an error, whoever
    /// has its number now. To signal all that it has started, see [`Tree`](crate::Tree).
    ///
    /// # Errors
    ///
    /// [`KillError::Ended`]; [`KillError::System`] with `EPERM` if it has become another user.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{KillError, Signal, spawn};
    ///
    /// let mut child = spawn("true", [""; 0])?;
    /// let handle = child.handle();
    /// child.wait().await;
    /// assert!(matches!(handle.kill(Signal::TERM), Err(KillError::Ended)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self, signal: Signal) -> Result<(), KillError> {
        self.process.kill(signal)
    }

    /// How it ended, if it has and that was heard of.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut child = musher_process::child_process::spawn("true", [""; 0])?;
    /// child.wait().await;
    /// assert!(child.handle().exit_status().is_some_and(|status| status.is_success()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.process.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has ended, and says how. Reads nothing of what it says or sends: that is the
    /// [`Child`](crate::child_process::Child)'s, without whom a child that says much waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let child = musher_process::child_process::spawn("false", [""; 0])?;
    /// assert_eq!(child.handle().exited().await.to_string(), "exit code 1");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exited(&self) -> ExitStatus {
        self.process.exited().await
    }

    /// Whether it has a channel that is open.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("cat").ipc().spawn()?;
    /// assert!(child.handle().connected());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn connected(&self) -> bool {
        self.sender.as_ref().is_some_and(Sender::connected)
    }

    /// The sending half of its channel; `None` if it was started without one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("cat").ipc().spawn()?;
    /// let handle = child.handle();
    /// if let Some(sender) = handle.sender() {
    ///     sender.send("from another task").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn sender(&self) -> Option<&Sender> {
        self.sender.as_ref()
    }

    /// Closes the channel when all that was queued is sent.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if it is closed already, or there is none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("cat").ipc().spawn()?;
    /// let handle = child.handle();
    /// handle.disconnect()?;
    /// assert!(handle.disconnect().is_err());
    /// # Ok(())
    /// # }
    /// ```
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
