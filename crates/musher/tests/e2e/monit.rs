//! The view on the terminal, driven as a user would: by keys, on a terminal of 80 columns and 24 lines.

use rustix::process::Signal;

use crate::support::pty::Pty;
use crate::support::{Home, proc_fs, wait_until};

const TALK: &str = "echo hello out; echo bad err >&2; exec sleep 1000";

#[test]
fn apps_are_seen_restarted_and_their_logs_filtered_on_eighty_columns() {
    let home = Home::new();
    home.ok(["start", "--name", "talk", "-i", "2", "--", "sh", "-c", TALK]);
    home.ok(["start", "--name", "quiet", "--", "sleep", "1000"]);
    home.wait_online("talk", 2);
    let before = home.pids("talk");
    let mut view = Pty::start(&home.command(["monit"]));
    for what in ["▾ talk", "quiet", "2 apps, 3 of 3 workers online", "hello out", "bad err", "details", "? help"] {
        view.shows(what);
    }
    // Only standard error, then only what matches, then all again.
    view.types("oo");
    view.hides("hello out");
    view.shows("bad err");
    view.types("\x1bof");
    view.shows("only lines with:");
    view.types("HELLO|hello\r");
    view.hides("bad err");
    view.shows("hello out");
    view.types("\x1b");
    view.shows("bad err");
    // Nothing is done before it is confirmed.
    view.types("r");
    view.shows("Restart the 2 workers of talk?");
    view.types("n");
    view.shows("nothing was done");
    assert_eq!(home.pids("talk"), before);
    view.types("ry");
    view.shows("restart talk: done");
    let after = home.wait_online("talk", 2);
    assert!(after.iter().all(|row| !before.contains(&row.pid.unwrap())), "{after:?}");
    view.types("e");
    view.shows("events (e: details)");
    view.types("c3\r");
    view.shows("Scale talk from 2 to 3?");
    view.types("\r");
    view.shows("4 of 4 workers online");
    view.resize(40, 10);
    view.shows("apps (2)");
    view.hides("events");
    view.resize(100, 30);
    view.shows("events (e: details)");
    view.types("q");
    assert_eq!(view.ended(), Some(0));
    view.is_restored();
}

#[test]
fn the_view_outlives_the_daemon_and_gives_the_terminal_back_when_it_is_ended() {
    let home = Home::new();
    home.ok(["start", "--name", "first", "--", "sleep", "1000"]);
    let mut view = Pty::start(&home.command(["monit"]));
    view.shows("1 of 1 worker online");
    home.kill_supervisor();
    home.ok(["scale", "first", "2"]);
    view.shows("2 of 2 workers online");
    home.ok(["kill"]);
    view.shows("not connected");
    home.ok(["start", "--name", "second", "--", "sleep", "1000"]);
    view.shows("second");
    view.hides("not connected");
    proc_fs::signal(view.id(), Signal::TERM).unwrap();
    assert_eq!(view.ended(), Some(0));
    view.is_restored();
    // ^C as a key, in a terminal that gives no signals.
    let mut view = Pty::start(&home.command(["dash"]));
    view.shows("second");
    view.types("\x03");
    assert_eq!(view.ended(), Some(0));
    view.is_restored();
}

#[test]
fn the_list_is_shown_again_and_again_in_the_order_that_is_asked_for() {
    let home = Home::new();
    home.ok(["start", "--name", "b", "--", "sleep", "1000"]);
    let mut list = Pty::start(&home.command(["list", "--watch", "--sort", "name:desc"]));
    list.shows("b ");
    home.ok(["start", "--name", "c", "--", "sleep", "1000"]);
    list.shows("c ");
    assert!(list.text().find("c ").unwrap() < list.text().find("b ").unwrap(), "{}", list.text());
    list.types("\x03");
    assert_eq!(list.ended(), None, "^C is a signal as always");
    list.is_restored();
    home.run(["list", "--sort", "colour"]).failed(2, &["id, name, namespace"]);
    assert!(home.ok(["list", "-m", "c"]).out.starts_with("c/0\n  id: 2\n"));
}

#[test]
fn what_is_no_terminal_is_told_what_programs_use() {
    let home = Home::new();
    home.run(["monit"]).failed(7, &["needs a terminal", "musher list --json"]);
    wait_until("nothing was started", || home.processes().is_empty());
}
