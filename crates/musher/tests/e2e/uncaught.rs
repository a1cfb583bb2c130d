//! What nobody catches: an exception costs the request that threw it and no other; an event loop that does not turn costs
//! those that are in it.

use std::time::Duration;

use musher_bench::load::{Target, get};

use crate::support::apps::{app, nodes, with_packages};
use crate::support::told::{events, wait_event};
use crate::support::{
    Home, PATIENCE, ask, free_port, fresh, keep_alive, nothing_lost, some_answers, streaming, wait_until,
};

/// `throws.cjs` on two workers, with more in its table.
fn throwing(home: &Home, more: &str) -> u16 {
    let port = free_port();
    home.write(
        "team.toml",
        &format!(
            "[[app]]\nname = \"web\"\nscript = \"{}\"\nargs = [\"{port}\"]\ninstances = 2\n{more}\n",
            app("throws.cjs")
        ),
    );
    home.ok(["start", "team.toml"]);
    port
}

/// Asks for something that gets no answer.
fn provoke(port: u16, path: &str) {
    let target = Target::Tcp((std::net::Ipv4Addr::LOCALHOST, port).into());
    assert!(get(&target, path, PATIENCE).is_err(), "{path} gets no answer");
}

#[test]
fn an_exception_costs_only_the_request_that_threw_it() {
    let home = Home::new();
    let port = throwing(&home, "restart = { max_restarts = 100 }\nstop = { uncaught = \"2s\" }");
    let (fresh, kept) = (fresh(port), keep_alive(port, 16, Duration::from_millis(50)));
    let streams = streaming(port, 8);
    for (path, told) in
        [("/throw", "Error: thrown on purpose"), ("/reject", "rejected on purpose"), ("/later", "thrown later")]
    {
        some_answers(&fresh, 50);
        some_answers(&streams, 4);
        let before = home.pids("web");
        provoke(port, path);
        let event = wait_event(&home, "uncaught", told);
        let pid = u32::try_from(event["pid"].as_u64().unwrap()).unwrap();
        assert!(before.contains(&pid));
        wait_until("a replacement serves", || {
            let rows = home.slots("web");
            rows.len() == 2 && rows.iter().all(|row| row.status == "online" && row.pid != Some(pid))
        });
        wait_until("the worker that threw is gone", || !crate::support::proc_fs::is_alive(pid));
    }
    some_answers(&fresh, 50);
    nothing_lost("new connections", fresh);
    nothing_lost("kept connections", kept);
    nothing_lost("long answers", streams);

    let detail = home.ok(["describe", "web", "--json"]).json();
    let deaths: Vec<_> = detail["slots"].as_array().unwrap().iter().map(|slot| slot["last_death"].clone()).collect();
    let death = deaths.iter().find(|death| death["uncaught"].is_string()).expect("a death by an exception");
    assert_eq!(death["code"], 1, "as Node ends without musher: {death}");
    assert!(death["uncaught"].as_str().unwrap().contains("\n    at "), "with its stack: {death}");
    let shown = home.ok(["describe", "web"]).out;
    assert!(shown.contains("uncaught: Error: "), "{shown}");
    let log = home.log("web", "err.log");
    assert!(
        log.contains("throw new Error('thrown on purpose')") && log.contains("Node.js v"),
        "as Node tells it: {log}"
    );
}

#[test]
fn a_program_that_throws_at_its_start_is_told_of_and_not_kept() {
    let home = Home::new();
    home.version("throw");
    let port = free_port();
    let said = home.run(["start", &app("web.cjs"), "--name", "web", "--", &port.to_string()]);
    said.failed(1, &["this build is broken on purpose"]);
    wait_event(&home, "uncaught", "this build is broken on purpose");
}

#[test]
fn a_worker_that_shall_exit_exits_at_once() {
    for more in ["on_uncaught = \"exit\"", "preload = false"] {
        let home = Home::new();
        let port = throwing(&home, more);
        let before = home.pids("web");
        provoke(port, "/reject");
        wait_until("the worker is replaced", || {
            let rows = home.slots("web");
            rows.iter().all(|row| row.status == "online") && rows.iter().any(|row| !before.contains(&row.pid.unwrap()))
        });
        let told = events(&home).iter().any(|event| event["kind"] == "uncaught");
        assert_eq!(told, more.starts_with("on_uncaught"), "{more}: it is told, if there is somebody who can");
        ask(port, "/");
    }
}

