//! One program, unchanged, run in every way a worker can be run.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use musher_process::Spawn;
use rustix::process::Signal;

use crate::support::{
    ACCEPT, AXUM, DEADLINE, HYPER, MESSAGES, Running, UDP, answering, answers_of, command, free_port, get, tool, wait,
};

/// Node's own cluster as the primary of a Rust program: what it forks is `process.execPath`, and `exec` its first argument.
const PRIMARY: &str = "
  const cluster = require('node:cluster');
  const [, , program, wanted, policy] = process.argv;
  process.execPath = program;
  cluster.schedulingPolicy = policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  const serialization = process.argv[5] ?? 'json';
  cluster.setupPrimary({ exec: wanted, serialization });
  cluster.on('online', (worker) => console.log('online', worker.id));
  cluster.on('listening', (worker, at) => console.log('listening', worker.id, at.addressType, at.address, at.port));
  cluster.on('disconnect', (worker) => console.log('disconnect', worker.id));
  cluster.on('exit', (worker, code, signal) => console.log('exit', worker.id, code, signal, worker.exitedAfterDisconnect));
  cluster.fork();
  cluster.fork();
  process.stdin.on('data', () => Object.values(cluster.workers)[0]?.disconnect());
  process.stdin.on('end', () => process.exit(0));
";

fn under_node(program: &str, wanted: &str, policy: &str) -> (Running, tempfile::TempDir) {
    under_node_with(program, wanted, policy, "json")
}

fn under_node_with(program: &str, wanted: &str, policy: &str, serialization: &str) -> (Running, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("primary.cjs");
    std::fs::write(&script, PRIMARY).unwrap();
    let node = tool("node_modules/node22/bin/node");
    (Running::start(command(node).arg(script).args([program, wanted, policy, serialization])), directory)
}

#[test]
fn alone_it_binds_and_ends_on_the_stop_signal() {
    for program in [AXUM, HYPER] {
        let address = format!("127.0.0.1:{}", free_port());
        let mut server = Running::start(command(program).arg(&address));
        let body = wait("an answer", || get(&address));
        assert!(body.contains(&format!("pid={}", server.pid())), "{body}");
        server.signal(Signal::TERM);
        assert_eq!(server.end(), Some(0), "{program}");
    }
}

#[test]
fn a_kept_connection_may_be_used_once_more_when_it_drains() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = Running::start(command(AXUM).arg(&address));
    wait("an answer", || get(&address));
    let kept = TcpStream::connect(&address).unwrap();
    kept.set_read_timeout(Some(DEADLINE)).unwrap();
    let ask = || (&kept).write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answers = BufReader::new(&kept);
    let mut answer = || {
        let lines = answers.by_ref().lines().map(Result::unwrap);
        lines.take_while(|line| !line.starts_with("id=")).collect::<Vec<_>>().join("\n")
    };
    ask();
    assert!(!answer().contains("connection: close"));
    server.signal(Signal::TERM);
    wait("the end of its listener", || TcpStream::connect(&address).is_err().then_some(()));
    ask();
    assert!(answer().contains("connection: close"), "it was on its way");
    assert_eq!(answers.read(&mut [0]).unwrap(), 0, "and is closed then");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn with_a_socket_of_systemd_it_takes_that_one_and_notifies() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let notified = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    notified.set_read_timeout(Some(DEADLINE)).unwrap();
    let child = Spawn {
        // Another address than the socket's: what was given wins.
        args: vec!["axum".into(), "127.0.0.1:1".into()],
        env: vec![("LISTEN_FDS".into(), "1".into()), ("NOTIFY_SOCKET".into(), notify.into())],
        fds: vec![(OwnedFd::from(listener), 3)],
        listen_pid: true,
        ..Spawn::new(AXUM)
    }
    .spawn()
    .unwrap();
    let mut told = [0; 64];
    let length = notified.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"READY=1");
    assert_eq!(answering(&address), u32::try_from(child.pid.as_raw()).unwrap());
    musher_process::signal(std::os::fd::AsFd::as_fd(&child.pidfd), 15).unwrap();
    let length = notified.recv(&mut told).unwrap();
    assert_eq!(&told[..length], b"STOPPING=1");
    let status = wait("its end", || musher_process::reap(std::os::fd::AsFd::as_fd(&child.pidfd)).unwrap());
    assert!(status.is_success(), "{status}");
}

