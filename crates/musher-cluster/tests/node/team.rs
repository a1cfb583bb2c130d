//! A team of real Node workers under a real cluster thread, as a supervisor would run it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use musher_cluster::{Bounds, Cluster, ClusterEvent, FdStore, Listens, PRELOAD, Stats, WorkerConfig};
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Balance;
use musher_process::channel::Channel;
use musher_process::{Child, ExitStatus, Spawn};
use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

/// Nothing that is waited for takes longer than this, on a machine that is busy with other things too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const APP: AppId = AppId(1);
/// A limit of a drain that is never reached.
pub(crate) const LIMIT: Duration = Duration::from_secs(3600);

/// Keeps what the keeper would.
#[derive(Default)]
pub(crate) struct Store {
    fds: Mutex<BTreeMap<String, OwnedFd>>,
    bytes: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl FdStore for Store {
    fn put(&self, name: &str, fd: BorrowedFd<'_>) {
        self.fds.lock().unwrap().insert(name.into(), fd.try_clone_to_owned().unwrap());
    }

    fn put_bytes(&self, name: &str, bytes: &[u8]) {
        self.bytes.lock().unwrap().insert(name.into(), bytes.into());
    }

    fn remove(&self, name: &str) {
        self.fds.lock().unwrap().remove(name);
        self.bytes.lock().unwrap().remove(name);
    }
}

impl Store {
    pub(crate) fn names(&self) -> Vec<String> {
        let fds = self.fds.lock().unwrap().keys().cloned().collect::<Vec<_>>();
        fds.into_iter().chain(self.bytes.lock().unwrap().keys().cloned()).collect()
    }

    pub(crate) fn fd(&self, name: &str) -> OwnedFd {
        self.fds.lock().unwrap()[name].try_clone().unwrap()
    }
}

struct Worker {
    slot: u32,
    child: Child,
    channel: OwnedFd,
    cluster: bool,
    listens: Arc<Listens>,
}

/// Kills what is left when a test ends.
pub(crate) struct Team {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cluster: Cluster,
    pub(crate) store: Arc<Store>,
    listens: Arc<Listens>,
    node: PathBuf,
    preload: bool,
    events: Receiver<ClusterEvent>,
    /// Events that were received while another was waited for.
    seen: Vec<ClusterEvent>,
    workers: BTreeMap<RunId, Worker>,
    runs: u64,
}

impl Team {
    pub(crate) fn new(policy: Balance) -> Team {
        Team::with_inherited(policy, Vec::new())
    }

    pub(crate) fn with_inherited(policy: Balance, inherited: Vec<OwnedFd>) -> Team {
        let store = Arc::new(Store::default());
        let (sink, events) = channel(64);
        let cluster = Cluster::start(Arc::clone(&store) as Arc<dyn FdStore>, sink).unwrap();
        cluster.add_app(APP);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("preload.cjs"), PRELOAD).unwrap();
        Team {
            directory,
            cluster,
            store,
            listens: Arc::new(Listens { policy, inherited, own: false }),
            node: find_node(),
            preload: true,
            events,
            seen: Vec::new(),
            workers: BTreeMap::new(),
            runs: 0,
        }
    }

    /// Workers that come from now on are of a spec that says this.
    pub(crate) fn change(&mut self, policy: Balance, inherited: Vec<OwnedFd>) {
        self.listens = Arc::new(Listens { policy, inherited, own: false });
    }

    /// Uses another Node.
    pub(crate) fn node(mut self, node: &Path) -> Team {
        self.node = node.to_owned();
        self
    }

    /// Workers without the preload.
    pub(crate) fn without_preload(mut self) -> Team {
        self.preload = false;
        self
    }

    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts `script` as a cluster worker in a slot.
    pub(crate) fn start(&mut self, slot: u32, script: &Path) -> RunId {
        self.start_as(slot, script, true, &[])
    }

    pub(crate) fn start_as(&mut self, slot: u32, script: &Path, cluster: bool, env: &[(&str, &str)]) -> RunId {
        self.runs += 1;
        let run = RunId::of(APP, self.runs);
        let (channel, childs) = Channel::pair().unwrap();
        let channel = channel.into_socket();
        let mut all: Vec<(OsString, OsString)> = [("PATH", std::env::var("PATH").unwrap_or_default().as_str())]
            .into_iter()
            .chain([("NODE_CHANNEL_FD", "3"), ("MUSHER_RUN", run.to_string().as_str())])
            .chain(env.iter().copied())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let preload = self.preload && !env.iter().any(|(name, _)| *name == "NODE_OPTIONS");
        if cluster {
            all.push(("NODE_UNIQUE_ID".into(), (slot + 1).to_string().into()));
        }
        if preload {
            let preload = self.directory.path().join("preload.cjs");
            all.push(("NODE_OPTIONS".into(), format!("--require={}", preload.display()).into()));
        }
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
        let child = Spawn {
            args: vec!["node".into(), script.into()],
            env: all,
            cwd: self.directory.path().to_owned(),
            fds: vec![(childs, 3), (stderr.try_clone().unwrap(), 1), (stderr, 2)],
            ..Spawn::new(&self.node)
        }
        .spawn()
        .unwrap();
        self.adopt(run, Worker { slot, child, channel, cluster, listens: Arc::clone(&self.listens) }, false);
        run
    }

