//! Commands that wait before they are given to the decisions: for a hook that may cancel them, and for the end of apps
//! that need this one.
//!
//! At most one waits for each app. It is in the app's record before its hook runs, so that a later supervisor goes on with
//! it. One that wants the opposite takes its place; one that wants the same is told to wait.

use std::collections::BTreeSet;

use musher_api::{ApiError, ErrorCode, EventKind};
use musher_core::lifecycle::{Command, Input, OpError};
use musher_core::{AppId, Generation, OpId};
use serde::{Deserialize, Serialize};

use crate::control::News;

use super::Driver;
use super::app::ManagedApp;
use super::commands::Outcome;
use super::hooks::Occasion;

/// What waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Gate {
    pub(super) what: Gated,
    /// The hook that has to end well first.
    #[serde(default)]
    pub(super) hook: Option<u64>,
    /// The apps that have to be down first.
    #[serde(default)]
    pub(super) after: BTreeSet<AppId>,
}

/// What is given to the decisions then.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Gated {
    /// What somebody asked for.
    Command {
        /// The operation.
        op: OpId,
        /// The command.
        command: Box<Command>,
    },
    /// The time of a job.
    Due,
}

impl Gate {
    /// The operation that waits.
    pub(super) fn op(&self) -> Option<OpId> {
        match &self.what {
            Gated::Command { op, .. } => Some(*op),
            Gated::Due => None,
        }
    }

    /// The spec that it is about, which nothing else may need yet.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.what.generation()
    }
}

impl Gated {
    /// The spec that it brings, if it brings one.
    pub(super) fn generation(&self) -> Option<Generation> {
        let Gated::Command { command, .. } = self else { return None };
        match &**command {
            Command::Start { target } | Command::Restart { target } | Command::Reload { target, .. } => {
                target.as_ref().map(|target| target.generation)
            }
            Command::Scale { .. } | Command::One { .. } | Command::Stop | Command::Delete => None,
        }
    }
}

impl Driver {
    /// Gives a command to an app: at once, or when its hook has ended well.
    pub(super) fn command(&mut self, id: AppId, op: OpId, command: Command) {
        self.command_after(id, op, command, BTreeSet::new());
        self.drop_unused_specs(id);
    }

    /// The same, when these apps are down. Specs that nothing needs are kept: a later command of the same request may bring one.
    pub(super) fn command_after(&mut self, id: AppId, op: OpId, command: Command, after: BTreeSet<AppId>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        if let (Some(gate), false) = (&app.gate, matches!(command, Command::Scale { .. })) {
            let waiting = gate.op();
            match (&command, waiting) {
                (Command::Start { .. } | Command::Reload { .. } | Command::One { .. }, Some(with)) => {
                    return self.finish_unbegun(id, op, OpError::Busy { with });
                }
                (_, Some(waiting)) => {
                    app.gate = None;
                    self.finish_unbegun(id, waiting, OpError::Superseded { by: op });
                }
                (Command::One { .. }, None) => {}
                (_, None) => app.gate = None,
            }
        }
        self.open_gate(id, Gated::Command { op, command: Box::new(command) }, after);
    }

    /// The time of a job has come.
    pub(super) fn due(&mut self, id: AppId) {
        self.open_gate(id, Gated::Due, BTreeSet::new());
    }

