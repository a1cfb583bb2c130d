//! Child processes on Linux, for tokio: Node's `spawn`, `exec`, `execFile` and `fork`, with messages and sockets between
//! parent and child, and without the races of process numbers.
//!
//! **Spawn** a program, and read what it says:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use musher_process::child_process::spawn;
//!
//! let child = spawn("ls", ["-l", "/"])?;
//! let output = child.wait_with_output().await?;
//! assert!(output.stdout_text().contains("proc"));
//! # Ok(())
//! # }
//! ```
//!
//! **Exec** a line of a shell, with bounds:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use musher_process::child_process::Command;
//! use std::time::Duration;
//!
//! let count = Command::shell("ps ax | wc -l").timeout(Duration::from_secs(5)).max_buffer(1 << 20).output().await?;
//! println!("{} processes", count.stdout_text().trim());
//! # Ok(())
//! # }
//! ```
//!
//! **Fork** a program, in JavaScript or Rust, and talk with it both ways:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use musher_process::child_process::{Command, Event};
//! use serde_json::json;
//!
//! # let directory = tempfile::tempdir()?;
//! # std::fs::write(directory.path().join("child.js"), "process.once('message', (m) => process.send({twice: 2 * m.number}))")?;
//! # std::env::set_current_dir(directory.path())?;
//! // child.js: process.once('message', (m) => process.send({twice: 2 * m.number}))
//! let mut child = Command::new("./child.js").exec_path("node").fork()?;
//! child.send(&json!({"number": 21})).await?;
//! while let Some(event) = child.next_event().await {
//!     if let Event::Message(message) = event {
//!         assert_eq!(message.parse::<serde_json::Value>()?["twice"], 42);
//!         child.disconnect()?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same child in Rust; Node can fork it as well, with `fork('unused', {execPath: 'target/release/child'})`:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! if let Some(mut parent) = musher_process::ipc::parent()? {
//!     let message = parent.recv().await.ok_or("the parent has gone")?.parse::<serde_json::Value>()?;
//!     let number = message["number"].as_i64().unwrap_or(0);
//!     parent.sender.send(&serde_json::json!({"twice": 2 * number})).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! | in Node | here |
//! |---|---|
//! | `spawn`, `exec`, `execFile`, `fork` | [`child_process`]: functions of these names, and [`Command`](child_process::Command) for all options |
//! | `options.cwd`, `env`, `uid`, `stdio`, `timeout`, `maxBuffer`, … | methods of [`Command`](child_process::Command) of these names |
//! | `child.stdin`, `kill()`, `send()`, `disconnect()`, `unref()` | fields and methods of [`Child`](child_process::Child) |
//! | `'spawn'`, `'message'`, `'disconnect'`, `'error'`, `'exit'`, `'close'` | [`Event`](child_process::Event), in this order |
//! | `err.code`, `killed`, `signal`, `cmd`, `stdout` of `exec` | [`ExecError`](child_process::ExecError) |
//! | `process.send`, `process.on('message')`, `process.disconnect` in a child | [`ipc::parent`] |
//! | `send(message, socket, {keepOpen})` | [`Sender::send_handle`](ipc::Sender::send_handle), [`Handle`](ipc::Handle) |
//! | `serialization: 'advanced'` | [`Serialization`](ipc::Serialization), [`v8::Value`] |
//! | `process.kill(pid)` | [`signal`], by a pidfd |
//! | `cluster` | the crate `musher-cluster` |
//!
//! Below that, without tokio, for supervisors and the like:
//!
//! - [`Spawn`]: a program with explicit environment, descriptors, limits, priority and user; a pidfd from the first instant.
//! - [`exit`]: how a process ended, waiting for it, signals by pidfd and their names.
//! - [`Tree`]: all that a child has started, also what left its process group; [`stat`]: memory, CPU time, listening sockets.
//! - [`net`]: listening sockets, SO_REUSEPORT groups; [`notify`]: sd_notify(3), both ends; [`lookup`]: `PATH`, users, groups.
//!
//! # Features
//!
//! `tokio` (default): [`child_process`] and [`ipc`]. They need a tokio runtime of either flavor with its I/O driver, and its
//! timer for time limits: in the program's own Cargo.toml `tokio = { version = "1", features = ["rt", "macros"] }` is enough.
//! Without the feature no runtime is needed, nor a thread: everything that is left blocks, or is non-blocking with a
//! descriptor to wait for.
//!
//! # Platform
//!
//! Linux 5.14 or later with /proc, on processors of 64 bits. On x86-64 and AArch64 a child shares our memory until it executes
//! its program, so that its start takes the same time however big this process is; elsewhere the memory is copied, as by
//! fork(2). Only becoming another user needs root.
//!
//! # Safety and limits
//!
//! - **No pid is trusted.** A child is signalled, waited for and reaped by its pidfd. One that has ended gives an error; the
//!   next process with its number is never touched.
//! - **Nothing is inherited that was not named:** no descriptor of the parent, no signal mask. Other threads may open files
//!   and spawn meanwhile.
//! - **A peer is not trusted.** What comes over a channel is bounded and ends in an error, never in a panic or a lost
//!   descriptor: [`ipc::MAX_MESSAGE`] (64 MiB) per message, [`v8::MAX_DEPTH`] and [`v8::MAX_VALUES`] in it. Fuzzed.
//! - **A reader that does not read is not waited for in memory:** senders wait above [`ipc::HIGH_WATER`] (128 KiB), and fail
//!   above [`ipc::MAX_QUEUED_BYTES`]. Outputs are kept up to 1 MiB unless [`max_buffer`](child_process::Command::max_buffer)
//!   says otherwise.
//! - **Dropping a [`Child`](child_process::Child) does not end it**, unless that was
//!   [asked for](child_process::Command::kill_on_drop); it is reaped all the same.
//! - `unsafe` code is in one private module, `sys`, and every block says why it is sound.
//!
//! # Hidden modules
//!
//! `cgroup`, `channel`, `fdpass`, `foreign`, `inherit`, `memfd`, `own` and `postmortem` are public for the musher daemon and
//! `musher-cluster` only, and may change with every version. They are hidden rather than behind a feature: the modules above
//! stand on some of them, the rest is small, and every crate of the workspace would have to name the feature.

#![cfg_attr(
    not(feature = "tokio"),
    expect(rustdoc::broken_intra_doc_links, reason = "the documentation is that of the whole crate")
)]

// Hidden modules are the daemon's own: public for the crates of this workspace, without a promise (see above).
#[doc(hidden)]
pub mod cgroup;
#[doc(hidden)]
pub mod channel;
#[cfg(feature = "tokio")]
pub mod child_process;
pub mod exit;
#[doc(hidden)]
pub mod fdpass;
#[doc(hidden)]
pub mod foreign;
#[doc(hidden)]
pub mod inherit;
#[cfg(feature = "tokio")]
pub mod ipc;
pub mod lookup;
#[doc(hidden)]
pub mod memfd;
pub mod net;
pub mod notify;
#[doc(hidden)]
pub mod own;
mod pid;
#[doc(hidden)]
pub mod postmortem;
pub mod spawn;
pub mod stat;
#[expect(unsafe_code, reason = "system calls that no safe crate offers; every block says why it is sound")]
mod sys;
pub mod tree;
pub mod v8;
mod wait;

pub use exit::{ExitStatus, pidfd_open, reap, signal};
pub use pid::Pid;
pub use rustix::process::{Resource, Rlimit};
pub use spawn::{Child, Credentials, Spawn, SpawnError};
pub use tree::{Look, Tree};

/// The examples of README.md, which run with the others.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
