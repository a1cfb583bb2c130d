//! How workers are: pulses, event loops that do not turn, connections that were cut.

use std::io::{Read, Write};
use std::time::Duration;

use musher_cluster::{ClusterEvent, Watching};
use musher_core::ids::RunId;
use musher_core::spec::Balance;
use musher_core::vitals::Pulse;
use musher_process::ExitStatus;

use crate::team::{DEADLINE, HTTP, Team, ask, connect, get};

const COUNTED: &str = "
require('http').createServer((request, response) => {
  if (request.url === '/bad') response.statusCode = 503;
  if (request.url === '/hang') return void response.write('begun');
  response.end('answered');
}).listen(0, '127.0.0.1');
process.on('message', (m) => process.send(m));
";

fn pulse(team: &mut Team, run: RunId, mut holds: impl FnMut(&Pulse) -> bool) -> Pulse {
    team.wait("a pulse", |event| match event {
        ClusterEvent::Pulse { run: of, pulse } if *of == run && holds(pulse) => Some(Pulse::clone(pulse)),
        _ => None,
    })
}

fn every(pulses: Duration) -> Watching {
    Watching { pulses: Some(pulses), stuck_after: None }
}

#[test]
fn requests_errors_and_latencies_are_counted_while_somebody_asks() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("counted.js", COUNTED);
    let run = team.start(0, &script);
    // Before its preload is there: it is told later.
    team.cluster.watch(run, every(Duration::from_millis(100)));
    let address = team.listening(run);
    let first = pulse(&mut team, run, |_| true);
    assert_eq!((first.requests, first.errors), (0, 0));
    for path in ["/", "/bad", "/"] {
        let mut answer = String::new();
        ask(&address, path).read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("answered"), "{answer}");
    }
    let mut hanging = ask(&address, "/hang");
    hanging.read_exact(&mut [0; 8]).unwrap();
    let pulse_of_now = pulse(&mut team, run, |pulse| pulse.requests == 3 && pulse.active == 1);
    assert_eq!(pulse_of_now.errors, 1);
    assert_eq!(pulse_of_now.latencies.count(), 3);
    assert!(pulse_of_now.busy_permille <= 1000);
    drop(hanging);
    pulse(&mut team, run, |pulse| pulse.active == 0 && pulse.requests == 3);

    // With a successor of the supervisor it has to be asked for anew, and goes on.
    team.replace_supervisor();
    team.cluster.watch(run, every(Duration::from_millis(150)));
    get(&address);
    pulse(&mut team, run, |pulse| pulse.requests == 4);
    team.kill(run);
}

#[test]
fn a_worker_that_nobody_asks_counts_nothing() {
    let mut team = Team::new(Balance::Kernel);
    let text = format!(
        "{COUNTED} process.on('message', (m) => process.send(
           require('diagnostics_channel').channel('http.server.request.start').hasSubscribers));"
    );
    let script = team.script("counted.js", &text);
    let run = team.start(0, &script);
    team.listening(run);
    let mut asked = |watching| {
        team.cluster.watch(run, watching);
        team.cluster.send(run, "?".into());
        (team.message(run), team.message(run)).1
    };
    assert_eq!(asked(Watching::default()), false);
    assert_eq!(asked(every(Duration::from_secs(3600))), true);
    assert_eq!(asked(Watching::default()), false);
}

#[test]
fn a_loop_that_does_not_turn_is_told_of_with_and_without_the_preload() {
    for preload in [true, false] {
        let mut team = Team::new(Balance::Kernel);
        if !preload {
            team = team.without_preload();
        }
        let text = format!(
            "{HTTP} process.on('message', (m) => {{
               process.send('blocks');
               while (!require('fs').existsSync('enough'));
               process.send('unblocked');
             }});"
        );
        let script = team.script("blocks.js", &text);
        let run = team.start(0, &script);
        team.listening(run);
        let after = Duration::from_millis(200);
        team.cluster.watch(run, Watching { pulses: None, stuck_after: Some(after) });
        team.cluster.send(run, "block".into());
        assert_eq!(team.message(run), "blocks");
        team.wait("stuck", |event| (*event == ClusterEvent::Stuck { run, after }).then_some(()));
        team.script("enough", "");
        assert_eq!(team.message(run), "unblocked");
        team.kill(run);
    }
}

#[test]
fn a_worker_with_much_to_read_and_to_say_is_not_stuck() {
    let mut team = Team::new(Balance::RoundRobin);
    let script = team.script("busy.js", &format!("{HTTP} process.on('message', (m) => process.send(m));"));
    let run = team.start(0, &script);
    let address = team.listening(run);
    let after = Duration::from_millis(500);
    team.cluster.watch(run, Watching { pulses: None, stuck_after: Some(after) });
    for n in 0..400 {
        team.cluster.send(run, n.into());
        get(&address);
        assert_eq!(team.message(run), n);
    }
    assert!(!team.heard(|event| matches!(event, ClusterEvent::Stuck { .. })));
}

#[test]
fn what_is_not_done_within_the_limit_is_cut_and_counted() {
    for policy in [Balance::Kernel, Balance::RoundRobin] {
        let mut team = Team::new(policy);
        let script = team.script("counted.js", COUNTED);
        let run = team.start(0, &script);
        let address = team.listening(run);
        let mut hanging: Vec<_> = (0..3).map(|_| ask(&address, "/hang")).collect();
        for client in &mut hanging {
            client.read_exact(&mut [0; 8]).unwrap();
        }
        team.cluster.drain(run, Duration::ZERO, Duration::from_millis(300));
        let count = team.wait("the cut", |event| match event {
            ClusterEvent::Cut { run: of, count } if *of == run => Some(*count),
            _ => None,
        });
        assert_eq!(count, 3, "{policy:?}");
        team.drained(run);
        for mut client in hanging {
            // Whatever was sent, and no end of the answer.
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
            assert!(!rest.ends_with(b"0\r\n\r\n"));
        }
    }
}

#[test]
fn connections_of_a_plain_server_are_cut_too_and_those_that_end_are_not() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script(
        "net.js",
        "require('net').createServer((socket) => { socket.pause(); socket.write('hello'); }).listen(0, '127.0.0.1');
         process.on('SIGTERM', () => process.exit(5));",
    );
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut clients: Vec<_> = (0..2).map(|_| connect(&address)).collect();
    for client in &mut clients {
        client.read_exact(&mut [0; 5]).unwrap();
    }
    team.cluster.drain(run, Duration::ZERO, Duration::from_millis(300));
    team.wait("the cut", |event| (*event == ClusterEvent::Cut { run, count: 2 }).then_some(()));
    team.drained(run);
    // Paused sockets are none of those that Node lists: they go with the process.
    team.signal(run, 15);
    let _ = team.exited(run);
    assert!(clients.iter_mut().all(|client| client.read(&mut [0]).unwrap_or(0) == 0));
}

#[test]
fn nothing_is_told_to_be_cut_when_all_is_done_in_time() {
    let mut team = Team::new(Balance::Kernel);
    let script = team.script("counted.js", COUNTED);
    let run = team.start(0, &script);
    let address = team.listening(run);
    let mut client = connect(&address);
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 8]).unwrap();
    team.cluster.drain(run, Duration::ZERO, DEADLINE);
    team.drained(run);
    assert!(!team.heard(|event| matches!(event, ClusterEvent::Cut { .. })));
    assert_eq!(team.exited(run), ExitStatus::Code(0));
}
