//! Limits of memory and CPU: a worker that needs more than it may is replaced.
//!
//! Whoever keeps a team waits for [`Pressure::exceeded`] of each run that is online and has such a limit. It looks often when
//! the limit is near or approaches fast, and rarely else, so that a hundred idle workers cost next to nothing. When to look
//! and what is too much is decided by a gauge, which sees only numbers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use musher_core::Time;
use musher_core::spec::Limits;
use musher_process::Pid;
use musher_process::cgroup;
use musher_process::stat::{Lookout, Memory, ProcessStat};
use musher_process::{Resource, Rlimit};
use tokio::time::Instant;

/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest one when a part of the limit is left (in percent): half, a fifth, less.
const HALF: (u64, Duration) = (50, LONGEST);
const FIFTH: (u64, Duration) = (20, Duration::from_secs(3));
const NEAR: Duration = Duration::from_secs(1);
/// Long pauses end at multiples of this.
const BEAT: Duration = Duration::from_millis(500);
/// Whence they are counted.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The shortest pause.
const SHORTEST: Duration = Duration::from_millis(250);
/// From this part of the limit on (in percent) shared memory is told apart, which costs more.
const EXACT_FROM: u64 = 80;
/// How often is looked within the time that CPU may be too high.
const LOOKS: u32 = 6;

/// The memory of a run when it was last looked at, for the story of its death.
#[derive(Debug, Default)]
pub struct LastSeen {
    bytes: AtomicU64,
    at_ms: AtomicU64,
}

impl LastSeen {
    /// Bytes, and when that was.
    pub fn get(&self) -> Option<(u64, Time)> {
        let at = self.at_ms.load(Ordering::Relaxed);
        (at > 0).then(|| (self.bytes.load(Ordering::Relaxed), Time(at)))
    }

    fn set(&self, bytes: u64, at: Time) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.at_ms.store(at.0, Ordering::Relaxed);
    }
}

/// The watch over the limits of a run.
#[derive(Debug)]
pub struct Pressure {
    gauge: Gauge,
    lookout: Lookout,
    group: Option<PathBuf>,
    seen: Arc<LastSeen>,
    clock: fn() -> Time,
}

impl Pressure {
    /// Of the process `pid` and what descends from it; `group`: the run's cgroup. None without a limit that has to be
    /// looked at. `clock`: the time of [`LastSeen`].
    pub fn new(
        (pid, group): (Pid, Option<PathBuf>),
        limits: &Limits,
        seen: Arc<LastSeen>,
        clock: fn() -> Time,
    ) -> Option<Pressure> {
        let lookout = Lookout::new(pid, group.clone());
        Some(Pressure { gauge: Gauge::new(limits)?, lookout, group, seen, clock })
    }

    /// Looks on until something is too much; what that is. May be called again. Needs a tokio runtime.
    pub async fn exceeded(&mut self) -> String {
        let begin = *BEGIN;
        loop {
            tokio::time::sleep_until(next_look(Instant::now(), begin, self.gauge.pause)).await;
            let Some(totals) = self.lookout.look() else { continue };
            let mut reading = Reading { at: (self.clock)(), memory_bytes: totals.rss_bytes, cpu: totals.cpu_time };
            if self.gauge.wants_exact(&reading) {
                let (group, processes) = (self.group.clone(), self.lookout.processes());
                let exact = tokio::task::spawn_blocking(move || exact_memory(group.as_deref(), &processes)).await;
                reading.memory_bytes = exact.ok().flatten().unwrap_or(reading.memory_bytes);
            }
            self.seen.set(reading.memory_bytes, reading.at);
            if let Some(reason) = self.gauge.judge(reading) {
                return reason;
            }
        }
    }
}

/// The limits that the kernel keeps, for a process that is to be made.
pub fn of_the_kernel(limits: &Limits) -> Vec<(Resource, Rlimit)> {
    let both = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    let pairs = [
        (Resource::Nofile, limits.open_files),
        (Resource::As, limits.address_space_bytes),
        (Resource::Core, limits.core_bytes),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::Nproc, limits.processes),
    ];
    pairs.into_iter().filter_map(|(resource, value)| Some((resource, both(value?)))).collect()
}

