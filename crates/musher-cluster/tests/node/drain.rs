//! A drained worker finishes what it has and cuts off nobody.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{DEADLINE, HTTP, LIMIT, Team, ask, connect, finish, get};

/// Requests over one connection, as a client with keep-alive makes them.
struct KeepAlive {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

impl KeepAlive {
    /// One request; whether it was answered in full. A connection that said `Connection: close` is not used again.
    fn request(&mut self) -> std::io::Result<()> {
        let address = &self.address;
        let connection = self.connection.get_or_insert_with(|| BufReader::new(connect(address)));
        connection.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let (mut length, mut close, mut line) = (0, false, String::new());
        loop {
            line.clear();
            if connection.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let lower = line.trim().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            close |= lower == "connection: close";
            if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        connection.read_exact(&mut vec![0; length])?;
        if close {
            self.connection = None;
        }
        Ok(())
    }
}

#[test]
fn keep_alive_clients_lose_nothing_when_workers_are_replaced() {
    for policy in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let script = team.script("server.js", HTTP);
        let mut runs: Vec<_> = (0..2).map(|slot| team.start(slot, &script)).collect();
        let address = runs.iter().map(|run| team.listening(*run)).last().unwrap();
        let (ended, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = KeepAlive { address: address.clone(), connection: None };
                        let mut lost = 0;
                        while !ended.load(Ordering::Relaxed) {
                            if client.request().is_err() {
                                client.connection = None;
                                lost += 1;
                            }
                            requests.fetch_add(1, Ordering::Relaxed);
                        }
                        lost
                    })
                })
                .collect();
            for _ in 0..2 {
                for (slot, run) in (0..).zip(&mut runs) {
                    let before = requests.load(Ordering::Relaxed);
                    let new = team.start(slot, &script);
                    team.listening(new);
                    team.cluster.drain(*run, Duration::from_millis(500), LIMIT);
                    team.drained(*run);
                    assert_eq!(team.exited(*run), ExitStatus::Code(0));
                    *run = new;
                    assert!(requests.load(Ordering::Relaxed) > before);
                }
            }
            ended.store(true, Ordering::Relaxed);
            let lost: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
            assert_eq!(lost, 0, "{policy:?}, of {requests:?}");
        });
    }
}

#[test]
fn responses_in_flight_are_finished_and_say_that_they_are_the_last() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "slow.js",
        "require('http').createServer((q, r) => {
           process.send('asked');
           process.once('message', () => r.end('done'));
         }).listen(0, '127.0.0.1');",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut client = connect(&address);
    write!(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(team.message(run), "asked");
    team.cluster.drain(run, Duration::from_secs(3600), LIMIT);
    team.cluster.send(run, "go".into());
    // The server closes though the client did not ask for it and the grace is long.
    assert_eq!(finish(client), "done");
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}

#[test]
fn idle_connections_live_as_long_as_the_server_announced_or_the_drain_lasts() {
    idle_connection_lives(Duration::from_millis(300), LIMIT, Duration::from_millis(300));
    idle_connection_lives(Duration::from_secs(3600), Duration::from_millis(1500), Duration::from_millis(700));
}

/// An idle connection of a server with this keepAliveTimeout, which drains for at most `limit`, lives for `least`.
fn idle_connection_lives(timeout: Duration, limit: Duration, least: Duration) {
    let mut team = Team::new(Balance::Kernel);
    let timeout = format!("createServer({{keepAliveTimeout: {}}}, (", timeout.as_millis());
    let text = HTTP.replace("createServer((", &timeout);
    let script = team.script("server.js", &text);
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut client = KeepAlive { address, connection: None };
    client.request().unwrap();
    let begin = Instant::now();
    team.cluster.drain(run, Duration::from_millis(100), limit);
    assert_eq!(client.connection.unwrap().read(&mut [0]).unwrap(), 0);
    assert!(begin.elapsed() >= least);
    team.drained(run);
    assert!(!team.has_seen(|event| matches!(event, musher_cluster::ClusterEvent::Cut { .. })));
}

