//! How long a child may run, how much it may say, and how what it says is read.

use std::time::Duration;

use super::Command;
use crate::child_process::encoding::Encoding;
use crate::child_process::signal::Signal;

impl Command {
    /// What the child reads as its standard input, for [`output`](Command::output) and
    /// [`Child::wait_with_output`](crate::child_process::Child::wait_with_output). A child that does not read it all
    /// is no error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// assert_eq!(Command::new("sort").input("b\na\n").output().await?.stdout, b"a\nb\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Command {
        self.collect.input = Some(bytes.into());
        self
    }

    /// Sends the [kill signal](Command::kill_signal) when the child has run for so long; no limit if nothing is said.
    /// [`output`](Command::output) then waits for nobody else who holds its outputs. It is sent once: a child that
    /// catches it goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Signal};
    /// use std::time::Duration;
    ///
    /// let mut child = Command::new("sleep").arg("60").timeout(Duration::from_millis(10)).spawn()?;
    /// assert_eq!(child.wait().await.to_string(), "signal 15 (SIGTERM)");
    /// assert!(child.timed_out());
    /// # Ok(())
    /// # }
    /// ```
    pub fn timeout(mut self, limit: Duration) -> Command {
        self.timeout = Some(limit);
        self
    }

    /// The signal of [`timeout`](Command::timeout), [`max_buffer`](Command::max_buffer) and
    /// [`kill_on_drop`](Command::kill_on_drop): SIGTERM if nothing is said. Node's `killSignal`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Signal};
    ///
    /// let error = Command::new("yes").max_buffer(10).kill_signal(Signal::KILL).output().await.unwrap_err();
    /// assert_eq!(error.signal(), Some(Signal::KILL));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill_signal(mut self, signal: Signal) -> Command {
        self.collect.kill_signal = signal;
        self
    }

    /// Sends the [kill signal](Command::kill_signal) when the [`Child`](crate::child_process::Child) is dropped while
    /// it runs. Without it the child goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("sleep").arg("60").kill_on_drop(true).spawn()?;
    /// let handle = child.handle();
    /// drop(child);
    /// assert_eq!(handle.exited().await.to_string(), "signal 15 (SIGTERM)");
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill_on_drop(mut self, kill: bool) -> Command {
        self.kill_on_drop = kill;
        self
    }

    /// For [`output`](Command::output): the most bytes of standard output, and of standard error. A child that says
    /// more is killed, and what it said is cut: bytes after so many bytes,
    /// [text](crate::child_process::Output::stdout_text) after so many characters. 1 MiB if nothing is said, as in
    /// Node; `usize::MAX` for no limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let error = Command::new("yes").max_buffer(4).output().await.unwrap_err();
    /// assert_eq!((error.killed, error.output.stdout), (true, b"y\ny\n".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_buffer(mut self, bytes: usize) -> Command {
        self.collect.max_buffer = bytes;
        self
    }

    /// For [`output`](Command::output): how its texts are read. UTF-8 if nothing is said; the bytes are there as well.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Encoding};
    ///
    /// let output = Command::new("printf").arg("\\0\\377").encoding(Encoding::Hex).output().await?;
    /// assert_eq!((output.stdout_text().as_str(), output.stdout), ("00ff", vec![0, 255]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn encoding(mut self, encoding: Encoding) -> Command {
        self.collect.encoding = encoding;
        self
    }
}
