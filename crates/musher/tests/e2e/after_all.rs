//! Keeper and supervisor killed in the same instant, the machine booted anew, the list on the disk, `save`, `resurrect`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use musher_api::client::Client;
use musher_api::{Action, ActionRequest};

use crate::support::apps::{app, rust_worker};
use crate::support::{
    Home, Load, Plan, Shape, ask, free_port, fresh, is_free, nothing_lost, proc_fs, some_answers, wait_equal,
    wait_until,
};

/// `kill -9` of both, the keeper first: the supervisor is killed while it finds out.
fn kill_both(home: &Home) -> [u32; 2] {
    let both = [home.keeper(), home.supervisor()];
    for pid in both {
        proc_fs::kill9(pid).unwrap();
    }
    wait_until("both are gone", || both.iter().all(|pid| !proc_fs::is_alive(*pid)));
    both
}

fn statuses(home: &Home, app: &str) -> Vec<String> {
    home.slots(app).into_iter().map(|row| row.status).collect()
}

/// A Python server on a socket that musher opens.
fn activated(home: &Home, instances: u32, more: &str) -> u16 {
    let port = free_port();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\ninstances = {instances}\nlisten = \"tcp://127.0.0.1:{port}\"\n\
             ready = {{ after = \"300ms\" }}\n{more}",
            app("activated.py")
        ),
    );
    home.ok(["start", "team.toml"]);
    port
}

#[test]
fn workers_outlive_both_and_are_taken_over_with_their_sockets() {
    for balance in ["shared", "kernel"] {
        let home = Home::new();
        let port = activated(&home, 2, &format!("balance = \"{balance}\"\n"));
        let before = home.slots("web");
        let load = fresh(port);
        some_answers(&load, 50);
        kill_both(&home);
        some_answers(&load, 100);
        // Any command will do.
        let said = home.ok(["list"]);
        assert!(said.err.contains("the daemon had died"), "{said:#?}");
        some_answers(&load, 50);
        let after = home.slots("web");
        for (old, new) in before.iter().zip(&after) {
            assert_eq!((old.pid, old.id, old.restarts, "online"), (new.pid, new.id, new.restarts, new.status.as_str()));
        }
        home.ok(["reload", "web"]);
        some_answers(&load, 50);
        nothing_lost(balance, load);
        wait_until("no worker is left over", || home.worker_processes().len() == 2);
        home.ok(["stop", "web"]);
        assert!(is_free(port));
    }
}

#[test]
fn node_workers_serve_on_without_both_and_are_replaced_without_loss() {
    serve_on_without_both(&node_web, "kernel", 0);
}

#[test]
fn node_workers_that_are_handed_their_connections_accept_them_by_themselves_without_both() {
    // One may be in the supervisor's hands when it is killed.
    serve_on_without_both(&node_web, "round-robin", 1);
}

#[test]
fn rust_workers_that_are_handed_their_connections_accept_them_by_themselves_without_both() {
    serve_on_without_both(&rust_web, "round-robin", 1);
}

fn node_web(port: u16) -> String {
    format!("[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\n", app("web.cjs"))
}

fn rust_web(port: u16) -> String {
    let server = rust_worker("cluster-axum");
    format!("[[app]]\nname = \"web\"\ncommand = \"{server} 127.0.0.1:{port}\"\ncluster = true\n")
}

/// Two workers without a daemon, under load, and their replacement by the next one.
fn serve_on_without_both(web: &dyn Fn(u16) -> String, balance: &str, in_hands: usize) {
    let home = Home::new();
    let port = free_port();
    let app = web(port);
    home.write("team.toml", &format!("{app}instances = 2\nbalance = \"{balance}\"\n"));
    home.ok(["start", "team.toml"]);
    let before = home.pids("web");
    let load = fresh(port);
    some_answers(&load, 50);
    kill_both(&home);
    some_answers(&load, 200);
    home.ok(["list"]);
    wait_until("other workers, which have channels", || {
        let now = home.slots("web");
        now.len() == 2 && now.iter().all(|row| row.status == "online" && !before.contains(&row.pid.unwrap_or(0)))
    });
    wait_until("the old ones are gone", || home.worker_processes().len() == 2);
    some_answers(&load, 50);
    let report = load.finish();
    assert!(report.answered() > 300 && report.lost().len() <= in_hands, "{balance}: {report}");
    assert!(report.lost().iter().all(|sample| sample.outcome.is_broken()), "{balance}: nobody is refused: {report}");
    assert!(home.slots("web").iter().all(|row| row.restarts == 0));
    home.ok(["reload", "web"]);
    home.ok(["stop", "web"]);
    assert!(is_free(port));
}

