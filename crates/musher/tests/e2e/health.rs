//! A worker that is not fit to serve is found, and replaced without a gap: liveness, watchdog, memory, CPU.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::apps::app;
use crate::support::told::{events, wait_event};
use crate::support::{Home, ask, free_port, fresh, is_free, nothing_lost, proc_fs, some_answers, wait_for, wait_until};

/// The server that falls ill in this way, with these lines beside it.
fn fit(home: &Home, illness: &str, lines: &str) -> u16 {
    let port = free_port();
    home.version("one");
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"fit\"\nscript = \"{}\"\nargs = [\"{port}\"]\ninstances = 2\n\
             stop = {{ grace = \"1s\", drain = \"2s\" }}\nenv = {{ ILLNESS = \"{illness}\" }}\n{lines}\n",
            app("fit.cjs")
        ),
    );
    home.ok(["start", "team.toml"]);
    home.wait_online("fit", 2);
    port
}

/// Frequent probes, so that no test waits for long.
fn probe(liveness: &str) -> String {
    format!("health = {{ liveness = {liveness}, interval = \"200ms\", timeout = \"2s\", failures = 2 }}")
}

/// Waits until this worker of the app is replaced, and all are online; the others stay.
#[track_caller]
fn replaced(home: &Home, name: &str, ill: u32) {
    let others: Vec<u32> = home.pids(name).into_iter().filter(|pid| *pid != ill).collect();
    wait_until("the ill worker is replaced", || {
        let rows = home.slots(name);
        rows.iter().all(|row| row.status == "online" && row.pid != Some(ill)) && !proc_fs::is_alive(ill)
    });
    let now = home.pids(name);
    assert!(others.iter().all(|other| now.contains(other)), "others were replaced too: {others:?}, now {now:?}");
}

/// The reason that the last replaced worker of a slot was replaced for.
#[track_caller]
fn reason(home: &Home, name: &str, ill: u32) -> String {
    let detail = home.ok(["describe", name, "--json"]).json();
    let slots = detail["slots"].as_array().unwrap().clone();
    let death = slots.iter().map(|slot| &slot["last_death"]).find(|death| death["pid"] == ill);
    let death = death.unwrap_or_else(|| panic!("no death of {ill}: {detail}"));
    assert_eq!(death["asked"], true, "{death}");
    death["unfit"].as_str().unwrap_or_else(|| panic!("no reason: {death}")).to_owned()
}

fn fall_ill(pid: u32) {
    proc_fs::signal(pid, Signal::USR2).unwrap();
}

#[test]
fn a_cluster_worker_that_answers_with_errors_is_replaced_and_nothing_is_lost() {
    let home = Home::new();
    let port = fit(&home, "sick", &probe("\"/health\""));
    let load = fresh(port);
    some_answers(&load, 60);
    let ill = home.pids("fit")[0];
    fall_ill(ill);
    let unfit = wait_event(&home, "unfit", "GET /health was answered with 503");
    assert_eq!(unfit["pid"], ill, "each worker is asked itself: {unfit}");
    replaced(&home, "fit", ill);
    some_answers(&load, 60);
    nothing_lost("replacement of an ill worker", load);
    assert!(reason(&home, "fit", ill).starts_with("liveness: 2 failures in a row"), "{}", reason(&home, "fit", ill));
    assert!(home.ok(["describe", "fit"]).out.contains("replaced: liveness"), "people are told, too");
    assert_eq!(home.slots("fit").iter().map(|row| row.restarts).sum::<u64>(), 1);
}

#[test]
fn a_cluster_worker_that_stands_still_is_replaced_with_every_policy() {
    for balance in ["kernel", "round-robin", "shared"] {
        let home = Home::new();
        fit(&home, "sick", &format!("balance = \"{balance}\"\n{}", probe("\"tcp\"")));
        let ill = home.pids("fit")[1];
        proc_fs::signal(ill, Signal::STOP).unwrap();
        let unfit = wait_event(&home, "unfit", "no answer within 2000 ms");
        assert_eq!(unfit["pid"], ill, "{balance}: {unfit}");
        replaced(&home, "fit", ill);
    }
}

#[test]
fn workers_with_ports_of_their_own_are_asked_there() {
    let home = Home::new();
    let port = std::iter::repeat_with(free_port).take(100).find(|port| *port < u16::MAX && is_free(port + 1)).unwrap();
    home.version("one");
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"fit\"\nscript = \"{}\"\nargs = [\"{port}\", \"1\"]\ninstances = 2\ncluster = false\n\
             ready = \"listening\"\nenv = {{ ILLNESS = \"sick\" }}\n{}\n",
            app("fit.cjs"),
            probe("\"/health\"")
        ),
    );
    home.ok(["start", "team.toml"]);
    home.wait_online("fit", 2);
    let ill = home.pids("fit")[1];
    assert_eq!(ask(port + 1, "/health").trim(), ill.to_string());
    fall_ill(ill);
    let unfit = wait_event(&home, "unfit", "503");
    assert_eq!(unfit["pid"], ill, "{unfit}");
    // Its successor cannot have the same port, so the old one is kept rather than lost.
    wait_event(&home, "died", "EADDRINUSE");
    assert!(home.pids("fit").contains(&ill));
}

