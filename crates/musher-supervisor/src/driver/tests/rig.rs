//! A driver with a keeper that is a thread. The driver can be killed and is followed by another one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use musher_api::{Action, ActionRequest, OperationRef, StartRequest};
use musher_cluster::Cluster;
use musher_core::spec::{AppSpec, Exec, Runtime};
use musher_core::{AppId, OpId};
use musher_process::memfd::memfd_with;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::super::boot::Parts;
use super::super::registry::LogRegistry;
use super::super::resume;
use super::super::{Driver, Sources, Wake, World, until};
use crate::control::{self, Events};
use crate::home::Home;
use crate::keeper::wire::{self, Incoming, Message};
use crate::link::{KeeperLink, PARTIAL};
use crate::logs::LogThread;

type Held = BTreeMap<String, OwnedFd>;

/// A driver reaps whatever child of its process has ended: tests that are threads of one process take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A home and what its keeper holds.
pub(super) struct Rig {
    _turn: MutexGuard<'static, ()>,
    directory: tempfile::TempDir,
    held: Held,
    /// How often something was put whose name begins so.
    pub(super) puts_of_apps: Arc<AtomicUsize>,
}

/// A supervisor's driver at work.
pub(super) struct Booted {
    pub(super) driver: Driver,
    sources: Sources,
    keeper: JoinHandle<Held>,
}

impl Rig {
    pub(super) fn new() -> Rig {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Rig { _turn: turn, directory: tempfile::tempdir().unwrap(), held: Held::new(), puts_of_apps: Arc::default() }
    }

    pub(super) fn home(&self) -> Home {
        Home::open(self.directory.path()).unwrap()
    }

    /// Puts something into the keeper behind the supervisors' backs.
    pub(super) fn plant(&mut self, name: &str, fd: OwnedFd) {
        self.held.insert(name.to_owned(), fd);
    }

    pub(super) fn plant_bytes(&mut self, name: &str) {
        self.plant(name, memfd_with(name, b"x").unwrap());
    }

    /// A supervisor takes over.
    pub(super) fn boot(&mut self) -> Booted {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let (held, puts) = (std::mem::take(&mut self.held), Arc::clone(&self.puts_of_apps));
        let keeper = std::thread::spawn(move || keep(&ours, held, &puts));
        let (link, inventory) = KeeperLink::connect(theirs).unwrap();
        let mut held = inventory.fds;
        let (wakes, woken) = mpsc::channel(1024);
        let (cluster_sink, cluster_events) = mpsc::channel(1024);
        let cluster = Cluster::start(Arc::new(link.clone()), cluster_sink).unwrap();
        let logs = LogThread::start(&self.home(), |_| ()).unwrap();
        let events = Events::new();
        let registry = LogRegistry::new(self.home(), logs.clone());
        let (_, requests) = control::requests(events.clone(), Arc::new(registry.clone()));
        let resumed = resume::resume(&self.home(), &link, &mut held);
        let parts = Parts { home: self.home(), link, logs, cluster, events, wakes, registry };
        let mut world = World::new(parts, &mut held).unwrap();
        world.cgroups = None;
        world.resumed = resumed.same_boot;
        let driver = Driver::adopt(world, held);
        Booted { driver, sources: Sources { requests, wakes: woken, cluster: cluster_events }, keeper }
    }

    /// What the keeper held is not all handed over: it lacks what has such a name.
    pub(super) fn lose(&mut self, prefix: &str) {
        self.held.retain(|name, _| !name.starts_with(prefix));
        self.plant_bytes(PARTIAL);
    }

    /// `kill -9` of a supervisor.
    pub(super) fn kill(&mut self, booted: Booted) {
        let Booted { driver, sources, keeper } = booted;
        drop((driver, sources));
        self.held = keeper.join().unwrap();
    }
}

/// The part of a keeper's life that matters here.
fn keep(link: &OwnedFd, mut held: Held, puts_of_apps: &AtomicUsize) -> Held {
    for (name, fd) in &held {
        wire::send(link, &Message::Held { name: name.clone() }, Some(fd.as_fd())).unwrap();
    }
    wire::send(link, &Message::InventoryEnd, None).unwrap();
    loop {
        match wire::receive(link) {
            Ok(Some(Incoming::Message(Message::Put { name }, Some(fd)))) => {
                puts_of_apps.fetch_add(usize::from(name.starts_with("app/")), Ordering::Relaxed);
                held.insert(name, fd);
            }
            Ok(Some(Incoming::Message(Message::Remove { name }, _))) => drop(held.remove(&name)),
            Ok(Some(Incoming::End)) | Err(_) => return held,
            Ok(_) => {}
        }
    }
}

