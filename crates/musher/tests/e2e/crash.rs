//! `kill -9` of a worker, the supervisor, the keeper, and of the supervisor in the middle of a command.

use std::time::Duration;

use serde_json::Value;

use crate::support::apps::app;
use crate::support::{
    Background, Clients, Held, Home, Load, PATIENCE, Plan, Shape, ask, free_port, fresh, is_free, keep_alive,
    nothing_lost, proc_fs, some_answers, wait_until,
};

fn web(home: &Home, instances: u32, balance: &str) -> u16 {
    let port = free_port();
    home.version("one");
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\ninstances = {instances}\nbalance = \"{balance}\"\n",
            app("web.cjs")
        ),
    );
    home.ok(["start", "team.toml"]);
    home.wait_online("web", instances as usize);
    port
}

/// The clients of a server of which nothing may be left for a while: new connections and kept ones.
///
/// What comes meanwhile waits in the kernel's queue, 511 long as Node wants it, and beyond that the clients' kernel tries
/// again: nothing is lost, if a client waits long enough and the new workers catch up. How long a start takes and whether
/// 200 a second can be caught up with is up to the machine: with a sixteenth of a processor a start took longer than the
/// queue lasts, and most clients that wait 10 seconds gave up, none of them cut off. So these come slower and wait longer.
fn patient(port: u16) -> (Load, Load) {
    let start = |shape| Load::start(Plan { timeout: 2 * PATIENCE, ..Plan::new(port, shape) });
    let think = Duration::from_millis(100);
    (start(Shape::Fresh { per_second: 50 }), start(Shape::KeepAlive { connections: 16, think }))
}

/// The clients of a server of which some workers live.
fn demanding(port: u16) -> (Load, Load) {
    (fresh(port), keep_alive(port, 16, Duration::from_millis(100)))
}

/// Kills workers one after the other under load; the reports of new connections and of kept ones.
fn kill_workers(home: &Home, port: u16, instances: usize, (fresh, kept): (Load, Load)) {
    let mut held = Held::default();
    for round in 0..4 {
        some_answers(&fresh, 40);
        let victim = home.pids("web")[round % instances];
        held.kill(victim, port);
        wait_until("a replacement is online", || {
            let rows = home.slots("web");
            rows.iter().all(|row| row.status == "online" && row.pid != Some(victim))
        });
    }
    some_answers(&fresh, 40);
    let restarts: u64 = home.slots("web").iter().map(|row| row.restarts).sum();
    assert_eq!(restarts, 4);
    held.only_these_lost("new connections", &fresh.finish());
    held.only_these_lost("kept connections", &kept.finish());
}

#[test]
fn a_killed_worker_costs_only_what_it_held_with_kernel() {
    let home = Home::new();
    let port = web(&home, 2, "kernel");
    kill_workers(&home, port, 2, demanding(port));
}

#[test]
fn a_killed_worker_costs_only_what_it_held_with_round_robin() {
    let home = Home::new();
    let port = web(&home, 2, "round-robin");
    kill_workers(&home, port, 2, demanding(port));
}

#[test]
fn a_killed_worker_costs_only_what_it_held_with_shared() {
    let home = Home::new();
    let port = web(&home, 2, "shared");
    kill_workers(&home, port, 2, demanding(port));
}

#[test]
fn a_killed_single_worker_costs_only_what_it_held() {
    let home = Home::new();
    let port = web(&home, 1, "kernel");
    kill_workers(&home, port, 1, patient(port));
}

#[test]
fn all_workers_killed_at_once_cost_only_what_they_held() {
    let home = Home::new();
    let port = web(&home, 2, "kernel");
    let (fresh, kept) = patient(port);
    some_answers(&fresh, 40);
    let mut held = Held::default();
    for worker in home.pids("web") {
        held.kill(worker, port);
    }
    some_answers(&fresh, 60);
    home.wait_online("web", 2);
    held.only_these_lost("new connections", &fresh.finish());
    held.only_these_lost("kept connections", &kept.finish());
}

