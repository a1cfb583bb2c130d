//! Actions and metrics that a program registers by the library that PM2's users have.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::node_module::{package, told};
use crate::support::apps::app;
use crate::support::{Home, wait_for};

#[test]
fn actions_that_a_program_registered_are_called_by_name_and_their_answers_shown() {
    let home = Home::new();
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-npm/node_modules");
    assert!(packages.join("tx2").exists(), "tx2 is missing: `cargo xtask test` installs it, with PM2");
    symlink(packages.canonicalize().unwrap(), home.app_directory().join("node_modules")).unwrap();
    let script = home.app_directory().join("custom.cjs");
    std::fs::copy(app("custom.cjs"), &script).unwrap();
    home.ok(["start", "custom.cjs", "-i", "2", "--name", "web"]);
    wait_for("the program has registered", || {
        let text = home.ok(["describe", "web"]).out;
        (text.matches("actions: db:clean, level, silent").count() == 2 && text.matches("Users: 7").count() == 2)
            .then_some(())
    });
    let answers = home.ok(["trigger", "web", "db:clean", "--json"]).json();
    let mut slots: Vec<&Value> = answers.as_array().unwrap().iter().map(|answer| &answer["return"]["slot"]).collect();
    slots.sort_by_key(|slot| slot.to_string());
    assert_eq!(slots, ["0", "1"], "{answers}");
    assert_eq!(home.ok(["trigger", "web/1", "level", "debug"]).out, "web/1: {\"level\":\"debug\"}\n");
    home.run(["trigger", "web", "db:claen"]).failed(1, &["an action \"db:claen\"", "there are: db:clean, level"]);
    home.run(["trigger", "web/0", "silent", "--timeout", "200ms"]).failed(6, &["no answer within 200 ms from web/0"]);
    let as_pm2 = home.ok(["pm2", "trigger", "web", "level", "info"]).out;
    for id in [0, 1] {
        assert!(as_pm2.contains(&format!("[web:{id}:default]={{\"level\":\"info\"}}")), "{as_pm2}");
    }
    let call = "const musher = require(PACKAGE);
        musher.trigger('web', 'level', { to: 3 }, (error, answers) => {
          if (error) throw error;
          console.log(JSON.stringify(answers.map(({ process, data }) => [process, data])));
          musher.disconnect();
        });";
    let call = call.replace("PACKAGE", &format!("{:?}", package().to_str().unwrap()));
    let data = json!({ "action_name": "level", "return": { "level": { "to": 3 } } });
    let mut answers: Vec<Value> = told(&home, "call.cjs", &call).as_array().unwrap().clone();
    answers.sort_by_key(|answer| answer[0]["pm_id"].as_u64());
    let process = |id: u32| json!({ "name": "web", "pm_id": id, "namespace": "default" });
    assert_eq!(answers, [0, 1].map(|id| json!([process(id), data])));
    // What was registered once is known to the next supervisor, and to those who ask as with PM2.
    home.kill_supervisor();
    assert_eq!(home.ok(["trigger", "web/0", "level", "x"]).out, "web/0: {\"level\":\"x\"}\n");
    let record = home.ok(["pm2", "jlist"]).json();
    let actions = record[0]["pm2_env"]["axm_actions"].as_array().unwrap();
    assert!(actions.iter().any(|action| action["action_name"] == "db:clean"), "{actions:?}");
    let metric = || {
        let record = home.ok(["pm2", "jlist"]).json();
        let metric = &record[0]["pm2_env"]["axm_monitor"]["Users"];
        (!metric.is_null()).then(|| metric.clone())
    };
    assert_eq!(wait_for("the metric is told again", metric)["unit"], "users");
    // What is reported each second leaves place for what happens.
    assert!(!home.ok(["events", "--no-follow", "--since", "1h"]).out.contains("axm:monitor"));
}
