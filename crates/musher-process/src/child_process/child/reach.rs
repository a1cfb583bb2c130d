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
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut child = musher_process::child_process::spawn("cat", [""; 0])?;
    /// println!("started {}", child.pid());
    /// # child.wait().await;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.handle.pid()
    }

    /// Sends it a signal, only to it. See [`ChildHandle::kill`](crate::child_process::ChildHandle::kill).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Signal, spawn};
    ///
    /// let mut child = spawn("cat", [""; 0])?;
    /// child.kill(Signal::TERM)?;
    /// assert_eq!(child.wait().await.to_string(), "signal 15 (SIGTERM)");
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self, signal: Signal) -> Result<(), KillError> {
        self.handle.kill(signal)
    }

    /// Whether a signal was sent to it by [`kill`](Child::kill), or because of a limit: Node's `killed`. It may have
    /// caught it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Signal, spawn};
    ///
    /// let child = spawn("cat", [""; 0])?;
    /// child.kill(Signal::CHECK)?;
    /// assert!(!child.killed());
    /// child.kill(Signal::TERM)?;
    /// assert!(child.killed());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn killed(&self) -> bool {
        self.handle.process.killed.load(Ordering::Relaxed)
    }

    /// Whether it ran longer than its [`timeout`](crate::child_process::Command::timeout), and was sent a signal for
    /// that.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    /// use std::time::Duration;
    ///
    /// let mut child = Command::new("true").timeout(Duration::from_secs(60)).spawn()?;
    /// child.wait().await;
    /// assert!(!child.timed_out());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.handle.process.timed_out.load(Ordering::Relaxed)
    }

    /// How it ended, if it has and that was heard of: `None` before. Node's `exitCode` and `signalCode`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ExitStatus;
    ///
    /// let mut child = musher_process::child_process::spawn("false", [""; 0])?;
    /// assert_eq!(child.exit_status(), None);
    /// child.wait().await;
    /// assert_eq!(child.exit_status(), Some(ExitStatus::Code(1)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.handle.exit_status()
    }

    /// The program that was executed: Node's `spawnfile`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("worker.js").exec_path("true").spawn()?;
    /// assert_eq!(child.program(), "true");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.handle.process.program
    }

    /// All arguments with `argv[0]`: Node's `spawnargs`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let child = musher_process::child_process::spawn("echo", ["a"])?;
    /// assert_eq!(child.args(), ["echo", "a"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn args(&self) -> &[OsString] {
        &self.handle.process.args
    }

    /// Whether it has a channel that is open. That the child has closed it is known when the end was read, see
    /// [`Sender::connected`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// assert!(Command::new("cat").ipc().spawn()?.connected());
    /// assert!(!Command::new("cat").spawn()?.connected());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn connected(&self) -> bool {
        self.handle.connected()
    }

    /// Sends it a message, anything that [`serde`] can serialize. [`Sender::send`] tells what happens when it does not
    /// read.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] when there is no channel, or none any more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// // Any program can read the channel: a message is a line of JSON.
    /// let child = Command::shell("read line <&3; echo \"got $line\"").ipc().spawn()?;
    /// child.send(&("move", 7)).await?;
    /// assert_eq!(child.wait_with_output().await?.stdout, b"got [\"move\",7]\n");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), SendError> {
        self.sender()?.send(message).await
    }

    /// Sends it a message with a socket or pipe, which is closed here when the child has got it. See
    /// [`Sender::send_handle`], also for how to keep it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    /// use musher_process::ipc::Handle;
    ///
    /// let child = Command::new("cat").ipc().spawn()?;
    /// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// child.send_handle("server", Handle::from(server)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_handle<T: Serialize + ?Sized>(&self, message: &T, handle: Handle) -> Result<(), SendError> {
        self.sender()?.send_handle(message, handle).await
    }

    /// Closes the channel when all that was queued is sent: the child gets its `disconnect`, we get
    /// [`Event::Disconnect`](crate::child_process::Event::Disconnect).
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
    /// child.disconnect()?;
    /// assert!(!child.connected() && child.disconnect().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn disconnect(&self) -> Result<(), SendError> {
        self.handle.disconnect()
    }

    /// The sending half of its channel, for all that it can do.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if it was started without one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("cat").ipc().spawn()?;
    /// assert!(child.sender()?.try_send("without waiting")?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sender(&self) -> Result<&Sender, SendError> {
        self.handle.sender.as_ref().ok_or(SendError::Closed)
    }
}
