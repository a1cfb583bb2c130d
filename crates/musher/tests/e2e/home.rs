//! The home of a daemon that lives: deleted, its log grown large, its supervisor hung, its readers gone.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::apps::app;
use crate::support::{Home, ask, free_port, proc_fs, wait_for, wait_until};

fn serving(home: &Home) -> u16 {
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "-i", "2", "--name", "web", "--", &port.to_string()]);
    port
}

#[test]
fn a_home_that_was_deleted_is_made_again_and_nothing_else_changes() {
    let home = Home::new();
    let port = serving(&home);
    let (workers, supervisor) = (home.pids("web"), home.supervisor());
    for _ in 0..2 {
        // What others write into it meanwhile makes this fail half-way, as it would for anybody.
        wait_until("it can be deleted", || fs::remove_dir_all(home.path()).is_ok() || !home.path().exists());
        wait_until("the daemon can be reached again", || home.path().join("control.sock").exists());
        assert_eq!(home.supervisor(), supervisor);
        assert_eq!(home.pids("web"), workers);
        ask(port, "/?id=1");
    }
    wait_until("it says so in its new log", || home.daemon_log().contains("made again"));
    // Both processes of the daemon hold the new lock: no second daemon comes, whichever of them dies.
    home.kill_supervisor();
    assert_eq!(home.pids("web"), workers);
    home.kill_keeper();
    home.ok(["reload", "web"]);
    ask(port, "/?id=1");
    home.ok(["kill"]);
    home.wait_gone();
}

#[test]
fn a_control_socket_that_was_deleted_is_made_again() {
    let home = Home::new();
    serving(&home);
    let supervisor = home.supervisor();
    fs::remove_file(home.path().join("control.sock")).unwrap();
    wait_until("the daemon can be reached again", || home.path().join("control.sock").exists());
    assert_eq!(home.supervisor(), supervisor);
}

#[test]
fn the_daemons_own_log_is_rotated() {
    let home = Home::new();
    fs::create_dir_all(home.path()).unwrap();
    rustix::fs::chmod(home.path(), 0o700.into()).unwrap();
    let old = "an old line\n".repeat(1 << 20);
    fs::write(home.path().join("musher.log"), &old).unwrap();
    serving(&home);
    wait_until("it is rotated", || home.path().join("musher.log.1").exists());
    wait_until("it is short", || home.daemon_log().len() < 1 << 20);
    assert!(fs::read_to_string(home.path().join("musher.log.1")).unwrap().starts_with(&old));
    home.kill_supervisor();
    wait_until("both write on", || home.daemon_log().contains("supervisor"));
}

#[test]
fn no_command_waits_longer_for_a_hung_supervisor_than_it_was_told_to() {
    let home = Home::new();
    serving(&home);
    let supervisor = home.supervisor();
    proc_fs::signal(supervisor, Signal::STOP).unwrap();
    wait_until("it is stopped", || proc_fs::state(supervisor) == Some('T'));
    let script = app("web.cjs");
    for command in [
        vec!["reload", "web"],
        vec!["restart", "web"],
        vec!["scale", "web", "3"],
        vec!["start", "web"],
        vec!["start", &script, "--name", "other"],
        vec!["stop", "web"],
        vec!["kill"],
    ] {
        let output = home.run(command.iter().chain(&["--timeout", "500ms"]));
        output.failed(6, &["not answered within 500 ms", "musher status"]);
    }
    proc_fs::signal(supervisor, Signal::CONT).unwrap();
    wait_until("it goes on", || home.run(["list"]).code == Some(0));
}

#[test]
fn following_ends_when_nobody_reads_any_more() {
    let home = Home::new();
    serving(&home);
    for verb in [vec!["logs", "-f", "-n", "1"], vec!["events"]] {
        let mut child = home.command(&verb).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        // Nothing more is written, so that it does not find out by writing.
        wait_for("it ends", || child.try_wait().unwrap());
    }
}

#[test]
fn following_all_apps_shows_those_that_come_later() {
    let home = Home::new();
    serving(&home);
    let mut child = home.command(["logs", "-f", "-n", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut next = |word: &str| {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ends without {word}");
        }
        line
    };
    // The first line proves that it follows.
    home.ok(["reload", "web"]);
    next("web/");
    home.ok(["start", "--name", "late", "--", "sh", "-c", "echo late words; sleep 1000"]);
    assert!(next("late words").starts_with("late/0"));
    home.ok(["delete", "late"]);
    home.ok(["start", "--name", "late", "--", "sh", "-c", "echo later words; sleep 1000"]);
    assert!(next("later words").starts_with("late/0"));
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = lines.read_to_string(&mut String::new());
}
