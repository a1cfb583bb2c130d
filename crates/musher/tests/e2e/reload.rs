//! Reload under load: a working version is never taken away before its successor has proved ready.

use std::time::Duration;

use crate::support::apps::{app, with_packages};
use crate::support::{
    Home, Load, Plan, Shape, ask, free_port, fresh, keep_alive, nothing_lost, proc_fs, some_answers, streaming,
    wait_until,
};

/// `script` on `instances` workers, serving version "one".
fn serving(home: &Home, script: &str, instances: &str) -> u16 {
    let port = free_port();
    home.version("one");
    home.ok(["start", script, "-i", instances, "--name", "web", "--", &port.to_string()]);
    port
}

/// The same of two workers, by a process file with these lines more.
fn serving_by_file(home: &Home, more: &str) -> u16 {
    let port = free_port();
    home.version("one");
    let table = format!("script = \"{}\"\nargs = [\"{port}\"]\ninstances = 2\n{more}", app("web.cjs"));
    home.write("team.toml", &format!("[[app]]\nname = \"web\"\n{table}"));
    home.ok(["start", "team.toml"]);
    port
}

fn reload_under_all_clients(home: &Home, port: u16) {
    let fresh = fresh(port);
    let kept = keep_alive(port, 24, Duration::from_millis(50));
    let slow = keep_alive(port, 24, Duration::from_millis(500));
    let streams = streaming(port, 8);
    for version in ["two", "three"] {
        some_answers(&fresh, 50);
        some_answers(&kept, 50);
        some_answers(&streams, 4);
        let before = home.pids("web");
        home.version(version);
        home.ok(["reload", "web"]);
        let after = home.pids("web");
        assert_eq!(after.len(), before.len());
        assert!(after.iter().all(|pid| !before.contains(pid)), "all workers are new");
        assert!(ask(port, "/?id=1").contains(&format!("version={version}")), "nothing old answers after the command");
        wait_until("the old workers are gone", || before.iter().all(|pid| !proc_fs::is_alive(*pid)));
    }
    some_answers(&fresh, 50);
    some_answers(&kept, 50);
    some_answers(&streams, 4);
    let report = nothing_lost("new connections", fresh);
    assert_eq!(report.by_version().into_keys().collect::<Vec<_>>().len(), 3, "{report}");
    nothing_lost("kept connections, short pauses", kept);
    nothing_lost("kept connections, long pauses", slow);
    nothing_lost("long answers", streams);
}

#[test]
fn without_the_rights_of_root_a_reload_after_a_killed_supervisor_loses_nothing() {
    let home = Home::of_an_ordinary_user();
    let script = home.program(&["web.cjs", "answer.cjs"]);
    let port = serving(&home, &script, "2");
    crate::support::loses_nothing(&home, port, true, "as an ordinary user");
}

#[test]
fn reload_of_a_plain_server_loses_nothing_for_any_client() {
    let home = Home::new();
    let port = serving(&home, &app("web.cjs"), "2");
    reload_under_all_clients(&home, port);
}

#[test]
fn reload_of_a_single_worker_loses_nothing() {
    let home = Home::new();
    let port = serving(&home, &app("web.cjs"), "1");
    reload_under_all_clients(&home, port);
}

#[test]
fn reload_of_an_es_module_loses_nothing() {
    let home = Home::new();
    let port = serving(&home, &app("web.mjs"), "2");
    reload_under_all_clients(&home, port);
}

#[test]
fn reload_of_an_express_app_loses_nothing() {
    let home = Home::new();
    let port = serving(&home, &with_packages(&home, "express.cjs"), "2");
    reload_under_all_clients(&home, port);
}

#[test]
fn reload_of_a_fastify_app_loses_nothing() {
    let home = Home::new();
    let port = serving(&home, &with_packages(&home, "fastify.mjs"), "2");
    reload_under_all_clients(&home, port);
}

/// Reload to a build that cannot start: the command fails, the old workers go on.
fn broken(version: &str, words: &[&str]) {
    let home = Home::new();
    let port = serving_by_file(&home, "ready = { timeout = \"2s\" }\n");
    let before = home.pids("web");
    let load = fresh(port);
    some_answers(&load, 20);

    home.version(version);
    home.run(["reload", "web"]).failed(1, words);
    some_answers(&load, 100);
    let report = nothing_lost("a reload that was aborted", load);
    assert_eq!(report.by_version().into_keys().collect::<Vec<_>>(), ["one"], "{report}");
    assert_eq!(home.pids("web"), before, "the old workers are still the ones");
    wait_until("nothing of the broken build is left", || home.worker_processes().len() == before.len());

    home.version("two");
    home.ok(["reload", "web"]);
    assert!(ask(port, "/?id=1").contains("version=two"), "mended, it reloads");
}

