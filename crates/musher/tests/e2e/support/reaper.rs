//! What a test started goes with the test, also when the test is killed or its clean-up fails.
//!
//! A [`super::Home`] ends its processes when it is dropped, which a killed process does not do: the runner kills what
//! takes too long. So each test process has a helper that waits for the end of a pipe, of which only the test process has
//! the other end, and then kills by pid whatever has one of the variables in its environment that it was told.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use musher_bench::proc_fs;

use super::{Background, Home, command, wait_for, wait_until};

/// The other end. Never closed by us.
static HELPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// From now on processes with this variable (`KEY=value`) do not outlive the test process.
pub(crate) fn ends(variable: &str) {
    tell(variable);
}

/// This directory, one of `/tmp/musher-*`, does not outlive it either.
pub(crate) fn removes(directory: &Path) {
    tell(&format!("directory={}", directory.display()));
}

fn tell(line: &str) {
    assert!(!line.contains('\n'), "{line:?}");
    let helper = HELPER.get_or_init(|| Mutex::new(start()));
    let mut helper = helper.lock().unwrap_or_else(PoisonError::into_inner);
    // One write, so that a killed test leaves no half of a line.
    helper.write_all(format!("{line}\n").as_bytes()).unwrap();
}

#[expect(clippy::zombie_processes, reason = "it ends after us")]
fn start() -> ChildStdin {
    // A session of its own: a runner kills the process group of the test. No outputs: a runner takes whoever holds them
    // for a leak of the test.
    let mut helper = command("setsid")
        .args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/support/reaper.sh")])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    helper.stdin.take().unwrap()
}

/// The variable that makes the test below the one that is killed.
const VICTIM: &str = "END_TO_END_VICTIM";

#[test]
fn what_a_killed_test_started_goes_with_it() {
    if std::env::var_os(VICTIM).is_some() {
        be_killed();
    }
    let mut victim = command(std::env::current_exe().unwrap());
    victim.args(["--exact", "support::reaper::what_a_killed_test_started_goes_with_it", "--nocapture"]);
    victim.env(VICTIM, "yes");
    let said = Background::of(victim).wait();
    // libtest has written the beginning of the line.
    let report = said.out.lines().find_map(|line| line.split_once("left: ")).unwrap_or_else(|| panic!("{said:?}"));
    let (directory, pids) = report.1.split_once(' ').unwrap();
    // Should this test fail, ours ends them.
    ends(&format!("END_TO_END_TEST={directory}"));
    ends(&format!("MUSHER_HOME={directory}/home"));
    assert_eq!(said.code, None, "it was killed: {said:?}");
    let pids: Vec<u32> = pids.split(',').map(|pid| pid.parse().unwrap()).collect();
    // Keeper, supervisor, two workers, and the child of each.
    assert_eq!(pids.len(), 6, "{said:?}");
    for pid in pids {
        wait_until("each process is gone", || !proc_fs::is_alive(pid));
    }
    wait_until("the directory is gone", || !Path::new(directory).exists());
}

/// Has a team, says where, and is killed as by a runner whose patience is over.
fn be_killed() -> ! {
    let home = Home::new();
    let worker = ["start", "-i", "2", "--name", "idle", "--", "sh", "-c", "sleep 1000; :"];
    home.ok(worker);
    let processes = wait_for("keeper, supervisor, two workers, and the child of each", || {
        let processes = home.processes();
        (processes.len() == 6).then_some(processes)
    });
    let pids: Vec<String> = processes.iter().map(u32::to_string).collect();
    let report = format!("left: {} {}\n", home.directory().display(), pids.join(","));
    std::io::stdout().write_all(report.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
    proc_fs::kill9(std::process::id()).unwrap();
    unreachable!("it was killed");
}
