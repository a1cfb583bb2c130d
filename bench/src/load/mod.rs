//! Clients under load that count every request that did not get its answer.
//!
//! Four kinds, because each finds other losses: [`Shape::Fresh`] makes a new connection for each request at a fixed
//! rate whatever the server does (open loop), [`Shape::KeepAlive`] holds connections and pauses between requests,
//! [`Shape::Streaming`] reads answers that take seconds, [`Shape::WebSocket`] exchanges messages. Latency counts from the instant the request was *planned* for,
//! so a server that stalls cannot hide the requests it kept from being sent.
//!
//! The server has to answer with a body that holds `id=<id>` (the request's `id` parameter) and may hold `pid=` and
//! `version=`; a stream has to end with the line `end`. A WebSocket has to answer each message, which is an id, with such
//! a text.
//!
//! Order of calls: [`Load::start`], [`Load::wait_answered`] and [`Load::take`] as often as wanted, [`Load::finish`].

mod exchange;
mod report;
mod websocket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::wait;
use exchange::Connection;
pub use exchange::get;
pub use report::{Outcome, Report, Sample};

/// Where the server listens.
#[derive(Clone, Debug)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// How the clients behave.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A new connection for every request, planned at a fixed rate.
    Fresh {
        /// Requests per second.
        per_second: u32,
    },
    /// Connections that are kept, with exponentially distributed pauses between requests.
    KeepAlive {
        /// How many connections.
        connections: u32,
        /// The mean pause.
        think: Duration,
    },
    /// Answers that take `chunks * every`, each on a connection of its own, so many at a time.
    Streaming {
        /// How many at a time.
        connections: u32,
        /// Parts of an answer.
        chunks: u32,
        /// Time between parts.
        every: Duration,
    },
    /// WebSockets with exponentially distributed pauses between messages.
    WebSocket {
        /// How many.
        connections: u32,
        /// The mean pause.
        think: Duration,
    },
}

/// A load to put on a server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the server listens.
    pub target: Target,
    /// How the clients behave.
    pub shape: Shape,
    /// Path of the requests; `?id=` is appended.
    pub path: String,
    /// An answer that takes longer is lost.
    pub timeout: Duration,
}