#[test]
fn under_nodes_own_primary_it_takes_turns_or_shares_and_leaves_when_asked() {
    for policy in ["rr", "none"] {
        for program in [AXUM, ACCEPT] {
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let (mut node, _directory) = under_node(program, &address, policy);
            for _ in 0..2 {
                let listening = node.line("listening ");
                assert!(listening.ends_with(&format!(" 4 127.0.0.1 {port}")), "{listening}");
            }
            if program == AXUM && policy == "rr" {
                answers_of(&address, 2);
            } else if program == AXUM {
                answering(&address);
            }
            node.say("disconnect");
            assert_eq!(node.line("disconnect "), "1");
            assert_eq!(node.line("exit "), "1 0 null true", "{policy} {program}");
            if program == AXUM {
                answers_of(&address, 1);
            }
        }
    }
}

#[test]
fn nodes_advanced_serialization_is_understood() {
    for policy in ["rr", "none"] {
        let address = format!("127.0.0.1:{}", free_port());
        let (mut node, _directory) = under_node_with(AXUM, &address, policy, "advanced");
        node.line("listening ");
        node.line("listening ");
        answering(&address);
        node.say("disconnect");
        assert_eq!(node.line("exit "), "1 0 null true", "{policy}");
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_under_every_primary() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for policy in ["rr", "none"] {
        let (mut node, _directory) = under_node(ACCEPT, &address, policy);
        let exit = node.line("exit ");
        assert!(exit.ends_with(" 1 null false"), "{exit}");
    }
}

#[test]
fn unix_sockets_are_shared_under_nodes_primary() {
    for policy in ["rr", "none"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("echo.sock");
        let (mut node, _script) = under_node(ACCEPT, path.to_str().unwrap(), policy);
        node.line("listening ");
        node.line("listening ");
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        writeln!(&stream, "hello").unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert!(line.ends_with(" hello\n"), "{line}");
    }
}

#[test]
fn udp_is_shared_under_nodes_primary() {
    let address = format!("127.0.0.1:{}", free_port());
    let (mut node, _directory) = under_node(UDP, &address, "rr");
    node.line("listening ");
    node.line("listening ");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send_to(b"hello", &address).unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).unwrap();
    assert!(answer[..length].ends_with(b" hello"));
}

#[test]
fn a_worker_whose_primary_dies_finishes_and_ends() {
    let address = format!("127.0.0.1:{}", free_port());
    let (mut node, _directory) = under_node(AXUM, &address, "none");
    node.line("listening ");
    node.line("listening ");
    let workers: BTreeSet<u32> = [answering(&address)].into();
    node.signal(Signal::KILL);
    node.end();
    wait("the end of its workers", || workers.iter().all(|pid| !musher_bench::proc_fs::is_alive(*pid)).then_some(()));
}

/// Node's primary says something, sends a socket, and has its worker leave of its own will; in both serializations.
const TALKS: &str = "
  const cluster = require('node:cluster');
  const server = require('node:net').createServer().listen(0, '127.0.0.1', () => {
    process.execPath = process.argv[2];
    cluster.setupPrimary({ exec: 'x', serialization: process.argv[3] });
    const worker = cluster.fork();
    worker.on('message', (message, handle) => {
      console.log('said', JSON.stringify(message), handle?.constructor.name);
      if (message === 'ready') worker.send({ a: [1, null, 'ä'] });
      if (message.echo) worker.send('a server', server);
      if (message.back) { handle.close(); server.close(); worker.send('leave'); }
    });
    cluster.on('disconnect', () => console.log('disconnect', worker.exitedAfterDisconnect, worker.state));
    cluster.on('exit', (worker, code, signal) => console.log('exit', code, signal, worker.isDead()));
  });
";

#[test]
fn messages_and_sockets_go_both_ways_under_nodes_primary_and_a_worker_leaves_by_itself() {
    for serialization in ["json", "advanced"] {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("primary.cjs");
        std::fs::write(&script, TALKS).unwrap();
        let node = tool("node_modules/node22/bin/node");
        let mut node = Running::start(command(node).arg(script).args([MESSAGES, serialization]));
        assert_eq!(node.line("said "), "\"ready\" undefined");
        assert_eq!(node.line("said "), "{\"echo\":{\"a\":[1,null,\"ä\"]}} undefined", "{serialization}");
        assert_eq!(node.line("said "), "{\"back\":\"net.Server\"} Server", "{serialization}");
        assert_eq!(node.line("disconnect "), "true disconnected");
        assert_eq!(node.line("exit "), "0 null true");
        assert_eq!(node.end(), Some(0));
    }
}
