//! Whole process trees: found and killed, whatever they do, and nobody else.

#![expect(clippy::unwrap_used, reason = "functions of tests")]

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use musher_process::cgroup::{self, Cgroups};
use musher_process::exit::{has_ended, pidfd_open, wait_for_end};
use musher_process::own::set_subreaper;
use musher_process::stat::ProcessStat;
use musher_process::tree::{MARKER, find_by_marker};
use musher_process::{Pid, Spawn, Tree};
use support::{DEADLINE, Running, program, python, sh};

/// A run whose orphans fall to this process.
struct Run {
    running: Running,
    marker: String,
    cgroup: Option<(Cgroups, String, PathBuf)>,
}

impl Run {
    fn start(mut spawn: Spawn, name: &str, with_cgroup: bool) -> Option<Run> {
        set_subreaper().unwrap();
        let marker = format!("{name}@{}", Pid::own());
        spawn.env.push((MARKER.into(), marker.clone().into()));
        let cgroup = if with_cgroup {
            // Not everywhere.
            let cgroups = Cgroups::open(&format!("test-{}-{name}", Pid::own()))?;
            spawn.cgroup = Some(cgroups.create("1").unwrap());
            let path = cgroups.path("1");
            Some((cgroups, "1".to_owned(), path))
        } else {
            None
        };
        Some(Run { running: Running::start(spawn), marker, cgroup })
    }

