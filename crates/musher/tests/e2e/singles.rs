//! One of several workers: stopped, started, reloaded and deleted while its siblings serve.

use crate::support::apps::app;
use crate::support::{Clients, Home, free_port, wait_equal, wait_until};

/// What `musher list` shows of each slot.
fn shown(home: &Home) -> Vec<(u64, String)> {
    home.slots("web").into_iter().map(|row| (row.slot, row.status)).collect()
}

fn is(status: [(u64, &str); 3]) -> Vec<(u64, String)> {
    status.into_iter().map(|(slot, status)| (slot, status.to_owned())).collect()
}

#[test]
fn one_worker_is_stopped_started_reloaded_and_deleted_under_load_and_nothing_is_lost() {
    let (home, port) = (Home::new(), free_port());
    home.version("one");
    home.ok(["start", &app("web.cjs"), "-i", "3", "--name", "web", "--", &port.to_string()]);
    let clients = Clients::on(port);
    clients.answered();

    home.ok(["stop", "web/1"]);
    assert_eq!(shown(&home), is([(0, "online"), (1, "stopped"), (2, "online")]));
    clients.answered();
    home.kill_supervisor();
    wait_until("a new supervisor answers", || home.run(["list"]).code == Some(0));
    assert_eq!(shown(&home), is([(0, "online"), (1, "stopped"), (2, "online")]), "it is not started by anybody");
    clients.answered();

    home.ok(["start", "web/1"]);
    wait_equal("it is back", &is([(0, "online"), (1, "online"), (2, "online")]), || shown(&home));
    let before = home.pids("web");
    home.ok(["reload", "web/2"]);
    let after = home.pids("web");
    assert_eq!(before[..2], after[..2], "the others are left alone");
    assert_ne!(before[2], after[2]);
    clients.answered();

    home.ok(["delete", "web/0"]);
    assert_eq!(home.slots("web").into_iter().map(|row| row.slot).collect::<Vec<_>>(), [1, 2]);
    clients.answered();
    home.run(["stop", "web/0"]).failed(4, &["web has no slot 0", "1, 2"]);
    home.run(["flush", "web/1"]).failed(2, &["one slot", "whole apps"]);
    clients.nothing_lost();
}

#[test]
fn what_was_stopped_alone_is_so_after_everything_was_ended_and_resumed() {
    let (home, port) = (Home::new(), free_port());
    home.version("one");
    home.ok(["start", &app("web.cjs"), "-i", "3", "--name", "web", "--", &port.to_string()]);
    home.ok(["delete", "web/0"]);
    home.ok(["stop", "web/2"]);
    home.ok(["save"]);
    home.ok(["kill"]);
    home.ok(["resurrect"]);
    // Without the gap.
    let stopped = [(0, "online".to_owned()), (1, "stopped".to_owned())];
    wait_equal("one serves", &stopped.to_vec(), || shown(&home));
    home.ok(["start", "web"]);
    home.wait_online("web", 2);
}
