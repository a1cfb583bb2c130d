//! Thousands of spawns. One test in a process of its own: it counts the descriptors and children of the process.

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::os::fd::AsFd;

use musher_process::exit::wait_for_end;
use musher_process::{ExitStatus, reap};
use support::{DEADLINE, null, program};

#[test]
fn descriptors_and_zombies_stay_at_zero() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    for round in 0..2000 {
        let fails = round % 4 == 0;
        let mut spawn = program(if fails { "/nonexistent/program" } else { "/bin/true" }, &[]);
        spawn.fds = vec![(null(), 5)];
        match spawn.spawn() {
            Ok(child) => {
                assert!(wait_for_end(child.pidfd.as_fd(), DEADLINE).unwrap());
                assert_eq!(reap(child.pidfd.as_fd()).unwrap(), Some(ExitStatus::Code(0)));
            }
            Err(error) => assert!(fails, "{error}"),
        }
    }
    assert_eq!(count(), before);
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "", "a failed child is reaped, too");
}
