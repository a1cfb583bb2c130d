//! What a child's descriptors are, its channel among them.

use super::Command;
use crate::child_process::stdio::Stdio;
use crate::ipc::{Options, Serialization};

impl Command {
    /// Standard input. If nothing is said: a pipe, [`Child::stdin`](crate::child_process::Child::stdin); nothing to
    /// read with [`output`](Command::output); ours with [`fork`](Command::fork).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    /// use std::fs::File;
    ///
    /// let output = Command::new("head").arg("-c2").stdin(File::open("/dev/zero")?).output().await?;
    /// assert_eq!(output.stdout, [0, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdin(self, what: impl Into<Stdio>) -> Command {
        self.fd(0, what)
    }

    /// Standard output. If nothing is said: a pipe, [`Child::stdout`](crate::child_process::Child::stdout); ours with
    /// [`fork`](Command::fork).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Stdio};
    ///
    /// let mut child = Command::new("yes").stdout(Stdio::Ignore).spawn()?;
    /// assert!(child.stdout.is_none() && child.stderr.is_some());
    /// # child.kill(musher_process::child_process::Signal::KILL)?;
    /// # child.wait().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdout(self, what: impl Into<Stdio>) -> Command {
        self.fd(1, what)
    }

    /// Standard error. If nothing is said: a pipe, [`Child::stderr`](crate::child_process::Child::stderr); ours with
    /// [`fork`](Command::fork).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("errors.log");
    /// let log = std::fs::File::create(&path)?;
    /// Command::shell("echo oh no >&2").stderr(log).spawn()?.wait().await;
    /// assert_eq!(std::fs::read_to_string(&path)?, "oh no\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn stderr(self, what: impl Into<Stdio>) -> Command {
        self.fd(2, what)
    }

    /// Any descriptor of the child, by its number, 0 to 4095. From 3 on only those are open that are named here.
    ///
    /// # Errors
    ///
    /// [`spawn`](Command::spawn) refuses other numbers, and a [`Stdio::Number`] or [`Stdio::Inherit`] that we do not
    /// have (`EBADF`).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Stdio};
    /// use tokio::io::AsyncReadExt;
    ///
    /// let mut child = Command::shell("echo status >&7").fd(7, Stdio::Pipe).spawn()?;
    /// let mut said = String::new();
    /// child.take_pipe(7).ok_or("no pipe")?.read_to_string(&mut said).await?;
    /// assert_eq!(said, "status\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fd(mut self, number: i32, what: impl Into<Stdio>) -> Command {
        self.stdio.insert(number, what.into());
        self
    }

    /// All descriptors from 0 on, as Node's `stdio` array.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::child_process::{Command, Stdio};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("a.out");
    /// let file = std::fs::File::create(&path)?;
    /// let mut child = Command::new("echo").arg("hello").stdio([Stdio::Ignore, file.into(), Stdio::Inherit]).spawn()?;
    /// child.wait().await;
    /// assert_eq!(std::fs::read_to_string(&path)?, "hello\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdio(mut self, list: impl IntoIterator<Item = Stdio>) -> Command {
        self.stdio = (0..).zip(list).collect();
        self
    }

    /// The same for 0, 1 and 2: Node's `stdio: 'pipe'`, `'ignore'` and `'inherit'`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_process::child_process::{Command, Stdio};
    /// let mut child = Command::shell("echo nobody sees this").stdio_all(Stdio::Ignore).spawn()?;
    /// assert!(child.stdout.is_none());
    /// # child.wait().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdio_all(self, what: Stdio) -> Command {
        self.fd(0, what.clone()).fd(1, what.clone()).fd(2, what)
    }

    /// Gives the child a channel, at the first number from 3 on that is not spoken for; what [`fork`](Command::fork)
    /// does, with the standard streams of [`spawn`](Command::spawn). The child learns the number from
    /// `NODE_CHANNEL_FD`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let mut child = Command::shell("echo '\"hello\"' >&$NODE_CHANNEL_FD").ipc().spawn()?;
    /// assert!(child.connected());
    /// # while let Some(event) = child.next_event().await {
    /// #     if let musher_process::child_process::Event::Message(message) = event {
    /// #         assert_eq!(message.parse::<String>()?, "hello");
    /// #     }
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ipc(mut self) -> Command {
        if !self.has_channel() {
            let number = (3..).find(|number| !self.stdio.contains_key(number)).unwrap_or(3);
            self.stdio.insert(number, Stdio::Ipc);
        }
        self
    }

    /// How the channel's messages are written: JSON if nothing is said. The child learns it from
    /// `NODE_CHANNEL_SERIALIZATION_MODE`. In a Node child with [`Advanced`](Serialization::Advanced) dates, maps,
    /// buffers and more arrive as what they are.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    /// use musher_process::ipc::Serialization;
    ///
    /// let command = Command::shell("echo $NODE_CHANNEL_SERIALIZATION_MODE").ipc().serialization(Serialization::Advanced);
    /// assert_eq!(command.output().await?.stdout, b"advanced\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn serialization(mut self, serialization: Serialization) -> Command {
        self.channel = self.channel.serialization(serialization);
        self
    }

    /// All that can be said of the channel; takes the place of an earlier [`serialization`](Command::serialization).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    /// use musher_process::ipc::Options;
    ///
    /// // A child that sends more than 4 KiB in one message loses its channel.
    /// let child = Command::new("cat").channel(Options::default().max_message(4 << 10)).ipc().spawn()?;
    /// assert!(child.connected());
    /// # Ok(())
    /// # }
    /// ```
    pub fn channel(mut self, options: Options) -> Command {
        self.channel = options;
        self
    }

    /// For [`fork`](Command::fork): pipes instead of our own standard streams. Off if nothing is said. Descriptors
    /// that are named stay what they are.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("cat").silent(true).fork()?;
    /// assert!(child.stdin.is_some() && child.stdout.is_some() && child.connected());
    /// # Ok(())
    /// # }
    /// ```
    pub fn silent(mut self, silent: bool) -> Command {
        self.silent = silent;
        self
    }
}
