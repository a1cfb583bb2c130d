//! Start, list, describe, reload, restart, scale, stop, delete, kill, status.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::apps::app;
use crate::support::{Home, ask, free_port, fresh, is_free, nothing_lost, proc_fs, some_answers, wait_until};

/// A plain Node http server on two workers.
fn web(home: &Home) -> u16 {
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    port
}

#[test]
fn an_unmodified_node_server_answers_from_two_workers_on_one_port() {
    let home = Home::new();
    let port = web(&home);

    let rows = home.slots("web");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.status == "online" && row.restarts == 0), "{rows:#?}");
    let load = fresh(port);
    some_answers(&load, 100);
    let report = nothing_lost("two workers", load);
    let answering: BTreeSet<u32> = report.by_worker().into_keys().collect();
    assert_eq!(answering, home.pids("web").into_iter().collect(), "both workers answer, and nobody else");
    for worker in answering {
        assert_ne!(proc_fs::parent(worker), Some(1), "a worker belongs to the supervisor");
    }
}

#[test]
fn a_worker_is_a_node_cluster_worker() {
    let home = Home::new();
    let port = web(&home);

    let about: Value = serde_json::from_str(&ask(port, "/about")).unwrap();
    assert_eq!(about["isWorker"], true, "{about}");
    assert_eq!(about["isPrimary"], false);
    assert_eq!(about["connected"], true);
    let slot: u64 = about["instance"].as_str().unwrap().parse().unwrap();
    assert!(slot < 2, "{about}");
    assert!(about["workerId"].as_u64().is_some(), "{about}");
    let row = home.slots("web").into_iter().find(|row| row.slot == slot).unwrap();
    assert_eq!(about["pid"], u64::from(row.pid.unwrap()));
    assert_eq!(about["cwd"], home.app_directory().to_str().unwrap());
    assert_eq!(about["argv"][0], port.to_string());
    assert!(about["env"]["NODE_CHANNEL_FD"].is_null(), "Node hides the channel's number from the program");
}

#[test]
fn list_as_json_is_one_object_for_each_slot() {
    let home = Home::new();
    web(&home);
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);

    let Value::Array(rows) = home.ok(["list", "--json"]).json() else { panic!("not an array") };
    assert_eq!(rows.len(), 3, "{rows:#?}");
    for row in &rows {
        for key in ["app", "id", "slot", "pid", "status", "restarts", "uptime_ms", "memory_bytes", "cpu_percent"] {
            assert!(row.get(key).is_some(), "no {key} in {row}");
        }
    }
    let rows = home.list();
    let web: Vec<_> = rows.iter().filter(|row| row.app == "web").map(|row| row.slot).collect();
    assert_eq!(web, [0, 1]);
    assert_eq!(rows[0].id, rows[1].id, "an id names an app");
    assert_ne!(rows[0].id, rows[2].id);
    for row in rows {
        assert!(proc_fs::is_alive(row.pid.unwrap()));
        let real = proc_fs::rss_bytes(row.pid.unwrap()).unwrap();
        assert!(row.memory_bytes > real / 2 && row.memory_bytes < real * 2, "{row:?}: really {real}");
        assert!((0.0..=800.0).contains(&row.cpu_percent), "{row:?}");
        assert!(row.uptime_ms < 600_000, "{row:?}");
    }
}

#[test]
fn list_is_a_table_that_names_what_runs() {
    let home = Home::new();
    let empty = home.ok(["list"]);
    assert!(!empty.out.is_empty() || !empty.err.is_empty(), "an empty list says that it is empty");
    web(&home);
    let table = home.ok(["list"]).out;
    for row in home.slots("web") {
        assert!(table.contains(&row.pid.unwrap().to_string()), "{table}");
    }
    for word in ["web", "online"] {
        assert!(table.contains(word), "{table}");
    }
    assert!(!table.contains('\x1b'), "no colours when it is no terminal: {table}");
}

#[test]
fn status_tells_version_home_and_both_processes() {
    let home = Home::new();
    web(&home);

    let status = home.status();
    assert!(status["version"].as_str().is_some_and(|version| !version.is_empty()), "{status}");
    assert_eq!(status["home"], home.path().to_str().unwrap());
    for role in ["supervisor", "keeper"] {
        let pid = u32::try_from(status[role]["pid"].as_u64().unwrap()).unwrap();
        assert!(proc_fs::is_alive(pid), "{role}: {status}");
        assert!(status[role]["uptime_ms"].is_u64(), "{role}: {status}");
        let memory = status[role]["memory_bytes"].as_u64().unwrap();
        let real = proc_fs::rss_bytes(pid).unwrap();
        assert!(memory > real / 2 && memory < real * 2, "{role}: {memory}, really {real}");
    }
    assert_eq!(proc_fs::parent(home.supervisor()), Some(home.keeper()));
    let text = home.ok(["status"]).out;
    assert!(text.contains(&home.supervisor().to_string()), "{text}");
}

