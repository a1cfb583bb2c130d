//! What has to be true after every step, worked out a second time and in another way: from events and effects only,
//! with a shadow of every slot's restarts.

use std::collections::BTreeMap;

use musher_core::lifecycle::{
    App, Before, Command, Death, Effect, Event, ExitOutcome, Input, OpError, Policy, RunState, SlotState, Vacancy,
};
use musher_core::spec::RestartPolicy;
use musher_core::{OpId, RunId, SlotId, Time};

/// One step: what was, what came in, what came out, what is.
pub(crate) struct Step<'a> {
    pub(crate) before: &'a App,
    /// None: a recovery.
    pub(crate) input: Option<&'a Input>,
    pub(crate) effects: &'a [Effect],
    pub(crate) after: &'a App,
    pub(crate) now: Time,
}

#[derive(Default)]
pub(crate) struct Oracle {
    slots: Vec<Shadow>,
    online_since: BTreeMap<RunId, Time>,
    accepted: BTreeMap<OpId, (Command, Time)>,
    finished: BTreeMap<OpId, Result<(), OpError>>,
    pub(crate) tally: Tally,
}

/// How often the interesting things happened, to see that the simulation reaches them.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
    pub(crate) giveups: u64,
    pub(crate) reloads: u64,
    pub(crate) aborts: u64,
    pub(crate) stops: u64,
    pub(crate) superseded: u64,
    pub(crate) failed_starts: u64,
    pub(crate) scalings: u64,
}

#[derive(Clone, Default)]
struct Shadow {
    own: Option<RunId>,
    new: Option<RunId>,
    cause: Cause,
    failures: u32,
    restarts: Vec<Time>,
    /// The own run died while a new one was starting.
    died: Option<(Death, bool)>,
}

/// Why the next run of a slot is started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Cause {
    #[default]
    None,
    User,
    Restart,
}

