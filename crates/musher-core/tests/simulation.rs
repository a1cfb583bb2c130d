//! Thousands of small worlds, each from a seed: processes that misbehave, users that type anything at any moment, a
//! supervisor that crashes between any two effects. After every step the oracle checks what has to be true.
//!
//! A failing seed is printed with the command that replays it with a trace:
//! `MUSHER_SIM_SEED=<seed> cargo nextest run -p musher-core --test simulation --no-capture`.

#![expect(clippy::unwrap_used, reason = "a test may fail in this way too")]

#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/world.rs"]
mod world;

use std::collections::VecDeque;
use std::time::Duration;

use musher_core::lifecycle::{
    App, Canary, Command, Effect, Event, Input, Run, RunState, SlotAction, SlotState, Stage, Target, Vacancy, Why,
};
use musher_core::{AppId, Generation, OpId, RunId, SlotId};

use oracle::{Oracle, Step};
use tally::Tally;
use world::{Happening, World};

/// How many worlds; `MUSHER_SIM_SEEDS` asks for more.
const SEEDS: u64 = 2000;
const STEPS: usize = 250;

/// One driver with one app in one world.
struct Simulation {
    world: World,
    app: App,
    /// What a new supervisor would find.
    written: App,
    oracle: Oracle,
    generation: Generation,
    /// Steps without any time passing.
    standstill: u32,
}

