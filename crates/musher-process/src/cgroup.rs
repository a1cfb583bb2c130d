//! A cgroup v2 per run, where the system lets us make one.
//!
//! Used only to find and kill the processes of a run, so no controller is enabled and no delegation beyond a writable
//! directory is needed: as root, in most containers, and in a systemd user session. Layout, below the cgroup that we are
//! in ourselves: `musher.<home>/run.<run>`.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, Mode, OFlags};

use crate::pid::Pid;

/// The most processes that are listed, and directories that are visited, for one run.
const MAX_LISTED: usize = 100_000;

/// The directory `musher.<home>` below our own cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    directory: PathBuf,
}

impl Cgroups {
    /// Finds cgroup v2 (wherever it is mounted) and makes our directory. `None` where it is missing or not writable.
    /// `home` tells apart several homes; letters and digits.
    #[must_use]
    pub fn open(home: &str) -> Option<Cgroups> {
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let own = fs::read("/proc/self/cgroup").ok()?;
        let directory = own_directory(&mounts, &own)?.join(format!("musher.{}", checked(home).ok()?));
        let made = fs::create_dir(&directory);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        let usable = directory.join("cgroup.procs");
        rustix::fs::access(&usable, Access::WRITE_OK).ok()?;
        Some(Cgroups { directory })
    }

    /// Makes the cgroup of a run, or opens it if it is there. The descriptor is for [`crate::Spawn::cgroup`].
    pub fn create(&self, run: &str) -> io::Result<OwnedFd> {
        let path = self.directory.join(format!("run.{}", checked(run)?));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(CWD, &path, flags, Mode::empty())?)
    }

    /// The directory of a run's cgroup, made or not.
    #[must_use]
    pub fn path(&self, run: &str) -> PathBuf {
        self.directory.join(format!("run.{run}"))
    }

    /// Removes the cgroup of a run with those that its processes made below it. `ResourceBusy` while it has processes
    /// (zombies count until they are reaped); not there is success.
    pub fn remove(&self, run: &str) -> io::Result<()> {
        checked(run)?;
        remove_below(&self.path(run))
    }

    /// Removes every cgroup without processes, and our own directory if nothing is left.
    pub fn clean(&self) {
        let _ = remove_below(&self.directory);
    }
}

/// Only what is one component of a path.
fn checked(name: &str) -> io::Result<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    if !name.is_empty() && name.len() <= 128 && name.bytes().all(plain) {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be the name of a cgroup")))
    }
}

/// Kills every process of a cgroup and of those below it at once (cgroup.kill, Linux 5.14).
pub fn kill(directory: &Path) -> io::Result<()> {
    // Only an existing file: the directory might be no cgroup.
    fs::File::options().write(true).open(directory.join("cgroup.kill"))?.write_all(b"1")
}

/// Whether there is such a cgroup.
#[must_use]
pub fn is_there(directory: &Path) -> bool {
    directory.join("cgroup.procs").exists()
}

/// The processes of a cgroup and of those below it. Empty if it is not there.
#[must_use]
pub fn processes(directory: &Path) -> Vec<Pid> {
    let (mut found, mut visited) = (Vec::new(), 0);
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        visited += 1;
        if let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) {
            // 0 is a process outside of our pid namespace.
            found.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
        }
        todo.extend(directories_in(&directory));
        if visited + todo.len() + found.len() > MAX_LISTED {
            break;
        }
    }
    found
}

/// The processes of our own cgroup and of those below it, if that is the one of this systemd unit; else none: it may
/// be that of a whole session.
#[must_use]
pub fn processes_of_unit(unit: &str) -> Vec<Pid> {
    let own = fs::read("/proc/self/mountinfo")
        .and_then(|mounts| Ok(own_directory(&mounts, &fs::read("/proc/self/cgroup")?)))
        .ok()
        .flatten();
    own.filter(|directory| directory.ends_with(unit)).map_or_else(Vec::new, |directory| processes(&directory))
}

/// The memory of the processes of a cgroup and of those below it, without files that the kernel can drop at once; `None`
/// where the memory controller is not enabled for it.
#[must_use]
pub fn memory_bytes(directory: &Path) -> Option<u64> {
    let current = fs::read_to_string(directory.join("memory.current")).ok()?.trim().parse::<u64>().ok()?;
    let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let droppable = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(current.saturating_sub(droppable.unwrap_or(0)))
}