    fn open_gate(&mut self, id: AppId, what: Gated, after: BTreeSet<AppId>) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let hook = occasion_before(app, &what).and_then(|occasion| self.world.hook_before(app, occasion, &what));
        let gate = Gate { what, hook, after };
        if gate.hook.is_none() && gate.after.is_empty() {
            return self.pass(id, gate.what);
        }
        app.gate = Some(gate);
        self.world.write_app(app);
        self.world.start_hooks(app);
    }

    fn pass(&mut self, id: AppId, what: Gated) {
        match what {
            Gated::Command { op, command } => self.step(id, Input::Command { op, command: *command }),
            Gated::Due => self.step(id, Input::Due),
        }
    }

    /// Lets through what need not wait any more for other apps. After everything that happened.
    pub(super) fn open_gates(&mut self) {
        let gated: Vec<AppId> = self.apps.values().filter(|app| app.gate.is_some()).map(|app| app.id).collect();
        for id in gated {
            let Some(after) = self.apps.get(&id).and_then(|app| app.gate.as_ref()).map(|gate| gate.after.clone())
            else {
                continue;
            };
            // One that runs again, or whose end failed, is not waited for: nobody knows for how long.
            let ends = |other: &AppId| {
                self.apps.get(other).is_some_and(|app| {
                    app.machine.runs().next().is_some() && (app.gate.is_some() || !app.machine.operations().is_empty())
                })
            };
            let after: BTreeSet<AppId> = after.into_iter().filter(ends).collect();
            let Some(app) = self.apps.get_mut(&id) else { continue };
            let Some(mut gate) = app.gate.take() else { continue };
            gate.after = after;
            if gate.hook.is_some() || !gate.after.is_empty() {
                app.gate = Some(gate);
                continue;
            }
            self.pass(id, gate.what);
            self.drop_unused_specs(id);
        }
    }

    /// A hook has ended for which a command waits; false: none does. What it cancels is told.
    pub(super) fn hook_of_gate_done(&mut self, id: AppId, hook: u64, outcome: &Result<Outcome, String>) -> bool {
        let Some(app) = self.apps.get_mut(&id) else { return false };
        let Some(mut gate) = app.gate.take_if(|gate| gate.hook == Some(hook)) else { return false };
        let well = matches!(outcome, Ok(Outcome { status: Some(status), .. }) if status.is_success());
        // The end of everything is not to be held up.
        if well || self.world.record.shutting_down {
            gate.hook = None;
            app.gate = Some(gate);
            self.world.write_app(app);
            self.open_gates();
            return true;
        }
        let name = app.name.clone();
        self.world.write_app(app);
        let (how, said) = match outcome {
            Ok(Outcome { status: Some(status), output }) => (format!("ended with {status}"), output.as_str()),
            Ok(Outcome { status: None, output }) => ("took too long and was killed".to_owned(), output.as_str()),
            Err(error) => (error.clone(), ""),
        };
        let word = match &gate.what {
            Gated::Due => "the job is not started this time",
            Gated::Command { .. } => "nothing was changed",
        };
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
        let said = if last.is_empty() { String::new() } else { format!("; it said:\n  {last}") };
        let message = format!("{name}: the hook before it {how}; {word}{said}");
        match gate.op() {
            Some(op) => {
                let error = ApiError::new(ErrorCode::HookFailed, message)
                    .with_hint("mend what it complains about, or take the hook out of the process file");
                self.world.operations.finish(op, Err((error, None)));
                self.world.write_home();
            }
            None => drop(self.world.events.publish(News::new(EventKind::Schedule, message).of_app(&name, id.0))),
        }
        self.drop_unused_specs(id);
        true
    }

    /// Ends an operation that never came to the decisions.
    fn finish_unbegun(&mut self, id: AppId, op: OpId, error: OpError) {
        let Some(app) = self.apps.get(&id) else { return };
        self.world.finish(app, op, Err(error));
        self.drop_unused_specs(id);
    }

    /// For each of these apps the others of them that need it, and run.
    pub(super) fn ends_after(&self, apps: &[AppId]) -> Vec<BTreeSet<AppId>> {
        let needs = |other: &AppId, name: &str| {
            let app = self.apps.get(other);
            app.is_some_and(|app| {
                app.machine.runs().next().is_some()
                    && app.target_spec().is_some_and(|spec| spec.depends_on.contains_key(name))
            })
        };
        let of = |id: &AppId| match self.apps.get(id) {
            Some(app) => apps.iter().filter(|other| needs(other, &app.name)).copied().collect(),
            None => BTreeSet::new(),
        };
        apps.iter().map(of).collect()
    }
}

/// How much of what a hook said is told with what it cancelled.
const LAST_LINES: usize = 5;

/// What has to be run before this, if the app's spec says so.
fn occasion_before(app: &ManagedApp, what: &Gated) -> Option<Occasion> {
    let running = app.machine.is_wanted() && app.machine.ready_slots() == app.machine.size();
    let is_job = app.target_spec().is_some_and(|spec| spec.is_job());
    let Gated::Command { command, .. } = what else {
        return (!app.machine.is_busy()).then_some(Occasion::PreStart);
    };
    match **command {
        // One that runs is not started, and a job only scheduled.
        Command::Start { .. } => (!running && !is_job).then_some(Occasion::PreStart),
        Command::Restart { .. } => Some(Occasion::PreStart),
        // One that cannot be begun is refused without a hook; one of a stopped app is a start.
        Command::Reload { .. } => {
            let idle = app.machine.operations().is_empty() && !is_job;
            let occasion = if app.machine.is_wanted() { Occasion::PreReload } else { Occasion::PreStart };
            idle.then_some(occasion)
        }
        Command::Stop | Command::Delete => app.machine.is_wanted().then_some(Occasion::PreStop),
        // One worker more or less.
        Command::Scale { .. } | Command::One { .. } => None,
    }
}