#[test]
fn a_killed_supervisor_costs_nothing_and_the_next_one_knows_all() {
    let home = Home::new();
    let port = web(&home, 2, "kernel");
    let before = home.slots("web");
    let keeper = home.keeper();
    let clients = Clients::on(port);
    clients.answered();

    let dead = home.kill_supervisor();
    clients.answered();
    assert_ne!(home.supervisor(), dead);
    assert_eq!(home.keeper(), keeper, "the keeper stays");
    let after = home.slots("web");
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((old.pid, old.slot, old.id, old.restarts), (new.pid, new.slot, new.id, new.restarts));
        assert!(new.uptime_ms >= old.uptime_ms, "the worker's age counts on: {old:?} {new:?}");
        assert_eq!(new.status, "online");
    }
    clients.nothing_lost();
    let about: Value = serde_json::from_str(&ask(port, "/about")).unwrap();
    assert_eq!(about["connected"], true, "the worker's channel is open");
}

#[test]
fn a_killed_keeper_costs_nothing_and_is_replaced() {
    let home = Home::new();
    let port = web(&home, 2, "kernel");
    let before = home.pids("web");
    let clients = Clients::on(port);
    clients.answered();

    let dead = home.kill_keeper();
    clients.answered();
    wait_until("another keeper", || home.keeper() != dead);
    assert_eq!(proc_fs::parent(home.supervisor()), Some(home.keeper()));
    assert_eq!(home.pids("web"), before);
    clients.nothing_lost();
}

#[test]
fn supervisor_and_keeper_killed_in_turn_many_times_cost_nothing() {
    let home = Home::new();
    let port = web(&home, 2, "kernel");
    let workers = home.pids("web");
    let clients = Clients::on(port);
    for round in 0..10 {
        if round % 2 == 0 {
            home.kill_supervisor();
        } else {
            home.kill_keeper();
        }
        clients.answered();
    }
    assert_eq!(home.pids("web"), workers, "the workers outlived them all");
    clients.nothing_lost();
    wait_until("one keeper and one supervisor", || home.processes().len() == 2 + workers.len());

    home.version("two");
    home.ok(["reload", "web"]);
    assert!(ask(port, "/?id=1").contains("version=two"), "and it reloads as ever");
    home.ok(["stop", "web"]);
    assert!(is_free(port), "no descriptor was leaked that holds the port");
}

#[test]
fn round_robin_and_shared_outlive_supervisor_and_keeper() {
    for balance in ["round-robin", "shared"] {
        let home = Home::new();
        let port = web(&home, 2, balance);
        let fresh = fresh(port);
        some_answers(&fresh, 50);
        home.kill_supervisor();
        some_answers(&fresh, 100);
        home.kill_keeper();
        some_answers(&fresh, 100);
        nothing_lost(balance, fresh);
    }
}

#[test]
fn a_worker_that_dies_while_there_is_no_supervisor_is_replaced() {
    let home = Home::new();
    let port = web(&home, 2, "kernel");
    let load = fresh(port);
    some_answers(&load, 50);
    let victim = home.pids("web")[0];
    let supervisor = home.supervisor();
    proc_fs::kill9(supervisor).unwrap();
    let mut held = Held::default();
    held.kill(victim, port);
    wait_until("a replacement is online", || {
        let rows = home.slots("web");
        rows.len() == 2 && rows.iter().all(|row| row.status == "online" && row.pid != Some(victim))
    });
    some_answers(&load, 50);
    held.only_these_lost("worker and supervisor", &load.finish());
    let death = home.ok(["describe", "web"]).out;
    assert!(death.contains("SIGKILL"), "how it ended is known: {death}");
}

#[test]
fn no_descriptor_and_no_process_is_left_by_many_kills() {
    let home = Home::new();
    web(&home, 2, "kernel");
    for _ in 0..2 {
        home.kill_supervisor();
        home.status();
    }
    let files = |home: &Home| (proc_fs::open_files(home.keeper()), proc_fs::open_files(home.supervisor()));
    let before = files(&home);
    for _ in 0..5 {
        home.kill_supervisor();
        home.status();
    }
    let after = files(&home);
    assert!(after.0 <= before.0 + 1 && after.1 <= before.1 + 2, "open files grow: {before:?} to {after:?}");
    assert_eq!(home.processes().len(), 4);
}

