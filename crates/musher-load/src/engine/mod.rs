//! Sends requests and counts what comes back.
//!
//! Each generator is a thread with an epoll of its own, its own users and its own counts; nothing is shared while it runs
//! but a few atomics, so that an answer costs one read, one write and its part of one epoll_wait. The calling thread only
//! collects the finished intervals and shows them to its observer.

mod connecting;
mod crew;
mod dial;
mod exchange;
mod gather;
mod generator;
mod h2;
mod link;
mod prepared;
mod reading;
mod shared;
mod tls;
mod users;
mod websocket;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, share_of};
use crate::tally::Tally;

pub use crew::{Launch, serve};
pub use dial::{Address, is_private, local_ports, resolve};
pub use shared::{Control, MOST_SAID, Phase, Said, Slice};

use crew::Crew;
use generator::{Counted, Generator};
use prepared::Prepared;
use shared::Shared;

/// The most intervals that are kept; with more, two become one.
const MOST_POINTS: usize = 2000;

/// Descriptors beside the connections: standard streams, epoll, events, files.
const OTHER_DESCRIPTORS: u64 = 64;

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A name without an address.
    #[error("{host}: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// Certificates or keys that cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// Not enough descriptors.
    #[error("{wanted} connections need more open files than this process may have ({limit})")]
    Descriptors {
        /// Connections.
        wanted: u32,
        /// The hard limit.
        limit: u64,
    },
    /// Not enough ports.
    #[error("{wanted} connections to one address need more ports than this machine has for that ({ports})")]
    Ports {
        /// Connections.
        wanted: u32,
        /// Ports.
        ports: u32,
    },
    /// The plan cannot be done.
    #[error("{0}")]
    Plan(String),
    /// The system refused something.
    #[error("cannot begin: {0}")]
    System(#[from] io::Error),
}

/// What one URL of several came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UrlTally {
    /// Answers.
    pub transactions: u64,
    /// Failures, 4xx and 5xx.
    pub bad: u64,
    /// Sum of latencies.
    pub latency_sum: Duration,
    /// The longest.
    pub longest: Duration,
}

/// A request and its answer as they were.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// The head that was sent.
    pub request: String,
    /// Head and body that came, chunks' sizes included.
    pub answer: Vec<u8>,
    /// `Content-Encoding` of the answer.
    pub encoding: Option<String>,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The phases with what was counted in each; the first is the warm-up, if there was one.
    pub phases: Vec<(Phase, Tally)>,
    /// How many of the phases are warm-up: 0 or 1.
    pub warm_up: usize,
    /// Intervals in order.
    pub series: Vec<Slice>,
    /// How long each is.
    pub interval: Duration,
    /// What each request of the plan came to, in the plan's order.
    pub urls: Vec<UrlTally>,
    /// From the begin of the first phase that counts to the last answer, or the end of the time.
    pub elapsed: Duration,
    /// CPU time of all generators.
    pub cpu: Duration,
    /// How many generators there were.
    pub threads: u32,
    /// Connections that were open at the same time, at most.
    pub open: u32,
    /// Why it ended before its time.
    pub ended_by: Option<String>,
    /// Processes that were gone before they told what they had done.
    #[serde(default)]
    pub gone: u32,
    /// What was asked to be shown.
    #[serde(skip)]
    pub shown: Vec<Exchange>,
    /// How many requests were not sent while the longest answer was awaited, at the mean rate: what a closed loop hides.
    pub hidden: u64,
}

impl Outcome {
    /// Adds what another process, or another machine, did at the same time.
    pub fn add(&mut self, other: &Outcome) {
        for (number, (phase, tally)) in other.phases.iter().enumerate() {
            match self.phases.get_mut(number) {
                Some((_, sum)) => sum.add(tally),
                None => self.phases.push((phase.clone(), tally.clone())),
            }
        }
        if self.interval == other.interval {
            for slice in &other.series {
                match self.series.binary_search_by_key(&slice.index, |own| own.index) {
                    Ok(place) => self.series[place].add(slice),
                    Err(place) => self.series.insert(place, slice.clone()),
                }
            }
        }
        if self.urls.len() == other.urls.len() {
            for (sum, url) in self.urls.iter_mut().zip(&other.urls) {
                sum.add(url);
            }
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.cpu += other.cpu;
        self.threads += other.threads;
        self.open += other.open;
        self.gone += other.gone;
        self.hidden += other.hidden;
        if self.ended_by.is_none() {
            self.ended_by.clone_from(&other.ended_by);
        }
    }

    /// What was counted after the warm-up.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.phases.iter().skip(self.warm_up).for_each(|(_, tally)| total.add(tally));
        total
    }
}

