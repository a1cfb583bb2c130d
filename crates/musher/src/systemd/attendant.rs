//! The main process of the unit: it stands between systemd and the daemon, and holds nothing.
//!
//! | what happens | what it does |
//! |---|---|
//! | the unit starts | starts the daemon, or finds the living one and lets it become this executable; READY=1 when the apps are started |
//! | the supervisor answers | WATCHDOG=1 |
//! | it does not | kills it, the keeper starts another; if that does not help both; if that does not help no WATCHDOG=1 |
//! | supervisor and keeper were killed | starts another daemon, which takes the workers over |
//! | `musher kill` | ends as well |
//! | SIGTERM for a restart | ends, and leaves the daemon and its workers to the next attendant |
//! | SIGTERM otherwise | stops everything, however long it drains |
//!
//! It may be killed at any moment: systemd starts the next one, which finds everything as it is.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use musher_api::client::{EventStream, request_id};
use musher_api::{ShutdownRequest, SlotStatus, Status, UpgradeRequest};
use musher_process::notify::NotifySender;
use musher_process::{Pid, cgroup, pidfd_open, signal};
use musher_supervisor::home::Home;
use rustix::process::WaitOptions;
use tokio::signal::unix::{SignalKind, signal as on_signal};
use tokio::time::{sleep, timeout};

use super::args::AttendArgs;
use super::daemon::{Daemon, Look};
use super::systemctl::{self, Job};
use crate::args::Cli;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, units};
use crate::session;

/// Between two looks, without a watchdog.
const LOOK: Duration = Duration::from_secs(10);
/// How long apps that are starting hold READY=1 up.
const STARTING: Duration = Duration::from_secs(60);
/// Between two looks at what is starting or ending.
const SOON: Duration = Duration::from_millis(50);
/// The watchdog's time during a stop.
const STOPPING: Duration = Duration::from_secs(600);
/// The time that is asked for while something goes on.
const MORE_TIME: Duration = Duration::from_secs(60);
/// How often it is asked for.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long a new executable is waited for.
const UPGRADE: Duration = Duration::from_secs(60);
const A_SECOND: Duration = Duration::from_secs(1);
/// How long the last processes may take to die.
const DEATH: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

/// Plays the role to its end.
pub(crate) async fn run(cli: &Cli, args: &AttendArgs) -> Result<(), Failure> {
    let home = Home::open(&session::home_path(cli)?)?;
    let daemon = Daemon::new(home)?;
    let attendant = Attendant { daemon, manager: Manager::from_env()? };
    let mut terminate = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;
    tokio::select! {
        ended = attendant.attend() => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        never = reap() => return never,
    }
    attendant.leave(args).await
}

/// The keeper that this process started is its child: nobody else takes its exit status.
async fn reap() -> Result<(), Failure> {
    let mut ended = on_signal(SignalKind::child())?;
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        ended.recv().await;
    }
}

/// Who started this process and wants to hear of it.
struct Manager {
    sender: Option<NotifySender>,
    /// Between two looks at the daemon, and how long one may take: six of them are the watchdog's time, so that there is
    /// time for a supervisor that hangs to be replaced, and for a keeper that does.
    every: Duration,
}

impl Manager {
    fn from_env() -> Result<Manager, Failure> {
        let sender = std::env::var_os("NOTIFY_SOCKET").map(|address| NotifySender::new(&address)).transpose();
        let sender = sender.map_err(|error| Failure::environment(format!("NOTIFY_SOCKET cannot be used: {error}")))?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && for_us).map(Duration::from_micros);
        Ok(Manager { sender, every: watchdog.map_or(LOOK, |time| time / 6) })
    }

    /// A manager that does not listen is no reason to end: its watchdog will tell.
    fn tell(&self, assignments: &str) {
        if let Some(Err(error)) = self.sender.as_ref().map(|sender| sender.send(assignments)) {
            note(&format!("systemd cannot be notified: {error}"));
        }
    }

    fn status(&self, text: &str) {
        self.tell(&format!("STATUS={text}"));
    }

    fn more_time(&self) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}\nWATCHDOG=1", MORE_TIME.as_micros()));
    }
}

struct Attendant {
    daemon: Daemon,
    manager: Manager,
}