    fn with_tree<T>(&self, use_it: impl FnOnce(Tree<'_>) -> T) -> T {
        self.with_tree_but(&BTreeSet::new(), use_it)
    }

    fn with_tree_but<T>(&self, others: &BTreeSet<Pid>, use_it: impl FnOnce(Tree<'_>) -> T) -> T {
        use_it(Tree {
            root: self.running.child.pid,
            pidfd: self.running.child.pidfd.as_fd(),
            variable: MARKER,
            marker: &self.marker,
            cgroup: self.cgroup.as_ref().map(|(_, _, path)| path.as_path()),
            reapers: &[Pid::own()],
            others,
        })
    }

    /// The process whose number it prints next.
    fn next_process(&mut self) -> OwnedFd {
        let pid = Pid::from_raw(self.running.line().parse().unwrap()).unwrap();
        pidfd_open(pid).unwrap()
    }

    fn kill_all(&self) {
        let left = self.with_tree(|tree| tree.kill_all(DEADLINE)).unwrap();
        assert_eq!(left, []);
        assert_eq!(self.with_tree(|tree| tree.members()).unwrap(), []);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.with_tree(|tree| tree.kill_all(DEADLINE));
        if let Some((cgroups, ..)) = &self.cgroup {
            while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
            cgroups.clean();
        }
    }
}

fn alive(pidfd: &OwnedFd) -> bool {
    !has_ended(pidfd.as_fd()).unwrap()
}

/// A daemon as in the books: fork, setsid, fork; it prints its number and sleeps. `environment` replaces its own.
fn daemon(environment: &str) -> String {
    format!(
        "import os, sys, time\n\
         if os.fork() == 0:\n\
         \x20 os.setsid()\n\
         \x20 if os.fork() == 0:\n\
         \x20   os.execve('/bin/sh', ['sh', '-c', 'echo $$; exec sleep 1000'], {environment})\n\
         \x20 os._exit(0)\n\
         os.wait()\n"
    )
}

const SAME: &str = "os.environ";
const NONE: &str = "{'PATH': os.environ['PATH']}";

fn wait_for_root(run: &Run) {
    assert!(wait_for_end(run.running.child.pidfd.as_fd(), DEADLINE).unwrap());
}

#[test]
fn a_daemon_that_left_group_and_session() {
    for with_cgroup in [false, true] {
        let script = daemon(SAME) + "time.sleep(1000)";
        let Some(mut run) = Run::start(python(&script), "daemon", with_cgroup) else { continue };
        let daemon = run.next_process();
        assert_eq!(run.with_tree(|tree| tree.members()).unwrap().len(), 2);
        run.kill_all();
        assert!(!alive(&daemon) && !alive(&run.running.child.pidfd));
    }
}

#[test]
fn a_daemon_after_the_end_of_all_others() {
    for with_cgroup in [false, true] {
        let Some(mut run) = Run::start(python(&daemon(SAME)), "orphan", with_cgroup) else { continue };
        let daemon = run.next_process();
        wait_for_root(&run);
        for reaped in [false, true] {
            if reaped {
                run.running.wait();
            }
            assert_eq!(run.with_tree(|tree| tree.members()).unwrap().len(), 1);
        }
        run.kill_all();
        assert!(!alive(&daemon));
    }
}

#[test]
fn a_daemon_without_any_trace_but_its_cgroup() {
    let Some(mut run) = Run::start(python(&daemon(NONE)), "hidden", true) else { return };
    let daemon = run.next_process();
    run.running.wait();
    run.kill_all();
    assert!(!alive(&daemon));
}

#[test]
fn an_orphan_without_marker_in_the_session_of_a_reaped_root() {
    let mut run = Run::start(sh("env -i sh -c 'echo $$; exec sleep 1000' & "), "session", false).unwrap();
    let orphan = run.next_process();
    run.running.wait();
    run.kill_all();
    assert!(!alive(&orphan));
}

#[test]
fn children_of_orphans() {
    let script = daemon(SAME).replace("exec sleep", "env -i setsid sleep 2000 & echo $!; exec sleep");
    let mut run = Run::start(python(&script), "deep", false).unwrap();
    let (daemon, child) = (run.next_process(), run.next_process());
    run.running.wait();
    run.kill_all();
    assert!(!alive(&daemon) && !alive(&child));
}

#[test]
fn processes_that_never_stop_forking() {
    for with_cgroup in [false, true] {
        let script = "echo go; while :; do sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000 &' ; done";
        let mut spawn = sh(script);
        spawn.nice = Some(5);
        let Some(mut run) = Run::start(spawn, "forking", with_cgroup) else { continue };
        assert_eq!(run.running.line(), "go");
        // Until there are some.
        while run.with_tree(|tree| tree.members()).unwrap().len() < 20 {}
        run.kill_all();
        assert_eq!(find_by_marker(&run.marker).unwrap(), []);
    }
}

#[test]
fn a_signal_for_everyone() {
    let trap = "trap 'echo got \\$0; exit' TERM; echo up; while :; do sleep 1000 & wait; done";
    let script = format!("setsid sh -c \"{trap}\" child & sh -c \"{trap}\" second & trap : TERM; wait; wait");
    let mut run = Run::start(sh(&script), "term", false).unwrap();
    assert_eq!((run.running.line().as_str(), run.running.line().as_str()), ("up", "up"));
    // Their sleeps, too, whose start the lines do not tell.
    while run.with_tree(|tree| tree.members()).unwrap().len() < 5 {}
    let reached = run.with_tree(|tree| tree.signal_all(15)).unwrap();
    assert_eq!(reached, 5);
    let mut lines = [run.running.line(), run.running.line()];
    lines.sort();
    assert_eq!(lines, ["got child", "got second"]);
}

#[test]
fn nobody_else() {
    let ours = Run::start(sh("sleep 1000 & wait"), "ours", false).unwrap();
    let other = Run::start(sh("sleep 1000 & wait"), "other", false).unwrap();
    let mut unmarked = sh("sleep 1000 & wait");
    unmarked.session = false;
    let unmarked = Running::start(unmarked);
    ours.kill_all();
    assert!(alive(&other.running.child.pidfd) && alive(&unmarked.child.pidfd));
    // Even with the same marker, if it is known as another run.
    let mut same = program("/bin/sleep", &["1000"]);
    same.env.push((MARKER.into(), ours.marker.clone().into()));
    let same = Running::start(same);
    ours.with_tree_but(&BTreeSet::from([same.child.pid]), |tree| tree.kill_all(DEADLINE)).unwrap();
    assert!(alive(&same.child.pidfd));
    assert_eq!(ours.with_tree(|tree| tree.members()).unwrap(), [same.child.pid]);
}

/// The number of a run's first process, given to another process after its end.
#[test]
fn nobody_with_a_recycled_number() {
    let run = Run::start(sh("exit"), "recycled", false).unwrap();
    let pid = run.running.child.pid;
    run.running.wait();
    let mut newcomer = None;
    for _ in 0..20 {
        // Other programs take numbers, too: try again.
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid.as_raw() - 1).to_string()).is_err() {
            return;
        }
        let other = Running::start(sh("sleep 1000 & echo; wait"));
        if other.child.pid == pid {
            newcomer = Some(other);
            break;
        }
    }
    let Some(mut newcomer) = newcomer else { return };
    newcomer.line();
    assert_eq!(run.with_tree(|tree| tree.members()).unwrap(), []);
    assert_eq!(run.with_tree(|tree| tree.signal_all(9)).unwrap(), 0);
    run.kill_all();
    assert!(alive(&newcomer.child.pidfd));
}

