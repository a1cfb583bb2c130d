//! The primary of Node's cluster workers, unmodified ones, in one thread of the supervisor.
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
mod primary;
mod reactor;
mod ring;
mod saved;
mod steering;
mod watch;
mod worker;

pub use cluster::{Cluster, FdStore, Listens, Stats, Watching, WorkerConfig};
pub use event::{ClusterEvent, EventSink};

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
/// is, or an exception would end the process. `MUSHER_ON_UNCAUGHT` says how many milliseconds a worker then has to finish
/// what it does; without it the process ends at once.
pub const PRELOAD: &str = concat!(
    include_str!("preload/start.cjs"),
    include_str!("preload/websocket.cjs"),
    include_str!("preload/servers.cjs"),
    include_str!("preload/drain.cjs"),
    include_str!("preload/uncaught.cjs"),
    include_str!("preload/pulse.cjs"),
    include_str!("preload/orphan.cjs"),
    include_str!("preload/messages.cjs"),
);