type Check = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl Oracle {
    pub(crate) fn new(slots: u32) -> Oracle {
        Oracle { slots: vec![Shadow::default(); slots as usize], ..Oracle::default() }
    }

    /// Checks a step whose result was written.
    pub(crate) fn check(&mut self, step: &Step<'_>) -> Check {
        self.tally.steps += 1;
        if let Some(Input::Command { op, command }) = step.input {
            self.command(step, *op, command)?;
        }
        for (position, effect) in step.effects.iter().enumerate() {
            if let Effect::Event(event) = effect {
                self.event(step, position, event)?;
            }
        }
        slots_hold_together(step.after)?;
        readiness_is_kept(step)?;
        results_are_true(step)?;
        surge_is_bounded(step.after)
    }

    /// The driver hands a result to the user.
    pub(crate) fn finished(&mut self, op: OpId, result: &Result<(), OpError>, recovering: bool) -> Check {
        ensure!(self.accepted.contains_key(&op), "operation {op} finishes, but nobody asked for it");
        match self.finished.get(&op) {
            None => {
                match result {
                    Err(OpError::Superseded { .. }) => self.tally.superseded += 1,
                    Err(OpError::Died { .. }) => self.tally.failed_starts += 1,
                    _ => {}
                }
                self.finished.insert(op, result.clone());
                Ok(())
            }
            Some(first) => {
                ensure!(recovering, "operation {op} finishes twice");
                ensure!(first == result, "operation {op} finishes as {first:?}, then as {result:?}");
                Ok(())
            }
        }
    }

    pub(crate) fn unfinished(&self) -> Vec<(OpId, Command)> {
        let open = self.accepted.iter().filter(|(op, _)| !self.finished.contains_key(op));
        open.map(|(op, (command, _))| (*op, command.clone())).collect()
    }

    pub(crate) fn is_finished(&self, op: OpId) -> bool {
        self.finished.contains_key(&op)
    }

    fn command(&mut self, step: &Step<'_>, op: OpId, command: &Command) -> Check {
        self.accepted.insert(op, (command.clone(), step.now));
        if refused(step.effects, op) {
            return Ok(());
        }
        let user = Shadow { cause: Cause::User, ..Shadow::default() };
        match command {
            Command::Start { .. } => self.fill_vacant(&user),
            Command::Reload { .. } if !step.before.is_wanted() => self.fill_vacant(&user),
            Command::Reload { .. } => self.tally.reloads += 1,
            Command::Restart { .. } => self.slots.fill(user),
            Command::Stop | Command::Delete => {
                self.tally.stops += 1;
                self.slots.fill(Shadow::default());
            }
            Command::Scale { to } => {
                self.tally.scalings += 1;
                let added = if step.after.is_wanted() { user } else { Shadow::default() };
                self.slots.resize(*to as usize, added);
            }
        }
        Ok(())
    }

    fn fill_vacant(&mut self, user: &Shadow) {
        for slot in self.slots.iter_mut().filter(|slot| slot.own.is_none()) {
            *slot = user.clone();
        }
    }

    fn event(&mut self, step: &Step<'_>, position: usize, event: &Event) -> Check {
        match event {
            Event::Starting { slot, run, generation } => {
                self.starting(step, *slot, *run, &step.after.policy(*generation))
            }
            Event::Online { slot, run, .. } => {
                self.online_since.insert(*run, step.now);
                if let Some(shadow) = self.slots.get_mut(slot.0 as usize).filter(|slot| slot.new == Some(*run)) {
                    *shadow = Shadow { own: Some(*run), ..Shadow::default() };
                }
                Ok(())
            }
            Event::Exited { slot, run, outcome, expected, .. } => {
                if *expected {
                    Ok(())
                } else {
                    self.death(step, position, *slot, *run, &Death::Exited(*outcome))
                }
            }
            Event::SpawnFailed { slot, run, reason, .. } => {
                self.death(step, position, *slot, *run, &Death::SpawnFailed { reason: reason.clone() })
            }
            Event::NotReady { slot, run, timeout_ms, .. } => {
                self.death(step, position, *slot, *run, &Death::NotReady { timeout_ms: *timeout_ms })
            }
            Event::ReloadAborted { .. } => {
                self.tally.aborts += 1;
                self.aborted(step, position)
            }
            Event::Giveup { slot, .. } => {
                self.tally.giveups += 1;
                let shadow = &self.slots[slot.0 as usize];
                ensure!(shadow.cause == Cause::None, "slot {slot} gives up while it waits for {:?}", shadow.cause);
                Ok(())
            }
            Event::Draining { .. }
            | Event::Stopping { .. }
            | Event::Killing { .. }
            | Event::Ended { .. }
            | Event::Backoff { .. }
            | Event::Started { .. }
            | Event::ReloadStarted { .. }
            | Event::ReloadFinished { .. }
            | Event::Scaled { .. }
            | Event::Stopped
            | Event::Deleted
            | Event::Recovered { .. } => Ok(()),
        }
    }

    fn starting(&mut self, step: &Step<'_>, slot: SlotId, run: RunId, policy: &Policy) -> Check {
        let Some(shadow) = self.slots.get_mut(slot.0 as usize) else {
            return Err(format!("run {run} starts in slot {slot}, which does not exist"));
        };
        if step.input.is_none() {
            // A run whose spawn was never carried out is started again, without being counted.
            let never_was = |old: Option<RunId>| {
                old.is_some_and(|old| step.after.run(old).is_none() && step.before.run(old).is_some_and(is_unconfirmed))
            };
            if never_was(shadow.own) {
                shadow.own = Some(run);
                return Ok(());
            }
            if never_was(shadow.new) {
                shadow.new = Some(run);
                return Ok(());
            }
        }
        match &step.after.slots()[slot.0 as usize].state {
            SlotState::Replacing { new, .. } if *new == run => {
                ensure!(shadow.new.is_none(), "slot {slot} has two new runs");
                shadow.new = Some(run);
                return Ok(());
            }
            SlotState::Replacing { .. } | SlotState::Filled { .. } | SlotState::Vacant(_) => {}
        }
        ensure!(shadow.own.is_none(), "run {run} starts in slot {slot}, which has one");
        match shadow.cause {
            Cause::None => return Err(format!("run {run} starts in slot {slot} for no reason")),
            Cause::User => {}
            Cause::Restart => {
                self.tally.restarts += 1;
                shadow.restarts.push(step.now);
                let within = shadow.restarts.iter().filter(|at| **at + policy.window > step.now).count();
                // The restart itself counts even when the window has no length.
                let within = within.max(1);
                ensure!(within <= policy.max_restarts as usize, "slot {slot}: restart number {within} in a window");
            }
        }
        shadow.cause = Cause::None;
        shadow.own = Some(run);
        Ok(())
    }

    fn death(&mut self, step: &Step<'_>, position: usize, slot: SlotId, run: RunId, death: &Death) -> Check {
        let Some(old) = step.before.run(run) else { return Ok(()) };
        let policy = step.before.policy(old.generation);
        let stable = self.online_since.get(&run).is_some_and(|since| step.now.since(*since) >= policy.min_uptime);
        let Some(shadow) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
        if shadow.own == Some(run) {
            shadow.own = None;
            if shadow.new.is_some() {
                shadow.died = Some((death.clone(), stable));
                return Ok(());
            }
            return self.verdict(step, position, slot, &policy, death, stable);
        }
        if shadow.new == Some(run) {
            shadow.new = None;
            if shadow.own.is_none() && ended_well(&policy, death) {
                *shadow = Shadow::default();
                ensure!(ended(step, position, slot), "slot {slot}: a new run that did its work is not left at that");
            }
        }
        Ok(())
    }

    fn aborted(&mut self, step: &Step<'_>, position: usize) -> Check {
        for slot in 0..self.slots.len() {
            let shadow = &mut self.slots[slot];
            shadow.new = None;
            if let Some((death, stable)) = shadow.died.take() {
                let policy = step.before.policy(step.before.slots()[slot].generation);
                self.verdict(step, position, SlotId(u32::try_from(slot).unwrap()), &policy, &death, stable)?;
            }
        }
        Ok(())
    }

    /// What has to become of a slot whose run died.
    fn verdict(
        &mut self,
        step: &Step<'_>,
        position: usize,
        slot: SlotId,
        policy: &Policy,
        death: &Death,
        stable: bool,
    ) -> Check {
        let shadow = &mut self.slots[slot.0 as usize];
        shadow.failures = if stable { 0 } else { shadow.failures + 1 };
        let gave_up = step.effects[position..]
            .iter()
            .any(|effect| matches!(effect, Effect::Event(Event::Giveup { slot: other, .. }) if *other == slot));
        let ended = ended(step, position, slot);
        if stays_down(policy, death) {
            shadow.failures = 0;
            shadow.cause = Cause::None;
            ensure!(ended && !gave_up, "slot {slot} should stay down after it {death}");
            return Ok(());
        }
        ensure!(!ended, "slot {slot} stays down after it {death}");
        // The restart would be made after the wait; with jitter, somewhere between the two.
        let longest = wait(policy, shadow.failures);
        let shortest = longest * f64::from(100 - policy.backoff_jitter_percent) / 100.0;
        let within = |delay: f64| {
            let at = step.now.0 as f64 + delay;
            let window = policy.window.as_secs_f64() * 1000.0;
            shadow.restarts.iter().filter(|restart| restart.0 as f64 + window > at).count()
        };
        let most = policy.max_restarts as usize;
        let (may, must) = (within(shortest.floor()) >= most, within(longest.ceil()) >= most);
        ensure!(may || !gave_up, "slot {slot} gives up after {} of {most} restarts", within(shortest));
        ensure!(gave_up || !must, "slot {slot} does not give up after {} of {most} restarts", within(longest));
        shadow.cause = if gave_up { Cause::None } else { Cause::Restart };
        Ok(())
    }
}

