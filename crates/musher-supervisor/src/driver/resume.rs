//! Beginning with what is on the disk, because no keeper held anything: supervisor and keeper died together, or the
//! machine was booted anew.
//!
//! # The same boot
//!
//! The records are taken as if a keeper had held them. The descriptors are looked for in the workers that live on: their
//! pidfds by the mark in their environment, the pipes that they write to and the sockets that they listen on by inode
//! ([`musher_process::foreign`]). Then everything goes on as after the death of a supervisor ([`super::adopt`]). What
//! cannot be had back: channels, so Node workers of a cluster are replaced as in a reload ([`super::renewal`]); sockets,
//! where the system forbids to take them from another process.
//!
//! The same where one of them died while it handed over to the other's successor: what came may be a part.
//!
//! # Another boot
//!
//! Nothing lives. The apps are added anew, with the number of slots that they had, and those that were wanted are
//! started.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use musher_core::spec::AppSpec;
use musher_core::{Generation, RunId, SlotId};
use musher_process::foreign::{self, ForeignFd, Kind};
use musher_process::memfd::memfd_with;
use musher_process::{Pid, pidfd_open, tree};

use crate::home::Home;
use crate::link::{KeeperLink, MAX_RECORD, PARTIAL};
use crate::team::{self, TeamFault, TeamFile};

use super::adopt::{Held, root_of};
use super::records::{AppRecord, HomeRecord, decode, decode_spec, names};
use super::timetable::TimesRecord;

/// What the disk gave.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// The records on the disk are of this boot: they are held now, with what could be had back for them.
    pub(super) same_boot: bool,
    /// Apps to add, when they are of another boot.
    pub(super) apps: Vec<SavedApp>,
    /// What the operator should know.
    pub(super) told: Vec<String>,
}

/// An app as a list on the disk has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SavedApp {
    /// What it was meant to run, with the number of slots that it had.
    pub(super) spec: AppSpec,
    /// Whether it was meant to run at all.
    pub(super) wanted: bool,
    /// Slots that had been stopped alone.
    pub(super) held: Vec<SlotId>,
    /// What is remembered of its schedule.
    pub(super) times: TimesRecord,
}

/// Takes up what is on the disk, unless a supervisor before this one did.
pub(super) fn resume(home: &Home, link: &KeeperLink, held: &mut Held) -> Resumed {
    if held.remove(PARTIAL).is_some() {
        return complete(home, link, held);
    }
    let known = held.get(names::HOME).and_then(|fd| musher_process::memfd::read_memfd(fd.as_fd(), MAX_RECORD).ok());
    if known.is_some_and(|bytes| decode::<HomeRecord>(&bytes).is_ok_and(|record| record.taken_up)) {
        return Resumed::default();
    }
    let path = home.team_list();
    let file = match TeamFile::read(&path) {
        Ok(Some(file)) => file,
        // Before the first list, and after everything was ended on purpose.
        Ok(None) => return at_boot(&home.saved_list()),
        Err(fault) => return Resumed { told: vec![put_aside(&path, &fault)], ..Resumed::default() },
    };
    if file.boot != team::boot_id() || file.ended && !anything_lives(&file) {
        let apps = apps_of(&file);
        let told = vec![format!("{}: {} apps are taken up", path.display(), apps.len())];
        return Resumed { apps, told, ..Resumed::default() };
    }
    take_over(file, link, held)
}

/// A keeper died while it handed over to a supervisor whose predecessor was dead: what is on the disk is whole, and of the
/// same state or of one that nobody was told of. The records are taken from there, all of them; the descriptors that came
/// are kept. Without a list of this boot what came is all there is.
fn complete(home: &Home, link: &KeeperLink, held: &mut Held) -> Resumed {
    let resumed = match TeamFile::read(&home.team_list()) {
        Ok(Some(file)) if file.boot == team::boot_id() && !file.ended => {
            let (strange, records): (Vec<String>, Vec<String>) = held
                .keys()
                .filter(|name| team::is_record(name))
                .cloned()
                .partition(|name| !file.records.contains_key(name));
            records.iter().for_each(|name| drop(held.remove(name)));
            for name in strange {
                link.remove(&name);
                held.remove(&name);
            }
            take_over(file, link, held)
        }
        _ => {
            let told = "a keeper died while it handed over, and there is no list on the disk: something may be missing";
            Resumed { told: vec![told.to_owned()], ..Resumed::default() }
        }
    };
    link.remove(PARTIAL);
    resumed
}

