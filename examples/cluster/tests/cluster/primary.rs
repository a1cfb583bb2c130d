//! The primary's interface: Node's events in Node's order, messages and sockets both ways.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use musher_cluster::{Address, Event, Events, Scheduling, Settings, WorkerState, setup_primary};
use tokio::time::timeout;

use crate::support::{
    ACCEPT, AXUM, DEADLINE, HELLO, HYPER, MESSAGES, Running, TONIC, UDP, answers_of, command, free_port, tool,
};

const POLICIES: [Scheduling; 3] = [Scheduling::Kernel, Scheduling::RoundRobin, Scheduling::Shared];

/// Waits for an event.
async fn event<T>(events: &mut Events, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let found = timeout(DEADLINE, async {
        loop {
            let event = events.next().await.expect("the primary lives");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what} does not come"))
}

fn name(event: &Event) -> Option<String> {
    let (name, worker) = match event {
        Event::Fork(worker) => ("fork", worker),
        Event::Online(worker) => ("online", worker),
        Event::Listening { worker, .. } => ("listening", worker),
        Event::Message { worker, .. } => ("message", worker),
        Event::Disconnect(worker) => ("disconnect", worker),
        Event::Exit { worker, .. } => ("exit", worker),
        _ => return None,
    };
    Some(format!("{name} {}", worker.id()))
}

#[tokio::test]
async fn events_come_in_nodes_order_and_the_table_follows_them() {
    for policy in POLICIES {
        let address = format!("127.0.0.1:{}", free_port());
        let cluster = setup_primary(Settings::program(AXUM).args([&address]).scheduling(policy)).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&told);
        cluster.on(move |event| into.lock().unwrap().extend(name(event)));
        let mut events = cluster.events();
        let worker = cluster.fork().unwrap();
        assert_eq!((worker.id(), worker.state(), worker.exited_after_disconnect()), (1, WorkerState::Forked, None));
        assert!(cluster.workers().contains_key(&1) && worker.is_connected() && !worker.is_dead());
        let at = event(&mut events, "listening", |event| match event {
            Event::Listening { address, .. } => Some(address.clone()),
            _ => None,
        });
        assert_eq!(at.await, Address::Tcp(address.parse().unwrap()));
        worker.disconnect();
        assert!(cluster.workers().is_empty(), "it is not in the table any more");
        assert!(timeout(DEADLINE, worker.exited()).await.unwrap().is_success());
        event(&mut events, "exit", |event| matches!(event, Event::Exit { .. }).then_some(())).await;
        assert_eq!(*told.lock().unwrap(), ["fork 1", "online 1", "listening 1", "disconnect 1", "exit 1"]);
        assert_eq!((worker.state(), worker.exited_after_disconnect()), (WorkerState::Dead, Some(true)));
        assert!(worker.is_dead() && !worker.is_connected());
        assert!(worker.send("late").is_err() && worker.kill(15).is_err(), "nobody else gets the signal");
    }
}

#[tokio::test]
async fn a_killed_worker_did_not_exit_after_disconnect() {
    let address = format!("127.0.0.1:{}", free_port());
    let cluster = setup_primary(Settings::program(AXUM).args([&address])).unwrap();
    let worker = cluster.fork().unwrap();
    assert!(timeout(DEADLINE, worker.listening()).await.unwrap());
    worker.kill(9).unwrap();
    let status = timeout(DEADLINE, worker.exited()).await.unwrap();
    assert_eq!(status, musher_cluster::ExitStatus::Signal { signal: 9, core_dumped: false });
    assert_eq!(worker.exited_after_disconnect(), Some(false));
    assert!(cluster.workers().is_empty());
}

#[tokio::test]
async fn every_server_shares_a_port_under_every_policy() {
    for program in [AXUM, HYPER] {
        for policy in POLICIES {
            let address = format!("127.0.0.1:{}", free_port());
            let cluster = setup_primary(Settings::program(program).args([&address]).scheduling(policy)).unwrap();
            let workers = [cluster.fork().unwrap(), cluster.fork().unwrap()];
            for worker in &workers {
                assert!(timeout(DEADLINE, worker.listening()).await.unwrap(), "{program} {policy:?}");
            }
            // Which of two that share one socket is faster is the kernel's affair.
            let wanted = if policy == Scheduling::Shared { 1 } else { 2 };
            tokio::task::spawn_blocking(move || answers_of(&address, wanted)).await.unwrap();
            timeout(DEADLINE, cluster.disconnect()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn tonic_serves_grpc_from_a_listener_of_the_cluster() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let port = free_port();
    let cluster = setup_primary(Settings::program(TONIC).args([format!("127.0.0.1:{port}")])).unwrap();
    let worker = cluster.fork().unwrap();
    assert!(timeout(DEADLINE, worker.listening()).await.unwrap());
    let channel = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let service = format!("worker-{}", worker.process().pid());
    let answer = timeout(DEADLINE, client.check(HealthCheckRequest { service })).await.unwrap().unwrap();
    assert_eq!(answer.into_inner().status, 1);
    drop(client);
    worker.disconnect();
    assert!(timeout(DEADLINE, worker.exited()).await.unwrap().is_success());
}

#[tokio::test]
async fn udp_unix_and_inherited_sockets_are_shared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.sock");
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = inherited.local_addr().unwrap();
    let udp = format!("127.0.0.1:{}", free_port());
    for (program, wanted, expected) in [
        (UDP, udp.clone(), Address::Udp(udp.parse().unwrap())),
        (ACCEPT, path.display().to_string(), Address::Unix(path.clone())),
        (ACCEPT, "fd:3".to_owned(), Address::Tcp(there)),
        // The same by its address.
        (ACCEPT, there.to_string(), Address::Tcp(there)),
    ] {
        let sockets = vec![OwnedFd::from(inherited.try_clone().unwrap())];
        let settings = Settings::program(program).args([&wanted]).sockets(sockets);
        let cluster = setup_primary(settings).unwrap();
        let workers = [cluster.fork().unwrap(), cluster.fork().unwrap()];
        for worker in &workers {
            assert!(timeout(DEADLINE, worker.listening()).await.unwrap(), "{wanted}");
            assert_eq!(worker.addresses(), std::slice::from_ref(&expected), "{wanted}");
        }
        if program == UDP {
            let udp = udp.clone();
            let answer = tokio::task::spawn_blocking(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                socket.send_to(b"x", udp).unwrap();
                socket.recv(&mut [0; 64]).unwrap()
            });
            assert!(answer.await.unwrap() > 2);
        }
        timeout(DEADLINE, cluster.disconnect()).await.unwrap();
    }
}

#[tokio::test]
async fn node_workers_and_a_rust_primary_send_messages_and_sockets_to_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("worker.cjs");
    let text = "
      process.on('message', (message, handle) => {
        if (!handle) return process.send({ echo: message });
        // A listening socket comes as a server.
        process.send({ port: handle.address().port }, handle);
      });
      process.send('hello');";
    std::fs::write(&script, text).unwrap();
    let settings = Settings::node(&script).exec_path(tool("node_modules/node22/bin/node"));
    let cluster = setup_primary(settings).unwrap();
    let worker = cluster.fork().unwrap();
    let mut messages = worker.messages();
    let mut next = async || timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
    assert_eq!(next().await.value, "hello");
    assert_eq!(cluster.broadcast(serde_json::json!({"to": "all"})), 1);
    assert_eq!(next().await.value, serde_json::json!({"echo": {"to": "all"}}));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    worker.send_handle("a server", listener.into()).unwrap();
    let back = next().await;
    assert_eq!(back.value, serde_json::json!({"port": port}));
    let back = TcpListener::from(back.handle.expect("it came with its socket").into_fd().unwrap());
    assert_eq!(back.local_addr().unwrap().port(), port);
    worker.disconnect();
    timeout(DEADLINE, worker.disconnected()).await.unwrap();
    worker.kill(15).unwrap_or_default();
    timeout(DEADLINE, worker.exited()).await.unwrap();
}

#[tokio::test]
async fn a_rust_worker_sends_messages_and_sockets_back_and_leaves_of_its_own_will() {
    let cluster = setup_primary(Settings::program(MESSAGES).args(["x"])).unwrap();
    let worker = cluster.fork().unwrap();
    let mut messages = worker.messages();
    let mut next = async || timeout(DEADLINE, messages.next()).await.unwrap().unwrap();
    assert_eq!(next().await.value, "ready");
    for message in [serde_json::json!({"a": [1, null, "ä"]}), serde_json::json!("x".repeat(100_000))] {
        worker.send(message.clone()).unwrap();
        assert_eq!(next().await.value, serde_json::json!({"echo": message}));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    worker.send_handle("a listener", listener.into()).unwrap();
    let back = next().await;
    assert_eq!(back.value, serde_json::json!({"back": "net.Server"}));
    assert_eq!(back.handle.unwrap().into_tcp_listener().unwrap().local_addr().unwrap(), at);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = udp.local_addr().unwrap();
    worker.send_handle("a UDP socket", udp.into()).unwrap();
    let back = next().await;
    assert_eq!(back.value, serde_json::json!({"back": "dgram.Socket"}));
    assert_eq!(back.handle.unwrap().into_udp_socket().unwrap().local_addr().unwrap(), at);
    worker.send("leave").unwrap();
    assert!(timeout(DEADLINE, worker.exited()).await.unwrap().is_success());
    assert_eq!(worker.exited_after_disconnect(), Some(true), "it said so itself");
}

#[tokio::test]
async fn what_silent_workers_write_can_be_read() {
    let settings = Settings::program("sh").args(["-c", "echo out; echo err >&2; exec sleep 60"]).silent(true);
    let cluster = setup_primary(settings).unwrap();
    let worker = cluster.fork().unwrap();
    let stdout = worker.process().take_stdout().unwrap();
    let mut text = [0; 16];
    let length = timeout(DEADLINE, async {
        loop {
            stdout.readable().await.unwrap();
            if let Ok(length) = stdout.try_read(&mut text) {
                return length;
            }
        }
    });
    assert_eq!(length.await.unwrap(), 4);
    assert_eq!(&text[..4], b"out\n");
    worker.kill(9).unwrap();
    timeout(DEADLINE, worker.exited()).await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let missing = setup_primary(Settings::program("/nowhere/at/all").args(["x"]));
    assert!(missing.is_err() || missing.unwrap().fork().is_err());
    assert_eq!(setup_primary(Settings::program("musher-no-such")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_program_is_its_own_primary_and_forks_a_dead_worker_again() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut hello = Running::start(command(HELLO).arg(&address));
    hello.line("worker ");
    hello.line("worker ");
    let mut greetings = std::collections::BTreeSet::new();
    crate::support::wait("both to greet", || {
        greetings.extend(crate::support::get(&address));
        (greetings.len() == 2).then_some(())
    });
    hello.signal(rustix::process::Signal::TERM);
    assert_eq!(hello.end(), Some(0));
}

#[tokio::test]
async fn a_primary_that_is_dropped_takes_its_workers_along() {
    let address = format!("127.0.0.1:{}", free_port());
    let cluster = setup_primary(Settings::program(AXUM).args([&address])).unwrap();
    let worker = cluster.fork().unwrap();
    assert!(timeout(DEADLINE, worker.listening()).await.unwrap());
    let pid = u32::try_from(worker.process().pid().as_raw()).unwrap();
    drop((worker, cluster));
    let gone = move || (!musher_bench::proc_fs::is_alive(pid)).then_some(());
    let ended = tokio::task::spawn_blocking(move || musher_bench::wait::until(DEADLINE, gone));
    timeout(DEADLINE + Duration::from_secs(1), ended).await.unwrap().unwrap().expect("it ends");
}
