//! The closed loop: counts, times, failures.

use std::time::{Duration, Instant};

use musher_load::engine::Engine;
use musher_load::plan::{Count, Order, Plan, Think};
use musher_load::tally::FaultKind;

use crate::server::{Server, run, total};

#[test]
fn a_count_is_kept_exactly_and_equals_the_servers_own() {
    let server = Server::http();
    for (users, each, keep_alive, threads) in [(1, 1, true, 1), (25, 40, true, 1), (10, 20, false, 1), (7, 30, true, 3)]
    {
        let before = server.requests();
        let plan = Plan { users, count: Some(Count::PerUser(each)), keep_alive, threads, ..server.plan(&["/"]) };
        let outcome = run(plan);
        let tally = total(&outcome);
        let expected = u64::from(users) * each;
        assert_eq!((tally.transactions, tally.failures(), tally.unfinished), (expected, 0, 0));
        assert_eq!(server.requests() - before, expected);
        assert_eq!(tally.statuses.get(&200), Some(&expected));
        assert_eq!(tally.body_bytes, expected * 5);
        assert_eq!(tally.latency.len(), expected);
        assert_eq!(tally.connects, if keep_alive { u64::from(users) } else { expected });
    }
}

#[test]
fn a_time_is_kept_and_every_request_is_accounted_for() {
    let server = Server::http();
    let before = Instant::now();
    let plan = Plan { users: 8, duration: Some(Duration::from_millis(700)), ..server.plan(&["/", "/slow?ms=3"]) };
    let outcome = run(plan);
    let took = before.elapsed();
    let tally = total(&outcome);
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert!(outcome.elapsed >= Duration::from_millis(700) && outcome.elapsed <= took, "{:?}", outcome.elapsed);
    assert_eq!(tally.answers + tally.failures() + tally.unfinished, server.requests());
    let in_series: u64 = outcome.series.iter().map(|slice| slice.good + slice.bad).sum();
    assert_eq!(in_series, tally.ended());
}

#[test]
fn a_run_that_is_stopped_tells_what_was_done() {
    let server = Server::http();
    let engine = Engine::new(Plan { users: 4, ..server.plan(&["/slow?ms=2"]) }).unwrap();
    let control = engine.control();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while server.requests() < 50 {
                assert!(Instant::now() < deadline, "the server is asked nothing");
            }
            control.stop("interrupted");
        });
        engine.run(&mut ()).unwrap()
    });
    let tally = total(&outcome);
    assert_eq!(outcome.ended_by.as_deref(), Some("interrupted"));
    assert!(tally.transactions >= 40);
    assert_eq!(tally.answers + tally.failures() + tally.unfinished, server.requests());
}

#[test]
fn a_list_is_asked_in_turn_once_or_by_chance_and_weight() {
    let server = Server::http();
    let paths = ["/a", "/b", "/c"];
    run(Plan { users: 2, count: Some(Count::Once), ..server.plan(&paths) });
    let counts = server.counts();
    assert_eq!((&counts["/a"], &counts["/b"], &counts["/c"]), (&1.into(), &1.into(), &1.into()));
    // Users begin at evenly spaced places.
    run(Plan { users: 3, count: Some(Count::PerUser(1)), ..server.plan(&paths) });
    assert_eq!(server.counts()["/c"], 2);
    let mut weighted =
        Plan { users: 5, count: Some(Count::PerUser(200)), order: Order::Random, ..server.plan(&["/x", "/y"]) };
    weighted.requests[0].weight = 3.0;
    let outcome = run(weighted);
    let share = server.counts()["/x"].as_u64().unwrap();
    assert!((680..820).contains(&share), "3 of 4 by chance, and it was {share} of 1000");
    assert_eq!(outcome.urls[0].transactions, share);
}

#[test]
fn failures_are_told_apart() {
    let server = Server::http();
    let one = |path: &str| {
        let plan = Plan { count: Some(Count::PerUser(3)), timeout: Duration::from_millis(200), ..server.plan(&[path]) };
        let tally = total(&run(plan));
        assert_eq!(tally.failures(), 3, "{path}");
        tally.faults.into_iter().map(|(kind, fault)| (kind, fault.count)).collect::<Vec<_>>()
    };
    assert_eq!(one("/drop"), [(FaultKind::Closed, 3)]);
    assert_eq!(one("/short"), [(FaultKind::ShortBody, 3)]);
    assert_eq!(one("/never"), [(FaultKind::Timeout, 3)]);
    assert_eq!(one("/loop"), [(FaultKind::Redirect, 3)]);
    let answered = total(&run(Plan { count: Some(Count::PerUser(3)), ..server.plan(&["/status/404", "/status/503"]) }));
    assert_eq!((answered.with_status(400..=499), answered.with_status(500..=599), answered.failures()), (2, 1, 0));
}

#[test]
fn where_nobody_listens_the_run_ends_instead_of_spinning() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = musher_load::url::Url::parse(&format!("127.0.0.1:{port}")).unwrap();
    let plan = Plan { users: 200, ..Plan::new(vec![musher_load::plan::Template::get(url)]) };
    let outcome = run(plan);
    let tally = total(&outcome);
    assert_eq!(outcome.ended_by.as_deref(), Some("nothing was answered"));
    assert_eq!((tally.transactions, tally.faults.len()), (0, 1));
    assert!(tally.faults[&FaultKind::Connect].first.contains("refused"), "{tally:?}");
}

#[test]
fn a_warm_up_is_not_counted_and_users_can_think() {
    let server = Server::http();
    let plan = Plan {
        users: 2,
        count: Some(Count::PerUser(5)),
        warm_up: Duration::from_millis(100),
        think: Some(Think::Fixed(Duration::from_millis(10))),
        ..server.plan(&["/"])
    };
    let outcome = run(plan);
    let warm = &outcome.phases[0].1;
    assert!(warm.transactions > 0 && outcome.warm_up == 1);
    assert_eq!(total(&outcome).transactions, 10);
    assert_eq!(warm.transactions + 10, server.requests());
    // Ten pauses of 10 ms between two users, 40 ms at least for each.
    assert!(outcome.elapsed >= Duration::from_millis(40), "{:?}", outcome.elapsed);
}