/// What `musher save` had saved is the list when there is no other, but only where nobody else decides what is started
/// at boot: a daemon that is started by a command starts what the command says.
fn at_boot(saved: &Path) -> Resumed {
    if std::env::var_os(super::BOOTED).is_none() {
        return Resumed::default();
    }
    match read_saved(saved) {
        Ok(apps) => Resumed { apps, ..Resumed::default() },
        Err(fault) => Resumed { told: vec![fault], ..Resumed::default() },
    }
}

/// The apps of the list at `path`; none without one. A failure is told in words.
pub(super) fn read_saved(path: &Path) -> Result<Vec<SavedApp>, String> {
    match TeamFile::read(path) {
        Ok(file) => Ok(file.map(|file| apps_of(&file)).unwrap_or_default()),
        Err(fault) => Err(format!("{}: {fault}", path.display())),
    }
}

/// A list that cannot be read is not written over.
fn put_aside(path: &Path, fault: &TeamFault) -> String {
    let kept = match TeamFile::put_aside(path) {
        Ok(aside) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("and it could not be put aside: {error}"),
    };
    format!("the list of apps {} cannot be used: {fault}; {kept}; the daemon begins without apps", path.display())
}

/// Whether a worker of this list lives: the daemon was killed while it stopped everything.
fn anything_lives(file: &TeamFile) -> bool {
    home_id(file).is_some_and(|id| tree::find_by_home(&id).is_ok_and(|runs| !runs.is_empty()))
}

fn home_id(file: &TeamFile) -> Option<String> {
    let record: HomeRecord = decode(file.records.get(names::HOME)?).ok()?;
    Some(record.home_id).filter(|id| !id.is_empty())
}

/// The apps of a list, without anything of the processes that they had.
pub(super) fn apps_of(file: &TeamFile) -> Vec<SavedApp> {
    let records = file.records.iter().filter(|(name, _)| name.starts_with("app/"));
    let app = |(name, bytes): (&String, &Vec<u8>)| {
        let record: AppRecord = decode(bytes).inspect_err(|error| tracing::error!(name, %error, "on the disk")).ok()?;
        let spec = |generation: Generation| {
            let bytes = file.records.get(&names::spec(record.id, generation))?;
            decode_spec(bytes).ok()
        };
        let mut spec = spec(record.machine.target()).or_else(|| spec(record.newest)).or_else(|| {
            tracing::error!(name, "its description is missing on the disk");
            None
        })?;
        spec.instances = record.machine.size().max(1);
        // Where slots were deleted, the others move up.
        let slots = record.machine.slot_ids();
        let held = (0..).map(SlotId).zip(slots).filter(|(_, slot)| record.machine.is_held(*slot));
        let held = held.map(|(place, _)| place).collect();
        Some(SavedApp { spec, wanted: record.machine.is_wanted(), held, times: record.times })
    };
    records.filter_map(app).collect()
}

