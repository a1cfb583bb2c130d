//! The story of a death: everything that can be told of how a run ended, in one value.
//!
//! What the driver knows is there at once ([`World::death`]). The last words come when the logs are written, and what has
//! to be looked for (a core file, the kernel's reasons) is looked for meanwhile, beside the driver ([`Inquest`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use musher_api::{Death, EventKind, LastMemory, OutOfMemory};
use musher_core::spec::AppSpec;
use musher_core::{AppId, RunId};
use musher_process::exit::signal_name;
use musher_process::postmortem::{self, Dumped, MemoryGroup};
use musher_process::{ExitStatus, Pid};

use crate::control::News;

use super::app::{ManagedApp, ManagedRun};
use super::fitness::last_memory;
use super::{World, millis, now, wall_clock_ms};

/// A process with this part of all memory that there is, in percent, is one that the kernel would have chosen.
const MUCH: u64 = 60;
/// What programs say that get no more memory: Node, Python, C and C++, Go, Java, Ruby, Rust.
const WORDS: [&str; 10] = [
    "JavaScript heap out of memory",
    "MemoryError",
    "Cannot allocate memory",
    "cannot allocate memory",
    "std::bad_alloc",
    "java.lang.OutOfMemoryError",
    "NoMemoryError",
    "memory allocation of",
    "runtime: out of memory",
    "virtual memory exhausted",
];

/// How many processes the kernel killed for want of memory while a run lived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kills {
    /// Of the run itself.
    own: u64,
    /// Of all that have their memory together with it.
    around: u64,
}

/// What has to be looked for.
#[derive(Clone, Debug)]
pub(super) struct Inquest {
    pid: Option<Pid>,
    /// That of a death which nobody had asked for.
    signal: Option<i32>,
    core: Option<Core>,
    uptime: Duration,
    peak_bytes: u64,
    kills: Kills,
    asked: bool,
}

/// A core file that has to be somewhere.
#[derive(Clone, Debug)]
struct Core {
    owner: (u32, u32),
    cwd: PathBuf,
    started: SystemTime,
}

/// What completes the story.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    stderr: Vec<String>,
    core_file: Option<String>,
    out_of_memory: Option<OutOfMemory>,
}

impl World {
    /// How many processes the kernel has killed for want of memory since the run was spawned.
    pub(super) fn kills(&self, app: &ManagedApp, run: RunId) -> Kills {
        let before = app.runs.get(&run).and_then(|run| run.record.kills_before);
        let after = self.memory_group.as_ref().and_then(MemoryGroup::kills);
        let own = self.cgroups.as_ref().and_then(|cgroups| postmortem::kills_in(&cgroups.path(&run.to_string())));
        let around = after.zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        Kills { own: own.unwrap_or(0), around }
    }

    /// How a run ended, as far as it is known at once.
    pub(super) fn death(&self, app: &ManagedApp, run: RunId, ended: &ManagedRun, status: ExitStatus) -> Death {
        let record = &ended.record;
        let (code, signal, core_dumped) = match status {
            ExitStatus::Code(code) => (Some(code), None, false),
            ExitStatus::Signal { signal, core_dumped } => (None, Some(signal), core_dumped),
            ExitStatus::Unknown => (None, None, false),
        };
        let since = app.machine.run(run).map(|run| run.since);
        Death {
            run: run.0,
            slot: record.slot.0,
            pid: record.pid.and_then(|pid| u32::try_from(pid).ok()),
            status: match &record.violation {
                Some(violation) => format!("{status}: killed by musher, because it {violation}"),
                None => status.to_string(),
            },
            code,
            signal,
            signal_name: signal.map(|signal| signal_name(signal).to_owned()),
            core_dumped,
            uncaught: record.uncaught.clone(),
            cut: record.cut,
            asked: record.asked,
            was_ready: record.was_ready,
            time_ms: wall_clock_ms(),
            uptime_ms: since.map_or(0, |since| millis(now().since(since))),
            memory_bytes: self.samples.memory_at_death(run),
            last_memory: newer(self.samples.last_memory(run, now()), last_memory(&ended.memory_seen, now())),
            said: record.said.clone(),
            unfit: record.unfit.clone(),
            restarts: app.restarts_of(record.slot),
            ..Death::default()
        }
    }
}