impl Plan {
    /// `shape` against `127.0.0.1:port`, ten seconds of patience.
    pub fn new(port: u16, shape: Shape) -> Plan {
        let path = match shape {
            Shape::Streaming { .. } => "/stream",
            Shape::WebSocket { .. } => "/socket",
            Shape::Fresh { .. } | Shape::KeepAlive { .. } => "/",
        };
        Plan {
            target: Target::Tcp(SocketAddr::from(([127, 0, 0, 1], port))),
            shape,
            path: path.into(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// A running load. Dropping it stops it too, but tells nothing.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    started: Instant,
    stopping: AtomicBool,
    stopped: Notify,
    next_id: AtomicU64,
    answered: AtomicU64,
    lost: AtomicU64,
    idle_closed: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

impl Load {
    /// Starts the clients in a thread of their own.
    ///
    /// # Panics
    ///
    /// When the machine has no thread or epoll instance left.
    #[expect(clippy::expect_used, reason = "a load that cannot run has no result; the tests and the bench end there")]
    pub fn start(plan: Plan) -> Load {
        raise_open_files();
        let shared = Arc::new(Shared {
            plan,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            stopped: Notify::new(),
            next_id: AtomicU64::new(1),
            answered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            idle_closed: AtomicU64::new(0),
            samples: Mutex::new(Vec::new()),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an async runtime");
        let clients = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("load".into())
            .spawn(move || runtime.block_on(run(clients)))
            .expect("a thread for the clients");
        Load { shared, thread: Some(thread) }
    }

    /// Answers so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Lost requests so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits for `more` further answers; false when `limit` passed before.
    pub fn wait_answered(&self, more: u64, limit: Duration) -> bool {
        let wanted = self.answered() + more;
        wait::until(limit, || (self.answered() >= wanted).then_some(())).is_some()
    }

    /// What became of the requests that have ended since the last call, in the order of their ends: for loads that run
    /// for hours. What was taken is not in the report.
    pub fn take(&self) -> Vec<Sample> {
        self.shared.samples.lock().map(|mut samples| std::mem::take(&mut *samples)).unwrap_or_default()
    }

    /// Plans no more requests, waits for those under way, and tells what became of each.
    pub fn finish(mut self) -> Report {
        self.stop();
        let mut samples = match self.shared.samples.lock() {
            Ok(mut samples) => std::mem::take(&mut *samples),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        samples.sort_by_key(|sample| sample.planned);
        Report {
            samples,
            idle_closed: self.shared.idle_closed.load(Ordering::Relaxed),
            took: self.shared.started.elapsed(),
        }
    }

    fn stop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.stopped.notify_waiters();
        if let Some(thread) = self.thread.take() {
            // A panic of the clients has been printed; what they counted until then stands.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Passes when `instant` comes or the load is stopped.
    async fn pause_until(&self, instant: Instant) {
        let stopped = self.stopped.notified();
        if !self.stopping() {
            tokio::select! {
                () = tokio::time::sleep_until(instant.into()) => {}
                () = stopped => {}
            }
        }
    }

    fn record(&self, sample: Sample) {
        let counter = if matches!(sample.outcome, Outcome::Ok { .. }) { &self.answered } else { &self.lost };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut samples) = self.samples.lock() {
            samples.push(sample);
        }
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn request_path(&self, id: u64) -> String {
        let path = &self.plan.path;
        let sign = if path.contains('?') { '&' } else { '?' };
        match self.plan.shape {
            Shape::Streaming { chunks, every, .. } => {
                format!("{path}{sign}id={id}&chunks={chunks}&every={}", every.as_millis())
            }
            Shape::Fresh { .. } | Shape::KeepAlive { .. } | Shape::WebSocket { .. } => format!("{path}{sign}id={id}"),
        }
    }
}

async fn run(shared: Arc<Shared>) {
    let mut clients = tokio::task::JoinSet::new();
    match shared.plan.shape {
        Shape::Fresh { per_second } => {
            let gap = Duration::from_secs(1) / per_second.max(1);
            let mut planned = Instant::now();
            while !shared.stopping() {
                let request = one_request(Arc::clone(&shared), planned);
                clients.spawn(async move {
                    request.await;
                });
                while clients.try_join_next().is_some() {}
                planned += gap;
                shared.pause_until(planned).await;
            }
        }
        Shape::KeepAlive { connections, think } => {
            for number in 0..connections {
                clients.spawn(kept_connection(Arc::clone(&shared), think, u64::from(number) + 1));
            }
        }
        Shape::WebSocket { connections, think } => {
            for number in 0..connections {
                clients.spawn(websocket::client(Arc::clone(&shared), think, u64::from(number) + 1));
            }
        }
        Shape::Streaming { connections, .. } => {
            for _ in 0..connections {
                let shared = Arc::clone(&shared);
                clients.spawn(async move {
                    while !shared.stopping() {
                        let failed = !one_request(Arc::clone(&shared), Instant::now()).await;
                        if failed {
                            // Refused at once: without a pause this would be a flood, not a client.
                            shared.pause_until(Instant::now() + Duration::from_millis(20)).await;
                        }
                    }
                });
            }
        }
    }
    while clients.join_next().await.is_some() {}
}

/// A request on a connection of its own; whether it was answered.
async fn one_request(shared: Arc<Shared>, planned: Instant) -> bool {
    let id = shared.next_id();
    let streaming = matches!(shared.plan.shape, Shape::Streaming { .. });
    let (mut local_port, mut opened) = (None, None);
    let exchange = async {
        let mut connection = Connection::open(&shared.plan.target).await?;
        (local_port, opened) = (connection.local_port, Some(connection.opened));
        connection.request(&shared.request_path(id), id, false, streaming).await
    };
    let outcome = match tokio::time::timeout(shared.plan.timeout, exchange).await {
        Ok(Ok(answer)) => answer.outcome(),
        Ok(Err(outcome)) => outcome,
        Err(_) => Outcome::Timeout,
    };
    let answered = matches!(outcome, Outcome::Ok { .. });
    shared.record(Sample { id, planned, latency: planned.elapsed(), local_port, opened, outcome });
    answered
}

/// A client that keeps its connection for as long as the server does.
async fn kept_connection(shared: Arc<Shared>, think: Duration, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut kept: Option<Connection> = None;
    // The clients do not start in step.
    shared.pause_until(Instant::now() + random.exponential(think)).await;
    while !shared.stopping() {
        let id = shared.next_id();
        let planned = Instant::now();
        let (mut local_port, mut opened) = (None, None);
        let mut connection = kept.take();
        let exchange = async {
            let mut connection = match connection.take() {
                Some(connection) => connection,
                None => Connection::open(&shared.plan.target).await?,
            };
            (local_port, opened) = (connection.local_port, Some(connection.opened));
            let answer = connection.request(&shared.request_path(id), id, true, false).await?;
            Ok::<_, Outcome>((connection, answer))
        };
        let outcome = match tokio::time::timeout(shared.plan.timeout, exchange).await {
            Ok(Ok((connection, answer))) => {
                kept = answer.keep.then_some(connection);
                answer.outcome()
            }
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::Timeout,
        };
        shared.record(Sample { id, planned, latency: planned.elapsed(), local_port, opened, outcome });

        let pause = shared.pause_until(Instant::now() + random.exponential(think));
        let closed = match &mut kept {
            Some(connection) => tokio::select! {
                () = pause => connection.is_closed(),
                () = connection.closed() => true,
            },
            None => {
                pause.await;
                false
            }
        };
        if closed {
            // The server closed while nothing was asked: its right, and no loss.
            shared.idle_closed.fetch_add(1, Ordering::Relaxed);
            kept = None;
        }
    }
}

/// xorshift64*: enough for pauses, and a load replays by its seed.
struct Random(u64);

impl Random {
    fn exponential(&mut self, mean: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
        #[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
        let uniform = (bits as f64 + 1.0) / f64::from(1u32 << 24);
        mean.mul_f64((-uniform.ln()).min(6.0))
    }
}

/// Thousands of connections may be open at a time when a server stalls.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without it, a stalled server shows as failed connects, which are counted.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
