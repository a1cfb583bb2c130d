//! Doing what was decided.

use std::sync::Arc;
use std::time::Duration;

use musher_api::{ApiError, Death, EventKind};
use musher_core::lifecycle::{self, Effect, Event, Input, OpError};
use musher_core::spec::{AppSpec, ReadyWhen, Runtime};
use musher_core::{OpId, RunId, SlotId};
use rustix::process::Signal;

use crate::control::News;

use super::app::{Held, ManagedApp};
use super::births::Birth;
use super::death::{Inquest, LastWords};
use super::hooks::Occasion;
use super::operations::explain;
use super::{Wake, World};

/// How long a draining Node worker keeps idle keep-alive connections open, so that a client that is just sending on one
/// is still answered (with `Connection: close`).
const KEEP_ALIVE_GRACE: Duration = Duration::from_millis(1000);

impl World {
    /// Carries out what was decided in one step; gives the inputs that follow at once.
    pub(super) fn carry_out_all(&mut self, app: &mut ManagedApp, effects: Vec<Effect>) -> Vec<Input> {
        let killed = effects.iter().filter_map(|effect| match effect {
            Effect::Kill { run } => Some(*run),
            _ => None,
        });
        let killed: Vec<RunId> = killed.collect();
        // All at once, so that each look for what they left is taken once.
        self.kill(app, &killed);
        let mut inputs = Vec::new();
        for effect in effects.into_iter().filter(|effect| !matches!(effect, Effect::Kill { .. })) {
            inputs.extend(self.carry_out(app, effect));
        }
        inputs
    }

    /// Carries out one effect; gives the input that follows at once, if any.
    pub(super) fn carry_out(&mut self, app: &mut ManagedApp, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Spawn { slot, run, generation } => {
                if self.births.is_next() {
                    return Some(self.spawn(app, slot, run, generation));
                }
                self.births.put_off(Birth { app: app.id, slot, run, generation });
                None
            }
            Effect::Drain { run } => {
                // One that fails has said so by itself.
                if !app.machine.run(run).is_some_and(|run| run.failing) {
                    self.ask_to_end(app, run);
                }
                if is_of_cluster(app, run) {
                    match app.runs.get(&run).is_some_and(|managed| managed.has_channel) {
                        true => self.cluster.drain(run, KEEP_ALIVE_GRACE, drain_limit(app, run)),
                        // Its channel was lost. The script has the stop signal mean the same then.
                        false => self.ask_to_stop(app, run, stop_signal(app, run)),
                    }
                    return None;
                }
                (!self.wait_until_accepted(app, run)).then_some(Input::Drained { run })
            }
            Effect::Signal { run, signal } => {
                self.ask_to_end(app, run);
                self.ask_to_stop(app, run, signal);
                None
            }
            Effect::Kill { run } => {
                self.kill(app, &[run]);
                None
            }
            Effect::RetireSlot { slot } => {
                if app.clustered {
                    self.cluster.retire_slot(app.id, slot);
                }
                // Before its worker is told to end: what comes from now on goes to those that stay.
                app.steer();
                app.deaths.remove(&slot);
                None
            }
            Effect::CloseListeners => {
                app.sockets.close(app.id, &self.link);
                app.cluster_listens.clear();
                app.listens = false;
                app.addresses.clear();
                if app.clustered {
                    app.closing = true;
                    app.clustered = false;
                    self.cluster.close_app(app.id);
                }
                None
            }
            Effect::Finished { op, result } => {
                self.finish_when_told(app, op, result);
                None
            }
            Effect::Event(event) => {
                if let Event::Unfit { run, reason, .. } = &event
                    && let Some(managed) = app.runs.get_mut(run)
                {
                    managed.record.unfit = Some(reason.clone());
                }
                app.tally.note(&event);
                let occasion = Occasion::of(&event);
                let told = self.tell(app, event);
                if let Some(occasion) = occasion {
                    self.hook(app, occasion, told.as_deref());
                }
                None
            }
        }
    }

    /// The end of an operation is told when what it says is true for everybody: the ports closed, the story complete.
    pub(super) fn finish_when_told(&mut self, app: &mut ManagedApp, op: OpId, result: Result<(), OpError>) {
        if app.is_due(&result) {
            return self.finish(app, op, result);
        }
        app.held.push(Held { op, result });
        self.write_app(app);
    }

    /// Ends an operation.
    pub(super) fn finish(&mut self, app: &ManagedApp, op: OpId, result: Result<(), OpError>) {
        let death_of = |slot: &SlotId| app.deaths.get(slot).cloned();
        let death = match &result {
            Err(OpError::Died { slot, run, .. } | OpError::ReloadAborted { slot, run, .. }) => {
                death_of(slot).filter(|death| death.run == run.0)
            }
            Err(OpError::CanaryFailed { slot: Some(slot), run: Some(run), .. }) => {
                death_of(slot).filter(|death| death.run == run.0)
            }
            Err(OpError::CanaryFailed { .. }) => None,
            Err(OpError::Ended { slot, .. } | OpError::GaveUp { slot, .. }) => death_of(slot),
            Err(
                OpError::Superseded { .. }
                | OpError::Busy { .. }
                | OpError::Deleted
                | OpError::NoSlot { .. }
                | OpError::Dependency { .. }
                | OpError::OutOfRange { .. },
            )
            | Ok(()) => None,
        };
        let result = result.map_err(|error| (self.advise(app, &error, death.as_ref()), death));
        let Some(operation) = self.operations.finish(op, result) else { return };
        self.write_home();
        let outcome = match &operation.error {
            None => "done".to_owned(),
            Some(error) => format!("failed: {error}"),
        };
        let detail = format!("{} (operation {op}) {outcome}", operation.kind.word());
        let news = News::new(EventKind::OperationDone, detail).of_app(&app.name, app.id.0);
        self.events.publish(news.of_operation(operation.kind, operation.ok));
    }

    /// How a failure is told, with the hint that fits what is known of the app.
    fn advise(&self, app: &ManagedApp, error: &OpError, death: Option<&Death>) -> ApiError {
        let explained = explain(error, &app.name);
        let spec = app.target_spec();
        let own_port = spec.is_some_and(|spec| spec.exec.runtime != Runtime::NodeCluster);
        let port_taken = death.is_some_and(|death| death.stderr.iter().any(|line| says_port_taken(line)));
        match error {
            OpError::Busy { with } => self.operations.busy(*with, &app.name),
            OpError::ReloadAborted { .. } if own_port && port_taken => explained.with_hint(OWN_PORT),
            OpError::ReloadAborted { death: lifecycle::Death::NotReady { .. }, .. }
                if app.listens && spec.is_some_and(|spec| spec.ready.when == ReadyWhen::Auto) =>
            {
                explained.with_hint(has_to_listen(&app.name))
            }
            OpError::ReloadAborted { .. } if app.machine.ready_slots() == 0 => {
                explained.with_hint("no worker was running before either; mend the program and start it")
            }
            _ => explained,
        }
    }

    /// Tells the ends whose time has come.
    pub(super) fn tell_due(&mut self, app: &mut ManagedApp) {
        let held = std::mem::take(&mut app.held);
        let (told, held) = held.into_iter().partition::<Vec<Held>, _>(|held| app.is_due(&held.result));
        app.held = held;
        for Held { op, result } in told {
            self.finish(app, op, result);
        }
    }

    /// Lets the logs finish with a run that has ended, and finds out what else can be known of its end; then the driver
    /// is woken.
    pub(super) fn detach_logs(&self, run: RunId, inquest: Option<Inquest>) {
        let (detached, wakes) = (self.logs.detach(run), self.wakes.clone());
        tokio::spawn(async move {
            let stderr = detached.await.unwrap_or_default().stderr_tail;
            let last_words = LastWords::find(stderr, inquest).await;
            let _ = wakes.send(Wake::LogsDone(run, last_words)).await;
        });
    }

    /// The stop signal, or what stands for it.
    fn ask_to_stop(&mut self, app: &ManagedApp, run: RunId, signal: i32) {
        let Some(managed) = app.runs.get(&run) else { return };
        let stop = spec_of(app, run).map(|spec| &spec.stop);
        // One whose channel was lost cannot be sent anything.
        if stop.is_some_and(|stop| stop.message) && managed.has_channel {
            return self.cluster.send(run, "shutdown".into());
        }
        if stop.is_some_and(|stop| !stop.tree) {
            if let Err(error) = managed.signal(signal) {
                tracing::warn!(app = app.name, %run, %error, "a worker could not be sent the stop signal");
            }
            return;
        }
        self.signal_tree(app, run, signal);
    }

    fn kill(&mut self, app: &mut ManagedApp, runs: &[RunId]) {
        for run in runs {
            self.ask_to_end(app, *run);
        }
        self.kill_trees(runs.iter().filter_map(|run| app.runs.get_key_value(run)), Duration::ZERO);
    }

    fn ask_to_end(&mut self, app: &mut ManagedApp, run: RunId) {
        // One that threw ends by itself.
        if let Some(run) = app.runs.get_mut(&run).filter(|run| run.record.uncaught.is_none()) {
            run.record.asked = true;
        }
    }
}