/// Kills the supervisor when the set of worker processes has changed `changes` times since the command was given (0:
/// at once), and waits for the command to end.
fn interrupt(home: &Home, mut command: Background, changes: u32) -> (Option<i32>, String) {
    let supervisor = home.supervisor();
    let mut workers = home.worker_processes();
    for _ in 0..changes {
        wait_until("the command does something, or ends", || {
            let now = home.worker_processes();
            let changed = now != workers;
            workers = now;
            changed || !command.is_running()
        });
    }
    // It may have been replaced by now only if it died of itself, which is a fault in any case.
    proc_fs::kill9(supervisor).unwrap();
    let output = command.wait();
    assert!(output.code == Some(0) || !output.err.trim().is_empty(), "fails without a word: {output:#?}");
    assert!(!output.err.contains("panicked"), "{output:#?}");
    (output.code, format!("{output:?}"))
}

#[test]
fn a_start_outlives_its_supervisor() {
    for changes in 0..3 {
        let home = Home::new();
        let port = free_port();
        home.ok(["start", &app("worker.py"), "--name", "other"]);
        let (script, port_text) = (app("web.cjs"), port.to_string());
        let command = home.spawn(["start", &script, "-i", "2", "--name", "web", "--", &port_text]);
        let (code, said) = interrupt(&home, command, changes);
        if code == Some(0) {
            home.wait_online("web", 2);
            ask(port, "/?id=1");
            assert_eq!(home.worker_processes().len(), 3, "no worker twice: {said}");
        } else {
            // Visibly failed: nothing half done stays behind for ever.
            wait_until("all or nothing", || {
                let rows = home.slots("web");
                rows.is_empty() || rows.iter().all(|row| row.status == "online" || row.status == "stopped")
            });
        }
    }
}

#[test]
fn a_reload_outlives_its_supervisor() {
    for changes in 0..4 {
        let home = Home::new();
        let port = web(&home, 2, "kernel");
        let load = fresh(port);
        some_answers(&load, 20);
        home.version("two");
        let (code, said) = interrupt(&home, home.spawn(["reload", "web"]), changes);
        home.wait_online("web", 2);
        wait_until("no worker too many", || home.worker_processes().len() == 2);
        some_answers(&load, 50);
        if code == Some(0) {
            assert!(ask(port, "/?id=1").contains("version=two"), "said to be done, but is not: {said}");
        }
        nothing_lost(&format!("a reload, its supervisor killed after {changes} changes"), load);
    }
}

#[test]
fn a_scale_outlives_its_supervisor() {
    for (to, changes) in [(4, 0), (4, 1), (4, 2), (1, 0), (1, 1)] {
        let home = Home::new();
        let port = web(&home, 2, "kernel");
        let load = fresh(port);
        some_answers(&load, 20);
        let (code, said) = interrupt(&home, home.spawn(["scale", "web", &to.to_string()]), changes);
        if code == Some(0) {
            home.wait_online("web", to);
            wait_until("as many workers as slots", || home.worker_processes().len() == to);
        } else {
            eprintln!("visibly failed: {said}");
        }
        some_answers(&load, 50);
        nothing_lost(&format!("a scale to {to}, its supervisor killed after {changes} changes"), load);
    }
}

#[test]
fn a_stop_outlives_its_supervisor() {
    for changes in 0..2 {
        let home = Home::new();
        let port = web(&home, 2, "kernel");
        let (code, said) = interrupt(&home, home.spawn(["stop", "web"]), changes);
        if code == Some(0) {
            assert!(is_free(port), "said to be stopped: {said}");
            assert!(home.worker_processes().is_empty(), "{said}");
            assert!(home.slots("web").iter().all(|row| row.status == "stopped"));
        } else {
            eprintln!("visibly failed: {said}");
            home.ok(["stop", "web"]);
            assert!(is_free(port));
        }
    }
}

#[test]
fn a_restart_and_a_delete_outlive_their_supervisor() {
    for changes in 0..3 {
        let home = Home::new();
        let port = web(&home, 2, "kernel");
        let before = home.pids("web");
        let (code, said) = interrupt(&home, home.spawn(["restart", "web"]), changes);
        if code == Some(0) {
            let after = home.wait_online("web", 2);
            assert!(after.iter().all(|row| !before.contains(&row.pid.unwrap())), "{said}");
        }
        let (code, said) = interrupt(&home, home.spawn(["delete", "web"]), changes);
        if code == Some(0) {
            assert_eq!(home.list(), [], "{said}");
            assert!(is_free(port), "{said}");
            assert!(home.worker_processes().is_empty(), "{said}");
        }
    }
}
