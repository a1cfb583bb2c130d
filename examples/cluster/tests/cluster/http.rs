//! The HTTP server with interceptors: the visit counter, what surrounds a request, and development.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use musher_bench::load::{Load, Plan, Shape};
use rustix::process::Signal;

use crate::support::{DEADLINE, Running, VISITS, answering, answers_of, command, exchange, free_port, wait};

fn visits(address: &str, how: &str) -> Running {
    let server = Running::start(command(VISITS).args([address, how]));
    wait("an answer", || crate::support::get(address));
    server
}

fn count(address: &str) -> Option<u64> {
    let text = exchange(address, "GET /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    text.rsplit_once("\"visits\":")?.1.trim_end_matches('}').parse().ok()
}

#[test]
fn every_worker_knows_of_every_visit() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = visits(&address, "2");
    let workers = answers_of(&address, 2);
    let before = wait("a count", || count(&address));
    for _ in 0..10 {
        answering(&address);
    }
    // Whichever worker is asked: it knows, as soon as the primary has told it.
    for _ in 0..6 {
        wait("the count", || (count(&address)? >= before + 10).then_some(()));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
    assert!(workers.iter().all(|pid| !musher_bench::proc_fs::is_alive(*pid)));
}

#[test]
fn a_reload_by_sighup_loses_no_request_on_kept_connections() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut server = visits(&address, "2");
    let before = answers_of(&address, 2);
    let load = Load::start(Plan::new(port, Shape::KeepAlive { connections: 8, think: Duration::from_millis(50) }));
    assert!(load.wait_answered(50, DEADLINE));
    server.signal(Signal::HUP);
    wait("the end of the old workers", || {
        before.iter().all(|pid| !musher_bench::proc_fs::is_alive(*pid)).then_some(())
    });
    assert!(load.wait_answered(50, DEADLINE));
    let report = load.finish();
    assert!(report.lost().is_empty(), "{:?}", report.lost());
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn interceptors_surround_the_request_and_malformed_ones_are_refused() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut server = visits(&address, "1");
    let asks = |request: &str| exchange(&address, request).unwrap();
    let answer = asks("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    // The outer interceptor sees what the inner one has done.
    assert!(answer.contains("x-by: count") && answer.contains("x-seen: 1"), "{answer}");
    let missing = asks("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains("x-seen: 1"), "{missing}");
    let json = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let echoed = asks(&format!("{json}Content-Length: 7\r\n\r\n{{\"a\":1}}"));
    assert!(echoed.ends_with("{\"a\":1}"), "{echoed}");
    let broken = asks(&format!("{json}Content-Length: 3\r\n\r\n{{a}}"));
    assert!(broken.starts_with("HTTP/1.1 400"), "{broken}");
    let malformed = asks("this is no request\r\n\r\n");
    assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
    let streamed = asks("GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(streamed.contains("transfer-encoding: chunked"), "{streamed}");
    assert!((0..3).all(|part| streamed.contains(&format!("part {part}\n"))), "{streamed}");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
}

/// Another version of the program takes the place of the one that runs, as a compiler does it.
fn replace(program: &Path, with: &str) {
    let new = program.with_extension("new");
    std::fs::copy(with, &new).unwrap();
    std::fs::rename(new, program).unwrap();
}

#[test]
fn in_development_a_change_of_the_sources_or_the_program_replaces_the_worker_without_loss() {
    let package = tempfile::tempdir().unwrap();
    let program = package.path().join("debug").join("server");
    std::fs::create_dir_all(package.path().join("src")).unwrap();
    std::fs::create_dir(package.path().join("debug")).unwrap();
    std::fs::write(package.path().join("Cargo.toml"), "").unwrap();
    std::fs::copy(VISITS, &program).unwrap();
    // What is asked to build puts a new program in the place of the old one, and writes down what it was asked.
    let cargo = package.path().join("cargo");
    let build = format!(
        "#!/bin/sh\necho \"$@\" > {0}/asked\ngrep -q broken {0}/src/main.rs && exit 1\ncp {VISITS} {0}/new && mv {0}/new {1}\n",
        package.path().display(),
        program.display()
    );
    std::fs::write(&cargo, build).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut start = command(&program);
    let mut server = Running::start(
        start.args([&address, "development"]).env("CARGO", &cargo).env("CARGO_MANIFEST_DIR", package.path()),
    );
    wait("an answer", || crate::support::get(&address));
    let first = answers_of(&address, 1);
    let load = Load::start(Plan::new(port, Shape::Fresh { per_second: 100 }));
    let replaced = |old: u32| wait("another worker", || Some(answering(&address)).filter(|pid| *pid != old));

    std::fs::write(package.path().join("src/main.rs"), "a change").unwrap();
    let second = replaced(*first.first().unwrap());
    let asked = std::fs::read_to_string(package.path().join("asked")).unwrap();
    assert!(asked.starts_with("build --manifest-path") && asked.contains("--profile dev --bin server"), "{asked}");

    replace(&program, VISITS);
    let third = replaced(second);

    // What does not build, and a program that does not become ready, leave the old worker serving.
    std::fs::remove_file(package.path().join("asked")).unwrap();
    std::fs::write(package.path().join("src/main.rs"), "broken").unwrap();
    wait("a build", || package.path().join("asked").exists().then_some(()));
    replace(&program, "/bin/false");
    assert!(load.wait_answered(50, DEADLINE));
    assert_eq!(answering(&address), third);
    replace(&program, VISITS);
    replaced(third);
    let report = load.finish();
    assert!(report.lost().is_empty(), "{:?}", report.lost());
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_server_in_a_worker_of_somebody_else_forks_none() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut primary = Running::start(command(crate::support::PRIMARY).args(["1", VISITS, &address, "4"]));
    primary.line("listening ");
    assert_eq!(answers_of(&address, 1).len(), 1);
    let worker = answering(&address);
    let children = std::fs::read_to_string(format!("/proc/{worker}/task/{worker}/children")).unwrap_or_default();
    assert_eq!(children, "");
    primary.signal(Signal::TERM);
    assert_eq!(primary.end(), Some(0));
}