#[test]
fn long_answers_of_draining_workers_outlive_both_however_often_they_die() {
    let home = Home::new();
    let port = free_port();
    // What they have to finish is none of the grace's affair.
    let app = format!("[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\n", app("web.cjs"));
    home.write("team.toml", &format!("{app}instances = 2\nstop = {{ grace = \"100ms\" }}\n"));
    home.ok(["start", "team.toml"]);
    let shape = Shape::Streaming { connections: 6, chunks: 10, every: Duration::from_millis(100) };
    let load = Load::start(Plan::new(port, shape));
    let drains = || home.ok(["list"]).out.contains("draining");
    some_answers(&load, 6);
    // As those do that have lost their channel: each supervisor tells them again.
    kill_both(&home);
    wait_until("an old worker drains", drains);
    kill_both(&home);
    home.ok(["list"]);
    some_answers(&load, 6);
    home.wait_online("web", 2);
    home.ok(["reload", "web"]);
    // As those do that lose it while they drain.
    let reloading = home.spawn(["reload", "web"]);
    wait_until("an old worker drains", drains);
    kill_both(&home);
    home.ok(["list"]);
    reloading.stop();
    some_answers(&load, 6);
    nothing_lost("long answers", load);
}

#[test]
fn both_may_die_again_and_again() {
    let home = Home::new();
    let port = activated(&home, 2, "");
    let before = home.pids("web");
    let load = fresh(port);
    for _ in 0..4 {
        kill_both(&home);
        some_answers(&load, 30);
        home.ok(["status"]);
        home.kill_supervisor();
        home.kill_keeper();
        some_answers(&load, 30);
    }
    assert_eq!(home.pids("web"), before);
    nothing_lost("many deaths", load);
    home.ok(["kill"]);
    home.wait_gone();
}

#[test]
fn what_workers_write_while_there_is_no_daemon_is_in_the_log() {
    let home = Home::new();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"count\"\nscript = \"{}\"\nargs = [\"count\", \"400\", \"1500\"]\nready = {{ after = \"100ms\" }}\n",
            app("worker.py")
        ),
    );
    home.ok(["start", "team.toml"]);
    kill_both(&home);
    let lines = || home.log("count", "out.log").lines().count();
    let then = lines();
    home.ok(["list"]);
    wait_until("the log goes on", || lines() > then);
    wait_until("all is counted", || home.log("count", "out.log").contains("counted"));
    let text = home.log("count", "out.log");
    let mut numbers: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with("line "))
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..1500).collect::<Vec<_>>());
}

#[test]
fn what_was_acknowledged_is_true_after_both_were_killed() {
    let home = Home::new();
    for name in ["one", "two", "three"] {
        home.ok(["start", &app("worker.py"), "--name", name, "--ready", "100ms"]);
    }
    home.ok(["scale", "one", "3"]);
    kill_both(&home);
    assert_eq!(statuses(&home, "one"), ["online"; 3]);
    home.ok(["stop", "two"]);
    kill_both(&home);
    assert_eq!(statuses(&home, "two"), ["stopped"]);
    home.ok(["delete", "three"]);
    kill_both(&home);
    assert_eq!(home.slots("three"), []);
    home.ok(["start", "two"]);
    kill_both(&home);
    assert_eq!(statuses(&home, "two"), ["online"]);
    wait_equal("each worker once", &4, || home.worker_processes().len());
    let ids: Vec<u64> = home.list().iter().map(|row| row.id).collect();
    home.ok(["start", &app("worker.py"), "--name", "three", "--ready", "100ms"]);
    assert!(!ids.contains(&home.slots("three")[0].id), "an id is not given twice");
}