impl UrlTally {
    fn add(&mut self, other: &UrlTally) {
        self.transactions += other.transactions;
        self.bad += other.bad;
        self.latency_sum += other.latency_sum;
        self.longest = self.longest.max(other.longest);
    }
}

/// Who watches a run.
pub trait Observer {
    /// Intervals that were finished, added up over all generators; called a few times a second.
    fn slices(&mut self, done: &[Slice], interval: Duration, elapsed: Duration);
}

/// Nobody.
impl Observer for () {
    fn slices(&mut self, _: &[Slice], _: Duration, _: Duration) {}
}

/// A run that is ready to begin.
#[derive(Debug)]
pub struct Engine {
    plan: Arc<Plan>,
    prepared: Arc<Prepared>,
    shared: Arc<Shared>,
    threads: u32,
    interval: Duration,
    /// The processes that send in place of this one.
    crew: Option<Crew>,
}

impl Engine {
    /// Looks names up, reads certificates, checks that the machine has what it takes. This process sends, whatever
    /// [`Plan::processes`] says.
    ///
    /// # Errors
    ///
    /// When it cannot be done.
    pub fn new(plan: Plan) -> Result<Engine, RunError> {
        let plan = Plan { processes: 1, ..plan };
        let threads = plan.threads.clamp(1, plan.users.max(1));
        let prepared = Prepared::new(&plan)?;
        check_descriptors(&plan, &prepared)?;
        check_ports(&plan, &prepared)?;
        Engine::prepared(plan, prepared, threads, threads as usize, None)
    }

    /// The same with [`Plan::processes`] that send, each with its part of the users; they are started, and wait.
    ///
    /// # Errors
    ///
    /// When it cannot be done, or one of them is not ready within 30 seconds.
    pub fn of_processes(plan: Plan, launch: Launch<'_>) -> Result<Engine, RunError> {
        let plan = Plan { processes: plan.processes.clamp(1, plan.users.max(1)), ..plan };
        let prepared = Prepared::new(&plan)?;
        // Each looks at its own descriptors; the ports are everybody's.
        check_ports(&plan, &prepared)?;
        let crew = Crew::start(&plan, launch)?;
        let threads =
            (0..plan.processes).map(|number| plan.threads.clamp(1, plan.part(number, plan.processes).users.max(1)));
        let threads = threads.sum();
        Engine::prepared(plan, prepared, threads, 0, Some(crew))
    }

    fn prepared(
        plan: Plan,
        prepared: Prepared,
        threads: u32,
        generators: usize,
        crew: Option<Crew>,
    ) -> Result<Engine, RunError> {
        let shared = Arc::new(Shared::new(generators, plan.warm_up)?);
        let known = plan.duration.map(|duration| duration + plan.warm_up);
        let interval = match known {
            Some(time) if time <= Duration::from_secs(20) => Duration::from_millis(200),
            _ => Duration::from_secs(1),
        };
        Ok(Engine { plan: Arc::new(plan), prepared: Arc::new(prepared), shared, threads, interval, crew })
    }

    /// The handle for other threads.
    #[must_use]
    pub fn control(&self) -> Control {
        Control { shared: Arc::clone(&self.shared) }
    }

