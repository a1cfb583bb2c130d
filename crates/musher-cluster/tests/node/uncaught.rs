//! An exception that nobody catches ends the worker, after it has finished what it has; only its own request is lost.

use std::io::Read;
use std::time::Duration;

use musher_core::ids::RunId;
use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{HTTP, LIMIT, Team, ask, connect, finish, get};
use musher_cluster::ClusterEvent;

/// The worker may go on for this long, by what it is told in its environment.
const DRAINS: &[(&str, &str)] = &[("MUSHER_ON_UNCAUGHT", "20000")];

/// `/wait` is answered when the worker is sent "go"; others as the paths say.
const THROWS: &str = "
const waiting = [];
require('http').createServer((request, response) => {
  if (request.url === '/throw') throw new Error('boom');
  if (request.url === '/reject') return Promise.reject(new TypeError('bang'));
  if (request.url === '/wait') return void (waiting.push(response), process.send('asked'));
  response.end(String(process.pid));
}).listen(0, '127.0.0.1');
process.on('message', (message) => {
  if (message === 'throw') throw new Error('boom');
  if (message === 'throw on') setInterval(() => { throw new Error('again'); }, 1);
  if (message === 'throw always') (function again() { setImmediate(again); throw new Error('again'); })();
  waiting.splice(0).forEach((response) => response.end('done'));
});
process.on('exit', (code) => console.error('exit handlers run', code));
";

fn throwing(team: &mut Team) -> (RunId, String) {
    let script = team.script("throws.js", THROWS);
    let run = team.start_as(0, &script, true, DRAINS);
    let address = team.listening(run);
    (run, address)
}

#[test]
fn what_is_in_flight_is_answered_and_the_worker_ends_as_node_would() {
    for policy in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let (run, address) = throwing(&mut team);
        let waiting = ask(&address, "/wait");
        assert_eq!(team.message(run), "asked");
        let mut thrown = ask(&address, "/throw");
        assert_eq!(thrown.read(&mut [0]).unwrap_or(0), 0, "the request that threw gets no answer, at once");
        let (stack, drains) = team.uncaught(run);
        assert!(stack.starts_with("Error: boom\n    at ") && stack.contains("throws.js"), "{stack}");
        assert!(drains);
        team.cluster.send(run, "go".into());
        assert_eq!(finish(waiting), "done");
        team.drained(run);
        assert_eq!(team.exited(run), ExitStatus::Code(1));
    }
}

#[test]
fn siblings_get_all_new_connections_at_once() {
    for policy in [Balance::Kernel, Balance::RoundRobin, Balance::Shared] {
        let mut team = Team::new(policy);
        let (run, address) = throwing(&mut team);
        // Keeps it alive.
        let waiting = ask(&address, "/wait");
        assert_eq!(team.message(run), "asked");
        let script = team.script("server.js", HTTP);
        let sibling = team.start(1, &script);
        team.listening(sibling);
        team.cluster.send(run, "throw".into());
        team.uncaught(run);
        let answers: std::collections::BTreeSet<String> = (0..20).map(|_| get(&address)).collect();
        assert_eq!(answers.len(), 1, "{policy:?}");
        team.cluster.send(run, "go".into());
        assert_eq!(finish(waiting), "done");
        assert_eq!(team.exited(run), ExitStatus::Code(1));
    }
}

#[test]
fn a_rejection_that_nobody_handles_is_one_too() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("throws.js", THROWS);
    let run = team.start_as(0, &script, true, &[("MUSHER_ON_UNCAUGHT", "300")]);
    let address = team.listening(run);
    // Nobody knows which request it belongs to: it ends with the worker.
    let mut rejected = ask(&address, "/reject");
    let (stack, _) = team.uncaught(run);
    assert!(stack.starts_with("TypeError: bang"), "{stack}");
    assert_eq!(rejected.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(team.exited(run), ExitStatus::Code(1));
}

#[test]
fn what_else_is_thrown_until_the_end_does_not_delay_it() {
    for message in ["throw on", "throw always"] {
        let mut team = Team::new(Balance::Kernel);
        let script = team.script("throws.js", THROWS);
        let run = team.start_as(0, &script, true, &[("MUSHER_ON_UNCAUGHT", "400")]);
        let address = team.listening(run);
        let _held = ask(&address, "/wait");
        assert_eq!(team.message(run), "asked");
        team.cluster.send(run, message.into());
        team.uncaught(run);
        assert_eq!(team.exited(run), ExitStatus::Code(1));
        assert!(!team.heard(|event| matches!(event, ClusterEvent::Uncaught { .. })), "it is told once");
    }
}

#[test]
fn a_supervisor_that_takes_over_hears_of_it_too() {
    let mut team = Team::new(Balance::Kernel);
    let (run, address) = throwing(&mut team);
    let waiting = ask(&address, "/wait");
    assert_eq!(team.message(run), "asked");
    team.cluster.send(run, "throw".into());
    team.uncaught(run);
    team.replace_supervisor();
    assert_eq!(team.uncaught(run), (String::new(), true));
    team.cluster.send(run, "go".into());
    assert_eq!(finish(waiting), "done");
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(1));
}

