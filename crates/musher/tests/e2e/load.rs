//! `musher load` as a user has it, and beside the real siege.

use std::process::Stdio;
use std::time::Duration;

use musher_bench::load::get;
use musher_bench::proc_fs;
use serde_json::Value;

use crate::support::apps::app;
use crate::support::{Home, PATIENCE, Target, command, free_port, wait_until};

/// A team of one that serves.
fn serving() -> (Home, u16) {
    let home = Home::new();
    let port = free_port();
    home.ok(["start", &app("web.cjs"), "--name", "web", "--", &port.to_string()]);
    wait_until("the app answers", || get(&Target::Tcp(([127, 0, 0, 1], port).into()), "/", PATIENCE).is_ok());
    (home, port)
}

#[test]
fn the_lines_are_those_of_siege_and_the_counts_too() {
    let (home, port) = serving();
    let url = format!("http://127.0.0.1:{port}/");
    let rc =
        home.write("siegerc", "connection = close\nparser = false\nlogging = false\njson_output = true\nlimit = 300\n");
    let siege = command("siege")
        .args(["-R", rc.to_str().unwrap(), "-c", "10", "-r", "5", "-j", &url])
        .env("HOME", home.directory())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(siege.stdout).unwrap();
    let siege: Value = serde_json::from_str(&text[text.find('{').unwrap()..=text.rfind('}').unwrap()]).unwrap();
    let ours = home.ok(["load", "-q", "-R", rc.to_str().unwrap(), "-c", "10", "-r", "5", "-j", &url]).json();
    for (name, value) in siege.as_object().unwrap() {
        let own = ours.get(name).unwrap_or_else(|| panic!("siege's {name} is not in our report"));
        if ["transactions", "availability", "successful_transactions", "failed_transactions"].contains(&name.as_str()) {
            assert_eq!(own.as_f64(), value.as_f64(), "{name}");
        }
    }
    assert_eq!(ours["total"]["connects"], 50);
}

#[test]
fn a_reload_in_the_middle_is_a_phase_that_can_be_judged() {
    let (home, port) = serving();
    let url = format!("http://127.0.0.1:{port}/");
    let report = home.directory().join("report.json");
    let words = ["load", "-q", "--rate", "100", "--before", "300ms", "--after", "300ms", "--finish", "5s"];
    let musher = env!("CARGO_BIN_EXE_musher");
    let during = format!("{musher} reload web");
    let judged = ["--during", &during, "--expect", "errors<=0", "-o", report.to_str().unwrap(), "-j", &url];
    let ours = home.ok(words.iter().chain(&judged)).json();
    let labels: Vec<&str> =
        ours["phases"].as_array().unwrap().iter().map(|phase| phase["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["before", &format!("during: {during}"), "after"]);
    assert!(ours["phases"][1]["tally"]["transactions"].as_u64().unwrap() > 0);
    let twice = ["load", "merge", "-j", report.to_str().unwrap(), report.to_str().unwrap()];
    let merged = home.ok(twice).json();
    assert_eq!(merged["transactions"].as_u64(), ours["transactions"].as_u64().map(|one| one * 2));
    let compared = home.ok(["load", "compare", report.to_str().unwrap(), report.to_str().unwrap()]).out.clone();
    assert!(compared.contains("p50, ms") && compared.contains("noise") && !compared.contains("worse"), "{compared}");
    home.run(["load", "-q", "-c", "1", "-r", "3", "--expect", "p50<1us", &url]).failed(1, &["fails", "p50<1us"]);
}

#[test]
fn an_interrupted_run_gives_its_report() {
    let (home, port) = serving();
    let url = format!("http://127.0.0.1:{port}/");
    let (child, rest) = told(&home, &["load", "-v", "-c", "2", "--think", "1ms", &url]);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    rest.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("Transactions:") && text.contains("ended early: interrupted"), "{text}");
}

/// A child whose first told answer was read; the rest of what it tells is read by a thread.
fn told(home: &Home, words: &[&str]) -> (std::process::Child, std::thread::JoinHandle<String>) {
    let mut child = home.command(words);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("HTTP/1.1 200") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut lines, &mut line).unwrap(), 0, "it ended");
    }
    let rest = std::thread::spawn(move || std::io::read_to_string(&mut lines).unwrap());
    (child, rest)
}