/// A thorough look: what the run's cgroup says, else the sum of what each process has in proportion (PSS), or of what is
/// resident where we may not see that.
fn exact_memory(group: Option<&Path>, processes: &[Pid]) -> Option<u64> {
    if let Some(bytes) = group.and_then(cgroup::memory_bytes) {
        return Some(bytes);
    }
    let of = |pid: &Pid| match Memory::read(*pid) {
        Ok(memory) if memory.pss_bytes > 0 => Some(memory.pss_bytes),
        Ok(_) | Err(_) => ProcessStat::read(*pid).ok().map(|stat| stat.rss_bytes),
    };
    let sum: u64 = processes.iter().filter_map(of).sum();
    (sum > 0).then_some(sum)
}

/// When to look next: long pauses end at the same moments for all runs, so that one wake-up does for many.
fn next_look(now: Instant, begin: Instant, pause: Duration) -> Instant {
    let at = now + pause;
    if pause < NEAR * 2 {
        return at;
    }
    let beat = u64::try_from(BEAT.as_millis()).unwrap_or(1);
    let since = u64::try_from(at.saturating_duration_since(begin).as_millis()).unwrap_or(0);
    begin + Duration::from_millis(since.div_ceil(beat) * beat)
}

/// What a run used at a time.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Time,
    memory_bytes: u64,
    /// Since its start.
    cpu: Duration,
}

/// Compares readings with the limits.
#[derive(Debug)]
struct Gauge {
    memory: Option<u64>,
    cpu: Option<(u32, Duration)>,
    last: Option<Reading>,
    /// Since when CPU is too high.
    high_since: Option<Time>,
    /// Until the next look.
    pause: Duration,
}

impl Gauge {
    fn new(limits: &Limits) -> Option<Gauge> {
        let cpu = limits.cpu_percent.map(|percent| (percent, limits.cpu_for));
        let any = limits.memory_bytes.is_some() || cpu.is_some();
        any.then_some(Gauge { memory: limits.memory_bytes, cpu, last: None, high_since: None, pause: NEAR })
    }

    /// Whether the cheap look is not enough to judge.
    fn wants_exact(&self, reading: &Reading) -> bool {
        self.memory.is_some_and(|limit| reading.memory_bytes >= limit / 100 * EXACT_FROM)
    }

    /// What is too much, if something is.
    fn judge(&mut self, reading: Reading) -> Option<String> {
        let memory = self.judge_memory(&reading);
        let cpu = self.judge_cpu(&reading);
        let for_memory = self.memory.map(|limit| self.memory_pause(limit, &reading));
        let for_cpu = self.cpu.map(|(_, time)| (time / LOOKS).clamp(SHORTEST, LONGEST));
        self.pause = for_memory.into_iter().chain(for_cpu).min().unwrap_or(LONGEST);
        self.last = Some(reading);
        memory.or(cpu)
    }

    fn judge_memory(&self, reading: &Reading) -> Option<String> {
        let limit = self.memory.filter(|limit| reading.memory_bytes > *limit)?;
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        let (has, may) = (mebibytes(reading.memory_bytes), mebibytes(limit));
        Some(format!("memory: its processes have {has} MiB, and limits.memory is {may} MiB"))
    }

    fn judge_cpu(&mut self, reading: &Reading) -> Option<String> {
        let (limit, time) = self.cpu?;
        let last = self.last?;
        let over = reading.at.since(last.at);
        let percent = reading.cpu.saturating_sub(last.cpu).as_secs_f64() / over.as_secs_f64().max(0.001) * 100.0;
        if percent <= f64::from(limit) {
            self.high_since = None;
            return None;
        }
        let since = *self.high_since.get_or_insert(last.at);
        let high_for = reading.at.since(since);
        (high_for >= time).then(|| {
            let seconds = high_for.as_secs();
            format!("cpu: more than {limit}% of a core for {seconds} s, now {percent:.0}%")
        })
    }