impl Inquest {
    /// What has to be looked for to complete the story of this death. Nothing, if it ended as it was asked to.
    pub(super) fn of(death: &Death, spec: &Arc<AppSpec>, kills: Kills) -> Option<Inquest> {
        let killed_by_us = death.asked || death.status.contains("killed by musher");
        if killed_by_us && !death.core_dumped {
            return None;
        }
        let owner = spec.user.as_ref().map_or_else(
            || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            |user| (user.uid, user.gid),
        );
        // A file's time may be a tick behind the clock.
        let lived = Duration::from_millis(death.uptime_ms) + Duration::from_secs(1);
        let ended = SystemTime::UNIX_EPOCH + Duration::from_millis(death.time_ms);
        let started = ended.checked_sub(lived).unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Inquest {
            pid: death.pid.and_then(|pid| Pid::from_raw(pid.cast_signed())),
            signal: death.signal,
            core: death.core_dumped.then(|| Core { owner, cwd: spec.cwd.clone(), started }),
            uptime: Duration::from_millis(death.uptime_ms),
            peak_bytes: death.memory_bytes,
            kills,
            asked: killed_by_us,
        })
    }

    fn core_file(&self) -> Option<String> {
        let (core, pid, signal) = (self.core.as_ref()?, self.pid?, self.signal?);
        let Core { owner, cwd, started } = core;
        postmortem::core_file(&Dumped { pid, owner: *owner, signal, cwd, started: *started })
    }

    fn out_of_memory(&self, stderr: &[String]) -> Option<OutOfMemory> {
        if self.asked {
            return None;
        }
        let certain = |because: &str| Some(OutOfMemory { certain: true, because: because.to_owned() });
        let likely = |because: String| Some(OutOfMemory { certain: false, because });
        if self.kills.own > 0 {
            return certain("the kernel killed a process of this run for want of memory, as its cgroup counts");
        }
        if self.signal == Some(libc_kill()) {
            if self.pid.and_then(|pid| postmortem::kernel_log_says_killed(pid, self.uptime)) == Some(true) {
                return certain("the kernel's log says that it killed this process for want of memory");
            }
            if self.kills.around > 0 {
                return likely("the kernel killed something for want of memory meanwhile".to_owned());
            }
            let limit = MemoryGroup::own().and_then(|group| group.limit_bytes());
            let bound = limit.into_iter().chain(postmortem::total_memory_bytes()).min()?;
            if self.peak_bytes / MUCH >= bound / 100 {
                return likely(format!("it had {} of {bound} bytes of memory", self.peak_bytes));
            }
            return None;
        }
        let word = stderr.iter().find_map(|line| WORDS.into_iter().find(|word| line.contains(word)))?;
        likely(format!("its last words are {word:?}"))
    }
}

/// The one of two measurements that is nearer to the end.
fn newer(one: Option<LastMemory>, other: Option<LastMemory>) -> Option<LastMemory> {
    one.into_iter().chain(other).min_by_key(|memory| memory.age_ms)
}

/// What the kernel kills with.
fn libc_kill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

impl LastWords {
    /// Looks for what has to be looked for.
    pub(super) async fn find(stderr: Vec<String>, inquest: Option<Inquest>) -> LastWords {
        let Some(inquest) = inquest else { return LastWords { stderr, ..LastWords::default() } };
        let look =
            move || LastWords { core_file: inquest.core_file(), out_of_memory: inquest.out_of_memory(&stderr), stderr };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }

    /// Whether it died of want of memory.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.out_of_memory.is_some()
    }

    /// Completes the story.
    pub(super) fn complete(self, death: &mut Death) {
        death.stderr = self.stderr;
        death.core_file = self.core_file;
        death.out_of_memory = self.out_of_memory;
    }
}

/// What is told when the story is complete.
pub(super) fn died(app: &str, id: AppId, death: &Death) -> News {
    let mut detail = format!("{} after {} ms", death.status, death.uptime_ms);
    if let Some(stack) = &death.uncaught {
        detail.push_str(&format!("; uncaught: {}", stack.lines().next().unwrap_or_default()));
    }
    if let Some(memory) = &death.out_of_memory {
        let degree = if memory.certain { "out of memory" } else { "likely out of memory" };
        detail.push_str(&format!("; {degree}: {}", memory.because));
    }
    if let Some(core) = &death.core_file {
        detail.push_str(&format!("; core file: {core}"));
    }
    if let Some(last) = death.stderr.last() {
        detail.push_str(&format!("; last words: {last}"));
    }
    let news = News::new(EventKind::Died, detail).of_app(app, id.0).of_slot(death.slot).of_run(death.run, death.pid);
    news.with_death(Some(death.clone()))
}

#[cfg(test)]
mod tests {
    use musher_core::spec::{Exec, Runtime};

    use super::*;

    fn inquest(death: &Death, kills: Kills) -> Option<Inquest> {
        let exec = Exec { program: "/x".into(), args: Vec::new(), script: None, runtime: Runtime::Plain };
        Inquest::of(death, &Arc::new(AppSpec::new("x", exec, "/")), kills)
    }

    fn killed() -> Death {
        Death { signal: Some(9), status: "signal 9 (SIGKILL)".into(), ..Death::default() }
    }

    #[test]
    fn want_of_memory_is_certain_only_when_the_kernel_says_so() {
        let tell = |death: &Death, kills, stderr: &[String]| inquest(death, kills).unwrap().out_of_memory(stderr);
        assert_eq!(tell(&killed(), Kills::default(), &[]), None);
        assert!(tell(&killed(), Kills { own: 1, around: 1 }, &[]).unwrap().certain);
        assert!(!tell(&killed(), Kills { own: 0, around: 1 }, &[]).unwrap().certain);
        let large = Death { memory_bytes: postmortem::total_memory_bytes().unwrap(), ..killed() };
        assert!(!tell(&large, Kills::default(), &[]).unwrap().certain);
        let code = Death { code: Some(1), ..Death::default() };
        assert_eq!(tell(&code, Kills { own: 0, around: 1 }, &["Error: x".into()]), None);
        let words = tell(&code, Kills::default(), &["MemoryError".into(), "bye".into()]).unwrap();
        assert_eq!((words.certain, words.because.contains("MemoryError")), (false, true));
    }

    #[test]
    fn nothing_is_looked_for_when_musher_killed_it() {
        assert!(inquest(&Death { asked: true, ..killed() }, Kills { own: 1, around: 1 }).is_none());
        let violation = Death { status: "signal 9 (SIGKILL): killed by musher, because it x".into(), ..killed() };
        assert!(inquest(&violation, Kills::default()).is_none());
    }
}