#[test]
fn a_drain_after_an_exception_needs_the_means() {
    for (more, words) in [
        ("on_uncaught = \"drain\"\npreload = false", "preload = false"),
        ("on_uncaught = \"drain\"\ncluster = false", "Node cluster"),
        ("on_uncaught = \"ignore\"", "drain"),
    ] {
        let home = Home::new();
        home.write("team.toml", &format!("[[app]]\nscript = \"{}\"\n{more}\n", app("throws.cjs")));
        home.run(["start", "team.toml"]).failed(3, &["on_uncaught", words]);
    }
}

#[test]
fn an_event_loop_that_does_not_turn_is_replaced_without_a_gap() {
    for more in ["", "preload = false"] {
        let home = Home::new();
        let port = throwing(
            &home,
            &format!("health = {{ event_loop = \"1s\" }}\nstop = {{ grace = \"1s\", drain = \"1s\" }}\n{more}"),
        );
        let before = home.pids("web");
        let load = fresh(port);
        some_answers(&load, 50);
        let stuck = std::thread::spawn(move || provoke(port, "/stuck"));
        let event = wait_event(&home, "unfit", "event loop has not turned");
        let pid = u32::try_from(event["pid"].as_u64().unwrap()).unwrap();
        assert!(before.contains(&pid));
        wait_until("a replacement serves, and the stuck one is gone", || {
            let rows = home.slots("web");
            rows.iter().all(|row| row.status == "online" && row.pid != Some(pid))
                && !crate::support::proc_fs::is_alive(pid)
        });
        stuck.join().unwrap();
        some_answers(&load, 50);
        // A kill takes what the worker held: requests that had arrived in the loop that never turned.
        let report = load.finish();
        assert!(report.lost().len() <= 20, "{report}");
        let others: Vec<u32> = home.pids("web").into_iter().filter(|pid| before.contains(pid)).collect();
        assert_eq!(others.len(), 1, "the other worker is the same");
    }
}

#[test]
fn a_worker_that_is_merely_busy_is_not_replaced() {
    let home = Home::new();
    let port = throwing(&home, "health = { event_loop = \"3s\" }");
    let before = home.pids("web");
    for _ in 0..3 {
        ask(port, "/block?ms=1000");
    }
    ask(port, "/");
    assert_eq!(home.pids("web"), before);
    assert!(!events(&home).iter().any(|event| event["kind"] == "unfit"));
}

#[test]
fn programs_have_their_own_options_beside_the_preload() {
    for node in nodes() {
        let home = Home::new().at(std::env::temp_dir().join(format!("musher \"q\\ {}", std::process::id())));
        let (one, two) =
            (home.write("one two.cjs", "globalThis.one = 1;"), home.write("two.mjs", "globalThis.two = 2;"));
        let options = format!("--require \"{}\" --import=\"{}\" --no-warnings", one.display(), two.display());
        std::fs::copy(app("answer.cjs"), home.app_directory().join("answer.cjs")).unwrap();
        home.write(
            "app.mjs",
            "import http from 'node:http';
             import { answer } from './answer.cjs';
             const own = (response) => response.end(JSON.stringify([globalThis.one, globalThis.two, process.execArgv]));
             http.createServer((q, r) => (q.url === '/own' ? own(r) : answer(q, r))).listen(+process.argv[2]);",
        );
        let port = free_port();
        let home = home.variable("NODE_OPTIONS", options);
        let run = home.run([
            "start",
            "app.mjs",
            "--name",
            "web",
            "--interpreter",
            node.to_str().unwrap(),
            "--",
            &port.to_string(),
        ]);
        run.succeeded();
        assert_eq!(ask(port, "/own"), "[1,2,[]]", "{}", node.display());
        let load = keep_alive(port, 8, Duration::from_millis(20));
        some_answers(&load, 50);
        home.ok(["reload", "web"]);
        nothing_lost("an app with options of its own", load);
        home.ok(["delete", "web"]);
        drop(std::fs::remove_dir_all(home.path()));
    }
}

#[test]
fn a_program_that_may_read_only_its_own_files_starts_and_drains_without_the_preload() {
    let node = nodes().into_iter().next_back().unwrap();
    let home = Home::new();
    let port = free_port();
    let script = std::path::PathBuf::from(with_packages(&home, "web.cjs"));
    let may = format!("--permission --allow-fs-read={}", script.parent().unwrap().display());
    home.ok([
        "start",
        "web.cjs",
        "-i",
        "2",
        "--name",
        "web",
        "--interpreter",
        node.to_str().unwrap(),
        "--interpreter-args",
        &may,
        "--",
        &port.to_string(),
    ]);
    let load = fresh(port);
    some_answers(&load, 50);
    home.ok(["reload", "web"]);
    some_answers(&load, 50);
    nothing_lost("a program with permissions", load);
}
