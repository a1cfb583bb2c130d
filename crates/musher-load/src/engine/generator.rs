//! One generator: a thread with its users, its connections, its clock and its counts.
//!
//! This file is the loop: what wakes it, what is due, when it ends. What happens to one request is in
//! [`super::exchange`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::thread::{clock_nanosleep_relative, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};

use super::gather::Gather;
use super::link::{Link, Stage};
use super::prepared::{Origin, Prepared};
use super::shared::{Shared, Slice};
use super::users::{Doing, User};
use super::{Exchange, RunError, UrlTally};
use crate::pace::{Rate, Schedule};
use crate::plan::{Count, Plan, Think, share_of};
use crate::random::Random;
use crate::tally::{Tally, histogram};

/// Most events taken at once.
const BATCH: usize = 256;
/// What one read takes at most.
const READ_BYTES: usize = 32 * 1024;
/// Of the descriptor that wakes it.
const WAKE: u64 = u64::MAX;
/// Deadlines are looked at no more often.
const DEADLINE_GRAIN: Duration = Duration::from_millis(5);
/// How late a request may be begun before the generator counts as late.
const LATE: Duration = Duration::from_millis(1);
/// Failures in a row, from the begin, after which nobody goes on.
const NOTHING_WORKS: u64 = 1024;
/// ... or after this time.
const NOTHING_COMES: Duration = Duration::from_secs(10);

/// What a generator has counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) phases: Vec<Tally>,
    pub(super) urls: Vec<UrlTally>,
    pub(super) cpu: Duration,
    /// From the begin of the run to its last answer, or to the end of the time.
    pub(super) last: Duration,
    pub(super) shown: Vec<Exchange>,
}

#[derive(Debug)]
pub(super) struct Generator {
    pub(super) plan: Arc<Plan>,
    pub(super) prepared: Arc<Prepared>,
    pub(super) shared: Arc<Shared>,
    pub(super) epoll: OwnedFd,
    pub(super) users: Vec<User>,
    pub(super) links: Vec<Link>,
    /// Those of the plan, and those that redirects led to.
    pub(super) origins: Vec<Origin>,
    pub(super) random: Random,
    pub(super) phases: Vec<Tally>,
    pub(super) urls: Vec<UrlTally>,
    pub(super) slice: Slice,
    pub(super) shown: Vec<Exchange>,
    pub(super) in_flight: u32,
    pub(super) open: u32,
    /// No new requests.
    pub(super) stopping: bool,
    /// When this was last looked at.
    pub(super) now: Instant,
    pub(super) last_answer: Instant,
    pub(super) buffer: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) next_deadline: Option<Instant>,
    /// Users that have failed and go on in the loop, so that failing at once does not nest.
    pub(super) failed: VecDeque<u32>,
    /// Users without a request, the last one used on top.
    pub(super) free: Vec<u32>,
    /// Since when there is one.
    free_since: Instant,
    pauses: BinaryHeap<Reverse<(Instant, u32)>>,
    alive: u32,
    schedule: Option<Schedule>,
    /// What the schedule counts from.
    schedule_base: Instant,
    /// Open loop: how many may still be begun.
    budget: u64,
    /// `Count::Once`: the places that are not taken yet.
    once: Option<VecDeque<usize>>,
    begun: Instant,
    warm_until: Instant,
    end: Option<Instant>,
    interval: Duration,
    slice_end: Instant,
    slice_cpu: Duration,
    place: (u32, u32),
    number: usize,
    pub(super) gather: Gather,
}

