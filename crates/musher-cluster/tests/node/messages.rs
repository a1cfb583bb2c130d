//! `process.send`, `'message'`, and the ways a worker leaves.

use std::io::Read;

use musher_cluster::ClusterEvent;
use musher_core::spec::Balance;
use musher_process::ExitStatus;
use serde_json::{Value, json};

use crate::team::{HTTP, LIMIT, Team, connect};

const ECHO: &str = "process.on('message', (m) => process.send(m));";

#[test]
fn any_value_goes_both_ways() {
    for cluster in [true, false] {
        let mut team = Team::new(Balance::Kernel);
        let script = team.script("echo.js", ECHO);
        let run = team.start_as(0, &script, cluster, &[]);
        let values = [
            json!(null),
            json!(7.5),
            json!("grüß dich, 世界 \u{1F980} \n \u{0}"),
            json!({"cmd": "NODE_"}),
            json!([{"deep": [[[]]]}]),
            json!("x".repeat(900_000)),
        ];
        for value in values {
            team.cluster.send(run, value.clone());
            assert_eq!(team.message(run), value);
        }
    }
}

#[test]
fn ready_is_told_apart() {
    let mut team = Team::new(Balance::Kernel);
    let script =
        team.script("ready.js", "process.on('message', () => {}); process.send('ready'); process.send('else');");
    let run = team.start_as(0, &script, false, &[]);
    team.wait("ready", |event| (*event == ClusterEvent::Ready { run }).then_some(()));
    assert_eq!(team.message(run), "else");
}

#[test]
fn messages_of_a_program_that_sends_more_than_is_read_arrive_in_order() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("many.js", "for (let n = 0; n < 5000; n++) process.send(n);");
    let run = team.start(0, &script);
    for n in 0..5000 {
        assert_eq!(team.message(run), n);
    }
}

#[test]
fn a_socket_that_a_worker_sends_does_not_keep_it() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "give.js",
        "const server = require('net').createServer({pauseOnConnect: true}, (socket) => {
           process.send('take it', socket, () => server.close(() => process.exit(7)));
         }).listen(0, '127.0.0.1');",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut client = connect(&address);
    assert_eq!(team.message(run), "take it");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(team.exited(run), ExitStatus::Code(7));
}

#[test]
fn a_worker_may_disconnect_or_kill_itself() {
    for (policy, how) in
        [Balance::Kernel, Balance::RoundRobin].into_iter().flat_map(|policy| [(policy, "disconnect"), (policy, "kill")])
    {
        let mut team = Team::new(policy).without_preload();
        let script = team.script(
            "leave.js",
            &format!(
                "{HTTP}
                 const {{ worker }} = require('cluster');
                 process.on('exit', () => {{ process.exitCode = worker.exitedAfterDisconnect === true ? 3 : 4; }});
                 process.on('message', () => worker.{how}());"
            ),
        );
        let run = team.start(0, &script);
        team.listening(run);
        team.cluster.send(run, Value::Null);
        team.disconnected(run);
        let status = team.exited(run);
        // `kill` exits with 0 by its own word.
        assert!(matches!(status, ExitStatus::Code(0 | 3)), "{policy:?} {how}: {status}");
    }
}

#[test]
fn a_worker_without_the_preload_is_asked_to_disconnect() {
    let mut team = Team::new(Balance::Kernel).without_preload();
    let script = team.script("server.js", HTTP);
    let run = team.start(0, &script);
    team.listening(run);
    team.cluster.drain(run, std::time::Duration::ZERO, LIMIT);
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}

#[test]
fn modules_and_commonjs_are_workers_alike() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "server.mjs",
        "import http from 'node:http'; import cluster from 'node:cluster';
         http.createServer((q, r) => r.end(String(cluster.isWorker))).listen(0, '127.0.0.1');",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    assert_eq!(crate::team::get(&address), "true");
}
