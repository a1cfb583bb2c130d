//! The small language that the cases speak. Only this file knows how the state machine is called.

use std::collections::BTreeMap;
use std::time::Duration;

use musher_core::lifecycle::{
    App, Command, Effect, Event, ExitOutcome, Input, Observation, OpError, Policy, Slot, SlotState, Target, Vacancy,
};
use musher_core::{AppId, Generation, OpId, RunId, SlotId, Time};

/// An app and what was asked of the driver since the last look.
pub(crate) struct Team {
    pub(crate) app: App,
    pub(crate) now: Time,
    effects: Vec<Effect>,
    ops: u64,
}

/// Rules without chance, so that times can be told.
pub(crate) fn rules() -> Policy {
    Policy { backoff_jitter_percent: 0, ..Policy::default() }
}

pub(crate) fn target(generation: u32, policy: Policy) -> Option<Target> {
    Some(Target { generation: Generation(generation), policy })
}

/// A reload without a trial.
pub(crate) fn reload_to(target: Option<Target>) -> Command {
    Command::Reload { target, canary: None }
}

impl Team {
    /// A stopped team.
    pub(crate) fn new(slots: u32, policy: Policy) -> Team {
        let app = App::new(AppId(0), slots, Target { generation: Generation(1), policy });
        Team { app, now: Time(1_000_000), effects: Vec::new(), ops: 0 }
    }

    /// A team whose slots are all online.
    pub(crate) fn online(slots: u32, policy: Policy) -> Team {
        let mut team = Team::new(slots, policy);
        let start = team.command(Command::Start { target: None });
        for slot in 0..slots {
            team.ready(slot);
        }
        assert_eq!(team.result(start), Some(Ok(())));
        team.effects.clear();
        team.app.carried_out();
        team
    }

    /// Gives a command; spawns are answered at once.
    pub(crate) fn command(&mut self, command: Command) -> OpId {
        self.ops += 1;
        let op = OpId(self.ops);
        self.input(Input::Command { op, command });
        op
    }

    /// The newest run of the slot proves ready.
    pub(crate) fn ready(&mut self, slot: u32) {
        let run = self.newest(slot);
        self.input(Input::Ready { run });
    }

    /// The newest run of the slot ends.
    pub(crate) fn exits(&mut self, slot: u32, outcome: ExitOutcome) {
        let run = self.newest(slot);
        self.input(Input::Exited { run, outcome });
    }

    /// This run ends.
    pub(crate) fn run_exits(&mut self, run: RunId, outcome: ExitOutcome) {
        self.input(Input::Exited { run, outcome });
    }

    /// The run that serves as the slot is found to be unfit.
    pub(crate) fn unfit(&mut self, slot: u32, reason: &str) {
        let run = self.app.occupant(SlotId(slot)).map(|(id, _)| id).expect("the slot has a run");
        self.input(Input::Unfit { run, reason: reason.into() });
    }

    pub(crate) fn drained(&mut self, run: RunId) {
        self.input(Input::Drained { run });
    }

    /// Time passes; every deadline in between is kept to the millisecond.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(deadline) = self.app.next_deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
        }
        self.now = until;
    }

    /// A new supervisor takes over from the written state.
    pub(crate) fn crash_and_recover(&mut self, seen: &[(RunId, Observation)]) {
        let written = serde_json::to_string(&self.app).unwrap();
        self.app = serde_json::from_str(&written).unwrap();
        self.effects.clear();
        let seen: BTreeMap<RunId, Observation> = seen.iter().copied().collect();
        self.app.recover(self.now, &mut || 0, &seen, &mut self.effects);
    }

    pub(crate) fn input(&mut self, input: Input) {
        let first = self.effects.len();
        self.app.step(self.now, &mut || 0, input, &mut self.effects);
        let spawned: Vec<RunId> = self.effects[first..].iter().filter_map(spawned).collect();
        for run in spawned {
            self.app.step(self.now, &mut || 0, Input::Spawned { run }, &mut self.effects);
        }
    }

    /// An input after which the driver dies: nothing is carried out.
    pub(crate) fn input_and_crash(&mut self, input: Input) {
        self.app.step(self.now, &mut || 0, input, &mut self.effects);
    }

    /// The newest run that fills the slot.
    pub(crate) fn newest(&self, slot: u32) -> RunId {
        let of_slot = self.app.runs().filter(|(_, run)| run.slot == SlotId(slot) && !run.is_draining());
        of_slot.map(|(id, _)| id).last().expect("the slot has a run")
    }

    pub(crate) fn slot(&self, slot: u32) -> &Slot {
        &self.app.slots()[slot as usize]
    }

    pub(crate) fn vacancy(&self, slot: u32) -> &Vacancy {
        match &self.slot(slot).state {
            SlotState::Vacant(vacancy) => vacancy,
            other => panic!("slot {slot} is not vacant: {other:?}"),
        }
    }

    pub(crate) fn result(&self, op: OpId) -> Option<Result<(), OpError>> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Finished { op: other, result } if *other == op => Some(result.clone()),
            _ => None,
        })
    }

    /// What the driver was asked since the last look, in few words; events are left out.
    pub(crate) fn asked(&mut self) -> Vec<String> {
        let words = |effect: Effect| match effect {
            Effect::Spawn { slot, run, generation } => Some(format!("spawn {run} in {slot} as {generation}")),
            Effect::Drain { run } => Some(format!("drain {run}")),
            Effect::Signal { run, signal } => Some(format!("signal {run} with {signal}")),
            Effect::Kill { run } => Some(format!("kill {run}")),
            Effect::RetireSlot { slot } => Some(format!("retire {slot}")),
            Effect::CloseListeners => Some("close".into()),
            Effect::Finished { op, result: Ok(()) } => Some(format!("{op} ok")),
            Effect::Finished { op, result: Err(error) } => Some(format!("{op} failed: {error}")),
            Effect::Event(_) => None,
        };
        std::mem::take(&mut self.effects).into_iter().filter_map(words).collect()
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        let event = |effect| match effect {
            Effect::Event(event) => Some(event),
            _ => None,
        };
        std::mem::take(&mut self.effects).into_iter().filter_map(event).collect()
    }

    pub(crate) fn runs(&self) -> Vec<u64> {
        self.app.runs().map(|(id, _)| id.0).collect()
    }
}

fn spawned(effect: &Effect) -> Option<RunId> {
    match effect {
        Effect::Spawn { run, .. } => Some(*run),
        _ => None,
    }
}