impl Attendant {
    /// Until the daemon ends because somebody wants that.
    async fn attend(&self) -> Result<(), Failure> {
        self.manager.status("starting");
        let started = self.daemon.start()?;
        self.manager.more_time();
        if !started {
            // It may be one that the last attendant was ended for.
            match self.look_and_help().await {
                Look::Answers(_) => self.become_this_executable().await,
                Look::Silent | Look::Ended | Look::Died => drop(self.daemon.start()?),
            }
        }
        let status = self.until_started().await;
        self.manager.tell(&format!("READY=1\nWATCHDOG=1\nSTATUS={}", status.as_deref().unwrap_or("started")));
        self.watch().await
    }

    /// Lets a living daemon become the executable of the unit: what `systemctl restart` is typed for after an update.
    async fn become_this_executable(&self) {
        let Some(path) = self.daemon.executable.to_str() else { return };
        let client = &self.daemon.client;
        let upgraded = timeout(UPGRADE, async {
            let request = UpgradeRequest { request_id: request_id(), path: path.to_owned() };
            let Some(operation) = client.upgrade(&request).await?.operation else { return Ok(None) };
            Ok::<_, Failure>(Some(client.wait(&operation, |_| self.manager.more_time()).await?))
        });
        match upgraded.await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(operation))) => match operation.error {
                None => note(&format!("the daemon has become {path}; workers were not touched")),
                Some(error) => note(&format!("the daemon goes on as it is: {}", error.message)),
            },
            Ok(Err(failure)) => drop(failure.tell()),
            Err(_) => note("the daemon has not become this executable in time"),
        }
    }

    /// Until no worker is starting any more, or that takes too long; what to say of it.
    async fn until_started(&self) -> Option<String> {
        let deadline = Instant::now() + STARTING;
        let mut asked = Instant::now();
        let mut events = self.events().await;
        loop {
            let slots = timeout(self.manager.every, self.daemon.client.slots(None)).await;
            let starting = match &slots {
                Ok(Ok(slots)) => slots.iter().any(|slot| slot.status == SlotStatus::Starting),
                _ => true,
            };
            if !starting || Instant::now() >= deadline {
                return self.daemon.client.status().await.ok().map(|status| words(&status));
            }
            if asked.elapsed() >= ASK_AGAIN {
                asked = Instant::now();
                self.manager.more_time();
            }
            // Many events come together.
            let _ = timeout(A_SECOND, next_of(&mut events)).await;
            sleep(SOON).await;
        }
    }

    /// Looks after the daemon: at times, soon after something happened, and at once when the stream of its events ends.
    async fn watch(&self) -> Result<(), Failure> {
        let mut said = String::new();
        let mut events = self.events().await;
        loop {
            match self.look_and_help().await {
                Look::Answers(status) => {
                    let now = words(&status);
                    let told = if now == said { String::new() } else { format!("\nSTATUS={now}") };
                    self.manager.tell(&format!("WATCHDOG=1{told}"));
                    said = now;
                }
                Look::Silent => {
                    said.clear();
                    self.manager.status("the supervisor does not answer");
                }
                Look::Ended => {
                    note("the daemon has ended, as somebody wanted");
                    return Ok(());
                }
                Look::Died => {
                    note("the daemon was killed; another one takes its workers over");
                    self.daemon.start()?;
                    continue;
                }
            }
            if events.is_none() {
                events = self.events().await;
            }
            tokio::select! {
                () = sleep(self.manager.every) => {}
                () = next_of(&mut events) => {
                    // Events come in crowds.
                    let crowd = async { while events.is_some() { next_of(&mut events).await } };
                    let _ = timeout(A_SECOND.min(self.manager.every), crowd).await;
                }
            }
        }
    }

    async fn events(&self) -> Option<EventStream> {
        timeout(self.manager.every, self.daemon.client.events(None)).await.ok()?.ok()
    }

    /// Looks whether the daemon answers, and replaces what does not.
    async fn look_and_help(&self) -> Look {
        let patience = self.manager.every;
        match self.daemon.look(patience).await {
            Look::Silent => self.daemon.kill_supervisor(),
            found => return found,
        }
        match self.daemon.look(patience).await {
            Look::Silent => self.daemon.kill_both().await,
            found => return found,
        }
        // Those who were killed have no say: nobody gave the list on the disk up.
        match self.daemon.look(patience).await {
            Look::Ended => Look::Died,
            found => found,
        }
    }

    /// SIGTERM came.
    async fn leave(&self, args: &AttendArgs) -> Result<(), Failure> {
        let job = match args.unit.clone() {
            Some(unit) => {
                let user = args.user;
                tokio::task::spawn_blocking(move || systemctl::job_of(&unit, user)).await.unwrap_or(Job::Unknown)
            }
            None => Job::Other,
        };
        match job {
            Job::Restart => {
                self.manager.tell("STOPPING=1\nSTATUS=restarting; the workers serve on");
                return Ok(());
            }
            Job::Unknown => note("systemd cannot be asked whether this is a restart; everything is stopped"),
            Job::Other => {}
        }
        // The watchdog still counts: a stop that helps a daemon that hangs may take longer than that.
        let watchdog = STOPPING.as_micros();
        self.manager.tell(&format!("STOPPING=1\nSTATUS=stopping all apps\nWATCHDOG_USEC={watchdog}\nWATCHDOG=1"));
        self.stop_everything(args.unit.as_deref()).await
    }

    /// Stops all apps in order; what cannot be stopped in order is killed.
    async fn stop_everything(&self, unit: Option<&str>) -> Result<(), Failure> {
        self.manager.more_time();
        match self.look_and_help().await {
            Look::Answers(_) => self.ask_for_the_end().await,
            Look::Died => {
                // Its workers live: only a daemon that takes them over can stop them in order.
                self.daemon.start()?;
                self.ask_for_the_end().await;
            }
            Look::Ended | Look::Silent => {}
        }
        let (mut asked, mut looked) = (Instant::now(), Instant::now());
        let mut helped = false;
        // The lock is the proof of a daemon, and a lock tells nobody that it was let go: it has to be looked at.
        while self.daemon.home.daemon_lives()? {
            if asked.elapsed() >= ASK_AGAIN {
                asked = Instant::now();
                self.manager.more_time();
            }
            if looked.elapsed() >= self.manager.every {
                if let Look::Silent = self.daemon.look(self.manager.every).await {
                    if helped {
                        self.daemon.kill_both().await;
                        break;
                    }
                    self.daemon.kill_supervisor();
                    helped = true;
                }
                looked = Instant::now();
            }
            sleep(SOON).await;
        }
        kill_what_is_left(unit).await
    }

    async fn ask_for_the_end(&self) {
        let request = ShutdownRequest { request_id: request_id(), keeps_list: true };
        // One that does not answer is helped later.
        let _ = timeout(self.manager.every, self.daemon.client.shutdown(&request)).await;
    }
}

