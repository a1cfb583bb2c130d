//! Where a child runs, in what environment, and as whom.

use std::ffi::OsStr;
use std::path::Path;

use super::Command;

impl Command {
    /// The directory to run in; ours, if nothing is said.
    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Command {
        self.cwd = Some(directory.as_ref().to_owned());
        self
    }

    /// Sets a variable of the environment, beside ours.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Command {
        self.env.insert(name.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets several.
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

    /// Leaves a variable of ours out.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Command {
        self.env.insert(name.as_ref().to_owned(), None);
        self
    }

    /// Leaves all of ours out: the environment is only what is [set](Command::env) from here on. This is what Node's `env`
    /// option does.
    pub fn env_clear(mut self) -> Command {
        self.env.clear();
        self.inherit_env = false;
        self
    }

    /// The user to run as. Supplementary groups are dropped.
    pub fn uid(mut self, uid: u32) -> Command {
        self.uid = Some(uid);
        self
    }

    /// The group to run as. Supplementary groups are dropped.
    pub fn gid(mut self, gid: u32) -> Command {
        self.gid = Some(gid);
        self
    }

    /// Makes the child the leader of a session and process group of its own: it has no terminal, and what a terminal sends
    /// to our group does not reach it. With [`Child::unref`], and without pipes, it goes on when we end.
    pub fn detached(mut self, detached: bool) -> Command {
        self.detached = detached;
        self
    }
}
