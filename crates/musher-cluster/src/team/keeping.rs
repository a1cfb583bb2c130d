//! A team that is kept up: the decisions of [`lifecycle::App`], carried out with this primary's workers.
//!
//! The state machine is the daemon's. What it says is done at once: nothing survives this process, so nothing has to be
//! written before.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use musher_core::Time;
use musher_core::compare::Bounds;
use musher_core::ids::{Generation, OpId, RunId, SlotId};
use musher_core::lifecycle::{self, App, Command, Effect, ExitOutcome, Input, OpError, Policy, Target};
use musher_core::spec::{Canary, MAX_INSTANCES};
use musher_process::ExitStatus;
use tokio::sync::oneshot;

use super::event::Event;
use super::plan::{Plan, ReadyOn, TeamError};
use super::settings::Settings;
use super::table::{APP, Proof, State};
use super::vitals::Vitals;
use super::{Primary, Shared, leftovers, now};

/// How long idle connections of a Node worker that drains are kept, as in the daemon.
const KEEP_ALIVE_GRACE: Duration = Duration::from_secs(1);

/// A team that a [`Primary`] keeps up: made by [`Primary::keep`].
///
/// Copies mean the same team. When the last copy, of this and of its [`Primary`], is dropped, the workers end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Plan, ReadyOn, Settings, setup_primary};
/// // A worker that says that it is ready, and ends when it is told anything.
/// let worker = Settings::program("sh").args(["-c", "echo '\"ready\"' >&3; read line <&3"]);
/// let team = setup_primary(worker)?.keep(Plan::new(2).ready(ReadyOn::Message)).await?;
/// assert_eq!(team.ready(), (2, 2));
/// team.reload(None).await?;    // two others, without a moment in which there were fewer
/// team.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Team {
    primary: Primary,
}

/// What is kept, and its decisions.
pub(super) struct Kept {
    pub(super) app: App,
    programs: BTreeMap<Generation, Arc<Settings>>,
    policy: Policy,
    ready: ReadyOn,
    preload: bool,
    pub(super) vitals: Vitals,
    last_op: u64,
    waiting: HashMap<OpId, oneshot::Sender<Result<(), OpError>>>,
}

/// See [`Primary::keep`].
pub(super) async fn keep(primary: &Primary, plan: Plan) -> Result<Team, TeamError> {
    let slots = plan.slots();
    if slots > MAX_INSTANCES {
        return Err(OpError::OutOfRange { to: slots }.into());
    }
    {
        let settings = primary.settings();
        let mut state = primary.shared.table.lock();
        if state.kept.is_some() {
            return Err(TeamError::Taken);
        }
        let generation = Generation(1);
        let target = Target { generation, policy: policy_for(&plan.policy, plan.preload, &settings) };
        state.kept = Some(Kept {
            app: App::new(APP, slots, target),
            programs: BTreeMap::from([(generation, settings)]),
            policy: plan.policy,
            ready: plan.ready,
            preload: plan.preload,
            vitals: Vitals::of(plan.limits),
            last_op: 0,
            waiting: HashMap::new(),
        });
    }
    let team = Team { primary: primary.clone() };
    match team.command(|_| Command::Start { target: None }).await {
        Ok(()) => {
            crate::serving::notify("READY=1");
            Ok(team)
        }
        Err(error) => {
            // What failed to start is not left running.
            let _ = team.stop().await;
            Err(error)
        }
    }
}

impl Team {
    /// Replaces every worker by a new one, `max_surge` at a time, each old one only when its successor is ready: nobody is
    /// refused. With other settings the new workers are of those. A version that does not become ready leaves the
    /// old workers serving, and is the error.
    ///
    /// # Errors
    ///
    /// A new worker did not become ready, or another operation is under way.
    ///
    /// ```no_run
    /// # async fn example(team: musher_cluster::Team) -> Result<(), musher_cluster::TeamError> {
    /// use musher_cluster::Settings;
    /// team.reload(None).await?;                                       // the same program, which may be a new file
    /// team.reload(Some(Settings::node("server-2.js"))).await?;        // another one
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reload(&self, settings: Option<Settings>) -> Result<(), TeamError> {
        self.replace(settings, None, |target| Command::Reload { target, canary: None }).await
    }