    fn adopt(&mut self, run: RunId, worker: Worker, adopted: bool) {
        self.cluster.add_worker(WorkerConfig {
            app: APP,
            slot: SlotId(worker.slot),
            run,
            listens: Arc::clone(&worker.listens),
            channel: worker.channel.try_clone().unwrap(),
            cluster: worker.cluster,
            advanced: false,
            bounds: Bounds::default(),
            adopted,
        });
        self.workers.insert(run, worker);
    }

    /// The supervisor is killed and another takes over.
    pub(crate) fn replace_supervisor(&mut self) {
        self.begin_to_replace_supervisor();
        self.adopt_workers();
    }

    /// The next supervisor finds the workers that live.
    pub(crate) fn adopt_workers(&mut self) {
        for (run, worker) in std::mem::take(&mut self.workers) {
            self.adopt(run, worker, true);
        }
        self.cluster.adopted(APP);
    }

    /// Supervisor and keeper are killed: nobody has the sockets any more, nor the other ends of the channels.
    pub(crate) fn die(&mut self) {
        self.end_thread();
        self.store.fds.lock().unwrap().clear();
        for worker in self.workers.values() {
            rustix::net::shutdown(&worker.channel, rustix::net::Shutdown::Both).unwrap();
        }
    }

    fn end_thread(&mut self) {
        self.cluster.abandon();
        // The thread lets go of its end of the events when it has ended.
        let until = Instant::now() + DEADLINE;
        loop {
            match self.events.try_recv() {
                Ok(event) => self.seen.push(event),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => std::thread::yield_now(),
            }
            assert!(Instant::now() < until, "the thread does not end");
        }
    }

    /// The supervisor is killed, and the next has not found the workers yet.
    pub(crate) fn begin_to_replace_supervisor(&mut self) {
        self.end_thread();
        let (sink, events) = channel(64);
        self.events = events;
        self.cluster = Cluster::start(Arc::clone(&self.store) as Arc<dyn FdStore>, sink).unwrap();
        let saved = self.store.bytes.lock().unwrap().get(&format!("cluster/{APP}")).cloned().unwrap_or_default();
        let listeners: Vec<_> =
            self.store.fds.lock().unwrap().iter().map(|(name, fd)| (name.clone(), fd.try_clone().unwrap())).collect();
        self.cluster.restore_app(APP, saved, listeners);
    }

    /// Whether such an event came and was not waited for.
    pub(crate) fn has_seen(&self, matches: impl Fn(&ClusterEvent) -> bool) -> bool {
        self.seen.iter().any(matches)
    }

    /// Waits for an event; others are kept for later.
    pub(crate) fn wait<T>(&mut self, what: &str, mut matches: impl FnMut(&ClusterEvent) -> Option<T>) -> T {
        let until = Instant::now() + DEADLINE;
        let mut at = 0;
        loop {
            while at < self.seen.len() {
                if let Some(found) = matches(&self.seen[at]) {
                    self.seen.remove(at);
                    return found;
                }
                at += 1;
            }
            match self.events.try_recv() {
                Ok(event) => self.seen.push(event),
                Err(_) => wait_a_little(),
            }
            assert!(Instant::now() < until, "{what} does not come; there is {:?}", self.seen);
        }
    }

    pub(crate) fn listening(&mut self, run: RunId) -> String {
        self.wait("listening", |event| match event {
            ClusterEvent::Listening { run: of, address, .. } if *of == run => Some(address.clone()),
            _ => None,
        })
    }

    pub(crate) fn message(&mut self, run: RunId) -> serde_json::Value {
        self.wait("a message", |event| match event {
            ClusterEvent::Message { run: of, value, .. } if *of == run => Some(value.clone()),
            _ => None,
        })
    }

    pub(crate) fn disconnected(&mut self, run: RunId) {
        self.wait("the end of a channel", |event| (*event == ClusterEvent::Disconnected { run }).then_some(()));
    }

