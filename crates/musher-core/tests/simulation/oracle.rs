//! What has to be true after every step, worked out a second time and in another way: from events and effects only,
//! with a shadow of every slot's restarts.

use std::collections::{BTreeMap, BTreeSet};

use musher_core::lifecycle::{
    App, Command, Death, Effect, Event, ExitOutcome, Input, OpError, Policy, Run, RunState, SlotAction, SlotState,
    Vacancy, Why,
};
use musher_core::spec::RestartPolicy;
use musher_core::{Generation, OpId, RunId, SlotId, Time};

use super::invariants::{self, Check, ensure};
use super::tally::Tally;

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
    accepted: BTreeMap<OpId, Command>,
    /// Operations that fail when a run of these slots dies before it was ready.
    fragile: BTreeMap<OpId, Fragile>,
    target: Generation,
    /// The target before the reload that goes on.
    previous: Option<Generation>,
    /// Whether that is of one slot alone.
    only: bool,
    /// Whether that has its new version on trial.
    trial: bool,
    /// The version whose trial failed last.
    failed: Option<Generation>,
    given: BTreeMap<Generation, Policy>,
    finished: BTreeMap<OpId, Result<(), OpError>>,
    pub(crate) tally: Tally,
}

/// Which slots an operation needs.
#[derive(Clone, Default)]
struct Fragile {
    from: Option<usize>,
    more: BTreeSet<usize>,
}

impl Fragile {
    fn concerns(&self, slot: usize) -> bool {
        self.from.is_some_and(|from| slot >= from) || self.more.contains(&slot)
    }
}

#[derive(Clone, Default)]
struct Shadow {
    own: Option<RunId>,
    new: Option<RunId>,
    /// The new run is for an unfit one.
    relief: bool,
    cause: Cause,
    /// What it is filled with next time.
    generation: Generation,
    /// Its run was put there by the reload that goes on.
    reloaded: bool,
    failures: u32,
    at_once: u32,
    restarts: Vec<Time>,
    /// The own run died while a new one was starting.
    died: Option<(Death, bool)>,
}

/// Why the next run of a slot is started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Cause {
    #[default]
    None,
    /// Stopped by a user, alone or with the app; deleted, with others after it.
    Held,
    Gap,
    User,
    Restart,
    /// It waits for other apps, or for its time: it is not to be started.
    Others,
    Time,
}

impl Oracle {
    pub(crate) fn new(app: &App) -> Oracle {
        let target = app.target();
        Oracle {
            slots: vec![Shadow { generation: target, cause: Cause::Held, ..Shadow::default() }; app.slots().len()],
            target,
            given: BTreeMap::from([(target, app.policy(target))]),
            ..Oracle::default()
        }
    }

