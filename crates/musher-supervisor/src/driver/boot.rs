//! The first steps of a supervisor: take over from the keeper, start the threads, begin to serve.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use musher_api::EventKind;
use musher_cluster::{Cluster, PRELOAD};
use musher_process::cgroup::Cgroups;
use musher_process::notify::NotifySocket;
use musher_process::postmortem::MemoryGroup;
use musher_process::{Pid, Resource, Rlimit, memfd, own};
use rustix::process::getrlimit;
use tokio::sync::mpsc;

use crate::SupervisorError;
use crate::control::{self, Events, News};
use crate::daemon_log::DaemonLog;
use crate::foreground::HEALTH_NAME;
use crate::guard::Guard;
use crate::health_checks;
use crate::home::{CONTROL_NAME, DaemonPids, Home};
use crate::link::{Inventory, KeeperEvent, KeeperLink, KeeperWatch};
use crate::logs::{LogNotice, LogThread, LogTrouble};
use crate::metrics::{METRICS_NAME, Telemetry};
use crate::team::{TeamWriter, is_record};

use super::adopt::{self, Held, RECORD_LIMIT};
use super::commands::Commands;
use super::foreground;
use super::operations::Operations;
use super::records::{can_read, names};
use super::registry::LogRegistry;
use super::resume::{self, Resumed};
use super::sample::Samples;
use super::upgrade::Found;
use super::{Chance, Driver, Preload, Sources, WAKES, Wake, World};

/// How many events of the cluster thread may wait.
const CLUSTER_EVENTS: usize = 4096;
/// How many notices of the log thread may wait.
const LOG_NOTICES: usize = 64;

