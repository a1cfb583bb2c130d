//! `musher run`: a team in the foreground, also as process 1 of a container.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::apps::app;
use crate::support::{
    Background, Home, Load, PATIENCE, Target, ask, command, free_port, fresh, get, keep_alive, nothing_lost, proc_fs,
    some_answers, streaming, wait_equal, wait_until,
};

/// A server on two workers in the foreground, ready: its port and the command.
fn web(home: &Home, more: &[&str]) -> (u16, Background) {
    let port = free_port();
    home.version("one");
    let (script, port_text) = (home.program(&["web.cjs", "answer.cjs"]), port.to_string());
    let mut words = vec!["run", script.as_str(), "-i", "2", "--name", "web", "--ready-file", "ready"];
    words.extend(more);
    words.extend(["--", port_text.as_str()]);
    let team = home.spawn(words);
    wait_until("the file that says ready", || home.app_directory().join("ready").exists());
    (port, team)
}

/// The process that stands for the team, as this machine numbers it: in a container it is process 1 there.
fn keeper(home: &Home) -> u32 {
    let is_keeper = |pid: &u32| proc_fs::command_line(*pid).contains("keeper --adopt");
    home.processes().into_iter().find(is_keeper).unwrap()
}

fn supervisor(home: &Home) -> u32 {
    let is_supervisor = |pid: &u32| proc_fs::command_line(*pid).contains("supervisor --link");
    home.processes().into_iter().find(is_supervisor).unwrap()
}

/// Ends the load: what was lost had no connection yet.
#[track_caller]
fn only_late_ones_lost(what: &str, load: Load) {
    let report = load.finish();
    assert!(report.answered() > 0, "{what}: {report}");
    let in_flight: Vec<_> = report.lost().into_iter().filter(|sample| sample.opened.is_some()).collect();
    assert!(in_flight.is_empty(), "{what}: {in_flight:#?}\n{report}");
}