    pub(crate) fn drained(&mut self, run: RunId) {
        self.wait("drained", |event| (*event == ClusterEvent::Drained { run }).then_some(()));
    }

    /// What was thrown, and whether the worker finishes what it has.
    pub(crate) fn uncaught(&mut self, run: RunId) -> (String, bool) {
        self.wait("an exception", |event| match event {
            ClusterEvent::Uncaught { run: of, stack, drains } if *of == run => Some((stack.clone(), *drains)),
            _ => None,
        })
    }

    /// Whether something was told that nobody has waited for yet.
    pub(crate) fn heard(&self, matches: impl FnMut(&ClusterEvent) -> bool) -> bool {
        self.seen.iter().any(matches)
    }

    /// Drops the messages of a worker that were received and not asked for.
    pub(crate) fn forget_messages(&mut self, run: RunId) {
        self.seen.retain(|event| !matches!(event, ClusterEvent::Message { run: of, .. } if *of == run));
    }

    pub(crate) fn violation(&mut self, run: RunId) -> String {
        self.wait("a violation", |event| match event {
            ClusterEvent::Violation { run: of, reason } if *of == run => Some(reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn signal(&self, run: RunId, signal: i32) {
        musher_process::signal(self.workers[&run].child.pidfd.as_fd(), signal).unwrap();
    }

    /// Waits for the exit of a worker and tells the cluster.
    pub(crate) fn exited(&mut self, run: RunId) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = musher_process::reap(self.workers[&run].child.pidfd.as_fd()).unwrap() {
                self.workers.remove(&run);
                self.cluster.remove_worker(run);
                return status;
            }
            assert!(Instant::now() < until, "{run} does not exit");
            // Events have to flow, or the worker waits for us.
            if let Ok(event) = self.events.try_recv() {
                self.seen.push(event);
            }
            wait_a_little();
        }
    }

    pub(crate) fn kill(&mut self, run: RunId) -> ExitStatus {
        self.signal(run, 9);
        self.exited(run)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.cluster.stats(APP, move |stats| sender.send(stats).unwrap());
        receiver.recv_timeout(DEADLINE).unwrap()
    }

    /// Waits until something holds of the names under which things are kept.
    pub(crate) fn wait_for_names(&self, holds: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !holds(&self.store.names()) {
            assert!(Instant::now() < until, "it stays at {:?}", self.store.names());
            wait_a_little();
        }
    }

    /// Waits until the state that is kept for the app contains this text.
    pub(crate) fn wait_for_state(&self, text: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            let state = self.store.bytes.lock().unwrap().get(&format!("cluster/{APP}")).cloned().unwrap_or_default();
            let state = String::from_utf8(state).unwrap();
            if state.contains(text) {
                return;
            }
            assert!(Instant::now() < until, "it stays at {state}");
            wait_a_little();
        }
    }

    /// Waits until what the listeners have seen satisfies a condition.
    pub(crate) fn wait_for_stats(&mut self, mut holds: impl FnMut(&Stats) -> bool) -> Stats {
        let until = Instant::now() + DEADLINE;
        loop {
            let stats = self.stats();
            if holds(&stats) {
                return stats;
            }
            assert!(Instant::now() < until, "it stays at {stats:?}");
            wait_a_little();
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for worker in self.workers.values() {
            let _ = musher_process::signal(worker.child.pidfd.as_fd(), 9);
            while let Ok(None) = musher_process::reap(worker.child.pidfd.as_fd()) {
                std::thread::yield_now();
            }
        }
    }
}

/// Lets other threads and processes run; what is waited for is asked again and has a deadline.
pub(crate) fn wait_a_little() {
    std::thread::park_timeout(Duration::from_micros(500));
}

fn find_node() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("node"))
        .find(|file| file.is_file())
        .expect("node is on the PATH")
}

/// A connection with deadlines.
pub(crate) fn connect(address: &str) -> TcpStream {
    let address: SocketAddr = address.replace("[::]", "[::1]").replace("0.0.0.0", "127.0.0.1").parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// One request on a connection of its own; the body of the answer.
pub(crate) fn get(address: &str) -> String {
    finish(ask(address, "/"))
}

/// Sends a request.
pub(crate) fn ask(address: &str, path: &str) -> TcpStream {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

/// Reads the answer of a request until its end.
pub(crate) fn finish(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    if head.contains("chunked") { body.lines().nth(1).unwrap_or_default().to_owned() } else { body.to_owned() }
}

/// Node programs.
pub(crate) const HTTP: &str = "
const http = require('http');
http.createServer((request, response) => response.end(String(process.pid))).listen(0, '127.0.0.1');
";
