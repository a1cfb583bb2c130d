//! Processes that do what processes do: die at any moment, never get ready, ignore signals, drain for ever. And a
//! calendar of what will happen. It knows nothing of decisions; it only refuses what no driver could be asked to do.

use std::collections::{BTreeMap, VecDeque};

use musher_core::lifecycle::{Command, ExitOutcome, Input, Observation, Policy, Stage};
use musher_core::spec::RestartPolicy;
use musher_core::{Generation, RunId, SlotId, Time};
use std::time::Duration;

use super::chance::Rng;

/// What can go wrong, each in a thousand cases. Every seed has its own mix.
pub(crate) struct Faults {
    pub(crate) early_exit: u64,
    pub(crate) spawn_fails: u64,
    pub(crate) never_ready: u64,
    pub(crate) late_ready: u64,
    pub(crate) ignores_signal: u64,
    pub(crate) drains_for_ever: u64,
    pub(crate) mortal: u64,
    pub(crate) kill_misses: u64,
    pub(crate) unfit: u64,
    pub(crate) failing: u64,
    pub(crate) crash: u64,
    /// Whether the app is a job, and whether it needs others.
    pub(crate) job: bool,
    pub(crate) waits: bool,
    pub(crate) lost_in_crash: u64,
    /// Generations of this remainder by 3 are broken: their processes die at once.
    pub(crate) broken: Option<u32>,
}

impl Faults {
    pub(crate) fn of(rng: &mut Rng) -> Faults {
        let mut some = |most: u64| if rng.permille(400) { rng.below(most) } else { 0 };
        Faults {
            early_exit: some(400),
            spawn_fails: some(200),
            never_ready: some(300),
            late_ready: some(300),
            ignores_signal: some(500),
            drains_for_ever: some(500),
            mortal: some(900),
            kill_misses: some(300),
            unfit: some(900),
            failing: some(500),
            crash: some(120),
            job: some(1000) > 750,
            waits: some(1000) > 600,
            lost_in_crash: some(1000),
            broken: Some(u32::try_from(some(3)).unwrap()).filter(|broken| *broken > 0),
        }
    }

    pub(crate) fn none() -> Faults {
        Faults {
            early_exit: 0,
            spawn_fails: 0,
            never_ready: 0,
            late_ready: 0,
            ignores_signal: 0,
            drains_for_ever: 0,
            mortal: 0,
            kill_misses: 0,
            unfit: 0,
            failing: 0,
            crash: 0,
            job: false,
            waits: false,
            lost_in_crash: 0,
            broken: None,
        }
    }
}

/// Rules as users may write them, the odd ones too.
fn any_policy(rng: &mut Rng) -> Policy {
    let ms = |rng: &mut Rng, from: &[u64]| Duration::from_millis(rng.pick(from));
    let mut policy = Policy {
        restart: rng.pick(&[
            RestartPolicy::Always,
            RestartPolicy::Always,
            RestartPolicy::Always,
            RestartPolicy::OnFailure,
            RestartPolicy::Never,
        ]),
        stop_exit_codes: if rng.permille(300) { vec![3] } else { vec![] },
        min_uptime: ms(rng, &[0, 50, 1000]),
        backoff_initial: ms(rng, &[0, 1, 100, 100]),
        backoff_factor_percent: u32::try_from(rng.pick(&[100, 150, 200])).unwrap(),
        backoff_max: ms(rng, &[50, 1000, 15_000]),
        backoff_jitter_percent: u32::try_from(rng.pick(&[0, 0, 20, 100])).unwrap(),
        max_restarts: u32::try_from(rng.pick(&[0, 1, 3, 10, 10])).unwrap(),
        window: ms(rng, &[0, 500, 10_000, 60_000]),
        ready_timeout: ms(rng, &[20, 300, 3000]),
        stop_signal: 15,
        grace: ms(rng, &[0, 100, 1000]),
        drain: ms(rng, &[0, 100, 2000]),
        uncaught: ms(rng, &[0, 100, 2000]),
        drains: rng.permille(500),
        max_surge: u32::try_from(1 + rng.below(3)).unwrap(),
        max_unavailable: 0,
        job: false,
        waits: false,
    };
    if rng.permille(300) {
        let (surge, unavailable) = rng.pick(&[(0, 1), (0, 3), (1, 1), (2, 1)]);
        (policy.max_surge, policy.max_unavailable) = (surge, unavailable);
    }
    policy
}

