//! The keeper's part in an upgrade: to watch the supervisor that became a new executable, to follow it, and to go back.
//!
//! 1. The supervisor puts the new executable, says `upgrade`, and becomes it by execve(2). This keeper is still the old
//!    executable, which is known to work.
//! 2. It says `serving`: this keeper becomes the new executable, too, and goes on with the same supervisor.
//! 3. It dies, or does not say so within [`TRIAL`]: this keeper starts a supervisor of its own executable, and leaves a
//!    word for it why.
//! 4. The new keeper holds the old executable for [`PROBATION`]. If supervisors die before they serve, [`FAILURES`] in a
//!    row, it becomes the old executable again.
//!
//! 5. The new keeper dies before it has said a word: the supervisor becomes the keeper again as the old executable
//!    ([`crate::link::KeeperLink::become_keeper`]). That such an executable works as a keeper at all was tried before
//!    ([`crate::takeover`]).
//!
//! All that is needed lies among the held descriptors, so a kill at any instant leaves a whole daemon of the one or of
//! the other executable: the keeper and the supervisor each hold everything, also while they execute.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use musher_process::{inherit, memfd, signal};
use rustix::process::Signal;

use super::holdings::Holdings;
use super::supervise::{Keeper, Stage};
use super::wire::Message;
use super::{Adoption, LivingSupervisor, say};

/// The new executable.
pub(crate) const EXECUTABLE: &str = "upgrade/executable";
/// The executable before, as long as it may be gone back to.
pub(crate) const PREVIOUS: &str = "upgrade/previous";
/// Why it was gone back: a text.
pub(crate) const FAILED: &str = "upgrade/failed";

/// How long the supervisor of a new executable may take to serve.
const TRIAL: Duration = Duration::from_secs(20);
/// How long the executable before is held.
const PROBATION: Duration = Duration::from_secs(60);
/// How many supervisors in a row may die before they serve.
const FAILURES: u32 = 3;

/// Where an upgrade is.
#[derive(Debug, Default)]
pub(super) struct Upgrade {
    stage: UpgradeStage,
    /// The supervisor of the moment serves.
    serving: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum UpgradeStage {
    #[default]
    None,
    /// The supervisor is about to become the new executable, or is it.
    Trial { until: Instant },
    /// It took too long and was killed.
    TooLong,
    /// This keeper is the new executable, and might go back.
    Probation { until: Instant, failures: u32 },
}

impl Upgrade {
    /// `serving`: there is a supervisor already, to which the executable before has listened.
    pub(super) fn new(holdings: &Holdings, serving: bool) -> Upgrade {
        let probation = || UpgradeStage::Probation { until: Instant::now() + PROBATION, failures: 0 };
        let stage = if holdings.get(PREVIOUS).is_some() { probation() } else { UpgradeStage::None };
        Upgrade { stage, serving }
    }

    /// When [`Keeper::go_on_with_upgrade`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            UpgradeStage::Trial { until } | UpgradeStage::Probation { until, .. } => Some(until),
            UpgradeStage::None | UpgradeStage::TooLong => None,
        }
    }

    pub(super) fn hear(&mut self, message: &Message) {
        match message {
            Message::Upgrade => {
                self.stage = UpgradeStage::Trial { until: Instant::now() + TRIAL };
                self.serving = false;
            }
            Message::Serving => {
                self.serving = true;
                if let UpgradeStage::Probation { failures, .. } = &mut self.stage {
                    *failures = 0;
                }
            }
            _ => {}
        }
    }
}

