//! Apps of a PM2 that runs are taken over one by one; what does not start here runs there again.

use std::fs;

use serde_json::Value;

use crate::support::apps::pm2;
use crate::support::{Home, ask, free_port, proc_fs, wait_equal, wait_until};

const SERVER: &str = "\
require('http').createServer((_, answer) => answer.end(process.env.COLOUR + process.argv[2])).listen(process.env.PORT);
if (process.send) process.send('ready');
";

/// Name and state of everything that PM2 has.
fn states(theirs: &Home) -> Vec<(String, String)> {
    let Value::Array(list) = theirs.ok(["jlist"]).json() else { panic!("jlist is no array") };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.iter().map(|process| (text(&process["name"]), text(&process["pm2_env"]["status"]))).collect()
}

fn state(name: &str, status: &str) -> (String, String) {
    (name.to_owned(), status.to_owned())
}

#[test]
fn a_pm2_that_runs_is_taken_over_and_what_fails_stays_there() {
    let (theirs, ours) = (pm2(), Home::new());
    let port = free_port();
    theirs.write("server.js", SERVER);
    // It starts once, and never again elsewhere.
    theirs.write("once.js", "if (process.env.MUSHER_APP) process.exit(4); setInterval(() => {}, 1000);");
    theirs.write("idle.js", "setInterval(() => {}, 1000);");
    theirs.write(
        "apps.json",
        &format!(
            r#"{{"apps": [
                {{"name": "web", "script": "server.js", "instances": 2, "args": "y", "env": {{"COLOUR": "blue", "PORT": {port}}}}},
                {{"name": "once", "script": "once.js", "max_restarts": 1}},
                {{"name": "idle", "script": "idle.js", "autostart": false}}
            ]}}"#
        ),
    );
    theirs.ok(["start", "apps.json", "-s"]);
    // That it is online, as PM2 says, does not mean that it listens.
    wait_until("PM2's workers listen", || proc_fs::listens(port));
    wait_equal("PM2 serves", &"bluey".to_owned(), || ask(port, "/"));
    theirs.ok(["save", "-s"]);
    let home = theirs.directory().join("pm2").display().to_string();

    let plan = ours.ok(["import", &home]);
    for line in ["web         2  cluster  2 of 2 run  start", "once        1  fork     1 of 1 run  start"] {
        assert!(plan.out.contains(line), "{plan:?}");
    }
    assert!(plan.out.contains("0 of 1 run  add, stopped") && plan.err.contains("nothing was done"), "{plan:?}");
    assert_eq!(ours.list(), []);

    ours.run(["import", "--yes", &home]).failed(1, &["web: taken over", "once: runs in PM2 again", "idle: taken over"]);
    let web = ours.wait_online("web", 2);
    assert_eq!(ask(port, "/"), "bluey");
    assert_eq!(ours.slots("idle")[0].status, "stopped");
    assert_eq!(ours.slots("once"), [], "it must not run twice");
    assert_eq!(web.len(), 2);
    let expected =
        ["web", "web", "once", "idle"].map(|name| state(name, if name == "once" { "online" } else { "stopped" }));
    wait_equal("only that runs there still", &expected.to_vec(), || {
        let mut states = states(&theirs);
        states.sort_by_key(|(name, _)| ["web", "once", "idle"].iter().position(|known| known == name));
        states
    });

    // From the dump, without PM2.
    theirs.ok(["kill", "-s"]);
    ours.ok(["delete", "all"]);
    let dump = format!("{home}/dump.pm2");
    let broken = fs::read_to_string(&dump).unwrap().replace("once.js", "gone.js");
    fs::write(&dump, broken).unwrap();
    ours.run(["import", "--yes", &dump]).failed(1, &["gone.js", "web: taken over"]);
    assert_eq!(ask(port, "/"), "bluey");
    ours.run(["import", "/nowhere"]).failed(7, &["there is no PM2"]);
}

#[test]
fn what_was_started_from_a_command_line_is_the_same_here() {
    let (theirs, ours) = (pm2(), Home::new());
    let base = theirs.app_directory().canonicalize().unwrap();
    theirs.write("idle.js", "setInterval(() => {}, 1000);");
    let (out, pid) = (base.join("idle.log"), base.join("idle.pid"));
    let words = [
        "start",
        "idle.js",
        "--name",
        "idle",
        "-i",
        "2",
        "-s",
        "-o",
        out.to_str().unwrap(),
        "-p",
        pid.to_str().unwrap(),
    ];
    let more = [
        "--watch",
        "--ignore-watch",
        "tmp logs",
        "--watch-delay",
        "3",
        "-c",
        "0 4 * * *",
        "--node-args",
        "--no-warnings",
    ];
    let rest =
        ["--namespace", "jobs", "--max-memory-restart", "300M", "--kill-timeout", "2345", "--", "--port", "two words"];
    let mut line = theirs.command(words.iter().chain(&more).chain(&rest));
    assert!(line.env("COLOUR", "blue").status().unwrap().success());
    theirs.ok(["start", "sleep 1000", "--name", "line", "-s"]);
    let home = theirs.directory().join("pm2").display().to_string();
    ours.ok(["import", "--yes", &home]);

    let described = ours.ok(["describe", "idle", "--json", "--env"]).json();
    let spec = &described["spec"];
    assert_eq!(described["slots"].as_array().map(Vec::len), Some(2), "{described}");
    assert_eq!((&spec["namespace"], &spec["env"]["COLOUR"]), (&"jobs".into(), &"blue".into()));
    assert_eq!(described["log_files"]["out"], out.to_str().unwrap(), "the ids of PM2 are not in it");
    let text = spec.to_string();
    for part in ["--no-warnings", "two words", "0 4 * * *", "\"tmp\"", "\"logs\"", "idle.pid", "2345", "314572800"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let line = ours.ok(["describe", "line", "--json"]).json();
    assert!(line["spec"]["exec"]["script"].is_null(), "{line}");
    assert_eq!(line["spec"]["exec"]["args"], serde_json::json!(["-c", "sleep 1000"]));
}