enum Outcome {
    Done,
    Crashed,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut world = World::new(seed);
        let slots = u32::try_from(1 + world.rng.below(5)).unwrap();
        let generation = Generation(1);
        let policy = world.any_policy();
        let app = App::new(AppId(1), slots, Target { generation, policy });
        let mut at = 0;
        world.plan(0, Happening::Command(Command::Start { target: None }));
        while at < 20_000 {
            at += world.rng.below(2500);
            // A placeholder: which one it is, is decided when it comes.
            world.plan(at, Happening::Command(Command::Stop));
            let after = world.rng.below(2500);
            let news = match world.rng.below(5) {
                0 | 1 => Happening::Due,
                2 | 3 => Happening::Released,
                _ => Happening::HeldUp,
            };
            world.plan(at + after, news);
        }
        let oracle = Oracle::new(&app);
        Simulation { world, written: app.clone(), app, oracle, generation, standstill: 0 }
    }

    fn any_command(&mut self) -> Command {
        let mut target = None;
        if self.world.rng.permille(600) {
            self.generation = self.generation.next();
            target = Some(Target { generation: self.generation, policy: self.world.any_policy() });
        }
        let rng = &mut self.world.rng;
        match rng.below(100) {
            0..16 => Command::Start { target: target.filter(|_| rng.permille(300)) },
            16..24 => Command::Stop,
            24..36 => Command::Restart { target },
            36..60 => {
                let slots = u32::try_from(rng.below(4)).unwrap();
                let wait = Duration::from_millis(rng.pick(&[0, 300, 4000]));
                if rng.permille(300) {
                    let after = rng.below(6000);
                    self.world.plan(after, Happening::Worse);
                }
                Command::Reload { target, canary: (slots > 0).then_some(Canary { slots, wait }) }
            }
            60..85 => {
                let slot = SlotId(u32::try_from(rng.below(6)).unwrap());
                let actions = [
                    SlotAction::Start,
                    SlotAction::Stop,
                    SlotAction::Stop,
                    SlotAction::Restart,
                    SlotAction::Reload,
                    SlotAction::Delete,
                ];
                Command::One { slot, action: rng.pick(&actions) }
            }
            85..99 => Command::Scale { to: u32::try_from(rng.below(8)).unwrap() },
            _ => Command::Delete,
        }
    }

    /// Lets the next thing happen.
    fn turn(&mut self) -> Result<(), String> {
        let deadline = self.app.next_deadline();
        let happening = self.world.next_time();
        let Some(next) = [deadline, happening].into_iter().flatten().min() else { return Ok(()) };
        if next > self.world.now {
            self.world.now = next;
            self.standstill = 0;
        }
        self.standstill += 1;
        if self.standstill > 500 {
            return Err("time stands still".into());
        }
        let mut input = if happening == Some(next) { self.world.happen() } else { Some(Input::Tick) };
        if let Some(Input::Command { command, .. }) = &mut input
            && *command == Command::Stop
        {
            *command = self.any_command();
        }
        match input {
            Some(input) => self.deliver(&input),
            None => Ok(()),
        }
    }

    fn deliver(&mut self, input: &Input) -> Result<(), String> {
        let before = self.app.clone();
        let mut effects = Vec::new();
        let mut chance = || u32::try_from(self.world.rng.next() >> 32).unwrap();
        self.app.step(self.world.now, &mut chance, input.clone(), &mut effects);
        self.world.note(|| format!("{input:?}"));
        if self.world.rng.permille(self.world.faults.crash / 4) {
            self.world.note(|| "    crash before anything was written".into());
            return self.crash();
        }
        self.written = self.app.clone();
        let step =
            Step { before: &before, input: Some(input), effects: &effects, after: &self.app, now: self.world.now };
        self.oracle.check(&step)?;
        self.follow_processes(&before, Some(input), &effects)?;
        match self.carry_out(&effects, false)? {
            Outcome::Done => Ok(()),
            Outcome::Crashed => self.crash(),
        }
    }

    fn crash(&mut self) -> Result<(), String> {
        loop {
            self.oracle.tally.crashes += 1;
            let downtime = self.world.rng.below(600);
            self.world.pass_without_driver(downtime);
            self.world.note(|| "    a new supervisor".into());
            let written = serde_json::to_string(&self.written).map_err(|error| error.to_string())?;
            self.app = serde_json::from_str(&written).map_err(|error| error.to_string())?;
            if self.app != self.written {
                return Err("the state is not what was written".into());
            }
            let before = self.app.clone();
            let runs: Vec<RunId> = self.app.runs().map(|(run, _)| run).collect();
            let seen = self.world.observe(&runs);
            let mut effects = Vec::new();
            let mut chance = || u32::try_from(self.world.rng.next() >> 32).unwrap();
            self.app.recover(self.world.now, &mut chance, &seen, &mut effects);
            self.written = self.app.clone();
            let step = Step { before: &before, input: None, effects: &effects, after: &self.app, now: self.world.now };
            self.oracle.check(&step)?;
            self.follow_processes(&before, None, &effects)?;
            match self.carry_out(&effects, true)? {
                Outcome::Done => return Ok(()),
                Outcome::Crashed => {}
            }
        }
    }

    /// The driver's hands. A crash may come before each effect.
    fn carry_out(&mut self, effects: &[Effect], recovering: bool) -> Result<Outcome, String> {
        for effect in effects {
            if self.world.rng.permille(self.world.faults.crash) {
                self.world.note(|| format!("    crash before {effect:?}"));
                return Ok(Outcome::Crashed);
            }
            self.world.note(|| format!("    {effect:?}"));
            match effect {
                Effect::Spawn { slot, run, generation } => {
                    self.slot_is_clear(*run)?;
                    self.world.spawn(*slot, *run, *generation, &self.app.policy(*generation))?;
                }
                Effect::Drain { run } => self.world.tell(*run, Stage::Drain)?,
                Effect::Signal { run, .. } => self.world.tell(*run, Stage::Signal)?,
                Effect::Kill { run } => self.world.tell(*run, Stage::Kill)?,
                Effect::Finished { op, result } => self.oracle.finished(*op, result, recovering)?,
                Effect::RetireSlot { .. } | Effect::CloseListeners | Effect::Event(_) => {}
            }
        }
        self.app.carried_out();
        Ok(Outcome::Done)
    }

    /// Notes which processes need not be waited for, those that were replaced or retired in this step, and sees that
    /// nothing is said of processes that never were.
    fn follow_processes(&mut self, before: &App, input: Option<&Input>, effects: &[Effect]) -> Result<(), String> {
        for effect in effects {
            if let Effect::Event(Event::Exited { run, .. }) = effect
                && !self.world.processes.contains_key(run)
            {
                return Err(format!("run {run} is said to have exited, but never existed"));
            }
        }
        let leaves_gently = match input {
            Some(Input::Ready { .. } | Input::Command { command: Command::Scale { .. } | Command::One { .. }, .. }) => {
                true
            }
            Some(_) | None => false,
        };
        let fails = |id: RunId| matches!(input, Some(Input::Failing { run }) if *run == id);
        let stops_all = match input {
            Some(Input::Command {
                command: Command::Stop | Command::Delete | Command::Restart { .. } | Command::One { .. },
                ..
            }) => true,
            Some(_) | None => false,
        };
        for (id, run) in self.app.runs().filter(|(_, run)| run.is_draining()) {
            let Some(process) = self.world.processes.get_mut(&id) else { continue };
            if before.run(id).is_some_and(|before| !before.is_draining()) {
                let blocks = matches!(run.state, RunState::Draining { blocks: true, .. });
                process.lingers = !blocks && (leaves_gently || fails(id));
            } else if stops_all && matches!(run.state, RunState::Draining { blocks: true, .. }) {
                process.lingers = false;
            }
            let drained = |run: &Run| matches!(run.state, RunState::Draining { stage: Stage::Drain, .. });
            if before.run(id).is_some_and(drained)
                && !drained(run)
                && process.told.is_none()
                && !effects.contains(&Effect::Drain { run: id })
            {
                return Err(format!("run {id} is stopped, but was never told to drain"));
            }
        }
        Ok(())
    }

    /// A run may only start beside one that serves and is to be replaced, or that lingers.
    fn slot_is_clear(&self, run: RunId) -> Result<(), String> {
        let Some(run) = self.app.run(run) else { return Err(format!("run {run} is spawned, but not in the app")) };
        let occupant = self.app.occupant(run.slot).map(|(id, _)| id);
        for (id, process) in &self.world.processes {
            if process.slot == run.slot && !process.exit_seen && !process.lingers && occupant != Some(*id) {
                return Err(format!("a run starts in slot {} while run {id} is being stopped there", run.slot));
            }
        }
        Ok(())
    }

    /// Nothing fails any more: every operation finishes, every slot gets where it is to be, and a stop ends.
    fn calm_down(&mut self) -> Result<(), String> {
        self.world.calm_down();
        let until = self.world.now + Duration::from_secs(90);
        self.run_until(until)?;
        let open = self.oracle.unfinished();
        if !open.is_empty() {
            return Err(format!("never finished: {open:?}"));
        }
        if self.app.is_wanted() {
            for (slot, id) in self.app.slots().iter().zip(0..) {
                let settled = match &slot.state {
                    SlotState::Replacing { why: Why::Unfit, .. } => true,
                    SlotState::Filled { run } => self.app.run(*run).is_some_and(|run| run.is_online()),
                    SlotState::Vacant(Vacancy::Ended { .. } | Vacancy::GaveUp { .. } | Vacancy::Scheduled) => true,
                    // The oracle knows where that is as it was asked.
                    SlotState::Vacant(Vacancy::Stopped | Vacancy::Removed) => true,
                    SlotState::Vacant(_) | SlotState::Replacing { .. } => false,
                };
                if !settled {
                    return Err(format!("slot {id} never settles: {:?}", slot.state));
                }
            }
        }
        if let Some((id, _)) = self.app.runs().find(|(_, run)| run.failing) {
            return Err(format!("run {id} reported an uncaught exception and never ends"));
        }
        let op = OpId(u64::MAX);
        let deleted = self.app.is_deleted();
        let command = if self.world.rng.permille(500) { Command::Stop } else { Command::Delete };
        self.deliver(&Input::Command { op, command: command.clone() })?;
        // The longest grace, a kill that is repeated, and the time until exits are seen.
        self.run_until(self.world.now + Duration::from_millis(2300))?;
        if !self.oracle.is_finished(op) || self.app.runs().next().is_some() {
            return Err("the last stop does not end".into());
        }
        if let Some((run, _)) = self.world.processes.iter().find(|(_, process)| process.outcome.is_none()) {
            return Err(format!("run {run} is alive after everything was stopped"));
        }
        if (command == Command::Delete || deleted) != self.app.is_deleted() {
            return Err("the app is not deleted as asked".into());
        }
        Ok(())
    }

    fn run_until(&mut self, until: musher_core::Time) -> Result<(), String> {
        while let Some(next) = [self.app.next_deadline(), self.world.next_time()].into_iter().flatten().min() {
            if next > until {
                break;
            }
            self.turn()?;
        }
        self.world.now = self.world.now.max(until);
        Ok(())
    }
}