#[test]
fn describe_tells_all_of_an_app() {
    let home = Home::new();
    let port = web(&home);

    let text = home.ok(["describe", "web"]).out;
    let pids = home.pids("web");
    for word in ["web.cjs", "online", &port.to_string(), &pids[0].to_string(), &pids[1].to_string(), "out.log"] {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
    home.run(["describe", "nobody"]).failed(4, &["nobody"]);
}

#[test]
fn stop_frees_the_port_and_keeps_the_app() {
    let home = Home::new();
    let port = web(&home);
    let pids = home.pids("web");

    home.ok(["stop", "web"]);
    assert!(is_free(port), "the port is free when the command returns");
    assert!(pids.iter().all(|pid| !proc_fs::is_alive(*pid)), "the workers are gone when the command returns");
    let rows = home.slots("web");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.status == "stopped" && row.pid.is_none() && row.memory_bytes == 0), "{rows:#?}");

    home.ok(["start", "web"]);
    home.wait_online("web", 2);
    ask(port, "/?id=1");
}

#[test]
fn delete_forgets_the_app() {
    let home = Home::new();
    let port = web(&home);
    let pids = home.pids("web");

    home.ok(["delete", "web"]);
    assert!(is_free(port));
    assert!(pids.iter().all(|pid| !proc_fs::is_alive(*pid)));
    assert_eq!(home.list(), []);
    home.run(["stop", "web"]).failed(4, &["web"]);
}

#[test]
fn restart_replaces_every_worker_by_name_id_and_all() {
    let home = Home::new();
    let port = web(&home);
    let id = home.slots("web")[0].id.to_string();
    for target in ["web", &id, "all"] {
        let before = home.pids("web");
        home.ok(["restart", target]);
        let after = home.pids("web");
        assert_eq!(after.len(), 2);
        assert!(after.iter().all(|pid| !before.contains(pid)), "restart {target}");
        ask(port, "/?id=1");
    }
}

#[test]
fn scale_up_and_down_loses_nothing() {
    let home = Home::new();
    let port = web(&home);
    let load = fresh(port);
    some_answers(&load, 50);

    home.ok(["scale", "web", "4"]);
    let four = home.slots("web");
    assert_eq!(four.iter().map(|row| row.slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(four.iter().all(|row| row.status == "online"));
    some_answers(&load, 200);
    home.ok(["scale", "web", "1"]);
    let one = home.slots("web");
    assert_eq!(one.len(), 1, "{one:#?}");
    assert_eq!(one[0].pid, four[0].pid, "the lowest slot stays, and stays untouched");
    some_answers(&load, 200);
    let report = nothing_lost("scaling", load);
    assert_eq!(report.by_worker().len(), 4, "each of the four answered: {report}");
}

#[test]
fn kill_ends_all_and_leaves_nothing() {
    let home = Home::new();
    let port = web(&home);
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);

    home.ok(["kill"]);
    home.wait_gone();
    assert!(is_free(port));
    // A home without a daemon is not an error of the one who wants it ended.
    home.ok(["kill"]);
}

#[test]
fn a_python_worker_is_kept_alive() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs"]);
    let before = home.slots("jobs")[0].clone();
    assert_eq!(before.status, "online");

    proc_fs::kill9(before.pid.unwrap()).unwrap();
    wait_until("another worker in the slot", || {
        let now = &home.slots("jobs")[0];
        now.status == "online" && now.pid != before.pid && now.restarts == 1
    });
}