fn directories_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// Removes directories from the leaves up (their files belong to the kernel). A directory's own removal decides the
/// result: it is busy if one below is.
fn remove_below(directory: &Path) -> io::Result<()> {
    let (mut all, mut next) = (vec![directory.to_owned()], 0);
    while let Some(directory) = all.get(next) {
        next += 1;
        let below = directories_in(directory);
        all.extend(below);
        if all.len() > MAX_LISTED {
            break;
        }
    }
    let mut result = Ok(());
    for directory in all.iter().rev() {
        result = match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
    }
    result
}

/// The directory of our own cgroup v2: from /proc/self/mountinfo and /proc/self/cgroup, see cgroups(7).
pub(crate) fn own_directory(mounts: &[u8], own: &[u8]) -> Option<PathBuf> {
    let own = own.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    directory_in(mounts, own, |kind, _| kind == b"cgroup2")
}

/// The directory of our own cgroup v1 of the memory controller, where that is not part of version 2.
pub(crate) fn own_memory_directory(mounts: &[u8], own: &[u8]) -> Option<PathBuf> {
    // `number:controllers:path`
    let own = own.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        let controllers = fields.next()?;
        fields.next().filter(|_| has_word(controllers, b"memory"))
    })?;
    directory_in(mounts, own, |kind, options| kind == b"cgroup" && has_word(options, b"memory"))
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|part| part == word)
}

/// Where the cgroup with this path is visible: in the first mount of the kind and options that `is_it`.
fn directory_in(mounts: &[u8], own: &[u8], is_it: impl Fn(&[u8], &[u8]) -> bool) -> Option<PathBuf> {
    let own = PathBuf::from(std::ffi::OsString::from_vec(own.to_vec()));
    mounts.split(|byte| *byte == b'\n').find_map(|line| {
        // `id parent major:minor root mount-point options [tags] - type source super-options`
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        if !is_it(fields.get(dash + 1)?, fields.get(dash + 3).copied().unwrap_or_default()) {
            return None;
        }
        let (root, point) = (unescape(fields.get(3)?), unescape(fields.get(4)?));
        // A mount of only a part shows our cgroup if that is below the part.
        Some(point.join(own.strip_prefix(&root).ok()?))
    })
}

/// mountinfo writes space, tab, line end and backslash in octal.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn own_directory_wherever_it_is_mounted() {
        let find = |mounts: &[u8], own: &[u8]| own_directory(mounts, own).map(|path| path.display().to_string());
        assert_eq!(find(HYBRID, b"4:memory:/x\n0::/\n").unwrap(), "/sys/fs/cgroup/uni fied/");
        assert_eq!(find(HYBRID, b"0::/user.slice/a\n").unwrap(), "/sys/fs/cgroup/uni fied/user.slice/a");
        let part = b"41 31 0:38 /docker/7 /cg rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(part, b"0::/docker/7/init\n").unwrap(), "/cg/init");
        assert_eq!(find(part, b"0::/elsewhere\n"), None);
        assert_eq!(find(HYBRID, b"4:memory:/\n"), None);
        assert_eq!(find(b"31 23 0:28 / / rw - ext4 /dev/vda rw\n", b"0::/\n"), None);
    }

    #[test]
    fn the_directory_of_the_memory_controller_of_version_1() {
        let find = |own: &[u8]| own_memory_directory(HYBRID, own).map(|path| path.display().to_string());
        assert_eq!(find(b"4:memory:/x/y\n0::/\n").unwrap(), "/sys/fs/cgroup/memory/x/y");
        assert_eq!(find(b"3:cpu,cpuacct:/x\n0::/\n"), None);
    }

    #[test]
    fn memory_of_a_cgroup_is_without_files_that_can_be_dropped() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(memory_bytes(directory.path()), None);
        fs::write(directory.path().join("memory.current"), "1000\n").unwrap();
        assert_eq!(memory_bytes(directory.path()), Some(1000));
        fs::write(directory.path().join("memory.stat"), "anon 5\ninactive_file 300\nactive_file 2\n").unwrap();
        assert_eq!(memory_bytes(directory.path()), Some(700));
    }

    #[test]
    fn names_stay_one_component() {
        for wrong in ["", "a/b", "a b", "a\n", &"x".repeat(129)] {
            assert_eq!(checked(wrong).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(checked("17@ab-c_d").is_ok());
    }

    proptest! {
        #[test]
        fn any_mount_table_is_handled(mounts in "(?s)[0-9a-z/ \\\\\n-]{0,200}", own in "(?s).{0,60}") {
            let _ = own_directory(mounts.as_bytes(), own.as_bytes());
            let _ = own_directory(mounts.as_bytes(), format!("0::/{own}").as_bytes());
        }
    }
}
