//! Node's `cluster` in Rust: workers that share ports, their primary, and what the daemon's supervisor does with both.
//!
//! - A program that **serves** gets its listener in one line, whoever runs it: [`listen`], [`draining`], [`own_worker`].
//! - A program that **forks** workers, in Rust, Node, Deno or Bun: [`setup_primary`], [`Primary`], [`Team`].
//! - A program that is both, over HTTP: `http::Server` (feature `http`).
//!
//! The guide (docs/guide/rust-clusters.md) tells it from the beginning, examples/cluster has programs to run.
//!
//! A worker, whoever runs it: alone, a Rust or Node primary, musher, systemd with a socket unit (feature `axum`):
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> std::io::Result<()> {
//!     let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello\n" }));
//!     let listener = musher_cluster::listen("127.0.0.1:8080").await?;
//!     musher_cluster::serve(listener, app).await
//! }
//! # #[cfg(not(feature = "axum"))]
//! # fn main() {}
//! ```
//!
//! A primary that keeps four of them up, and replaces them on SIGHUP without a lost request:
//!
//! ```no_run
//! # #[cfg(feature = "programs")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     use musher_cluster::{Event, Plan, Settings, setup_primary};
//!     let cluster = setup_primary(Settings::program("./server"))?;    // or Settings::node("server.js"), …
//!     cluster.on(|event| {
//!         if let Event::Exit { worker, status } = event {
//!             eprintln!("worker {} ended: {status}", worker.id());
//!         }
//!     });
//!     let team = cluster.keep(Plan::new(4)).await?;
//!     Ok(team.run().await?)
//! }
//! # #[cfg(not(feature = "programs"))]
//! # fn main() {}
//! ```
//!
//! What is what:
//!
//! | Node | here |
//! |---|---|
//! | `cluster` in a primary, `cluster.settings`, `worker` | [`Primary`], [`Settings`], [`Worker`] |
//! | `cluster.worker`, `process.send`, in a worker | [`own_worker`], [`OwnWorker`] |
//! | `server.listen` in a worker | [`listen`], [`listen_unix`], [`listen_fd`], [`bind_udp`] |
//! | `'fork'`, `'online'`, `'listening'`, `'message'`, `'disconnect'`, `'exit'`, `'setup'` | [`Event`] |
//!
//! Features: `programs` (default) is all of this; `axum` adds `serve` and takes listeners to `axum::serve`; `http` adds
//! `http::Server`. Without any only the parts of the daemon are built.
//!
//! # The cluster thread
//!
//! What a primary of this crate and the daemon have in common is [`Cluster`], one thread with an epoll of its own.
//!
//! It owns the channel of every Node worker and every listener that they ask for, answers their `listen` calls as Node's
//! own primary would, and decides who gets a connection:
//!
//! - **kernel** (TCP): each slot has a SO_REUSEPORT socket of its own that outlives its workers. A program in the
//!   kernel deals connections out, in turns where that is permitted and else by chance, and leaves out slots that cannot
//!   serve. What waits at such a slot is accepted here and given to its siblings. Apart from that the thread is not in
//!   the path of a connection: nothing changes for clients while it is stopped or dead.
//! - **round-robin**: connections are accepted here and handed to the workers in strict turns.
//! - **shared** (also UDP and unix sockets under `kernel`): one socket that all workers accept from.
//!
//! Everything that has to survive the supervisor goes through [`FdStore`] before it has effects; [`Cluster::restore_app`]
//! and [`WorkerConfig::adopted`] bring it back. What a worker sends can only hurt that worker.
//!
//! When workers are started, stopped and killed is not decided here; see `musher-core`. [`PRELOAD`] is the script that
//! lets a Node worker drain without cutting keep-alive connections.

#[doc(hidden)]
pub mod message;

mod bind;
mod cluster;
mod event;
mod group;
mod handle;
#[cfg(feature = "http")]
pub mod http;
pub mod limits;
mod primary;
mod reactor;
#[cfg(feature = "programs")]
mod readiness;
mod ring;
mod saved;
pub mod script;
#[cfg(feature = "programs")]
mod serving;
mod shared;
mod steering;
#[cfg(feature = "programs")]
mod team;
mod watch;
mod worker;

pub use cluster::{Cluster, FdStore, Listens, Stats, Watching, WorkerConfig};
pub use event::{ClusterEvent, EventSink};
pub use handle::Passed;
#[cfg(feature = "programs")]
pub use musher_core::lifecycle;
#[cfg(feature = "programs")]
pub use musher_core::spec::{Canary, Limits};
pub use musher_process::channel::Bounds;
#[cfg(feature = "programs")]
pub use musher_process::child_process::Stdio;
#[cfg(feature = "programs")]
pub use musher_process::ipc::{Handle, HandleKind, Serialization};
#[cfg(feature = "programs")]
pub use musher_process::{Credentials, ExitStatus, v8};
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use serving::fuzzing;
#[cfg(feature = "programs")]
pub use serving::{
    Draining, Family, Incoming, Listener, Message, Messages, OwnWorker, Tcp, Unix, UnixListener, bind_udp, draining,
    is_primary, is_worker, listen, listen_fd, listen_unix, worker as own_worker,
};
#[cfg(feature = "axum")]
pub use serving::{Serve, serve};

#[cfg(feature = "programs")]
pub use team::{
    Address, AddressType, Event, Events, Plan, Primary, Process, ReadyOn, Scheduling, Settings, Team, TeamError, Told,
    Worker, WorkerState, setup_primary,
};

/// Whether this version can go on with what is kept under `cluster/<app>`.
///
/// # Errors
///
/// Why not.
pub fn can_read(state: &[u8]) -> Result<(), &'static str> {
    saved::SavedApp::decode(state).map(drop).ok_or("it is not what this version writes")
}

/// A script for `NODE_OPTIONS=--require=<path>` (Node 18 to 24, CommonJS and ES modules). It does nothing but in a
/// process whose environment has `MUSHER_RUN` and a channel, and nothing there until it is told to drain, asked how it
/// is, entrusted with a socket, or an exception would end the process. `MUSHER_ON_UNCAUGHT` says how many milliseconds a
/// worker then has to finish what it does; without it the process ends at once.
pub const PRELOAD: &str = concat!(
    include_str!("preload/start.cjs"),
    include_str!("preload/websocket.cjs"),
    include_str!("preload/servers.cjs"),
    include_str!("preload/drain.cjs"),
    include_str!("preload/alone.cjs"),
    include_str!("preload/uncaught.cjs"),
    include_str!("preload/pulse.cjs"),
    include_str!("preload/orphan.cjs"),
    include_str!("preload/messages.cjs"),
);
