//! One search for the processes of a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::cgroup;
use crate::exit;
use crate::pid::Pid;
use crate::stat::{ProcessStat, is_executing, read_bounded, since_boot};
use crate::tree::look::Look;
use crate::tree::{Member, Tree};

/// The variable in the environment of a run's processes that marks them: `<run id>@<home id>`.
pub const MARKER: &str = "MUSHER_RUN";

/// The most of an environment that is read: what Linux gives arguments and environment by default is less.
const MAX_ENVIRONMENT: u64 = 8 << 20;
/// How long a process that is just executing its program is waited for: it takes microseconds, but for a slow disk.
const EXECUTING: Duration = Duration::from_millis(100);
/// The most processes of one run that are held at once. More are found by the next round of killing.
const MAX_MEMBERS: usize = 4096;

/// Why a number is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// In the run's cgroup, or a child of a member: it belongs.
    Sure,
    /// A child of a process to which orphans fall.
    Orphan,
}

pub(super) struct Scan<'a> {
    tree: &'a Tree<'a>,
    /// What other searches of this moment listed, too.
    look: &'a mut Look,
    own: Pid,
    members: Vec<Member>,
    seen: BTreeSet<Pid>,
    /// Members whose children are to be looked at.
    todo: VecDeque<Pid>,
    /// Whether the first process is still there (perhaps as a zombie), so that its number is its own.
    root_is_there: bool,
    /// No more processes can be held now.
    full: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(tree: &'a Tree<'a>, look: &'a mut Look) -> Scan<'a> {
        Scan {
            tree,
            look,
            own: Pid::own(),
            members: Vec::new(),
            seen: BTreeSet::new(),
            todo: VecDeque::new(),
            root_is_there: false,
            full: false,
        }
    }

    /// The root, then the cgroup, then descent, then, without a cgroup, orphans. Descent before orphans: a process whose parent ends
    /// meanwhile moves from the one place to the other, never back.
    pub(super) fn run(mut self) -> io::Result<Vec<Member>> {
        // Reaped, its number may be that of another process, even of this run.
        if !gone(self.tree.pidfd) {
            self.seen.insert(self.tree.root);
            self.root_is_there = true;
            self.todo.push_back(self.tree.root);
            if !exit::has_ended(self.tree.pidfd)? {
                self.members.push(Member { pid: self.tree.root, pidfd: self.tree.pidfd.try_clone_to_owned()? });
            }
        }
        if let Some(directory) = self.tree.cgroup {
            let pids = cgroup::processes(directory);
            self.look_at_all(pids, Trace::Sure, since_boot())?;
        }
        self.descend()?;
        // Nothing leaves a cgroup. To look through the children of the reapers for each of a thousand runs that end
        // together would take half a minute.
        let contained = self.tree.cgroup.is_some_and(cgroup::is_there);
        for reaper in if contained { &[] } else { self.tree.reapers } {
            let root = (!self.root_is_there).then_some(self.tree.root);
            let (pids, listed) = self.look.orphans(*reaper, self.tree, root)?;
            self.look_at_all(pids, Trace::Orphan, listed)?;
        }
        self.descend()?;
        Ok(self.members)
    }

    fn descend(&mut self) -> io::Result<()> {
        while let Some(parent) = self.todo.pop_front() {
            let pids = self.look.children(parent)?;
            self.look_at_all(pids, Trace::Sure, since_boot())?;
        }
        Ok(())
    }

    /// What was listed by then.
    fn look_at_all(&mut self, pids: Vec<Pid>, trace: Trace, listed: Duration) -> io::Result<()> {
        pids.into_iter().try_for_each(|pid| self.look_at(pid, trace, listed))
    }

    /// Takes the process in if it belongs to the run. `listed` is when its number had been read.
    fn look_at(&mut self, pid: Pid, trace: Trace, listed: Duration) -> io::Result<()> {
        let tree = self.tree;
        // Its own number is no other run's: when it is reaped, that of an orphan of it may be the same.
        let others = pid != tree.root && tree.others.contains(&pid);
        if pid == self.own || tree.reapers.contains(&pid) || others || self.seen.contains(&pid) {
            return Ok(());
        }
        if self.full || self.members.len() >= MAX_MEMBERS {
            return Ok(());
        }
        let pidfd = match exit::pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            // Out of descriptors: first those that are already held.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.full = true;
                return if self.members.is_empty() { Err(error) } else { Ok(()) };
            }
            Err(_) => return Ok(()),
        };
        let Ok(stat) = ProcessStat::read(pid) else { return Ok(()) };
        // A process with the number of another that was listed is younger than the list. Starts are known in ticks of
        // 10 ms: in one tick, all numbers of the system cannot have been used up.
        let belongs = stat.started <= listed
            && match trace {
                Trace::Sure => true,
                Trace::Orphan => self.is_orphan_of_run(&stat),
            };
        // What was read was about the process of this descriptor, if that is still there now.
        if !belongs || gone(pidfd.as_fd()) {
            return Ok(());
        }
        self.seen.insert(pid);
        self.todo.push_back(pid);
        if !stat.is_dead() {
            self.members.push(Member { pid, pidfd });
        }
        Ok(())
    }

    fn is_orphan_of_run(&self, stat: &ProcessStat) -> bool {
        match variable_of(stat.pid, self.tree.variable) {
            Some(marker) => marker == self.tree.marker.as_bytes(),
            // A session or group keeps its number from being given to a new process while it has members. But the
            // number may be that of a later process with a group of its own, if the first one is reaped.
            None => {
                let root = self.tree.root.as_raw();
                (stat.group == root || stat.session == root)
                    && (self.root_is_there || ProcessStat::read(self.tree.root).is_err())
            }
        }
    }
}