/// The supervisor's whole life.
pub(crate) async fn supervise(
    socket: OwnedFd,
    list: Option<OwnedFd>,
    home: Home,
    log: DaemonLog,
) -> Result<(), SupervisorError> {
    let system = |step: &'static str| move |source: io::Error| SupervisorError::System { step, source };
    own::set_subreaper().map_err(system("become a subreaper"))?;
    // Without more descriptors a small team still works.
    if let Err(error) = own::raise_nofile() {
        tracing::warn!(%error, "the limit of open files stays");
    }
    let connected = match list {
        Some(list) => KeeperLink::resume(socket, list),
        None => KeeperLink::connect(socket),
    };
    let (link, inventory) = connected.map_err(SupervisorError::Keeper)?;
    let Inventory { fds: mut held, exits, end_requested } = inventory;
    let upgrade = Found::take(&mut held);
    if upgrade.is_trial() {
        // The old executable could read them: it goes on.
        check_records(&held)?;
    }
    let control = held.remove(CONTROL_NAME).ok_or(SupervisorError::NoControlSocket)?;
    let keeper_pid = link.keeper_pid().map_or(0, Pid::as_raw);
    if let Err(error) = home.record_pids(DaemonPids { keeper: keeper_pid, supervisor: Pid::own().as_raw() }) {
        tracing::warn!(%error, "the pids of the daemon cannot be written to the lock file");
    }

    let (wakes, woken) = mpsc::channel(WAKES);
    let (cluster_sink, cluster_events) = mpsc::channel(CLUSTER_EVENTS);
    let cluster = Cluster::start(Arc::new(link.clone()), cluster_sink).map_err(system("start the cluster thread"))?;
    let (notices, noticed) = mpsc::channel(LOG_NOTICES);
    // A notice that finds no room is dropped: the thread never waits, and the same trouble is told again.
    let losses = losses(&link, &mut held);
    let logs = LogThread::go_on(&home, losses, move |notice| drop(notices.try_send(notice)))
        .map_err(system("start the log thread"))?;
    let team = foreground::held_plan(&mut held);
    // Nobody reads what is in a home that is thrown away.
    let keeps_events = team.as_ref().is_none_or(|team| !team.plan.throw_away);
    let events = if keeps_events { Events::of_home(home.root()) } else { Events::new() };
    let registry = LogRegistry::new(home.clone(), logs.clone());
    let (mut handle, requests) = control::requests(events.clone(), Arc::new(registry.clone()));
    if keeps_events {
        handle.read_from(home.root().to_owned());
    }

    let telemetry = Telemetry::of_home(home.root().to_owned(), link.clone());
    handle.set_by(telemetry.clone());
    let metrics = held.remove(METRICS_NAME);

    let (of_guard, at) = (link.clone(), home.clone());
    let health = held.remove(HEALTH_NAME);
    let resumed = match &team {
        // What is to run is what the command said, and nothing that was there before.
        Some(team) => Resumed { apps: team.apps(), ..Resumed::default() },
        None => resume::resume(&home, &link, &mut held),
    };
    let team_path = home.team_list();
    let mut world = World::new(
        Parts { home, link: link.clone(), logs, cluster, events, wakes: wakes.clone(), registry },
        &mut held,
    )
    .map_err(system("prepare for workers"))?;
    world.resumed = resumed.same_boot;
    world.foreground = team;
    world.keeper_exits.extend(exits.iter().map(|exit| (exit.pid, *exit)));
    world.events.publish(News::new(EventKind::SupervisorStarted, format!("process {}", Pid::own())));
    for told in resumed.told {
        tracing::warn!("{told}");
        world.events.publish(News::new(EventKind::Other, told));
    }
    let mut driver = Driver::adopt(world, held);
    if !driver.world.record.taken_up {
        driver.revive(resumed.apps);
    }
    driver.forget_foreign_exits(&exits);
    driver.continue_upgrade(upgrade);
    // While the daemon ends and its list is to stay, nothing is written over it.
    if !driver.world.record.keeps_list && driver.world.foreground.is_none() {
        let handle_of_team = write_team(&driver.world.link, team_path, driver.world.events.clone())
            .map_err(system("start the thread that writes the list"))?;
        handle.write_through(handle_of_team);
    }
    if end_requested {
        driver.wake(Wake::Terminate);
    }
    if let (Some(team), Some(health)) = (&driver.world.foreground, health) {
        let ready = team.ready.subscribe();
        tokio::spawn(async move {
            if let Err(error) = health_checks::serve(TcpListener::from(health), ready).await {
                tracing::error!(%error, "health checks cannot be answered");
            }
        });
    }

    telemetry.begin(metrics, &handle);
    tokio::spawn(forward_notices(noticed, wakes.clone()));
    tokio::spawn(forward_keeper(link.watch().map_err(system("watch the keeper"))?, wakes));
    tokio::spawn(Guard { home: at, link: of_guard, driver: handle, log }.serve(control));
    driver.run(Sources { requests, wakes: woken, cluster: cluster_events }).await.map_err(system("receive signals"))
}

/// Starts the thread that copies what is held to the disk.
fn write_team(link: &KeeperLink, path: PathBuf, events: Events) -> io::Result<TeamWriter> {
    let source = link.clone();
    let tell = move |detail: String| {
        tracing::warn!("{detail}");
        events.publish(News::new(EventKind::Other, detail));
    };
    let team = TeamWriter::start(path, Box::new(move || source.team_file(false)), Box::new(tell))?;
    link.attach_team(team.clone());
    Ok(team)
}

/// Whether every record that is held can be gone on with.
fn check_records(held: &Held) -> Result<(), SupervisorError> {
    for (name, fd) in held.iter().filter(|(name, _)| is_record(name)) {
        let bytes = memfd::read_memfd(fd.as_fd(), RECORD_LIMIT);
        let read = bytes.map_err(|error| error.to_string()).and_then(|bytes| can_read(name, &bytes));
        read.map_err(|why| SupervisorError::Record { name: name.clone(), why })?;
    }
    Ok(())
}

/// What the world is made of.
pub(super) struct Parts {
    pub(super) home: Home,
    pub(super) link: KeeperLink,
    pub(super) logs: crate::logs::LogHandle,
    pub(super) cluster: Cluster,
    pub(super) events: Events,
    pub(super) wakes: mpsc::Sender<Wake>,
    pub(super) registry: LogRegistry,
}