#[test]
fn a_probe_command_knows_the_worker_and_tells_what_is_wrong() {
    let home = Home::new();
    let command =
        "[\"sh\", \"-c\", \"test ! -e ill-$MUSHER_PID || { echo slot $MUSHER_SLOT of $MUSHER_APP is ill; exit 4; }\"]";
    fit(&home, "sick", &probe(command));
    let ill = home.pids("fit")[1];
    home.write(&format!("ill-{ill}"), "");
    let unfit = wait_event(&home, "unfit", "exit code 4; it said: slot 1 of fit is ill");
    assert_eq!(unfit["pid"], ill, "{unfit}");
    replaced(&home, "fit", ill);
}

#[test]
fn a_probe_command_that_hangs_is_killed_with_all_it_started() {
    let home = Home::new();
    home.write(
        "team.toml",
        "[[app]]\nname = \"x\"\ncommand = [\"sleep\", \"1000\"]\nready = { after = \"10ms\" }\n\
         health = { liveness = [\"sh\", \"-c\", \"setsid sleep 1001 & echo $! > far; echo $$ > near; sleep 1002\"], \
         timeout = \"500ms\", interval = \"60s\" }\n",
    );
    home.ok(["start", "team.toml"]);
    let pid = |file: &str| fs::read_to_string(home.app_directory().join(file)).ok()?.trim().parse::<u32>().ok();
    let (near, far) = wait_for("the probe runs", || pid("near").zip(pid("far")));
    wait_until("all of the probe is gone", || !proc_fs::is_alive(near) && !proc_fs::is_alive(far));
    wait_until("the log says why", || home.daemon_log().contains("the probe took longer than 500 ms"));
    assert_eq!(home.slots("x")[0].restarts, 0, "one failure is not enough");
}

#[test]
fn a_probe_of_an_earlier_supervisor_is_killed_and_probing_goes_on() {
    let home = Home::new();
    let command = "[\"sh\", \"-c\", \"test -e go || { echo $$ > first; sleep 1000; }; test ! -e ill\"]";
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"x\"\ncommand = [\"sleep\", \"1000\"]\nready = {{ after = \"10ms\" }}\n\
             health = {{ liveness = {command}, timeout = \"1h\", interval = \"200ms\", failures = 1 }}\n"
        ),
    );
    home.ok(["start", "team.toml"]);
    let first = wait_for("the probe runs", || {
        fs::read_to_string(home.app_directory().join("first")).ok()?.trim().parse::<u32>().ok()
    });
    home.write("go", "");
    let worker = home.pids("x")[0];
    home.kill_supervisor();
    wait_until("the probe that nobody waits for is gone", || !proc_fs::is_alive(first));
    assert_eq!(home.pids("x"), [worker]);
    home.write("ill", "");
    wait_until("the worker is replaced", || home.slots("x")[0].pid.is_some_and(|pid| pid != worker));
}

/// A worker that notifies.
fn watched(home: &Home, lines: &str) {
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"dog\"\ncommand = [\"python3\", \"{}\"]\nready = \"notify\"\n{lines}\n",
            app("watched.py")
        ),
    );
}

#[test]
fn a_watchdog_is_told_fed_and_missed() {
    let home = Home::new();
    watched(&home, "health = { watchdog = \"2s\" }");
    home.ok(["start", "team.toml"]);
    let ill = home.pids("dog")[0];
    let told = fs::read_to_string(home.app_directory().join("watchdog")).unwrap();
    assert_eq!(told, format!("2000000 {ill} {ill}"), "WATCHDOG_USEC, WATCHDOG_PID, pid");
    let described = home.ok(["describe", "dog"]).out;
    assert!(described.contains("says: serving\\x1b[31m well"), "{described}");
    home.write("quiet", "");
    let unfit = wait_event(&home, "unfit", "no WATCHDOG=1 for 2000 ms");
    assert_eq!(unfit["pid"], ill, "{unfit}");
    fs::remove_file(home.app_directory().join("quiet")).unwrap();
    replaced(&home, "dog", ill);
    let death = home.ok(["describe", "dog", "--json"]).json()["slots"][0]["last_death"].clone();
    assert_eq!(death["said"], "serving\u{1b}[31m well");
}