/// Lives through one world.
#[expect(clippy::print_stdout, reason = "the trace is what somebody asked for")]
fn live(seed: u64, with_trace: bool) -> Result<Tally, String> {
    let mut simulation = Simulation::new(seed);
    simulation.world.trace = with_trace.then(VecDeque::new);
    let lived = (0..STEPS).try_for_each(|_| simulation.turn()).and_then(|()| simulation.calm_down());
    for line in simulation.world.trace.iter().flatten() {
        println!("{line}");
    }
    lived.map(|()| simulation.oracle.tally)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the seeds are a setting of the test run")]
fn every_world_is_lived_through() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let replayed = number("MUSHER_SIM_SEED");
    let seeds = replayed.map_or(0..number("MUSHER_SIM_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let mut total = Tally::default();
    for seed in seeds {
        let replay = format!("MUSHER_SIM_SEED={seed} cargo nextest run -p musher-core --test simulation --no-capture");
        match std::panic::catch_unwind(|| live(seed, replayed.is_some())) {
            Ok(Ok(tally)) => total.add(&tally),
            Ok(Err(fault)) => panic!("{fault}\nreplay: {replay}"),
            Err(_) => panic!("a panic in the decisions\nreplay: {replay}"),
        }
    }
    println!("{total:?}");
}
