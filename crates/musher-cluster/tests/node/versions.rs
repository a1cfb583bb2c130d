//! The essentials with other versions of Node.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use musher_core::spec::Balance;
use musher_process::ExitStatus;

use musher_cluster::{ClusterEvent, Watching};

use crate::team::{HTTP, LIMIT, Team, ask, finish, get};

#[test]
fn other_versions_of_node_work_alike() {
    let nodes = std::env::var_os("MUSHER_TEST_NODES").unwrap_or_default();
    for node in std::env::split_paths(&nodes).filter(|path| !path.as_os_str().is_empty()) {
        for policy in [Balance::Kernel, Balance::Shared, Balance::RoundRobin] {
            essentials(&node, policy);
        }
        vitals(&node);
    }
}

/// What the preload does beyond a drain.
fn vitals(node: &PathBuf) {
    let mut team = Team::new(Balance::Kernel).node(node);
    let script = team.script(
        "vital.js",
        "let held;
         require('http').createServer((request, response) => {
           if (request.url !== '/hold') return response.end('answered');
           held = response;
           process.send('asked');
         }).listen(0, '127.0.0.1');
         process.on('message', () => {
           setTimeout(() => { process.send('still here'); held.end('done'); }, 50);
           null.member;
         });",
    );
    let run = team.start_as(0, &script, true, &[("MUSHER_ON_UNCAUGHT", "5000")]);
    let address = team.listening(run);
    team.cluster.watch(run, Watching { pulses: Some(Duration::from_millis(100)), stuck_after: None });
    get(&address);
    team.wait("a pulse with the request", |event| match event {
        ClusterEvent::Pulse { run: of, pulse } if *of == run => (pulse.requests == 1).then_some(()),
        _ => None,
    });
    let held = ask(&address, "/hold");
    assert_eq!(team.message(run), "asked");
    team.cluster.send(run, "throw".into());
    let (stack, drains) = team.uncaught(run);
    assert!(stack.starts_with("TypeError: ") && drains, "{node:?}: {stack}");
    assert_eq!(team.message(run), "still here", "{node:?}");
    assert_eq!(finish(held), "done", "{node:?}");
    team.drained(run);
    assert_eq!(team.exited(run), ExitStatus::Code(1), "{node:?}");
}

fn essentials(node: &PathBuf, policy: Balance) {
    let mut team = Team::new(policy).node(node);
    let script =
        team.script("server.js", &format!("{HTTP} process.on('message', (m) => process.send([m, process.version]));"));
    let runs: Vec<_> = (0..2).map(|slot| team.start(slot, &script)).collect();
    let address = runs.iter().map(|run| team.listening(*run)).last().unwrap();
    let answers: BTreeSet<String> = (0..64).map(|_| get(&address)).collect();
    assert!(answers.len() == 2 || policy == Balance::Shared, "{node:?} {policy:?}");
    team.cluster.send(runs[0], "ü".into());
    assert_eq!(team.message(runs[0])[0], "ü");

    // Blocked: its siblings serve, and it is served again afterwards.
    team.signal(runs[0], 19);
    let waiting: Vec<_> = (0..20).map(|_| ask(&address, "/")).collect();
    // What it had been given in the instant before it stopped waits for it.
    team.signal(runs[0], 18);
    waiting.into_iter().for_each(|stream| drop(finish(stream)));

    team.replace_supervisor();
    for run in &runs {
        team.listening(*run);
    }
    get(&address);
    for run in runs {
        team.cluster.drain(run, Duration::from_millis(10), LIMIT);
        team.drained(run);
        assert_eq!(team.exited(run), ExitStatus::Code(0), "{node:?} {policy:?}");
    }
}
