//! The small language that the tests are written in.
//!
//! [`Home`] is the one place that runs the executable; [`wait_for`] the one place that waits; [`apps`] knows the
//! programs under test; [`Held`] tells which lost requests a killed worker had held.

pub(crate) mod apps;
pub(crate) mod builds;
mod home;
mod killed;
pub(crate) mod machine;
pub(crate) mod pty;
pub(crate) mod reaper;
pub(crate) mod told;
mod user;

use std::ffi::OsStr;
use std::fmt::Debug;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

pub(crate) use home::{Background, Home, Output};
pub(crate) use killed::Held;
pub(crate) use musher_bench::load::{Load, Plan, Report, Shape, Target, get};
pub(crate) use musher_bench::proc_fs;

/// Long enough for anything that is going to happen at all on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server under load gets this many new connections a second.
pub(crate) const RATE: u32 = 200;

/// A command of the test's own.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the tests stand outside of the product")]
    Command::new(program)
}

/// Waits until `condition` yields a value, and fails the test with `what` when it does not.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    match musher_bench::wait::until(PATIENCE, condition) {
        Some(value) => value,
        None => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `probe` yields `expected`; the failure tells what it yielded last.
#[track_caller]
pub(crate) fn wait_equal<T: PartialEq + Debug>(what: &str, expected: &T, mut probe: impl FnMut() -> T) {
    let mut last = None;
    let reached = musher_bench::wait::until(PATIENCE, || {
        let value = probe();
        let equal = value == *expected;
        last = Some(value);
        equal.then_some(())
    });
    assert!(reached.is_some(), "waited {PATIENCE:?} in vain: {what}: expected {expected:?}, last was {last:?}");
}

/// A TCP port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Whether a TCP port can be bound, or only cannot because the kernel gave it to a client of somebody else meanwhile.
pub(crate) fn is_free(port: u16) -> bool {
    let binds = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    !proc_fs::listens(port) && (binds() || proc_fs::is_of_connection(port))
}

/// New connections at [`RATE`].
pub(crate) fn fresh(port: u16) -> Load {
    Load::start(Plan::new(port, Shape::Fresh { per_second: RATE }))
}

/// Kept connections with pauses of `think`.
pub(crate) fn keep_alive(port: u16, connections: u32, think: Duration) -> Load {
    Load::start(Plan::new(port, Shape::KeepAlive { connections, think }))
}

/// Answers that take a second.
pub(crate) fn streaming(port: u16, connections: u32) -> Load {
    Load::start(Plan::new(port, Shape::Streaming { connections, chunks: 10, every: Duration::from_millis(100) }))
}

/// Waits for further answers under load.
#[track_caller]
pub(crate) fn some_answers(load: &Load, more: u64) {
    assert!(load.wait_answered(more, PATIENCE), "no {more} answers in {PATIENCE:?}; {} lost", load.lost());
}

/// Ends the load: every request was answered.
#[track_caller]
pub(crate) fn nothing_lost(what: &str, load: Load) -> Report {
    let report = load.finish();
    assert!(report.answered() > 0, "{what}: no request was answered: {report}");
    assert!(report.lost().is_empty(), "{what}: {report}");
    report
}

/// All kinds of clients.
pub(crate) struct Clients {
    fresh: Load,
    kept: Load,
    streams: Load,
}

impl Clients {
    pub(crate) fn on(port: u16) -> Clients {
        Clients {
            fresh: fresh(port),
            kept: keep_alive(port, 16, Duration::from_millis(100)),
            streams: streaming(port, 4),
        }
    }

    #[track_caller]
    pub(crate) fn answered(&self) {
        some_answers(&self.fresh, u64::from(RATE) / 4);
        some_answers(&self.kept, 20);
    }

    #[track_caller]
    pub(crate) fn nothing_lost(self) {
        nothing_lost("new connections", self.fresh);
        nothing_lost("kept connections", self.kept);
        nothing_lost("long answers", self.streams);
    }
}

/// The answer to `path` on a port of this machine.
#[track_caller]
pub(crate) fn ask(port: u16, path: &str) -> String {
    let target = Target::Tcp((Ipv4Addr::LOCALHOST, port).into());
    match get(&target, path, PATIENCE) {
        Ok((200, body)) => body,
        other => panic!("GET {path} on port {port}: {other:?}"),
    }
}

/// Puts two workers of the app `web`, which was just started, through a reload under load, and before it their supervisor
/// through a kill if `kills`: nothing is lost.
#[track_caller]
pub(crate) fn loses_nothing(home: &Home, port: u16, kills: bool, what: &str) {
    let load = fresh(port);
    some_answers(&load, 100);
    if kills {
        home.kill_supervisor();
        some_answers(&load, 50);
    }
    let before = home.pids("web");
    home.ok(["reload", "web"]);
    wait_until("the old workers have ended", || before.iter().all(|pid| !proc_fs::is_alive(*pid)));
    some_answers(&load, 50);
    nothing_lost(what, load);
}
