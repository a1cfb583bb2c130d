//! Workers replaced and taken away under all kinds of clients: every policy, one worker and many, programs with signal
//! handlers of their own, programs in other languages by socket activation.

use std::path::Path;
use std::time::Duration;

use crate::support::apps::{app, hyper, tool};
use crate::support::{
    Home, Load, Plan, Report, Shape, free_port, fresh, is_free, keep_alive, nothing_lost, proc_fs, some_answers,
    wait_until,
};

/// The clients of one server.
struct Clients(Vec<(&'static str, Load)>);

impl Clients {
    /// A connection for each request, kept ones with short and with long pauses, and answers that take two seconds.
    fn all(port: u16) -> Clients {
        Clients(vec![
            ("new connections", fresh(port)),
            ("kept connections, short pauses", keep_alive(port, 16, Duration::from_millis(50))),
            ("kept connections, long pauses", keep_alive(port, 16, Duration::from_millis(500))),
            ("long answers", long_answers(port, 4)),
        ])
    }

    /// Those of a server that closes each connection after its answer, and works on one at a time.
    fn patient(port: u16) -> Clients {
        let slow = Plan::new(port, Shape::Fresh { per_second: 40 });
        Clients(vec![("new connections", Load::start(slow)), ("long answers", long_answers(port, 2))])
    }

    #[track_caller]
    fn go_on(&self) {
        for (_, load) in &self.0 {
            some_answers(load, 4);
        }
    }

    #[track_caller]
    fn lost_nothing(self, what: &str) {
        for (kind, load) in self.0 {
            nothing_lost(&format!("{what}: {kind}"), load);
        }
    }
}

fn long_answers(port: u16, connections: u32) -> Load {
    Load::start(Plan::new(port, Shape::Streaming { connections, chunks: 20, every: Duration::from_millis(100) }))
}

/// An app "web" of these lines, started from a process file.
#[track_caller]
fn started(home: &Home, lines: &str) {
    home.version("one");
    home.write("team.toml", &format!("[[app]]\nname = \"web\"\n{lines}\n"));
    home.ok(["start", "team.toml"]);
}

/// Reloads, scales up, scales down to one, and says what happened at the end: nothing was lost.
#[track_caller]
fn replaced_and_scaled(what: &str, home: &Home, clients: Clients, workers: usize) {
    clients.go_on();
    let before = home.pids("web");
    home.ok(["reload", "web"]);
    let after = home.pids("web");
    assert!(after.len() == workers && after.iter().all(|pid| !before.contains(pid)), "{what}: {before:?} {after:?}");
    clients.go_on();
    let more = workers + 1;
    home.ok(["scale", "web", &more.to_string()]);
    home.wait_online("web", more);
    clients.go_on();
    home.ok(["scale", "web", "1"]);
    assert_eq!(home.pids("web"), after[..1], "{what}: the lowest slot stays, untouched");
    clients.go_on();
    wait_until("those that were taken away have ended", || home.slots("web").len() == 1 && no_other_run(home));
    clients.lost_nothing(what);
}

/// Whether only runs that the list has are there.
fn no_other_run(home: &Home) -> bool {
    let listed = home.pids("web");
    let parents = |pid: u32| proc_fs::parent(pid).is_some_and(|parent| listed.contains(&parent));
    home.worker_processes().iter().all(|pid| listed.contains(pid) || parents(*pid))
}

fn node(balance: &str, workers: usize, script: &str, more: &str) {
    let home = Home::new();
    let port = free_port();
    started(
        &home,
        &format!(
            "script = \"{}\"\nargs = [\"{port}\"{more}]\ninstances = {workers}\nbalance = \"{balance}\"",
            app(script)
        ),
    );
    let what = format!("{script}, {balance}, {workers} workers");
    replaced_and_scaled(&what, &home, Clients::all(port), workers);
    home.ok(["stop", "web"]);
    assert!(is_free(port), "{what}");
}

#[test]
fn one_worker_is_replaced_without_loss_with_kernel() {
    node("kernel", 1, "web.cjs", "");
}

#[test]
fn many_workers_are_replaced_without_loss_with_kernel() {
    node("kernel", 3, "web.cjs", "");
}

#[test]
fn one_worker_is_replaced_without_loss_with_round_robin() {
    node("round-robin", 1, "web.cjs", "");
}

#[test]
fn many_workers_are_replaced_without_loss_with_round_robin() {
    node("round-robin", 3, "web.cjs", "");
}

#[test]
fn one_worker_is_replaced_without_loss_with_shared() {
    node("shared", 1, "web.cjs", "");
}

#[test]
fn many_workers_are_replaced_without_loss_with_shared() {
    node("shared", 3, "web.cjs", "");
}

#[test]
fn a_program_that_closes_its_server_on_sigterm_is_replaced_without_loss() {
    node("kernel", 2, "polite.cjs", ", \"polite\"");
}

#[test]
fn a_program_that_exits_at_once_on_sigterm_is_replaced_without_loss() {
    // It is drained before it gets the signal, so there is nothing left for it to cut off.
    node("kernel", 2, "polite.cjs", ", \"hasty\"");
}

#[test]
fn gunicorn_is_replaced_without_loss() {
    let home = Home::new();
    let port = free_port();
    let wsgi = app("wsgi.py");
    let directory = Path::new(&wsgi).parent().unwrap().display();
    let gunicorn = tool("venv/bin/gunicorn");
    started(
        &home,
        &format!(
            "command = \"{gunicorn} --preload --chdir {directory} --workers 4 wsgi:app\"\ninstances = 2\n\
             listen = \"tcp://127.0.0.1:{port}\"\nready = \"notify\"\nstop = {{ grace = \"20s\" }}"
        ),
    );
    replaced_and_scaled("gunicorn", &home, Clients::patient(port), 2);
    home.ok(["stop", "web"]);
    assert!(is_free(port));
}

#[test]
fn a_hyper_server_is_replaced_without_loss() {
    let home = Home::new();
    let port = free_port();
    started(
        &home,
        &format!(
            "command = \"{}\"\ninstances = 2\nlisten = \"tcp://127.0.0.1:{port}\"\nready = \"notify\"\n\
             stop = {{ grace = \"20s\" }}",
            hyper()
        ),
    );
    replaced_and_scaled("hyper", &home, Clients::all(port), 2);
    home.ok(["stop", "web"]);
    assert!(is_free(port));
}

/// Ends all clients after a restart: whoever came while nobody served has waited and got an answer; only what was in
/// flight may have broken with the worker that had it.
#[track_caller]
fn only_what_was_in_flight_broke(what: &str, load: Load, in_flight: usize) {
    let report: Report = load.finish();
    let lost = report.lost();
    assert!(lost.iter().all(|sample| sample.outcome.is_broken()), "{what}: {report}");
    assert!(lost.len() <= in_flight, "{what}: more than {in_flight}: {report}");
}

#[test]
fn a_restart_refuses_nobody_and_breaks_only_what_was_in_flight() {
    for balance in ["kernel", "round-robin", "shared"] {
        let home = Home::new();
        let port = free_port();
        started(
            &home,
            &format!("script = \"{}\"\nargs = [\"{port}\"]\ninstances = 2\nbalance = \"{balance}\"", app("web.cjs")),
        );
        let (fresh, kept, streams) =
            (fresh(port), keep_alive(port, 16, Duration::from_millis(100)), long_answers(port, 4));
        for load in [&fresh, &kept, &streams] {
            some_answers(load, 4);
        }
        let before = home.pids("web");
        home.ok(["restart", "web"]);
        assert!(home.pids("web").iter().all(|pid| !before.contains(pid)), "{balance}");
        for load in [&fresh, &kept, &streams] {
            some_answers(load, 8);
        }
        // At 200 a second hardly one is in the hands of each worker; on a loaded machine it may be some.
        only_what_was_in_flight_broke(&format!("{balance}: new connections"), fresh, 20);
        only_what_was_in_flight_broke(&format!("{balance}: kept connections"), kept, 16);
        only_what_was_in_flight_broke(&format!("{balance}: long answers"), streams, 4);
    }
}

#[test]
fn an_answer_longer_than_the_drain_is_cut_and_a_shorter_one_is_not() {
    let home = Home::new();
    let port = free_port();
    started(
        &home,
        &format!("script = \"{}\"\nargs = [\"{port}\"]\ninstances = 2\nstop = {{ drain = \"4s\" }}", app("web.cjs")),
    );
    // Nine seconds.
    let long = Shape::Streaming { connections: 2, chunks: 45, every: Duration::from_millis(200) };
    let long = Load::start(Plan { timeout: Duration::from_secs(60), ..Plan::new(port, long) });
    let before = home.pids("web");
    let accepted = || before.iter().map(|pid| proc_fs::accepted(*pid, port).len()).sum::<usize>();
    // Before the short ones, which come again and again: four connections need not be these and those.
    wait_until("the long answers have begun", || accepted() == 2);
    let short = long_answers(port, 2);
    wait_until("all four are being answered", || accepted() == 4);
    home.ok(["reload", "web"]);
    wait_until("the old workers are gone", || before.iter().all(|pid| !proc_fs::is_alive(*pid)));
    wait_until("the long answers have ended", || long.lost() >= 2);
    nothing_lost("answers of two seconds", short);
    let report = long.finish();
    assert!(report.lost().iter().all(|sample| sample.outcome.is_broken()), "{report}");
    assert_eq!(report.lost().len(), 2, "those that the old workers had begun: {report}");
}