/// systemd itself kills nothing of what the unit leaves behind. What was killed is waited for: its port is to be free.
async fn kill_what_is_left(unit: Option<&str>) -> Result<(), Failure> {
    let others = || {
        let all = unit.map_or_else(Vec::new, cgroup::processes_of_unit);
        all.into_iter().filter(|pid| *pid != Pid::own()).collect::<Vec<Pid>>()
    };
    let left = others();
    if left.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + DEATH;
    while Instant::now() < deadline {
        let alive = others();
        if alive.is_empty() {
            break;
        }
        for pid in alive {
            // One that has ended meanwhile is what was wanted.
            let _ = pidfd_open(pid).and_then(|pidfd| signal(pidfd.as_fd(), SIGKILL));
        }
        sleep(SOON).await;
    }
    let left: Vec<String> = left.iter().map(Pid::to_string).collect();
    let text = format!("not everything ended in order: processes {} were killed", left.join(", "));
    Err(Failure::new(exit_codes::FAILED, text))
}

/// The next event, or the end of the stream; never, without one.
async fn next_of(events: &mut Option<EventStream>) {
    let Some(stream) = events else { return std::future::pending().await };
    if !matches!(stream.next().await, Ok(Some(_))) {
        *events = None;
    }
}

fn words(status: &Status) -> String {
    let (apps, workers) = (units::count(status.apps, "app"), units::count(status.workers, "worker"));
    format!("{apps}, {workers}; supervisor {}, keeper {}", status.supervisor.pid, status.keeper.pid)
}
