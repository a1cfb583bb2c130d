//! What a keeper holds: descriptors by name and the exits of children. Bounded; no system calls but closing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::ExitRecord;

/// The most names at a time.
pub(crate) const MAX_HELD: usize = 65_536;
/// The most exits that are remembered; the oldest go first.
pub(crate) const MAX_EXITS: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Holdings {
    fds: BTreeMap<Box<str>, OwnedFd>,
    exits: VecDeque<ExitRecord>,
    next_sequence: u64,
}

impl Holdings {
    /// Holds `fd` under `name`, in place of what was there. False: there are too many names already.
    #[must_use]
    pub(crate) fn put(&mut self, name: &str, fd: OwnedFd) -> bool {
        if let Some(held) = self.fds.get_mut(name) {
            *held = fd;
        } else if self.fds.len() < MAX_HELD {
            self.fds.insert(name.into(), fd);
        } else {
            return false;
        }
        true
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.fds.remove(name);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.fds.iter().map(|(name, fd)| (&**name, fd.as_fd()))
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.fds.len()
    }

    /// The first name behind `name`.
    pub(crate) fn after(&self, name: Option<&str>) -> Option<(&str, BorrowedFd<'_>)> {
        let from = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.fds.range::<str, _>((from, Bound::Unbounded)).next().map(|(name, fd)| (&**name, fd.as_fd()))
    }

    pub(crate) fn record_exit(&mut self, pid: i32, wait_status: i32, time_ms: u64) {
        if self.exits.len() >= MAX_EXITS {
            self.exits.pop_front();
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.exits.push_back(ExitRecord { sequence, pid, wait_status, time_ms });
    }

    /// Takes over a record with its own sequence (the supervisor's mirror of the keeper's).
    pub(crate) fn mirror_exit(&mut self, exit: ExitRecord) {
        if self.exits.len() >= MAX_EXITS {
            self.exits.pop_front();
        }
        self.next_sequence = self.next_sequence.max(exit.sequence.saturating_add(1));
        self.exits.push_back(exit);
    }

    /// The sequence of the next exit.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Goes on with the numbers of an earlier keeper.
    pub(crate) fn number_from(&mut self, next_sequence: u64) {
        self.next_sequence = self.next_sequence.max(next_sequence);
    }

    /// What is held under a name.
    pub(crate) fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.fds.get(name).map(AsFd::as_fd)
    }

    pub(crate) fn forget_exit(&mut self, sequence: u64) {
        self.exits.retain(|exit| exit.sequence != sequence);
    }

    pub(crate) fn exits(&self) -> impl Iterator<Item = &ExitRecord> {
        self.exits.iter()
    }

    /// The first exit with at least this sequence.
    pub(crate) fn exit_from(&self, sequence: u64) -> Option<&ExitRecord> {
        let index = self.exits.partition_point(|exit| exit.sequence < sequence);
        self.exits.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_put_replaces_what_had_the_name() {
        let mut holdings = Holdings::default();
        assert!(holdings.put("a", some_fd()));
        assert!(holdings.put("a", some_fd()));
        assert_eq!(holdings.iter().count(), 1);
        holdings.remove("a");
        holdings.remove("a");
        assert_eq!(holdings.iter().count(), 0);
    }

    #[test]
    fn names_are_walked_in_order_from_anywhere() {
        let mut holdings = Holdings::default();
        for name in ["b", "a", "c"] {
            assert!(holdings.put(name, some_fd()));
        }
        let mut walked = Vec::new();
        let mut last: Option<String> = None;
        while let Some((name, _)) = holdings.after(last.as_deref()) {
            walked.push(name.to_owned());
            last = Some(name.to_owned());
        }
        assert_eq!(walked, ["a", "b", "c"]);
    }

    #[test]
    fn the_memory_of_exits_is_bounded_and_forgets_the_oldest() {
        let mut holdings = Holdings::default();
        for pid in 0..5000 {
            holdings.record_exit(pid, 0, 0);
        }
        assert_eq!(holdings.exits().count(), MAX_EXITS);
        assert_eq!(holdings.exit_from(0).map(|exit| exit.pid), Some(5000 - 4096));
        assert_eq!(holdings.exit_from(4990).map(|exit| exit.pid), Some(4990));
        holdings.forget_exit(4990);
        assert_eq!(holdings.exit_from(4990).map(|exit| exit.pid), Some(4991));
        assert_eq!(holdings.exit_from(5000), None);
    }
}
