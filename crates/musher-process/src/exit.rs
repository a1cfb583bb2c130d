//! How a process ended, and signals.
//!
//! Everything that acts on a process takes its pidfd: a signal can never reach another process that got the same pid.
//!
//! ```
//! use musher_process::{ExitStatus, Spawn, exit, signal};
//! use std::os::fd::AsFd;
//! use std::time::Duration;
//!
//! let child = Spawn { args: ["sleep", "60"].map(Into::into).to_vec(), ..Spawn::new("/bin/sleep") }.spawn()?;
//! signal(child.pidfd.as_fd(), exit::parse_signal("SIGTERM").ok_or("no such signal")?)?;
//! assert!(exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(60))?);
//! let status = exit::reap(child.pidfd.as_fd())?.ok_or("it runs")?;
//! assert_eq!(status, ExitStatus::Signal { signal: 15, core_dumped: false });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pid::Pid;
use crate::sys;

/// How a process ended. Prints as `exit code 3` or `signal 9 (SIGKILL)`.
///
/// ```
/// use musher_process::ExitStatus;
/// assert_eq!(ExitStatus::Code(3).to_string(), "exit code 3");
/// assert_eq!(ExitStatus::Signal { signal: 11, core_dumped: true }.to_string(), "signal 11 (SIGSEGV), core dumped");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It called exit(3) with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The number of the signal.
        signal: i32,
        /// It left a core file.
        core_dumped: bool,
    },
    /// It ended, but its parent took the status and the kernel does not tell it to others (before Linux 6.15).
    Unknown,
}

impl ExitStatus {
    /// It ended by itself with code 0.
    ///
    /// ```
    /// use musher_process::ExitStatus;
    /// assert!(ExitStatus::Code(0).is_success() && !ExitStatus::Code(1).is_success());
    /// ```
    #[must_use]
    pub fn is_success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// From the status of wait(2).
    ///
    /// ```
    /// use musher_process::ExitStatus;
    /// assert_eq!(ExitStatus::from_wait_status(0x0300), ExitStatus::Code(3));
    /// assert_eq!(ExitStatus::from_wait_status(9), ExitStatus::Signal { signal: 9, core_dumped: false });
    /// ```
    #[must_use]
    pub fn from_wait_status(status: i32) -> ExitStatus {
        match status & 0x7f {
            0 => ExitStatus::Code((status >> 8) & 0xff),
            signal => ExitStatus::Signal { signal, core_dumped: status & 0x80 != 0 },
        }
    }

    fn from_waitid(status: &WaitIdStatus) -> ExitStatus {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code & 0xff),
            (_, Some(signal)) => ExitStatus::Signal { signal, core_dumped: status.dumped() },
            _ => ExitStatus::Unknown,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal { signal, core_dumped } => {
                write!(
                    f,
                    "signal {signal} ({}){}",
                    signal_name(*signal),
                    if *core_dumped { ", core dumped" } else { "" }
                )
            }
            ExitStatus::Unknown => f.write_str("unknown (not our child)"),
        }
    }
}

/// A pidfd of a process, close-on-exec (pidfd_open(2)). The caller must know that `pid` is still the process that it
/// means; of a child that was started here there is one from the beginning, [`Child::pidfd`](crate::Child::pidfd).
///
/// # Errors
///
/// `ESRCH`: there is no such process.
///
/// ```
/// use musher_process::{Pid, exit, pidfd_open};
/// use std::os::fd::AsFd;
///
/// let ourselves = pidfd_open(Pid::own())?;
/// assert!(!exit::has_ended(ourselves.as_fd())?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Takes the exit status if the process has ended: `None` while it runs.
///
/// Our own child is reaped. The status of another process comes from the kernel's memory of the pidfd (Linux 6.15) or,
/// while its parent has not reaped it, from /proc; else it is [`ExitStatus::Unknown`].
///
/// ```
/// use musher_process::{ExitStatus, Spawn, exit, reap};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let child = Spawn::new("/bin/false").spawn()?;
/// exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(60))?;
/// assert_eq!(reap(child.pidfd.as_fd())?, Some(ExitStatus::Code(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
        Ok(None) => Ok(None),
        Ok(Some(status)) => Ok(Some(ExitStatus::from_waitid(&status))),
        Err(Errno::CHILD) => status_of_stranger(pidfd),
        Err(error) => Err(error.into()),
    }
}

