//! What is listed once for the searches for many runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use crate::pid::Pid;
use crate::stat::{ProcessStat, since_boot};
use crate::tree::Tree;
use crate::tree::scan::{all_children, children_files, variable_of};

/// What the searches of one moment list only once: the orphans, which have to be looked through for each run. To do
/// that anew for each of a thousand runs that end together would take the square of their number.
///
/// Good for runs with the same `others` and `variable`, and until something has been done to what was found: what
/// appears later is not in it. [`Tree::signal_all_of`] takes it:
///
/// ```
/// use musher_process::{Tree, tree::Look};
///
/// fn end_all(jobs: &[Tree<'_>]) -> std::io::Result<usize> {
///     let mut look = Look::default();
///     jobs.iter().map(|job| job.signal_all_of(15, &mut look)).sum()
/// }
/// # assert_eq!(end_all(&[])?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Look {
    orphans: BTreeMap<Pid, Orphans>,
    /// Parents and children of the whole system, where the kernel has no `children` files.
    all: Option<BTreeMap<Pid, Vec<Pid>>>,
}

/// The children of a process to which orphans fall, but for the first processes of runs.
#[derive(Debug)]
struct Orphans {
    /// When they were listed.
    listed: Duration,
    /// All of them, those first processes, too.
    all: BTreeSet<Pid>,
    marked: BTreeMap<Vec<u8>, Vec<Pid>>,
    /// Those without a marker, by group and session.
    unmarked: BTreeMap<i32, Vec<Pid>>,
}

impl Look {
    /// The orphans that may be of this run, and when they were listed. `root` is its first process if that is reaped:
    /// its number may be an orphan's now.
    pub(super) fn orphans(
        &mut self,
        reaper: Pid,
        tree: &Tree<'_>,
        root: Option<Pid>,
    ) -> io::Result<(Vec<Pid>, Duration)> {
        if !self.orphans.contains_key(&reaper) {
            let orphans = self.list(reaper, tree)?;
            self.orphans.insert(reaper, orphans);
        }
        let Some(orphans) = self.orphans.get(&reaper) else { return Ok((Vec::new(), since_boot())) };
        let marked = orphans.marked.get(tree.marker.as_bytes());
        let unmarked = orphans.unmarked.get(&tree.root.as_raw());
        let of_run = marked.into_iter().chain(unmarked).flatten().copied();
        let root = root.filter(|root| orphans.all.contains(root));
        Ok((of_run.chain(root).collect(), orphans.listed))
    }

    fn list(&mut self, reaper: Pid, tree: &Tree<'_>) -> io::Result<Orphans> {
        #[cfg(test)]
        super::tests::count_listing();
        let all: BTreeSet<Pid> = self.children(reaper)?.into_iter().collect();
        let mut orphans = Orphans { listed: since_boot(), all, marked: BTreeMap::new(), unmarked: BTreeMap::new() };
        let own = Pid::own();
        let may_be_one = |pid: &&Pid| **pid != own && !tree.reapers.contains(pid) && !tree.others.contains(pid);
        for pid in orphans.all.iter().filter(may_be_one) {
            if let Some(marker) = variable_of(*pid, tree.variable) {
                orphans.marked.entry(marker).or_default().push(*pid);
            } else if let Ok(stat) = ProcessStat::read(*pid) {
                for number in BTreeSet::from([stat.group, stat.session]) {
                    orphans.unmarked.entry(number).or_default().push(*pid);
                }
            }
        }
        Ok(orphans)
    }

    /// The children of a process. They are listed anew each time, where that can be done for one process.
    pub(super) fn children(&mut self, parent: Pid) -> io::Result<Vec<Pid>> {
        if self.all.is_none() {
            match children_files(parent) {
                Some(children) => return Ok(children),
                None => self.all = Some(all_children()?),
            }
        }
        Ok(self.all.as_ref().and_then(|all| all.get(&parent)).cloned().unwrap_or_default())
    }
}
