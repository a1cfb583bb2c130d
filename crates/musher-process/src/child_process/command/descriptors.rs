//! What a child's descriptors are, its channel among them.

use super::Command;
use crate::child_process::stdio::Stdio;
use crate::ipc::{Options, Serialization};

impl Command {
    /// Standard input.
    pub fn stdin(self, what: impl Into<Stdio>) -> Command {
        self.fd(0, what)
    }

    /// Standard output.
    pub fn stdout(self, what: impl Into<Stdio>) -> Command {
        self.fd(1, what)
    }

    /// Standard error.
    pub fn stderr(self, what: impl Into<Stdio>) -> Command {
        self.fd(2, what)
    }

    /// Any descriptor of the child, by its number.
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

    /// Gives the child a channel: the first number from 3 on that is not spoken for.
    pub fn ipc(mut self) -> Command {
        if !self.has_channel() {
            let number = (3..).find(|number| !self.stdio.contains_key(number)).unwrap_or(3);
            self.stdio.insert(number, Stdio::Ipc);
        }
        self
    }

    /// How the channel's messages are written.
    pub fn serialization(mut self, serialization: Serialization) -> Command {
        self.channel = self.channel.serialization(serialization);
        self
    }

    /// All that can be said of the channel.
    pub fn channel(mut self, options: Options) -> Command {
        self.channel = options;
        self
    }

    /// For [`fork`](Command::fork): pipes instead of our own standard streams.
    pub fn silent(mut self, silent: bool) -> Command {
        self.silent = silent;
        self
    }
}