#[test]
fn a_build_that_throws_at_start_leaves_the_old_one_serving() {
    broken("throw", &["this build is broken on purpose"]);
}

#[test]
fn a_build_that_never_listens_leaves_the_old_one_serving() {
    broken("silent", &["web"]);
}

#[test]
fn a_request_that_outlives_the_reload_is_finished() {
    let home = Home::new();
    let port = serving(&home, &app("web.cjs"), "2");
    let shape = Shape::Streaming { connections: 6, chunks: 20, every: Duration::from_millis(200) };
    let streams = Load::start(Plan::new(port, shape));
    wait_until("the streams have begun", || {
        home.pids("web").iter().map(|pid| proc_fs::accepted(*pid, port).len()).sum::<usize>() == 6
    });
    home.version("two");
    home.ok(["reload", "web"]);
    let report = nothing_lost("streams of four seconds", streams);
    assert!(report.by_version().contains_key("one"), "the old workers ended their streams: {report}");
}

#[test]
fn a_worker_that_drains_is_shown() {
    let home = Home::new();
    let port = serving(&home, &app("web.cjs"), "2");
    let old = home.pids("web");
    let shape = Shape::Streaming { connections: 4, chunks: 50, every: Duration::from_millis(200) };
    let _streams = Load::start(Plan::new(port, shape));
    wait_until("the streams have begun", || {
        home.pids("web").iter().all(|pid| !proc_fs::accepted(*pid, port).is_empty())
    });
    home.ok(["reload", "web"]);
    let json = home.ok(["list", "--json"]).json();
    let draining: Vec<u64> =
        json.as_array().unwrap().iter().filter_map(|row| row["draining"][0]["pid"].as_u64()).collect();
    assert_eq!(draining.len(), 2, "{json}");
    assert!(draining.iter().all(|pid| old.contains(&u32::try_from(*pid).unwrap())), "{json}");
    for shown in [home.ok(["list"]).out, home.ok(["describe", "web"]).out] {
        assert!(shown.contains("draining") && shown.contains(&draining[0].to_string()), "{shown}");
    }
}

#[test]
fn a_reload_during_a_reload_is_told_what_runs_and_what_to_do() {
    let home = Home::new();
    let port = serving(&home, &app("web.cjs"), "2");
    home.version("silent");
    let first = home.spawn(["reload", "web"]);
    wait_until("a new worker starts", || home.ok(["list", "--json"]).out.contains("successor_pid"));
    home.run(["reload", "web"]).failed(1, &["busy with a reload", "0 of 2 workers", "musher restart web"]);
    home.version("two");
    home.ok(["restart", "web"]);
    first.wait().failed(1, &["a later command"]);
    assert!(ask(port, "/?id=1").contains("version=two"));
}

#[test]
fn a_version_that_does_not_listen_any_more_is_refused_by_a_reload_and_taken_by_a_restart() {
    let home = Home::new();
    let port = free_port();
    home.version("one");
    let script = app("web.cjs");
    home.ok(["start", &script, "--name", "web", "--ready-timeout", "4s", "--", &port.to_string()]);
    home.version("silent");
    home.run(["reload", "web"]).failed(1, &["was not ready within", "musher restart web", "--ready 3s"]);
    assert!(ask(port, "/?id=1").contains("version=one"));
    home.ok(["start", &script, "--name", "web", "--ready", "1s", "--", &port.to_string()]);
    home.version("one");
    home.ok(["start", &script, "--name", "web", "--ready-timeout", "4s", "--", &port.to_string()]);
    assert!(ask(port, "/?id=1").contains("version=one"));
    home.version("silent");
    home.ok(["restart", "web"]);
    assert_eq!(home.slots("web")[0].status, "online");
}

#[test]
fn two_reloads_at_once_both_end() {
    let home = Home::new();
    let port = serving(&home, &app("web.cjs"), "2");
    let load = fresh(port);
    let both = [home.spawn(["reload", "web"]), home.spawn(["reload", "web"])];
    for command in both {
        let output = command.wait();
        assert!(output.code == Some(0) || !output.err.is_empty(), "done or told why not: {output:#?}");
    }
    home.wait_online("web", 2);
    nothing_lost("two reloads", load);
}
