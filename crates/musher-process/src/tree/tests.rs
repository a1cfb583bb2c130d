use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Look, MARKER, Tree, kill_all};
use crate::exit::{has_ended, pidfd_open, wait_for_end};
use crate::own::set_subreaper;
use crate::pid::Pid;

const DEADLINE: Duration = Duration::from_secs(20);

thread_local! {
    static LISTINGS: Cell<usize> = const { Cell::new(0) };
}

/// Orphans were listed.
pub(super) fn count_listing() {
    LISTINGS.with(|count| count.set(count.get() + 1));
}

fn listings_of<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = LISTINGS.with(Cell::get);
    let result = act();
    (result, LISTINGS.with(Cell::get) - before)
}

/// A run whose first process left an orphan, which fell to this process, and lives itself.
struct Run {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    orphan: OwnedFd,
    marker: String,
}

#[expect(clippy::disallowed_methods, reason = "any child will do")]
fn runs(count: usize) -> Vec<Run> {
    set_subreaper().unwrap();
    let start = |number| {
        let marker = format!("{number}@look-{}", Pid::own());
        // The shell in between ends at once; its child is an orphan of the run then. The end of the output tells that it has.
        let script = "(setsid sleep 1000 >/dev/null & echo $!); exec sleep 1000 >/dev/null";
        let mut command = Command::new("/bin/sh");
        let command = command.args(["-c", script]).env(MARKER, &marker).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        child.stdout.take().unwrap().read_to_string(&mut line).unwrap();
        let orphan = pidfd_open(Pid::from_raw(line.trim().parse().unwrap()).unwrap()).unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        Run { pid, pidfd: pidfd_open(pid).unwrap(), child, orphan, marker }
    };
    (0..count).map(start).collect()
}

fn with_trees<'a, T>(runs: &'a [Run], act: impl FnOnce(&[Tree<'_>]) -> T) -> T {
    let others: BTreeSet<Pid> = runs.iter().map(|run| run.pid).collect();
    let reapers = [Pid::own()];
    let tree = |run: &'a Run| Tree {
        root: run.pid,
        pidfd: run.pidfd.as_fd(),
        variable: MARKER,
        marker: &run.marker,
        cgroup: None,
        reapers: &reapers,
        others: &others,
    };
    let trees: Vec<Tree<'_>> = runs.iter().map(tree).collect();
    act(&trees)
}

#[test]
fn orphans_are_listed_once_for_all_runs_that_end_together() {
    let mut runs = runs(40);
    let (members, listings) = with_trees(&runs, |trees| {
        listings_of(|| {
            let mut look = Look::default();
            trees.iter().map(|tree| tree.find(&mut look).unwrap().len()).collect::<Vec<_>>()
        })
    });
    assert_eq!(members, [2; 40], "each its own, and nobody else's");
    assert_eq!(listings, 1);

    // A signal reaches the orphans, too, with one listing for all.
    let (reached, listings) = with_trees(&runs, |trees| {
        let mut look = Look::default();
        listings_of(|| trees.iter().map(|tree| tree.signal_all_of(libc::SIGCONT, &mut look).unwrap()).sum::<usize>())
    });
    assert_eq!((reached, listings), (80, 1));

    // Half of them end by themselves: what they left is killed with a few listings, and the others are left alone.
    let rest = runs.split_off(20);
    for run in &mut runs {
        run.child.kill().unwrap();
        assert!(wait_for_end(run.pidfd.as_fd(), DEADLINE).unwrap());
    }
    let all: BTreeSet<Pid> = runs.iter().chain(&rest).map(|run| run.pid).collect();
    let (left, listings) = with_trees(&runs, |trees| {
        let trees: Vec<Tree<'_>> = trees.iter().map(|tree| Tree { others: &all, ..*tree }).collect();
        listings_of(|| kill_all(&trees, DEADLINE).unwrap())
    });
    assert_eq!(left, []);
    assert!(listings <= 4, "{listings}");
    for run in &mut runs {
        assert!(has_ended(run.orphan.as_fd()).unwrap());
        run.child.wait().unwrap();
    }
    assert!(rest.iter().all(|run| !has_ended(run.pidfd.as_fd()).unwrap() && !has_ended(run.orphan.as_fd()).unwrap()));

    assert_eq!(with_trees(&rest, |trees| kill_all(trees, DEADLINE).unwrap()), []);
    for mut run in rest {
        assert!(has_ended(run.orphan.as_fd()).unwrap());
        run.child.wait().unwrap();
    }
}
