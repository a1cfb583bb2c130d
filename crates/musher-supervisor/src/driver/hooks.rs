//! Hooks: commands of the user that are run when something happens.
//!
//! A hook is in the app's record before it runs, and leaves it when it has ended: so each runs at least once, also when
//! the supervisor is killed meanwhile; then what is left of the first run is killed, and it runs again. It waits until
//! the story of the death that it tells of is complete. Nothing here makes the driver wait.

use musher_api::{Event, EventKind};
use musher_core::lifecycle::{self, ExitOutcome};
use musher_core::spec::Hooks;
use musher_core::{AppId, RunId, SlotId};
use serde::{Deserialize, Serialize};

use crate::control::News;

use super::app::ManagedApp;
use super::commands::{CommandError, Job, Outcome, credentials, environment};
use super::gate::{Gate, Gated};
use super::{Driver, Wake, World, millis};

/// How many hooks of an app may wait or run.
const MOST: usize = 64;

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Occasion {
    /// A slot was given up.
    Giveup,
    /// A worker ended that nobody had asked to, and not well; or threw what nobody caught.
    Crash,
    /// Before and after a start or restart of the app.
    PreStart,
    PostStart,
    /// Before and after its workers are replaced.
    PreReload,
    PostReload,
    /// Before and after it is stopped or deleted.
    PreStop,
    PostStop,
}

/// A hook that has not ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HookRecord {
    /// Unique in the app.
    pub(super) id: u64,
    pub(super) occasion: Occasion,
    /// What it is told.
    pub(super) event: Event,
    pub(super) command: Vec<String>,
    pub(super) limit_ms: u64,
    /// Whether this supervisor has started it.
    #[serde(skip)]
    pub(super) started: bool,
}

impl Occasion {
    /// What an event is an occasion for.
    pub(super) fn of(event: &lifecycle::Event) -> Option<Occasion> {
        match event {
            lifecycle::Event::Giveup { .. } => Some(Occasion::Giveup),
            lifecycle::Event::Exited { expected: false, outcome, .. } => {
                (*outcome != ExitOutcome::Code(0)).then_some(Occasion::Crash)
            }
            lifecycle::Event::Failing { .. } => Some(Occasion::Crash),
            // A job that was scheduled is not started yet.
            lifecycle::Event::Started { ready } => (*ready > 0).then_some(Occasion::PostStart),
            lifecycle::Event::ReloadFinished { .. } => Some(Occasion::PostReload),
            lifecycle::Event::Stopped => Some(Occasion::PostStop),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Occasion::Giveup => "giveup",
            Occasion::Crash => "crash",
            Occasion::PreStart => "pre_start",
            Occasion::PostStart => "post_start",
            Occasion::PreReload => "pre_reload",
            Occasion::PostReload => "post_reload",
            Occasion::PreStop => "pre_stop",
            Occasion::PostStop => "post_stop",
        }
    }

    fn command(self, hooks: &Hooks) -> Option<&Vec<String>> {
        match self {
            Occasion::Giveup => hooks.giveup.as_ref(),
            Occasion::Crash => hooks.crash.as_ref(),
            Occasion::PreStart => hooks.pre_start.as_ref(),
            Occasion::PostStart => hooks.post_start.as_ref(),
            Occasion::PreReload => hooks.pre_reload.as_ref(),
            Occasion::PostReload => hooks.post_reload.as_ref(),
            Occasion::PreStop => hooks.pre_stop.as_ref(),
            Occasion::PostStop => hooks.post_stop.as_ref(),
        }
    }
}

impl World {
    /// Something happened: the hook for it, if there is one, is written down and started.
    pub(super) fn hook(&mut self, app: &mut ManagedApp, occasion: Occasion, told: Option<&Event>) {
        let Some(spec) = app.target_spec() else { return };
        let Some(command) = occasion.command(&spec.hooks).cloned() else { return };
        if app.hooks.len() >= MOST {
            let detail = format!("the {} hook is left out: {MOST} are waiting", occasion.word());
            tracing::warn!(app = app.name, "{detail}");
            self.events.publish(News::new(EventKind::Hook, detail).of_app(&app.name, app.id.0));
            return;
        }
        let limit_ms = millis(spec.hooks.timeout);
        let own = || {
            let detail = format!("{} workers are ready", app.machine.ready_slots());
            self.events.publish(News::new(EventKind::Hook, detail).of_app(&app.name, app.id.0))
        };
        let event = told.cloned().unwrap_or_else(|| (*own()).clone());
        // Also unique beside those that a later supervisor takes over.
        let id = event.seq;
        app.hooks.push(HookRecord { id, occasion, event, command, limit_ms, started: false });
        self.write_app(app);
        self.start_hooks(app);
    }

