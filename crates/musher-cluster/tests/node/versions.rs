//! The essentials with other versions of Node.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use musher_core::spec::Balance;
use musher_process::ExitStatus;

use crate::team::{HTTP, LIMIT, Team, ask, finish, get};

#[test]
fn other_versions_of_node_work_alike() {
    let nodes = std::env::var_os("MUSHER_TEST_NODES").unwrap_or_default();
    for node in std::env::split_paths(&nodes).filter(|path| !path.as_os_str().is_empty()) {
        for policy in [Balance::Kernel, Balance::Shared, Balance::RoundRobin] {
            essentials(&node, policy);
        }
    }
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