    /// How long it warms up.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        self.plan.warm_up
    }

    /// Every address that is going to be connected to.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.prepared.origins.iter().flat_map(|origin| origin.addresses.clone()).collect()
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// When it cannot begin.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Outcome, RunError> {
        let shared = Arc::clone(&self.shared);
        if let Some(crew) = self.crew.take() {
            return Ok(self.run_crew(crew, &shared, observer));
        }
        let mut generators = Vec::new();
        for number in 0..self.threads {
            let all = (self.plan.share.of.max(1), self.threads);
            let place = (self.plan.share.number * all.1 + number, all.0 * all.1);
            let users = share_of(self.plan.users, number, self.threads);
            generators.push(Generator::new(&self.plan, &self.prepared, &shared, self.interval, number, place, users)?);
        }
        let mut collector = Collector::new(self.interval, self.threads);
        let begun = shared.begun();
        let counted: Vec<Counted> = std::thread::scope(|scope| {
            let threads: Vec<_> = generators
                .into_iter()
                .map(|mut generator| {
                    let shared = &shared;
                    scope.spawn(move || {
                        let counted = generator.run();
                        shared.done();
                        counted
                    })
                })
                .collect();
            let all_done = || threads.iter().all(|thread| thread.is_finished());
            self.direct(&shared, begun, observer, &mut collector, &all_done, &mut || ());
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        // Whoever waits beside it need not wait any longer.
        shared.stop(None);
        collector.take(&shared);
        observer.slices(&collector.finish(), self.interval, begun.elapsed());
        Ok(self.outcome(&shared, counted, collector))
    }

    /// As [`Engine::run`], with processes that send.
    fn run_crew(&self, crew: Crew, shared: &Arc<Shared>, observer: &mut dyn Observer) -> Outcome {
        let mut collector = Collector::new(self.interval, self.plan.processes);
        let begun = shared.begun();
        let (merged, gone) = crew.run(shared, |all_done, tell| {
            self.direct(shared, begun, observer, &mut collector, all_done, tell);
        });
        shared.stop(None);
        collector.take(shared);
        observer.slices(&collector.finish(), self.interval, begun.elapsed());
        let whole = self.outcome(shared, Vec::new(), collector);
        match merged {
            // Each knows its own counts; the intervals of all were put together here, and who ended it is known here.
            Some(merged) => Outcome {
                interval: whole.interval,
                series: whole.series,
                open: whole.open.max(merged.open),
                threads: whole.threads,
                ended_by: whole.ended_by.or(merged.ended_by),
                phases: named(whole.phases, merged.phases),
                gone,
                ..merged
            },
            None => Outcome { gone, ..whole },
        }
    }

    /// Until all generators are done: shows what is finished. `each_time` something may have happened.
    fn direct(
        &self,
        shared: &Arc<Shared>,
        begun: Instant,
        observer: &mut dyn Observer,
        collector: &mut Collector,
        all_done: &dyn Fn() -> bool,
        each_time: &mut dyn FnMut(),
    ) {
        while !all_done() {
            each_time();
            let elapsed = begun.elapsed();
            collector.take(shared);
            let done = collector.complete();
            if !done.is_empty() {
                observer.slices(&done, self.interval, elapsed);
            }
            // A little later than the generators finish an interval.
            let into = elapsed.as_nanos() % self.interval.as_nanos();
            let next = self.interval - Duration::from_nanos(u64::try_from(into).unwrap_or(0));
            let wait = next + Duration::from_millis(20);
            let Some(wake) = shared.director() else { return };
            let mut fds = [PollFd::new(wake, PollFlags::IN)];
            let timeout = Timespec::try_from(wait).ok();
            if poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
                let _ = rustix::io::read(wake, &mut [0u8; 8]);
            }
        }
    }

    fn outcome(&self, shared: &Shared, counted: Vec<Counted>, collector: Collector) -> Outcome {
        let warm_up = usize::from(!self.plan.warm_up.is_zero());
        let mut phases: Vec<(Phase, Tally)> =
            shared.phases().into_iter().map(|phase| (phase, Tally::default())).collect();
        let mut urls = vec![UrlTally::default(); self.plan.requests.len()];
        let (mut cpu, mut last, mut shown) = (Duration::ZERO, Duration::ZERO, Vec::new());
        for one in counted {
            for (number, tally) in one.phases.iter().enumerate() {
                if let Some((_, sum)) = phases.get_mut(number) {
                    sum.add(tally);
                }
            }
            for (sum, url) in urls.iter_mut().zip(&one.urls) {
                sum.add(url);
            }
            cpu += one.cpu;
            last = last.max(one.last);
            shown.extend(one.shown);
        }
        let begun = phases.get(warm_up).map_or(Duration::ZERO, |(phase, _)| phase.begun);
        let elapsed = last.saturating_sub(begun);
        let (sent, longest) = phases.iter().skip(warm_up).fold((0, Duration::ZERO), |(sent, longest), (_, tally)| {
            (sent + tally.transactions, longest.max(tally.longest))
        });
        let mean_rate = crate::tally::count(sent) / elapsed.as_secs_f64().max(1e-9);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rough count")]
        let hidden = if self.plan.rate.is_none() { (mean_rate * longest.as_secs_f64()) as u64 } else { 0 };
        Outcome {
            phases,
            warm_up,
            interval: collector.interval,
            open: collector.series.iter().map(|slice| slice.open).max().unwrap_or(0),
            series: collector.series,
            urls,
            elapsed,
            cpu,
            threads: self.threads,
            ended_by: shared.reason(),
            gone: 0,
            shown,
            hidden,
        }
    }
}