#[test]
fn a_fed_watchdog_survives_the_supervisors_death_and_a_pause_of_it() {
    let home = Home::new();
    watched(&home, "health = { watchdog = \"400ms\" }");
    home.ok(["start", "team.toml"]);
    let worker = home.pids("dog")[0];
    home.kill_supervisor();
    let supervisor = home.supervisor();
    proc_fs::signal(supervisor, Signal::STOP).unwrap();
    // For more than the watchdog's time, as the worker tells it; then the socket is full.
    let fed = || fs::read_to_string(home.app_directory().join("fed")).ok()?.parse::<u32>().ok();
    let before = wait_for("it is fed", fed);
    wait_until("it goes on", || fed().is_some_and(|now| now >= before + 7));
    proc_fs::signal(supervisor, Signal::CONT).unwrap();
    home.ok(["list"]);
    assert!(events(&home).iter().all(|event| event["kind"] != "unfit"));
    // It still watches.
    home.write("quiet", "");
    let unfit = wait_event(&home, "unfit", "watchdog");
    assert_eq!(unfit["pid"], worker);
}

#[test]
fn a_worker_that_says_it_is_not_fit_is_replaced() {
    let home = Home::new();
    watched(&home, "");
    home.ok(["start", "team.toml"]);
    let ill = home.pids("dog")[0];
    fall_ill(ill);
    wait_event(&home, "unfit", "WATCHDOG=trigger");
    replaced(&home, "dog", ill);
}

#[test]
fn a_worker_that_asks_for_more_time_to_start_gets_it() {
    let home = Home::new();
    let lines = "env = { SLOW_START = \"0.7 0.7 0.7\" }\nready = { when = \"notify\", timeout = \"1s\" }";
    watched(&home, "");
    let toml = fs::read_to_string(home.app_directory().join("team.toml")).unwrap();
    home.write("team.toml", &toml.replace("ready = \"notify\"", lines));
    home.ok(["start", "team.toml"]);
    assert_eq!(home.wait_online("dog", 1)[0].restarts, 0);
}

#[test]
fn a_node_worker_that_leaks_memory_is_replaced_and_nothing_is_lost() {
    let home = Home::new();
    let port = fit(&home, "leak", "limits = { memory = \"200M\" }");
    let load = fresh(port);
    some_answers(&load, 60);
    let ill = home.pids("fit")[0];
    fall_ill(ill);
    let unfit = wait_event(&home, "unfit", "limits.memory is 200 MiB");
    assert_eq!(unfit["pid"], ill, "{unfit}");
    replaced(&home, "fit", ill);
    some_answers(&load, 60);
    nothing_lost("replacement of a worker that leaks", load);
    let detail = home.ok(["describe", "fit", "--json"]).json();
    let seen = |death: &Value| {
        death["pid"] == ill && death["last_memory"]["bytes"].as_u64().is_some_and(|bytes| bytes > 200 << 20)
    };
    assert!(detail["slots"].as_array().unwrap().iter().any(|slot| seen(&slot["last_death"])), "{detail}");
}

#[test]
fn memory_of_grandchildren_that_left_the_session_counts() {
    let home = Home::new();
    let far = home.write("far.py", "import time\nkept = b'x' * (150 << 20)\ntime.sleep(1000)\n");
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"x\"\ncommand = [\"sh\", \"-c\", \"test -e once || {{ touch once; sh -c 'setsid python3 {} & sleep 1000'; }}; exec sleep 1000\"]\n\
             ready = {{ after = \"10ms\" }}\nlimits = {{ memory = \"100M\" }}\n",
            far.display()
        ),
    );
    home.ok(["start", "team.toml"]);
    let ill = home.pids("x")[0];
    wait_event(&home, "unfit", "limits.memory is 100 MiB");
    wait_until("it is replaced, and all of it is gone", || {
        let now = home.pids("x");
        now.first().is_some_and(|pid| *pid != ill) && home.worker_processes().into_iter().eq(now)
    });
}

#[test]
fn a_worker_that_burns_a_core_is_replaced() {
    let home = Home::new();
    fit(&home, "burn", "limits = { cpu_percent = 30, cpu_for = \"1s\" }");
    let ill = home.pids("fit")[0];
    fall_ill(ill);
    let unfit = wait_event(&home, "unfit", "more than 30% of a core");
    assert_eq!(unfit["pid"], ill, "{unfit}");
    replaced(&home, "fit", ill);
}

#[test]
fn an_unfit_worker_is_kept_while_its_successor_cannot_start() {
    let home = Home::new();
    let port = fit(&home, "sick", &probe("\"/health\""));
    home.version("throw");
    let ill = home.pids("fit")[0];
    fall_ill(ill);
    wait_event(&home, "unfit", "503");
    wait_event(&home, "died", "broken on purpose");
    assert!(home.pids("fit").contains(&ill), "it is better than nothing");
    home.version("one");
    replaced(&home, "fit", ill);
    assert!(!ask(port, "/health").is_empty());
}
