//! Memory and CPU of workers, measured when somebody asks: an idle supervisor measures nothing.

use std::collections::HashMap;
use std::time::Duration;

use musher_api::LastMemory;
use musher_core::{RunId, Time};
use musher_process::Pid;
use musher_process::stat::{ProcessStat, since_boot};

/// The shortest time over which CPU is measured.
const SHORTEST: Duration = Duration::from_millis(500);
/// How many processes of a run are looked at.
const MOST_PROCESSES: usize = 256;

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) memory_bytes: u64,
    pub(super) cpu_percent: f64,
}

/// The last measurement of each run.
#[derive(Debug, Default)]
pub(super) struct Samples {
    last: HashMap<RunId, Sample>,
    /// What the kernel told at the end of a process.
    peaks: HashMap<RunId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Time,
    cpu: Duration,
    usage: Usage,
}

impl Samples {
    /// Measures the run's processes. CPU is the mean since the last measurement, at first since the start.
    pub(super) fn measure(&mut self, run: RunId, pid: Pid, now: Time) -> Usage {
        let stats: Vec<ProcessStat> =
            descendants(pid).into_iter().filter_map(|pid| ProcessStat::read(pid).ok()).collect();
        let Some(first) = stats.first() else { return Usage::default() };
        let cpu: Duration = stats.iter().map(|stat| stat.cpu_time).sum();
        let memory_bytes = stats.iter().map(|stat| stat.rss_bytes).sum();

        let (used, over) = match self.last.get(&run) {
            Some(last) if now.since(last.at) < SHORTEST => {
                return Usage { memory_bytes, cpu_percent: last.usage.cpu_percent };
            }
            Some(last) => (cpu.saturating_sub(last.cpu), now.since(last.at)),
            None => (cpu, since_boot().saturating_sub(first.started)),
        };
        let percent = if over.is_zero() { 0.0 } else { used.as_secs_f64() / over.as_secs_f64() * 100.0 };
        let usage = Usage { memory_bytes, cpu_percent: (percent * 10.0).round() / 10.0 };
        self.last.insert(run, Sample { at: now, cpu, usage });
        usage
    }

    /// The run's process has ended, and had this much memory at most.
    pub(super) fn note_peak(&mut self, run: RunId, bytes: u64) {
        self.peaks.insert(run, bytes);
    }

    /// The most memory that the process of a run had, else its memory when it was last measured, else 0.
    pub(super) fn memory_at_death(&self, run: RunId) -> u64 {
        let measured = || self.last.get(&run).map(|sample| sample.usage.memory_bytes);
        self.peaks.get(&run).copied().or_else(measured).unwrap_or(0)
    }

    /// The memory of the run's processes when they were last measured.
    pub(super) fn last_memory(&self, run: RunId, now: Time) -> Option<LastMemory> {
        let sample = self.last.get(&run)?;
        let age_ms = u64::try_from(now.since(sample.at).as_millis()).unwrap_or(u64::MAX);
        Some(LastMemory { bytes: sample.usage.memory_bytes, age_ms })
    }

    /// The run is gone.
    pub(super) fn forget(&mut self, run: RunId) {
        self.last.remove(&run);
        self.peaks.remove(&run);
    }
}

/// A process and what descends from it without having been orphaned, itself first.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied()
        && found.len() < MOST_PROCESSES
    {
        // One read for the main thread's children: a worker that forks from other threads is counted without those.
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)));
        next += 1;
    }
    found
}