impl Generator {
    /// Generator `number` of this process, `place` of all of them.
    pub(super) fn new(
        plan: &Arc<Plan>,
        prepared: &Arc<Prepared>,
        shared: &Arc<Shared>,
        interval: Duration,
        number: u32,
        place: (u32, u32),
        users: u32,
    ) -> Result<Generator, RunError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
        if let Some(wake) = shared.wake_of(number as usize) {
            epoll::add(&epoll, wake, EventData::new_u64(WAKE), EventFlags::IN).map_err(std::io::Error::from)?;
        }
        let now = Instant::now();
        let left = match plan.count {
            Some(Count::PerUser(each)) if plan.rate.is_none() => each,
            _ => u64::MAX,
        };
        let before: u32 = (0..number).map(|other| share_of(plan.users, other, plan.threads)).sum();
        let first = |user: u32| prepared.first(plan, before + user, plan.users);
        let once = matches!(plan.count, Some(Count::Once)).then(|| {
            (0..prepared.requests.len()).skip(number as usize).step_by(plan.threads.max(1) as usize).collect()
        });
        let budget = match plan.count {
            Some(Count::PerUser(each)) => each.saturating_mul(u64::from(users)),
            _ => u64::MAX,
        };
        Ok(Generator {
            plan: Arc::clone(plan),
            prepared: Arc::clone(prepared),
            shared: Arc::clone(shared),
            epoll,
            users: (0..users).map(|user| User::new(first(user), left, now)).collect(),
            links: (0..users.div_ceil(prepared.streams)).map(|_| Link::new(now)).collect(),
            origins: prepared.origins.clone(),
            random: Random::new(plan.seed.wrapping_add(u64::from(number).wrapping_mul(0x5851_f42d))),
            phases: Vec::new(),
            urls: vec![UrlTally::default(); prepared.requests.len()],
            slice: Slice::new(0),
            shown: Vec::new(),
            in_flight: 0,
            open: 0,
            stopping: false,
            now,
            last_answer: now,
            buffer: vec![0; READ_BYTES],
            plain: Vec::new(),
            next_deadline: None,
            failed: VecDeque::new(),
            free: Vec::new(),
            free_since: now,
            pauses: BinaryHeap::new(),
            alive: users,
            schedule: None,
            schedule_base: now,
            budget,
            once,
            begun: now,
            warm_until: now,
            end: None,
            interval,
            slice_end: now,
            slice_cpu: Duration::ZERO,
            place,
            number: number as usize,
            gather: Gather::new(now),
        })
    }

    /// Sends until the plan is done or somebody stops it.
    pub(super) fn run(&mut self) -> Counted {
        self.begin_clock();
        // As exact as the clock: the default of 50 us is as long as a rest.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        let mut cut_at = None;
        self.first_requests();
        loop {
            self.now = Instant::now();
            self.look_at_clock();
            while let Some(user) = self.failed.pop_front() {
                self.go_on_after_failure(user as usize);
            }
            if self.stopping && cut_at.is_none() {
                cut_at = Some(self.now + self.plan.finish);
            }
            let idle = self.in_flight == 0 && self.failed.is_empty();
            if self.shared.is_cut() || (idle && (self.stopping || self.alive == 0 || self.has_no_more())) {
                break;
            }
            if cut_at.is_some_and(|cut| self.now >= cut) {
                break;
            }
            let timeout = Timespec::try_from(self.time_to_wait(cut_at)).ok();
            events.clear();
            // An interrupted wait is a wait that found nothing.
            let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
            self.now = Instant::now();
            for event in &events {
                let data = event.data.u64();
                if data == WAKE {
                    self.drain_wake();
                } else {
                    self.on_event(data, event.flags);
                }
            }
            self.rest();
        }
        self.finish()
    }

    fn begin_clock(&mut self) {
        let begun = self.shared.begun();
        self.begun = begun;
        self.warm_until = begun + self.plan.warm_up;
        self.end = self.plan.duration.map(|duration| begun + self.plan.warm_up + duration);
        self.slice_end = begun + self.interval;
        self.now = Instant::now();
        (self.last_answer, self.free_since) = (self.now, self.now);
        if let Some(rate) = &self.plan.rate {
            // The plan's own schedule begins with the phase that counts.
            let warm = Rate::constant(rate.segments.first().map_or(1.0, |segment| segment.from));
            let rate = if self.plan.warm_up.is_zero() { rate.clone() } else { Rate { poisson: rate.poisson, ..warm } };
            self.schedule = Some(Schedule::new(rate, self.place.0, self.place.1, self.plan.seed));
            self.schedule_base = begun;
        }
    }

    fn first_requests(&mut self) {
        for user in 0..self.users.len() {
            if self.schedule.is_some() {
                self.users[user].doing = Doing::Free;
                self.free.push(u32::try_from(user).unwrap_or(u32::MAX));
            } else {
                self.advance(user);
            }
        }
        // The first users first.
        self.free.reverse();
    }

    /// Whether an open loop has nothing more to send.
    fn has_no_more(&self) -> bool {
        let Some(schedule) = &self.schedule else { return false };
        self.budget == 0 || (schedule.peek().is_none() && self.now >= self.warm_until)
    }

    fn drain_wake(&self) {
        if let Some(wake) = self.shared.wake_of(self.number) {
            // Only that it was woken matters.
            let _ = rustix::io::read(wake, &mut [0u8; 8]);
        }
    }

    /// Everything that time brings.
    fn look_at_clock(&mut self) {
        while self.now >= self.slice_end {
            self.end_slice();
        }
        if !self.stopping && (self.shared.is_finishing() || self.end.is_some_and(|end| self.now >= end)) {
            self.stop();
        }
        if self.schedule.is_some() && !self.stopping {
            self.begin_due();
        }
        while let Some(Reverse((at, user))) = self.pauses.peek().copied() {
            if at > self.now {
                break;
            }
            self.pauses.pop();
            if self.users[user as usize].doing == Doing::Pausing {
                self.begin_next(user as usize);
            }
        }
        if self.next_deadline.is_some_and(|deadline| self.now >= deadline) {
            self.look_at_deadlines();
        }
    }

    /// Closed loop: lets answers gather, where that costs nobody anything.
    fn rest(&mut self) {
        let rest = self.gather.rest(self.now, self.in_flight);
        if !rest.is_zero() && self.schedule.is_none() && !self.stopping {
            // An interrupted rest is over.
            let _ = Timespec::try_from(rest).map(|rest| clock_nanosleep_relative(ClockId::Monotonic, &rest));
        }
    }

    fn time_to_wait(&self, cut_at: Option<Instant>) -> Duration {
        let due = self.schedule.as_ref().filter(|_| !self.free.is_empty() && !self.stopping && self.budget > 0);
        let due = due.and_then(Schedule::peek).map(|at| self.schedule_base + at);
        let warm = (self.now < self.warm_until && self.schedule.is_some()).then_some(self.warm_until);
        let pause = self.pauses.peek().map(|Reverse((at, _))| *at);
        let end = self.end.filter(|_| !self.stopping);
        let all = [Some(self.slice_end), due, warm, pause, end, cut_at, self.next_deadline];
        let next = all.into_iter().flatten().min().unwrap_or(self.slice_end);
        next.saturating_duration_since(self.now)
    }

    /// Open loop: begins what is due, as far as there are connections.
    fn begin_due(&mut self) {
        if self.schedule_base == self.begun && self.now >= self.warm_until && !self.plan.warm_up.is_zero() {
            let rate = self.plan.rate.clone();
            self.schedule = rate.map(|rate| Schedule::new(rate, self.place.0, self.place.1, self.plan.seed));
            self.schedule_base = self.warm_until;
        }
        loop {
            let Some(at) = self.schedule.as_ref().and_then(Schedule::peek) else { return };
            let due = self.schedule_base + at;
            if due > self.now || self.budget == 0 || (self.is_warm() && due >= self.warm_until) {
                return;
            }
            let Some(user) = self.free.pop() else { return };
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
            if !self.is_warm() && self.budget != u64::MAX {
                self.budget -= 1;
            }
            let late = self.now.saturating_duration_since(due.max(self.free_since));
            let phase = self.phase();
            let waited = self.free_since > due + LATE;
            let tally = self.tally(phase);
            tally.slip_longest = tally.slip_longest.max(late);
            tally.slipped += u64::from(late > LATE);
            tally.delayed += u64::from(waited);
            self.begin(user as usize, due);
        }
    }

    fn is_warm(&self) -> bool {
        self.now < self.warm_until
    }

    /// Where a request that begins now is counted: by the same clock that says whether it counts for its user.
    pub(super) fn phase(&self) -> usize {
        if self.is_warm() { 0 } else { self.shared.phase() }
    }

    /// Lets a user do what comes after an answer, or at the begin.
    pub(super) fn advance(&mut self, user: usize) {
        if self.stopping {
            return self.retire(user);
        }
        if self.schedule.is_some() {
            if self.free.is_empty() {
                self.free_since = self.now;
            }
            self.users[user].doing = Doing::Free;
            self.free.push(u32::try_from(user).unwrap_or(u32::MAX));
            return;
        }
        if self.users[user].left == 0 {
            return self.retire(user);
        }
        match self.pause() {
            Some(pause) if self.users[user].begun > self.begun => self.pause_user(user, pause),
            _ => self.begin_next(user),
        }
    }

    fn pause(&mut self) -> Option<Duration> {
        match self.plan.think? {
            Think::Fixed(time) => Some(time),
            Think::UpTo(time) => Some(time.mul_f64(self.random.unit())),
        }
    }

    pub(super) fn pause_user(&mut self, user: usize, pause: Duration) {
        self.users[user].doing = Doing::Pausing;
        self.pauses.push(Reverse((self.now + pause, u32::try_from(user).unwrap_or(u32::MAX))));
    }

    fn begin_next(&mut self, user: usize) {
        if let Some(once) = &mut self.once {
            match once.pop_front() {
                Some(place) => self.users[user].next = place,
                None => return self.retire(user),
            }
        }
        self.begin(user, self.now);
    }

    fn go_on_after_failure(&mut self, user: usize) {
        if self.users[user].doing != Doing::Failed {
            return;
        }
        let failures = self.shared.failures.load(std::sync::atomic::Ordering::Relaxed);
        if self.plan.failures.is_some_and(|most| failures >= most) {
            self.shared.stop(Some(&format!("{failures} requests failed")));
        } else if (failures >= NOTHING_WORKS || self.now > self.begun + NOTHING_COMES)
            && self.shared.answers.load(std::sync::atomic::Ordering::Relaxed) == 0
        {
            self.shared.stop(Some("nothing was answered"));
        }
        let (done, open_loop) = (self.users[user].left == 0, self.schedule.is_some());
        let has_link = self.links[user / self.prepared.streams as usize].stage != Stage::Down;
        if done || open_loop || has_link || self.stopping || self.shared.is_finishing() {
            return self.advance(user);
        }
        let pause = self.users[user].pause_after_failure();
        self.pause_user(user, pause);
    }

    pub(super) fn retire(&mut self, user: usize) {
        if self.users[user].doing != Doing::Done {
            self.users[user].doing = Doing::Done;
            self.alive = self.alive.saturating_sub(1);
        }
    }

    /// A request of a user is over: whether it counts is known by when it was begun.
    pub(super) fn count_down(&mut self, user: usize) {
        let user = &mut self.users[user];
        if user.begun >= self.warm_until && user.left != u64::MAX {
            user.left -= 1;
        }
    }

    pub(super) fn tally(&mut self, phase: usize) -> &mut Tally {
        while self.phases.len() <= phase {
            let service = self.plan.rate.as_ref().map(|_| histogram());
            self.phases.push(Tally { service, ..Tally::default() });
        }
        &mut self.phases[phase]
    }

    fn look_at_deadlines(&mut self) {
        let mut next: Option<Instant> = None;
        for user in 0..self.users.len() {
            if !self.users[user].is_busy() {
                continue;
            }
            let deadline = self.users[user].deadline;
            if deadline <= self.now {
                self.timed_out(user);
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        self.next_deadline = next.map(|next| next.max(self.now + DEADLINE_GRAIN));
    }

    /// No new requests from now on.
    fn stop(&mut self) {
        self.stopping = true;
        let end = self.end.map_or(self.now, |end| end.min(self.now));
        let mut unsent = 0;
        while let Some(at) = self.schedule.as_ref().and_then(Schedule::peek) {
            if self.schedule_base + at >= end || self.budget <= unsent {
                break;
            }
            unsent += 1;
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
        }
        let phase = self.phase();
        self.tally(phase).unsent += unsent;
        for user in 0..self.users.len() {
            if matches!(self.users[user].doing, Doing::Pausing | Doing::Free) {
                self.retire(user);
            }
        }
        self.last_answer = self.last_answer.max(end);
    }

    fn end_slice(&mut self) {
        let cpu = thread_cpu();
        let next = Slice::new(self.slice.index + 1);
        let mut slice = std::mem::replace(&mut self.slice, next);
        slice.in_flight = self.in_flight;
        slice.open = self.open;
        slice.cpu = cpu.saturating_sub(self.slice_cpu);
        self.slice_cpu = cpu;
        self.slice_end += self.interval;
        self.shared.push(slice);
    }

    fn finish(&mut self) -> Counted {
        for user in 0..self.users.len() {
            if self.users[user].is_busy() {
                let phase = self.users[user].phase;
                self.tally(phase).unfinished += 1;
            }
        }
        self.end_slice();
        Counted {
            phases: std::mem::take(&mut self.phases),
            urls: std::mem::take(&mut self.urls),
            shown: std::mem::take(&mut self.shown),
            cpu: thread_cpu(),
            last: self.last_answer.saturating_duration_since(self.begun),
        }
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