/// Whether unprivileged or privileged namespaces can be made here.
fn as_process_1(home: Home) -> Option<Home> {
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !command(unshare[0]).args(&unshare[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no right to make namespaces");
        return None;
    }
    Some(home.under(unshare))
}

fn asked_to_end_under_load(home: &Home) {
    let (port, team) = web(home, &[]);
    let (new, slow) = (fresh(port), streaming(port, 4));
    some_answers(&new, 100);
    some_answers(&slow, 4);
    proc_fs::signal(keeper(home), Signal::TERM).unwrap();
    let output = team.wait();
    only_late_ones_lost("new connections", new);
    only_late_ones_lost("answers that take a second", slow);
    assert_eq!(output.code, Some(0), "{output:#?}");
    assert!(output.out.contains("listening worker=1 version=one"), "the output of the workers: {output:#?}");
    assert!(!home.app_directory().join("ready").exists());
    home.wait_gone();
}

#[test]
fn asked_to_end_it_answers_all_that_it_had_accepted() {
    asked_to_end_under_load(&Home::new());
}

#[test]
fn without_the_rights_of_root_it_answers_all_that_it_had_accepted() {
    asked_to_end_under_load(&Home::of_an_ordinary_user());
}

#[test]
fn as_process_1_it_answers_all_that_it_had_accepted() {
    let Some(home) = as_process_1(Home::new()) else { return };
    asked_to_end_under_load(&home);
}

#[test]
fn kept_connections_are_told_to_go_before_they_are_closed() {
    let home = Home::new();
    let (port, team) = web(&home, &[]);
    let kept = keep_alive(port, 8, Duration::from_millis(50));
    some_answers(&kept, 100);
    proc_fs::signal(keeper(&home), Signal::INT).unwrap();
    team.wait().succeeded();
    only_late_ones_lost("kept connections", kept);
}

#[test]
fn a_supervisor_killed_below_process_1_costs_nothing() {
    let Some(home) = as_process_1(Home::new()) else { return };
    let (port, team) = web(&home, &[]);
    let load = fresh(port);
    let before = home.worker_processes();
    for _ in 0..3 {
        let victim = supervisor(&home);
        proc_fs::kill9(victim).unwrap();
        wait_until("it is gone", || !proc_fs::is_alive(victim));
        some_answers(&load, 100);
        home.wait_online("web", 2);
    }
    assert_eq!(home.worker_processes(), before);
    nothing_lost("killed supervisors", load);
    // From inside, process 1 cannot be killed at all; what comes from outside ends the container.
    proc_fs::signal(keeper(&home), Signal::TERM).unwrap();
    team.wait().succeeded();
}

#[test]
fn a_hangup_reloads_and_other_signals_get_to_the_workers() {
    let home = Home::new();
    let (port, team) = web(&home, &[]);
    let load = fresh(port);
    let before = home.pids("web");
    home.version("two");
    proc_fs::signal(keeper(&home), Signal::HUP).unwrap();
    wait_until("other workers", || {
        let now = home.slots("web");
        now.iter().all(|row| row.status == "online" && !before.contains(&row.pid.unwrap_or(0)))
    });
    assert!(ask(port, "/?id=1").contains("version=two"));
    nothing_lost("a reload", load);
    // Node ends by a signal that nobody listens to.
    proc_fs::signal(keeper(&home), Signal::USR2).unwrap();
    wait_until("the signal is told", || home.ok(["describe", "web"]).out.contains("SIGUSR2"));
    drop(team);
}

#[test]
fn asked_twice_it_ends_at_once() {
    let home = Home::new();
    let script = home.write("deaf.sh", "trap '' TERM INT\nwhile :; do sleep 1; done\n");
    let team = home.spawn([
        "run",
        "--name",
        "job",
        "--ready",
        "100ms",
        "--grace",
        "10m",
        "--",
        "sh",
        script.to_str().unwrap(),
    ]);
    home.wait_online("job", 1);
    let keeper = keeper(&home);
    proc_fs::signal(keeper, Signal::INT).unwrap();
    wait_equal("it drains", &vec!["draining".to_owned()], || {
        home.slots("job").into_iter().map(|row| row.status).collect()
    });
    proc_fs::signal(keeper, Signal::INT).unwrap();
    assert_eq!(team.wait().code, Some(130));
    home.wait_gone();
}

#[test]
fn what_does_not_end_in_the_grace_is_killed() {
    let home = Home::new();
    let script = home.write("deaf.sh", "trap '' TERM INT\nwhile :; do sleep 1; done\n");
    let script = script.to_str().unwrap();
    let team = home.spawn([
        "run",
        "--name",
        "job",
        "--ready",
        "100ms",
        "--grace",
        "10m",
        "--shutdown-grace",
        "500ms",
        "--",
        "sh",
        script,
    ]);
    home.wait_online("job", 1);
    proc_fs::signal(keeper(&home), Signal::TERM).unwrap();
    team.wait().succeeded();
    home.wait_gone();
}

#[test]
fn the_exit_code_is_that_of_the_only_app() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -ABRT $$", 134)] {
        let home = Home::new();
        let output = home.run(["run", "--restart", "never", "--", "sh", "-c", script]);
        assert_eq!(output.code, Some(code), "{script}: {output:#?}");
        home.wait_gone();
    }
    let home = Home::new();
    let output =
        home.run(["run", "--max-restarts", "1", "--restart-delay", "10ms", "--", "sh", "-c", "echo no >&2; exit 3"]);
    assert_eq!(output.code, Some(3), "given up: {output:#?}");
    assert!(output.err.contains("no"), "{output:#?}");
}

#[test]
fn several_apps_are_told_apart_and_end_when_all_have() {
    let home = Home::new();
    let team = |second: &str| {
        format!(
            "[[app]]\nname = \"one\"\ncommand = \"sh\"\nargs = [\"-c\", \"echo first; exit 0\"]\nrestart = \"never\"\n\
             [[app]]\nname = \"two\"\ncommand = \"sh\"\nargs = [\"-c\", \"{second}\"]\nrestart = \"never\"\n"
        )
    };
    home.write("team.toml", &team("echo second >&2; exit 0"));
    let output = home.ok(["run", "team.toml"]);
    assert_eq!(output.out, "one/0 | first\n");
    assert!(output.err.contains("two/0 | second\n"), "{output:#?}");
    home.write("team.toml", &team("exit 9"));
    let output = home.run(["run", "team.toml", "--json"]);
    assert_eq!(output.code, Some(1), "{output:#?}");
    let line: serde_json::Value = serde_json::from_str(output.out.lines().next().unwrap()).unwrap();
    assert_eq!((&line["app"], &line["message"]), (&"one".into(), &"first".into()));
}