/// Whether the process is reaped. One that we may not signal is there.
fn gone(pidfd: BorrowedFd<'_>) -> bool {
    exit::signal(pidfd, 0).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
}

/// The children of all threads of a process: /proc/PID/task/TID/children. `None`: the kernel has no such files.
pub(super) fn children_files(parent: Pid) -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return Some(children) };
    for thread in threads.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(text) => {
                children.extend(text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)))
            }
            Err(_) if thread.path().join("stat").exists() => return None,
            Err(_) => {}
        }
    }
    Some(children)
}

/// All processes by their parents.
pub(super) fn all_children() -> io::Result<BTreeMap<Pid, Vec<Pid>>> {
    let mut all: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for pid in all_processes()? {
        if let Ok(ProcessStat { parent: Some(parent), .. }) = ProcessStat::read(pid) {
            all.entry(parent).or_default().push(pid);
        }
    }
    Ok(all)
}

fn all_processes() -> io::Result<impl Iterator<Item = Pid>> {
    let numbers = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers.filter_map(Pid::from_raw))
}

/// A process and those that it descends from, itself first: one of them is where its orphaned descendants fall to, for a
/// subreaper (PR_SET_CHILD_SUBREAPER) is always one of these, or process 1.
///
/// ```
/// use musher_process::{Pid, tree::ancestors};
/// let ours = ancestors(Pid::own());
/// assert_eq!((ours.first(), ours.contains(&Pid::INIT)), (Some(&Pid::own()), true));
/// ```
#[must_use]
pub fn ancestors(of: Pid) -> Vec<Pid> {
    let mut all = vec![of];
    while let Some(last) = all.last()
        && let Ok(ProcessStat { parent: Some(parent), .. }) = ProcessStat::read(*last)
        && !all.contains(&parent)
    {
        all.push(parent);
    }
    if !all.contains(&Pid::INIT) {
        all.push(Pid::INIT);
    }
    all
}

/// Every living process whose environment has `MUSHER_RUN=<marker>`, the oldest first (if the run's first process lives,
/// it is that). Reads all of /proc: for recovery only. The numbers are of this moment: take a pidfd, then look whether the
/// process is still found.
pub fn find_by_marker(marker: &str) -> io::Result<Vec<Pid>> {
    let marked = all_processes()?.filter(|pid| marker_of(*pid).is_some_and(|found| found == marker.as_bytes()));
    let mut living: Vec<_> =
        marked.filter_map(|pid| ProcessStat::read(pid).ok()).filter(|stat| !stat.is_dead()).collect();
    living.sort_by_key(|stat| (stat.started, stat.pid));
    Ok(living.into_iter().map(|stat| stat.pid).collect())
}

