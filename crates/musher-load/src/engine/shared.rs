//! What generators and the one who directs them share: when to stop, which phase it is, and what has been counted so far.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use serde::{Deserialize, Serialize};

use crate::tally::histogram;

/// Requests are sent.
const RUNNING: u8 = 0;
/// No more requests; answers are awaited for a moment.
const FINISHING: u8 = 1;
/// It is over.
const CUT: u8 = 2;

/// The first phase that counts, until it has another name.
const FIRST: &str = "run";

/// The most phases of a run; what comes later belongs to the last.
const MOST_PHASES: usize = 1000;

/// A stretch of a run that is reported by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub label: String,
    /// From the begin of the run.
    pub begun: Duration,
}

/// What one generator did in one interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// Which interval.
    pub index: u32,
    /// Latencies.
    #[serde(with = "crate::report::histogram_text")]
    pub latency: Histogram<u64>,
    /// Answers that are no error.
    pub good: u64,
    /// Failures, 4xx and 5xx.
    pub bad: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Requests under way at its end.
    pub in_flight: u32,
    /// Connections at its end.
    pub open: u32,
    /// CPU time used in it.
    pub cpu: Duration,
    /// What was asked to be told of each request, up to [`MOST_SAID`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<Said>,
}

/// The most requests that are told one by one in an interval.
pub const MOST_SAID: usize = 10_000;

/// One request, for those who want to see each.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Said {
    /// Its status; 0: it failed.
    pub status: u16,
    /// How long it took.
    pub latency: Duration,
    /// Bytes of the body.
    pub bytes: u64,
    /// Its place in the plan.
    pub request: u32,
}

impl Slice {
    pub(super) fn new(index: u32) -> Slice {
        let zero = Duration::ZERO;
        Slice {
            index,
            latency: histogram(),
            good: 0,
            bad: 0,
            bytes: 0,
            in_flight: 0,
            open: 0,
            cpu: zero,
            said: Vec::new(),
        }
    }

    /// Adds what another generator did in the same interval.
    pub fn add(&mut self, other: &Slice) {
        // Only a histogram that may not grow can refuse.
        let _ = self.latency.add(&other.latency);
        self.good += other.good;
        self.bad += other.bad;
        self.bytes += other.bytes;
        self.in_flight += other.in_flight;
        self.open += other.open;
        self.cpu += other.cpu;
        self.said.extend_from_slice(&other.said);
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    /// When the run began.
    begun: OnceLock<Instant>,
    order: AtomicU8,
    phase: AtomicU32,
    phases: Mutex<Vec<Phase>>,
    /// Slices that nobody has fetched yet.
    slices: Mutex<Vec<Slice>>,
    /// Failures of all generators.
    pub(super) failures: AtomicU64,
    /// Answers of all generators.
    pub(super) answers: AtomicU64,
    /// Why it was ended before its time.
    reason: Mutex<Option<String>>,
    /// One for each generator, and the last for the one who waits for them.
    wakes: Vec<OwnedFd>,
    /// Nobody reads from it, so that it stays readable for all.
    ending: OwnedFd,
}

/// Holds what a thread that panicked left: counts are whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A warm-up is a phase of its own, which ends by the clock: the run that follows it is there from the beginning.
    pub(super) fn new(generators: usize, warm_up: Duration) -> std::io::Result<Shared> {
        let mut phases = vec![Phase { label: FIRST.to_owned(), begun: warm_up }];
        if !warm_up.is_zero() {
            phases.insert(0, Phase { label: "warm-up".to_owned(), begun: Duration::ZERO });
        }
        let wake = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wakes = (0..=generators).map(|_| wake()).collect::<Result<_, _>>()?;
        Ok(Shared {
            begun: OnceLock::new(),
            order: AtomicU8::new(RUNNING),
            phase: AtomicU32::new(u32::from(!warm_up.is_zero())),
            phases: Mutex::new(phases),
            slices: Mutex::new(Vec::new()),
            failures: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            reason: Mutex::new(None),
            wakes,
            ending: wake()?,
        })
    }