    /// The same beginning with a trial: `canary.slots` workers are replaced first and watched for `canary.wait`. When one
    /// of them dies, or exceeds a limit, or (Node workers with the [preload](Plan::preload)) answers worse than the old
    /// ones by `canary.max_errors_permille` and `canary.max_latency_percent`, the old version comes back, and that is
    /// the error.
    ///
    /// # Errors
    ///
    /// As for [`reload`](Team::reload), or the trial failed.
    ///
    /// ```no_run
    /// # async fn example(team: musher_cluster::Team) -> Result<(), musher_cluster::TeamError> {
    /// use musher_cluster::{Canary, Settings};
    /// let canary = Canary { slots: 1, wait: std::time::Duration::from_secs(60), ..Canary::default() };
    /// team.reload_on_trial(Some(Settings::node("server-2.js")), canary).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reload_on_trial(&self, settings: Option<Settings>, canary: Canary) -> Result<(), TeamError> {
        let trial = lifecycle::Canary { slots: canary.slots, wait: canary.wait };
        let command = |target| Command::Reload { target, canary: Some(trial) };
        self.replace(settings, Some(canary.bounds()), command).await
    }

    /// Stops every worker, each slot for itself, and starts it again.
    ///
    /// # Errors
    ///
    /// A worker did not become ready, or another operation took the place of this one.
    ///
    /// Unlike [`reload`](Team::reload) it has moments with fewer workers, with one worker a gap; it is for programs of which two
    /// must not run at a time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Plan, ReadyOn, Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo '\"ready\"' >&3; read line <&3"]))?;
    /// let team = cluster.keep(Plan::new(1).ready(ReadyOn::Message)).await?;
    /// team.restart(None).await?;
    /// assert_eq!(cluster.workers().into_keys().collect::<Vec<_>>(), [2]);
    /// team.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn restart(&self, settings: Option<Settings>) -> Result<(), TeamError> {
        self.replace(settings, None, |target| Command::Restart { target }).await
    }

    async fn replace(
        &self,
        settings: Option<Settings>,
        bounds: Option<Bounds>,
        command: impl FnOnce(Option<Target>) -> Command,
    ) -> Result<(), TeamError> {
        let settings = settings.map(Settings::complete).transpose()?;
        self.command(|kept| {
            kept.vitals.bounds = bounds.or(kept.vitals.bounds);
            let target = settings.map(|settings| {
                let policy = policy_for(&kept.policy, kept.preload, &settings);
                let generation = kept.programs.keys().next_back().copied().unwrap_or_default().next();
                kept.programs.insert(generation, Arc::new(settings));
                Target { generation, policy }
            });
            command(target)
        })
        .await
    }

    /// Changes the number of workers: added ones are ready, removed ones have finished what they had when it completes.
    ///
    /// # Errors
    ///
    /// An added worker did not become ready, or the number is not possible.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Plan, ReadyOn, Settings, setup_primary};
    /// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo '\"ready\"' >&3; read line <&3"]))?;
    /// let team = cluster.keep(Plan::new(1).ready(ReadyOn::Message)).await?;
    /// team.scale(3).await?;
    /// assert_eq!(team.ready(), (3, 3));
    /// team.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn scale(&self, instances: u32) -> Result<(), TeamError> {
        self.command(|_| Command::Scale { to: instances }).await
    }

    /// Ends the team: every worker finishes what it has (`policy.drain`), gets the stop signal, and is killed after
    /// `policy.grace`. Completes when all are gone.
    ///
    /// # Errors
    ///
    /// It was stopped before.
    ///
    /// The [`Primary`] may keep another team then. See the example of [`Primary::keep`].
    pub async fn stop(&self) -> Result<(), TeamError> {
        self.operate(|kept, op, effects| kept.app.leave(now(), &mut chance, op, effects)).await
    }

    /// Keeps the team up until this process gets SIGTERM or SIGINT, then ends it as [`stop`](Team::stop) does. SIGHUP reloads
    /// it. Also completes when every worker was given up or has ended well.
    ///
    /// # Errors
    ///
    /// Signals cannot be received.
    ///
    /// ```no_run
    /// # async fn example(cluster: musher_cluster::Primary) -> Result<(), musher_cluster::TeamError> {
    /// let team = cluster.keep(musher_cluster::Plan::new(0)).await?;   // one worker on each core
    /// team.run().await
    /// # }
    /// ```
    pub async fn run(&self) -> Result<(), TeamError> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let mut draining = crate::serving::draining();
        let mut events = self.primary.events();
        loop {
            tokio::select! {
                () = &mut draining => break,
                Some(()) = hangup.recv() => {
                    let team = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = team.reload(None).await {
                            tracing::error!(%error, "the reload failed; the old workers serve on");
                        }
                    });
                }
                event = events.next() => match event {
                    None => return Err(TeamError::Gone),
                    Some(Event::Exit { .. } | Event::Team(_) | Event::Missed(_)) if self.is_at_rest() => return Ok(()),
                    Some(_) => {}
                }
            }
        }
        self.stop().await
    }

    /// How many workers are ready, and how many there are to be.
    ///
    /// See the example of [`scale`](Team::scale).
    pub fn ready(&self) -> (u32, u32) {
        let state = self.primary.shared.table.lock();
        let Some(kept) = &state.kept else { return (0, 0) };
        (kept.app.ready_slots(), kept.app.size())
    }

    /// The primary that keeps it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_cluster::{Plan, ReadyOn, Settings, setup_primary};
    /// let settings = Settings::program("sh").args(["-c", "echo '\"ready\"' >&3; read line <&3"]);
    /// let team = setup_primary(settings)?.keep(Plan::new(2).ready(ReadyOn::Message)).await?;
    /// assert_eq!(team.primary().broadcast("hello"), 2);
    /// team.stop().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn primary(&self) -> &Primary {
        &self.primary
    }

    /// Nothing runs, and nothing will by itself.
    fn is_at_rest(&self) -> bool {
        use musher_core::lifecycle::{SlotState, Vacancy};
        let state = self.primary.shared.table.lock();
        let Some(kept) = &state.kept else { return true };
        let rests = |slot: &SlotState| {
            matches!(slot, SlotState::Vacant(Vacancy::Stopped | Vacancy::Ended { .. } | Vacancy::GaveUp { .. }))
        };
        kept.app.runs().next().is_none() && kept.app.slots().iter().all(|slot| rests(&slot.state))
    }

    async fn command(&self, command: impl FnOnce(&mut Kept) -> Command) -> Result<(), TeamError> {
        self.operate(|kept, op, effects| {
            let command = command(kept);
            kept.app.step(now(), &mut chance, Input::Command { op, command }, effects);
        })
        .await
    }

    /// Begins an operation and waits for its end.
    async fn operate(&self, act: impl FnOnce(&mut Kept, OpId, &mut Vec<Effect>)) -> Result<(), TeamError> {
        let shared = &self.primary.shared;
        let answer = shared.table.lock().operate(shared, act).ok_or(TeamError::Operation(OpError::Deleted))?;
        shared.wake.notify_one();
        Ok(answer.await.map_err(|_| TeamError::Gone)??)
    }
}

