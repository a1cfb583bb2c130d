//! Proofs that a starting worker is ready, other than what it says by itself over its channel or NOTIFY_SOCKET.
//!
//! Each starting run has at most one watch: a task that ends with the proof. It is dropped, and so ended, as soon as
//! the run is no longer starting. Probes poll, but only while a worker starts.

use std::net::SocketAddr;
use std::time::Duration;

use musher_core::RunId;
use musher_core::spec::{ReadyWhen, Runtime};
use musher_process::Pid;
use musher_process::stat::tree_listens;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Wake;
use super::sample::descendants;

/// How long a Node program may live without listening before it counts as one that never listens.
const NODE_SETTLE: Duration = Duration::from_secs(3);
/// How long any other program has to live to count as ready, when nothing better is known.
const PLAIN_SETTLE: Duration = Duration::from_secs(1);
/// Between two tries of a probe.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// How long one try may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A task that watches for the proof; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Watch {
    /// Begins to watch.
    pub(super) fn spawn(task: impl Future<Output = ()> + 'static + Send) -> Watch {
        Watch(tokio::spawn(task))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What has to be watched for a run, if anything: some proofs come by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Lived(Duration),
    TreeListens(Pid),
    Connects(SocketAddr),
    Answers(SocketAddr, String),
}

impl Proof {
    /// The proof to watch for. `listens`: a run of this app proved ready by listening before.
    pub(super) fn of(when: &ReadyWhen, runtime: Runtime, listens: bool, pid: Pid) -> Option<Proof> {
        match (when, runtime) {
            (ReadyWhen::Auto, Runtime::NodeCluster) if listens => None,
            (ReadyWhen::Auto, Runtime::NodeCluster | Runtime::NodeFork) => Some(Proof::Lived(NODE_SETTLE)),
            (ReadyWhen::Auto, Runtime::Plain) => Some(Proof::Lived(PLAIN_SETTLE)),
            (ReadyWhen::Listening, Runtime::NodeCluster) | (ReadyWhen::Message | ReadyWhen::Notify, _) => None,
            (ReadyWhen::Listening, Runtime::NodeFork | Runtime::Plain) => Some(Proof::TreeListens(pid)),
            (ReadyWhen::Tcp { address }, _) => Some(Proof::Connects(*address)),
            (ReadyWhen::Http { address, path }, _) => Some(Proof::Answers(*address, path.clone())),
            (ReadyWhen::Alive { after_ms }, _) => Some(Proof::Lived(Duration::from_millis(*after_ms))),
        }
    }

    /// The same for a run that has lived for a while: a crash of the supervisor does not begin its time anew.
    pub(super) fn after(self, age: Duration) -> Proof {
        match self {
            Proof::Lived(time) => Proof::Lived(time.saturating_sub(age)),
            Proof::TreeListens(_) | Proof::Connects(_) | Proof::Answers(..) => self,
        }
    }

    /// Watches for it and wakes the driver.
    pub(super) fn watch(self, run: RunId, wakes: mpsc::Sender<Wake>) -> Watch {
        Watch::spawn(async move {
            self.wait().await;
            // The driver is gone only when the supervisor ends.
            let _ = wakes.send(Wake::Proved(run)).await;
        })
    }

    async fn wait(&self) {
        if let Proof::Lived(time) = self {
            return sleep(*time).await;
        }
        while !self.holds().await {
            sleep(PROBE_INTERVAL).await;
        }
    }

    async fn holds(&self) -> bool {
        match self {
            Proof::Lived(_) => true,
            Proof::TreeListens(pid) => tree_listens(&descendants(*pid)),
            Proof::Connects(address) => matches!(timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await, Ok(Ok(_))),
            Proof::Answers(address, path) => {
                matches!(timeout(PROBE_TIMEOUT, get(*address, path)).await, Ok(Ok(200..=399)))
            }
        }
    }
}

/// `GET`s a path and gives the status. Only the status line is read.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: musher\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let status = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix("HTTP/1."));
    status
        .and_then(|rest| rest.get(2..)?.parse().ok())
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "not an answer of HTTP/1"))
}
