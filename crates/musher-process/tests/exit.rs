//! How a process ended, whoever reaps it, and signals that reach nobody else.

#![expect(clippy::unwrap_used, reason = "functions of tests")]

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::os::fd::{AsFd, OwnedFd};

use musher_process::exit::{has_ended, parse_signal, pid_of, pidfd_open, wait_for_end};
use musher_process::{ExitStatus, Pid, Resource, Rlimit, reap, signal};
use support::{DEADLINE, Running, program, python, sh};

#[test]
fn codes() {
    for code in [0, 1, 42, 255] {
        assert_eq!(Running::start(sh(&format!("exit {code}"))).wait(), ExitStatus::Code(code));
    }
}

#[test]
fn signals_with_their_names() {
    for name in ["SIGKILL", "SIGTERM", "SIGINT", "SIGPIPE", "SIGRTMIN+3"] {
        let number = parse_signal(name).unwrap();
        let mut running = Running::start(program("/bin/sleep", &["1000"]));
        signal(running.child.pidfd.as_fd(), number).unwrap();
        let status = running.wait();
        assert_eq!(status, ExitStatus::Signal { signal: number, core_dumped: false });
        assert_eq!(status.to_string(), format!("signal {number} ({name})"));
        assert_eq!(running.rest(), "");
    }
}

#[test]
fn a_core_file_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut spawn = program("/bin/sleep", &["1000"]);
    spawn.cwd = directory.path().to_owned();
    spawn.limits = vec![(Resource::Core, Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) })];
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let running = Running::start(spawn);
    signal(running.child.pidfd.as_fd(), parse_signal("ABRT").unwrap()).unwrap();
    let ExitStatus::Signal { signal: 6, core_dumped } = running.wait() else { panic!("not aborted") };
    if pattern.trim() == "core" {
        assert!(core_dumped);
    }
}

#[test]
fn none_while_it_runs() {
    let running = Running::start(program("/bin/sleep", &["1000"]));
    assert_eq!(reap(running.child.pidfd.as_fd()).unwrap(), None);
    assert!(!has_ended(running.child.pidfd.as_fd()).unwrap());
    assert_eq!(pid_of(running.child.pidfd.as_fd()).unwrap(), Some(running.child.pid));
}

#[test]
fn a_process_that_ended_gets_no_signal() {
    let running = Running::start(program("/bin/true", &[]));
    running.wait();
    for number in [0, 9, 15] {
        let error = signal(running.child.pidfd.as_fd(), number).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(3), "ESRCH");
    }
    assert_eq!(pid_of(running.child.pidfd.as_fd()).unwrap(), None);
    assert!(pidfd_open(running.child.pid).is_err());
}

#[test]
fn wrong_signals_and_descriptors_are_errors() {
    let running = Running::start(program("/bin/sleep", &["1000"]));
    for number in [-1, 65, i32::MAX] {
        assert!(signal(running.child.pidfd.as_fd(), number).is_err());
    }
    assert!(signal(support::null().as_fd(), 0).is_err());
    assert!(reap(support::null().as_fd()).is_err());
    assert!(pid_of(support::null().as_fd()).is_err());
}

/// A child of a child, with a pidfd from before its end.
fn grandchild(parent: &mut Running) -> OwnedFd {
    let pid = Pid::from_raw(parent.line().parse().unwrap()).unwrap();
    pidfd_open(pid).unwrap()
}

fn linux_at_least(major: u32, minor: u32) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
}

#[test]
fn a_stranger_reaped_by_its_parent() {
    let mut parent = Running::start(sh("sleep 1000 & echo $!; wait; echo reaped; sleep 1000"));
    let stranger = grandchild(&mut parent);
    assert_eq!(reap(stranger.as_fd()).unwrap(), None);
    signal(stranger.as_fd(), 9).unwrap();
    assert!(wait_for_end(stranger.as_fd(), DEADLINE).unwrap());
    assert_eq!(parent.line(), "reaped");
    let killed = ExitStatus::Signal { signal: 9, core_dumped: false };
    let expected = if linux_at_least(6, 15) { killed } else { ExitStatus::Unknown };
    assert_eq!(reap(stranger.as_fd()).unwrap(), Some(expected));
    assert_eq!(reap(stranger.as_fd()).unwrap(), Some(expected), "as often as asked");
}

#[test]
fn a_stranger_that_nobody_has_reaped() {
    let script = "import os, signal\n\
                  signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n\
                  child = os.fork()\n\
                  if child == 0: os._exit(signal.sigwait([signal.SIGUSR1]) and 7)\n\
                  print(child, flush=True)\n\
                  signal.pause()";
    let mut parent = Running::start(python(script));
    let stranger = grandchild(&mut parent);
    assert_eq!(reap(stranger.as_fd()).unwrap(), None);
    signal(stranger.as_fd(), parse_signal("USR1").unwrap()).unwrap();
    assert!(wait_for_end(stranger.as_fd(), DEADLINE).unwrap());
    assert_eq!(reap(stranger.as_fd()).unwrap(), Some(ExitStatus::Code(7)));
}