#[test]
fn a_worker_that_serves_nothing_ends_at_once() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("early.js", "setInterval(() => {}, 1000); throw new Error('too early');");
    let run = team.start_as(0, &script, true, DRAINS);
    let (stack, drains) = team.uncaught(run);
    assert!(stack.starts_with("Error: too early") && !drains, "{stack}");
    assert_eq!(team.exited(run), ExitStatus::Code(1));
}

#[test]
fn without_leave_to_go_on_it_is_told_and_the_worker_ends_at_once() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("throws.js", THROWS);
    let run = team.start(0, &script);
    team.listening(run);
    team.cluster.send(run, "throw".into());
    assert!(!team.uncaught(run).1);
    assert_eq!(team.exited(run), ExitStatus::Code(1));
}

#[test]
fn what_is_thrown_may_be_anything() {
    for (thrown, told) in [
        ("null", "null"),
        ("'text'", "'text'"),
        ("Object.create(null)", "[Object: null prototype] {}"),
        ("new Proxy({}, { get() { throw 1; }, ownKeys() { throw 2; } })", ""),
        ("Object.assign(new Error('x'), { get stack() { throw 3; } })", ""),
        ("(() => { const e = new Error('ring'); e.cause = e; return e; })()", "Error: ring"),
    ] {
        let mut team = Team::new(Balance::Kernel);
        let text = format!("{HTTP} process.on('message', () => {{ throw {thrown}; }});");
        let script = team.script("odd.js", &text);
        let run = team.start_as(0, &script, true, DRAINS);
        team.listening(run);
        team.cluster.send(run, "throw".into());
        let (stack, drains) = team.uncaught(run);
        assert!(drains && stack.contains(told), "{thrown}: {stack}");
        assert_eq!(team.exited(run), ExitStatus::Code(1));
    }
}

/// A program that deals with its exceptions in its own way is left alone.
fn deals_with_it(text: &str) {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("deals.js", &format!("{text}\n{HTTP}\nprocess.on('message', (m) => process.send(m));"));
    let run = team.start_as(0, &script, true, DRAINS);
    let address = team.listening(run);
    assert_eq!(team.message(run), "dealt with", "{text}");
    team.cluster.send(run, "alive".into());
    assert_eq!(team.message(run), "alive");
    get(&address);
    assert!(!team.heard(|event| matches!(event, ClusterEvent::Uncaught { .. })), "{text}");
    team.cluster.drain(run, Duration::ZERO, LIMIT);
    team.drained(run);
}

#[test]
fn programs_that_deal_with_exceptions_themselves_are_left_alone() {
    let dealt = "process.send('dealt with')";
    let throw = "setImmediate(() => { throw new Error('mine'); });";
    for text in [
        format!("process.on('uncaughtException', () => {dealt}); {throw}"),
        format!("process.setUncaughtExceptionCaptureCallback(() => {dealt}); {throw}"),
        format!(
            "const domain = require('domain').create(); domain.on('error', () => {dealt});
             domain.run(() => {{ {throw} }});"
        ),
        format!("process.on('unhandledRejection', () => {dealt}); Promise.reject(new Error('mine'));"),
    ] {
        deals_with_it(&text);
    }
}

#[test]
fn rejections_are_taken_as_the_program_wants_them_taken() {
    let mut team = Team::new(Balance::Kernel);
    let preload = team.directory.path().join("preload.cjs");
    let options = format!("--unhandled-rejections=warn --require={}", preload.display());
    let text = "process.on('warning', () => process.send('dealt with')); Promise.reject(new Error('mine'));";
    let script = team.script("deals.js", &format!("{text}\n{HTTP}"));
    let run = team.start_as(0, &script, true, &[DRAINS, &[("NODE_OPTIONS", options.as_str())]].concat());
    get(&team.listening(run));
    assert_eq!(team.message(run), "dealt with");
    assert!(!team.heard(|event| matches!(event, ClusterEvent::Uncaught { .. })));
}

#[test]
fn a_handler_that_throws_ends_the_worker_with_nodes_code_for_that() {
    let mut team = Team::new(Balance::Kernel);
    let text = format!(
        "process.on('uncaughtException', () => {{ throw new Error('worse'); }}); {HTTP}
         process.on('message', () => {{ throw new Error('bad'); }});"
    );
    let script = team.script("worse.js", &text);
    let run = team.start_as(0, &script, true, DRAINS);
    team.listening(run);
    team.cluster.send(run, "throw".into());
    assert_eq!(team.exited(run), ExitStatus::Code(7));
}

#[test]
fn an_exception_while_it_drains_is_told_and_keeps_the_limit_of_both() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("throws.js", THROWS);
    let run = team.start_as(0, &script, true, &[("MUSHER_ON_UNCAUGHT", "300")]);
    let address = team.listening(run);
    let mut held = connect(&address);
    std::io::Write::write_all(&mut held, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(team.message(run), "asked");
    team.cluster.drain(run, Duration::ZERO, LIMIT);
    team.cluster.send(run, "throw".into());
    assert!(team.uncaught(run).1);
    team.wait("the cut", |event| (*event == ClusterEvent::Cut { run, count: 1 }).then_some(()));
    assert_eq!(team.exited(run), ExitStatus::Code(1));
}
