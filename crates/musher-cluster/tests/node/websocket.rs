//! WebSocket clients of a draining worker are told to go away, between two frames.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use musher_cluster::ClusterEvent;
use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{LIMIT, Team, connect};

/// Close, 1001: going away (RFC 6455, 7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];
/// Close, 1001, as a client sends it: masked, with a mask of zeros.
const ANSWER: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// What a library does, as far as it matters here: handshake, frames when asked for, an end after the client's Close.
const SERVER: &str = "
const server = require('http').createServer((q, r) => r.end('plain')).listen(0, '127.0.0.1');
const head = 'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n';
server.on('upgrade', (request, socket) => {
  socket.on('error', () => {});
  process.on('message', ({ bytes, then }) => {
    if (bytes === 'head') socket.write(head); else socket.write(Buffer.from(bytes));
    process.send(then ?? 'written');
  });
  socket.on('data', (data) => { if ((data[0] & 15) === 8) { socket.write(Buffer.from([0x88, 0])); socket.end(); } });
  process.send('upgraded');
});
";

fn upgrade(address: &str) -> BufReader<TcpStream> {
    let mut client = connect(address);
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    BufReader::new(client)
}

fn handshake(client: &mut BufReader<TcpStream>) {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(client.read_line(&mut line).unwrap() > 0);
    }
}

fn expect(client: &mut impl Read, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    client.read_exact(&mut found).unwrap();
    assert_eq!(found, bytes);
}

/// A team with one connection that was upgraded; `head` says whether the handshake is done.
fn upgraded(head: bool, text: &str) -> (Team, musher_core::ids::RunId, BufReader<TcpStream>) {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("server.js", text);
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut client = upgrade(&address);
    assert_eq!(team.message(run), "upgraded");
    if head {
        team.cluster.send(run, serde_json::json!({"bytes": "head"}));
        assert_eq!(team.message(run), "written");
        handshake(&mut client);
    }
    (team, run, client)
}

/// The client does its part of the end; the server sends nothing more.
fn part(team: &mut Team, run: musher_core::ids::RunId, client: &mut BufReader<TcpStream>) {
    client.get_mut().write_all(&ANSWER).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, Vec::<u8>::new(), "nothing follows a Close frame");
    client.get_mut().shutdown(std::net::Shutdown::Both).unwrap();
    team.drained(run);
    assert!(!team.heard(|event| matches!(event, ClusterEvent::Cut { .. })));
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}

#[test]
fn a_client_is_told_to_go_away_and_nothing_follows() {
    let (mut team, run, mut client) = upgraded(true, SERVER);
    team.cluster.drain(run, Duration::ZERO, LIMIT);
    expect(&mut client, &GOING_AWAY);
    // What the program says now would break the protocol.
    team.cluster.send(run, serde_json::json!({"bytes": [0x82, 1, 7]}));
    assert_eq!(team.message(run), "written");
    part(&mut team, run, &mut client);
}

#[test]
fn a_frame_that_is_being_written_is_completed_first() {
    // A length of 7 bits, of 16 and of 64; cut within the header, and within the content.
    let short = [&[0x82, 5][..], b"12345"].concat();
    let medium = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
    let long = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[9; 65536]].concat();
    for (frame, cuts) in [(short, [1, 2]), (medium, [3, 100]), (long, [9, 5000])] {
        for cut in cuts {
            let (mut team, run, mut client) = upgraded(true, SERVER);
            let (begin, rest) = frame.split_at(cut);
            team.cluster.send(run, serde_json::json!({"bytes": begin}));
            assert_eq!(team.message(run), "written");
            team.cluster.drain(run, Duration::ZERO, LIMIT);
            team.cluster.send(run, serde_json::json!({"bytes": rest}));
            assert_eq!(team.message(run), "written");
            expect(&mut client, &frame);
            expect(&mut client, &GOING_AWAY);
            part(&mut team, run, &mut client);
        }
    }
}

#[test]
fn a_handshake_that_is_under_way_is_completed_first() {
    let (mut team, run, mut client) = upgraded(false, SERVER);
    team.cluster.drain(run, Duration::ZERO, LIMIT);
    team.cluster.send(run, serde_json::json!({"bytes": "head"}));
    handshake(&mut client);
    expect(&mut client, &GOING_AWAY);
    assert_eq!(team.message(run), "written");
    part(&mut team, run, &mut client);
}

#[test]
fn what_is_no_websocket_in_truth_is_never_written_to() {
    // A server's frames are not masked, and have no opcode 3.
    for bytes in [[0x82, 0x81, 0], [0x83, 0, 0]] {
        let (mut team, run, mut client) = upgraded(true, SERVER);
        team.cluster.send(run, serde_json::json!({"bytes": bytes}));
        assert_eq!(team.message(run), "written");
        team.cluster.drain(run, Duration::ZERO, Duration::from_millis(300));
        team.wait("the cut", |event| (*event == ClusterEvent::Cut { run, count: 1 }).then_some(()));
        expect(&mut client, &bytes);
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn a_client_that_does_not_answer_is_cut_at_the_limit() {
    let (mut team, run, mut client) = upgraded(true, SERVER);
    team.cluster.drain(run, Duration::ZERO, Duration::from_millis(400));
    expect(&mut client, &GOING_AWAY);
    team.wait("the cut", |event| (*event == ClusterEvent::Cut { run, count: 1 }).then_some(()));
    team.drained(run);
}

#[test]
fn a_server_that_wants_no_upgrades_answers_them_as_before() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "later.js",
        "const server = require('http').createServer((q, r) => r.end('plain')).listen(0, '127.0.0.1');
         const own = () => {};
         process.on('message', (m) => {
           if (m === 'add') server.on('upgrade', own); else server.removeListener('upgrade', own);
           process.send(server.listenerCount('upgrade'));
         });",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let answered = || {
        let mut client = upgrade(&address);
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        line
    };
    assert!(answered().contains("200"));
    for _ in 0..2 {
        team.cluster.send(run, "add".into());
        assert_eq!(team.message(run), 2);
        team.cluster.send(run, "remove".into());
        assert_eq!(team.message(run), 0);
        assert!(answered().contains("200"));
    }
}
