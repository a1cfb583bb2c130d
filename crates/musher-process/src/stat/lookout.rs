//! The processes of a run, looked at again and again for as little as possible: the files of /proc stay open.
//!
//! An open file of a process that has ended gives an error, and never the numbers of another process with the same pid.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use super::parse_stat;
use crate::cgroup;
use crate::pid::Pid;

/// The most processes of a run that are looked at.
const MOST: usize = 256;
/// The most of them whose files stay open.
const MOST_OPEN: usize = 16;
/// Each so manyth look also goes through cgroups that the run's processes made below their own.
const DEEP: u32 = 8;

/// What the processes of a run use together.
///
/// ```
/// use musher_process::Pid;
/// use musher_process::stat::{Lookout, Totals};
///
/// let Totals { rss_bytes, cpu_time } = Lookout::new(Pid::own(), None).look().unwrap_or_default();
/// println!("{} KiB, {cpu_time:?}", rss_bytes >> 10);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Resident memory in bytes; what several of them share counts for each.
    pub rss_bytes: u64,
    /// CPU time since the start, also of children that have ended and were reaped.
    pub cpu_time: Duration,
}

/// Looks at the processes of one run: those of its cgroup, or its first process and what descends from it. At most 256
/// of them count.
///
/// ```
/// use musher_process::{Pid, stat::Lookout};
///
/// let mut lookout = Lookout::new(Pid::own(), None);
/// assert!(lookout.look().is_some_and(|totals| totals.rss_bytes > 0));
/// ```
#[derive(Debug)]
pub struct Lookout {
    root: Pid,
    group: Option<PathBuf>,
    /// `cgroup.procs` of that.
    listing: Option<File>,
    open: HashMap<Pid, Open>,
    looks: u32,
}

#[derive(Debug)]
struct Open {
    stat: File,
    children: Option<File>,
}

impl Lookout {
    /// Of the run that began with `root`. `group`: the directory of the run's cgroup, if it has one.
    ///
    /// ```
    /// use musher_process::{Pid, stat::Lookout};
    /// let lookout = Lookout::new(Pid::own(), None);
    /// ```
    #[must_use]
    pub fn new(root: Pid, group: Option<PathBuf>) -> Lookout {
        let listing = group.as_ref().and_then(|group| File::open(group.join("cgroup.procs")).ok());
        Lookout { root, group, listing, open: HashMap::new(), looks: 0 }
    }

    /// What they use now, in some 10 us for a process. `None`: there are none. CPU time only grows while the same
    /// processes are there: compare two looks.
    ///
    /// ```
    /// use musher_process::{Pid, stat::Lookout};
    ///
    /// let mut lookout = Lookout::new(Pid::own(), None);
    /// let before = lookout.look().unwrap_or_default();
    /// let used = lookout.look().unwrap_or_default().cpu_time.saturating_sub(before.cpu_time);
    /// println!("{used:?} since the last look");
    /// ```
    pub fn look(&mut self) -> Option<Totals> {
        self.looks = self.looks.wrapping_add(1);
        let pids = self.processes();
        self.open.retain(|pid, _| pids.contains(pid));
        let mut totals = None;
        for pid in pids {
            let Some(stat) = self.read(pid).and_then(|line| parse_stat(&line)) else { continue };
            let totals: &mut Totals = totals.get_or_insert_default();
            totals.rss_bytes += stat.rss_bytes;
            totals.cpu_time += stat.cpu_time + stat.children_cpu_time;
        }
        totals
    }

    /// The processes, now.
    ///
    /// ```
    /// use musher_process::{Pid, stat::Lookout};
    /// assert!(Lookout::new(Pid::own(), None).processes().contains(&Pid::own()));
    /// ```
    pub fn processes(&mut self) -> Vec<Pid> {
        let deep = self.looks.is_multiple_of(DEEP).then_some(self.group.as_deref()).flatten();
        let of_group = match (deep, &self.listing) {
            (Some(group), _) => cgroup::processes(group),
            (None, Some(listing)) => numbers(&read_again(listing).unwrap_or_default()),
            (None, None) => Vec::new(),
        };
        let mut found = if of_group.is_empty() { self.descendants() } else { of_group };
        found.truncate(MOST);
        found
    }

    fn descendants(&mut self) -> Vec<Pid> {
        let mut found = vec![self.root];
        let mut next = 0;
        while let Some(pid) = found.get(next).copied()
            && found.len() < MOST
        {
            // Those of the main thread: a process that forks from other threads is counted without those.
            let path = format!("/proc/{pid}/task/{pid}/children");
            let children = match self.open.get_mut(&pid) {
                Some(open) => {
                    open.children = open.children.take().or_else(|| File::open(&path).ok());
                    open.children.as_ref().and_then(read_again)
                }
                None => File::open(&path).ok().as_ref().and_then(read_again),
            };
            found.extend(numbers(&children.unwrap_or_default()));
            next += 1;
        }
        found
    }

    /// /proc/PID/stat.
    fn read(&mut self, pid: Pid) -> Option<Vec<u8>> {
        if let Some(open) = self.open.get(&pid) {
            let line = read_again(&open.stat);
            if line.is_none() {
                self.open.remove(&pid);
            }
            return line;
        }
        let stat = File::open(format!("/proc/{pid}/stat")).ok()?;
        let line = read_again(&stat);
        if self.open.len() < MOST_OPEN {
            self.open.insert(pid, Open { stat, children: None });
        }
        line
    }
}

/// The whole of a file of the kernel that is made anew at each reading from its beginning.
fn read_again(file: &File) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        match file.read_at(bytes.get_mut(length..)?, u64::try_from(length).ok()?) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        // A line of `stat` is whole at once; lists of processes may be longer.
        if length < bytes.len() {
            break;
        }
        bytes.resize(bytes.len() * 2, 0);
    }
    bytes.truncate(length);
    Some(bytes)
}

fn numbers(bytes: &[u8]) -> Vec<Pid> {
    let words = bytes.split(u8::is_ascii_whitespace).filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok());
    words.filter_map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any children will do")]
    fn children_come_and_go_and_a_dead_one_gives_nothing() {
        let own = Pid::own();
        let mut lookout = Lookout::new(own, None);
        let alone = lookout.look().unwrap();
        assert!(alone.rss_bytes > 100_000);
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        // Of the thread that spawned it, which may not be the main one.
        let mut of_child = Lookout::new(pid, None);
        assert!(of_child.look().is_some());
        assert_eq!(of_child.processes(), [pid]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of_child.look(), None);
        assert!(lookout.look().unwrap().cpu_time >= alone.cpu_time);
    }

    #[test]
    fn a_cgroup_lists_its_processes() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cgroup.procs"), format!("{}\n0\n", Pid::own())).unwrap();
        let mut lookout = Lookout::new(Pid::INIT, Some(directory.path().to_owned()));
        for _ in 0..DEEP + 1 {
            assert!(lookout.look().unwrap().rss_bytes > 0);
            assert_eq!(lookout.processes(), [Pid::own()]);
        }
    }
}
