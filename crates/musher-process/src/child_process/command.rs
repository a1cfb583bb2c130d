//! A program to start, and how.

mod bounds;
mod descriptors;
mod parts;
mod surroundings;

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use self::parts::{Parts, find};
use super::child::Child;
use super::output::Collect;
use super::stdio::Stdio;
use crate::ipc::{self, Options, Serialization};
use crate::spawn::{Credentials, MAX_CHILD_FD, Spawn, SpawnError};

/// What a child gets only from the one who makes its channel.
const OF_THE_CHANNEL: [&str; 4] = [ipc::FD_VARIABLE, ipc::MODE_VARIABLE, ipc::FAST_FRAME_VARIABLE, "NODE_UNIQUE_ID"];

/// A program to start, and how: the options of Node's `spawn`, `exec`, `execFile` and `fork`.
///
/// 1. What: [`new`](Command::new) or [`shell`](Command::shell), [`arg`](Command::arg), [`args`](Command::args),
///    [`argv0`](Command::argv0), [`exec_path`](Command::exec_path).
/// 2. Where and as whom: [`cwd`](Command::cwd), [`env`](Command::env), [`uid`](Command::uid), [`gid`](Command::gid),
///    [`detached`](Command::detached).
/// 3. Descriptors: [`stdin`](Command::stdin), [`stdout`](Command::stdout), [`stderr`](Command::stderr),
///    [`fd`](Command::fd), [`stdio`](Command::stdio), [`ipc`](Command::ipc), [`silent`](Command::silent).
/// 4. Bounds: [`timeout`](Command::timeout), [`kill_signal`](Command::kill_signal), [`max_buffer`](Command::max_buffer).
/// 5. Go: [`spawn`](Command::spawn), [`fork`](Command::fork), [`output`](Command::output). It can be used again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::Command;
///
/// let output = Command::new("sh").args(["-c", "echo $role in $PWD"]).env("role", "admin").cwd("/tmp").output().await?;
/// assert_eq!(output.stdout_text(), "admin in /tmp\n");
/// # Ok(())
/// # }
/// ```
///
/// Descriptors of any number, a name of its own, and nothing of our environment:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Stdio};
/// use tokio::io::AsyncReadExt;
///
/// let line = "echo $0 ${HOME-nowhere} >&4";
/// let command = Command::new("/bin/sh").arg("-c").arg(line).arg("worker").env_clear().stdio_all(Stdio::Ignore);
/// let mut child = command.fd(4, Stdio::Pipe).spawn()?;
/// let mut said = String::new();
/// child.take_pipe(4).ok_or("no pipe")?.read_to_string(&mut said).await?;
/// assert_eq!(said, "worker nowhere\n");
/// # Ok(())
/// # }
/// ```
///
/// Bounds, and input:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Signal};
/// use std::time::Duration;
///
/// assert_eq!(Command::new("cat").input("hello").output().await?.stdout, b"hello");
/// assert!(Command::new("yes").max_buffer(1000).output().await.is_err());
/// let late = Command::new("sleep").arg("60").timeout(Duration::from_millis(10)).kill_signal(Signal::KILL);
/// assert_eq!(late.output().await.unwrap_err().signal(), Some(Signal::KILL));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    argv0: Option<OsString>,
    exec_path: Option<OsString>,
    exec_args: Vec<OsString>,
    cwd: Option<PathBuf>,
    inherit_env: bool,
    env: BTreeMap<OsString, Option<OsString>>,
    uid: Option<u32>,
    gid: Option<u32>,
    detached: bool,
    stdio: BTreeMap<i32, Stdio>,
    silent: bool,
    channel: Options,
    /// The first two arguments are the shell's.
    is_shell: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) kill_on_drop: bool,
    pub(super) collect: Collect,
}

