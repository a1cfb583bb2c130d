//! Where a child runs, in what environment, and as whom.

use std::ffi::OsStr;
use std::path::Path;

use super::Command;

impl Command {
    /// The directory to run in; ours, if nothing is said. A relative one is below ours; a relative program is looked
    /// for in it.
    ///
    /// # Errors
    ///
    /// [`spawn`](Command::spawn) fails with [`SpawnError::WorkingDirectory`](crate::SpawnError::WorkingDirectory) if
    /// it cannot be entered.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// assert_eq!(Command::new("pwd").cwd("/").output().await?.stdout, b"/\n");
    /// assert!(Command::new("pwd").cwd("/no/such/directory").spawn().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Command {
        self.cwd = Some(directory.as_ref().to_owned());
        self
    }

    /// Sets a variable of the environment, beside ours.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::shell("echo $role").env("role", "admin").output().await?;
    /// assert_eq!(output.stdout, b"admin\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets several.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::shell("echo $a$b").envs([("a", "1"), ("b", "2")]).output().await?;
    /// assert_eq!(output.stdout, b"12\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn envs<I, N, V>(mut self, variables: I) -> Command
    where
        I: IntoIterator<Item = (N, V)>,
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let owned = |(name, value): (N, V)| (name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self.env.extend(variables.into_iter().map(owned));
        self
    }

    /// Leaves a variable out, ours or one that was set before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::shell("echo ${PWD_OF_OTHERS-none}").env_remove("PWD_OF_OTHERS").output().await?;
    /// assert_eq!(output.stdout, b"none\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Command {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Leaves all of ours out, and all that was set before: the environment is only what is [set](Command::env) from
    /// here on. This is what Node's `env` option does. Without a `PATH` a program's name is looked for in the usual
    /// directories.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::new("/usr/bin/env").env_clear().env("only", "this").output().await?;
    /// assert_eq!(output.stdout, b"only=this\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn env_clear(mut self) -> Command {
        self.env.clear();
        self.inherit_env = false;
        self
    }

    /// The user to run as, by number ([`lookup_user`](crate::lookup::lookup_user) knows names). Supplementary groups
    /// are dropped.
    ///
    /// # Errors
    ///
    /// Only root may become somebody else: [`SpawnError::Credentials`](crate::SpawnError::Credentials), `EPERM`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// match Command::new("id").arg("-u").uid(65534).gid(65534).output().await {
    ///     Ok(output) => assert_eq!(output.stdout, b"65534\n"),
    ///     Err(error) => assert!(error.to_string().contains("cannot become user 65534")),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn uid(mut self, uid: u32) -> Command {
        self.uid = Some(uid);
        self
    }

    /// The group to run as, by number; ours, if nothing is said, also beside [`uid`](Command::uid). Supplementary
    /// groups are dropped. Errors as of `uid`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let ours = Command::new("id").arg("-g").output().await?.stdout_text();
    /// let again = Command::new("id").arg("-g").gid(ours.trim().parse()?).output().await?;
    /// assert_eq!(again.stdout_text(), ours);
    /// # Ok(())
    /// # }
    /// ```
    pub fn gid(mut self, gid: u32) -> Command {
        self.gid = Some(gid);
        self
    }

    /// Makes the child the leader of a session and process group of its own (setsid(2)): it has no terminal, and what
    /// a terminal sends to our group does not reach it. With [`Child::unref`](crate::child_process::Child::unref), and
    /// without pipes, it goes on when we end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    /// use musher_process::stat::ProcessStat;
    ///
    /// let child = Command::new("cat").detached(true).spawn()?;
    /// assert_eq!(ProcessStat::read(child.pid())?.session, child.pid().as_raw());
    /// # Ok(())
    /// # }
    /// ```
    pub fn detached(mut self, detached: bool) -> Command {
        self.detached = detached;
        self
    }
}