    /// The nearer the limit and the faster it approaches, the sooner.
    fn memory_pause(&self, limit: u64, reading: &Reading) -> Duration {
        let left = limit.saturating_sub(reading.memory_bytes);
        let part = |(percent, pause): (u64, Duration)| (left >= limit / 100 * percent).then_some(pause);
        let by_distance = part(HALF).or(part(FIFTH)).unwrap_or(NEAR);
        let grown =
            self.last.map(|last| (reading.memory_bytes.saturating_sub(last.memory_bytes), reading.at.since(last.at)));
        let by_growth = match grown {
            // Nothing is known yet of how it grows.
            None => NEAR,
            Some((bytes, _)) if bytes <= limit / 200 => self.pause + self.pause / 2,
            Some((bytes, time)) => {
                let reached_in = time.as_secs_f64() * left as f64 / bytes as f64;
                Duration::try_from_secs_f64(reached_in / 3.0).unwrap_or(LONGEST)
            }
        };
        by_distance.min(by_growth).clamp(SHORTEST, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn gauge(memory_mib: Option<u64>, cpu: Option<u32>) -> Gauge {
        let limits = Limits {
            memory_bytes: memory_mib.map(|mib| mib * MIB),
            cpu_percent: cpu,
            cpu_for: Duration::from_secs(30),
            ..Limits::default()
        };
        Gauge::new(&limits).unwrap()
    }

    /// What happens over time to a run whose memory and CPU are functions of the time in seconds: the reason and when.
    fn watch(mut gauge: Gauge, until: u64, memory_mib: impl Fn(f64) -> f64, cpu: impl Fn(f64) -> f64) -> Watched {
        let (mut at, mut looks) = (Duration::ZERO, Vec::new());
        while at < Duration::from_secs(until) {
            at += gauge.pause;
            let seconds = at.as_secs_f64();
            looks.push(seconds);
            let reading = Reading {
                at: Time(u64::try_from(at.as_millis()).unwrap()),
                memory_bytes: (memory_mib(seconds) * MIB as f64) as u64,
                cpu: Duration::from_secs_f64(cpu(seconds)),
            };
            if let Some(reason) = gauge.judge(reading) {
                return Watched { looks, reason: Some(reason) };
            }
        }
        Watched { looks, reason: None }
    }

    struct Watched {
        looks: Vec<f64>,
        reason: Option<String>,
    }

    impl Watched {
        fn last(&self) -> f64 {
            *self.looks.last().unwrap()
        }
    }

    #[test]
    fn a_worker_far_from_its_limit_is_rarely_looked_at() {
        let watched = watch(gauge(Some(200), None), 1000, |_| 50.0, |_| 0.0);
        assert_eq!(watched.reason, None);
        assert!(watched.looks.len() < 120, "{}", watched.looks.len());
    }

    #[test]
    fn a_worker_within_a_fifth_of_its_limit_is_looked_at_every_second() {
        let watched = watch(gauge(Some(200), None), 100, |_| 170.0, |_| 0.0);
        assert_eq!(watched.reason, None);
        assert!(watched.looks.windows(2).all(|pair| pair[1] - pair[0] <= 1.001));
    }

    #[test]
    fn a_leak_is_seen_soon_after_the_limit_however_fast_it_is() {
        for (rate, late) in [(0.1, 1.01), (1.0, 1.01), (10.0, 1.01), (50.0, 1.01)] {
            let watched = watch(gauge(Some(500), None), 100_000, |seconds| 40.0 + rate * seconds, |_| 0.0);
            assert!(watched.reason.as_ref().unwrap().starts_with("memory: "), "{:?}", watched.reason);
            let crossed = 460.0 / rate;
            assert!(watched.last() - crossed <= late, "{rate} MiB/s: {} after {crossed}", watched.last());
        }
    }

    #[test]
    fn cpu_counts_only_when_it_is_high_for_long() {
        let busy = |seconds: f64| seconds * 0.9;
        let watched = watch(gauge(None, Some(80)), 200, |_| 1.0, busy);
        assert!(watched.reason.as_ref().unwrap().starts_with("cpu: more than 80%"), "{:?}", watched.reason);
        assert!((30.0..45.0).contains(&watched.last()), "{}", watched.last());
        // 20 s busy, 10 s idle.
        let in_bursts = |seconds: f64| (seconds / 30.0).floor() * 20.0 + (seconds % 30.0).min(20.0);
        assert_eq!(watch(gauge(None, Some(80)), 1000, |_| 1.0, in_bursts).reason, None);
    }

    #[test]
    fn without_a_limit_nothing_is_looked_at() {
        assert!(Gauge::new(&Limits::default()).is_none());
    }

    #[test]
    fn shared_memory_is_told_apart_only_near_the_limit() {
        let gauge = gauge(Some(100), None);
        let reading = |mib| Reading { at: Time(1), memory_bytes: mib * MIB, cpu: Duration::ZERO };
        assert!(!gauge.wants_exact(&reading(79)));
        assert!(gauge.wants_exact(&reading(81)));
    }
}
