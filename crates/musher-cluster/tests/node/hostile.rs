//! A worker that breaks the protocol hurts only itself.

use std::path::PathBuf;

use musher_cluster::ClusterEvent;
use musher_core::ids::RunId;
use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{HTTP, Team, get};

/// A team with a good worker; what a bad one does is `text`, with the raw channel as `raw(bytes)`.
fn with_bad_worker(text: &str) -> (Team, RunId, RunId) {
    let mut team = Team::new(Balance::Kernel);
    let good = team.script("good.js", &format!("{HTTP} process.on('message', (m) => process.send(m));"));
    let bad: PathBuf = team.script(
        "bad.js",
        &format!(
            "const fs = require('fs'); const net = require('net'); setInterval(() => {{}}, 1e6);
             const raw = (bytes) => {{
               const all = Buffer.from(bytes);
               for (let at = 0; at < all.length;) {{
                 try {{ at += fs.writeSync(3, all, at); }} catch (error) {{ if (error.code !== 'EAGAIN') return; }}
               }}
             }};
             {text}"
        ),
    );
    let good = team.start(0, &good);
    let bad = team.start(1, &bad);
    (team, good, bad)
}

/// The good worker serves and speaks, also with a successor of the supervisor.
fn assert_unharmed(team: &mut Team, good: RunId) {
    let address = team.listening(good);
    for _ in 0..2 {
        team.cluster.send(good, "still here?".into());
        assert_eq!(team.message(good), "still here?");
        get(&address);
        team.replace_supervisor();
        team.listening(good);
    }
}

#[test]
fn garbage_is_its_own_fault() {
    for (text, reason) in [
        ("raw('garbage\\n')", "not JSON"),
        ("raw('\\n')", "not JSON"),
        ("raw(Buffer.from([0, 10]))", "not JSON"),
        ("raw(Buffer.from([0x22, 0xff, 0xfe, 0x22, 10]))", "not JSON"),
        ("raw('{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\"\\n')", "not JSON"),
    ] {
        let (mut team, good, bad) = with_bad_worker(text);
        let told = team.violation(bad);
        assert!(told.contains(reason), "{text}: {told}");
        team.disconnected(bad);
        team.kill(bad);
        assert_unharmed(&mut team, good);
    }
}

#[test]
fn a_message_that_is_too_long_is_dropped_and_the_worker_speaks_on() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "talker.js",
        "process.send('x'.repeat(5 << 20)); process.send('y'.repeat(1 << 19)); process.on('message', (m) => process.send(m));",
    );
    let run = team.start(0, &script);
    let bytes = team.wait("a message that is too long", |event| match event {
        ClusterEvent::TooLong { run: of, bytes } if *of == run => Some(*bytes),
        _ => None,
    });
    assert_eq!(bytes, (5 << 20) + 2);
    assert_eq!(team.message(run), "y".repeat(1 << 19));
    team.cluster.send(run, "still here?".into());
    assert_eq!(team.message(run), "still here?");
}

#[test]
fn a_message_without_end_costs_nobody_anything() {
    let (mut team, good, bad) = with_bad_worker(
        "process.send('begun'); const piece = 'x'.repeat(1 << 16); raw('\"'); setImmediate(function on() { raw(piece); setImmediate(on); });",
    );
    team.message(bad);
    for n in 0..50 {
        team.cluster.send(good, n.into());
        assert_eq!(team.message(good), n);
    }
    team.kill(bad);
    assert_unharmed(&mut team, good);
}

#[test]
fn nonsense_in_the_right_form_is_survived() {
    let (mut team, good, bad) = with_bad_worker(
        "for (const m of [
           {act: 'online'}, {act: 'online', seq: -1}, {act: 'close', key: 'nothing'}, {act: 'listening'}, {ack: 1e300},
           {act: 'queryServer', seq: 0}, {act: 'queryServer', seq: 1, address: '/no/such/dir/x', port: -1, addressType: -1},
           {act: 'queryServer', seq: 2, address: 'x'.repeat(9999), port: 1, addressType: 4},
           {act: 'queryServer', seq: 3, address: '127.0.0.1', port: 70000, addressType: 4}, {ack: 7, accepted: false},
           {act: 'queryServer', seq: 4, fd: 999999}, {act: 'exitedAfterDisconnect'}, {act: ['x']}, {},
           {act: 'queryServer', seq: 5, address: '\\u0000', port: -1, addressType: -1},
         ]) process.send({cmd: 'NODE_CLUSTER', ...m});
         process.send({cmd: 'NODE_HANDLE_ACK'}); process.send({cmd: 'NODE_HANDLE_NACK'});
         process.send({cmd: 'NODE_HANDLE', type: 'net.Native', msg: {}});
         process.send({cmd: 'NODE_SOCKET_NOTIFY_CLOSE', key: {}}); process.send({cmd: 'NODE_MUSHER', act: 'drain'});
         process.send('survived');",
    );
    assert_eq!(team.message(bad), "survived");
    assert_unharmed(&mut team, good);
}

