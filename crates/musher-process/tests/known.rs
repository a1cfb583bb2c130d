//! No child does anything that was not known to somebody who outlives its parent.

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use musher_process::exit::wait_for_end;
use musher_process::spawn::NOT_EXECUTED;
use musher_process::{ExitStatus, Pid, own, pidfd_open, reap, signal};

use support::{DEADLINE, Running, program, sh};

/// Names the file that the program would make.
const FILE: &str = "MUSHER_TEST_FILE";

/// The parent of the next test: it is killed as soon as it has a child.
#[test]
#[ignore = "run by the next test, as a process of its own"]
fn a_parent_that_is_killed_before_its_child_is_known() {
    let file = std::env::var(FILE).unwrap();
    let killed = sh(&format!("echo ran > {file}")).spawn_known(|child| {
        println!("\nchild={}", child.pid);
        std::io::stdout().flush().unwrap();
        let own = pidfd_open(Pid::own()).unwrap();
        signal(own.as_fd(), 9).unwrap();
        // SIGKILL to oneself takes effect before the call returns.
    });
    drop(killed);
}

#[test]
fn a_child_whose_parent_is_killed_before_it_is_known_executes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ran");
    own::set_subreaper().unwrap();
    let words = ["a_parent_that_is_killed_before_its_child_is_known", "--exact", "--ignored", "--nocapture"];
    let mut spawn = program(std::env::current_exe().unwrap(), &words);
    spawn.env.push((FILE.into(), file.clone().into()));
    let mut parent = Running::start(spawn);
    let child = loop {
        let line = parent.line();
        if let Some(pid) = line.strip_prefix("child=") {
            break Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
    };
    // An orphan of ours: its number is its own until we reap it.
    let child = pidfd_open(child).unwrap();
    assert_eq!(parent.wait(), ExitStatus::Signal { signal: 9, core_dumped: false });
    assert!(wait_for_end(child.as_fd(), DEADLINE).unwrap(), "it waits for ever");
    assert_eq!(reap(child.as_fd()).unwrap(), Some(ExitStatus::Code(NOT_EXECUTED)));
    assert!(!file.exists(), "the program ran");
}

#[test]
fn the_program_is_executed_after_its_process_is_known() {
    let executable = |pid: Pid| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
    let mut at_first = None;
    let child = program("/bin/sleep", &["1000"]).spawn_known(|child| at_first = Some(executable(child.pid))).unwrap();
    assert_eq!(at_first, Some(std::env::current_exe().unwrap()));
    assert_eq!(executable(child.pid), sleep);
    signal(child.pidfd.as_fd(), 9).unwrap();
    assert!(wait_for_end(child.pidfd.as_fd(), DEADLINE).unwrap());
    reap(child.pidfd.as_fd()).unwrap();
}

#[test]
fn what_cannot_be_executed_is_told_though_its_process_was_known() {
    let mut known = 0;
    let error = program("/no/such/program", &[]).spawn_known(|_| known += 1).unwrap_err();
    assert_eq!(known, 1);
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    assert!(!Path::new("/no/such/program").exists());
}
