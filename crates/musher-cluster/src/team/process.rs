//! The process of a worker, as its primary sees it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use musher_core::ids::RunId;
use musher_process::{Pid, signal};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::settings::Pipes;
use crate::cluster::Cluster;

/// A worker's process: Node's `worker.process`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncReadExt;
/// # use musher_cluster::{Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("echo").args(["hello"]).silent(true))?;
/// let worker = cluster.fork()?;
/// let mut said = String::new();
/// worker.process().take_stdout().ok_or("no pipe")?.read_to_string(&mut said).await?;
/// assert_eq!(said, "hello\n");
/// # Ok(())
/// # }
/// ```
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    program: PathBuf,
    args: Vec<OsString>,
    cluster: Cluster,
    run: RunId,
    pipes: Mutex<Pipes>,
}

impl Process {
    pub(super) fn new(
        (pid, pidfd, program, args): (Pid, OwnedFd, PathBuf, Vec<OsString>),
        (cluster, run): (Cluster, RunId),
        pipes: Pipes,
    ) -> Process {
        Process { pid, pidfd, program, args, cluster, run, pipes: Mutex::new(pipes) }
    }

    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its number.
    ///
    /// It is this process's as long as the [`Worker`](super::Worker) is not dead; to signal it use [`kill`](Process::kill), which cannot hit
    /// another one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sleep").args(["60"]))?;
    /// let worker = cluster.fork()?;
    /// let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.process().pid().as_raw()))?;
    /// assert!(!stat.is_empty());
    /// worker.kill(9)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The program that was executed: Node's `spawnfile`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("true"))?;
    /// let worker = cluster.fork()?;
    /// assert!(worker.process().program().is_absolute() && worker.process().program().ends_with("true"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// All its arguments with `argv[0]`: Node's `spawnargs`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use musher_cluster::{Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("true").args(["--version"]))?;
    /// assert_eq!(cluster.fork()?.process().args(), ["true", "--version"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// It has ended.
    ///
    /// The same as [`Worker::kill`](super::Worker::kill).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sleep").args(["60"]))?;
    /// let worker = cluster.fork()?;
    /// worker.process().kill(9)?;
    /// assert_eq!(worker.exited().await.to_string(), "signal 9 (SIGKILL)");
    /// assert!(worker.process().kill(9).is_err(), "it has ended");
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self, number: i32) -> io::Result<()> {
        signal(self.pidfd.as_fd(), number)
    }

    /// Closes its channel, after what was sent; Node's `worker.process.disconnect()`. A Node worker then ends at once, one
    /// of this crate finishes what it has. To ask it to leave, use [`Worker::disconnect`](super::Worker::disconnect).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "cat <&3 >&3"]))?;
    /// let worker = cluster.fork()?;
    /// worker.send("the last word")?;
    /// worker.process().disconnect();
    /// worker.exited().await;    // `cat` has seen the end
    /// # Ok(())
    /// # }
    /// ```
    pub fn disconnect(&self) {
        self.cluster.disconnect(self.run);
    }

    /// Its standard input, once, if that is a pipe ([`Settings::silent`](super::Settings::silent)).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("cat").silent(true))?;
    /// let worker = cluster.fork()?;
    /// let mut input = worker.process().take_stdin().ok_or("no pipe")?;
    /// input.write_all(b"echo").await?;
    /// drop(input);    // its end
    /// let mut said = String::new();
    /// worker.process().take_stdout().ok_or("no pipe")?.read_to_string(&mut said).await?;
    /// assert_eq!(said, "echo");
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_stdin(&self) -> Option<Sender> {
        self.pipes().stdin.take()
    }

    /// What it writes to its standard output, once, if that is a pipe.
    ///
    /// See the example of [`Process`].
    pub fn take_stdout(&self) -> Option<Receiver> {
        self.pipes().stdout.take()
    }

    /// What it writes to its standard error, once, if that is a pipe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::io::AsyncReadExt;
    /// use musher_cluster::{Settings, setup_primary};
    ///
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo oh >&2"]).silent(true))?;
    /// let worker = cluster.fork()?;
    /// let mut said = String::new();
    /// worker.process().take_stderr().ok_or("no pipe")?.read_to_string(&mut said).await?;
    /// assert_eq!(said, "oh\n");
    /// assert!(worker.process().take_stderr().is_none(), "once");
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_stderr(&self) -> Option<Receiver> {
        self.pipes().stderr.take()
    }

    /// Our end of the pipe that another descriptor is, once; Node's `worker.process.stdio[number]`.
    ///
    /// See the example of [`Settings::stdio`](super::Settings::stdio).
    pub fn take_pipe(&self, number: i32) -> Option<UnixStream> {
        self.pipes().others.remove(&number)
    }

    fn pipes(&self) -> MutexGuard<'_, Pipes> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
