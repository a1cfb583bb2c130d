//! What can be found out about a process after its end: where its core file is, and whether it died of want of memory.
//!
//! Nothing here is needed to go on; it is for the story that people read. What is only probable says so. All of it reads
//! files of the system, some of them long (the kernel's log): not for a thread that must not wait.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::pid::Pid;

/// The most names in a directory that are compared with the pattern of core files.
const MAX_NAMES: usize = 20_000;
/// The most records of the kernel's log that are read.
const MAX_RECORDS: usize = 50_000;
/// The longest record (Linux's `PRINTKRB_RECORD_MAX` is below).
const RECORD: usize = 8192;
/// The pid namespace of the whole machine (`PROC_PID_INIT_INO`): only there are the kernel's numbers ours.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// How far the clock of the kernel's log may be off.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// A process that left a core file.
#[derive(Clone, Copy, Debug)]
pub struct Dumped<'a> {
    /// Its number.
    pub pid: Pid,
    /// Its user and group.
    pub owner: (u32, u32),
    /// The signal that ended it.
    pub signal: i32,
    /// Where it was started.
    pub cwd: &'a Path,
    /// When it was started: older files are not its own.
    pub started: SystemTime,
}

/// Where the core file of a process went, as core(5) and its pattern tell: a path that was found, or the program that
/// took it. `None`: it is not where it should be.
#[must_use]
pub fn core_file(dumped: &Dumped<'_>) -> Option<String> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let with_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid").is_ok_and(|text| text.trim() != "0");
    core_of_pattern(pattern.trim_end(), with_pid, dumped)
}

fn core_of_pattern(pattern: &str, with_pid: bool, dumped: &Dumped<'_>) -> Option<String> {
    if let Some(handler) = pattern.strip_prefix('|') {
        let program = handler.split_ascii_whitespace().next()?;
        return Some(match Path::new(program).file_name().and_then(OsStr::to_str) {
            Some("systemd-coredump") => format!("systemd-coredump has it: coredumpctl info {}", dumped.pid),
            _ => format!("{program} has it"),
        });
    }
    let mut pattern = pattern.to_owned();
    if with_pid && !pattern.contains("%p") {
        pattern.push_str(".%p");
    }
    let place = dumped.cwd.join(pattern);
    let directory = place.parent()?;
    let pieces = pieces(place.file_name()?.to_str()?, dumped);
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    for entry in fs::read_dir(directory).ok()?.take(MAX_NAMES).flatten() {
        if !matches(entry.file_name().as_bytes(), &pieces) {
            continue;
        }
        let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        if changed >= dumped.started && newest.as_ref().is_none_or(|(time, _)| changed > *time) {
            newest = Some((changed, entry.path()));
        }
    }
    newest.map(|(_, path)| path.display().to_string())
}

/// A part of a file's name: known, or anything.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Known(String),
    Any,
}

/// The pattern with what is known filled in.
fn pieces(pattern: &str, dumped: &Dumped<'_>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut known = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let value = match (c, if c == '%' { chars.next() } else { None }) {
            ('%', Some('%')) => "%".to_owned(),
            ('%', Some('p')) => dumped.pid.to_string(),
            ('%', Some('u')) => dumped.owner.0.to_string(),
            ('%', Some('g')) => dumped.owner.1.to_string(),
            ('%', Some('s')) => dumped.signal.to_string(),
            ('%', Some(_)) => {
                pieces.push(Piece::Known(std::mem::take(&mut known)));
                pieces.push(Piece::Any);
                continue;
            }
            // A lone % at the end is dropped.
            ('%', None) => continue,
            (c, _) => c.to_string(),
        };
        known.push_str(&value);
    }
    pieces.push(Piece::Known(known));
    pieces
}

fn matches(name: &[u8], pieces: &[Piece]) -> bool {
    match pieces.split_first() {
        None => name.is_empty(),
        Some((Piece::Known(text), rest)) => name.strip_prefix(text.as_bytes()).is_some_and(|name| matches(name, rest)),
        Some((Piece::Any, rest)) => (0..=name.len()).any(|skip| matches(&name[skip..], rest)),
    }
}

/// The cgroup that bounds our memory, and with it that of our workers: its count of processes that the kernel killed for
/// want of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryGroup {
    /// `memory.events` (version 2) or `memory.oom_control` (version 1).
    counts: PathBuf,
    /// `memory.max` or `memory.limit_in_bytes`.
    limit: PathBuf,
}

impl MemoryGroup {
    /// That of this process: the nearest one with the memory controller. `None` where there is none.
    #[must_use]
    pub fn own() -> Option<MemoryGroup> {
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let own = fs::read("/proc/self/cgroup").ok()?;
        if let Some(directory) = crate::cgroup::own_directory(&mounts, &own) {
            let found = directory.ancestors().find(|directory| directory.join("memory.events").exists());
            if let Some(found) = found {
                return Some(MemoryGroup { counts: found.join("memory.events"), limit: found.join("memory.max") });
            }
        }
        let directory = crate::cgroup::own_memory_directory(&mounts, &own)?;
        let counts = directory.join("memory.oom_control");
        counts.exists().then(|| MemoryGroup { counts, limit: directory.join("memory.limit_in_bytes") })
    }

    /// How many of its processes the kernel has killed for want of memory.
    #[must_use]
    pub fn kills(&self) -> Option<u64> {
        count_of_kills(&fs::read_to_string(&self.counts).ok()?)
    }

    /// How much memory its processes may have together; `None` without a limit.
    #[must_use]
    pub fn limit_bytes(&self) -> Option<u64> {
        fs::read_to_string(&self.limit).ok()?.trim().parse().ok()
    }
}