/// The records and descriptors of the same boot. The home's record is put last, by who makes the world: with it, all of
/// this counts as taken up.
fn take_over(file: TeamFile, link: &KeeperLink, held: &mut Held) -> Resumed {
    let mut resumed = Resumed { same_boot: true, ..Resumed::default() };
    let id = home_id(&file).unwrap_or_default();
    let mut known = BTreeSet::new();
    for (name, bytes) in &file.records {
        if name.starts_with("app/")
            && let Ok(record) = decode::<AppRecord>(bytes)
        {
            known.extend(record.machine.runs().map(|(run, _)| run));
        }
        if held.contains_key(name) {
            continue;
        }
        match memfd_with(name, bytes) {
            Ok(fd) => {
                if name != names::HOME {
                    link.put(name, fd.as_fd());
                }
                held.insert(name.clone(), fd);
            }
            Err(error) => tracing::error!(name, %error, "a record cannot be taken from the disk"),
        }
    }
    let workers = match tree::find_by_home(&id) {
        Ok(workers) => workers,
        Err(error) => {
            tracing::error!(%error, "workers that live on cannot be looked for");
            BTreeMap::new()
        }
    };
    let mut found = Found::default();
    let mut lives = 0;
    for (run, pids) in &workers {
        let (Ok(run), Some(root)) = (run.parse().map(RunId), root_of(pids)) else { continue };
        let Ok(pidfd) = pidfd_open(root) else { continue };
        lives += usize::from(known.contains(&run));
        let name = names::run(run, names::RUN_PIDFD);
        link.put(&name, pidfd.as_fd());
        held.insert(name, pidfd);
        pids.iter().for_each(|pid| found.look_into(*pid));
        have_outputs_back(run, root, link, held);
    }
    let missing = found.have_back(&file.fds, link, held);
    resumed.told.push(format!(
        "keeper and supervisor had died; of {} runs on the disk {lives} live and are taken over",
        known.len()
    ));
    resumed.told.extend(missing);
    resumed
}

/// Gets back the pipes to which a run writes, by the numbers that they have in every run: the list may have been written
/// before they were made.
fn have_outputs_back(run: RunId, root: Pid, link: &KeeperLink, held: &mut Held) {
    let (out, err) = (foreign::pipe_of_ours(root, 1), foreign::pipe_of_ours(root, 2));
    let err = err.filter(|err| out.is_none_or(|out| out.inode != err.inode));
    for (part, fd) in [(names::RUN_OUT, out), (names::RUN_ERR, err)] {
        let name = names::run(run, part);
        if let Some(fd) = fd.filter(|_| !held.contains_key(&name))
            && let Ok(pipe) = foreign::reopen_pipe(root, fd)
        {
            link.put(&name, pipe.as_fd());
            held.insert(name, pipe);
        }
    }
}

/// The descriptors of workers, by inode.
#[derive(Default)]
struct Found(BTreeMap<(bool, u64), (Pid, ForeignFd)>);

impl Found {
    fn look_into(&mut self, pid: Pid) {
        // One that ends meanwhile has nothing for us.
        for fd in foreign::list(pid).unwrap_or_default() {
            self.0.entry((fd.kind == Kind::Socket, fd.inode)).or_insert((pid, fd));
        }
    }

    /// Gets back what was held under these names; says what is missing though a worker has it.
    fn have_back(&self, fds: &BTreeMap<String, u64>, link: &KeeperLink, held: &mut Held) -> Option<String> {
        let mut refused: Vec<(&str, io::Error)> = Vec::new();
        for (name, inode) in fds.iter().filter(|(name, _)| !held.contains_key(*name)).collect::<Vec<_>>() {
            let Some((pid, fd)) = self.0.get(&(!name.starts_with("run/"), *inode)) else { continue };
            let again = match fd.kind {
                Kind::Pipe => foreign::reopen_pipe(*pid, *fd),
                Kind::Socket => pidfd_open(*pid).and_then(|pidfd| foreign::duplicate(pidfd.as_fd(), *fd)),
            };
            match again {
                Ok(again) => {
                    link.put(name, again.as_fd());
                    held.insert(name.clone(), again);
                }
                Err(error) => refused.push((name, error)),
            }
        }
        let (name, error) = refused.first()?;
        let rest = refused.len() - 1;
        Some(format!(
            "{name} and {rest} more descriptors of workers cannot be had back: {error}; see `kernel.yama.ptrace_scope`"
        ))
    }
}
