//! What /proc tells about a process: memory, CPU time, state, listening sockets.
//!
//! Each reading is of a number, not of a process: whoever acts on it checks with a pidfd that the process was still
//! there afterwards, as [`crate::tree`] does.
//!
//! ```
//! use musher_process::{Pid, stat};
//!
//! let ours = stat::ProcessStat::read(Pid::own())?;
//! println!("{}: {:?} of CPU time in {} threads", ours.command, ours.cpu_time, ours.threads);
//! # Ok::<(), std::io::Error>(())
//! ```

mod listens;
mod lookout;

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

use crate::pid::Pid;

pub use lookout::{Lookout, Totals};

pub use listens::{tcp_addresses, tree_listens};

/// One reading of /proc/PID/stat.
///
/// ```
/// use musher_process::Pid;
/// use musher_process::stat::ProcessStat;
///
/// let ours = ProcessStat::read(Pid::own())?;
/// println!("{} uses {} KiB and {:?}", ours.command, ours.rss_bytes >> 10, ours.cpu_time);
/// assert!(ours.threads >= 1 && ours.parent.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// The process.
    pub pid: Pid,
    /// Its parent; `None` if that is outside of our pid namespace.
    pub parent: Option<Pid>,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// `R`unning, `S`leeping, `D` (uninterruptible), `Z`ombie, ...; see proc_pid_stat(5).
    pub state: char,
    /// The first 15 bytes of the program's name (what it says itself).
    pub command: String,
    /// Threads.
    pub threads: u32,
    /// User and system time of all threads so far.
    pub cpu_time: Duration,
    /// User and system time of its children that have ended and were reaped.
    pub children_cpu_time: Duration,
    /// When it started, as time since boot in the kernel's clock ticks. The same pid with another value is another
    /// process.
    pub started: Duration,
    /// Resident memory in bytes, shared pages included. May be some 100 KiB off; see [`Memory`].
    pub rss_bytes: u64,
}

impl ProcessStat {
    /// Reads it, in some 5 us. `NotFound` if there is no such process.
    ///
    /// ```
    /// use musher_process::{Pid, stat::ProcessStat};
    /// let nobody = Pid::from_raw(i32::MAX).unwrap();
    /// assert_eq!(ProcessStat::read(nobody).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn read(pid: Pid) -> io::Result<ProcessStat> {
        let line = read_small(&format!("/proc/{pid}/stat"))?;
        parse_stat(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat")))
    }

    /// It has ended and only waits to be reaped. (A first thread that ended before the others also shows as `Z`.)
    ///
    /// ```
    /// use musher_process::{Pid, stat::ProcessStat};
    /// assert!(!ProcessStat::read(Pid::own())?.is_dead());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'X' | 'x') || self.state == 'Z' && self.threads <= 1
    }
}

/// Whether the process is in the midst of execve(2): it has left its old program and the new one is not laid out yet, so
/// that its environment reads as empty for some microseconds (proc_pid_environ(5); `env_end` in proc_pid_stat(5)). Who
/// spawns a process that shares the memory until then can look at it in this very moment. `false` also if we may not look.
pub(crate) fn is_executing(pid: Pid) -> bool {
    read_small(&format!("/proc/{pid}/stat")).is_ok_and(|line| parse_is_executing(&line).unwrap_or(false))
}

fn parse_is_executing(line: &[u8]) -> Option<bool> {
    let close = line.iter().rposition(|b| *b == b')')?;
    let fields = std::str::from_utf8(&line[close + 1..]).ok()?;
    let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
    // Whoever has no memory at all is a part of the kernel, or has ended.
    let (memory, environment_end) = (field(23)?, field(51)?);
    Some(memory > 0 && environment_end == 0)
}

/// The memory of a process, exactly. Costs a walk of its page tables: some ms for a process of 1 GiB.
///
/// ```
/// use musher_process::{Pid, stat::Memory};
///
/// let memory = Memory::read(Pid::own())?;
/// assert!(memory.private_bytes <= memory.rss_bytes && memory.pss_bytes > 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, shared pages included.
    pub rss_bytes: u64,
    /// Resident, shared pages divided by the number of processes that share them.
    pub pss_bytes: u64,
    /// What would be free without this process.
    pub private_bytes: u64,
}

impl Memory {
    /// Reads /proc/PID/smaps_rollup. Processes of our own user only, or of any as root.
    ///
    /// ```
    /// use musher_process::{Pid, stat::Memory};
    /// assert!(Memory::read(Pid::from_raw(i32::MAX).unwrap()).is_err());
    /// ```
    pub fn read(pid: Pid) -> io::Result<Memory> {
        let text = read_small(&format!("/proc/{pid}/smaps_rollup"))?;
        Ok(parse_rollup(&String::from_utf8_lossy(&text)))
    }
}