impl Kept {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.app.next_deadline()
    }

    fn is_proved_by(&self, proof: Proof) -> bool {
        match self.ready {
            ReadyOn::Any => matches!(proof, Proof::Listening | Proof::Message),
            ReadyOn::Listening => proof == Proof::Listening,
            ReadyOn::Message => proof == Proof::Message,
            ReadyOn::Online => proof == Proof::Online,
        }
    }
}

impl State {
    /// Something shows that a worker is ready, or does not.
    pub(super) fn proved(&mut self, shared: &Shared, run: RunId, proof: Proof) {
        if self.kept.as_ref().is_some_and(|kept| kept.is_proved_by(proof)) {
            self.step(shared, Input::Ready { run });
        }
    }

    /// Something happened that decisions may follow from.
    pub(super) fn step(&mut self, shared: &Shared, input: Input) {
        let Some(mut kept) = self.kept.take() else { return };
        let mut effects = Vec::new();
        kept.app.step(now(), &mut chance, input, &mut effects);
        self.carry_out(shared, kept, effects);
    }

    fn operate(
        &mut self,
        shared: &Shared,
        act: impl FnOnce(&mut Kept, OpId, &mut Vec<Effect>),
    ) -> Option<oneshot::Receiver<Result<(), OpError>>> {
        let mut kept = self.kept.take()?;
        kept.last_op += 1;
        let op = OpId(kept.last_op);
        let (sender, answer) = oneshot::channel();
        kept.waiting.insert(op, sender);
        let mut effects = Vec::new();
        act(&mut kept, op, &mut effects);
        self.carry_out(shared, kept, effects);
        Some(answer)
    }