    /// When the run began: the first that asks begins it.
    pub(super) fn begun(&self) -> Instant {
        *self.begun.get_or_init(Instant::now)
    }

    pub(super) fn wake_of(&self, generator: usize) -> Option<&OwnedFd> {
        self.wakes.get(generator)
    }

    /// Wakes the one who waits for the generators.
    pub(super) fn director(&self) -> Option<&OwnedFd> {
        self.wakes.last()
    }

    pub(super) fn is_finishing(&self) -> bool {
        self.order.load(Ordering::Relaxed) != RUNNING
    }

    pub(super) fn is_cut(&self) -> bool {
        self.order.load(Ordering::Relaxed) == CUT
    }

    /// Which phase it is, for whoever is not warming up.
    pub(super) fn phase(&self) -> usize {
        self.phase.load(Ordering::Relaxed) as usize
    }

    pub(super) fn push(&self, slice: Slice) {
        lock(&self.slices).push(slice);
    }

    pub(super) fn take(&self) -> Vec<Slice> {
        std::mem::take(&mut *lock(&self.slices))
    }

    pub(super) fn phases(&self) -> Vec<Phase> {
        lock(&self.phases).clone()
    }

    pub(super) fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// Ends the run; the first reason is kept.
    pub(super) fn stop(&self, reason: Option<&str>) {
        if let Some(reason) = reason {
            lock(&self.reason).get_or_insert_with(|| reason.to_owned());
        }
        self.order.fetch_max(FINISHING, Ordering::Relaxed);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        for wake in self.wakes.iter().chain([&self.ending]) {
            // A full counter wakes as well.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    /// Tells the one who waits that a generator is done.
    pub(super) fn done(&self) {
        if let Some(wake) = self.wakes.last() {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }
}

/// Directs a run from other threads: from a signal, beside a command.
#[derive(Clone, Debug)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

impl Control {
    /// Sends nothing more, and ends the run when the answers are there or time is up.
    pub fn stop(&self, reason: &str) {
        self.shared.stop(Some(reason));
    }

    /// Ends the run as one whose end was planned.
    pub fn finish(&self) {
        self.shared.stop(None);
    }

    /// Ends the run at once.
    pub fn cut(&self) {
        self.shared.order.store(CUT, Ordering::Relaxed);
        self.shared.wake_all();
    }

    /// Names the first phase that counts, which is there from the beginning.
    pub fn name(&self, label: &str) {
        let mut phases = lock(&self.shared.phases);
        let first = phases.iter_mut().find(|phase| phase.label == FIRST);
        first.into_iter().for_each(|phase| label.clone_into(&mut phase.label));
    }

    /// Begins a phase: requests from now on are counted in it.
    pub fn mark(&self, label: &str) {
        let mut phases = lock(&self.shared.phases);
        if phases.len() < MOST_PHASES {
            phases.push(Phase { label: label.to_owned(), begun: self.shared.begun().elapsed() });
            let number = u32::try_from(phases.len() - 1).unwrap_or(u32::MAX);
            self.shared.phase.store(number, Ordering::Relaxed);
        }
        drop(phases);
        // Whoever directs other processes passes it on.
        self.shared.done();
    }

    /// Waits until the run goes on for `time`, or ends.
    pub fn wait(&self, time: Duration) {
        while !self.is_ending() {
            let left = time.saturating_sub(self.elapsed());
            let Ok(limit) = Timespec::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            // Whatever woke it, it looks again.
            let _ = poll(&mut [PollFd::new(self.end(), PollFlags::IN)], Some(&limit));
        }
    }

    /// Whether nothing more is sent.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.shared.is_finishing()
    }

    /// Readable from when the run ends.
    #[must_use]
    pub fn end(&self) -> &OwnedFd {
        &self.shared.ending
    }

    /// How long the run goes on already.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.begun().elapsed()
    }
}
