//! Node's `cluster` for Rust programs on tokio: workers that share a port, the primary that forks them, messages and
//! sockets between the two, and teams that are kept up and replaced without a refused connection. Linux only (5.14 or
//! later). No daemon is needed.
//!
//! A program is one of these, or several:
//!
//! | it is | it calls | it gets |
//! |---|---|---|
//! | a **worker**: it serves | [`listen`], [`draining`] | a listener, whoever runs it, and a word when it is to go |
//! | a **primary**: it forks | [`setup_primary`], [`Primary::fork`] | [`Worker`]s in Rust, Node, Deno or Bun, and their [`Event`]s |
//! | a primary that **keeps a team up** | [`Primary::keep`] | a [`Team`]: restarts with limits, reloads, scaling |
//! | an **HTTP server** over all cores | `http::Server` (feature `http`) | all of the above in one call |
//!
//! # Primary and workers in one program
//!
//! The primary forks this very program; [`is_worker`] tells the two apart, as `cluster.isPrimary` does in Node. A plain accept
//! loop is all that the worker needs: it ends when the worker has to go.
//!
//! ```
//! # #[cfg(feature = "programs")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     use musher_cluster::{Settings, is_worker, listen, setup_primary};
//!     use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//!     if is_worker() {
//!         let mut listener = listen("127.0.0.1:0").await?;
//!         while let Some((mut stream, _)) = listener.accept().await {
//!             stream.write_all(b"hello\n").await?;
//!         }
//!         return Ok(());
//!     }
//!
//!     let cluster = setup_primary(Settings::new())?;    // this very program
//!     let workers = [cluster.fork()?, cluster.fork()?];
//!     for worker in &workers {
//!         assert!(worker.listening().await);
//!     }
//!     // Both listen on one port: the first got a free one, the second the same.
//!     let port = workers[0].addresses()[0].port().ok_or("no port")?;
//!     assert_eq!(workers[1].addresses(), workers[0].addresses());
//!
//!     let mut said = String::new();
//!     tokio::net::TcpStream::connect(("127.0.0.1", port)).await?.read_to_string(&mut said).await?;
//!     assert_eq!(said, "hello\n");
//!     cluster.disconnect().await;    // they finish what they have, and end
//!     Ok(())
//! }
//! # #[cfg(not(feature = "programs"))]
//! # fn main() {}
//! ```
//!
//! # A worker
//!
//! With **axum** (feature `axum`). `serve` also keeps clients from losing a request on a kept connection when the worker is
//! replaced; `axum::serve(listener, app)` works, too.
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
//! With **hyper**: accept by yourself, and let hyper finish its connections when `accept` gives none.
//!
//! ```ignore
//! let mut listener = musher_cluster::listen("127.0.0.1:8080").await?;
//! let connections = hyper_util::server::graceful::GracefulShutdown::new();
//! let http = hyper::server::conn::http1::Builder::new();
//! while let Some((stream, _)) = listener.accept().await {
//!     let connection = http.serve_connection(TokioIo::new(stream), service_fn(hello));
//!     tokio::spawn(connections.watch(connection));
//! }
//! drop(listener);
//! connections.shutdown().await;
//! ```
//!
//! With **tonic**, and all that take a stream of connections:
//!
//! ```ignore
//! let listener = musher_cluster::listen("127.0.0.1:8080").await?;
//! Server::builder()
//!     .add_service(service)
//!     .serve_with_incoming_shutdown(listener.into_incoming(), musher_cluster::draining())
//!     .await?;
//! ```
//!
//! (These two are `examples/cluster/src/bin/hyper.rs` and `tonic.rs`, which tests run. Beside them: `axum.rs`, `accept.rs`,
//! `udp.rs`, `messages.rs`, `primary.rs`, `hello.rs`, `visits.rs`.)
//!
//! **When it has to go.** [`draining()`](draining) completes when the primary says so (a reload, fewer workers, a
//! disconnect), when the primary is gone, and on SIGTERM or SIGINT. Then nothing new comes: finish what is in flight, and end.
//! [`Listener::accept`] gives `None` at that moment, [`Incoming`] ends, `serve` returns when all is answered.
//!
//! **Where it runs.** The same program, without a change:
//!
//! | it is run | [`listen`] gives | it ends when |
//! |---|---|---|
//! | alone: `./server` | a socket of its own | SIGTERM, SIGINT |
//! | by a primary of this crate | a share of the port, by [`Scheduling`] | the primary says so or is gone |
//! | by musher, `cluster = true` | a share of the port, by `balance` | musher says so; it outlives musher's own processes |
//! | by musher, `listen = "tcp://127.0.0.1:8080"` | that socket (`LISTEN_FDS`), and it notifies `READY=1` | SIGTERM |
//! | by Node's `cluster`, as `process.execPath` | a share of the port, by `SCHED_RR` or `SCHED_NONE` | the primary says so or is gone |
//! | by systemd with a socket unit | that socket, and it notifies `READY=1` | SIGTERM |
//!
//! Node forks `process.execPath` and gives it the `exec` of `setupPrimary` as first argument; both of its serializations are
//! understood.
//!
//! # A primary
//!
//! A team of four that is kept up, and replaced on SIGHUP without a lost request:
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
//!     let team = cluster.keep(Plan::new(4)).await?;    // returns when all listen
//!     Ok(team.run().await?)                            // until SIGTERM or SIGINT
//! }
//! # #[cfg(not(feature = "programs"))]
//! # fn main() {}
//! ```
//!
//! Workers of other runtimes, with a server of `node:http` (Node 22, Deno 2, Bun 1):
//!
//! | | [`Settings::node`] | [`Settings::deno`] | [`Settings::bun`] |
//! |---|---|---|---|
//! | messages both ways | yes | yes | yes |
//! | a shared port, [`Scheduling::Kernel`] | yes | no: accepts nothing | yes: it binds by itself, with SO_REUSEPORT |
//! | a shared port, [`Scheduling::Shared`] | yes | no: accepts nothing | yes: as above |
//! | a shared port, [`Scheduling::RoundRobin`] | yes | yes (its default here) | yes: as above |
//! | ends when it is disconnected | yes | yes | no: it needs a signal |
//!
//! # From Node's names to these
//!
//! | Node | here |
//! |---|---|
//! | `cluster.isPrimary`, `cluster.isWorker` | [`is_primary`], [`is_worker`] |
//! | `cluster.setupPrimary(settings)`, `cluster.settings` | [`setup_primary`], [`Primary::setup`], [`Primary::settings`] |
//! | `exec`, `execArgv`, `args`, `silent`, `stdio`, `serialization`, `inspectPort`, `uid` and `gid` | fields and methods of [`Settings`]: `script`, `exec_args`, …, `credentials` |
//! | `cluster.schedulingPolicy`, `NODE_CLUSTER_SCHED_POLICY` | [`Settings::scheduling`], [`Scheduling::from_env`] |
//! | `cluster.fork(env)`, `cluster.workers` | [`Primary::fork`], [`Primary::fork_with`], [`Primary::workers`] |
//! | `cluster.disconnect(callback)` | [`Primary::disconnect`] |
//! | `cluster.on('fork')` and `'online'`, `'listening'`, `'message'`, `'disconnect'`, `'exit'`, `'setup'` | [`Primary::on`], [`Primary::events`], [`Event`] |
//! | `worker.id`, `worker.process`, `worker.state` | [`Worker::id`], [`Worker::process`], [`Worker::state`] |
//! | `worker.send(message, handle)`, `worker.on('message')` | [`Worker::send`], [`Worker::send_handle`], [`Worker::on_message`], [`Worker::messages`] |
//! | `worker.kill(signal)`, `worker.disconnect()` | [`Worker::kill`], [`Worker::disconnect`] |
//! | `worker.exitedAfterDisconnect`, `isConnected()`, `isDead()` | [`Worker::exited_after_disconnect`], [`Worker::is_connected`], [`Worker::is_dead`] |
//! | `cluster.worker`, `process.send` and `process.on('message')` in a worker | [`own_worker`], [`OwnWorker`] |
//! | `server.listen(port)`, `listen(path)`, `listen({ fd })`, `dgram.bind` in a worker | [`listen`], [`listen_unix`], [`listen_fd`], [`bind_udp`] |
//!
//! Node has no [`Primary::broadcast`], [`Primary::keep`], [`Scheduling::Kernel`] and `draining`. What differs from Node where the
//! names agree: [`Settings`] say all of it each time; errors of a fork are returned, there is no event `error`; an address whose
//! last worker *died* stays open for five seconds, so that clients wait for the next worker instead of being refused.
//!
//! # Features
//!
//! | feature | adds | costs |
//! |---|---|---|
//! | `programs` (default) | all that is described here, but for: | tokio, serde_json, rustix |
//! | `axum` | `serve`; [`Listener`] goes into `axum::serve` | axum |
//! | `http` | `http::Server`: interceptors, router, development mode | `axum`, notify |
//!
//! # Limits
//!
//! - Linux only. Nothing outlives a primary of this crate: its workers finish what they have and end with it. What outlives
//!   everything is the musher daemon.
//! - A message of a worker may have 64 MiB, and as much waits for one that does not read; both can be set
//!   ([`Settings::max_message`], [`Settings::max_queued`]). What is more is dropped with a warning (`tracing`).
//! - Streams of events and messages are bounded (4096 and 1024): who is slower misses some. Handlers miss none, and must not block.
//! - At most 1024 addresses for each worker. The name of a unix socket's file may have 90 bytes in a path that is longer than 107.
//! - A tokio runtime is needed by everything that talks to somebody, with its time and I/O drivers; a current-thread one will do.
//!
//! What else this crate exports is hidden: it is the musher daemon's, and may change with every version.

