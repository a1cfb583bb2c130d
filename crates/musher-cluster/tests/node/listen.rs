//! What unmodified Node programs listen on.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use musher_cluster::ClusterEvent;
use musher_core::spec::Balance;

use crate::team::{APP, DEADLINE, HTTP, Team, connect, get, wait_a_little};

const POLICIES: [Balance; 3] = [Balance::Kernel, Balance::Shared, Balance::RoundRobin];

/// A TCP server that answers with its pid and closes.
fn tcp(listen: &str) -> String {
    format!("require('net').createServer((socket) => socket.end(String(process.pid))).listen({listen});")
}

fn answer(address: &str) -> String {
    let mut text = String::new();
    connect(address).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn two_workers_share_a_port() {
    for policy in POLICIES {
        let mut team = Team::new(policy);
        let script = team.script("server.js", HTTP);
        let (one, two) = (team.start(0, &script), team.start(1, &script));
        let address = team.listening(one);
        assert_eq!(team.listening(two), address, "{policy:?}");
        let answered: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
        // With one socket the kernel may give all to one.
        assert!(answered.len() == 2 || policy == Balance::Shared, "{policy:?} {answered:?}");
    }
}

#[test]
fn connections_go_to_the_workers_in_turns() {
    for policy in [Balance::RoundRobin, Balance::Kernel] {
        let mut team = Team::new(policy);
        // The connections stay, as a client with keep-alive has them.
        let script = team.script(
            "server.js",
            "require('net').createServer((socket) => socket.write(process.pid + ' ')).listen(0, '127.0.0.1');",
        );
        let runs: Vec<_> = (0..3).map(|slot| team.start(slot, &script)).collect();
        let address = runs.iter().map(|run| team.listening(*run)).last().unwrap();
        if policy == Balance::Kernel && team.stats().in_turns == 0 {
            // The kernel deals by chance for those who may not count in it.
            continue;
        }
        let until = Instant::now() + DEADLINE;
        // A worker that gets no processor time for a while is passed over; by chance it would not look like this.
        loop {
            let mut clients = Vec::new();
            let turns: Vec<String> = (0..12)
                .map(|_| {
                    let mut client = BufReader::new(connect(&address));
                    let mut pid = Vec::new();
                    client.read_until(b' ', &mut pid).unwrap();
                    clients.push(client);
                    String::from_utf8(pid).unwrap()
                })
                .collect();
            let workers: BTreeSet<_> = turns[..3].iter().collect();
            if workers.len() == 3 && turns.chunks(3).all(|round| round == &turns[..3]) {
                break;
            }
            assert!(Instant::now() < until, "{policy:?} {turns:?}");
        }
    }
}

#[test]
fn every_kind_of_tcp_address() {
    for policy in POLICIES {
        for (listen, pattern) in [
            ("0", "[::]:"),
            ("{port: 0}", "[::]:"),
            ("0, '0.0.0.0'", "0.0.0.0:"),
            ("0, 'localhost'", ""),
            ("{host: '::1', port: 0, ipv6Only: true}", "[::1]:"),
            ("{host: '::', port: 0, backlog: 7}", "[::]:"),
        ] {
            let mut team = Team::new(policy);
            let script = team.script("server.js", &tcp(listen));
            let run = team.start(0, &script);
            let address = team.listening(run);
            assert!(address.starts_with(pattern), "{policy:?} {listen}: {address}");
            assert!(!answer(&address).is_empty());
            if address.starts_with("[::]") {
                let v4 = address.replace("[::]", "127.0.0.1");
                assert!(!answer(&v4).is_empty(), "{listen} takes IPv4 too");
            }
        }
    }
}

#[test]
fn two_servers_on_any_port_are_two_ports_that_the_workers_share() {
    let mut team = Team::new(Balance::Kernel);
    let two = format!("{}{}", tcp("0, '127.0.0.1'"), tcp("0, '127.0.0.1'"));
    let script = team.script("server.js", &two);
    let (one, other) = (team.start(0, &script), team.start(1, &script));
    let mut addresses = [one, other].map(|run| {
        let mut two = [team.listening(run), team.listening(run)];
        two.sort();
        two
    });
    assert_eq!(addresses[0], addresses[1]);
    addresses[0].sort();
    assert_ne!(addresses[0][0], addresses[0][1]);
}

#[test]
fn the_programs_own_view_is_nodes() {
    for policy in POLICIES {
        let mut team = Team::new(policy);
        let script = team.script(
            "server.js",
            "const cluster = require('cluster');
             const server = require('net').createServer().listen(0, '127.0.0.1', () => process.send({
               worker: cluster.isWorker, primary: cluster.isPrimary, id: cluster.worker.id, address: server.address(),
               leaked: Object.keys(process.env).filter((name) => name.startsWith('NODE_') && name !== 'NODE_OPTIONS'),
             }));",
        );
        let run = team.start(4, &script);
        let address = team.listening(run);
        let view = team.message(run);
        assert_eq!(view["worker"], true);
        assert_eq!(view["primary"], false);
        assert_eq!(view["id"], 5);
        assert_eq!(view["leaked"], serde_json::json!([]));
        let shown = format!("{}:{}", view["address"]["address"].as_str().unwrap(), view["address"]["port"]);
        assert_eq!(shown, address, "{policy:?}");
    }
}

#[test]
fn unix_sockets_are_shared_and_their_files_go_with_the_app() {
    for policy in POLICIES {
        let mut team = Team::new(policy);
        // Longer than sun_path, and a dead server's file lies there.
        let directory = team.directory.path().join("a-long-name-".repeat(10));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("app.sock");
        drop(musher_process::net::unix::bind(&path, musher_process::net::unix::Access::default()).unwrap());
        let listen = format!("{{path: {:?}, readableAll: true, writableAll: true}}", path.to_str().unwrap());
        let script = team.script("server.js", &tcp(&listen));
        let (one, two) = (team.start(0, &script), team.start(1, &script));
        assert_eq!(team.listening(one), path.to_str().unwrap());
        team.listening(two);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o777, "{policy:?}");
        // Connecting has the same limit on the length as binding.
        let short = team.directory.path().join("s");
        std::os::unix::fs::symlink(&path, &short).unwrap();
        let mut text = String::new();
        let stream = UnixStream::connect(&short).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        { stream }.read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
        team.kill(one);
        team.kill(two);
        assert!(path.exists(), "the path waits for the next workers");
        team.cluster.close_app(APP);
        team.wait("closed", |event| (*event == ClusterEvent::Closed { app: APP }).then_some(()));
        assert!(!path.exists());
    }
}

