//! What happened is kept: over kills of the supervisor, and when no daemon runs.

use crate::support::Home;
use crate::support::apps::app;

#[test]
fn what_happened_is_told_after_kills_and_without_a_daemon() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    home.ok(["start", &app("worker.py"), "--name", "other"]);
    home.kill_supervisor();
    home.status();
    let kinds = |args: &[&str]| -> Vec<String> {
        let told = home.ok(["events", "--json"].iter().chain(args)).out;
        told.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].to_string()).collect()
    };
    let all = kinds(&["--since", "1h"]);
    let count = |kind: &str| all.iter().filter(|told| told.trim_matches('"') == kind).count();
    assert_eq!((count("supervisor_started"), count("added"), count("lagged")), (2, 2, 0), "{all:?}");
    assert_eq!(count("spawned"), 2, "{all:?}");
    assert_eq!(kinds(&["/^jo/", "--since", "1h", "--kind", "added"]).len(), 1);
    assert_eq!(kinds(&["default", "-n", "3"]).len(), 3, "a namespace");
    assert!(kinds(&["--until", "2020-01-01"]).is_empty());
    home.run(["events", "--kind", "onlin"]).failed(2, &["online"]);

    home.ok(["scale", "/jobs|other/", "+1"]);
    assert_eq!((home.slots("jobs").len(), home.slots("other").len()), (2, 2));

    home.ok(["kill"]);
    let last = kinds(&["-n", "1"]);
    assert_eq!(last, ["\"shutdown\""], "the end is on the disk, and no daemon is needed to read it");
    assert_eq!(kinds(&["jobs", "--since", "1h", "--kind", "added"]).len(), 1, "also of an app that is gone");
    home.run(["events", "nobody", "--since", "1h"]).failed(4, &["nobody"]);
}