#[test]
fn a_team_file_starts_all_its_apps_and_a_second_start_touches_only_what_changed() {
    let home = Home::new();
    let port = free_port();
    let team = |level: &str| {
        format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\ninstances = 2\n\n\
             [[app]]\nname = \"jobs\"\nscript = \"{}\"\nenv = {{ LEVEL = \"{level}\" }}\n",
            app("web.cjs"),
            app("worker.py"),
        )
    };
    let file = home.write("team.toml", &team("1"));
    let file = file.to_str().unwrap();

    home.ok(["start", file]);
    let web = home.wait_online("web", 2);
    let jobs = home.wait_online("jobs", 1);
    assert_ne!(web[0].id, jobs[0].id);

    home.ok(["start", file]);
    assert_eq!(home.pids("web"), web.iter().filter_map(|row| row.pid).collect::<Vec<_>>(), "nothing changed");

    home.write("team.toml", &team("2"));
    let plan = home.ok(["start", file, "--dry-run"]).out;
    assert!(plan.contains("jobs"), "{plan}");
    assert_eq!(home.pids("jobs"), [jobs[0].pid.unwrap()], "a dry run does nothing");
    home.ok(["start", file]);
    assert_eq!(home.pids("web"), web.iter().filter_map(|row| row.pid).collect::<Vec<_>>(), "not touched");
    assert_ne!(home.pids("jobs"), [jobs[0].pid.unwrap()], "replaced");
    assert_eq!(home.list().len(), 3);
}

#[test]
fn a_program_that_dies_at_once_is_an_error_with_its_last_words() {
    let home = Home::new();
    for (program, name) in [("fork.cjs", "node"), ("worker.py", "python")] {
        let output = home.run(["start", &app(program), "--name", name, "--", "die"]);
        output.failed(1, &["the reason why it died", "exit code 7"]);
    }
}

#[test]
fn commands_at_once_start_only_one_daemon() {
    let home = Home::new();
    let starts: Vec<_> =
        (0..6).map(|n| home.spawn(["start", &app("worker.py"), "--name", &format!("jobs{n}")])).collect();
    for start in starts {
        start.wait().succeeded();
    }
    assert_eq!(home.list().len(), 6);
    let daemon: BTreeSet<u32> = home.processes().difference(&home.worker_processes()).copied().collect();
    assert_eq!(daemon, BTreeSet::from([home.keeper(), home.supervisor()]), "one keeper and one supervisor");
}

#[test]
fn homes_do_not_know_of_each_other() {
    let (one, two) = (Home::new(), Home::new());
    let port = web(&one);
    two.ok(["start", &app("worker.py"), "--name", "web"]);
    assert_ne!(one.supervisor(), two.supervisor());
    two.ok(["kill"]);
    two.wait_gone();
    ask(port, "/?id=1");
    assert_eq!(one.slots("web").len(), 2);
}

#[test]
fn a_stop_reaches_the_whole_tree_and_ends_what_is_deaf() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"tree\"\nscript = \"{0}\"\nargs = [\"tree\"]\nstop = {{ grace = \"500ms\", drain = \"500ms\" }}\n\
             ready = {{ after = \"300ms\" }}\n\
             [[app]]\nname = \"deaf\"\nscript = \"{0}\"\nargs = [\"deaf\"]\nstop = {{ grace = \"500ms\", drain = \"500ms\" }}\n\
             ready = {{ after = \"300ms\" }}\n",
            app("fork.cjs"),
        ),
    );
    home.ok(["start", "team.toml"]);
    let worker = home.pids("tree")[0];
    wait_until("the grandchild runs", || {
        home.worker_processes().iter().any(|pid| proc_fs::command_line(*pid).contains("trap"))
    });
    home.ok(["stop", "all"]);
    assert!(!proc_fs::is_alive(worker));
    let left: Vec<String> = home.worker_processes().iter().map(|pid| proc_fs::command_line(*pid)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_slot_that_dies_again_and_again_gives_up_and_starts_anew_when_asked() {
    let home = Home::new();
    home.write("flag", "");
    home.write(
        "team.toml",
        "[[app]]\nname = \"flappy\"\ncommand = [\"sh\", \"-c\", \"sleep 0.15; test -e flag || exit 3; exec sleep 1000\"]\n\
         ready = { after = \"100ms\" }\n\
         restart = { delay = \"1ms\", factor = 1, max_restarts = 3, window = \"60s\" }\n",
    );
    home.ok(["start", "team.toml"]);
    home.wait_online("flappy", 1);
    std::fs::remove_file(home.app_directory().join("flag")).unwrap();
    // It may have missed the flag by itself.
    for pid in home.pids("flappy") {
        let _ = proc_fs::kill9(pid);
    }
    wait_until("the slot gives up", || home.slots("flappy")[0].status == "gave_up");
    assert_eq!(home.slots("flappy")[0].restarts, 3);
    assert_eq!(home.slots("flappy")[0].pid, None);

    home.write("flag", "");
    home.ok(["start", "flappy"]);
    home.wait_online("flappy", 1);
}
