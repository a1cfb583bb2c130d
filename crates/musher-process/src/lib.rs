//! Child processes of Linux, without races: spawn, signal, reap, find the whole tree, pass file descriptors.
//!
//! - [`child_process`]: Node's `spawn`, `exec`, `execFile` and `fork`, async. [`ipc`]: the channel, both ends.
//! - [`v8`]: the format of `serialization: 'advanced'`.
//! - [`spawn`]: start a program with an explicit environment, file descriptors, limits and credentials; a pidfd from the
//!   first instant.
//! - [`exit`]: how a process ended, as a typed value; signals by pidfd and their names.
//! - [`tree`]: every process of a run, also those that left its process group.
//! - [`stat`]: memory, CPU time and listening sockets of a process.
//! - [`lookup`]: programs on `PATH`, users and groups.
//! - [`net`]: listening sockets and SO_REUSEPORT groups. [`notify`]: the sd_notify(3) socket, both ends.
//!
//! **Hidden modules** (`cgroup`, `channel`, `fdpass`, `foreign`, `inherit`, `memfd`, `own`, `postmortem`) are for the musher
//! daemon and `musher-cluster` only, and may change with every version. They are hidden rather than behind a feature:
//! the public modules stand on most of them, so that a feature would save nothing, and every crate that needs them would
//! have to name it.
//!
//! This crate decides nothing: when to start, stop or restart is `musher-core`'s. It is the only crate with `unsafe`
//! code, all of it in `sys`.

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
