//! Programs of which each worker has a socket of its own (`balance = "kernel"`), scaled down and up. Nobody can be handed
//! what waits at such a socket.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::support::apps::{app, hyper, tool};
use crate::support::told::{events, wait_event};
use crate::support::{
    Home, Load, PATIENCE, Plan, Shape, Target, free_port, get, nothing_lost, proc_fs, some_answers, wait_until,
};

/// How many connections wait at a worker that is stopped, and at the other one.
const CONNECTIONS: usize = 20;

/// The app "web" with these lines, each worker with its own socket.
#[track_caller]
fn started(home: &Home, instances: usize, lines: &str) -> u16 {
    let port = free_port();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\ninstances = {instances}\nbalance = \"kernel\"\n\
             listen = \"tcp://127.0.0.1:{port}\"\nready = \"notify\"\n{lines}\n"
        ),
    );
    home.ok(["start", "team.toml"]);
    port
}

/// Scales to one and back to three, twice, while connections come.
#[track_caller]
fn comes_and_goes(what: &str, home: &Home, load: Load) {
    some_answers(&load, 20);
    for to in ["1", "3", "1", "3"] {
        home.ok(["scale", "web", to]);
        some_answers(&load, 40);
    }
    home.ok(["scale", "web", "1"]);
    home.ok(["scale", "web", "3"]);
    some_answers(&load, 20);
    let report = nothing_lost(what, load);
    assert!(report.by_worker().len() >= 7, "{what}: one that stays, and six that went: {report}");
}

#[test]
fn workers_of_gunicorn_come_and_go_and_nothing_is_lost() {
    let home = Home::new();
    let wsgi = app("wsgi.py");
    let (gunicorn, directory) = (tool("venv/bin/gunicorn"), Path::new(&wsgi).parent().unwrap().display());
    let command = format!("command = \"{gunicorn} --preload --chdir {directory} --workers 1 wsgi:app\"");
    let port = started(&home, 3, &command);
    comes_and_goes("gunicorn", &home, Load::start(Plan::new(port, Shape::Fresh { per_second: 100 })));
}

#[test]
fn workers_of_a_hyper_server_come_and_go_and_nothing_is_lost() {
    let home = Home::new();
    let port = started(&home, 3, &format!("command = \"{}\"", hyper()));
    comes_and_goes("hyper", &home, Load::start(Plan::new(port, Shape::Fresh { per_second: 400 })));
}

/// Two workers of which the second is stopped (SIGSTOP), and clients of which half wait at it.
struct Stuck {
    home: Home,
    worker: u32,
    clients: Vec<JoinHandle<Option<String>>>,
    waiting: usize,
}

impl Stuck {
    #[track_caller]
    fn new(stop: &str) -> Stuck {
        let home = Home::new();
        let port = started(&home, 2, &format!("command = \"{}\"\nstop = {stop}", hyper()));
        let worker = home.pids("web")[1];
        proc_fs::signal(worker, Signal::STOP).unwrap();
        wait_until("it stands still", || proc_fs::state(worker) == Some('T'));
        let client = |n: usize| {
            let target = Target::Tcp((Ipv4Addr::LOCALHOST, port).into());
            std::thread::spawn(move || match get(&target, &format!("/?id={n}"), PATIENCE) {
                Ok((200, body)) => Some(body),
                Ok(_) | Err(_) => None,
            })
        };
        let clients: Vec<_> = (0..CONNECTIONS).map(client).collect();
        let mut waiting = 0;
        wait_until("all are answered or wait at it", || {
            waiting = queue(&home);
            waiting > 0 && waiting + clients.iter().filter(|client| client.is_finished()).count() == CONNECTIONS
        });
        Stuck { home, worker, clients, waiting }
    }

    /// How many were answered by the worker that was stopped, and by the other one.
    fn answered(self) -> (usize, usize) {
        let answers = self.clients.into_iter().filter_map(|client| client.join().unwrap());
        let by_stopped = |answer: &String| answer.contains(&format!("pid={}\n", self.worker));
        let (stopped, other): (Vec<String>, Vec<String>) = answers.partition(by_stopped);
        (stopped.len(), other.len())
    }
}

/// How many connections wait at the second slot.
fn queue(home: &Home) -> usize {
    let shown = home.ok(["describe", "web", "--json"]).json();
    let queue = |value: &serde_json::Value| (value["slot"] == 1).then(|| value["queue"].as_u64()).flatten();
    let found = shown["listeners"].as_array().unwrap().iter().find_map(queue);
    usize::try_from(found.unwrap()).unwrap()
}

#[test]
fn what_waits_at_a_worker_that_stands_still_is_accepted_before_it_is_told_to_end() {
    let stuck = Stuck::new("{ drain = \"60s\" }");
    let scale = stuck.home.spawn(["scale", "web", "1"]);
    wait_event(&stuck.home, "draining", "\"slot\":1");
    let told = events(&stuck.home);
    assert!(!told.iter().any(|event| event["kind"] == "signalled"), "not yet: {told:?}");
    proc_fs::signal(stuck.worker, Signal::CONT).unwrap();
    scale.wait().succeeded();
    let waiting = stuck.waiting;
    assert_eq!(stuck.answered(), (waiting, CONNECTIONS - waiting));
}

#[test]
fn what_waits_at_a_worker_that_never_goes_on_goes_to_the_others_or_is_told() {
    let stuck = Stuck::new("{ drain = \"200ms\", grace = \"200ms\" }");
    stuck.home.ok(["scale", "web", "1"]);
    let all = |words: &str| format!("{} connections that waited here {words}", stuck.waiting);
    // Without CAP_BPF and net.ipv4.tcp_migrate_req they cannot be had.
    let told = wait_until_told(&stuck.home, &[all("go to the other slots"), all("were reset")]);
    let kept = if told == 0 { CONNECTIONS } else { CONNECTIONS - stuck.waiting };
    assert_eq!(stuck.answered(), (0, kept));
}

/// Waits for an event with one of these words; which.
#[track_caller]
fn wait_until_told(home: &Home, words: &[String]) -> usize {
    let mut told = None;
    wait_until("what became of those that waited is told", || {
        let events = events(home);
        told = words.iter().position(|words| events.iter().any(|event| event["detail"] == words.as_str()));
        told.is_some()
    });
    told.unwrap()
}
