//! What has to be true of the state after every step, whatever happened before.

use std::collections::BTreeMap;
use std::time::Duration;

use musher_core::lifecycle::{
    App, Before, Command, Due, Effect, Event, Input, Policy, Run, RunState, Slot, SlotAction, SlotState, Stage, Unfit,
    Vacancy, Why,
};
use musher_core::{Generation, RunId, SlotId};

use super::oracle::{Step, ended_well, refused};

pub(crate) type Check = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

pub(crate) use ensure;

/// Never more than one online run per slot, never two starting ones, and no slot is lost: what is to run has a run, or
/// a deadline, or waits for a run that is being stopped.
pub(crate) fn slots_hold_together(app: &App) -> Check {
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
            SlotState::Replacing { before, new, why } => {
                claim(*new)?;
                ensure!(!app.run(*new).unwrap().is_online(), "slot {id}: the new run is online, but not in its place");
                if let Before::Online { run } = before {
                    claim(*run)?;
                    ensure!(app.run(*run).unwrap().is_online(), "slot {id}: the old run is not online");
                }
                let unfit = slot.unfit.as_ref().map(|unfit| unfit.run);
                let serves = *why == Why::Reload || matches!(before, Before::Online { run } if Some(*run) == unfit);
                ensure!(serves, "slot {id} gets a successor for an unfit run that does not serve it");
            }
            SlotState::Vacant(Vacancy::Stopped) => {}
            SlotState::Vacant(Vacancy::Removed) => {
                ensure!(id.0 as usize + 1 < app.slots().len(), "slot {id} is a gap, and nothing comes after it");
            }
            SlotState::Vacant(Vacancy::Backoff { until, .. }) => {
                ensure!(deadline.is_some_and(|deadline| deadline <= *until), "slot {id} waits without a deadline");
            }
            SlotState::Vacant(Vacancy::Clearing { .. }) => {
                let waits_for =
                    |run: &Run| run.slot == id && matches!(run.state, RunState::Draining { blocks: true, .. });
                ensure!(app.runs().any(|(_, run)| waits_for(run)), "slot {id} waits for nothing");
            }
            SlotState::Vacant(Vacancy::Scheduled) => {
                ensure!(app.policy(slot.generation).job, "slot {id} waits for its time, and is of no job");
            }
            SlotState::Vacant(Vacancy::Waiting) => {
                ensure!(app.policy(slot.generation).waits, "slot {id} waits for other apps, and needs none");
            }
            SlotState::Vacant(Vacancy::Ended { .. } | Vacancy::GaveUp { .. }) => {}
        }
        let left_out = matches!(slot.state, SlotState::Vacant(Vacancy::Stopped | Vacancy::Removed));
        ensure!(app.is_wanted() || left_out, "slot {id} is not stopped");
    }
    for (id, run) in app.runs().filter(|(_, run)| !run.is_draining()) {
        ensure!(claimed.get(&id) == Some(&run.slot), "run {id} of slot {} fills no slot", run.slot);
    }
    Ok(())
}

/// Ready workers get fewer only by deaths, and by commands that say so: by a reload only as far as its rules say.
pub(crate) fn readiness_is_kept(step: &Step<'_>, reloading: bool) -> Check {
    let mut removed = 0;
    match step.input {
        Some(Input::Command { op, command }) if !refused(step.effects, *op) => match command {
            Command::Stop | Command::Restart { .. } | Command::Delete => return Ok(()),
            Command::Scale { .. } => {
                let gone = |run: &Run| run.is_online() && !step.after.has_slot(run.slot);
                removed = step.before.runs().filter(|(_, run)| gone(run)).count();
            }
            Command::One { action: SlotAction::Stop | SlotAction::Delete, .. } if !step.after.is_wanted() => {
                return Ok(());
            }
            Command::One { slot, action: SlotAction::Stop | SlotAction::Delete | SlotAction::Restart } => {
                removed = step.before.runs().filter(|(_, run)| run.is_online() && run.slot == *slot).count();
            }
            Command::Start { .. } | Command::Reload { .. } | Command::One { .. } => {}
        },
        Some(_) | None => {}
    }
    let died = |effect: &&Effect| match effect {
        Effect::Event(Event::Exited { run, expected: false, .. } | Event::Failing { run, .. }) => {
            step.before.run(*run).is_some_and(Run::is_online)
        }
        _ => false,
    };
    let deaths = step.effects.iter().filter(died).count();
    let (before, after) = (step.before.ready_slots() as usize, step.after.ready_slots() as usize);
    if after + deaths + removed >= before {
        return Ok(());
    }
    let most = step.after.policy(step.after.target()).max_unavailable as usize;
    ensure!(reloading && most > 0, "{before} ready workers became {after} by {deaths} deaths");
    let gone = |slot: &&Slot| match &slot.state {
        SlotState::Vacant(vacancy) | SlotState::Replacing { before: Before::Vacant(vacancy), .. } => {
            matches!(vacancy, Vacancy::Ended { .. } | Vacancy::GaveUp { .. } | Vacancy::Stopped | Vacancy::Removed)
        }
        SlotState::Replacing { .. } | SlotState::Filled { .. } => false,
    };
    let gone = step.after.slots().iter().filter(gone).count();
    let least = step.after.slots().len().saturating_sub(most + gone);
    ensure!(after >= least, "a reload left {after} ready workers of {least} that have to be");
    Ok(())
}

