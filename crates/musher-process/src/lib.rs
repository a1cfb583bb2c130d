//! Child processes of Linux, without races: spawn, signal, reap, find the whole tree, pass file descriptors.
//!
//! - [`spawn`]: start a program with an explicit environment, file descriptors, limits and credentials; a pidfd from the
//!   first instant.
//! - [`exit`]: how a process ended, as a typed value; signals by pidfd and their names.
//! - [`tree`] and [`cgroup`]: every process of a run, also those that left its process group.
//! - [`stat`]: memory, CPU time and listening sockets of a process.
//! - [`postmortem`]: core files, and processes that were killed for want of memory.
//! - [`lookup`]: programs on `PATH`, users and groups.
//! - [`foreign`]: descriptors had back from another process.
//! - [`fdpass`], [`memfd`], [`notify`]: file descriptors over sockets, sealed memory files, the sd_notify(3) socket.
//! - [`channel`]: Node's IPC channel. [`net`]: listening sockets and SO_REUSEPORT groups.
//! - [`inherit`]: descriptors from the process before us, signals as descriptors, becoming another program.
//! - [`own`]: what musher sets for its own processes (subreaper, open files).
//!
//! This crate decides nothing: when to start, stop or restart is `musher-core`'s. It is the only crate with `unsafe`
//! code, all of it in `sys`.

pub mod cgroup;
pub mod channel;
#[cfg(feature = "tokio")]
pub mod child_process;
pub mod exit;
pub mod fdpass;
pub mod foreign;
pub mod inherit;
#[cfg(feature = "tokio")]
pub mod ipc;
pub mod lookup;
pub mod memfd;
pub mod net;
pub mod notify;
pub mod own;
mod pid;
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
