//! The number of a process.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of a process: positive. It names a process only as long as that is not reaped; to act on a process use
/// its pidfd.
///
/// ```
/// use musher_process::Pid;
/// assert_eq!(Pid::own().as_raw(), std::process::id() as i32);
/// assert_eq!(Pid::from_raw(42).map(|pid| pid.to_string()).as_deref(), Some("42"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "i32", into = "i32")]
pub struct Pid(i32);

impl Pid {
    /// The first process of the pid namespace.
    pub const INIT: Pid = Pid(1);

    /// From a number, if it is positive.
    ///
    /// ```
    /// use musher_process::Pid;
    /// assert_eq!((Pid::from_raw(1), Pid::from_raw(0)), (Some(Pid::INIT), None));
    /// ```
    #[must_use]
    pub fn from_raw(number: i32) -> Option<Pid> {
        (number > 0).then_some(Pid(number))
    }

    /// The calling process.
    ///
    /// ```
    /// assert_eq!(musher_process::Pid::own().as_raw(), std::process::id() as i32);
    /// ```
    #[must_use]
    pub fn own() -> Pid {
        rustix::process::getpid().into()
    }

    /// As a number.
    ///
    /// ```
    /// assert_eq!(musher_process::Pid::INIT.as_raw(), 1);
    /// ```
    #[must_use]
    pub fn as_raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<rustix::process::Pid> for Pid {
    fn from(pid: rustix::process::Pid) -> Pid {
        Pid(pid.as_raw_nonzero().get())
    }
}

impl From<Pid> for i32 {
    fn from(pid: Pid) -> i32 {
        pid.0
    }
}

impl TryFrom<i32> for Pid {
    type Error = NotAPid;

    fn try_from(number: i32) -> Result<Pid, NotAPid> {
        Pid::from_raw(number).ok_or(NotAPid(number))
    }
}

/// A number that is not positive was given as a pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the number of a process")]
pub struct NotAPid(i32);