    /// Checks a step whose result was written.
    pub(crate) fn check(&mut self, step: &Step<'_>) -> Check {
        self.tally.steps += 1;
        let was_reloading = self.previous.is_some();
        match step.input {
            Some(Input::Command { op, command }) => self.command(step, *op, command),
            Some(Input::Due) => self.due(step)?,
            Some(Input::Released) => {
                for slot in self.slots.iter_mut().filter(|slot| slot.cause == Cause::Others) {
                    self.tally.released += 1;
                    slot.cause = Cause::User;
                }
            }
            Some(Input::HeldUp { .. }) if self.slots.iter().any(Shadow::waits) => {
                for (op, fragile) in &self.fragile {
                    // One slot may not be among those that wait, or be filled by a reload.
                    let one = fragile.from.is_none() && fragile.more.len() == 1;
                    if one && !fragile.more.iter().any(|slot| self.slots[*slot].waits()) {
                        continue;
                    }
                    self.tally.held_up += 1;
                    let told = |effect: &Effect| matches!(effect, Effect::Finished { op: other, result: Err(OpError::Dependency { .. }) } if other == op);
                    ensure!(step.effects.iter().any(told), "operation {op} waits for other apps and is not told");
                }
            }
            Some(_) | None => {}
        }
        for (position, effect) in step.effects.iter().enumerate() {
            match effect {
                Effect::Event(event) => self.event(step, position, event)?,
                Effect::Finished { op, .. } => {
                    self.fragile.remove(op);
                }
                Effect::Spawn { .. }
                | Effect::Drain { .. }
                | Effect::Signal { .. }
                | Effect::Kill { .. }
                | Effect::RetireSlot { .. }
                | Effect::CloseListeners => {}
            }
        }
        if let Some(Input::CanaryWorse { .. }) = step.input {
            ensure!(!self.trial, "the version on trial does worse, and nothing happens");
        }
        let reloading = was_reloading || self.previous.is_some();
        self.left_out_as_asked(step.after)?;
        ensure!(step.after.target() == self.target, "the target is {}, not {}", step.after.target(), self.target);
        invariants::slots_hold_together(step.after)?;
        invariants::readiness_is_kept(step, reloading)?;
        invariants::results_are_true(step, self.only)?;
        invariants::surge_is_bounded(step)?;
        invariants::unfit_runs_serve_and_are_replaced(step, reloading)?;
        invariants::policies_are_kept(step.after, &self.given)?;
        invariants::commands_reach_everything(step)?;
        invariants::recovery_is_kind(step)
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
        open.map(|(op, command)| (*op, command.clone())).collect()
    }

    pub(crate) fn is_finished(&self, op: OpId) -> bool {
        self.finished.contains_key(&op)
    }

    fn command(&mut self, step: &Step<'_>, op: OpId, command: &Command) {
        self.accepted.insert(op, command.clone());
        if refused(step.effects, op) {
            return;
        }
        let before = self.target;
        if let Command::Start { target: Some(target) }
        | Command::Restart { target: Some(target) }
        | Command::Reload { target: Some(target), .. } = command
        {
            self.target = target.generation;
            self.given.insert(target.generation, target.policy.clone());
        }
        let none = Shadow { generation: self.target, ..Shadow::default() };
        let policy = step.after.policy(self.target);
        let wanted = if policy.waits { Cause::Others } else { Cause::User };
        let user = Shadow { cause: wanted, ..none.clone() };
        let reloads = |effect: &Effect| matches!(effect, Effect::Event(Event::ReloadStarted { .. }));
        match command {
            Command::Reload { .. } if step.effects.iter().any(reloads) => {
                self.tally.reloads += 1;
                self.previous = Some(before);
                self.only = false;
                self.trial = matches!(command, Command::Reload { canary: Some(_), .. });
                self.slots.iter_mut().for_each(|slot| slot.reloaded = false);
            }
            Command::Start { .. } | Command::Reload { .. } => {
                self.fragile.insert(op, Fragile { from: Some(0), ..Fragile::default() });
                let goes_on = |slot: &Shadow| {
                    let under_way = matches!(slot.cause, Cause::User | Cause::Restart | Cause::Others);
                    slot.cause == Cause::Gap || policy.job && under_way
                };
                for slot in self.slots.iter_mut().filter(|slot| slot.own.is_none() && !goes_on(slot)) {
                    *slot = if policy.job { Shadow { cause: Cause::Time, ..none.clone() } } else { user.clone() };
                }
            }
            Command::Restart { .. } => {
                self.previous = None;
                self.trial = false;
                self.fragile.insert(op, Fragile { from: Some(0), ..Fragile::default() });
                self.slots.iter_mut().filter(|slot| slot.cause != Cause::Gap).for_each(|slot| *slot = user.clone());
            }
            Command::Stop | Command::Delete => {
                self.stopped();
            }
            Command::One { slot, action } => self.one(step, op, slot.0 as usize, *action),
            Command::Scale { to } => {
                self.tally.scalings += 1;
                let waits = self.slots.iter().any(Shadow::waits);
                while self.slots.iter().filter(|slot| slot.cause != Cause::Gap).count() > *to as usize {
                    // Those that are stopped alone first.
                    let highest = |of: &dyn Fn(&Shadow) -> bool| self.slots.iter().rposition(of);
                    let held = highest(&|slot| slot.cause == Cause::Held && step.before.is_wanted());
                    let slot = held.or_else(|| highest(&|slot| slot.cause != Cause::Gap)).unwrap();
                    self.slots[slot] = Shadow { cause: Cause::Gap, ..Shadow::default() };
                }
                self.drop_gaps();
                let cause = match () {
                    () if !step.after.is_wanted() => Cause::Held,
                    () if waits => Cause::Others,
                    () if policy.job => Cause::Time,
                    () => Cause::User,
                };
                let generation = self.previous.filter(|_| !self.only).unwrap_or(self.target);
                let added = Shadow { cause, generation, ..none };
                let mut fragile = Fragile { from: Some(self.slots.len()), ..Fragile::default() };
                while self.slots.iter().filter(|slot| slot.cause != Cause::Gap).count() < *to as usize {
                    match self.slots.iter().position(|slot| slot.cause == Cause::Gap) {
                        Some(gap) => {
                            fragile.more.insert(gap);
                            self.slots[gap] = added.clone();
                        }
                        None => self.slots.push(added.clone()),
                    }
                }
                if step.before.is_wanted() {
                    self.fragile.insert(op, fragile);
                }
            }
        }
    }