impl World {
    pub(super) fn new(parts: Parts, held: &mut Held) -> io::Result<World> {
        let Parts { home, link, logs, cluster, events, wakes, registry } = parts;
        let mut record = adopt::home_record(held);
        let operations = Operations::restore(std::mem::take(&mut record.operations));
        let notify = match held.remove(names::NOTIFY).map(NotifySocket::from_fd) {
            Some(Ok(socket)) => socket,
            Some(Err(_)) | None => {
                // Workers that live on know the old name.
                let again = NotifySocket::bind_again(&record.notify);
                let socket = again.or_else(|_| NotifySocket::bind())?;
                link.put(names::NOTIFY, socket.as_fd());
                socket
            }
        };
        let notify_address = notify.address()?;
        record.notify.clone_from(&notify_address);
        let preload = match Preload::place(home.root(), &link, PRELOAD) {
            Ok(preload) => Some(preload),
            Err(error) => {
                tracing::warn!(%error, "no preload for Node: workers that are replaced close idle connections at once");
                None
            }
        };
        let limit = getrlimit(Resource::Nofile);
        let open_files = Rlimit { current: link.workers_open_files().or(limit.current), maximum: limit.maximum };
        let cgroups = Cgroups::open(&record.home_id);
        let commands = Commands::new(&record.home_id, link.clone(), cgroups.clone());
        let mut world = World {
            home,
            commands,
            record,
            operations,
            link,
            logs,
            cluster,
            events,
            wakes,
            registry,
            examined: None,
            broken: None,
            roots: std::collections::BTreeSet::new(),
            pid_files: Default::default(),
            look: musher_process::Look::default(),
            cleared: std::collections::BTreeSet::new(),
            births: super::births::Births::default(),
            samples: Samples::default(),
            measured_until: None,
            notify,
            notify_address,
            cgroups,
            memory_group: MemoryGroup::own(),
            open_files,
            preload,
            chance: Chance::new(),
            keeper_exits: std::collections::HashMap::new(),
            resumed: false,
            strays: Vec::new(),
            orphaned: false,
            foreground: None,
        };
        world.write_home();
        Ok(world)
    }
}

async fn forward_notices(mut notices: mpsc::Receiver<LogNotice>, wakes: mpsc::Sender<Wake>) {
    while let Some(LogNotice { app, path, trouble, .. }) = notices.recv().await {
        if let LogTrouble::Recovered { lines, .. } = trouble
            && wakes.send(Wake::LinesLost(app, lines)).await.is_err()
        {
            return;
        }
        let path = path.display();
        let text = match trouble {
            LogTrouble::Losing { error } => format!("{path} cannot be written, lines are lost: {error}"),
            LogTrouble::Recovered { lines, bytes } => {
                format!("{path} can be written again; {lines} lines ({bytes} bytes) were lost")
            }
            LogTrouble::NotRotated { error } => format!("{path} cannot be rotated and grows: {error}"),
        };
        if wakes.send(Wake::Logs(text)).await.is_err() {
            return;
        }
    }
}

async fn forward_keeper(mut keeper: KeeperWatch, wakes: mpsc::Sender<Wake>) {
    loop {
        let wake = match keeper.next().await {
            KeeperEvent::Exit(exit) => Wake::KeeperReaped(exit),
            KeeperEvent::EndRequested => Wake::Terminate,
            KeeperEvent::Signalled(signal) => Wake::Signalled(signal),
            KeeperEvent::Pong(_) => continue,
            KeeperEvent::Renewed => Wake::KeeperRenewed,
            // It is told once: the driver tries until it has become the keeper.
            KeeperEvent::Died => {
                let _ = wakes.send(Wake::KeeperGone).await;
                return;
            }
        };
        if wakes.send(wake).await.is_err() {
            return;
        }
    }
}

/// Where is kept how many lines of logs were lost. Without it that is forgotten when this process is killed.
fn losses(link: &KeeperLink, held: &mut Held) -> Option<OwnedFd> {
    let usable = |fd: &OwnedFd| memfd::read_memfd(fd.as_fd(), RECORD_LIMIT).is_ok();
    held.remove(LOSSES_NAME).filter(usable).or_else(|| {
        let fd = memfd::memfd("musher-losses").ok()?;
        link.put(LOSSES_NAME, fd.as_fd());
        Some(fd)
    })
}

/// What [`losses`] has at the keeper.
const LOSSES_NAME: &str = "log-losses";