fn status_of_stranger(pidfd: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    if !has_ended(pidfd)? {
        return Ok(None);
    }
    // A zombie first: its status is not kept anywhere else until it is reaped, and is kept there afterwards.
    if let Some(status) = zombie_status(pidfd) {
        return Ok(Some(status));
    }
    let kept = sys::pidfd::kept_status(pidfd).ok().flatten();
    Ok(Some(kept.map_or(ExitStatus::Unknown, ExitStatus::from_wait_status)))
}

/// A child that has ended and is a zombie until [`Ended::reap`].
///
/// ```
/// use musher_process::exit::{self, Ended};
/// use musher_process::Spawn;
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let child = Spawn::new("/bin/true").spawn()?;
/// exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(60))?;
/// let ended = Ended::any()?.ok_or("nobody has ended")?;
/// assert_eq!((ended.pid, ended.status.is_success()), (child.pid, true));
/// ended.reap()?;
/// assert_eq!(Ended::any().ok().flatten(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Ended {
    /// Its number, which is its own until it is reaped.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
    /// The most resident memory that it had at a time, in bytes (`ru_maxrss` of getrusage(2)).
    pub peak_memory_bytes: u64,
}

impl Ended {
    /// Any child that has ended; `None` when none has. The same one is given until it is reaped: if we die before, its
    /// next parent learns how it ended. Only for a process that reaps all its children this way. See [`Ended`] for an
    /// example.
    ///
    /// # Errors
    ///
    /// `ECHILD`: there are no children at all.
    pub fn any() -> io::Result<Option<Ended>> {
        let Some(found) = sys::wait::peek_any()? else { return Ok(None) };
        let pid = Pid::from_raw(found.pid).ok_or(io::ErrorKind::InvalidData)?;
        let status = match found.code {
            libc::CLD_EXITED => ExitStatus::Code(found.status & 0xff),
            code => ExitStatus::Signal { signal: found.status, core_dumped: code == libc::CLD_DUMPED },
        };
        let peak_memory_bytes = u64::try_from(found.peak_kib).unwrap_or(0) << 10;
        Ok(Some(Ended { pid, status, peak_memory_bytes }))
    }

    /// Takes it away: its number may have a new owner then. See [`Ended`] for an example.
    pub fn reap(self) -> io::Result<()> {
        sys::wait::reap(self.pid.as_raw())
    }
}

/// The last field of /proc/PID/stat of a process that ended and was not reaped. Only root or the same user may
/// see it: to others it is always 0. The same permission is needed to read the link.
fn zombie_status(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    let pid = pid_of(pidfd).ok()??;
    let stat = crate::stat::read_small(&format!("/proc/{pid}/stat")).ok()?;
    let permitted = std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok();
    // Only if the process is still there was this its number all the time.
    signal(pidfd, 0).ok()?;
    if !permitted {
        return None;
    }
    let status = stat.trim_ascii_end().rsplit(|byte| *byte == b' ').next()?;
    std::str::from_utf8(status).ok()?.parse().ok().map(ExitStatus::from_wait_status)
}

/// Whether the process has ended, as a zombie or reaped.
///
/// ```
/// use musher_process::{Pid, exit, pidfd_open};
/// use std::os::fd::AsFd;
///
/// assert!(!exit::has_ended(pidfd_open(Pid::own())?.as_fd())?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    wait_for_end(pidfd, Duration::ZERO)
}

/// Waits until the process has ended, at most so long. `false`: it has not. Does not reap it. Blocks the thread; a
/// pidfd becomes readable at the end, so that an event loop can wait for it as well.
///
/// ```
/// use musher_process::{Pid, exit, pidfd_open};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let ourselves = pidfd_open(Pid::own())?;
/// assert!(!exit::wait_for_end(ourselves.as_fd(), Duration::from_millis(1))?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait_for_end(pidfd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    crate::wait::readable_within(pidfd, patience)
}

/// The number of the process, as long as it is not reaped. An error for what is no pidfd, and without /proc.
///
/// ```
/// use musher_process::{Pid, exit, pidfd_open};
/// use std::os::fd::AsFd;
///
/// assert_eq!(exit::pid_of(pidfd_open(Pid::own())?.as_fd())?, Some(Pid::own()));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    match pid.and_then(|pid| pid.trim().parse::<i32>().ok()) {
        Some(pid) => Ok(Pid::from_raw(pid)),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a pidfd")),
    }
}