fn refused(effects: &[Effect], op: OpId) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Finished { op: other, result: Err(error) } if *other == op => {
            matches!(error, OpError::Busy { .. } | OpError::Deleted | OpError::OutOfRange { .. })
        }
        _ => false,
    })
}

fn ended(step: &Step<'_>, position: usize, slot: SlotId) -> bool {
    step.effects[position..]
        .iter()
        .any(|effect| matches!(effect, Effect::Event(Event::Ended { slot: other, .. }) if *other == slot))
}

fn is_unconfirmed(run: &musher_core::lifecycle::Run) -> bool {
    matches!(run.state, RunState::Starting { spawned: false, .. } | RunState::Draining { spawned: false, .. })
}

fn stays_down(policy: &Policy, death: &Death) -> bool {
    let code = match death {
        Death::Exited(ExitOutcome::Code(code)) => Some(*code),
        _ => None,
    };
    code.is_some_and(|code| policy.stop_exit_codes.contains(&code))
        || match policy.restart {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure => code == Some(0),
            RestartPolicy::Never => true,
        }
}

fn ended_well(policy: &Policy, death: &Death) -> bool {
    let good = match death {
        Death::Exited(ExitOutcome::Code(code)) => *code == 0 || policy.stop_exit_codes.contains(code),
        _ => false,
    };
    good && stays_down(policy, death)
}

