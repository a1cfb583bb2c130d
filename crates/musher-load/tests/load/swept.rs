//! The sweep against a server whose best concurrency is known: four slots of 30 ms.

use std::time::Duration;

use musher_load::engine::Engine;
use musher_load::plan::Plan;
use musher_load::sweep::{Next, Sweep, SweepLimits, measured};

use crate::server::Server;

#[test]
fn four_slots_are_found() {
    let server = Server::http();
    let limits = SweepLimits { most: 16, rounds: 1, think: 0.0, slo: None, levels: vec![2, 3, 4, 6, 8, 16] };
    let mut sweep = Sweep::new(limits, 3);
    while let Next::Run(users, _) = sweep.next_run() {
        let plan = Plan {
            users,
            warm_up: Duration::from_millis(200),
            duration: Some(Duration::from_millis(600)),
            finish: Duration::from_secs(2),
            ..server.plan(&["/slots?ms=30"])
        };
        let outcome = Engine::new(plan.clone()).unwrap().run(&mut ()).unwrap();
        let run = measured(&outcome, users, &plan);
        assert_eq!(run.open, users);
        sweep.take(run);
    }
    let found = sweep.estimate().unwrap();
    // Four on a machine that does nothing else.
    assert!((2.5..=8.0).contains(&found.crossing), "{found:?}: {:#?}", sweep.runs());
}