    /// What becomes of the slots when somebody wants something of one.
    fn one(&mut self, step: &Step<'_>, op: OpId, slot: usize, action: SlotAction) {
        self.tally.singles += 1;
        let policy = step.after.policy(self.target);
        let fragile = Fragile { from: None, more: BTreeSet::from([slot]) };
        let wanted = if policy.waits { Cause::Others } else { Cause::User };
        let filled = Shadow { generation: self.target, cause: wanted, ..Shadow::default() };
        let shadow = &mut self.slots[slot];
        match action {
            SlotAction::Reload
                if step.effects.iter().any(|effect| matches!(effect, Effect::Event(Event::ReloadStarted { .. }))) =>
            {
                self.tally.reloads += 1;
                (self.previous, self.only, self.trial) = (Some(self.target), true, false);
                self.slots.iter_mut().for_each(|slot| slot.reloaded = false);
            }
            SlotAction::Start | SlotAction::Reload => {
                let under_way = matches!(shadow.cause, Cause::User | Cause::Restart | Cause::Others);
                if shadow.own.is_none() && !(policy.job && under_way) {
                    *shadow = if policy.job { Shadow { cause: Cause::Time, ..filled } } else { filled };
                }
                self.fragile.insert(op, fragile);
            }
            SlotAction::Restart => {
                *shadow = filled;
                self.fragile.insert(op, fragile);
            }
            SlotAction::Stop | SlotAction::Delete => {
                let deletes = action == SlotAction::Delete;
                let cause = if deletes { Cause::Gap } else { Cause::Held };
                *shadow = Shadow { generation: shadow.generation, cause, ..Shadow::default() };
                if self.slots.iter().all(|slot| slot.cause == Cause::Gap) {
                    // The app is deleted, with its last slot as it is.
                    self.slots[slot].cause = Cause::Held;
                }
                self.drop_gaps();
                if self.slots.iter().all(|slot| matches!(slot.cause, Cause::Held | Cause::Gap)) {
                    self.tally.last_ones += 1;
                    self.stopped();
                }
            }
        }
    }

    fn stopped(&mut self) {
        self.tally.stops += 1;
        self.previous = None;
        self.trial = false;
        for slot in self.slots.iter_mut().filter(|slot| slot.cause != Cause::Gap) {
            *slot = Shadow { generation: slot.generation, cause: Cause::Held, ..Shadow::default() };
        }
    }

    fn drop_gaps(&mut self) {
        while self.slots.last().is_some_and(|slot| slot.cause == Cause::Gap) {
            self.slots.pop();
        }
    }

