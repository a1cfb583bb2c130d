//! Child processes as Node users know them (`child_process`), for tokio.
//!
//! | in Node | here |
//! |---|---|
//! | `spawn(program, args, options)` | [`spawn`], or [`Command`] … [`spawn()`](Command::spawn) |
//! | `exec(line, options)` | [`exec`], or [`Command::shell`] … [`output()`](Command::output) |
//! | `exec(…).kill()`, `exec(…).stdin` | [`Command::shell`] … [`spawn()`](Command::spawn), [`Child::wait_with_output`] |
//! | `execFile(program, args, options)` | [`exec_file`], or [`Command`] … [`output()`](Command::output) |
//! | `fork(module, args, options)` | [`fork`], or [`Command`] … [`fork()`](Command::fork) |
//! | `child.on('exit', …)` and so on | [`Child::next_event`], [`Child::events`], [`Child::listen`] |
//! | `child.send`, `process.send` | [`Child::send`], [`ipc::parent`](crate::ipc::parent) |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use musher_process::child_process::{Command, Event};
//! use tokio::io::AsyncReadExt;
//!
//! let mut child = Command::new("ls").args(["-lh", "."]).spawn()?;
//! let mut listing = String::new();
//! child.stdout.take().ok_or("no pipe")?.read_to_string(&mut listing).await?;
//! while let Some(event) = child.next_event().await {
//!     if let Event::Close(status) = event {
//!         println!("child process exited with {status}");
//!     }
//! }
//! assert!(listing.contains("Cargo.toml"));
//! # Ok(())
//! # }
//! ```
//!
//! What is different from Node, on purpose:
//!
//! - A program that cannot be started is an error of [`spawn`](Command::spawn), in words, with a hint.
//! - A child is signalled through its pidfd. One that has ended cannot be, and never is another process in its place.
//! - Standard streams are pipes, not sockets, so that a child can open `/dev/stdin`.
//! - [`output()`](Command::output) gives an empty standard input, where `exec` leaves a pipe open.
//! - A child that was killed for its [`timeout`](Command::timeout) is an error, also if it then ended with code 0.
//! - There are no `Sync` forms: `std::process` has them.
//! - A child inherits nothing that was not named, whatever descriptors the rest of the program has open.
//!
//! Everything here needs a tokio runtime with its I/O driver; time limits need its timer.

mod child;
mod command;
mod encoding;
mod event;
mod listeners;
mod output;
mod signal;
mod stdio;

use std::ffi::OsStr;

pub use self::child::{Child, ChildHandle, KillError};
pub use self::command::Command;
pub use self::encoding::Encoding;
pub use self::event::{ChildError, Event, Events};
pub use self::listeners::Listeners;
pub use self::output::{ExecError, Output, Reason, Stream};
pub use self::signal::Signal;
pub use self::stdio::{ChildInput, ChildOutput, ChildPipe, Stdio};
use crate::SpawnError;

/// Starts a program with pipes for its standard streams: [`Command::new`], [`args`](Command::args),
/// [`spawn`](Command::spawn). Node's `child_process.spawn`.
///
/// # Errors
///
/// [`SpawnError`]: the program cannot be started, or there is no tokio runtime.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::spawn;
///
/// let mut child = spawn("ls", ["-l", "/"])?;
/// assert!(child.wait().await.is_success());
/// # Ok(())
/// # }
/// ```
pub fn spawn<I, S>(program: impl AsRef<OsStr>, args: I) -> Result<Child, SpawnError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    Command::new(program).args(args).spawn()
}

/// Runs a line of a shell to its end, and gives its output: [`Command::shell`], [`output`](Command::output). Node's
/// `child_process.exec`. Never put into the line what comes from others.
///
/// # Errors
///
/// [`ExecError`] for everything but exit code 0, with what was said until then; also for more than 1 MiB of output.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::exec;
///
/// assert_eq!(exec("echo one two | wc -w").await?.stdout_text().trim(), "2");
/// assert_eq!(exec("exit 3").await.unwrap_err().code(), Some(3));
/// # Ok(())
/// # }
/// ```
pub async fn exec(line: impl AsRef<OsStr>) -> Result<Output, ExecError> {
    Command::shell(line).output().await
}

/// Runs a program to its end without a shell, and gives its output: [`Command::new`], [`args`](Command::args),
/// [`output`](Command::output). Node's `child_process.execFile`; errors as of [`exec`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::exec_file;
///
/// assert_eq!(exec_file("echo", ["*"]).await?.stdout, b"*\n");
/// # Ok(())
/// # }
/// ```
pub async fn exec_file<I, S>(program: impl AsRef<OsStr>, args: I) -> Result<Output, ExecError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    Command::new(program).args(args).output().await
}

/// Starts a program with a channel, and with our standard streams: [`Command::new`], [`args`](Command::args),
/// [`fork`](Command::fork). For a JavaScript file say what runs it:
/// `Command::new("worker.js").exec_path("node").fork()`. The other side of the channel is
/// [`ipc::parent`](crate::ipc::parent) in a Rust program.
///
/// # Errors
///
/// As of [`Command::spawn`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::fork;
///
/// // Any program can read the channel: a message is a line of JSON.
/// let mut child = fork("sh", ["-c", r#"read line <&$NODE_CHANNEL_FD; test "$line" = '"hello"'"#])?;
/// child.send("hello").await?;
/// assert!(child.wait().await.is_success());
/// # Ok(())
/// # }
/// ```
pub fn fork<I, S>(program: impl AsRef<OsStr>, args: I) -> Result<Child, SpawnError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    Command::new(program).args(args).fork()
}