impl Command {
    /// A program and no arguments: a path, or a name that is looked for in the child's own `PATH`, as execvp(3) does.
    /// Nothing is looked for before it is started.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// assert_eq!(Command::new("echo").output().await?.stdout, b"\n");
    /// assert!(Command::new("/no/such/program").spawn().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            argv0: None,
            exec_path: None,
            exec_args: Vec::new(),
            cwd: None,
            inherit_env: true,
            env: BTreeMap::new(),
            uid: None,
            gid: None,
            detached: false,
            stdio: BTreeMap::new(),
            silent: false,
            channel: Options::default(),
            is_shell: false,
            timeout: None,
            kill_on_drop: false,
            collect: Collect::default(),
        }
    }

    /// A line for `/bin/sh -c`: Node's `exec`, and its option `shell: true`. Never put into it what comes from others;
    /// use [`new`](Command::new) with arguments, or hand values on in the [environment](Command::env).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::shell("echo $who | tr a-z A-Z").env("who", "$(me); you").output().await?;
    /// assert_eq!(output.stdout_text(), "$(ME); YOU\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell(line: impl AsRef<OsStr>) -> Command {
        Command::shell_of("/bin/sh", line)
    }

    /// A line for the `-c` of another shell: Node's option `shell: '/bin/bash'`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// assert_eq!(Command::shell_of("sh", "echo $0").output().await?.stdout_text(), "sh\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell_of(shell: impl AsRef<OsStr>, line: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(shell).arg("-c").arg(line);
        command.is_shell = true;
        command
    }

    /// One more argument, handed on as it is: no shell, no quotes. A NUL byte in it is an error of
    /// [`spawn`](Command::spawn).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::new("printf").arg("%s|").arg("a b").arg("*").output().await?;
    /// assert_eq!(output.stdout, b"a b|*|");
    /// # Ok(())
    /// # }
    /// ```
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments, behind those that were given before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// assert_eq!(Command::new("echo").args(["a", "b"]).args(["c"]).output().await?.stdout, b"a b c\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn args<I, S>(mut self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// What the program sees as its own name, `argv[0]`, instead of what was given as program: Node's `argv0`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let child = Command::new("true").argv0("worker: idle").spawn()?;
    /// assert_eq!(child.args(), ["worker: idle"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn argv0(mut self, name: impl AsRef<OsStr>) -> Command {
        self.argv0 = Some(name.as_ref().to_owned());
        self
    }

    /// The program that runs this one, `node` for a JavaScript file: Node's `execPath`. The child is `exec_path
    /// exec_args… program args…`. Unlike in Node there is none by default.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let script = directory.path().join("worker.sh");
    /// std::fs::write(&script, "echo $1")?;
    /// let output = Command::new(&script).exec_path("sh").arg("hello").output().await?;
    /// assert_eq!(output.stdout, b"hello\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn exec_path(mut self, program: impl AsRef<OsStr>) -> Command {
        self.exec_path = Some(program.as_ref().to_owned());
        self
    }

    /// Arguments for the program of [`exec_path`](Command::exec_path), in front of this one's name: Node's `execArgv`,
    /// such as `--max-old-space-size=256`. Ignored without `exec_path`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let output = Command::new("echo $0").exec_path("sh").exec_args(["-c"]).output().await?;
    /// assert_eq!(output.stdout, b"sh\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn exec_args<I, S>(mut self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.exec_args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Starts it. When this returns the program runs; one that cannot be started is an error, and no process is left.
    /// Without a word about them the standard streams are pipes, as in Node.
    ///
    /// Blocks for as long as the system needs to make a process, some 0.2 to 1 ms.
    ///
    /// # Errors
    ///
    /// [`SpawnError`], with Node's [`code`](SpawnError::code) and a [`hint`](SpawnError::hint). Also outside of a
    /// tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::Command;
    ///
    /// let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// assert_eq!(child.wait().await.to_string(), "exit code 3");
    ///
    /// let error = Command::new("no-such-program").spawn().unwrap_err();
    /// assert_eq!(error.code(), Some("ENOENT"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        tokio::runtime::Handle::try_current()
            .map_err(|error| SpawnError::system("watch a child", io::Error::other(error)))?;
        let mut parts = Parts::default();
        let highest = self.stdio.last_key_value().map_or(2, |(number, _)| *number).max(2);
        if highest > MAX_CHILD_FD || self.stdio.first_key_value().is_some_and(|(number, _)| *number < 0) {
            return Err(SpawnError::invalid(format!("descriptor numbers are from 0 to {MAX_CHILD_FD}")));
        }
        for number in 0..=2 {
            if !self.stdio.contains_key(&number) {
                parts.add(number, &Stdio::Default, &self.channel)?;
            }
        }
        for (number, what) in &self.stdio {
            parts.add(*number, what, &self.channel)?;
        }
        let cwd = self.directory()?;
        let env = self.environment(&parts);
        let args = self.arguments();
        let program = self.exec_path.as_ref().unwrap_or(&self.program);
        let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        let file = find(program, path, &cwd)?;
        let spawn = Spawn {
            args: args.clone(),
            env,
            cwd,
            fds: std::mem::take(&mut parts.fds),
            session: self.detached,
            credentials: self.credentials()?,
            ..Spawn::new(file)
        };
        let child = spawn.spawn_as_node()?;
        Child::new(child, parts.streams, program.clone(), args, self)
            .map_err(|error| SpawnError::system("watch the child", error))
    }

    /// Starts it with a [channel](Command::ipc), and with our own standard streams, or [pipes](Command::silent): Node's
    /// `fork`. What was said of descriptors before holds.
    ///
    /// # Errors
    ///
    /// As of [`spawn`](Command::spawn).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Event};
    /// use serde_json::json;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let script = directory.path().join("child.js");
    /// std::fs::write(&script, "process.on('message', (m) => { process.send({back: m}); process.disconnect(); })")?;
    /// let mut child = Command::new(&script).exec_path("node").fork()?;
    /// child.send(&json!({"text": "I love you"})).await?;
    /// while let Some(event) = child.next_event().await {
    ///     match event {
    ///         Event::Message(message) => assert_eq!(message.text()?, r#"{"back":{"text":"I love you"}}"#),
    ///         Event::Exit(status) => assert!(status.is_success()),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn fork(&self) -> Result<Child, SpawnError> {
        let mut command = self.clone();
        let usual = if self.silent { Stdio::Pipe } else { Stdio::Inherit };
        for number in 0..=2 {
            command.stdio.entry(number).or_insert_with(|| usual.clone());
        }
        command.ipc().spawn()
    }

    pub(super) fn says(&self, number: i32) -> bool {
        self.stdio.contains_key(&number)
    }

    /// Program and arguments, for people; of a shell what it was given.
    pub(super) fn line(&self) -> String {
        let unsaid = if self.is_shell { 2 } else { 0 };
        let parts = self.exec_path.iter().chain([&self.program]).chain(&self.args).skip(unsaid);
        parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn has_channel(&self) -> bool {
        self.stdio.values().any(|what| matches!(what, Stdio::Ipc))
    }

    /// The child's arguments with `argv[0]`.
    fn arguments(&self) -> Vec<OsString> {
        let first = self.exec_path.as_ref().unwrap_or(&self.program);
        let mut args = vec![self.argv0.as_ref().unwrap_or(first).clone()];
        if self.exec_path.is_some() {
            args.extend(self.exec_args.iter().cloned());
            args.push(self.program.clone());
        }
        args.extend(self.args.iter().cloned());
        args
    }

    fn directory(&self) -> Result<PathBuf, SpawnError> {
        match &self.cwd {
            // Also where ours was deleted.
            None => Ok(".".into()),
            Some(cwd) if cwd.is_absolute() => Ok(cwd.clone()),
            Some(cwd) => match env::current_dir() {
                Ok(ours) => Ok(ours.join(cwd)),
                Err(error) => Err(SpawnError::WorkingDirectory { path: cwd.clone(), error }),
            },
        }
    }

    fn environment(&self, parts: &Parts) -> Vec<(OsString, OsString)> {
        let changed = |name: &OsStr| self.env.contains_key(name) || OF_THE_CHANNEL.iter().any(|of_it| name == *of_it);
        // An entry that begins with `=` is no variable, and is not the caller's fault.
        let passed = |(name, _): &(OsString, OsString)| !changed(name) && !name.as_bytes().contains(&b'=');
        let ours = self.inherit_env.then(|| env::vars_os().filter(passed));
        let mut all: Vec<(OsString, OsString)> = ours.into_iter().flatten().collect();
        all.extend(self.env.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))));
        if let Some((number, inode)) = parts.channel {
            let mode = match self.channel.serialization {
                Serialization::Json => "json",
                Serialization::Advanced => "advanced",
            };
            let fast = self.channel.fast_frames && self.channel.serialization == Serialization::Json;
            let fast = fast.then(|| (ipc::FAST_FRAME_VARIABLE, inode.to_string()));
            let told = [(ipc::FD_VARIABLE, number.to_string()), (ipc::MODE_VARIABLE, mode.to_owned())];
            // Whatever the caller says of it.
            let of_it = [ipc::FD_VARIABLE, ipc::MODE_VARIABLE, ipc::FAST_FRAME_VARIABLE];
            all.retain(|(name, _)| !of_it.iter().any(|of_it| name == of_it));
            all.extend(told.into_iter().chain(fast).map(|(name, value)| (name.into(), value.into())));
        }
        all
    }

    fn credentials(&self) -> Result<Option<Credentials>, SpawnError> {
        use rustix::process::{getegid, geteuid, getgroups};
        if self.uid.is_none() && self.gid.is_none() {
            return Ok(None);
        }
        let (our_uid, our_gid) = (geteuid().as_raw(), getegid().as_raw());
        let (uid, gid) = (self.uid.unwrap_or(our_uid), self.gid.unwrap_or(our_gid));
        // Who is nobody else has nothing to drop, and may not.
        let groups = if (uid, gid) == (our_uid, our_gid) {
            let ours = getgroups().map_err(|error| SpawnError::system("tell our groups", error))?;
            ours.iter().map(|group| group.as_raw()).collect()
        } else {
            Vec::new()
        };
        Ok(Some(Credentials { uid, gid, groups }))
    }
}