impl Booted {
    /// Handles what happens until something is true.
    pub(super) async fn until(&mut self, what: &str, is_true: impl Fn(&Driver) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            let mut child_ended = signal(SignalKind::child()).unwrap();
            self.driver.wake(Wake::ChildEnded);
            while !is_true(&self.driver) {
                let births = self.driver.world.births.are_waiting();
                let deadline = self.driver.next_deadline();
                tokio::select! {
                    Some(()) = child_ended.recv() => self.driver.wake(Wake::ChildEnded),
                    () = std::future::ready(()), if self.driver.more_ended => self.driver.wake(Wake::ChildEnded),
                    () = std::future::ready(()), if births => self.driver.spawn_waiting(),
                    Some(wake) = self.sources.wakes.recv() => self.driver.wake(wake),
                    () = until(deadline) => self.driver.wake(Wake::Deadline),
                    Some(event) = self.sources.cluster.recv() => self.driver.wake(Wake::Cluster(event)),
                }
            }
        });
        assert!(waited.await.is_ok(), "{what}");
    }

    /// Lets the driver run by itself.
    pub(super) fn run(self) -> (impl Future<Output = std::io::Result<()>>, mpsc::Sender<Wake>, JoinHandle<Held>) {
        let wakes = self.driver.world.wakes.clone();
        (self.driver.run(self.sources), wakes, self.keeper)
    }

    pub(super) fn start(&mut self, spec: &AppSpec) -> Vec<OperationRef> {
        self.driver.start(start_request(spec)).unwrap().operations
    }

    /// A start that is refused; why.
    pub(super) fn refused(&mut self, spec: &AppSpec) -> musher_api::ApiError {
        let request = start_request(spec);
        self.driver.start(request).unwrap_err()
    }

    pub(super) fn act(&mut self, request_id: &str, action: Action, target: &str) -> Vec<OperationRef> {
        let request = ActionRequest { request_id: request_id.to_owned(), action, targets: vec![target.to_owned()] };
        self.driver.act(&request).unwrap().operations
    }

    /// Whether an operation has ended, and how.
    pub(super) fn end_of(&self, operation: &OperationRef) -> Option<bool> {
        let operation = self.driver.world.operations.follow(operation.id)?.borrow().clone();
        operation.done.then_some(operation.ok)
    }

    /// The names that the keeper has.
    pub(super) fn names(&self, prefix: &str) -> Vec<String> {
        names(&self.driver, prefix)
    }

    pub(super) fn app(&self, name: &str) -> AppId {
        self.driver.apps.values().find(|app| app.name == name).unwrap().id
    }

    /// Writes that a request was answered, as is done before its commands are given to the decisions.
    pub(super) fn remember(&mut self, request_id: &str, name: &str, action: Action) -> OpId {
        let (op, reference) = self.driver.begin(self.app(name), name, action.into());
        self.driver.remember(request_id, Vec::new(), vec![reference]);
        op
    }
}

fn start_request(spec: &AppSpec) -> StartRequest {
    let request_id = musher_api::client::request_id();
    StartRequest { request_id, specs: vec![spec.clone()], dry_run: false, force: false }
}

/// The names that the keeper has, but for the lock on the script of Node workers, which every supervisor takes.
pub(super) fn names(driver: &Driver, prefix: &str) -> Vec<String> {
    let names = driver.world.link.names().into_iter();
    names.filter(|name| name.starts_with(prefix) && !name.starts_with("preload/")).collect()
}

/// An app whose program does not exist: its runs fail without a process.
pub(super) fn missing(name: &str) -> AppSpec {
    let exec = Exec { program: "/does/not/exist".into(), args: Vec::new(), script: None, runtime: Runtime::Plain };
    AppSpec::new(name, exec, "/")
}

/// An app whose workers do nothing.
pub(super) fn sleepers(name: &str, instances: u32) -> AppSpec {
    let args = vec!["100".into()];
    let exec = Exec { program: "/bin/sleep".into(), args, script: None, runtime: Runtime::Plain };
    AppSpec { instances, ..AppSpec::new(name, exec, "/") }
}
