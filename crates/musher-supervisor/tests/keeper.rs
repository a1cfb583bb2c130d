//! Keeper and supervisor as real processes, killed in turn.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and tells what it saw")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use musher_process::{Pid, pidfd_open, signal};
use musher_supervisor::home::{Home, HomeError, Start, start_daemon};
use rustix::event::{PollFd, PollFlags, Timespec};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_new_supervisor_gets_everything_that_the_killed_one_had_put() {
    let daemon = Daemon::start();
    daemon.ask("put state one");
    daemon.ask("put state two");
    daemon.ask("put other x");
    daemon.ask("remove other");
    let (keeper, supervisor) = daemon.pids();
    kill(supervisor);
    let (keeper_after, supervisor_after) = daemon.pids();
    assert_eq!(keeper_after, keeper, "the keeper stays");
    assert_ne!(supervisor_after, supervisor);
    assert_eq!(daemon.ask("names"), "control lock state");
    assert!(daemon.home.daemon_lives().unwrap());
}

#[test]
fn a_put_outlives_a_supervisor_that_dies_with_the_next_instruction() {
    let daemon = Daemon::start();
    for n in 0..8 {
        daemon.tell(&format!("put-and-die last/{n} x"));
        assert!(daemon.ask("names").contains(&format!("last/{n}")));
    }
}

#[test]
fn the_supervisor_becomes_the_keeper_when_that_is_killed() {
    let daemon = Daemon::start();
    daemon.ask("put state one");
    let (_, supervisor) = daemon.pids();
    let (keeper_after, supervisor_after) = daemon.kill_keeper();
    assert_eq!(keeper_after, supervisor, "the shape of the tree is the same again");
    assert_ne!(supervisor_after, supervisor);
    assert_eq!(daemon.ask("names"), "control lock state");
    assert!(daemon.home.daemon_lives().unwrap());
}

/// Also the order of kills that the seed gives is printed, so that a failure can be replayed.
#[test]
fn nothing_is_lost_however_often_both_are_killed_in_turn() {
    let daemon = Daemon::start();
    let mut seed = std::env::var("MUSHER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_120_u64);
    println!("MUSHER_SEED={seed}");
    let mut names = vec![String::from("control"), String::from("lock")];
    for round in 0..12 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = format!("round/{round:02}");
        daemon.ask(&format!("put {name} x"));
        names.push(name);
        let (_, supervisor) = daemon.pids();
        if seed >> 40 & 1 == 0 {
            daemon.kill_keeper();
        } else {
            kill(supervisor);
        }
        assert_eq!(daemon.ask("names"), names.join(" "), "after round {round}");
    }
}

#[test]
fn many_descriptors_survive_both_deaths() {
    let daemon = Daemon::start();
    daemon.ask("put-many 1500");
    let (_, supervisor) = daemon.pids();
    kill(supervisor);
    assert_eq!(daemon.ask("names").split(' ').count(), 1502);
    daemon.kill_keeper();
    assert_eq!(daemon.ask("names").split(' ').count(), 1502);
}

#[test]
fn the_ends_of_orphans_are_told_to_the_supervisor_and_kept_until_it_forgets_them() {
    let daemon = Daemon::start();
    let (_, supervisor) = daemon.pids();
    let orphan = daemon.ask("spawn exec_sleep_600");
    kill(supervisor);
    let orphan = Pid::from_raw(orphan.parse().unwrap()).unwrap();
    let pidfd = pidfd_open(orphan).unwrap();
    signal(pidfd.as_fd(), 15).unwrap();
    wait_for_end(pidfd.as_fd());
    let told = |daemon: &Daemon| daemon.ask("exits").split(' ').any(|exit| exit == format!("{orphan}:15"));
    let deadline = Instant::now() + PATIENCE;
    while !told(&daemon) {
        assert!(Instant::now() < deadline, "the end of {orphan} was not told");
    }
    let (_, supervisor) = daemon.pids();
    kill(supervisor);
    assert!(told(&daemon), "a new supervisor is told too");
    daemon.kill_keeper();
    assert!(told(&daemon), "and one of a new keeper");
    daemon.ask("forget");
    let (_, supervisor) = daemon.pids();
    kill(supervisor);
    assert!(!told(&daemon), "until it is forgotten");
}

#[test]
fn sigterm_to_the_keeper_is_an_orderly_end() {
    let daemon = Daemon::start();
    let (keeper, supervisor) = daemon.pids();
    let (keeper, supervisor) = (pidfd_open(keeper).unwrap(), pidfd_open(supervisor).unwrap());
    signal(keeper.as_fd(), 15).unwrap();
    wait_for_end(supervisor.as_fd());
    wait_for_end(keeper.as_fd());
    assert!(!daemon.home.daemon_lives().unwrap());
    assert!(daemon.home.connect().unwrap().is_none());
}

#[test]
fn signals_of_a_terminal_do_not_end_the_keeper() {
    let daemon = Daemon::start();
    let (keeper, _) = daemon.pids();
    let pidfd = pidfd_open(keeper).unwrap();
    for number in [1, 2, 3, 13] {
        signal(pidfd.as_fd(), number).unwrap();
    }
    let (_, supervisor) = daemon.pids();
    kill(supervisor);
    assert_eq!(daemon.pids().0, keeper);
}

