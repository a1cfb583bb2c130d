//! New versions on trial: a good one goes on by itself, a bad one goes back by itself, and nobody outside loses anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::apps::app;
use crate::support::told::events;
use crate::support::{
    Home, Load, Shape, Target, ask, free_port, fresh, get, keep_alive, nothing_lost, some_answers, wait_until,
};

/// The process file of this version: each has a directory of its own, as releases have.
fn team(home: &Home, port: u16, version: &str, wait: &str) {
    let directory = home.directory().join(version);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("version"), version).unwrap();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\ncwd = \"{}\"\ninstances = 3\n\
             reload.canary = {{ slots = 1, wait = \"{wait}\" }}\n",
            app("canary.cjs"),
            directory.display()
        ),
    );
}

fn serving() -> (Home, u16) {
    let (home, port) = (Home::new(), free_port());
    team(&home, port, "one", "30s");
    home.ok(["start", "team.toml"]);
    (home, port)
}

/// What the events say of canaries.
fn told(home: &Home) -> Vec<String> {
    let canaries = events(home).into_iter().filter(|event| event["kind"] == "canary");
    canaries.map(|event| event["detail"].as_str().unwrap_or_default().to_owned()).collect()
}

fn generations(home: &Home) -> Vec<u64> {
    let rows = home.ok(["list", "web", "--json"]).json();
    rows.as_array().unwrap().iter().map(|row| row["generation"].as_u64().unwrap()).collect()
}

fn under_load(port: u16) -> (Load, Load) {
    let clients = (fresh(port), keep_alive(port, 12, Duration::from_millis(50)));
    some_answers(&clients.0, 50);
    some_answers(&clients.1, 50);
    clients
}

#[test]
fn a_good_canary_goes_on_by_itself_and_loses_nothing() {
    let (home, port) = serving();
    let (fresh, kept) = under_load(port);
    team(&home, port, "two", "3s");
    let starting = home.spawn(["start", "team.toml"]);
    wait_until("the canary is watched", || generations(&home) == [2, 1, 1]);
    let detail = home.ok(["describe", "web", "--json"]).json();
    assert_eq!(detail["canary"]["slots"], serde_json::json!([0]), "{detail}");
    starting.wait().succeeded();
    assert_eq!(generations(&home), [2, 2, 2]);
    let told = told(&home);
    assert!(told[0].contains("watched in 1 slots") && told[1].contains("did well"), "{told:?}");
    assert!(ask(port, "/?id=1").contains("version=two"));
    nothing_lost("new connections", fresh);
    nothing_lost("kept connections", kept);
}

#[test]
fn a_canary_that_throws_after_it_was_ready_goes_back_and_loses_nothing() {
    let (home, port) = serving();
    let (fresh, kept) = under_load(port);
    team(&home, port, "throws", "1m");
    home.run(["start", "team.toml"]).failed(1, &["the canary failed", "slot 0", "the old version serves again"]);
    let told = told(&home);
    assert_eq!(told.len(), 3, "watched, failed, went back: {told:?}");
    assert!(ask(port, "/?id=1").contains("version=one"));
    let spec = home.ok(["describe", "web", "--json"]).json()["spec"]["cwd"].clone();
    assert!(spec.as_str().unwrap().ends_with("/one"), "the app is what it was: {spec}");
    some_answers(&fresh, 50);
    some_answers(&kept, 50);
    nothing_lost("new connections", fresh);
    nothing_lost("kept connections", kept);
    assert!(home.pids("web").len() == 3 && home.slots("web").iter().all(|row| row.status == "online"));
}

#[test]
fn a_canary_that_answers_with_errors_goes_back() {
    let (home, port) = serving();
    let load = Load::start(crate::support::Plan::new(port, Shape::Fresh { per_second: 50 }));
    let (done, target) = (Arc::new(AtomicBool::new(false)), Target::Tcp(([127, 0, 0, 1], port).into()));
    let ended = Arc::clone(&done);
    let client = std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            let _ = get(&target, "/work?id=1", Duration::from_secs(10));
        }
    });
    team(&home, port, "fails", "1m");
    let start = home.run(["start", "team.toml"]);
    done.store(true, Ordering::Relaxed);
    client.join().unwrap();
    start.failed(1, &["the canary failed", "answers are errors", "the old version serves again"]);
    assert!(ask(port, "/?id=1").contains("version=one"));
    nothing_lost("those that asked for something else", load);
}

#[test]
fn a_canary_that_is_slow_goes_back_and_loses_nothing() {
    let (home, port) = serving();
    let (fresh, kept) = under_load(port);
    team(&home, port, "slow", "1m");
    home.run(["start", "team.toml"])
        .failed(1, &["the canary failed", "95 % of the new version", "the old version serves again"]);
    assert!(ask(port, "/?id=1").contains("version=one"));
    assert_eq!(home.pids("web").len(), 3);
    nothing_lost("new connections", fresh);
    nothing_lost("kept connections", kept);
}

#[test]
fn a_trial_that_goes_back_survives_a_kill_of_the_supervisor() {
    let (home, port) = serving();
    let load = fresh(port);
    team(&home, port, "throws", "1m");
    let start = home.spawn(["start", "team.toml"]);
    wait_until("the canary is watched", || generations(&home) == [2, 1, 1]);
    home.kill_supervisor();
    start.wait().failed(1, &["the canary failed", "the old version serves again"]);
    assert!(ask(port, "/?id=1").contains("version=one"));
    some_answers(&load, 50);
    nothing_lost("new connections", load);
}

#[test]
fn the_command_line_asks_for_a_trial_or_for_none() {
    let (home, _) = serving();
    home.ok(["reload", "web", "--canary", "2", "--canary-wait", "100ms"]);
    assert_eq!(generations(&home), [2, 2, 2]);
    home.ok(["reload", "web", "--canary", "0"]);
    assert_eq!(generations(&home), [3, 3, 3]);
    home.run(["reload", "web", "--canary", "1001"]).failed(2, &["1001"]);
}
