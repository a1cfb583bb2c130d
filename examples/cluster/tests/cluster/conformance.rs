//! What Node's own test files for `cluster` found (docs/design/cluster-conformance.md), each as a test of its own.

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use musher_cluster::v8::Value as V8;
use musher_cluster::{Event, Plan, ReadyOn, Scheduling, Serialization, Settings, Worker, setup_primary};
use musher_process::{Pid, exit};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{AXUM, DEADLINE, MESSAGES, tool};

/// A Node program, given by its text. Without an argument Node would not take it for a worker.
fn node(program: &str) -> Settings {
    Settings::program(tool("node_modules/node22/bin/node")).args(["-e", program, "worker"])
}

async fn exited(worker: &Worker) -> String {
    timeout(DEADLINE, worker.exited()).await.unwrap_or_else(|_| panic!("{worker:?} does not end")).to_string()
}

#[tokio::test]
async fn setup_is_told_before_anything_is_forked_and_each_time() {
    let cluster = setup_primary(Settings::program("true")).unwrap();
    let (told, mut setups) = mpsc::channel(8);
    cluster.on(move |event| {
        if let Event::Setup(settings) = event {
            told.try_send(settings.args.len()).unwrap();
        }
    });
    assert_eq!(timeout(DEADLINE, setups.recv()).await.unwrap(), Some(0));
    cluster.setup(Settings::program("true").args(["a"])).unwrap();
    assert_eq!(timeout(DEADLINE, setups.recv()).await.unwrap(), Some(1));
}

#[tokio::test]
async fn an_object_that_contains_itself_goes_to_a_worker_and_back() {
    let settings = node("process.on('message', (m) => process.send([m.self === m, m]))");
    let cluster = setup_primary(settings.serialization(Serialization::Advanced)).unwrap();
    let (told, mut values) = mpsc::channel(8);
    cluster.on(move |event| {
        if let Event::Message { v8, .. } = event {
            told.try_send(v8.clone()).unwrap();
        }
    });
    let worker = cluster.fork().unwrap();
    let itself = V8::Object(vec![("self".into(), V8::Circular(1))]);
    worker.send_v8(itself.clone()).unwrap();
    let back = timeout(DEADLINE, values.recv()).await.unwrap().unwrap();
    assert_eq!(back, Some(V8::Array(vec![V8::Bool(true), itself])));
    worker.kill(9).unwrap();
    exited(&worker).await;
}

#[tokio::test]
async fn a_worker_may_listen_on_a_socket_of_the_primary_by_its_number() {
    let program = "
      const socket = require('dgram').createSocket('udp4');
      socket.on('error', (error) => process.send(error.code));
      socket.on('message', (m) => { process.send(String(m)); socket.close(); process.disconnect(); });
      socket.bind({ fd: +process.env.SOCKET }, () => process.send(socket.address().port));";
    let own = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    other.connect(peer.local_addr().unwrap()).unwrap();
    for (socket, may, answers) in [(&own, true, true), (&own, false, false), (&other, true, false)] {
        let settings = node(program).own_descriptors(may).scheduling(Scheduling::RoundRobin);
        let cluster = setup_primary(settings).unwrap();
        let worker = cluster.fork_with([("SOCKET", socket.as_raw_fd().to_string())]).unwrap();
        let mut messages = worker.messages();
        let mut next = async || timeout(DEADLINE, messages.next()).await.unwrap().unwrap().value;
        let port = own.local_addr().unwrap().port();
        if answers {
            assert_eq!(next().await, port);
            peer.send_to(b"hello", ("127.0.0.1", port)).unwrap();
            assert_eq!(next().await, "hello");
        } else {
            let refused = next().await;
            assert!(refused == "EBADF" || refused == "EINVAL", "{refused}");
            worker.kill(9).unwrap();
        }
        exited(&worker).await;
    }
}

#[tokio::test]
async fn a_worker_that_is_asked_to_leave_while_it_begins_to_listen_ends_well() {
    for policy in [Scheduling::Shared, Scheduling::Kernel, Scheduling::RoundRobin] {
        let program = "require('net').createServer().listen(0, '127.0.0.1');";
        let cluster = setup_primary(node(program).scheduling(policy)).unwrap();
        cluster.on(|event| {
            if let Event::Online(worker) = event {
                worker.disconnect();
            }
        });
        for _ in 0..3 {
            let worker = cluster.fork().unwrap();
            assert_eq!(exited(&worker).await, "exit code 0", "{policy:?}");
            assert_eq!(worker.exited_after_disconnect(), Some(true));
        }
    }
}

