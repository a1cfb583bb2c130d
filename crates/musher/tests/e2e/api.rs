//! The control API over its socket, and what is told as it happens.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::apps::app;
use crate::support::{Home, PATIENCE, Target, get, proc_fs, wait_until};

fn call(home: &Home, path: &str) -> Value {
    let (status, body) = get(&Target::Unix(home.path().join("control.sock")), path, PATIENCE).unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn the_api_says_what_the_command_line_says() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs", "-i", "2"]);

    assert_eq!(call(&home, "/v1/status")["supervisor"]["pid"], u64::from(home.supervisor()));
    let slots = call(&home, "/v1/slots");
    let pids: Vec<u64> = slots.as_array().unwrap().iter().filter_map(|row| row["pid"].as_u64()).collect();
    assert_eq!(pids, home.pids("jobs").into_iter().map(u64::from).collect::<Vec<_>>());
    let detail = call(&home, "/v1/apps/jobs");
    let env = detail["spec"]["base_env"].as_object().unwrap();
    assert!(
        !env.is_empty() && env.values().all(|value| value == "[redacted]"),
        "values of variables are not shown: {env:?}"
    );
}

#[test]
fn the_description_of_the_api_names_its_routes() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    let description = call(&home, "/v1/openapi.json");
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"), "{description}");
    for path in ["/v1/status", "/v1/slots", "/v1/apps", "/v1/actions", "/v1/operations/{id}", "/v1/events", "/v1/logs"]
    {
        assert!(description["paths"].get(path).is_some(), "no {path}");
    }
    assert_eq!(home.ok(["openapi"]).json(), description);
}

#[test]
fn events_tell_the_story_of_a_killed_worker_also_over_a_killed_supervisor() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    let mut reader = home.spawn(["events", "--json"]);
    let victim = home.pids("jobs")[0];
    home.kill_supervisor();
    home.status();
    proc_fs::kill9(victim).unwrap();
    wait_until("a replacement", || {
        let now = &home.slots("jobs")[0];
        now.status == "online" && now.pid != Some(victim)
    });
    assert!(reader.is_running(), "it follows over the supervisor's death");
    home.ok(["delete", "jobs"]);
    let said = reader.stop().out;
    let kinds: BTreeSet<String> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["kind"].as_str().map(str::to_owned))
        .collect();
    for kind in ["supervisor_started", "adopted", "exited", "spawned", "online", "deleted"] {
        assert!(kinds.contains(kind), "no {kind} in {said}");
    }
}

#[test]
fn a_signal_reaches_the_workers() {
    let home = Home::new();
    home.write(
        "team.toml",
        "[[app]]\nname = \"jobs\"\nready = { after = \"300ms\" }\n\
         command = [\"sh\", \"-c\", \"trap 'echo heard' USR2; while :; do sleep 0.1; done\"]\n",
    );
    home.ok(["start", "team.toml"]);
    home.ok(["signal", "USR2", "jobs"]);
    wait_until("it is heard", || home.log("jobs", "out.log").contains("heard"));
    home.run(["signal", "NONSENSE", "jobs"]).failed(2, &["NONSENSE"]);
    assert_eq!(home.slots("jobs")[0].restarts, 0);
}

#[test]
fn completions_and_manual_are_printed() {
    let home = Home::new();
    assert!(home.ok(["completions", "bash"]).out.contains("musher"));
    assert!(home.ok(["man"]).out.contains("musher"));
    let version = home.ok(["--version"]).out;
    assert_eq!(version.trim(), format!("musher {}", env!("CARGO_PKG_VERSION")));
}