#[test]
fn udp_is_shared() {
    for policy in POLICIES {
        let mut team = Team::new(policy);
        let script = team.script(
            "server.js",
            "const socket = require('dgram').createSocket('udp4');
             socket.on('message', (text, from) => socket.send(`${text} ${process.pid}`, from.port, from.address));
             socket.bind(0, '127.0.0.1');",
        );
        let (one, two) = (team.start(0, &script), team.start(1, &script));
        let address = team.listening(one);
        assert_eq!(team.listening(two), address);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.connect(address.strip_prefix("udp://").unwrap()).unwrap();
        client.send(b"hi").unwrap();
        let mut buffer = [0; 64];
        let n = client.recv(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"hi "), "{policy:?}");
    }
}

#[test]
fn tls_workers_share_their_ticket_keys() {
    for policy in POLICIES {
        let mut team = Team::new(policy);
        let script = team.script(
            "server.js",
            "const tls = require('tls');
             const server = tls.createServer({}, () => {}).listen(0, '127.0.0.1',
               () => process.send(server.getTicketKeys().toString('hex')));",
        );
        let one = team.start(0, &script);
        let keys = team.message(one);
        let two = team.start(1, &script);
        assert_eq!(team.message(two), keys, "{policy:?}");
        // They outlive every worker, so that sessions are resumed after a crash.
        team.kill(one);
        team.kill(two);
        let three = team.start(0, &script);
        assert_eq!(team.message(three), keys, "{policy:?}");
    }
}

#[test]
fn a_taken_port_is_the_programs_error() {
    for policy in POLICIES {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut team = Team::new(policy);
        let script = team.script(
            "server.js",
            &format!(
                "require('net').createServer().listen({port}, '127.0.0.1').on('error', (e) => process.send(e.message));"
            ),
        );
        let run = team.start(0, &script);
        let (address, errno) = team.wait("a failed bind", |event| match event {
            ClusterEvent::BindFailed { run: of, address, errno } if *of == run => Some((address.clone(), *errno)),
            _ => None,
        });
        assert_eq!((address, errno), (format!("127.0.0.1:{port}"), 98), "{policy:?}");
        let message = format!("bind EADDRINUSE 127.0.0.1:{port}");
        assert_eq!(team.message(run), message);
        // The program lives on, and may try another.
        drop(taken);
        let second = team.script("second.js", &tcp(&format!("{port}, '127.0.0.1'")));
        let run = team.start(1, &second);
        team.listening(run);
    }
}