#[tokio::test]
async fn a_rust_worker_that_is_asked_to_leave_before_it_listens_does_not_wait_for_ever() {
    let cluster = setup_primary(Settings::program(AXUM).args(["127.0.0.1:0"]).silent(true)).unwrap();
    let worker = cluster.fork().unwrap();
    worker.disconnect();
    exited(&worker).await;
    assert_eq!(worker.exited_after_disconnect(), Some(true));
}

#[tokio::test]
async fn commands_of_node_are_for_the_runtime_in_both_directions() {
    let echo = "process.on('internalMessage', (m) => { if (m.cmd === 'NODE_OURS') process.send({ internal: m }); });
                process.on('message', () => {});
                process.send({ cmd: 'NODE_THEIRS', x: 2 }); process.send('ready');";
    let says = |settings: Settings| settings.silent(true);
    for (settings, theirs) in [(says(node(echo)), true), (says(Settings::program(MESSAGES)), false)] {
        let cluster = setup_primary(settings).unwrap();
        let (told, mut heard) = mpsc::channel::<(bool, Value)>(16);
        cluster.on(move |event| match event {
            Event::Internal { value, .. } => told.try_send((true, value.clone())).unwrap(),
            Event::Message { value, .. } => told.try_send((false, value.clone())).unwrap(),
            _ => {}
        });
        let mut next = async || timeout(DEADLINE, heard.recv()).await.unwrap().unwrap();
        let worker = cluster.fork().unwrap();
        if theirs {
            assert_eq!(next().await, (true, json!({"cmd": "NODE_THEIRS", "x": 2})));
        }
        assert_eq!(next().await, (false, json!("ready")));
        worker.send(json!({"cmd": "NODE_OURS", "x": 1})).unwrap();
        assert_eq!(next().await, (false, json!({"internal": {"cmd": "NODE_OURS", "x": 1}})));
        worker.kill(9).unwrap();
        exited(&worker).await;
    }
}

#[tokio::test]
async fn what_is_sent_to_a_worker_before_it_begins_arrives_however_much_it_is() {
    let program = "let n = 0, bytes = 0;
      process.on('message', (m) => {
        n += 1; bytes += m.length;
        if (m.length > 1e6) process.send('y'.repeat(bytes));
      });";
    let cluster = setup_primary(node(program)).unwrap();
    let worker = cluster.fork().unwrap();
    for _ in 0..10_000 {
        worker.send("x").unwrap();
    }
    worker.send("x".repeat(5_000_000)).unwrap();
    let back = timeout(DEADLINE, worker.messages().next()).await.unwrap().unwrap();
    assert_eq!(back.value.as_str().map(str::len), Some(5_010_000));
    worker.kill(9).unwrap();
    exited(&worker).await;
}

#[tokio::test]
async fn what_a_dead_worker_of_a_team_has_started_does_not_outlive_it() {
    // In a session of its own, and an orphan already: only the mark is left to find it by.
    let line = "(setsid sleep 1000 & echo \"$!\" >&3); echo '\"ready\"' >&3; read line <&3";
    let cluster = setup_primary(Settings::program("sh").args(["-c", line])).unwrap();
    let team = cluster.keep(Plan::new(1).ready(ReadyOn::Message)).await.unwrap();
    let worker = cluster.workers().into_values().next().unwrap();
    let started = timeout(DEADLINE, worker.messages().next()).await.unwrap().unwrap().value;
    let pid = Pid::from_raw(i32::try_from(started.as_i64().unwrap()).unwrap()).unwrap();
    let pidfd = exit::pidfd_open(pid).unwrap();
    let (told, mut heard) = mpsc::channel(8);
    cluster.on(move |event| {
        if let Event::Message { value, .. } = event {
            told.try_send(value.as_i64()).unwrap();
        }
    });
    worker.kill(9).unwrap();
    exited(&worker).await;
    assert!(exit::wait_for_end(pidfd.as_fd(), Duration::ZERO).unwrap(), "its end is told when nothing is left");
    let successors = timeout(DEADLINE, heard.recv()).await.expect("its successor").unwrap().unwrap();
    let successors = Pid::from_raw(i32::try_from(successors).unwrap()).unwrap();
    let living = exit::pidfd_open(successors).unwrap();
    assert!(!exit::has_ended(living.as_fd()).unwrap(), "what its successor has started lives");
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
    assert!(exit::wait_for_end(living.as_fd(), DEADLINE).unwrap(), "and ends with that");
}
