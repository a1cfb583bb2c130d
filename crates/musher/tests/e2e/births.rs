//! A supervisor that is killed while it makes workers: none is lost, and none runs twice.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Home, PATIENCE, proc_fs, wait_equal};

const WORKERS: usize = 4;

/// How many rounds at most, and how many with a child that was caught before it executed its program.
const ROUNDS: usize = 40;
const CAUGHT: usize = 3;

/// Gives a command that makes workers, stops the first one in the instants of its birth, and kills the supervisor. The
/// child, if it has not executed its program yet.
#[track_caller]
fn killed_at_a_birth(home: &Home) -> Option<u32> {
    let supervisor = home.supervisor();
    // Its first thread makes them. Looked at without a pause: they are born and become their programs within 0.2 ms.
    let file = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = || -> Vec<u32> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    let before = children();
    let command = home.spawn(["restart", "jobs"]);
    let deadline = Instant::now() + PATIENCE;
    let child = loop {
        if let Some(child) = children().into_iter().find(|child| !before.contains(child)) {
            // One that is gone already is no use.
            break proc_fs::signal(child, Signal::STOP).ok().map(|()| child);
        }
        if Instant::now() >= deadline {
            break None;
        }
    };
    proc_fs::kill9(supervisor).unwrap();
    let child = child.unwrap_or_else(|| panic!("no child in {PATIENCE:?}"));
    let executed = proc_fs::environ(child).iter().any(|variable| variable.starts_with("MUSHER_RUN="));
    if executed {
        let _ = proc_fs::signal(child, Signal::CONT);
    }
    let output = command.wait();
    assert!(output.code == Some(0) || !output.err.trim().is_empty(), "fails without a word: {output:#?}");
    if output.code != Some(0) {
        home.ok(["start", "jobs"]);
    }
    (!executed).then_some(child)
}

#[test]
fn no_worker_is_started_twice_by_a_supervisor_killed_at_its_birth() {
    let home = Home::new();
    home.write(
        "team.toml",
        "[[app]]\nname = \"jobs\"\ncommand = [\"sleep\", \"1000\"]\ninstances = 4\nready = { after = \"10ms\" }\n",
    );
    home.ok(["start", "team.toml"]);
    let mut caught = 0;
    for round in 0..ROUNDS {
        home.wait_online("jobs", WORKERS);
        let child = killed_at_a_birth(&home);
        let rows = home.wait_online("jobs", WORKERS);
        if let Some(child) = child {
            caught += 1;
            // If it lives now, it executes its program now.
            let _ = proc_fs::signal(child, Signal::CONT);
        }
        let workers: BTreeSet<u32> = rows.iter().filter_map(|row| row.pid).collect();
        // All that lives, also what has not executed anything.
        let all: BTreeSet<u32> = workers.iter().copied().chain([home.keeper(), home.supervisor()]).collect();
        wait_equal(&format!("round {round}: a worker for each slot and nothing else"), &all, || home.processes());
        assert!(rows.iter().all(|row| row.restarts == 0), "round {round}: it died, but never lived: {rows:?}");
        if caught == CAUGHT {
            return;
        }
    }
    assert!(caught > 0, "no child was caught in {ROUNDS} rounds: this test has shown nothing");
}
