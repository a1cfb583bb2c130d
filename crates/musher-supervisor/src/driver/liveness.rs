//! Liveness: each worker that serves is asked in intervals whether it still does.
//!
//! One task for each run that is online; it ends with the run's time online. It asks that very worker: a worker of a Node
//! cluster over a connection that is handed to it, another program at the port that its own processes listen on. What
//! fails so often in a row as the spec says is told to the driver, again after each further failure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use musher_cluster::Cluster;
use musher_core::spec::{AppSpec, Probe, Runtime};
use musher_core::{RunId, SlotId};
use musher_process::Pid;
use musher_process::stat::tcp_addresses;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::Wake;
use super::commands::{Commands, Job, Outcome, credentials, environment};
use super::readiness::Watch;
use super::sample::descendants;

/// How much of an answer is read, so that the worker can write it whole.
const MOST_READ: usize = 256 << 10;
/// Strangers that may come to the socket through which a connection to a worker is made.
const STRANGERS: usize = 16;

/// What one run is asked, and by whom.
pub(super) struct Liveness {
    pub(super) run: RunId,
    pub(super) slot: SlotId,
    pub(super) pid: Pid,
    pub(super) spec: Arc<AppSpec>,
    pub(super) cluster: Cluster,
    pub(super) commands: Commands,
}

impl Liveness {
    /// Asks in intervals; the first time after `delay`.
    pub(super) fn watch(self, delay: Duration, wakes: mpsc::Sender<Wake>) -> Option<Watch> {
        let probe = self.spec.health.liveness.clone()?;
        Some(Watch::spawn(async move {
            let mut asker = Asker { liveness: self, known: None };
            let health = asker.liveness.spec.health.clone();
            let mut times = interval_at(tokio::time::Instant::now() + delay, health.interval);
            times.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut failures = 0_u32;
            loop {
                times.tick().await;
                let Err(reason) = asker.ask(&probe).await else {
                    failures = 0;
                    continue;
                };
                failures = failures.saturating_add(1);
                let run = asker.liveness.run;
                tracing::info!(%run, failures, reason, "a liveness probe failed");
                if failures >= health.failures {
                    let reason = format!("liveness: {failures} failures in a row, the last: {reason}");
                    if wakes.send(Wake::Unfit(run, reason)).await.is_err() {
                        return;
                    }
                }
            }
        }))
    }
}

/// Asks, and remembers where the worker was found.
struct Asker {
    liveness: Liveness,
    known: Option<SocketAddr>,
}

impl Asker {
    /// One probe. What is wrong, if something is.
    async fn ask(&mut self, probe: &Probe) -> Result<(), String> {
        let limit = self.liveness.spec.health.timeout;
        let answer = match probe {
            Probe::Exec { command } => return self.run(command, limit).await,
            Probe::Http { address, path } => timeout(limit, self.get(*address, path)).await,
            Probe::Tcp { address } => timeout(limit, self.connect_only(*address)).await,
        };
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => {
                self.known = None;
                Err(reason)
            }
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    /// The command ends with 0.
    async fn run(&self, command: &[String], limit: Duration) -> Result<(), String> {
        let Liveness { run, slot, pid, spec, commands, .. } = &self.liveness;
        let job = Job {
            name: format!("probe.{run}"),
            command: command.to_vec(),
            cwd: spec.cwd.clone(),
            env: environment(spec, *slot, &[("MUSHER_PID", pid.to_string())]),
            credentials: credentials(spec),
            input: Vec::new(),
            limit,
        };
        let said = |output: &str| output.lines().last().map_or_else(String::new, |line| format!("; it said: {line}"));
        match commands.run(job).await {
            Ok(Outcome { status: Some(status), .. }) if status.is_success() => Ok(()),
            Ok(Outcome { status: Some(status), output }) => {
                Err(format!("the probe ended with {status}{}", said(&output)))
            }
            Ok(Outcome { status: None, output }) => {
                Err(format!("the probe took longer than {} ms{}", limit.as_millis(), said(&output)))
            }
            Err(error) => Err(format!("the probe {error}")),
        }
    }

    async fn get(&mut self, address: Option<SocketAddr>, path: &str) -> Result<(), String> {
        let mut stream = self.connection(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: musher\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let broken = |error: std::io::Error| format!("the connection broke: {error}");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        // `HTTP/1.1 200`
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "it closed the connection without an answer".to_owned(),
            _ => broken(error),
        })?;
        let status: u16 = std::str::from_utf8(&head)
            .ok()
            .and_then(|head| head.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok())
            .ok_or("the answer is not HTTP/1")?;
        let mut rest = stream.take(MOST_READ as u64);
        let mut sink = tokio::io::sink();
        // The rest is of no interest, nor is how it ends.
        let _ = tokio::io::copy(&mut rest, &mut sink).await;
        if (200..400).contains(&status) { Ok(()) } else { Err(format!("GET {path} was answered with {status}")) }
    }

    /// A connection is taken.
    async fn connect_only(&mut self, address: Option<SocketAddr>) -> Result<(), String> {
        self.connection(address).await.map(drop)
    }

    async fn connection(&mut self, address: Option<SocketAddr>) -> Result<TcpStream, String> {
        if self.liveness.spec.exec.runtime == Runtime::NodeCluster {
            return self.handed(address.map(|address| address.port())).await;
        }
        let address = match address.or(self.known) {
            Some(address) => address,
            None => self.find().await?,
        };
        self.known = Some(address);
        TcpStream::connect(address).await.map_err(|error| format!("{address} takes no connection: {error}"))
    }

    /// Waits until the worker says that it took a connection: its event loop turns.
    async fn taken(&self, mut taken: tokio::sync::watch::Receiver<Option<bool>>) -> Result<(), String> {
        match taken.wait_for(Option::is_some).await.map(|accepted| *accepted) {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err("it takes no connection".to_owned()),
            Ok(None) | Err(_) => Err("it ended before it took the connection".to_owned()),
        }
    }

    /// Where the worker's own processes listen.
    async fn find(&self) -> Result<SocketAddr, String> {
        let pid = self.liveness.pid;
        let found = tokio::task::spawn_blocking(move || tcp_addresses(&descendants(pid))).await.unwrap_or_default();
        found.into_iter().min().map(reachable).ok_or_else(|| "none of its processes listens on a TCP port".to_owned())
    }

    /// A connection to this very worker of a cluster.
    async fn handed(&self, port: Option<u16>) -> Result<TcpStream, String> {
        let failed = |error: std::io::Error| format!("no connection could be made: {error}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let ours = TcpStream::connect(address).await.map_err(failed)?;
        let own = ours.local_addr().map_err(failed)?;
        for _ in 0..STRANGERS {
            let (theirs, peer) = listener.accept().await.map_err(failed)?;
            // Somebody else may have found the port.
            if peer == own {
                let theirs = theirs.into_std().map_err(failed)?;
                let (took, taken) = tokio::sync::watch::channel(None);
                let answer = move |accepted| {
                    let _ = took.send(Some(accepted));
                };
                self.liveness.cluster.ask(self.liveness.run, port, theirs.into(), answer);
                return self.taken(taken).await.map(|()| ours);
            }
        }
        Err("no connection could be made: others came to its port".to_owned())
    }
}

/// How an address is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}