/// Time since boot, the clock of [`ProcessStat::started`].
///
/// ```
/// use musher_process::Pid;
/// use musher_process::stat::{ProcessStat, since_boot};
///
/// let age = since_boot().saturating_sub(ProcessStat::read(Pid::own())?.started);
/// println!("we run for {} ms", age.as_millis());
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Reads a file of /proc of at most a few KiB in one call (such files are consistent only then). A process that ended
/// is `NotFound` in every case.
pub(crate) fn read_small(path: &str) -> io::Result<Vec<u8>> {
    read_bounded(path, 4096)
}

/// Reads a file of /proc up to `limit` bytes.
pub(crate) fn read_bounded(path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    let result = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match result {
        Ok(_) => Ok(bytes),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => Err(error),
    }
}

/// proc_pid_stat(5). The name is in parentheses and may contain any byte, also parentheses and line ends.
fn parse_stat(line: &[u8]) -> Option<ProcessStat> {
    let (open, close) = (line.iter().position(|b| *b == b'(')?, line.iter().rposition(|b| *b == b')')?);
    let pid = std::str::from_utf8(&line[..open]).ok()?.trim().parse().ok().and_then(Pid::from_raw)?;
    let command = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    // Field 3 (state) is the first after the name.
    let fields: Vec<&str> = std::str::from_utf8(&line[close + 1..]).ok()?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let signed = |number: usize| field(number)?.parse::<i32>().ok();
    let unsigned = |number: usize| field(number)?.parse::<u64>().ok();
    Some(ProcessStat {
        pid,
        command,
        state: field(3)?.chars().next()?,
        parent: Pid::from_raw(signed(4)?),
        group: signed(5)?,
        session: signed(6)?,
        cpu_time: ticks(unsigned(14)?.checked_add(unsigned(15)?)?),
        children_cpu_time: ticks(unsigned(16)?.checked_add(unsigned(17)?)?),
        threads: u32::try_from(unsigned(20)?).ok()?,
        started: ticks(unsigned(22)?),
        rss_bytes: unsigned(24)?.checked_mul(page_size() as u64)?,
    })
}

/// The kernel's clock ticks as a duration.
fn ticks(count: u64) -> Duration {
    let per_second = clock_ticks_per_second().max(1);
    Duration::new(count / per_second, u32::try_from(count % per_second * 1_000_000_000 / per_second).unwrap_or(0))
}

fn parse_rollup(text: &str) -> Memory {
    let kib = |key: &str| -> u64 {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
    };
    Memory {
        rss_bytes: kib("Rss") * 1024,
        pss_bytes: kib("Pss") * 1024,
        private_bytes: (kib("Private_Clean") + kib("Private_Dirty")) * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn own_process() {
        let stat = ProcessStat::read(Pid::own()).unwrap();
        assert_eq!(stat.pid, Pid::own());
        assert_eq!(stat.parent, rustix::process::getppid().map(Pid::from));
        assert!(stat.rss_bytes > 100_000 && stat.threads >= 1 && !stat.is_dead(), "{stat:?}");
        assert!(stat.started <= since_boot(), "{stat:?}");
        let memory = Memory::read(Pid::own()).unwrap();
        assert!(memory.rss_bytes >= memory.pss_bytes && memory.private_bytes > 0, "{memory:?}");
    }

    #[test]
    fn name_with_parentheses_and_spaces() {
        let line = b"7 (a) Z 1) (\n) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 1234 1000 10 0 0\n";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.command.as_str(), stat.state), ("a) Z 1) (\n", 'S'));
        assert_eq!((stat.threads, stat.cpu_time), (3, Duration::from_secs(2)));
        assert_eq!(stat.started, Duration::from_millis(12_340));
        assert_eq!(stat.rss_bytes, 10 * page_size() as u64);
    }

    #[test]
    fn between_two_programs() {
        let line = |memory: u64, environment_end: u64| {
            let middle = "0 ".repeat(27);
            format!("7 (a) R 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1234 {memory} {middle}{environment_end} 0\n")
        };
        for (memory, environment_end, executing) in [(132_000, 0, true), (132_000, 4096, false), (0, 0, false)] {
            assert_eq!(parse_is_executing(line(memory, environment_end).as_bytes()), Some(executing));
        }
        assert_eq!(parse_is_executing(b"7 (a) R 1"), None);
        assert!(!is_executing(Pid::own()));
    }

    #[test]
    fn no_such_process() {
        let error = ProcessStat::read(Pid::from_raw(i32::MAX).unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn any_line_is_handled(line in prop::collection::vec(any::<u8>(), 0..200), text in "(?s).{0,200}") {
            let _ = parse_stat(&line);
            let _ = parse_is_executing(&line);
            let _ = parse_rollup(&text);
            let mut with_name = b"1 (".to_vec();
            with_name.extend(&line);
            with_name.extend(b") S 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 1 1 1");
            prop_assert!(parse_stat(&with_name).is_some());
        }
    }
}