/// How many processes of this cgroup (version 2) the kernel has killed for want of memory; `None` when the cgroup has no
/// memory controller.
#[must_use]
pub fn kills_in(cgroup: &Path) -> Option<u64> {
    count_of_kills(&fs::read_to_string(cgroup.join("memory.events")).ok()?)
}

fn count_of_kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The memory of the machine.
#[must_use]
pub fn total_memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok())?;
    kib.checked_mul(1024)
}

/// Whether the kernel's log says that this process, which lived for `uptime` until now, was killed for want of memory.
/// `None`: it cannot be known, as the log may not be read or numbers processes otherwise.
#[must_use]
pub fn kernel_log_says_killed(pid: Pid, uptime: Duration) -> Option<bool> {
    let ours = fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link == Path::new(FIRST_PID_NAMESPACE));
    if !ours {
        return None;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(now.tv_sec.try_into().unwrap_or(0), 0);
    let since = now.saturating_sub(uptime).saturating_sub(CLOCKS_DIFFER);
    let mut log = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/kmsg")
        .ok()?;
    let mut record = [0; RECORD];
    for _ in 0..MAX_RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) if says_killed(record.get(..length).unwrap_or_default(), pid, since) => return Some(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Overwritten while we read: the next read goes on behind it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(_) => return None,
        }
    }
    Some(false)
}

/// `priority,sequence,microseconds,flags;text` (Documentation/ABI/testing/dev-kmsg), where the text is that of
/// `__oom_kill_process` in mm/oom_kill.c.
fn says_killed(record: &[u8], pid: Pid, since: Duration) -> bool {
    let record = String::from_utf8_lossy(record);
    let Some((head, text)) = record.split_once(';') else { return false };
    let time = head.split(',').nth(2).and_then(|micros| micros.parse().ok()).map(Duration::from_micros);
    time.is_some_and(|time| time >= since) && text.contains(&format!("Killed process {pid} ("))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dumped(cwd: &Path) -> Dumped<'_> {
        let pid = Pid::from_raw(42).unwrap();
        Dumped { pid, owner: (1000, 100), signal: 11, cwd, started: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn core_files_are_found_by_any_pattern() {
        let directory = tempfile::tempdir().unwrap();
        let cwd = directory.path();
        for name in ["core", "core.42", "core.43", "node-42-11-1000-1700000000.core", "100%"] {
            fs::write(cwd.join(name), "").unwrap();
        }
        let find = |pattern: &str, with_pid| {
            let found = core_of_pattern(pattern, with_pid, &dumped(cwd))?;
            Some(found.strip_prefix(&format!("{}/", cwd.display())).unwrap_or(&found).to_owned())
        };
        assert_eq!(find("core", false).unwrap(), "core");
        assert_eq!(find("core", true).unwrap(), "core.42");
        assert_eq!(find("core.%p", true).unwrap(), "core.42");
        assert_eq!(find("%e-%p-%s-%u-%t.core", false).unwrap(), "node-42-11-1000-1700000000.core");
        assert_eq!(find("%g%%", false).unwrap(), "100%");
        assert_eq!(find(&format!("{}/core.%p", cwd.display()), false).unwrap(), "core.42");
        assert_eq!(find("/nowhere/core", false), None);
        assert_eq!(find("dump.%p", false), None);
        assert!(find("|/usr/lib/systemd/systemd-coredump %P %u", false).unwrap().contains("coredumpctl info 42"));
        assert_eq!(find("|/usr/share/apport/apport -p%p", false).unwrap(), "/usr/share/apport/apport has it");
        let later = Dumped { started: SystemTime::now() + Duration::from_secs(60), ..dumped(cwd) };
        assert_eq!(core_of_pattern("core", false, &later), None, "it was there before the process");
    }

    #[test]
    fn the_kernels_words_for_a_kill() {
        let pid = Pid::from_raw(42).unwrap();
        let since = Duration::from_secs(10);
        let record =
            b"3,900,11000000,-;Memory cgroup out of memory: Killed process 42 (node) total-vm:1kB\n SUBSYSTEM=x";
        assert!(says_killed(record, pid, since));
        assert!(says_killed(b"3,900,11000000,-;Out of memory: Killed process 42 (node) total-vm:1kB", pid, since));
        assert!(!says_killed(b"3,900,9000000,-;Out of memory: Killed process 42 (node)", pid, since));
        assert!(!says_killed(b"3,900,11000000,-;Out of memory: Killed process 421 (node)", pid, since));
        assert!(!says_killed(b"6,900,11000000,-;something else about 42", pid, since));
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(count_of_kills("low 0\nhigh 3\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
        assert_eq!(count_of_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count_of_kills("oom_kill_disable 0\n"), None);
    }

    #[test]
    fn a_process_that_nobody_killed_is_not_in_the_log() {
        assert_ne!(kernel_log_says_killed(Pid::own(), Duration::from_secs(1)), Some(true));
        assert!(total_memory_bytes().unwrap() > 1 << 20);
    }

    proptest! {
        #[test]
        fn any_pattern_name_and_record_is_handled(pattern in "[a%pt.|/]{0,12}", record: Vec<u8>) {
            let cwd = Path::new("/nowhere");
            let _ = core_of_pattern(&pattern, true, &dumped(cwd));
            let _ = matches(&record, &pieces(&pattern, &dumped(cwd)));
            let _ = says_killed(&record, Pid::own(), Duration::ZERO);
        }
    }
}