/// The phases as they are called here, with what was counted in them.
fn named(here: Vec<(Phase, Tally)>, counted: Vec<(Phase, Tally)>) -> Vec<(Phase, Tally)> {
    let mut counted = counted.into_iter().map(|(_, tally)| tally);
    here.into_iter().map(|(phase, _)| (phase, counted.next().unwrap_or_default())).collect()
}

/// Puts the intervals of the generators together.
struct Collector {
    interval: Duration,
    threads: u32,
    /// How many of the generators' intervals one of the series is.
    factor: u32,
    series: Vec<Slice>,
    /// The intervals that not all generators have delivered yet.
    open: Vec<(u32, Slice)>,
    fresh: Vec<Slice>,
}

impl Collector {
    fn new(interval: Duration, threads: u32) -> Collector {
        Collector { interval, threads, factor: 1, series: Vec::new(), open: Vec::new(), fresh: Vec::new() }
    }

    fn take(&mut self, shared: &Shared) {
        for slice in shared.take() {
            match self.open.iter_mut().find(|(_, open)| open.index == slice.index) {
                Some((seen, open)) => {
                    *seen += 1;
                    open.add(&slice);
                }
                None => self.open.push((1, slice)),
            }
        }
        self.open.sort_by_key(|(_, slice)| slice.index);
        while self.open.first().is_some_and(|(seen, _)| *seen >= self.threads) {
            let (_, slice) = self.open.remove(0);
            self.keep(slice);
        }
    }

    /// The intervals that became complete since the last call.
    fn complete(&mut self) -> Vec<Slice> {
        std::mem::take(&mut self.fresh)
    }

    /// Everything that is left, complete or not.
    fn finish(&mut self) -> Vec<Slice> {
        for (_, slice) in std::mem::take(&mut self.open) {
            self.keep(slice);
        }
        self.complete()
    }

    fn keep(&mut self, slice: Slice) {
        self.fresh.push(slice.clone());
        let slice = Slice { said: Vec::new(), ..slice };
        let index = slice.index / self.factor;
        match self.series.last_mut() {
            Some(last) if last.index == index => {
                let (in_flight, open) = (slice.in_flight, slice.open);
                last.add(&slice);
                // These are of an instant, not of the interval.
                (last.in_flight, last.open) = (in_flight, open.max(last.open.saturating_sub(open)));
            }
            _ => self.series.push(Slice { index, ..slice }),
        }
        if self.series.len() > MOST_POINTS {
            self.factor *= 2;
            self.interval *= 2;
            let mut halved: Vec<Slice> = Vec::with_capacity(MOST_POINTS);
            for mut slice in std::mem::take(&mut self.series) {
                slice.index /= 2;
                match halved.last_mut() {
                    Some(last) if last.index == slice.index => {
                        let (in_flight, open) = (slice.in_flight, slice.open);
                        last.add(&slice);
                        (last.in_flight, last.open) = (in_flight, open);
                    }
                    _ => halved.push(slice),
                }
            }
            self.series = halved;
        }
    }
}

/// Descriptors for all connections at once.
fn check_descriptors(plan: &Plan, prepared: &Prepared) -> Result<(), RunError> {
    let connections = plan.users.div_ceil(prepared.streams);
    let limit = musher_process::own::raise_nofile()?;
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if u64::from(connections) + OTHER_DESCRIPTORS > allowed {
        return Err(RunError::Descriptors { wanted: connections, limit: allowed });
    }
    Ok(())
}

/// Ports for all connections at once.
fn check_ports(plan: &Plan, prepared: &Prepared) -> Result<(), RunError> {
    let connections = plan.users.div_ceil(prepared.streams);
    let tcp = prepared.origins.iter().flat_map(|origin| &origin.addresses).any(|a| matches!(a, Address::Tcp(_)));
    let ports = local_ports();
    if tcp && prepared.origins.len() == 1 && connections > ports {
        return Err(RunError::Ports { wanted: connections, ports });
    }
    Ok(())
}