/// An operation that succeeded has made true what it promised.
pub(crate) fn results_are_true(step: &Step<'_>, of_one: bool) -> Check {
    for effect in step.effects {
        let Effect::Event(event) = effect else { continue };
        match event {
            Event::Started { .. } => {
                for (slot, id) in step.after.slots().iter().zip(0..) {
                    let policy = step.after.policy(slot.generation);
                    let good = match &slot.state {
                        SlotState::Filled { run } => step.after.run(*run).unwrap().is_online(),
                        SlotState::Vacant(Vacancy::Ended { death }) => ended_well(&policy, death),
                        SlotState::Replacing { why: Why::Unfit, .. }
                        | SlotState::Vacant(Vacancy::Scheduled | Vacancy::Stopped | Vacancy::Removed) => true,
                        SlotState::Vacant(_) | SlotState::Replacing { .. } => false,
                    };
                    ensure!(good, "the app is started, but slot {id} is not");
                }
            }
            Event::ReloadFinished { generation } => {
                ensure!(step.after.target() == *generation, "the reload to {generation} left another target");
                let numbered = step.after.slots().iter().zip(0..);
                for (slot, id) in numbered.filter(|(slot, _)| !slot.is_removed() && !of_one) {
                    ensure!(slot.generation == *generation, "the reload finished without slot {id}");
                }
            }
            Event::WentBack { from, generation } if from != generation => {
                let left = |slot: &&Slot| slot.generation == *from && !slot.is_removed();
                let left = step.after.slots().iter().filter(left).count();
                ensure!(left == 0, "the old version is back, but not in {left} slots");
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

/// Not more slots are replaced at a time than the target says; those that an earlier target let begin may go on.
pub(crate) fn surge_is_bounded(step: &Step<'_>) -> Check {
    let limit = step.after.policy(step.after.target()).max_surge as usize;
    // An unfit run is replaced without a gap also where a reload would leave one.
    for (of, limit) in [(&[Why::Reload][..], limit), (&[Why::Reload, Why::Unfit][..], limit.max(1))] {
        let (before, surge) = (surge(step.before, of), surge(step.after, of));
        ensure!(surge <= limit || surge <= before, "{surge} slots are replaced at a time, of {limit}");
    }
    Ok(())
}

fn surge(app: &App, of: &[Why]) -> usize {
    let replaced = |state: &SlotState| match state {
        SlotState::Replacing { before: Before::Online { .. }, why, .. } => of.contains(why),
        SlotState::Replacing { .. } | SlotState::Filled { .. } | SlotState::Vacant(_) => false,
    };
    app.slots().iter().filter(|slot| replaced(&slot.state)).count()
}

/// An unfit run serves until its successor does, and is not forgotten: it has a successor, a time for the next try, or
/// something to wait for.
pub(crate) fn unfit_runs_serve_and_are_replaced(step: &Step<'_>, reloading: bool) -> Check {
    let app = step.after;
    for (slot, id) in app.slots().iter().zip((0..).map(SlotId)) {
        let Some(Unfit { run, due, .. }) = &slot.unfit else { continue };
        let serves = app.run(*run).is_some_and(|run| run.is_online() && run.slot == id);
        ensure!(serves, "run {run} of slot {id} is unfit, and does not serve");
        let is_being_replaced = matches!(slot.state, SlotState::Replacing { .. });
        let blocks = |run: &Run| run.slot == id && matches!(run.state, RunState::Draining { blocks: true, .. });
        let waits = match due {
            Due::At(at) => app.next_deadline().is_some_and(|deadline| deadline <= *at),
            Due::Now => {
                is_being_replaced
                    || reloading
                    || surge(app, &[Why::Reload, Why::Unfit]) > 0
                    || app.runs().any(|(_, run)| blocks(run))
            }
            Due::Never => app.policy(slot.generation).max_restarts == 0,
        };
        ensure!(waits, "the unfit run {run} of slot {id} waits for nothing: {due:?}");
    }
    let Some(Input::Ready { .. }) = step.input else {
        // Only a successor that got ready lets anything drain, but for what users ask and what fails by itself.
        for (id, run) in step.before.runs().filter(|(_, run)| run.is_online()) {
            let drains = step.after.run(id).is_some_and(|run| run.is_draining() && !run.failing);
            let asked = matches!(step.input, Some(Input::Command { .. }));
            let taken_down = reloading && app.policy(app.target()).max_unavailable > 0;
            ensure!(!drains || asked || taken_down, "run {id} of slot {} drains, and nobody took its place", run.slot);
        }
        return Ok(());
    };
    Ok(())
}

/// The rules of every generation that is still needed are as the user gave them.
pub(crate) fn policies_are_kept(app: &App, given: &BTreeMap<Generation, Policy>) -> Check {
    let slots = app.slots().iter().filter(|slot| !slot.is_removed()).map(|slot| slot.generation);
    let needed = app.runs().map(|(_, run)| run.generation).chain(slots);
    for generation in needed.chain([app.target()]) {
        ensure!(app.generations_in_use().contains(&generation), "generation {generation} is needed, but not in use");
        ensure!(Some(&app.policy(generation)) == given.get(&generation), "the rules of {generation} are not as given");
    }
    Ok(())
}

/// A command takes effect at once on everything that it concerns.
pub(crate) fn commands_reach_everything(step: &Step<'_>) -> Check {
    let Some(Input::Command { op, command }) = step.input else { return Ok(()) };
    if refused(step.effects, *op) {
        return Ok(());
    }
    match command {
        Command::Stop | Command::Delete => {
            let told = |run: &Run| matches!(run.state, RunState::Draining { stage: Stage::Signal | Stage::Kill, .. });
            ensure!(step.after.runs().all(|(_, run)| told(run)), "a stop leaves a run as it was");
        }
        Command::Start { .. } | Command::Restart { .. } => {
            for ((slot, before), id) in step.after.slots().iter().zip(step.before.slots()).zip(0..) {
                let vacant = matches!(slot.state, SlotState::Vacant(_));
                let clearing = matches!(slot.state, SlotState::Vacant(Vacancy::Clearing { .. }));
                // A run may have missed its deadline at the same moment: then the state is at least another one.
                let unchanged = slot.state == before.state;
                // A job that is under way is not touched, and what waits for other apps may have waited before.
                let waits =
                    matches!(slot.state, SlotState::Vacant(Vacancy::Scheduled | Vacancy::Waiting | Vacancy::Removed));
                let job = step.after.policy(step.after.target()).job && matches!(command, Command::Start { .. });
                ensure!(
                    !vacant || clearing || waits || job || !unchanged,
                    "a start leaves slot {id} as it was: {:?}",
                    slot.state
                );
            }
        }
        Command::One { slot, action } => {
            let fills = step.after.runs().any(|(_, run)| run.slot == *slot && !run.is_draining());
            let told = |run: &Run| {
                matches!(run.state, RunState::Draining { stage: Stage::Signal | Stage::Kill, blocks: true, .. })
            };
            match action {
                SlotAction::Stop | SlotAction::Delete => ensure!(!fills, "slot {slot} is stopped and has a run"),
                SlotAction::Restart => {
                    let mut old = step.before.runs().filter(|(_, run)| run.slot == *slot);
                    let stopped = old.all(|(id, _)| step.after.run(id).is_none_or(told));
                    ensure!(stopped, "a restart of slot {slot} leaves a run as it was");
                }
                SlotAction::Start | SlotAction::Reload => {}
            }
        }
        Command::Reload { .. } | Command::Scale { .. } => {}
    }
    Ok(())
}

/// A new supervisor leaves starting runs their time, and listeners are closed only when nothing runs.
pub(crate) fn recovery_is_kind(step: &Step<'_>) -> Check {
    if step.effects.contains(&Effect::CloseListeners) {
        let rests = |slot: &Slot| {
            matches!(
                slot.state,
                SlotState::Vacant(
                    Vacancy::Stopped
                        | Vacancy::Removed
                        | Vacancy::Scheduled
                        | Vacancy::Ended { .. }
                        | Vacancy::GaveUp { .. }
                )
            )
        };
        let idle = step.after.runs().next().is_none() && step.after.slots().iter().all(rests);
        ensure!(idle, "the listeners of a running app are closed");
    }
    if step.input.is_some() {
        return Ok(());
    }
    for (id, run) in step.after.runs() {
        let RunState::Starting { deadline, .. } = run.state else { continue };
        let whole = step.after.policy(run.generation).ready_timeout;
        let least = step.now + whole.min(Duration::from_secs(1));
        ensure!(deadline >= least, "run {id} has until {deadline:?}, but may not have been heard");
        let before = match step.before.run(id).map(|run| run.state) {
            Some(RunState::Starting { deadline, .. }) => deadline,
            _ => step.now + whole,
        };
        ensure!(deadline <= before.max(least), "run {id} gets more time by a crash: {deadline:?}");
    }
    Ok(())
}