/// Sends a signal by its number (0: only checks). Never reaches another process than the one of the pidfd.
///
/// # Errors
///
/// `ESRCH` if the process has ended and was reaped, `EPERM` if it is another user's, `EINVAL` if there is no such
/// signal.
///
/// ```
/// use musher_process::{ExitStatus, Spawn, exit, reap, signal};
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// let child = Spawn { args: ["sleep", "60"].map(Into::into).to_vec(), ..Spawn::new("/bin/sleep") }.spawn()?;
/// signal(child.pidfd.as_fd(), 9)?;
/// exit::wait_for_end(child.pidfd.as_fd(), Duration::from_secs(60))?;
/// assert_eq!(reap(child.pidfd.as_fd())?, Some(ExitStatus::Signal { signal: 9, core_dumped: false }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    sys::pidfd::send_signal(pidfd, signal)
}

/// The name of a signal, like `SIGTERM` or `SIGRTMIN+3`; `"unknown signal"` if Linux has none with this number.
///
/// ```
/// use musher_process::exit::signal_name;
/// assert_eq!((signal_name(15), signal_name(37), signal_name(99)), ("SIGTERM", "SIGRTMIN+3", "unknown signal"));
/// ```
#[must_use]
pub fn signal_name(signal: i32) -> &'static str {
    let standard = STANDARD.iter().find(|(_, number)| *number == signal);
    let real_time = || REAL_TIME.get(usize::try_from(signal.checked_sub(FIRST_REAL_TIME)?).ok()?).copied();
    standard.map(|(name, _)| *name).or_else(real_time).unwrap_or("unknown signal")
}

/// The number of a signal from `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3` or `SIGRTMAX-3`.
///
/// ```
/// use musher_process::exit::parse_signal;
/// assert_eq!([parse_signal("SIGTERM"), parse_signal("hup"), parse_signal("9")], [Some(15), Some(1), Some(9)]);
/// assert_eq!(parse_signal("SIGNAL"), None);
/// ```
#[must_use]
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=LAST_SIGNAL).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let standard = STANDARD.iter().chain(&SYNONYMS).find(|(known, _)| known.get(3..) == Some(name));
    if let Some((_, number)) = standard {
        return Some(*number);
    }
    let distance =
        |text: &str| text.parse::<i32>().ok().filter(|_| text.starts_with(|first: char| first.is_ascii_digit()));
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => FIRST_REAL_TIME,
        (_, Some("")) => LAST_SIGNAL,
        (Some(rest), _) => FIRST_REAL_TIME.checked_add(distance(rest.strip_prefix('+')?)?)?,
        (_, Some(rest)) => LAST_SIGNAL.checked_sub(distance(rest.strip_prefix('-')?)?)?,
        _ => return None,
    };
    (FIRST_REAL_TIME..=LAST_SIGNAL).contains(&number).then_some(number)
}

/// SIGRTMIN as programs see it: the C libraries keep the two (musl: three) below for themselves.
const FIRST_REAL_TIME: i32 = 34;
/// SIGRTMAX.
const LAST_SIGNAL: i32 = 64;

/// signal(7).
const STANDARD: [(&str, i32); 31] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGILL", libc::SIGILL),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGABRT", libc::SIGABRT),
    ("SIGBUS", libc::SIGBUS),
    ("SIGFPE", libc::SIGFPE),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGALRM", libc::SIGALRM),
    ("SIGTERM", libc::SIGTERM),
    ("SIGSTKFLT", libc::SIGSTKFLT),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGSTOP", libc::SIGSTOP),
    ("SIGTSTP", libc::SIGTSTP),
    ("SIGTTIN", libc::SIGTTIN),
    ("SIGTTOU", libc::SIGTTOU),
    ("SIGURG", libc::SIGURG),
    ("SIGXCPU", libc::SIGXCPU),
    ("SIGXFSZ", libc::SIGXFSZ),
    ("SIGVTALRM", libc::SIGVTALRM),
    ("SIGPROF", libc::SIGPROF),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGIO", libc::SIGIO),
    ("SIGPWR", libc::SIGPWR),
    ("SIGSYS", libc::SIGSYS),
];

/// Other names that are understood.
const SYNONYMS: [(&str, i32); 4] =
    [("SIGIOT", libc::SIGABRT), ("SIGCLD", libc::SIGCHLD), ("SIGPOLL", libc::SIGIO), ("SIGUNUSED", libc::SIGSYS)];

