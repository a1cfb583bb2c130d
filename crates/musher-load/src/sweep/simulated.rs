//! The estimators against six servers whose truth is known, with the noise of real runs.

#![cfg(test)]

use super::{Estimate, Next, Run, Sweep, SweepLimits, estimate};
use crate::random::Random;

/// Levels of a sweep as people choose them.
const LEVELS: [u32; 17] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384];
/// Noise of a run.
const NOISE: f64 = 0.03;
const SWEEPS: u64 = 40;

/// A closed loop with `workers` of `service` seconds each, and `network` seconds beside them.
fn pool(users: u32, workers: f64, service: f64, network: f64) -> f64 {
    let users = f64::from(users);
    // Both bounds, with the corner rounded off a little, as queues of many workers do.
    let (light, most) = (service + network, workers / service);
    let ideal = users / light;
    let sharp = 24.0;
    (ideal.powf(-sharp) + most.powf(-sharp)).powf(-1.0 / sharp)
}

fn usl(users: u32, gamma: f64, alpha: f64, beta: f64) -> f64 {
    let n = f64::from(users);
    gamma * n / (1.0 + alpha * (n - 1.0) + beta * n * (n - 1.0))
}

/// Throughput by users.
type Server = fn(u32) -> f64;

/// The six.
fn servers() -> [(&'static str, Server); 6] {
    [
        ("130 workers, plateau", |n| pool(n, 130.0, 0.02, 0.0)),
        ("32 workers of 20 ms and 60 ms of network", |n| pool(n, 32.0, 0.02, 0.06)),
        ("2 workers of 1 ms and 1 ms of network", |n| pool(n, 2.0, 0.001, 0.001)),
        ("130 workers, falling above", |n| {
            pool(n, 130.0, 0.02, 0.0) * (1.0 - 0.0008 * f64::from(n.saturating_sub(130)))
        }),
        ("true USL with its peak at 130", |n| usl(n, 100.0, 0.02, 0.98 / 130.0 / 130.0)),
        ("Amdahl: no peak", |n| usl(n, 100.0, 0.02, 0.0)),
    ]
}

fn run(users: u32, rate: f64) -> Run {
    let response = f64::from(users) / rate;
    Run {
        users,
        rate,
        response,
        p50: response,
        p95: response,
        p99: response,
        open: users,
        halves: (rate, rate),
        ..Run::default()
    }
}

fn swept(server: Server, seed: u64) -> Estimate {
    let mut random = Random::new(seed.wrapping_mul(7919));
    let mut runs = Vec::new();
    for level in LEVELS {
        for _ in 0..3 {
            runs.push(run(level, server(level) * (1.0 + NOISE * random.normal())));
        }
    }
    estimate(&runs, 0.0, seed).unwrap()
}

fn estimates(server: Server) -> Vec<Estimate> {
    (1..=SWEEPS).map(|seed| swept(server, seed)).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn pools_of_workers_have_their_crossing_where_it_is_and_the_interval_covers_it() {
    for (number, truth) in [(0, 130.0), (1, 128.0), (2, 4.0)] {
        let (name, server) = servers()[number];
        let found = estimates(server);
        let middle = median(found.iter().map(|one| one.crossing));
        assert!((middle / truth - 1.0).abs() < 0.03, "{name}: {middle} instead of {truth}");
        let covered = found.iter().filter(|one| (one.interval.low..=one.interval.high).contains(&truth)).count();
        assert!(covered * 10 >= found.len() * 8, "{name}: {covered} of {} intervals cover {truth}", found.len());
        let width = median(found.iter().map(|one| (one.interval.high - one.interval.low) / truth));
        assert!(width < 0.2, "{name}: an interval of {width}");
        let power = median(found.iter().map(|one| one.power));
        assert!((power / truth - 1.0).abs() < 0.25, "{name}: power {power}");
        let told = found.iter().filter(|one| one.usl.is_some()).count();
        assert!(told * 10 <= found.len(), "{name}: the USL is told for a pool of workers, {told} times");
        assert!(found.iter().filter(|one| one.rises).count() * 5 < found.len(), "{name}: a plateau does not rise");
    }
}

#[test]
fn throughput_that_falls_is_seen_to_fall() {
    let found = estimates(servers()[3].1);
    let middle = median(found.iter().map(|one| one.crossing));
    assert!((115.0..=135.0).contains(&middle), "{middle}");
    let falls = found.iter().filter(|one| one.peak.falls).count();
    assert!(falls * 10 >= found.len() * 9, "{falls}");
}

#[test]
fn true_contention_has_the_peak_of_the_law_and_a_crossing_far_below() {
    let found = estimates(servers()[4].1);
    let told: Vec<f64> = found.iter().filter_map(|one| one.usl).map(|usl| usl.peak).collect();
    assert!(told.len() * 10 >= found.len() * 7, "told {} times", told.len());
    let middle = median(told.into_iter());
    assert!((120.0..=140.0).contains(&middle), "{middle}");
    assert!(found.iter().all(Estimate::disagrees), "the crossing is not where throughput is highest, and that is said");
}

#[test]
fn where_there_is_no_peak_none_is_named() {
    let found = estimates(servers()[5].1);
    assert!(found.iter().all(|one| one.usl.is_none_or(|usl| usl.peak > 250.0)), "no peak is made up");
    let told = found.iter().filter(|one| one.usl.is_some()).count();
    assert!(told * 5 <= found.len(), "told {told} times");
    let said = found.iter().filter(|one| one.disagrees()).count();
    assert_eq!(said, found.len());
}

#[test]
fn a_sweep_finds_its_levels_and_runs_each_in_every_round() {
    for (name, server) in servers() {
        let limits = SweepLimits { most: 1024, rounds: 3, think: 0.0, slo: None, levels: Vec::new() };
        let mut sweep = Sweep::new(limits, 5);
        let mut orders = Vec::new();
        while let Next::Run(users, round) = sweep.next_run() {
            orders.push((round, users));
            sweep.take(run(users, server(users)));
            assert!(orders.len() < 200, "{name}: it does not end");
        }
        for level in sweep.levels() {
            assert_eq!(sweep.runs().iter().filter(|run| run.users == level).count(), 3, "{name}: level {level}");
        }
        assert!(sweep.levels().contains(&1));
        let of = |round: u32| orders.iter().filter(|(of, _)| *of == round).map(|(_, users)| *users).collect::<Vec<_>>();
        assert_ne!(of(2), of(3), "{name}: rounds have random orders");
        assert!(sweep.estimate().is_some(), "{name}");
    }
}

#[test]
fn the_largest_load_within_a_limit_is_told() {
    let limits = SweepLimits { most: 512, rounds: 1, think: 0.0, slo: Some(0.04), levels: Vec::new() };
    let mut sweep = Sweep::new(limits, 1);
    while let Next::Run(users, _) = sweep.next_run() {
        sweep.take(run(users, servers()[0].1(users)));
    }
    // 130 workers of 20 ms: 40 ms are reached with 260 users.
    let (users, rate) = sweep.within_slo().unwrap();
    assert!((200..=262).contains(&users), "{users}");
    assert!(rate > 6000.0);
    let limits = SweepLimits { most: 8, rounds: 1, think: 0.0, slo: Some(0.001), levels: vec![1, 2] };
    let mut none = Sweep::new(limits, 1);
    none.take(run(1, 50.0));
    assert_eq!(none.within_slo(), None);
}
