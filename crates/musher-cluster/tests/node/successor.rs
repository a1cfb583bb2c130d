//! The supervisor is killed and another takes over: nobody notices.

use std::collections::BTreeSet;

use musher_cluster::ClusterEvent;
use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{HTTP, LIMIT, Team, ask, finish, get};

#[test]
fn workers_serve_and_speak_on() {
    for policy in [Balance::Kernel, Balance::Shared, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let script = team.script(
            "server.js",
            &format!("{HTTP} process.on('message', (m) => process.send(m)); process.send('ready');"),
        );
        let runs: Vec<_> = (0..3).map(|slot| team.start(slot, &script)).collect();
        let address = runs.iter().map(|run| team.listening(*run)).last().unwrap();
        for round in 0..3 {
            team.replace_supervisor();
            for run in &runs {
                assert_eq!(team.listening(*run), address, "{policy:?}");
                team.wait("ready", |event| (*event == ClusterEvent::Ready { run: *run }).then_some(()));
                team.cluster.send(*run, round.into());
                assert_eq!(team.message(*run), round);
            }
            let answers: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
            assert!(answers.len() == 3 || policy == Balance::Shared, "{policy:?} {answers:?}");
        }
        // Steering, turns and membership go on as well: a worker is replaced and another added.
        team.kill(runs[0]);
        let answers: BTreeSet<String> = (0..30).map(|_| get(&address)).collect();
        assert!(answers.len() <= 2);
        for slot in [0, 3] {
            let run = team.start(slot, &script);
            assert_eq!(team.listening(run), address);
        }
        let answers: BTreeSet<String> = (0..128).map(|_| get(&address)).collect();
        assert!(answers.len() == 4 || policy == Balance::Shared, "{policy:?} {answers:?}");
    }
}

#[test]
fn a_successor_that_is_killed_while_it_takes_over_changes_nothing_for_clients() {
    for policy in [Balance::Kernel, Balance::Shared] {
        let mut team = Team::new(policy);
        let script = team.script("server.js", HTTP);
        let runs: Vec<_> = (0..2).map(|slot| team.start(slot, &script)).collect();
        let address = runs.iter().map(|run| team.listening(*run)).last().unwrap();
        team.begin_to_replace_supervisor();
        // It has done what it was told so far.
        team.stats();
        team.cluster.abandon();
        let answers: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
        assert!(answers.len() == 2 || policy == Balance::Shared, "{policy:?} {answers:?}");
        team.replace_supervisor();
        assert!(get(&address).contains(|c: char| c.is_ascii_digit()));
    }
}

#[test]
fn connections_that_a_worker_has_not_taken_outlive_both() {
    for worker_dies_first in [false, true] {
        let mut team = Team::new(Balance::RoundRobin);
        // Blocks when it is offered a connection, before it answers.
        let text = "process.prependListener('internalMessage', (m) => { if (m.act === 'newconn') for (;;); });";
        let script = team.script("stuck.js", &format!("{HTTP} {text}"));
        let stuck = team.start(0, &script);
        let address = team.listening(stuck);
        let waiting: Vec<_> = (0..12).map(|_| ask(&address, "/")).collect();
        let kept = |names: &[String]| names.iter().filter(|name| name.contains("/offered-")).count() as u64;
        // A worker that has left the first unanswered for so long is offered no more.
        team.wait_for_names(|names| kept(names) > 0);
        let offered = team.stats().unanswered;
        team.wait_for_names(|names| kept(names) >= offered);
        team.begin_to_replace_supervisor();
        if worker_dies_first {
            team.kill(stuck);
        }
        team.adopt_workers();
        if !worker_dies_first {
            assert!(team.wait_for_stats(|stats| stats.unanswered > 0).unanswered >= offered);
            team.kill(stuck);
        }
        let script = team.script("server.js", HTTP);
        let next = team.start(0, &script);
        assert_eq!(team.listening(next), address);
        waiting.into_iter().for_each(|client| drop(finish(client)));
        team.wait_for_names(|names| kept(names) == 0 && !names.iter().any(|name| name.contains("/waiting-")));
    }
}

#[test]
fn what_workers_say_meanwhile_is_heard() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "counter.js",
        "let n = 0; process.on('message', () => {}); const send = () => { process.send(n++); if (n < 300) setTimeout(send, 1); }; send();",
    );
    let run = team.start(0, &script);
    for n in 0..50 {
        assert_eq!(team.message(run), n);
    }
    team.replace_supervisor();
    team.replace_supervisor();
    // At least once each, in order.
    let mut last = 49;
    while last < 299 {
        let n = team.message(run).as_i64().unwrap();
        assert!(n <= last + 1, "{n} after {last}");
        last = last.max(n);
    }
}

#[test]
fn a_question_that_was_not_answered_is() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("server.js", HTTP);
    for slot in 0..4 {
        let run = team.start(slot, &script);
        team.replace_supervisor();
        team.listening(run);
    }
}

#[test]
fn a_worker_that_is_draining_is_still() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "slow.js",
        "require('http').createServer((q, r) => { process.send('asked'); process.once('message', () => r.end('late')); }).listen(0, '127.0.0.1');",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let slow = ask(&address, "/");
    assert_eq!(team.message(run), "asked");
    team.cluster.drain(run, std::time::Duration::ZERO, LIMIT);
    team.wait_for_state(r#""draining":true"#);
    team.replace_supervisor();
    team.cluster.send(run, "go".into());
    assert_eq!(finish(slow), "late");
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}