#[test]
fn a_second_server_on_the_same_port_is_an_error_also_within_a_worker() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "server.js",
        "const net = require('net');
         const first = net.createServer().listen(0, '127.0.0.1', () => {
           net.createServer().listen(first.address().port, '127.0.0.1')
             .on('error', (e) => process.send(e.code)).on('listening', () => process.send('listens'));
         });",
    );
    let run = team.start(0, &script);
    assert_eq!(team.message(run), "EADDRINUSE");
}

#[test]
fn sockets_of_the_process_file_are_found_by_their_number() {
    for policy in POLICIES {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut team = Team::with_inherited(policy, vec![OwnedFd::from(listener)]);
        let script = team.script("server.js", &tcp("{fd: 3}"));
        let (one, two) = (team.start(0, &script), team.start(1, &script));
        assert_eq!(team.listening(one), address, "{policy:?}");
        team.listening(two);
        assert!(!answer(&address).is_empty());
        let missing = team.script("missing.js", &tcp("{fd: 9}"));
        let run = team.start(2, &missing);
        team.wait("a failed bind", |event| {
            matches!(event, ClusterEvent::BindFailed { run: of, errno: 9, .. } if *of == run).then_some(())
        });
    }
}

#[test]
fn abstract_names_are_listened_on_as_under_node() {
    use std::os::linux::net::SocketAddrExt;
    for policy in POLICIES {
        let mut team = Team::new(policy);
        let name = format!("musher-test-{policy:?}-{}", std::process::id());
        let script = team.script("server.js", &tcp(&format!("'\\0{name}'")));
        let (one, two) = (team.start(0, &script), team.start(1, &script));
        assert_eq!(team.listening(one), format!("@{name}"), "{policy:?}");
        team.listening(two);
        team.replace_supervisor();
        team.listening(one);
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let mut answer = String::new();
        UnixStream::connect_addr(&address).unwrap().read_to_string(&mut answer).unwrap();
        assert!(!answer.is_empty(), "{policy:?}");
    }
}

#[test]
fn a_server_that_is_closed_frees_its_port_and_may_listen_again() {
    for policy in POLICIES {
        let mut team = Team::new(policy);
        let script = team.script(
            "server.js",
            "const server = require('net').createServer((socket) => socket.end('x')).listen(0, '127.0.0.1');
             let port;
             server.on('listening', () => { port = server.address().port; process.send({port}); });
             process.on('message', (m) => m === 'close' ? server.close(() => process.send('closed'))
                                                        : server.listen(port, '127.0.0.1'));",
        );
        let run = team.start(0, &script);
        let address = team.listening(run);
        team.message(run);
        team.cluster.send(run, "close".into());
        assert_eq!(team.message(run), "closed");
        let until = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(&address).is_ok() {
            assert!(Instant::now() < until, "{policy:?}: the port stays open");
            wait_a_little();
        }
        assert!(team.store.names().iter().all(|name| !name.starts_with("listen/")));
        team.cluster.send(run, "listen".into());
        assert_eq!(team.listening(run), address);
        assert_eq!(answer(&address), "x");
    }
}

#[test]
fn a_worker_at_its_limit_of_connections_is_passed_over_and_costs_no_time() {
    let mut team = Team::new(Balance::RoundRobin);
    let script = team.script(
        "server.js",
        "const server = require('net').createServer((socket) => socket.resume().write('x')).listen(0, '127.0.0.1');
         server.maxConnections = 1;",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut first = connect(&address);
    first.read_exact(&mut [0]).unwrap();
    let mut second = connect(&address);
    // It is declined again and again, with longer and longer pauses.
    let offers = team.wait_for_stats(|stats| stats.handed_over > 5).handed_over;
    assert!(offers < 100, "{offers}");
    drop(first);
    second.read_exact(&mut [0]).unwrap();
}