#[test]
fn without_patience_the_living_are_returned() {
    let run = Run::start(sh("sleep 1000 & sleep 1000 & wait"), "hasty", false).unwrap();
    run.with_tree(|tree| tree.kill_all(Duration::ZERO)).unwrap();
    wait_for_root(&run);
    run.kill_all();
}

/// Its first thread has ended (it shows as a zombie), another one runs.
#[test]
fn a_process_without_its_first_thread() {
    let exit = if cfg!(target_arch = "x86_64") { 60 } else { 93 };
    let script = format!(
        "import ctypes, os, threading, time\n\
         def rest():\n\
         \x20 while ' Z ' not in open(f'/proc/{{os.getpid()}}/stat').read(): pass\n\
         \x20 print('alone', flush=True); time.sleep(1000)\n\
         threading.Thread(target=rest).start()\n\
         ctypes.CDLL(None).syscall({exit}, 0)"
    );
    let mut run = Run::start(python(&script), "threads", false).unwrap();
    assert_eq!(run.running.line(), "alone");
    assert!(alive(&run.running.child.pidfd));
    assert_eq!(run.with_tree(|tree| tree.members()).unwrap(), [run.running.child.pid]);
    assert!(!ProcessStat::read(run.running.child.pid).unwrap().is_dead());
    run.kill_all();
    assert!(!alive(&run.running.child.pidfd));
}

#[test]
fn by_marker() {
    let script = daemon(SAME) + "time.sleep(1000)";
    let mut run = Run::start(python(&script), "marked", false).unwrap();
    let _daemon = run.next_process();
    let found = find_by_marker(&run.marker).unwrap();
    assert!(found.len() == 2 && found[0] == run.running.child.pid, "{found:?}");
    assert_eq!(find_by_marker("nothing@nowhere").unwrap(), []);
}

#[test]
fn born_in_its_cgroup_and_the_cgroup_goes() {
    let Some(mut run) = Run::start(sh("cat /proc/self/cgroup; sleep 1000"), "born", true) else { return };
    let mut line = run.running.line();
    while !line.starts_with("0::") {
        line = run.running.line();
    }
    assert!(line.ends_with("/run.1"), "{line}");
    let (cgroups, name, path) = run.cgroup.clone().unwrap();
    assert!(cgroup::processes(&path).contains(&run.running.child.pid));
    assert_eq!(cgroups.remove(&name).unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    run.kill_all();
    run.running.wait();
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    cgroups.remove(&name).unwrap();
    assert!(!path.exists());
    cgroups.remove(&name).unwrap();
    cgroups.clean();
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn a_cgroup_that_is_gone_does_not_stop_a_spawn() {
    let Some(cgroups) = Cgroups::open(&format!("test-{}-gone", Pid::own())) else { return };
    let mut spawn = sh("echo started");
    spawn.cgroup = Some(cgroups.create("1").unwrap());
    cgroups.remove("1").unwrap();
    assert_eq!(support::output(spawn), "started\n");
    // Nor a descriptor that is no cgroup.
    let mut spawn = sh("echo started");
    spawn.cgroup = Some(support::null());
    assert_eq!(support::output(spawn), "started\n");
    cgroups.clean();
}

#[test]
fn where_there_is_a_cgroup_the_children_of_the_reapers_are_not_looked_through() {
    // One that says it belongs to the run, but was not born in its cgroup: found only by those who look there.
    let stranger = |run: &Run| {
        let mut spawn = sh("sleep 1000");
        spawn.env.push((MARKER.into(), run.marker.clone().into()));
        Running::start(spawn)
    };
    for with_cgroup in [false, true] {
        let Some(run) = Run::start(sh("sleep 1000"), "reapers", with_cgroup) else { continue };
        let stranger = stranger(&run);
        let members = run.with_tree(|tree| tree.members()).unwrap();
        assert_eq!(members.contains(&stranger.child.pid), !with_cgroup, "{members:?}");
    }
}
