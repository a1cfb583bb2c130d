//! The open loop: schedule, stalls, want of connections.

use std::time::Duration;

use musher_load::engine::Engine;
use musher_load::pace::Rate;
use musher_load::plan::Plan;
use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Server, run, total};

#[test]
fn a_schedule_is_sent_completely() {
    let server = Server::http();
    for (rate, threads, expected) in [("500", 1, 300), ("200@300ms,400..800@300ms", 2, 240)] {
        let before = server.requests();
        let plan = Plan {
            users: 50,
            rate: Some(Rate::parse(rate).unwrap()),
            duration: Some(Duration::from_millis(600)),
            finish: Duration::from_secs(5),
            threads,
            ..server.plan(&["/"])
        };
        let tally = total(&run(plan));
        assert_eq!(tally.transactions + tally.unsent, expected, "{rate}");
        assert_eq!(tally.answers, server.requests() - before);
    }
}

#[test]
fn a_stall_of_the_server_is_in_the_latency_of_everybody_who_came_in_it() {
    let server = Server::http();
    let plan = Plan {
        users: 16,
        rate: Some(Rate::constant(500.0)),
        duration: Some(Duration::from_millis(2000)),
        finish: Duration::from_secs(5),
        ..server.plan(&["/"])
    };
    let engine = Engine::new(plan).unwrap();
    let control = engine.control();
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            let (_never, event) = std::sync::mpsc::sync_channel::<()>(0);
            let at = |time: u64| {
                // The stall is a stretch of time: there is nothing else to wait for.
                let _ = event.recv_timeout(Duration::from_millis(time).saturating_sub(control.elapsed()));
            };
            at(500);
            kill_process(pid, Signal::STOP).unwrap();
            at(1500);
            kill_process(pid, Signal::CONT).unwrap();
        });
        engine.run(&mut ()).unwrap()
    });
    let tally = total(&outcome);
    // Half of all came in the stall, evenly spread: a quarter of all waited for more than half of it.
    let waited = tally.latency.iter_recorded().filter(|value| value.value_iterated_to() > 500_000);
    let waited: u64 = waited.map(|value| value.count_since_last_iteration()).sum();
    // A closed loop of 16 would have seen 16. How many more than 250 there are is the machine's matter.
    assert!(waited >= 200, "{waited} of {} waited for more than 500 ms", tally.transactions);
    let service = tally.service.as_ref().unwrap();
    assert!(service.value_at_quantile(0.9) < tally.latency.value_at_quantile(0.9), "few were begun in the stall");
    assert!(tally.delayed > 100, "{} waited for a connection", tally.delayed);
}

#[test]
fn what_could_not_be_sent_is_told() {
    let server = Server::http();
    let plan = Plan {
        users: 1,
        rate: Some(Rate::constant(1000.0)),
        duration: Some(Duration::from_millis(500)),
        finish: Duration::from_secs(5),
        ..server.plan(&["/slow?ms=50"])
    };
    let tally = total(&run(plan));
    assert!(tally.transactions <= 11 && tally.unsent >= 480, "{} {}", tally.transactions, tally.unsent);
    assert_eq!(tally.transactions + tally.unsent, 500);
}
