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