/// Whether the process has this marker in the environment of the program that it runs; not before it has executed it.
#[must_use]
pub fn is_marked(pid: Pid, marker: &str) -> bool {
    marker_of(pid).is_some_and(|found| found == marker.as_bytes())
}

/// Whether the process has the very environment that this process was started with: a copy of this process (or of one
/// before it that had the same) which has executed nothing yet. `false` also if we may not look.
#[must_use]
pub fn has_our_environment(pid: Pid) -> bool {
    environment_of(Pid::own()).is_some_and(|ours| !ours.is_empty() && environment_of(pid) == Some(ours))
}

/// Every process whose marker `matches`, with it. Reads all of /proc: for recovery only. The numbers are of this moment.
pub fn find_marked(matches: impl Fn(&str) -> bool) -> io::Result<Vec<(Pid, String)>> {
    let marked = all_processes()?.filter_map(|pid| Some((pid, String::from_utf8(marker_of(pid)?).ok()?)));
    Ok(marked.filter(|(_, marker)| matches(marker)).collect())
}

/// Every living process whose environment has `MUSHER_RUN=<run>@<home>`, by `<run>`, the oldest first. Reads all of /proc
/// once: for recovery only.
pub fn find_by_home(home: &str) -> io::Result<BTreeMap<String, Vec<Pid>>> {
    let mut runs: BTreeMap<String, Vec<(Duration, Pid)>> = BTreeMap::new();
    for pid in all_processes()? {
        let marker = marker_of(pid).and_then(|marker| String::from_utf8(marker).ok());
        let run = marker.as_deref().and_then(|marker| marker.strip_suffix(home)?.strip_suffix('@'));
        let living = ProcessStat::read(pid).ok().filter(|stat| !stat.is_dead());
        if let (Some(run), Some(stat)) = (run, living) {
            runs.entry(run.to_owned()).or_default().push((stat.started, pid));
        }
    }
    let oldest_first = |mut found: Vec<(Duration, Pid)>| {
        found.sort_unstable();
        found.into_iter().map(|(_, pid)| pid).collect()
    };
    Ok(runs.into_iter().map(|(run, found)| (run, oldest_first(found))).collect())
}

/// The marker in the environment that a process was started with. `None` also if we may not look.
fn marker_of(pid: Pid) -> Option<Vec<u8>> {
    variable_of(pid, MARKER)
}

/// A variable in the environment that a process was started with. `None` also if we may not look.
pub fn variable_of(pid: Pid, name: &str) -> Option<Vec<u8>> {
    variable_in(&environment_of(pid)?, name).map(<[u8]>::to_vec)
}

/// The environment that a process was started with. One that is just executing its program is waited for, a little.
fn environment_of(pid: Pid) -> Option<Vec<u8>> {
    let read = || read_bounded(&format!("/proc/{pid}/environ"), MAX_ENVIRONMENT).ok();
    let environment = read()?;
    if !environment.is_empty() {
        return Some(environment);
    }
    let until = Instant::now() + EXECUTING;
    while is_executing(pid) && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(50));
    }
    read()
}

fn variable_in<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marker_of_an_environment() {
        assert_eq!(variable_in(b"A=1\0MUSHER_RUN=7@home\0B=2\0", MARKER), Some(&b"7@home"[..]));
        assert_eq!(variable_in(b"MUSHER_RUN=\0", MARKER), Some(&b""[..]));
        assert_eq!(variable_in(b"MUSHER_RUNS=7\0XMUSHER_RUN=8\0A=MUSHER_RUN=9", MARKER), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any child will do")]
    fn a_kernel_without_children_files_gives_the_same() {
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        assert!(children_files(Pid::own()).unwrap().contains(&pid));
        assert!(all_children().unwrap()[&Pid::own()].contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(children_files(pid), Some(vec![]), "no such process has no children");
    }

    #[test]
    fn ancestors_end_with_the_first_process() {
        let all = ancestors(Pid::own());
        assert_eq!((all[0], all.last()), (Pid::own(), Some(&Pid::INIT)));
        assert_eq!(ProcessStat::read(all[0]).unwrap().parent, Some(all[1]));
        assert_eq!(ancestors(Pid::INIT), [Pid::INIT]);
    }

    proptest! {
        #[test]
        fn any_environment_is_handled(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = variable_in(&bytes, MARKER);
        }
    }
}