    /// Does what was decided, and what follows from that.
    fn carry_out(&mut self, shared: &Shared, mut kept: Kept, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            if let Some(input) = self.effect(shared, &mut kept, effect) {
                let mut more = Vec::new();
                kept.app.step(now(), &mut chance, input, &mut more);
                effects.extend(more);
            }
        }
        kept.app.carried_out();
        let used = kept.app.generations_in_use();
        kept.programs.retain(|generation, _| used.contains(generation));
        self.tend(shared, &mut kept);
        if !kept.app.is_deleted() {
            self.kept = Some(kept);
        }
    }

    fn effect(&mut self, shared: &Shared, kept: &mut Kept, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Spawn { slot, run, generation } => Some(self.start(shared, kept, (slot, run, generation))),
            Effect::Drain { run } => match self.runs.get(&run) {
                Some(worker) => {
                    // One that fails has said so by itself.
                    let failing = kept.app.run(run).is_some_and(|run| run.failing);
                    worker.life().leaves();
                    worker.leave(KEEP_ALIVE_GRACE, if failing { kept.policy.uncaught } else { kept.policy.drain });
                    None
                }
                None => Some(Input::Drained { run }),
            },
            Effect::Signal { run, signal: number } => {
                if let Some(worker) = self.runs.get(&run) {
                    worker.life().leaves();
                }
                self.signal_tree(run, number);
                None
            }
            Effect::Kill { run } => {
                self.kill_tree(run);
                None
            }
            Effect::RetireSlot { slot } => {
                shared.cluster.retire_slot(APP, slot);
                None
            }
            Effect::CloseListeners => {
                // Workers that were forked by hand may listen on them.
                if self.runs.is_empty() {
                    self.close_listeners(shared);
                }
                None
            }
            Effect::Finished { op, result } => {
                if let Some(waiting) = kept.waiting.remove(&op) {
                    // Who asked may not want to know any more.
                    let _ = waiting.send(result);
                }
                None
            }
            Effect::Event(event) => {
                self.push(Event::Team(event));
                None
            }
        }
    }

    fn start(&mut self, shared: &Shared, kept: &Kept, (slot, run, generation): (SlotId, RunId, Generation)) -> Input {
        let Some(settings) = kept.programs.get(&generation) else {
            return Input::SpawnFailed { run, reason: "its program is not known any more".to_owned() };
        };
        let instances: OsString = kept.app.size().to_string().into();
        let mut env = if kept.preload { settings.script_variables(run, &kept.policy) } else { BTreeMap::new() };
        env.insert("MUSHER_INSTANCES".into(), instances);
        env.insert(leftovers::VARIABLE.into(), leftovers::marker(run).into());
        match self.spawn(shared, &Arc::clone(settings), (run, slot), (&env, &kept.vitals.limits)) {
            Ok(_) => Input::Spawned { run },
            Err(error) => Input::SpawnFailed { run, reason: error.to_string() },
        }
    }
}

/// The rules for workers of these settings.
fn policy_for(policy: &Policy, preload: bool, settings: &Settings) -> Policy {
    let cut_by_themselves = preload && settings.takes_script();
    if cut_by_themselves { policy.clone().cut_by_workers() } else { policy.clone() }
}

/// Chance for jitter: the standard library seeds each hasher anew.
fn chance() -> u32 {
    u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(0)
}

pub(super) fn outcome(status: ExitStatus) -> ExitOutcome {
    match status {
        ExitStatus::Code(code) => ExitOutcome::Code(code),
        ExitStatus::Signal { signal, core_dumped } => ExitOutcome::Signal { signal, core_dumped },
        ExitStatus::Unknown => ExitOutcome::Unknown,
    }
}