#[test]
fn the_limit_of_open_files_for_workers_is_remembered_over_every_death() {
    let daemon = Daemon::start();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap();
    assert_eq!(daemon.ask("open-files"), limit.to_string());
    daemon.kill_keeper();
    assert_eq!(daemon.ask("open-files"), limit.to_string());
}

/// The pages of the executable itself depend on how it was built; what the keeper adds does not.
#[test]
fn the_keeper_is_small() {
    let daemon = Daemon::start();
    daemon.ask("put-many 500");
    let (keeper, _) = daemon.pids();
    let kib = anonymous_kib(keeper);
    println!("memory of a keeper of 500 descriptors: {kib} KiB");
    assert!(kib < 1024, "{kib} KiB");
    let (keeper, _) = daemon.kill_keeper();
    let kib = anonymous_kib(keeper);
    println!("memory of a keeper that was a supervisor: {kib} KiB");
    assert!(kib < 1024, "{kib} KiB");
}

#[test]
fn two_commands_at_once_start_one_daemon() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::open(&root.path().join("home")).unwrap();
    let started: Vec<bool> = std::thread::scope(|scope| {
        let start = || home.connect_or_start(&probe(), PATIENCE).unwrap().1;
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let daemon = Daemon { home, _root: root };
    assert_eq!(started.iter().filter(|started| **started).count(), 1, "{started:?}");
    daemon.pids();
    assert!(matches!(start_daemon(&daemon.home, &probe()).unwrap(), Start::AlreadyRunning));
}

#[test]
fn a_leftover_socket_does_not_hinder_a_start_and_homes_do_not_know_each_other() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::open(&root.path().join("home")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.control_socket()).unwrap());
    assert!(home.connect().unwrap().is_none());
    let other = Daemon::start();
    let (stream, started) = home.connect_or_start(&probe(), PATIENCE).unwrap();
    drop(stream);
    assert!(started);
    let daemon = Daemon { home, _root: root };
    assert_ne!(daemon.pids(), other.pids());
    let pids = daemon.home.daemon_pids().unwrap();
    assert_eq!((pids.keeper, pids.supervisor), (daemon.pids().0.as_raw(), daemon.pids().1.as_raw()));
}

#[test]
fn an_executable_that_cannot_be_started_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::open(&root.path().join("home")).unwrap();
    let error = start_daemon(&home, &root.path().join("missing")).unwrap_err();
    assert!(matches!(error, HomeError::Spawn(_)), "{error}");
    assert!(!home.daemon_lives().unwrap());
    assert!(!home.control_socket().exists());
}

/// A daemon of the probe in a home of its own. Its end is the end of its processes.
struct Daemon {
    home: Home,
    _root: TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(&root.path().join("home")).unwrap();
        let start = start_daemon(&home, &probe()).unwrap();
        assert!(matches!(start, Start::Started(_)));
        Daemon { home, _root: root }
    }

    /// The answer of whichever supervisor gives one. A request that one took into its death is repeated.
    fn ask(&self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.tell(line);
            if let Some(answer) = answer.strip_suffix('\n') {
                return answer.to_owned();
            }
            assert!(Instant::now() < deadline, "no answer to {line:?}: {}", self.log());
        }
    }

    /// What comes back, if anything.
    fn tell(&self, line: &str) -> String {
        let mut answer = String::new();
        let mut stream = UnixStream::connect(self.home.control_socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if stream.write_all(format!("{line}\n").as_bytes()).is_ok() {
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// Keeper and supervisor.
    fn pids(&self) -> (Pid, Pid) {
        let answer = self.ask("pids");
        let pids: Vec<Pid> = answer.split(' ').map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect();
        (pids[0], pids[1])
    }

    /// Kills the keeper and waits until a supervisor of the new one answers. The old one may answer until it has
    /// noticed.
    fn kill_keeper(&self) -> (Pid, Pid) {
        let (keeper, _) = self.pids();
        kill(keeper);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (now, supervisor) = self.pids();
            if now != keeper {
                return (now, supervisor);
            }
            assert!(Instant::now() < deadline, "nobody becomes the keeper: {}", self.log());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.daemon_log()).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log());
        }
        while let (Ok(true), Some(pids)) = (self.home.daemon_lives(), self.home.daemon_pids()) {
            let Some(keeper) = Pid::from_raw(pids.keeper).and_then(|pid| pidfd_open(pid).ok()) else { break };
            let _ = signal(keeper.as_fd(), 15);
            wait_for_end(keeper.as_fd());
        }
    }
}

fn probe() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(|deps| deps.parent()).unwrap();
    target.join("examples/keeper_probe")
}

fn kill(pid: Pid) {
    let pidfd = pidfd_open(pid).unwrap();
    signal(pidfd.as_fd(), 9).unwrap();
    wait_for_end(pidfd.as_fd());
}

fn wait_for_end(pidfd: std::os::fd::BorrowedFd<'_>) {
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1), "the process does not end");
}

fn anonymous_kib(pid: Pid) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = smaps.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