    /// Slots are stopped and deleted exactly where a user wanted that, and an app that is wanted has one that is not.
    fn left_out_as_asked(&self, app: &App) -> Check {
        ensure!(app.slots().len() == self.slots.len(), "{} slots, not {}", app.slots().len(), self.slots.len());
        for ((slot, shadow), id) in app.slots().iter().zip(&self.slots).zip(0..) {
            let stopped = slot.state == SlotState::Vacant(Vacancy::Stopped);
            let removed = slot.state == SlotState::Vacant(Vacancy::Removed);
            // A reload fills it, and a reload that aborts leaves it as it was.
            let held = shadow.cause == Cause::Held && shadow.new.is_none();
            ensure!(stopped == held, "slot {id}: {:?}, not {:?}", slot.state, shadow.cause);
            ensure!(removed == (shadow.cause == Cause::Gap), "slot {id}: {:?}, not {:?}", slot.state, shadow.cause);
        }
        let gaps = self.slots.iter().filter(|slot| slot.cause == Cause::Gap).count();
        ensure!(app.size() as usize == self.slots.len() - gaps, "gaps are counted as slots");
        let held = self.slots.iter().all(|slot| matches!(slot.cause, Cause::Held | Cause::Gap));
        ensure!(held != app.is_wanted(), "the app is wanted: {}, all its slots are stopped: {held}", app.is_wanted());
        Ok(())
    }

    /// A job is started when its time comes, unless it runs still.
    fn due(&mut self, step: &Step<'_>) -> Check {
        let policy = step.after.policy(self.target);
        let skipped = step.effects.iter().any(|effect| matches!(effect, Effect::Event(Event::Skipped { .. })));
        if !policy.job || !step.before.is_wanted() {
            ensure!(!skipped, "what is no job, or stopped, has a time");
            return Ok(());
        }
        let idle = |slot: &Shadow| {
            slot.own.is_none() && matches!(slot.cause, Cause::None | Cause::Time | Cause::Held | Cause::Gap)
        };
        let runs = step.before.runs().next().is_some() || !self.slots.iter().all(idle);
        ensure!(runs == skipped, "a job is started while it runs, or left out while it does not");
        if skipped {
            self.tally.skipped += 1;
            return Ok(());
        }
        self.tally.due += 1;
        let cause = if policy.waits { Cause::Others } else { Cause::User };
        for slot in self.slots.iter_mut().filter(|slot| !matches!(slot.cause, Cause::Held | Cause::Gap)) {
            *slot = Shadow { generation: self.target, cause, ..Shadow::default() };
        }
        Ok(())
    }