#[test]
fn orphans_are_reaped_by_process_1() {
    let Some(home) = as_process_1(Home::new()) else { return };
    let script = home.write("fork.sh", "for n in 1 2 3 4 5; do (setsid sh -c 'sleep 0.1' &) ; done\nexec sleep 1000\n");
    let team = home.spawn(["run", "--name", "job", "--ready", "1s", "--", "sh", script.to_str().unwrap()]);
    home.wait_online("job", 1);
    let zombie =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    wait_until("only keeper, supervisor and worker are left", || {
        let tree: Vec<u32> =
            [keeper(&home), supervisor(&home)].iter().flat_map(|pid| proc_fs::children(*pid)).collect();
        tree.len() == 2 && !tree.iter().any(zombie)
    });
    proc_fs::signal(keeper(&home), Signal::TERM).unwrap();
    team.wait().succeeded();
}

#[test]
fn health_checks_follow_the_team() {
    let home = Home::new();
    let health = free_port();
    let address = format!("127.0.0.1:{health}");
    home.version("silent");
    let script = app("web.cjs");
    let port = free_port().to_string();
    let team = home.spawn([
        "run",
        &script,
        "--name",
        "web",
        "--ready",
        "listening",
        "--health",
        &address,
        "--linger",
        "2s",
        "--",
        &port,
    ]);
    let target = Target::Tcp((Ipv4Addr::LOCALHOST, health).into());
    let status = |path: &str| get(&target, path, PATIENCE).map(|(status, _)| status).ok();
    wait_equal("it lives", &Some(200), || status("/live"));
    assert_eq!(status("/ready"), Some(503), "it does not listen yet");
    drop(team);
    // What was killed was the keeper: its supervisor goes on in its place, and serves on.
    wait_equal("it lives on", &Some(200), || status("/live"));
    home.ok(["kill"]);
    home.wait_gone();

    let metrics = free_port();
    let (_, team) = web(&home, &["--health", &address, "--metrics", &format!("127.0.0.1:{metrics}"), "--linger", "3s"]);
    wait_equal("ready", &Some(200), || status("/ready"));
    let (_, text) = get(&Target::Tcp((Ipv4Addr::LOCALHOST, metrics).into()), "/metrics", PATIENCE).unwrap();
    assert!(text.contains("musher_app_wanted{app=\"web\"} 1"), "{text}");
    proc_fs::signal(keeper(&home), Signal::TERM).unwrap();
    wait_equal("not ready, and still there", &Some(503), || status("/ready"));
    assert_eq!(home.slots("web").iter().filter(|row| row.status == "online").count(), 2);
    team.wait().succeeded();
}

#[test]
fn what_cannot_be_run_is_said_before_anything_is_started() {
    let home = Home::new();
    home.run(["run"]).failed(2, &["nothing to run"]);
    home.run(["run", "missing.js"]).failed(3, &["missing.js"]);
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    home.run(["run", "--health", &address, "--", "sleep", "1000"]).failed(7, &[&address]);
    home.ok(["start", &app("worker.py"), "--name", "jobs", "--ready", "100ms"]);
    home.run(["run", "--", "sleep", "1000"]).failed(7, &["runs already"]);
}

#[test]
fn without_a_home_it_makes_one_and_takes_it_away() {
    let home = Home::new();
    let place = home.directory().join("tmp");
    std::fs::create_dir(&place).unwrap();
    let home = home.variable("TMPDIR", place.display().to_string()).variable("MUSHER_HOME", "");
    let output = home.run(["run", "--restart", "never", "--", "sh", "-c", "ls $TMPDIR; exit 5"]);
    assert_eq!(output.code, Some(5), "{output:#?}");
    assert!(output.out.starts_with("musher-run-"), "{output:#?}");
    assert_eq!(std::fs::read_dir(place).unwrap().count(), 0);
}