#[test]
fn a_preload_that_talks_nonsense_is_survived() {
    let (mut team, good, bad) = with_bad_worker(
        "for (const m of [
           {act: 'uncaught'}, {act: 'uncaught', stack: {}, drains: 'yes'}, {act: 'uncaught', stack: '\\u001b[2J'.repeat(99999)},
           {act: 'pulse'}, {act: 'pulse', requests: -1, errors: 1e308, active: 'x', latencies: Array(9999).fill(9e15), busy: -5},
           {act: 'pulse', latencies: {length: 1e9}}, {act: 'cut'}, {act: 'cut', count: 1e308}, {act: 'cut', count: -1},
           {act: 'hello'}, {act: 'hello', act2: []}, {act: 'watch', every: 1}, {act: null}, {},
         ]) process.send({cmd: 'NODE_MUSHER', ...m});
         process.send('survived');",
    );
    let watching = musher_cluster::Watching { pulses: Some(std::time::Duration::from_secs(1)), stuck_after: None };
    team.cluster.watch(bad, watching);
    assert_eq!(team.message(bad), "survived");
    let (stack, drains) = team.uncaught(bad);
    assert!(stack.is_empty() && !drains, "only the first counts, and nothing is made up: {stack}");
    assert!(!team.heard(|event| matches!(event, ClusterEvent::Uncaught { .. } | ClusterEvent::Cut { .. })));
    assert_unharmed(&mut team, good);
}

#[test]
fn a_closed_descriptor_3_is_a_worker_that_has_left() {
    let (mut team, good, bad) = with_bad_worker("try { fs.closeSync(3); } catch {}");
    team.disconnected(bad);
    team.kill(bad);
    assert_unharmed(&mut team, good);
}

#[test]
fn a_flood_does_not_starve_the_others() {
    let (mut team, good, bad) = with_bad_worker(
        "const line = '\"' + 'x'.repeat(1000) + '\"\\n'; setImmediate(function flood() { raw(line.repeat(50)); setImmediate(flood); });",
    );
    team.message(bad);
    let address = team.listening(good);
    for n in 0..50 {
        team.cluster.send(good, n.into());
        assert_eq!(team.message(good), n);
        get(&address);
        team.forget_messages(bad);
    }
    team.kill(bad);
}

#[test]
fn questions_whose_answers_are_not_read_end_the_worker_and_not_us() {
    let (mut team, good, bad) = with_bad_worker(
        "const line = '{\"cmd\":\"NODE_SOCKET_GET_COUNT\",\"key\":\"' + 'x'.repeat(900) + '\"}\\n'; for (;;) raw(line.repeat(50));",
    );
    let told = team.violation(bad);
    assert!(told.contains("does not read"), "{told}");
    team.kill(bad);
    assert_unharmed(&mut team, good);
}

#[test]
fn too_many_addresses_end_the_worker() {
    let (mut team, good, bad) = with_bad_worker(
        "for (let n = 0; n < 1100; n++) process.send({cmd: 'NODE_CLUSTER', act: 'queryServer', seq: n, index: n,
           address: `\\u0000musher-test-${process.pid}-${n}`, port: -1, addressType: -1});",
    );
    let told = team.violation(bad);
    assert!(told.contains("1024"), "{told}");
    team.kill(bad);
    assert_unharmed(&mut team, good);
}

#[test]
fn a_worker_that_says_nothing_and_dies_is_forgotten() {
    let (mut team, good, bad) = with_bad_worker("process.exit(9)");
    assert_eq!(team.exited(bad), ExitStatus::Code(9));
    team.disconnected(bad);
    assert_unharmed(&mut team, good);
}