/// Both die in the instant in which a command gets its answer: the operation that it names goes on, and its number is
/// nobody else's.
#[test]
fn an_operation_that_was_named_outlives_both() {
    let home = Home::new();
    // Readiness takes long enough for the reload not to be done before both are dead.
    home.ok(["start", &app("worker.py"), "--name", "slow", "--ready", "1s"]);
    home.ok(["start", &app("worker.py"), "--name", "other", "--ready", "100ms"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for round in 0..4 {
        let before = home.pids("slow");
        let both = [home.keeper(), home.supervisor()];
        let client = Client::new(home.path().join("control.sock"));
        let request = ActionRequest {
            request_id: format!("reload-{round}"),
            targets: vec!["slow".to_owned()],
            action: Action::Reload,
        };
        let answer = runtime.block_on(client.act(&request)).unwrap();
        for pid in both {
            proc_fs::kill9(pid).unwrap();
        }
        wait_until("both are gone", || both.iter().all(|pid| !proc_fs::is_alive(*pid)));
        home.ok(["reload", "other"]);
        let done = runtime.block_on(client.wait(&answer.operations[0], |_| {})).unwrap();
        assert!(done.ok && done.app == "slow", "{done:?}");
        assert!(home.pids("slow").iter().all(|pid| !before.contains(pid)), "it was done");
    }
}

#[test]
fn workers_that_died_meanwhile_are_started_again() {
    let home = Home::new();
    let port = activated(&home, 2, "");
    let before = home.pids("web");
    kill_both(&home);
    proc_fs::kill9(before[0]).unwrap();
    let after: Vec<u32> = home.wait_online("web", 2).iter().map(|row| row.pid.unwrap()).collect();
    assert!(after[0] != before[0] && after[1] == before[1], "{before:?} {after:?}");
    assert_eq!(home.slots("web")[0].restarts, 0, "no fault of its own");
    ask(port, "/?id=1");
}

#[test]
fn a_command_that_only_ends_things_finds_them() {
    let home = Home::new();
    let port = activated(&home, 2, "");
    kill_both(&home);
    home.ok(["kill"]);
    home.wait_gone();
    assert!(is_free(port));
    assert_eq!(home.list(), [], "what was killed on purpose does not come back");
    assert!(!home.path().join("team.list").exists());
}

/// The list on the disk as another boot would have written it.
fn of_another_boot(list: &Path) {
    let text = fs::read_to_string(list).unwrap();
    let body: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("sum "))
        .map(|line| if line.starts_with("boot ") { "boot another\n".to_owned() } else { line.to_owned() })
        .collect();
    let sum = body
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    fs::write(list, format!("{body}sum {sum:016x}\n")).unwrap();
}

#[test]
fn after_a_reboot_the_apps_are_back_as_they_were_wanted() {
    let home = Home::new();
    let port = activated(&home, 1, "env = { SECRET = \"abc\" }\n");
    home.ok(["scale", "web", "2"]);
    home.ok(["start", &app("worker.py"), "--name", "off", "--ready", "100ms"]);
    home.ok(["stop", "off"]);
    for pid in kill_both(&home).into_iter().chain(home.processes()) {
        let _ = proc_fs::kill9(pid);
    }
    home.wait_gone();
    of_another_boot(&home.path().join("team.list"));
    home.ok(["list"]);
    home.wait_online("web", 2);
    assert_eq!(statuses(&home, "off"), ["stopped"]);
    ask(port, "/?id=1");
    assert_eq!(home.slots("web")[0].restarts, 0);
    let about = home.ok(["describe", "web", "--env", "--json"]).out;
    assert!(about.contains("abc"), "with its environment: {about}");
}

#[test]
fn an_orderly_end_keeps_the_list_for_the_next_daemon_and_starts_nothing_by_itself() {
    let home = Home::new();
    let port = activated(&home, 2, "");
    let keeper = home.keeper();
    proc_fs::signal(keeper, rustix::process::Signal::TERM).unwrap();
    home.wait_gone();
    let said = home.run(["list"]);
    assert!(said.err.contains("musher resurrect"), "{said:#?}");
    assert!(home.processes().is_empty(), "a look starts nothing");
    home.ok(["resurrect"]);
    home.wait_online("web", 2);
    ask(port, "/?id=1");
}

#[test]
fn a_saved_list_outlives_kill_and_delete() {
    let home = Home::new();
    home.run(["resurrect"]).failed(4, &["no apps were saved"]);
    let port = activated(&home, 2, "");
    home.ok(["start", &app("worker.py"), "--name", "jobs", "--ready", "100ms"]);
    home.ok(["start", &app("worker.py"), "--name", "off", "--ready", "100ms"]);
    home.ok(["stop", "off"]);
    home.ok(["save"]);
    home.ok(["delete", "jobs"]);
    let web = home.pids("web");
    let said = home.ok(["resurrect"]).err;
    assert!(said.contains("jobs: started") && said.contains("web: is there already"), "{said}");
    assert_eq!(home.pids("web"), web, "what runs is left alone");
    home.ok(["kill"]);
    home.wait_gone();
    assert_eq!(home.list(), [], "kill forgets");
    home.ok(["resurrect"]);
    home.wait_online("web", 2);
    assert_eq!((statuses(&home, "jobs"), statuses(&home, "off")), (vec!["online".into()], vec!["stopped".into()]));
    ask(port, "/?id=1");
}

#[test]
fn a_list_that_cannot_be_read_is_put_aside_and_told() {
    let home = Home::new();
    home.ok(["start", &app("worker.py"), "--name", "jobs", "--ready", "100ms"]);
    home.ok(["stop", "jobs"]);
    kill_both(&home);
    let list = home.path().join("team.list");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, &text[..text.len() / 2]).unwrap();
    let said = home.ok(["start", &app("worker.py"), "--name", "other", "--ready", "100ms"]);
    assert!(said.err.contains("cannot be read"), "{said:#?}");
    assert!(home.daemon_log().contains("cannot be used: it is damaged"), "{}", home.daemon_log());
    let aside = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_string_lossy().starts_with("team.list.unreadable-"))
        .unwrap();
    assert_eq!(fs::read_to_string(aside.path()).unwrap(), text[..text.len() / 2]);
    assert_eq!(home.list().len(), 1, "and there is a new list");
}