#[test]
fn several_processes_send_one_plan() {
    let (home, port) = serving();
    let url = format!("http://127.0.0.1:{port}/");
    let report = home.ok(["load", "-q", "-j", "--processes", "3", "-c", "10", "-r", "20", &url]).json();
    assert_eq!((&report["transactions"], &report["about"]["threads"]), (&200.into(), &3.into()));
    assert_eq!(report["total"]["connects"], 10, "{report}");
    // A mark reaches all of them.
    let words = ["--rate", "200", "--before", "200ms", "--after", "200ms", "--finish", "5s", "--during", "true"];
    let report = home.ok(["load", "-q", "-j", "--processes", "2"].iter().chain(&words).chain(&[url.as_str()])).json();
    let phases = report["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 3, "{report}");
    let count = |phase: &Value| phase["tally"]["transactions"].as_u64().unwrap();
    assert!(count(&phases[0]) > 0 && count(&phases[2]) > 0, "{report}");
    assert_eq!(phases.iter().map(count).sum::<u64>(), report["transactions"].as_u64().unwrap());
    // What one cannot do is told by whoever directs.
    home.run(["load", "-q", "--processes", "2", "-k", "--cert", "/no", "--key", "/no", "https://127.0.0.1:1/"])
        .failed(7, &["/no"]);
}

#[test]
fn a_process_that_dies_ends_the_run_with_its_story() {
    let (home, port) = serving();
    let url = format!("http://127.0.0.1:{port}/");
    let (child, rest) = told(&home, &["load", "-v", "--processes", "2", "-c", "2", "--think", "1ms", &url]);
    let generators = proc_fs::children(child.id());
    assert_eq!(generators.len(), 2);
    proc_fs::kill9(generators[1]).unwrap();
    let output = child.wait_with_output().unwrap();
    let rest = rest.join().unwrap();
    assert_eq!(output.status.code(), Some(7), "{rest}");
    assert!(rest.contains("is gone: signal 9 (SIGKILL)") && rest.contains("of 2"), "{rest}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("Transactions:") && report.contains("ended early: process"), "{report}");
    assert!(!proc_fs::is_alive(generators[0]));
    // Whoever directs is killed: nobody sends on.
    let (mut child, rest) = told(&home, &["load", "-v", "--processes", "2", "-c", "2", "--think", "1ms", &url]);
    let generators = proc_fs::children(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    rest.join().unwrap();
    wait_until("the generators end", || !generators.iter().any(|pid| proc_fs::is_alive(*pid)));
}

#[test]
fn what_must_not_or_cannot_be_loaded_is_refused_with_a_reason() {
    let home = Home::new();
    home.run(["load", "http://192.0.2.1/"]).failed(2, &["public address", "--yes-i-may"]);
    home.run(["load"]).failed(2, &["nothing to load"]);
    home.run(["load", "ftp://x/"]).failed(2, &["ftp"]);
    home.run(["load", "-o", "x.pdf", "http://127.0.0.1/"]).failed(2, &["x.pdf", "FILE.json"]);
    home.run(["load", "--expect", "speed<1", "http://127.0.0.1/"]).failed(2, &["no threshold"]);
    home.run(["load", "http://no-such-host.invalid/"]).failed(1, &["no-such-host.invalid"]);
    let list = home.write("urls.txt", "http://127.0.0.1/\nhttp://127.0.0.1/ FETCH\n");
    home.run(["load", "-f", list.to_str().unwrap()]).failed(3, &["line 2", "FETCH"]);
    let port = free_port();
    let time = Duration::from_secs(1);
    let url = format!("http://127.0.0.1:{port}/");
    let ended = home.run(["load", "-q", "-c", "2", "-r", "2", "--timeout", &format!("{}s", time.as_secs()), &url]);
    ended.failed(1, &["no request was answered", "refused"]);
}

#[test]
fn a_sweep_names_a_concurrency_and_draws_it() {
    let (home, port) = serving();
    let url = format!("http://127.0.0.1:{port}/");
    let page = home.directory().join("sweep.html");
    let short =
        ["--rounds", "1", "--level-time", "200ms", "--levels", "1,2,4", "--no-confirm", "-o", page.to_str().unwrap()];
    let report = home.ok(["load", "-q", "-j", "--sweep"].iter().chain(&short).chain(&[url.as_str()])).json();
    let users: Vec<u64> = report["runs"].as_array().unwrap().iter().map(|run| run["users"].as_u64().unwrap()).collect();
    assert_eq!(users.len(), 3, "{users:?}");
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("<svg") && html.contains("best concurrency"), "{html}");
    home.run(["load", "--sweep", "-r", "3", &url]).failed(2, &["--sweep sets users and times itself"]);
}