impl Keeper {
    /// Follows a supervisor that serves, and ends one that takes too long.
    pub(super) fn go_on_with_upgrade(&mut self) {
        let passed = |until: Instant| Instant::now() >= until;
        match self.upgrade.stage {
            UpgradeStage::Trial { .. } if self.upgrade.serving => {
                self.upgrade.stage = UpgradeStage::None;
                if let Err(error) = self.become_new() {
                    self.upgrade.stage = UpgradeStage::Trial { until: Instant::now() };
                    self.give_up_new(&format!("the keeper cannot become it: {error}"));
                }
            }
            UpgradeStage::Trial { until } if passed(until) => {
                self.give_up_new(&format!("its supervisor did not serve within {} s", TRIAL.as_secs()));
            }
            UpgradeStage::Probation { until, .. } if passed(until) => {
                self.upgrade.stage = UpgradeStage::None;
                self.holdings.remove(PREVIOUS);
            }
            UpgradeStage::None
            | UpgradeStage::Trial { .. }
            | UpgradeStage::TooLong
            | UpgradeStage::Probation { .. } => {}
        }
    }

    /// The supervisor is dead, and the next one not yet started.
    pub(super) fn supervisor_died(&mut self) {
        let served = std::mem::take(&mut self.upgrade.serving);
        match &mut self.upgrade.stage {
            UpgradeStage::None => {}
            UpgradeStage::Trial { .. } => self.go_back("its supervisor ended before it served"),
            UpgradeStage::TooLong => self.go_back("its supervisor did not take over"),
            UpgradeStage::Probation { failures, .. } => {
                *failures = if served { 0 } else { *failures + 1 };
                if *failures >= FAILURES {
                    self.become_previous();
                }
            }
        }
    }

    fn give_up_new(&mut self, why: &str) {
        self.leave_word(why);
        self.upgrade.stage = UpgradeStage::TooLong;
        if let Stage::Running(supervisor) = &self.stage {
            let _ = signal(supervisor.child.pidfd.as_fd(), Signal::KILL.as_raw());
        }
    }

    /// The next supervisor is one of this keeper's own executable, at once.
    fn go_back(&mut self, why: &str) {
        self.leave_word(why);
        self.upgrade.stage = UpgradeStage::None;
        for name in [EXECUTABLE, PREVIOUS] {
            self.holdings.remove(name);
        }
        self.stage = Stage::Waiting { until: Instant::now() };
    }

    /// Why it did not come to an upgrade, for the next supervisor. The first word counts.
    fn leave_word(&mut self, why: &str) {
        say(format_args!("the upgrade is given up: {why}"));
        if self.holdings.get(FAILED).is_some() {
            return;
        }
        match memfd::memfd_with("musher-upgrade", why.as_bytes()) {
            Ok(word) => drop(self.holdings.put(FAILED, word)),
            Err(error) => say(format_args!("the supervisor will not be told why: {error}")),
        }
    }

    /// Becomes the new executable. Returns only if that fails; then nothing has changed.
    fn become_new(&mut self) -> io::Result<()> {
        let previous = File::open("/proc/self/exe")?;
        if !self.holdings.put(PREVIOUS, previous.into()) {
            say(format_args!("the executable of this keeper is not held: too many names"));
        }
        let error = self.execute(EXECUTABLE);
        self.holdings.remove(PREVIOUS);
        Err(error)
    }

    /// Becomes the executable of before the upgrade. If even that fails the new one has to do.
    fn become_previous(&mut self) {
        self.leave_word(&format!("{FAILURES} of its supervisors in a row ended before they served"));
        self.holdings.remove(EXECUTABLE);
        let error = self.execute(PREVIOUS);
        say(format_args!("the executable of before cannot be executed: {error}"));
        self.upgrade.stage = UpgradeStage::None;
        self.holdings.remove(PREVIOUS);
    }