#[doc(hidden)]
pub mod message;

mod bind;
mod cluster;
mod event;
mod group;
mod handle;
#[cfg(feature = "http")]
pub mod http;
#[doc(hidden)]
pub mod limits;
mod primary;
mod reactor;
#[cfg(feature = "programs")]
mod readiness;
mod ring;
mod saved;
#[doc(hidden)]
pub mod script;
#[cfg(feature = "programs")]
mod serving;
mod shared;
mod steering;
#[cfg(feature = "programs")]
mod team;
mod watch;
mod worker;

pub use cluster::Stats;
// What is hidden is the daemon's, without a promise to anybody else.
#[doc(hidden)]
pub use cluster::{Cluster, FdStore, Listens, Watching, WorkerConfig};
#[doc(hidden)]
pub use event::{ClusterEvent, EventSink};
#[doc(hidden)]
pub use handle::Passed;
#[cfg(feature = "programs")]
pub use musher_core::lifecycle;
#[cfg(feature = "programs")]
pub use musher_core::spec::{Canary, Limits};
#[doc(hidden)]
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
#[doc(hidden)]
pub fn can_read(state: &[u8]) -> Result<(), &'static str> {
    saved::SavedApp::decode(state).map(drop).ok_or("it is not what this version writes")
}

/// A script for `NODE_OPTIONS=--require=<path>` (Node 18 to 24, CommonJS and ES modules). It does nothing but in a
/// process whose environment has `MUSHER_RUN` and a channel, and nothing there until it is told to drain, asked how it
/// is, entrusted with a socket, or an exception would end the process. `MUSHER_ON_UNCAUGHT` says how many milliseconds a
/// worker then has to finish what it does; without it the process ends at once.
#[doc(hidden)]
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