#[test]
fn a_worker_that_serves_nothing_leaves_at_once() {
    for cluster in [true, false] {
        let mut team = Team::new(Balance::Kernel);
        let script = team.script("idle.js", "setInterval(() => {}, 1000); process.send('up');");
        let run = team.start_as(0, &script, cluster, &[]);
        assert_eq!(team.message(run), "up");
        team.cluster.drain(run, Duration::from_secs(3600), LIMIT);
        team.drained(run);
        // Its timer keeps it: the rest is the stop signal's.
        team.kill(run);
    }
}

#[test]
fn upgraded_connections_stay() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "upgrade.js",
        "const server = require('http').createServer().listen(0, '127.0.0.1');
         server.on('upgrade', (request, socket) => {
           socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\nConnection: Upgrade\\r\\n\\r\\n');
           socket.pipe(socket);
         });",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut client = connect(&address);
    write!(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    team.cluster.drain(run, Duration::ZERO, LIMIT);
    // The listener is closed, the connection is not.
    team.wait_for_stats(|stats| stats.steered > 0);
    for text in ["one\n", "two\n"] {
        client.write_all(text.as_bytes()).unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, text);
    }
    drop((client, reader));
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}

#[test]
fn an_http2_session_is_told_to_go_away() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "h2.js",
        "const http2 = require('http2');
         const server = http2.createServer((q, r) => r.end('two')).listen(0, '127.0.0.1', () => {
           const client = http2.connect('http://127.0.0.1:' + server.address().port);
           client.on('goaway', (code) => process.send({goaway: code}));
           client.request({':path': '/'}).on('response', () => process.send('answered')).resume().end();
         });",
    );
    let run = team.start(0, &script);
    assert_eq!(team.message(run), "answered");
    team.cluster.drain(run, Duration::from_millis(100), LIMIT);
    assert_eq!(team.message(run)["goaway"], 0);
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}

#[test]
fn a_worker_keeps_its_own_options_and_its_children_are_left_alone() {
    let mut team = Team::new(Balance::Kernel);
    let own = team.script("own.cjs", "globalThis.own = true;");
    let script = team.script(
        "parent.js",
        "const { fork } = require('child_process');
         const child = fork(__dirname + '/child.js');
         child.on('internalMessage', (m) => { if (m.cmd === 'NODE_MUSHER') process.send('the child spoke'); });
         const patched = '/remember/.test(require(\"net\").Server.prototype.listen)';
         const thread = new (require('worker_threads').Worker)(
           `require('worker_threads').parentPort.postMessage(${patched})`, { eval: true });
         const heard = new Promise((done) => thread.on('message', done));
         child.on('message', async (m) => process.send({child: m, own: globalThis.own, thread: await heard, here: eval(patched)}));
         process.on('message', () => {});",
    );
    team.script(
        "child.js",
        "process.send([process.listenerCount('internalMessage'), /remember/.test(require('net').Server.prototype.listen)]);",
    );
    let preload = team.directory.path().join("preload.cjs");
    let options = format!("--require={} --require={}", own.display(), preload.display());
    let run = team.start_as(0, &script, false, &[("NODE_OPTIONS", &options)]);
    assert_eq!(team.message(run), serde_json::json!({"child": [1, false], "own": true, "thread": false, "here": true}));
}

#[test]
fn a_slot_that_drains_alone_keeps_its_clients_for_the_next_worker() {
    for policy in [Balance::Kernel, Balance::Shared, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let script = team.script("server.js", HTTP);
        let old = team.start(0, &script);
        let address = team.listening(old);
        team.cluster.drain(old, Duration::ZERO, LIMIT);
        team.drained(old);
        team.exited(old);
        let waiting = ask(&address, "/");
        waiting.set_read_timeout(Some(DEADLINE)).unwrap();
        let new = team.start(0, &script);
        team.listening(new);
        finish(waiting);
        get(&address);
    }
}