    /// Becomes the executable that is held under this name, with everything that is held and the supervisor, if one
    /// lives. Returns only if that fails.
    fn execute(&self, name: &str) -> io::Error {
        let Some(executable) = self.holdings.get(name) else { return io::ErrorKind::NotFound.into() };
        let mut list = Adoption { end_requested: self.end_requested, ..Adoption::new(self.open_files) };
        let mut keep = Vec::new();
        // The executable of before must not go on as its own forerunner.
        for (held, fd) in self.holdings.iter().filter(|(held, _)| name != PREVIOUS || *held != PREVIOUS) {
            list.fd(held, fd.as_raw_fd());
            keep.push(fd);
        }
        list.exits.extend(self.holdings.exits().copied());
        if let Stage::Running(supervisor) = &self.stage {
            list.supervisor = Some(LivingSupervisor {
                pid: supervisor.child.pid.as_raw(),
                pidfd: supervisor.child.pidfd.as_raw_fd(),
                link: supervisor.link.as_raw_fd(),
                next_exit: supervisor.outbox.next_exit,
                next_sequence: self.holdings.next_sequence(),
            });
            keep.extend([supervisor.child.pidfd.as_fd(), supervisor.link.as_fd()]);
        }
        let list = match list.to_memfd() {
            Ok(list) => list,
            Err(error) => return error,
        };
        keep.push(list.as_fd());
        say(format_args!("becomes another executable"));
        inherit::exec_file(executable, &["musher", "keeper", "--adopt", &list.as_raw_fd().to_string()], &keep)
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    /// A keeper without a supervisor that holds these.
    fn keeper(held: &[&str]) -> Keeper {
        let mut holdings = Holdings::default();
        for name in held {
            assert!(holdings.put(name, memfd::memfd_with(name, b"no executable").unwrap()));
        }
        Keeper::new(holdings, 1024, eventfd(0, EventfdFlags::CLOEXEC).unwrap(), None)
    }

    fn names(keeper: &Keeper) -> Vec<&str> {
        keeper.holdings.iter().map(|(name, _)| name).collect()
    }

    fn word(keeper: &Keeper) -> String {
        let bytes = memfd::read_memfd(keeper.holdings.get(FAILED).unwrap(), 1000).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_supervisor_that_dies_on_trial_is_followed_by_one_of_the_old_executable() {
        let mut keeper = keeper(&["app/1", EXECUTABLE]);
        keeper.upgrade.hear(&Message::Upgrade);
        assert!(keeper.upgrade.deadline().is_some());
        keeper.supervisor_died();
        assert_eq!(names(&keeper), ["app/1", FAILED]);
        assert!(word(&keeper).contains("before it served"));
        assert_eq!(keeper.upgrade.deadline(), None);
        assert!(matches!(keeper.stage, Stage::Waiting { until } if until <= Instant::now()));
        keeper.supervisor_died();
        assert_eq!(names(&keeper), ["app/1", FAILED], "another death is no matter of the upgrade");
    }

    #[test]
    fn an_executable_that_the_keeper_cannot_become_is_given_up_and_the_first_word_counts() {
        let mut keeper = keeper(&[EXECUTABLE]);
        keeper.upgrade.hear(&Message::Upgrade);
        keeper.upgrade.hear(&Message::Serving);
        keeper.go_on_with_upgrade();
        assert_eq!(keeper.upgrade.stage, UpgradeStage::TooLong);
        assert!(word(&keeper).contains("cannot become it"), "{}", word(&keeper));
        assert_eq!(names(&keeper), [EXECUTABLE, FAILED]);
        keeper.supervisor_died();
        assert!(word(&keeper).contains("cannot become it"));
        assert_eq!(names(&keeper), [FAILED]);
    }

    #[test]
    fn only_deaths_in_a_row_before_serving_end_the_probation() {
        let mut keeper = keeper(&[PREVIOUS]);
        for _ in 0..2 * FAILURES {
            keeper.supervisor_died();
            keeper.upgrade.hear(&Message::Serving);
            keeper.supervisor_died();
        }
        assert_eq!(names(&keeper), [PREVIOUS]);
        for _ in 0..FAILURES {
            assert_eq!(names(&keeper), [PREVIOUS]);
            keeper.supervisor_died();
        }
        // The executable before is none here: the new one has to do.
        assert_eq!(names(&keeper), [FAILED]);
        assert_eq!(keeper.upgrade.stage, UpgradeStage::None);
    }
}
