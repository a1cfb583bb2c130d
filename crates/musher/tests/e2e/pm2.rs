//! musher called as `pm2`: the same commands, given to the real one and to this one, with the same results.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::support::apps::{app, pm2};
use crate::support::{Home, wait_equal};

/// A home with musher under the name `pm2`.
pub(crate) fn ours() -> Home {
    let home = Home::new();
    let link = home.directory().join("pm2");
    symlink(env!("CARGO_BIN_EXE_musher"), &link).unwrap();
    prepared(home.executable(link))
}

fn prepared(home: Home) -> Home {
    let directory = home.app_directory();
    fs::copy(app("tell.js"), directory.join("tell.js")).unwrap();
    home.write("package.json", r#"{"version": "4.5.6"}"#);
    fs::create_dir(directory.join("told")).unwrap();
    let base = directory.canonicalize().unwrap().display().to_string();
    home.variable("TOLD", directory.join("told").display().to_string()).variable("BASE", base)
}

/// What scripts read of `jlist`, by id; paths as they are below the directory of the apps.
fn listed(home: &Home) -> Vec<Value> {
    let Value::Array(mut list) = home.ok(["jlist"]).json() else { panic!("jlist is no array") };
    list.sort_by_key(|process| process["pm_id"].as_u64());
    let below = |value: &Value| {
        let directory = home.app_directory().canonicalize().unwrap().display().to_string();
        value.as_str().map(|path| path.replace(&directory, "."))
    };
    let one = |process: &Value| {
        let env = &process["pm2_env"];
        assert_eq!(process["pm_id"], env["pm_id"], "{process}");
        assert_eq!(process["pid"].as_u64() > Some(0), env["status"] == "online", "{process}");
        assert!(env["pm_uptime"].as_u64() >= env["created_at"].as_u64(), "{process}");
        assert!(process["monit"]["memory"].is_u64() && process["monit"]["cpu"].is_number(), "{process}");
        json!({
            "id": process["pm_id"],
            "name": process["name"],
            "namespace": env["namespace"],
            "status": env["status"],
            "mode": env["exec_mode"],
            "restarts": env["restart_time"],
            "args": env["args"].as_array().filter(|args| !args.is_empty()),
            "node_args": env["node_args"],
            "script": below(&env["pm_exec_path"]),
            "cwd": below(&env["pm_cwd"]),
            "interpreter": env["exec_interpreter"],
            "autorestart": env["autorestart"],
            "watch": env["watch"],
            "version": env["version"],
            "user": env["username"],
            "slot": env["NODE_APP_INSTANCE"],
            "twice": [env["BASE"] == env["env"]["BASE"], env["BASE"].is_string()],
            "kill_timeout": env["kill_timeout"].as_u64().filter(|ms| *ms == 3210),
        })
    };
    list.iter().map(one).collect()
}

/// What a script sees: how often words stand in `prettylist`, the ids of an app, whether each command succeeded.
fn seen(home: &Home, commands: &[&[&str]]) -> Vec<(String, bool)> {
    commands.iter().map(|words| (words.join(" "), home.run(*words).code == Some(0))).collect()
}

const COMMANDS: &[&[&str]] = &[
    &["start", "tell.js", "--name", "web", "-i", "2", "--node-args", "--max-old-space-size=200", "--", "a", "b c"],
    &["start", "tell.js", "--name", "single", "--namespace", "back", "--kill-timeout", "3210", "-s"],
    &["start", "tell.js", "--name", "single"],
    &["start", "missing.js"],
    &["restart", "web"],
    &["reload", "web"],
    &["restart", "/^si/"],
    &["restart", "nope"],
    &["stop", "back"],
    &["scale", "web", "3"],
    &["scale", "web", "3"],
    &["save"],
    &["frobnicate"],
];

#[test]
fn commands_mean_what_they_mean_to_pm2() {
    let (theirs, ours) = (prepared(pm2()), ours());
    let expected = seen(&theirs, COMMANDS);
    assert_eq!(seen(&ours, COMMANDS), expected);
    let last = |home: &Home| listed(home).len();
    assert_eq!((last(&theirs), last(&ours)), (4, 4));
    wait_equal("what runs is the same", &listed(&theirs), || listed(&ours));
    for (words, lines) in [(&["id", "web"], 1), (&["pid", "web"], 3)] {
        let (their, our) = (theirs.ok(words).out, ours.ok(words).out);
        assert_eq!(our.lines().count(), lines, "{words:?}: {our}");
        assert!(words[0] == "pid" || our == their, "{words:?}: {our} but {their}");
    }
    let count = |home: &Home, word: &str| home.ok(["prettylist"]).out.matches(word).count();
    for word in
        ["'online'", "status: 'stopped'", "restart_time: 2", "node_args: [ '--max-old-space-size=200' ]", "'back'"]
    {
        assert_eq!(count(&ours, word), count(&theirs, word), "{word}");
    }

    let commands: &[&[&str]] = &[&["reset", "all"], &["start", "single"], &["delete", "web"], &["delete", "web"]];
    assert_eq!(seen(&ours, commands), seen(&theirs, commands));
    wait_equal("what is left is the same", &listed(&theirs), || listed(&ours));
    let commands: &[&[&str]] = &[&["delete", "all"], &["delete", "all"], &["save"], &["kill"]];
    assert_eq!(seen(&ours, commands), seen(&theirs, commands));
}

#[test]
fn files_options_and_what_there_is_not_are_told() {
    let ours = ours();
    ours.ok(["init"]);
    ours.run(["init"]).failed(1, &["ecosystem.config.js"]);
    ours.write(
        "apps.json",
        r#"{"apps": [{"name": "a", "script": "tell.js", "instances": 2, "cron_restart": "0 3 * * *"}, {"name": "b", "script": "tell.js"}]}"#,
    );
    let started = ours.ok(["startOrReload", "apps.json"]);
    assert!(
        started.err.contains("[PM2][WARN] cron_restart: an app that is stopped is not started by it"),
        "{started:?}"
    );
    let table = ours.ok(["ls", "--sort", "name:desc"]).out;
    assert!(table.contains("│ id │ name │ namespace │"), "{table}");
    assert_eq!(table.matches("│ online │").count(), 3, "{table}");
    assert!(table.find("│ b ").unwrap() < table.find("│ a ").unwrap(), "{table}");
    assert_eq!(ours.ok(["list", "-m"]).out.matches("status : online").count(), 3);
    // Again: everything is replaced, and counted.
    ours.ok(["startOrRestart", "apps.json", "--only", "b", "-s"]);
    let restarts: Vec<u64> = listed(&ours).iter().map(|process| process["restarts"].as_u64().unwrap()).collect();
    assert_eq!(restarts, [0, 0, 1]);

    for words in
        [&["sendSignal", "SIGWINCH", "a"][..], &["describe", "a"], &["env", "0"], &["flush"], &["reloadLogs", "a"]]
    {
        ours.ok(words);
    }
    assert_eq!(ours.ok(["ping"]).out, "{ msg: 'pong' }\n");
    ours.run(["sendSignal", "SIGNOPE", "a"]).failed(1, &["not a signal"]);
    ours.run(["describe", "nope"]).failed(1, &["nope not found"]);
    let states = |home: &Home| listed(home).iter().map(|one| one["status"].clone()).collect::<Vec<_>>();
    ours.ok(["stop", "0"]);
    assert_eq!(states(&ours), ["stopped", "online", "online"], "its sibling is left alone");
    ours.ok(["start", "0"]);
    assert_eq!(states(&ours), ["online", "online", "online"]);
    ours.ok(["delete", "1"]);
    ours.ok(["scale", "a", "+2"]);
    ours.ok(["scale", "a", "-1"]);
    let ids: Vec<u64> = listed(&ours).iter().map(|process| process["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [0, 2, 3], "1 is gone and not given again");
    for (command, word) in [("link", "services"), ("install", "modules")] {
        ours.run([command]).failed(1, &["command not found", word]);
    }
    ours.run(["monit"]).failed(1, &["needs a terminal", "musher list"]);
    let shell = ours.command(["restart", "b", "--update-env"]).env("NEW", "of this shell").status().unwrap();
    assert!(shell.success());
    let list = ours.ok(["jlist"]).json();
    let new = list.as_array().unwrap().iter().find(|process| process["name"] == "b").unwrap();
    assert_eq!(new["pm2_env"]["env"]["NEW"], "of this shell");
}

#[test]
fn several_apps_have_one_name_and_flags_change_apps() {
    let ours = ours();
    let script = ["start", "tell.js", "--name", "x", "-s"];
    ours.ok(script);
    ours.run(script).failed(1, &["already launched"]);
    ours.ok(script.into_iter().chain(["-f", "-p", "mine.pid"]).collect::<Vec<_>>());
    let shown = |keys: &[&str]| -> Vec<Value> {
        listed(&ours).iter().map(|one| keys.iter().map(|key| one[key].clone()).collect()).collect()
    };
    assert_eq!(shown(&["id", "name", "status"]), [json!([0, "x", "online"]), json!([1, "x", "online"])]);
    let pid = ours.ok(["jlist"]).json()[1]["pid"].to_string();
    let file = ours.app_directory().join("mine-0.pid");
    wait_equal("its pid is in the file", &Some(pid), || fs::read_to_string(&file).ok());
    ours.ok(["stop", "1", "-s"]);
    wait_equal("the file is gone with it", &false, || file.exists());
    assert_eq!(shown(&["id", "status"]), [json!([0, "online"]), json!([1, "stopped"])]);

    ours.ok(["restart", "0", "--name", "7", "--node-args", "--max-old-space-size=200", "--namespace", "n", "-s"]);
    let changed = [json!([0, "7", "n", ["--max-old-space-size=200"], 1]), json!([1, "x", "default", [], 0])];
    assert_eq!(shown(&["id", "name", "namespace", "node_args", "restarts"]), changed);
    ours.ok(["set", "7:COLOUR", "red"]);
    assert_eq!(ours.ok(["get", "7.COLOUR"]).out, "red\n");
    let first = &ours.ok(["jlist"]).json()[0];
    let env = &first["pm2_env"];
    assert_eq!((&env["COLOUR"], &env["restart_time"]), (&json!("red"), &json!(2)));
    assert!(env["node_version"].as_str().unwrap().starts_with(char::is_numeric), "{env}");
    assert_eq!(fs::read_to_string(env["pm_pid_path"].as_str().unwrap()).unwrap(), first["pid"].to_string());
    ours.run(["kill", "everything"]).failed(1, &["no names"]);
    ours.ok(["unset", "7.COLOUR"]);
    ours.run(["get", "7.COLOUR"]).failed(1, &["not set"]);

    // Both lines make one name, and each finds its own.
    let [one, two] = ["node ./tell.js --x 'a b'", "node ./tell.js --x 'a  b'"];
    ours.ok(["start", one, "-s"]);
    ours.ok(["start", two, "-s"]);
    ours.ok(["stop", two, "-s"]);
    let name = "node tell.js --x a b";
    let lines = shown(&["id", "name", "status"]).split_off(2);
    assert_eq!(lines, [json!([2, name, "online"]), json!([3, name, "stopped"])]);
}

#[test]
fn apps_are_named_together_and_counted_anew() {
    let home = prepared(Home::new());
    home.write(
        "team.toml",
        "[[app]]\nname = \"one\"\nnamespace = \"shop\"\nscript = \"tell.js\"\n\
         [[app]]\nname = \"two\"\nnamespace = \"shop\"\nscript = \"tell.js\"\n\
         [[app]]\nname = \"three\"\nscript = \"tell.js\"\nlogs = { out = \"three.log\" }\n",
    );
    home.ok(["start", "team.toml"]);
    let statuses = || home.list().into_iter().map(|row| row.status).collect::<Vec<_>>();
    home.ok(["stop", "shop"]);
    assert_eq!(statuses(), ["stopped", "stopped", "online"]);
    home.ok(["start", "/^T/i"]);
    assert_eq!(statuses(), ["stopped", "online", "online"]);
    home.ok(["start", "shop"]);
    assert_eq!(home.ok(["pid", "shop"]).out.lines().count(), 2);
    home.run(["stop", "/nothing/"]).failed(4, &["no app's name matches"]);

    let before = home.slots("three")[0].clone();
    crate::support::proc_fs::kill9(before.pid.unwrap()).unwrap();
    wait_equal("it is restarted", &1, || home.slots("three")[0].restarts);
    home.wait_online("three", 1);
    home.ok(["reset", "three"]);
    assert_eq!(home.slots("three")[0].restarts, 0);
    let file = home.app_directory().join("three.log");
    wait_equal("it has written", &true, || fs::read_to_string(&file).is_ok_and(|text| text.contains("telling")));
    home.ok(["flush", "three"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    fs::rename(&file, home.app_directory().join("moved.log")).unwrap();
    home.ok(["reopen-logs", "three"]);
    home.ok(["restart", "three"]);
    wait_equal("it writes to the new file", &true, || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("telling"))
    });
    assert_eq!(fs::read_to_string(home.app_directory().join("moved.log")).unwrap(), "");
}