/// The spec of a run.
fn spec_of(app: &ManagedApp, run: RunId) -> Option<&Arc<AppSpec>> {
    app.machine.run(run).and_then(|run| app.spec(run.generation)).or(app.target_spec())
}

/// Whether a run is a worker of a Node cluster.
fn is_of_cluster(app: &ManagedApp, run: RunId) -> bool {
    spec_of(app, run).is_some_and(|spec| spec.exec.runtime == Runtime::NodeCluster)
}

fn stop_signal(app: &ManagedApp, run: RunId) -> i32 {
    spec_of(app, run).map_or(Signal::TERM.as_raw(), |spec| spec.stop.signal)
}

/// How long a run may drain.
fn drain_limit(app: &ManagedApp, run: RunId) -> Duration {
    let state = app.machine.run(run);
    let stop = spec_of(app, run).map(|spec| spec.stop.clone()).unwrap_or_default();
    if state.is_some_and(|run| run.failing) { stop.uncaught } else { stop.drain }
}

/// What to do about a program that cannot run twice at a time.
const OWN_PORT: &str = "the program opens its port by itself, so two of them cannot run at a time, as a reload needs: \
    let musher open the port (`listen` in the process file), or use `musher restart`, which has a gap";

/// What to do about a new version that does not listen, where the one before did.
fn has_to_listen(app: &str) -> String {
    format!(
        "the old workers were kept: they listened, so a new one counts as ready only when it listens, too; if it is not \
         meant to any more, `musher restart {app}`, or start it with `--ready 3s`: ready when it has lived that long"
    )
}

/// Whether a program complains that its port is taken, as libuv or strerror(3) put it.
fn says_port_taken(line: &str) -> bool {
    line.contains("EADDRINUSE") || line.contains("ddress already in use")
}
