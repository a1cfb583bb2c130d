//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use crate::exit::{parse_signal, signal_name};

/// A signal of signal(7), also a real-time one. Reads and prints as a name; reads a number as well.
///
/// ```
/// use musher_process::child_process::Signal;
/// assert_eq!("SIGTERM".parse(), Ok(Signal::TERM));
/// assert_eq!("kill".parse(), Ok(Signal::KILL));
/// assert_eq!("SIGRTMIN+1".parse::<Signal>()?.to_string(), "SIGRTMIN+1");
/// assert_eq!("no signal".parse::<Signal>().unwrap_err().to_string().split(':').next(), Some("\"no signal\" is no signal"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal: use a name like SIGTERM or a number")]
pub struct NoSignal(String);

impl Signal {
    /// Nothing is sent, only looked whether it could be.
    pub const CHECK: Signal = Signal(0);
    /// Hang up.
    pub const HUP: Signal = Signal(libc::SIGHUP);
    /// Interrupt, as Ctrl-C sends it.
    pub const INT: Signal = Signal(libc::SIGINT);
    /// Quit, as Ctrl-\ sends it.
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// End at once; cannot be caught.
    pub const KILL: Signal = Signal(libc::SIGKILL);
    /// The first signal for a program's own use.
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    /// The second signal for a program's own use.
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    /// End, please. What is sent if nothing else is said.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// Go on.
    pub const CONT: Signal = Signal(libc::SIGCONT);
    /// Stop; cannot be caught.
    pub const STOP: Signal = Signal(libc::SIGSTOP);

    /// From a number: 1 to 64, or 0 for [`CHECK`](Signal::CHECK).
    ///
    /// ```
    /// use musher_process::child_process::Signal;
    /// assert_eq!(Signal::from_raw(15), Some(Signal::TERM));
    /// assert_eq!(Signal::from_raw(65), None);
    /// ```
    #[must_use]
    pub fn from_raw(number: i32) -> Option<Signal> {
        (0..=64).contains(&number).then_some(Signal(number))
    }

    /// Its number.
    ///
    /// ```
    /// assert_eq!(musher_process::child_process::Signal::TERM.as_raw(), 15);
    /// ```
    #[must_use]
    pub fn as_raw(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = NoSignal;

    fn from_str(text: &str) -> Result<Signal, NoSignal> {
        match text {
            "0" => Ok(Signal::CHECK),
            _ => parse_signal(text).map(Signal).ok_or_else(|| NoSignal(text.to_owned())),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            number => f.write_str(signal_name(number)),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