/// The wait without jitter, in milliseconds.
fn wait(policy: &Policy, failures: u32) -> f64 {
    if failures == 0 {
        return 0.0;
    }
    let factor = f64::from(policy.backoff_factor_percent) / 100.0;
    let wait = policy.backoff_initial.as_secs_f64() * factor.powf(f64::from(failures - 1));
    wait.min(policy.backoff_max.as_secs_f64()) * 1000.0
}

/// Never more than one online run per slot, never two starting ones, and no slot is lost: what is to run has a run, or
/// a deadline, or waits for a run that is being stopped.
fn slots_hold_together(app: &App) -> Check {
    let mut claimed: BTreeMap<RunId, SlotId> = BTreeMap::new();
    let deadline = app.next_deadline();
    for (slot, id) in app.slots().iter().zip((0..).map(SlotId)) {
        let mut claim = |run: RunId| -> Result<(), String> {
            ensure!(claimed.insert(run, id).is_none(), "run {run} fills two slots");
            let state = app.run(run).ok_or(format!("slot {id} is filled by run {run}, which is gone"))?;
            ensure!(!state.is_draining(), "slot {id} is filled by run {run}, which is draining");
            ensure!(state.slot == id, "run {run} is in slot {id} and thinks it is in {}", state.slot);
            Ok(())
        };
        match &slot.state {
            SlotState::Filled { run } => claim(*run)?,
            SlotState::Replacing { before, new } => {
                claim(*new)?;
                ensure!(!app.run(*new).unwrap().is_online(), "slot {id}: the new run is online, but not in its place");
                if let Before::Online { run } = before {
                    claim(*run)?;
                    ensure!(app.run(*run).unwrap().is_online(), "slot {id}: the old run is not online");
                }
            }
            SlotState::Vacant(Vacancy::Stopped) => ensure!(!app.is_wanted(), "slot {id} is stopped in a running app"),
            SlotState::Vacant(Vacancy::Backoff { until, .. }) => {
                ensure!(deadline.is_some_and(|deadline| deadline <= *until), "slot {id} waits without a deadline");
            }
            SlotState::Vacant(Vacancy::Clearing { .. }) => {
                let waits_for = |run: &musher_core::lifecycle::Run| {
                    run.slot == id && matches!(run.state, RunState::Draining { blocks: true, .. })
                };
                ensure!(app.runs().any(|(_, run)| waits_for(run)), "slot {id} waits for nothing");
            }
            SlotState::Vacant(Vacancy::Ended { .. } | Vacancy::GaveUp { .. }) => {}
        }
        ensure!(app.is_wanted() || slot.state == SlotState::Vacant(Vacancy::Stopped), "slot {id} is not stopped");
    }
    for (id, run) in app.runs().filter(|(_, run)| !run.is_draining()) {
        ensure!(claimed.get(&id) == Some(&run.slot), "run {id} of slot {} fills no slot", run.slot);
        ensure!(app.generations_in_use().contains(&run.generation), "the spec of run {id} is forgotten");
    }
    Ok(())
}