    fn event(&mut self, step: &Step<'_>, position: usize, event: &Event) -> Check {
        match event {
            Event::Starting { slot, run, generation } => self.starting(step, *slot, *run, *generation),
            Event::Online { slot, run, generation, .. } => {
                self.online_since.insert(*run, step.now);
                if let Some(shadow) = self.slots.get_mut(slot.0 as usize).filter(|slot| slot.new == Some(*run)) {
                    if std::mem::take(&mut shadow.relief) {
                        self.tally.relieved += 1;
                        shadow.own = shadow.new.take();
                        return Ok(());
                    }
                    *shadow = Shadow { own: Some(*run), generation: *generation, reloaded: true, ..Shadow::default() };
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
            Event::Failing { slot, run, .. } => {
                self.tally.failing += 1;
                self.death(step, position, *slot, *run, &Death::Uncaught)
            }
            Event::Unfit { slot, run, generation, .. } => {
                self.tally.unfit += 1;
                let min_uptime = step.before.policy(*generation).min_uptime;
                let stable = self.online_since.get(run).is_some_and(|since| step.now.since(*since) >= min_uptime);
                let shadow = &mut self.slots[slot.0 as usize];
                ensure!(shadow.own == Some(*run), "run {run} of slot {slot} is unfit, and does not serve");
                shadow.lived(true, stable);
                Ok(())
            }
            Event::Kept { slot, run, .. } => {
                self.tally.kept += 1;
                let aborts = |effect: &Effect| matches!(effect, Effect::Event(Event::ReloadAborted { .. }));
                let shadow = &mut self.slots[slot.0 as usize];
                ensure!(shadow.own == Some(*run), "run {run} is kept, and does not serve");
                // A canary that was not gone back from: the next try of the old version counts as after a failed start.
                if step.effects[..position].iter().any(aborts) {
                    shadow.lived(false, false);
                }
                Ok(())
            }
            Event::ReloadAborted { .. }
            | Event::CanaryFailed { .. }
            | Event::CanaryPassed { .. }
            | Event::ReloadFinished { .. }
            | Event::WentBack { .. } => self.reload_event(step, position, event),
            Event::Draining { slot, run, .. } | Event::Stopping { slot, run, .. } => {
                let Some(shadow) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
                if shadow.own == Some(*run) && self.previous.is_some() {
                    // Taken down before the new one starts; when the reload aborts, it is filled again.
                    self.tally.taken_down += 1;
                    ensure!(shadow.new.is_none(), "slot {slot} has a new run, and its old one is taken down");
                    shadow.own = None;
                    shadow.cause = Cause::User;
                }
                Ok(())
            }
            Event::Giveup { slot, .. } => {
                self.tally.giveups += 1;
                let shadow = &self.slots[slot.0 as usize];
                ensure!(shadow.cause == Cause::None, "slot {slot} gives up while it waits for {:?}", shadow.cause);
                Ok(())
            }
            Event::Killing { .. }
            | Event::Skipped { .. }
            | Event::Ended { .. }
            | Event::Backoff { .. }
            | Event::Started { .. }
            | Event::ReloadStarted { .. }
            | Event::CanaryWatched { .. }
            | Event::Scaled { .. }
            | Event::Stopped
            | Event::Deleted
            | Event::Recovered { .. } => Ok(()),
        }
    }

    fn starting(&mut self, step: &Step<'_>, slot: SlotId, run: RunId, generation: Generation) -> Check {
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
            SlotState::Replacing { new, why: Why::Unfit, .. } if *new == run => {
                ensure!(shadow.own.is_some() && shadow.new.is_none(), "slot {slot} has no single unfit run");
                let right = shadow.generation;
                ensure!(generation == right, "slot {slot} is relieved with generation {generation}, not {right}");
                shadow.new = Some(run);
                shadow.relief = true;
                return self.counts_as_restart(step, slot, generation);
            }
            SlotState::Replacing { new, .. } if *new == run => {
                ensure!(shadow.new.is_none(), "slot {slot} has two new runs");
                ensure!(generation == self.target, "slot {slot} is reloaded with generation {generation}");
                shadow.new = Some(run);
                return Ok(());
            }
            SlotState::Replacing { .. } | SlotState::Filled { .. } | SlotState::Vacant(_) => {}
        }
        ensure!(shadow.own.is_none(), "run {run} starts in slot {slot}, which has one");
        let right = shadow.generation;
        ensure!(generation == right, "slot {slot} is filled with generation {generation}, not {right}");
        match shadow.cause {
            Cause::Held | Cause::Gap => return Err(format!("run {run} starts in slot {slot}, which is stopped")),
            Cause::None => return Err(format!("run {run} starts in slot {slot} for no reason")),
            Cause::Others => return Err(format!("run {run} starts in slot {slot} before what it needs is there")),
            Cause::Time => return Err(format!("run {run} starts in slot {slot} before its time")),
            Cause::User => {}
            Cause::Restart => self.counts_as_restart(step, slot, generation)?,
        }
        let Some(shadow) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
        shadow.cause = Cause::None;
        shadow.own = Some(run);
        Ok(())
    }

    fn counts_as_restart(&mut self, step: &Step<'_>, slot: SlotId, generation: Generation) -> Check {
        self.tally.restarts += 1;
        let policy = step.after.policy(generation);
        let shadow = &mut self.slots[slot.0 as usize];
        shadow.restarts.push(step.now);
        let within = shadow.restarts.iter().filter(|at| **at + policy.window > step.now).count();
        // The restart itself counts even when the window has no length.
        let within = within.max(1);
        ensure!(within <= policy.max_restarts as usize, "slot {slot}: restart number {within} in a window");
        Ok(())
    }

    fn death(&mut self, step: &Step<'_>, position: usize, slot: SlotId, run: RunId, death: &Death) -> Check {
        let Some(old) = step.before.run(run) else { return Ok(()) };
        let policy = step.before.policy(old.generation);
        let stable = self.online_since.get(&run).is_some_and(|since| step.now.since(*since) >= policy.min_uptime);
        let was_ready = self.online_since.contains_key(&run);
        let Some(shadow) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
        if shadow.own != Some(run) && shadow.new != Some(run) {
            return Ok(());
        }
        let aborts = step.effects[position..].iter().any(|effect| match effect {
            Effect::Event(Event::ReloadAborted { run: other, .. } | Event::CanaryFailed { run: Some(other), .. }) => {
                *other == run
            }
            _ => false,
        });
        let harmless = shadow.own.is_none() && ended_well(&policy, death);
        let relieves = shadow.relief && shadow.new == Some(run);
        let fatal = if shadow.own == Some(run) {
            shadow.new.is_none() && shadow.reloaded && (!stable || self.trial)
        } else {
            !harmless && !relieves
        };
        let fatal = fatal && self.previous.is_some();
        ensure!(aborts == fatal, "the death of run {run} should{} abort the reload", if fatal { "" } else { " not" });
        if !was_ready && !ended_well(&policy, death) && !relieves {
            for (op, fragile) in &self.fragile {
                let failed = step.effects[position..].iter().any(|effect| match effect {
                    Effect::Finished { op: other, result: Err(OpError::Died { run: dead, .. }) } => {
                        other == op && *dead == run
                    }
                    _ => false,
                });
                ensure!(
                    failed || !fragile.concerns(slot.0 as usize),
                    "operation {op} does not fail when run {run} dies before it is ready"
                );
            }
        }
        let Some(shadow) = self.slots.get_mut(slot.0 as usize) else { return Ok(()) };
        if shadow.own == Some(run) {
            shadow.own = None;
            let unfit = step.before.slots()[slot.0 as usize].unfit.as_ref();
            let gives_way = unfit.is_some_and(|unfit| unfit.run == run && unfit.to.is_some());
            if gives_way && shadow.new.is_none() {
                *shadow = Shadow { generation: shadow.generation, cause: Cause::User, ..Shadow::default() };
                return Ok(());
            }
            if std::mem::take(&mut shadow.relief) {
                let successor = shadow.new.take();
                if ended_well(&policy, death) && !gives_way {
                    return self.verdict(step, position, slot, &policy, death, (true, true));
                }
                shadow.own = successor;
                return Ok(());
            }
            if shadow.new.is_some() {
                shadow.died = Some((death.clone(), stable));
                return Ok(());
            }
            return self.verdict(step, position, slot, &policy, death, (was_ready, stable));
        }
        if shadow.new == Some(run) {
            shadow.new = None;
            if std::mem::take(&mut shadow.relief) {
                shadow.lived(false, false);
                return Ok(());
            }
            if shadow.own.is_none() && ended_well(&policy, death) {
                *shadow = Shadow { generation: old.generation, reloaded: true, ..Shadow::default() };
                ensure!(ended(step, position, slot), "slot {slot}: a new run that did its work is not left at that");
            }
        }
        Ok(())
    }

    /// How a reload goes, and its trial.
    fn reload_event(&mut self, step: &Step<'_>, position: usize, event: &Event) -> Check {
        match event {
            Event::ReloadAborted { .. } => {
                self.tally.aborts += 1;
                self.target = self.aborted(step, position)?;
                self.previous = None;
                if let Some(failed) = self.failed.take().filter(|_| step.before.goes_back().is_some()) {
                    for shadow in self.slots.iter_mut().filter(|shadow| shadow.generation == failed) {
                        shadow.generation = self.target;
                        if shadow.cause == Cause::Restart && failed != self.target {
                            *shadow = Shadow { generation: self.target, cause: Cause::User, ..Shadow::default() };
                        }
                    }
                }
            }
            Event::CanaryFailed { generation, .. } => {
                ensure!(self.trial, "a trial fails that is not held");
                self.failed = Some(*generation);
                self.target = self.aborted(step, position)?;
                for shadow in &mut self.slots {
                    if std::mem::take(&mut shadow.reloaded) && shadow.own.is_none() {
                        *shadow = Shadow { generation: self.target, cause: Cause::User, ..Shadow::default() };
                    }
                }
            }
            Event::CanaryPassed { .. } => {
                self.tally.passed += 1;
                self.trial = false;
            }
            Event::WentBack { .. } => {
                self.tally.returned += 1;
                self.previous = None;
            }
            _ => {
                ensure!(!self.trial, "a reload finishes before its trial does");
                self.previous = None;
            }
        }
        Ok(())
    }

    fn aborted(&mut self, step: &Step<'_>, position: usize) -> Result<Generation, String> {
        let Some(previous) = self.previous else { return Err("a reload is aborted that was not there".into()) };
        self.trial = false;
        for slot in 0..self.slots.len() {
            let shadow = &mut self.slots[slot];
            if shadow.relief {
                continue;
            }
            shadow.new = None;
            if let Some((death, stable)) = shadow.died.take() {
                let policy = step.before.policy(step.before.slots()[slot].generation);
                self.verdict(step, position, SlotId(u32::try_from(slot).unwrap()), &policy, &death, (true, stable))?;
            }
        }
        Ok(previous)
    }

    /// What has to become of a slot whose run died.
    fn verdict(
        &mut self,
        step: &Step<'_>,
        position: usize,
        slot: SlotId,
        policy: &Policy,
        death: &Death,
        (was_ready, stable): (bool, bool),
    ) -> Check {
        let shadow = &mut self.slots[slot.0 as usize];
        let failures = shadow.lived(was_ready, stable);
        let gave_up = step.effects[position..]
            .iter()
            .any(|effect| matches!(effect, Effect::Event(Event::Giveup { slot: other, .. }) if *other == slot));
        let ended = ended(step, position, slot);
        if stays_down(policy, death) {
            shadow.lived(true, true);
            shadow.cause = Cause::None;
            ensure!(ended && !gave_up, "slot {slot} should stay down after it {death}");
            return Ok(());
        }
        ensure!(!ended, "slot {slot} stays down after it {death}");
        // The restart would be made after the wait; with jitter, somewhere between the two.
        let longest = wait(policy, failures);
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

pub(crate) fn refused(effects: &[Effect], op: OpId) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Finished { op: other, result: Err(error) } if *other == op => {
            matches!(
                error,
                OpError::Busy { .. } | OpError::Deleted | OpError::NoSlot { .. } | OpError::OutOfRange { .. }
            )
        }
        _ => false,
    })
}

fn ended(step: &Step<'_>, position: usize, slot: SlotId) -> bool {
    step.effects[position..]
        .iter()
        .any(|effect| matches!(effect, Effect::Event(Event::Ended { slot: other, .. }) if *other == slot))
}

fn is_unconfirmed(run: &Run) -> bool {
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

pub(crate) fn ended_well(policy: &Policy, death: &Death) -> bool {
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

impl Shadow {
    /// Whether it waits for other apps, and no reload fills it.
    fn waits(&self) -> bool {
        self.cause == Cause::Others && self.new.is_none()
    }

    /// Notes how its run lived; gives the failures that the next one has to wait for.
    fn lived(&mut self, was_ready: bool, stable: bool) -> u32 {
        if stable {
            self.failures = 0;
            self.at_once = 0;
        } else if was_ready && self.at_once < 3 {
            self.at_once += 1;
            return 0;
        } else {
            self.failures += 1;
        }
        self.failures
    }
}