/// From [`FIRST_REAL_TIME`] on.
const REAL_TIME: [&str; 31] = [
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+16",
    "SIGRTMIN+17",
    "SIGRTMIN+18",
    "SIGRTMIN+19",
    "SIGRTMIN+20",
    "SIGRTMIN+21",
    "SIGRTMIN+22",
    "SIGRTMIN+23",
    "SIGRTMIN+24",
    "SIGRTMIN+25",
    "SIGRTMIN+26",
    "SIGRTMIN+27",
    "SIGRTMIN+28",
    "SIGRTMIN+29",
    "SIGRTMIN+30",
];

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words() {
        assert_eq!(ExitStatus::Code(1).to_string(), "exit code 1");
        let killed = ExitStatus::Signal { signal: 9, core_dumped: false };
        assert_eq!(killed.to_string(), "signal 9 (SIGKILL)");
        let crashed = ExitStatus::Signal { signal: 11, core_dumped: true };
        assert_eq!(crashed.to_string(), "signal 11 (SIGSEGV), core dumped");
    }

    #[test]
    fn a_child_that_has_ended_is_there_until_it_is_reaped() {
        // Only under a runner that gives every test a process: this one takes any child.
        let all_alone = std::env::var_os("NEXTEST").is_some();
        if !all_alone {
            return;
        }
        assert_eq!(Ended::any().unwrap(), None);
        let spawn = |script: &str| {
            let spawn =
                crate::Spawn { args: ["sh", "-c", script].map(Into::into).to_vec(), ..crate::Spawn::new("/bin/sh") };
            spawn.spawn().unwrap()
        };
        for (script, status) in
            [("exit 3", ExitStatus::Code(3)), ("kill -9 $$", ExitStatus::Signal { signal: 9, core_dumped: false })]
        {
            let child = spawn(script);
            assert!(wait_for_end(child.pidfd.as_fd(), Duration::from_secs(20)).unwrap());
            let ended = Ended::any().unwrap().unwrap();
            assert_eq!((ended.pid, ended.status), (child.pid, status));
            assert!(ended.peak_memory_bytes > 100_000);
            assert_eq!(Ended::any().unwrap(), Some(ended));
            ended.reap().unwrap();
            assert_eq!(Ended::any().unwrap(), None);
            assert!(ended.reap().is_err());
        }
    }

    #[test]
    fn json() {
        let json = |status| serde_json::to_string(&status).unwrap();
        assert_eq!(json(ExitStatus::Code(3)), r#"{"code":3}"#);
        let crashed = ExitStatus::Signal { signal: 11, core_dumped: true };
        assert_eq!(json(crashed), r#"{"signal":{"signal":11,"core_dumped":true}}"#);
        assert_eq!(json(ExitStatus::Unknown), r#""unknown""#);
        assert_eq!(serde_json::from_str::<ExitStatus>(&json(crashed)).unwrap(), crashed);
    }

    #[test]
    fn every_signal_has_a_name_that_is_understood() {
        for signal in (1..=31).chain(34..=64) {
            let name = signal_name(signal);
            assert_eq!(parse_signal(name), Some(signal), "{name}");
            assert_eq!(parse_signal(&name.to_lowercase()), Some(signal), "{name}");
            assert_eq!(parse_signal(&name[3..]), Some(signal), "{name}");
            assert_eq!(parse_signal(&signal.to_string()), Some(signal));
        }
        assert_eq!(parse_signal("RTMAX-1"), Some(63));
        assert_eq!(parse_signal("SIGPOLL"), Some(29));
        for wrong in ["", "SIG", "0", "65", "-1", "TERMINATE", "RTMIN+31", "RTMIN-1", "RTMIN+-1", "RTMAX-31", "+15x"] {
            assert_eq!(parse_signal(wrong), None, "{wrong}");
        }
        assert_eq!(signal_name(0), "unknown signal");
        assert_eq!(signal_name(i32::MIN), "unknown signal");
    }

    proptest! {
        #[test]
        fn any_text_and_number_is_handled(text in ".{0,12}", number: i32) {
            let known = parse_signal(&text);
            prop_assert!(known.is_none_or(|signal| (1..=64).contains(&signal)));
            prop_assert!(!signal_name(number).is_empty());
        }
    }
}