    /// Writes down the hook that has to end well before this is done, if there is one, to be started with the next write of
    /// the record; gives its id.
    pub(super) fn hook_before(&self, app: &mut ManagedApp, occasion: Occasion, what: &Gated) -> Option<u64> {
        let spec = what.generation().and_then(|generation| app.spec(generation)).or_else(|| app.target_spec())?.clone();
        let command = occasion.command(&spec.hooks)?.clone();
        let detail = format!("the {} hook begins", occasion.word());
        let event = self.events.publish(News::new(EventKind::Hook, detail).of_app(&app.name, app.id.0));
        let (id, limit_ms) = (event.seq, millis(spec.hooks.timeout));
        app.hooks.push(HookRecord { id, occasion, event: (*event).clone(), command, limit_ms, started: false });
        Some(id)
    }

    /// Starts the hooks whose story is complete.
    pub(super) fn start_hooks(&self, app: &mut ManagedApp) {
        for n in 0..app.hooks.len() {
            let Some(hook) = app.hooks.get(n).filter(|hook| !hook.started) else { continue };
            let run = hook.event.death.as_ref().map(|death| RunId(death.run));
            if run.is_some_and(|run| app.stories.contains(&run)) {
                continue;
            }
            // A hook before belongs to what is about to be, with its directory, its variables and its user.
            let gate = app.gate.as_ref().filter(|gate| gate.hook == Some(hook.id));
            let coming = gate.and_then(Gate::generation).and_then(|generation| app.spec(generation));
            let Some(spec) = coming.or_else(|| app.target_spec()).cloned() else { return };
            let complete = app.deaths.values().find(|death| run == Some(RunId(death.run))).cloned();
            let Some(hook) = app.hooks.get_mut(n) else { continue };
            hook.started = true;
            if let Some(death) = complete {
                hook.event.death = Some(Box::new(death));
            }
            let slot = SlotId(hook.event.slot.unwrap_or(0));
            let env = environment(
                &spec,
                slot,
                &[
                    ("MUSHER_EVENT", hook.occasion.word().to_owned()),
                    ("MUSHER_HOME", self.home.root().display().to_string()),
                ],
            );
            let job = Job {
                name: format!("hook.{}.{}", app.id, hook.id),
                command: hook.command.clone(),
                cwd: spec.cwd.clone(),
                env,
                credentials: credentials(&spec),
                input: serde_json::to_vec(&hook.event).unwrap_or_default(),
                limit: std::time::Duration::from_millis(hook.limit_ms),
            };
            let (commands, wakes, id, hook) = (self.commands.clone(), self.wakes.clone(), app.id, hook.id);
            tokio::spawn(async move {
                let outcome = commands.run(job).await;
                if !matches!(outcome, Err(CommandError::Ending)) {
                    let outcome = outcome.map_err(|error| error.to_string());
                    let _ = wakes.send(Wake::HookDone(id, hook, outcome)).await;
                }
            });
        }
    }
}

impl Driver {
    /// A hook has ended: that is told, and it is not run again.
    pub(super) fn hook_done(&mut self, id: AppId, hook: u64, outcome: &Result<Outcome, String>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let Some(at) = app.hooks.iter().position(|record| record.id == hook) else { return };
        let record = app.hooks.remove(at);
        let (how, output) = match outcome {
            Ok(Outcome { status: Some(status), output }) => (format!("ended with {status}"), output.as_str()),
            Ok(Outcome { status: None, output }) => {
                (format!("was killed: it took longer than {} ms", record.limit_ms), output.as_str())
            }
            Err(error) => (error.clone(), ""),
        };
        let mut detail = format!("the {} hook {how}", record.occasion.word());
        tracing::info!(app = app.name, slot = record.event.slot, output, "{detail}");
        if let Some(last) = output.lines().last() {
            detail.push_str(&format!("; it said: {last}"));
        }
        let news = News::new(EventKind::Hook, detail).of_app(&app.name, id.0);
        self.world.events.publish(match record.event.slot {
            Some(slot) => news.of_slot(slot),
            None => news,
        });
        if !self.hook_of_gate_done(id, hook, outcome)
            && let Some(app) = self.apps.get(&id)
        {
            self.world.write_app(app);
        }
    }
}