pub(crate) struct Process {
    pub(crate) slot: SlotId,
    pub(crate) outcome: Option<ExitOutcome>,
    /// Whether the driver told the app that it exists, and that it exited.
    pub(crate) known: bool,
    pub(crate) exit_seen: bool,
    /// Whether it may expect to be told before it is killed, even when a crash comes between.
    pub(crate) has_grace: bool,
    /// The last stage that it was told.
    pub(crate) told: Option<Stage>,
    /// Whether its slot need not wait for it: it was replaced or retired, not stopped.
    pub(crate) lingers: bool,
}

/// What will happen at some time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// The driver hears the answer to a spawn.
    Answer(Input),
    /// A process sends its proof of being ready.
    Ready(RunId),
    /// A process has drained.
    Drained(RunId),
    /// Somebody finds that the version on trial does worse.
    Worse,
    /// A process is found to be unfit.
    Unfit(RunId),
    /// A process reports an exception that nothing caught.
    Failing(RunId),
    /// A process ends; the driver sees it a little later.
    Exit(RunId, ExitOutcome),
    SeeExit(RunId),
    /// The time of a job comes; the apps that this one needs are there, or fail.
    Due,
    Released,
    HeldUp,
    /// A user types a command.
    Command(Command),
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) faults: Faults,
    pub(crate) processes: BTreeMap<RunId, Process>,
    calendar: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    /// What happened last, when somebody wants to read it.
    pub(crate) trace: Option<VecDeque<String>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let faults = Faults::of(&mut rng);
        World {
            now: Time(1_000_000),
            rng,
            faults,
            processes: BTreeMap::new(),
            calendar: BTreeMap::new(),
            sequence: 0,
            trace: None,
        }
    }

    /// Nothing fails any more, and the apps that this one needs are there.
    pub(crate) fn calm_down(&mut self) {
        let Faults { job, waits, .. } = self.faults;
        self.faults = Faults { job, waits, ..Faults::none() };
        for second in 0..60 {
            self.plan(second * 1000, Happening::Released);
        }
    }

    pub(crate) fn any_policy(&mut self) -> Policy {
        let Faults { job, waits, .. } = self.faults;
        Policy { job, waits, ..any_policy(&mut self.rng) }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() >= 2000 {
            trace.pop_front();
        }
        trace.push_back(format!("{:>9} {}", self.now.0, line()));
    }

    pub(crate) fn plan(&mut self, after_ms: u64, happening: Happening) {
        self.sequence += 1;
        self.calendar.insert((self.now + Duration::from_millis(after_ms), self.sequence), happening);
    }

    pub(crate) fn next_time(&self) -> Option<Time> {
        self.calendar.first_key_value().map(|((time, _), _)| *time)
    }

    /// What happens now, as the driver hears of it; nothing when it does not.
    pub(crate) fn happen(&mut self) -> Option<Input> {
        let entry = self.calendar.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        match entry.remove() {
            Happening::Answer(input) => {
                if let Input::Spawned { run } = &input
                    && let Some(process) = self.processes.get_mut(run)
                {
                    process.known = true;
                }
                Some(input)
            }
            Happening::Ready(run) => self.is_alive(run).then_some(Input::Ready { run }),
            Happening::Drained(run) => self.is_alive(run).then_some(Input::Drained { run }),
            Happening::Worse => Some(Input::CanaryWorse { reason: "more errors".into() }),
            Happening::Due => Some(Input::Due),
            Happening::Released => Some(Input::Released),
            Happening::HeldUp => Some(Input::HeldUp { reason: "db is stopped".into() }),
            Happening::Unfit(run) => {
                if self.is_alive(run) && self.rng.permille(700) {
                    // Whoever found it looks again.
                    let after = self.rng.below(500);
                    self.plan(after, Happening::Unfit(run));
                }
                self.is_alive(run).then(|| Input::Unfit { run, reason: "does not answer".into() })
            }
            Happening::Failing(run) => {
                if !self.rng.permille(self.faults.drains_for_ever) {
                    let after = self.rng.below(800);
                    self.plan(after, Happening::Exit(run, ExitOutcome::Code(1)));
                }
                self.is_alive(run).then_some(Input::Failing { run })
            }
            Happening::Exit(run, outcome) => {
                self.die(run, outcome);
                let delay = self.rng.below(5);
                self.plan(delay, Happening::SeeExit(run));
                None
            }
            Happening::SeeExit(run) => {
                let process = self.processes.get_mut(&run).filter(|process| !process.exit_seen)?;
                process.exit_seen = true;
                process.outcome.map(|outcome| Input::Exited { run, outcome })
            }
            Happening::Command(command) => {
                let op = musher_core::OpId(self.sequence);
                self.sequence += 1;
                Some(Input::Command { op, command })
            }
        }
    }

    pub(crate) fn spawn(
        &mut self,
        slot: SlotId,
        run: RunId,
        generation: Generation,
        policy: &Policy,
    ) -> Result<(), String> {
        if self.processes.contains_key(&run) {
            return Err(format!("run {run} is spawned twice"));
        }
        if self.rng.permille(self.faults.spawn_fails) {
            let answer = Input::SpawnFailed { run, reason: "no such file".into() };
            let delay = self.rng.below(3);
            self.plan(delay, Happening::Answer(answer));
            return Ok(());
        }
        let has_grace = !policy.grace.is_zero();
        let process =
            Process { slot, outcome: None, known: false, exit_seen: false, told: None, has_grace, lingers: false };
        self.processes.insert(run, process);
        let answer_after = self.rng.below(3);
        self.plan(answer_after, Happening::Answer(Input::Spawned { run }));
        let timeout = u64::try_from(policy.ready_timeout.as_millis()).unwrap();
        let ready_after = if self.rng.permille(self.faults.late_ready) {
            timeout + self.rng.below(timeout)
        } else {
            // After the answer to the spawn, before the timeout.
            3 + self.rng.below(timeout / 2)
        };
        if self.faults.broken == Some(generation.0 % 3) || self.rng.permille(self.faults.early_exit) {
            let (after, outcome) = (self.rng.below(ready_after + 2), self.any_outcome());
            self.plan(after, Happening::Exit(run, outcome));
        } else if self.rng.permille(self.faults.mortal) {
            let (after, outcome) = (ready_after + self.rng.below(2500), self.any_outcome());
            self.plan(after, Happening::Exit(run, outcome));
        }
        if self.rng.permille(self.faults.unfit) {
            let after = 3 + self.rng.below(ready_after + 2500);
            self.plan(after, Happening::Unfit(run));
        }
        if self.rng.permille(self.faults.failing) {
            let after = 3 + self.rng.below(ready_after + 2500);
            self.plan(after, Happening::Failing(run));
        }
        if !self.rng.permille(self.faults.never_ready) {
            self.plan(ready_after, Happening::Ready(run));
        }
        Ok(())
    }

    /// The driver acts on a process.
    pub(crate) fn tell(&mut self, run: RunId, stage: Stage) -> Result<(), String> {
        let Some(process) = self.processes.get_mut(&run) else {
            return Err(format!("{stage:?} for run {run}, which never existed"));
        };
        if process.exit_seen {
            return Err(format!("{stage:?} for run {run} after its exit was seen"));
        }
        if !process.known {
            return Err(format!("{stage:?} for run {run} before it was known to exist"));
        }
        if stage == Stage::Kill && process.has_grace && process.told < Some(Stage::Signal) {
            return Err(format!("run {run} is killed before it got its stop signal"));
        }
        process.told = process.told.max(Some(stage));
        let after = self.rng.below(80);
        match stage {
            Stage::Drain => {
                if !self.rng.permille(self.faults.drains_for_ever) {
                    self.plan(after * 10, Happening::Drained(run));
                }
            }
            Stage::Signal => {
                if !self.rng.permille(self.faults.ignores_signal) {
                    let outcome = self.rng.pick(&[ExitOutcome::Code(0), signal(15), ExitOutcome::Code(1)]);
                    self.plan(after, Happening::Exit(run, outcome));
                }
            }
            Stage::Kill => {
                if !self.rng.permille(self.faults.kill_misses) {
                    self.plan(after / 10, Happening::Exit(run, signal(9)));
                }
            }
        }
        Ok(())
    }

    /// The supervisor is away for a while: processes live and die, answers to it are lost, messages may be.
    pub(crate) fn pass_without_driver(&mut self, downtime_ms: u64) {
        let until = self.now + Duration::from_millis(downtime_ms);
        self.calendar.retain(|_, happening| match happening {
            Happening::Answer(_) | Happening::SeeExit(_) => false,
            Happening::Ready(_)
            | Happening::Drained(_)
            | Happening::Unfit(_)
            | Happening::Failing(_)
            | Happening::Worse
            | Happening::Due
            | Happening::Released
            | Happening::HeldUp
            | Happening::Exit(..)
            | Happening::Command(_) => true,
        });
        let mut kept = Vec::new();
        while let Some(entry) = self.calendar.first_entry().filter(|entry| entry.key().0 <= until) {
            match entry.remove() {
                Happening::Exit(run, outcome) => self.die(run, outcome),
                message @ (Happening::Ready(_)
                | Happening::Drained(_)
                | Happening::Unfit(_)
                | Happening::Failing(_)
                | Happening::Due
                | Happening::Released
                | Happening::HeldUp
                | Happening::Worse) => {
                    if !self.rng.permille(self.faults.lost_in_crash) {
                        kept.push(message);
                    }
                }
                command @ Happening::Command(_) => kept.push(command),
                Happening::Answer(_) | Happening::SeeExit(_) => {}
            }
        }
        self.now = until;
        for happening in kept {
            self.plan(1, happening);
        }
    }

    /// What a new supervisor finds out about these runs.
    pub(crate) fn observe(&mut self, runs: &[RunId]) -> BTreeMap<RunId, Observation> {
        let mut seen = BTreeMap::new();
        for run in runs {
            let lost = self.rng.permille(self.faults.lost_in_crash / 2);
            let Some(process) = self.processes.get_mut(run) else { continue };
            match process.outcome {
                None => {
                    process.known = true;
                    seen.insert(*run, Observation::Alive);
                }
                Some(outcome) => {
                    process.exit_seen = true;
                    if !lost {
                        seen.insert(*run, Observation::Exited(outcome));
                    }
                }
            }
        }
        seen
    }

    pub(crate) fn is_alive(&self, run: RunId) -> bool {
        self.processes.get(&run).is_some_and(|process| process.outcome.is_none())
    }

    fn die(&mut self, run: RunId, outcome: ExitOutcome) {
        if let Some(process) = self.processes.get_mut(&run)
            && process.outcome.is_none()
        {
            process.outcome = Some(outcome);
            self.note(|| format!("    run {run} ends with {outcome}"));
        }
    }

    fn any_outcome(&mut self) -> ExitOutcome {
        self.rng.pick(&[
            ExitOutcome::Code(0),
            ExitOutcome::Code(1),
            ExitOutcome::Code(1),
            ExitOutcome::Code(3),
            signal(9),
            signal(11),
            ExitOutcome::Unknown,
        ])
    }
}

fn signal(signal: i32) -> ExitOutcome {
    ExitOutcome::Signal { signal, core_dumped: signal == 11 }
}
