//! Workers that die, block or come and go lose nobody a connection.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;

use musher_core::ids::{RunId, SlotId};
use musher_core::spec::Balance;

use crate::team::{APP, HTTP, LIMIT, Team, ask, connect, finish, get};

/// Answers with its pid; `/block` answers and then blocks the event loop until it is killed.
const BLOCKABLE: &str = "
const http = require('http');
http.createServer((request, response) => {
  response.end(String(process.pid));
  if (request.url === '/block') setImmediate(() => { process.send('blocks'); for (;;); });
}).listen(0, '127.0.0.1');
";

fn start(team: &mut Team, text: &str, workers: u32) -> (Vec<RunId>, String) {
    let script = team.script("server.js", text);
    let runs: Vec<RunId> = (0..workers).map(|slot| team.start(slot, &script)).collect();
    let addresses: Vec<String> = runs.iter().map(|run| team.listening(*run)).collect();
    (runs, addresses[0].clone())
}

/// Blocks a worker and says which.
fn block(team: &mut Team, runs: &[RunId], address: &str) -> RunId {
    finish(ask(address, "/block"));
    team.wait("a blocked worker", |event| match event {
        musher_cluster::ClusterEvent::Message { run, value, .. } if value == "blocks" && runs.contains(run) => {
            Some(*run)
        }
        _ => None,
    })
}

fn asks(address: &str, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| ask(address, "/")).collect()
}

#[test]
fn connections_that_wait_at_a_blocked_worker_are_given_to_its_sibling() {
    let mut team = Team::new(Balance::Kernel);
    let (runs, address) = start(&mut team, BLOCKABLE, 2);
    let blocked = block(&mut team, &runs, &address);
    let answers: BTreeSet<String> = asks(&address, 40).into_iter().map(finish).collect();
    assert_eq!(answers.len(), 1);
    let stats = team.stats();
    assert!(stats.blocked >= 1, "{stats:?}");
    assert!(stats.rescued > 0, "{stats:?}");
    // From now on the kernel gives it nothing: all goes straight to its sibling, but for moments of doubt about that one.
    asks(&address, 40).into_iter().for_each(|stream| drop(finish(stream)));
    // Its successor is as good as any.
    team.kill(blocked);
    let slot = u32::try_from(runs.iter().position(|run| *run == blocked).unwrap()).unwrap();
    let script = team.directory.path().join("server.js");
    let next = team.start(slot, &script);
    team.listening(next);
    let answers: BTreeSet<String> = asks(&address, 60).into_iter().map(finish).collect();
    assert_eq!(answers.len(), 2);
}

#[test]
fn few_connections_never_wait_for_a_blocked_worker() {
    for policy in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let (runs, address) = start(&mut team, BLOCKABLE, 3);
        let blocked = block(&mut team, &runs, &address);
        // One after the other, so that each would have to wait.
        let mut answers: BTreeSet<String> = (0..30).map(|_| get(&address)).collect();
        // On a busy machine one of the other two may count as blocked as well, for a moment.
        for _ in 0..1000 {
            if answers.len() < 2 {
                answers.insert(get(&address));
            }
        }
        assert_eq!(answers.len(), 2, "{policy:?}");
        team.wait_for_stats(|stats| stats.unanswered == 0);
        team.kill(blocked);
    }
}

#[test]
fn connections_that_wait_at_the_only_worker_are_served_by_its_successor() {
    for policy in [Balance::Kernel, Balance::Shared, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let (runs, address) = start(&mut team, BLOCKABLE, 1);
        let blocked = block(&mut team, &runs, &address);
        let waiting = asks(&address, 20);
        team.kill(blocked);
        let more = asks(&address, 5);
        let script = team.directory.path().join("server.js");
        let next = team.start(0, &script);
        assert_eq!(team.listening(next), address);
        for stream in waiting.into_iter().chain(more) {
            finish(stream);
        }
    }
}

#[test]
fn a_connection_offered_to_a_dead_worker_goes_to_another() {
    let mut team = Team::new(Balance::RoundRobin);
    // Blocks when it is offered a connection, before it answers.
    let text = "process.prependListener('internalMessage', (m) => { if (m.act === 'newconn') for (;;); });";
    let (runs, address) = start(&mut team, &format!("{HTTP} {text}"), 1);
    let waiting = asks(&address, 12);
    team.wait_for_stats(|stats| stats.unanswered > 0);
    let script = team.script("good.js", &HTTP.replace("listen(0", &format!("listen({}", port(&address))));
    let good = team.start(1, &script);
    // Another question than for port 0, so another listener would be needed: the port is taken.
    team.wait("a failed bind", |event| {
        matches!(event, musher_cluster::ClusterEvent::BindFailed { run, .. } if *run == good).then_some(())
    });
    let script = team.script("server.js", HTTP);
    let next = team.start(2, &script);
    team.listening(next);
    team.kill(runs[0]);
    waiting.into_iter().for_each(|stream| drop(finish(stream)));
    assert!(team.stats().redistributed > 0);
}

fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

#[test]
fn a_connection_that_kills_workers_is_given_up() {
    let mut team = Team::new(Balance::RoundRobin);
    // Dies when it is offered a connection, before it answers.
    let text = "process.on('internalMessage', (m) => { if (m.act === 'newconn') process.kill(process.pid, 'SIGKILL'); });
                process.prependListener('internalMessage', (m) => { if (m.act === 'newconn') process.kill(process.pid, 9); });
                require('net').createServer().listen(0, '127.0.0.1');";
    let script = team.script("poison.js", text);
    let mut client = None;
    for _ in 0..3 {
        let run = team.start(0, &script);
        let address = team.listening(run);
        client.get_or_insert_with(|| connect(&address));
        team.exited(run);
    }
    team.wait_for_stats(|stats| stats.given_up == 1);
    assert_eq!(client.unwrap().read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_dead_slots_connections_do_not_wait_for_its_successor() {
    let mut team = Team::new(Balance::Kernel);
    let (runs, address) = start(&mut team, HTTP, 2);
    let dead = runs[0];
    // Stopped, not blocked in a way that it could notice: what is queued stays queued until it is dead.
    team.signal(dead, 19);
    let waiting = asks(&address, 30);
    team.kill(dead);
    let answers: BTreeSet<String> = waiting.into_iter().map(finish).collect();
    assert_eq!(answers.len(), 1);
    // The slot's socket is kept for the next worker.
    let names = team.store.names();
    assert!(names.contains(&format!("listen/{APP}/0/0")), "{names:?}");
    let script = team.directory.path().join("server.js");
    let next = team.start(0, &script);
    team.listening(next);
    let answers: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
    assert_eq!(answers.len(), 2);
}

#[test]
fn a_worker_that_wakes_up_gets_connections_again() {
    let mut team = Team::new(Balance::Kernel);
    let (runs, address) = start(&mut team, HTTP, 2);
    team.signal(runs[0], 19);
    let first: BTreeSet<String> = asks(&address, 30).into_iter().map(finish).collect();
    assert_eq!(first.len(), 1);
    let steered = team.wait_for_stats(|stats| stats.blocked >= 1).steered;
    team.signal(runs[0], 18);
    team.wait_for_stats(|stats| stats.steered > steered);
    let both: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
    assert_eq!(both.len(), 2);
}

#[test]
fn two_runs_of_a_slot_share_its_socket_while_one_replaces_the_other() {
    for policy in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let (runs, address) = start(&mut team, HTTP, 1);
        let old = runs[0];
        let script = team.directory.path().join("server.js");
        let new = team.start(0, &script);
        assert_eq!(team.listening(new), address);
        team.cluster.drain(old, std::time::Duration::ZERO, LIMIT);
        team.drained(old);
        team.exited(old);
        let answers: BTreeSet<String> = (0..20).map(|_| get(&address)).collect();
        assert_eq!(answers.len(), 1, "{policy:?}");
    }
}

#[test]
fn a_retired_slot_gets_nothing_and_hands_over_what_it_had() {
    let mut team = Team::new(Balance::Kernel);
    let (runs, address) = start(&mut team, HTTP, 2);
    team.signal(runs[1], 19);
    let waiting = asks(&address, 20);
    team.cluster.retire_slot(APP, SlotId(1));
    let answers: BTreeSet<String> = waiting.into_iter().map(finish).collect();
    assert_eq!(answers.len(), 1);
    team.kill(runs[1]);
    (0..20).for_each(|_| drop(get(&address)));
    // It lingers, and can be had back.
    assert!(team.store.names().contains(&format!("listen/{APP}/0/1")));
    let script = team.directory.path().join("server.js");
    let again = team.start(1, &script);
    team.listening(again);
    let answers: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
    assert_eq!(answers.len(), 2);
}

#[test]
fn a_listener_that_a_worker_shuts_down_is_opened_anew() {
    let mut team = Team::new(Balance::Kernel);
    let (runs, address) = start(&mut team, HTTP, 2);
    // Node has no call for it; a native module may.
    let socket = team.store.fd(&format!("listen/{APP}/0/0"));
    musher_process::net::shutdown(&socket).unwrap();
    team.kill(runs[0]);
    let script = team.directory.path().join("server.js");
    let next = team.start(0, &script);
    assert_eq!(team.listening(next), address);
    let answers: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
    assert_eq!(answers.len(), 2);
}
