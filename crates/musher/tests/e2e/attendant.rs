//! What the main process of the unit says to a service manager, and what it does, with a manager of the test's own: no
//! systemd is needed.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::apps::app;
use crate::support::builds;
use crate::support::{Background, Home, PATIENCE, ask, command, free_port, is_free, proc_fs, wait_until};
use rustix::process::Signal;

/// A manager that listens, and the attendant that it started.
struct Manager {
    socket: UnixDatagram,
    attendant: Background,
    said: Vec<String>,
}

impl Manager {
    fn start(home: &Home, watchdog: Duration) -> Manager {
        let path = home.directory().join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = home.command(["attend"]);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", watchdog.as_micros().to_string())
            // Not of this process: a worker that believed it would take somebody else's sockets.
            .env("LISTEN_FDS", "1")
            .env("LISTEN_PID", "1");
        Manager { socket, attendant: Background::of(command), said: Vec::new() }
    }

    /// Waits for a line that begins with `begin`, and gives it.
    #[track_caller]
    fn hears(&mut self, begin: &str) -> String {
        let mut buffer = [0; 4096];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let length = self.socket.recv(&mut buffer).ok().filter(|_| Instant::now() < deadline);
            let Some(length) = length else { panic!("no {begin:?}; said: {:#?}", self.said) };
            let lines: Vec<String> = String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect();
            let found = lines.iter().find(|line| line.starts_with(begin)).cloned();
            self.said.extend(lines);
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn heard(&self, line: &str) -> bool {
        self.said.iter().any(|said| said == line)
    }
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn ready_is_said_when_the_apps_are_and_a_stop_keeps_the_list() {
    let home = Home::new();
    let mut manager = Manager::start(&home, LONG);
    manager.hears("READY=1");
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    assert!(manager.hears("STATUS=1 app").contains("2 workers"));
    let others = home.processes().into_iter().filter(|pid| *pid != manager.attendant.id());
    let environments = others.flat_map(proc_fs::environ);
    for variable in environments {
        let name = variable.split('=').next().unwrap_or_default().to_owned();
        let ours = name == "NOTIFY_SOCKET" && !variable.contains("=@musher/");
        assert!(!ours && !name.starts_with("WATCHDOG_") && !name.starts_with("LISTEN_"), "{variable}");
    }

    proc_fs::signal(manager.attendant.id(), Signal::TERM).unwrap();
    manager.hears("STOPPING=1");
    manager.attendant.wait().succeeded();
    assert!(home.processes().is_empty() && is_free(port));

    let mut manager = Manager::start(&home, LONG);
    manager.hears("READY=1");
    ask(port, "/?id=1");
    assert!(manager.heard("STATUS=starting"));
    home.ok(["kill"]);
    manager.attendant.wait().succeeded();
}

#[test]
fn the_watchdog_hears_only_of_a_supervisor_that_answers() {
    let home = Home::new();
    let mut manager = Manager::start(&home, Duration::from_secs(3));
    manager.hears("READY=1");
    home.ok(["start", "--name", "idle", "-i", "2", "--", "sleep", "1000"]);
    let workers = home.pids("idle");
    let (supervisor, keeper) = (home.supervisor(), home.keeper());
    // Nobody can be helped whose pid is not known.
    let (lock, pids) = (home.path().join("lock"), fs::read(home.path().join("lock")).unwrap());
    fs::write(&lock, "keeper 1\nsupervisor 1\n").unwrap();
    proc_fs::signal(supervisor, Signal::STOP).unwrap();
    manager.hears("STATUS=the supervisor does not answer");
    manager.said.clear();
    manager.hears("STATUS=the supervisor does not answer");
    assert!(!manager.heard("WATCHDOG=1"), "{:#?}", manager.said);
    fs::write(&lock, pids).unwrap();
    manager.hears("STATUS=1 app, 2 workers; supervisor ");
    assert!(manager.heard("WATCHDOG=1"));
    assert_ne!(home.supervisor(), supervisor, "another one answers");
    assert_eq!(home.keeper(), keeper);
    for pid in [home.keeper(), home.supervisor()] {
        proc_fs::signal(pid, Signal::KILL).unwrap();
    }
    wait_until("another daemon, without any command", || {
        manager.hears("STATUS=1 app").contains("2 workers; supervisor")
    });
    assert_eq!(home.pids("idle"), workers);
    proc_fs::signal(manager.attendant.id(), Signal::TERM).unwrap();
    manager.attendant.wait().succeeded();
    home.wait_gone();
}

#[test]
fn a_living_daemon_is_attended_and_survives_whoever_attends_it() {
    let home = Home::new();
    home.ok(["start", "--name", "idle", "--", "sleep", "1000"]);
    let (keeper, workers) = (home.keeper(), home.pids("idle"));
    for _ in 0..2 {
        let mut manager = Manager::start(&home, LONG);
        manager.hears("READY=1");
        proc_fs::kill9(manager.attendant.id()).unwrap();
        manager.attendant.wait();
    }
    assert_eq!((home.keeper(), home.pids("idle")), (keeper, workers));
}

#[test]
fn an_attendant_of_another_version_brings_the_daemon_along() {
    let home = Home::new();
    home.ok(["start", "--name", "idle", "--", "sleep", "1000"]);
    let (keeper, workers) = (home.keeper(), home.pids("idle"));
    let home = home.executable(builds::next());
    let mut manager = Manager::start(&home, LONG);
    manager.hears("READY=1");
    let status = home.status();
    for role in ["supervisor", "keeper"] {
        assert_eq!(status[role]["version"], "99.0.0-next", "{status}");
    }
    assert_eq!((home.keeper(), home.pids("idle")), (keeper, workers));
    proc_fs::kill9(manager.attendant.id()).unwrap();
    manager.attendant.wait();
}

#[test]
fn a_unit_where_none_can_be_is_refused_with_what_to_do() {
    let home = Home::new();
    home.run(["attend", "--unit"]).failed(2, &["--unit"]);
    let mut attend = home.command(["attend"]);
    attend.env("NOTIFY_SOCKET", "nonsense");
    Background::of(attend).wait().failed(7, &["NOTIFY_SOCKET"]);
    let root = command("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root {
        home.run(["startup"]).failed(7, &["only root", "sudo env PATH=", "startup --run-as", "startup --user"]);
        return;
    }
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let path = home.path().to_owned();
    let home = home.under(nobody);
    home.run(["startup"]).failed(7, &["only root", "sudo env PATH=", "startup --run-as", "startup --user"]);
    assert!(home.ok(["startup", "--print"]).out.contains(&format!("--home {} attend", path.display())));
    // Without a systemd.
    let home = home.under(["unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
    home.run(["startup"]).failed(7, &["systemd does not run", "musher run"]);
}