/// Whether a list was written to its end: its last line is the sum of all before it (FNV-1a).
fn is_whole(list: &[u8]) -> bool {
    let text_of_sum = "sum 0123456789abcdef\n".len();
    let (before, last) = list.split_at(list.len().saturating_sub(text_of_sum));
    let sum = before
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    last == format!("sum {sum:016x}\n").as_bytes()
}

#[test]
fn a_save_that_is_killed_leaves_the_old_list_or_the_new_one() {
    let home = Home::new();
    // Large enough for a kill to hit the middle of it.
    let large = "x".repeat(100_000);
    for name in ["one", "two", "three"] {
        home.ok(["start", "--name", name, "--env", &format!("LARGE={large}"), "--", "sleep", "1000"]);
    }
    home.ok(["save"]);
    let (saved, new) = (home.path().join("saved.list"), home.path().join("saved.list.new"));
    let mut hits = 0;
    for round in 0..200 {
        let supervisor = home.supervisor();
        let mut save = home.spawn(["save"]);
        while !new.exists() && save.is_running() {
            std::hint::spin_loop();
        }
        proc_fs::kill9(supervisor).unwrap();
        wait_until("it is dead", || !proc_fs::is_alive(supervisor));
        hits += u32::from(new.exists());
        let list = fs::read(&saved).unwrap();
        assert!(list.len() > 300_000 && is_whole(&list), "round {round}: {} bytes", list.len());
        save.stop();
        if hits >= 3 {
            break;
        }
    }
    println!("{hits} saves were cut off");
    assert!(hits > 0, "no kill hit a save");
    home.ok(["save"]);
    assert!(!new.exists(), "what was left behind is tidied up");
    home.ok(["kill"]);
    home.ok(["resurrect"]);
    assert_eq!(home.list().len(), 3);
}

#[test]
fn a_worker_that_the_list_does_not_know_is_logged_and_ended_whatever_dies_next() {
    let home = Home::new();
    // Its last line says how many there are.
    let script = "import os, signal, time\nn, end = 0, []\nsignal.signal(signal.SIGTERM, lambda *_: end.append(1))\n\
                  while not end:\n    print('line', os.getpid(), n, flush=True)\n    n += 1\n    time.sleep(0.005)\n\
                  print('end', os.getpid(), n, flush=True)\n";
    home.write("count.py", script);
    home.ok(["start", "count.py", "--name", "jobs", "--ready", "100ms"]);
    let list = home.path().join("team.list");
    let before = fs::read(&list).unwrap();
    home.ok(["restart", "jobs"]);
    let stray = home.pids("jobs")[0];
    wait_until("it writes", || home.log("jobs", "out.log").contains(&format!("line {stray} 0")));
    kill_both(&home);
    // As if both had died before the list was written once more.
    fs::write(&list, before).unwrap();
    home.ok(["status"]);
    // The next supervisor finds it, too.
    home.kill_supervisor();
    home.wait_online("jobs", 1);
    wait_until("it is ended", || !proc_fs::is_alive(stray));
    wait_equal("one worker", &home.pids("jobs"), || home.worker_processes().into_iter().collect::<Vec<u32>>());
    wait_until("each of its lines is in the log", || {
        let text = home.log("jobs", "out.log");
        let of_stray = |word: &str| -> Vec<u64> {
            let prefix = format!("{word} {stray} ");
            text.lines().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect()
        };
        let mut lines = of_stray("line");
        // What was written to the log just before the kill may be there twice.
        lines.sort_unstable();
        lines.dedup();
        matches!(*of_stray("end"), [count] if lines == (0..count).collect::<Vec<_>>())
    });
}