/// Ready workers get fewer only by deaths, and by commands that say so: never by a reload.
fn readiness_is_kept(step: &Step<'_>) -> Check {
    let mut removed = 0;
    match step.input {
        Some(Input::Command { op, command }) if !refused(step.effects, *op) => match command {
            Command::Stop | Command::Restart { .. } | Command::Delete => return Ok(()),
            Command::Scale { to } => {
                removed = step.before.runs().filter(|(_, run)| run.is_online() && run.slot.0 >= *to).count();
            }
            Command::Start { .. } | Command::Reload { .. } => {}
        },
        Some(_) | None => {}
    }
    let died = |effect: &&Effect| match effect {
        Effect::Event(Event::Exited { run, expected: false, .. }) => {
            step.before.run(*run).is_some_and(musher_core::lifecycle::Run::is_online)
        }
        _ => false,
    };
    let deaths = step.effects.iter().filter(died).count();
    let (before, after) = (step.before.ready_slots() as usize, step.after.ready_slots() as usize);
    ensure!(after + deaths + removed >= before, "{before} ready workers became {after} by {deaths} deaths");
    Ok(())
}

/// An operation that succeeded has made true what it promised.
fn results_are_true(step: &Step<'_>) -> Check {
    for effect in step.effects {
        let Effect::Event(event) = effect else { continue };
        match event {
            Event::Started { .. } => {
                for (slot, id) in step.after.slots().iter().zip(0..) {
                    let policy = step.after.policy(slot.generation);
                    let good = match &slot.state {
                        SlotState::Filled { run } => step.after.run(*run).unwrap().is_online(),
                        SlotState::Vacant(Vacancy::Ended { death }) => ended_well(&policy, death),
                        SlotState::Vacant(_) | SlotState::Replacing { .. } => false,
                    };
                    ensure!(good, "the app is started, but slot {id} is not");
                }
            }
            Event::ReloadFinished { generation } => {
                ensure!(step.after.target() == *generation, "the reload to {generation} left another target");
                for (slot, id) in step.after.slots().iter().zip(0..) {
                    ensure!(slot.generation == *generation, "the reload finished without slot {id}");
                }
            }
            Event::Stopped => {
                ensure!(step.after.runs().next().is_none(), "the app is stopped and has runs");
                ensure!(step.effects.contains(&Effect::CloseListeners), "a stopped app keeps its listeners");
            }
            _ => {}
        }
    }
    Ok(())
}

fn surge_is_bounded(app: &App) -> Check {
    let replaced = |state: &SlotState| matches!(state, SlotState::Replacing { before: Before::Online { .. }, .. });
    let surge = app.slots().iter().filter(|slot| replaced(&slot.state)).count();
    let limit = app.policy(app.target()).max_surge;
    ensure!(surge <= limit as usize, "{surge} slots are replaced at a time, of {limit}");
    Ok(())
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.restarts += other.restarts;
        self.giveups += other.giveups;
        self.reloads += other.reloads;
        self.aborts += other.aborts;
        self.stops += other.stops;
        self.superseded += other.superseded;
        self.failed_starts += other.failed_starts;
        self.scalings += other.scalings;
    }
}
