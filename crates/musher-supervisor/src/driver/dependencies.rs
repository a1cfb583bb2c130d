//! Apps that need others: they are started when those are as they need them.
//!
//! Which slots wait is in the decisions; here is looked, after everything that happened, whether they need to any more. A
//! start that waits too long, or for what failed, ends with the reason; the slots go on waiting, and are filled when what
//! they need is there after all.

use std::collections::{BTreeMap, BTreeSet};

use musher_api::{Action, ApiError, ErrorCode, EventKind, PlanAction, PlanStep};
use musher_core::lifecycle::{Input, Standing};
use musher_core::order::{self, Needs, Unorderable, Verdict};
use musher_core::spec::AppSpec;
use musher_core::{AppId, Time};

use crate::control::News;

use super::app::ManagedApp;
use super::{Driver, now};

/// What an app waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Awaited {
    /// Since when.
    since: Time,
    /// Whether it has waited too long, and who waits for it was told.
    late: bool,
    /// Each with what it has to be: `db to be ready`.
    pub(super) what: Vec<String>,
}

impl Driver {
    /// Lets apps start that have what they need, and tells those who wait for the others in vain.
    pub(super) fn release(&mut self) {
        self.open_gates();
        // Each that is let go may be what the next one needs.
        for _ in 0..=self.apps.len() {
            let waiting: Vec<AppId> =
                self.apps.values().filter(|app| app.machine.is_waiting()).map(|app| app.id).collect();
            let mut changed = false;
            for id in waiting {
                changed |= self.release_one(id);
            }
            if !changed {
                break;
            }
        }
        for app in self.apps.values_mut().filter(|app| app.awaited.is_some() && !app.machine.is_waiting()) {
            app.awaited = None;
        }
    }

    fn release_one(&mut self, id: AppId) -> bool {
        let Some(spec) = self.apps.get(&id).and_then(|app| app.target_spec()).cloned() else { return false };
        let verdicts: Vec<(String, Verdict)> = spec
            .depends_on
            .iter()
            .map(|(name, condition)| {
                let standing = self.standing_of(name);
                let what = match condition {
                    musher_core::spec::Condition::Started => "to be started",
                    musher_core::spec::Condition::Ready => "to be ready",
                    musher_core::spec::Condition::ExitedOk => "to end with success",
                };
                (format!("{name} {what}"), order::verdict(name, *condition, standing.as_ref()))
            })
            .collect();
        let open: Vec<&(String, Verdict)> = verdicts.iter().filter(|(_, verdict)| *verdict != Verdict::Holds).collect();
        if open.is_empty() {
            if let Some(awaited) = self.apps.get_mut(&id).and_then(|app| app.awaited.take()) {
                tracing::info!(app = spec.name, what = awaited.what.join(", "), "what it waited for is there");
            }
            self.step(id, Input::Released);
            return true;
        }
        let what: Vec<String> = open.iter().map(|(what, _)| what.clone()).collect();
        let failed = open.iter().find_map(|(_, verdict)| match verdict {
            Verdict::Failed(why) => Some(why.clone()),
            Verdict::Holds | Verdict::NotYet => None,
        });
        let Some(app) = self.apps.get_mut(&id) else { return false };
        if app.awaited.is_none() {
            let detail = format!("waits for {}", what.join(", "));
            self.world.events.publish(News::new(EventKind::Waiting, detail).of_app(&app.name, id.0));
        }
        let awaited = app.awaited.get_or_insert_with(|| Awaited { since: now(), late: false, what: Vec::new() });
        awaited.what.clone_from(&what);
        awaited.late = awaited.since + spec.depends_timeout <= now();
        if app.machine.operations().is_empty() {
            return false;
        }
        let late = awaited.late;
        let reason = failed.or_else(|| {
            let limit = spec.depends_timeout.as_millis();
            late.then(|| format!("it waited {limit} ms for {}", what.join(", ")))
        });
        let Some(reason) = reason else { return false };
        self.step(id, Input::HeldUp { reason });
        false
    }

    /// How the app of this name stands.
    fn standing_of(&self, name: &str) -> Option<Standing> {
        let app = self.apps.values().find(|app| app.name == name)?;
        let standing = app.machine.standing();
        // One that is about to be started or restarted is not there yet.
        Some(match app.gate {
            Some(_) => Standing { wanted: true, ..Standing::default() },
            None => standing,
        })
    }

    /// What each app needs, as it is meant to run.
    fn needs(&self) -> Needs {
        order::needs(self.apps.values().filter_map(|app| app.target_spec().map(|spec| &**spec)))
    }

    /// Whether these apps can be started together with those that there are; gives what each needs.
    fn check_needs(&self, specs: &[AppSpec]) -> Result<Needs, ApiError> {
        let mut needs = self.needs();
        needs.extend(order::needs(specs));
        // What concerns only others was so before.
        let names = specs.iter().map(|spec| spec.name.as_str());
        let concerned: BTreeSet<String> = order::with_what_they_need(&needs, names).into_iter().collect();
        let of = |needs: &Needs| -> Needs {
            needs
                .iter()
                .filter(|(name, _)| concerned.contains(*name))
                .map(|(name, of)| (name.clone(), of.clone()))
                .collect()
        };
        let concerned = of(&needs);
        let spec = |name: &str| {
            let known = || self.apps.values().find(|app| app.name == name)?.target_spec().map(|spec| &**spec);
            specs.iter().find(|spec| spec.name == name).or_else(known)
        };
        let checked = order::check(&concerned).and_then(|()| order::check_ends(&concerned, spec));
        match checked {
            Ok(()) => Ok(needs),
            Err(fault) => Err(self.unorderable(&fault, &needs)),
        }
    }

    fn unorderable(&self, fault: &Unorderable, needs: &Needs) -> ApiError {
        let error = ApiError::new(ErrorCode::InvalidSpec, format!("depends_on: {fault}"));
        match fault {
            Unorderable::Unknown { needs: unknown, .. } => {
                let near = needs.keys().map(|name| (strsim::damerau_levenshtein(name, unknown), name)).min();
                match near {
                    Some((distance, name)) if distance <= 1 + unknown.len() / 3 => {
                        error.with_hint(format!("did you mean {name:?}?"))
                    }
                    _ => error.with_hint("start it before, or from the same file"),
                }
            }
            Unorderable::Cycle(_) => error.with_hint("one of them has to start without the next one"),
            Unorderable::NeverEnds { needs, .. } => error
                .with_hint(format!("give {needs} restart = \"on-failure\" or \"never\", or wait for it to be ready")),
        }
    }

    /// The apps that these need and that are stopped, each after what it needs itself; without these.
    fn stopped_needs(&self, needs: &Needs, names: &[String]) -> Vec<(AppId, String)> {
        let order = order::with_what_they_need(needs, names.iter().map(String::as_str));
        let of = |name: &String| self.apps.values().find(|app| app.name == *name);
        let stopped = |app: &&ManagedApp| !app.machine.is_wanted();
        let others = order.iter().filter(|name| !names.contains(name));
        others.filter_map(of).filter(stopped).map(|app| (app.id, app.name.clone())).collect()
    }

    /// Puts the targets of an action into the order of what they need, and gives what has to be started before.
    pub(super) fn needed_first(&self, action: Action, targets: &mut [AppId]) -> Vec<AppId> {
        let needs = self.needs();
        if needs.values().all(BTreeMap::is_empty) {
            return Vec::new();
        }
        let name = |id: &AppId| self.apps.get(id).map(|app| app.name.clone());
        let names: Vec<String> = targets.iter().filter_map(name).collect();
        let order = order::with_what_they_need(&needs, names.iter().map(String::as_str));
        targets.sort_by_key(|id| order.iter().position(|other| Some(other) == name(id).as_ref()));
        match action {
            Action::Start | Action::Restart => {
                self.stopped_needs(&needs, &names).into_iter().map(|(id, _)| id).collect()
            }
            Action::Stop | Action::Delete => {
                targets.reverse();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Puts what is to be started into the order of what it needs, after looking whether there is one.
    pub(super) fn in_order(
        &self,
        specs: Vec<AppSpec>,
        plan: Vec<PlanStep>,
    ) -> Result<Vec<(AppSpec, PlanStep)>, ApiError> {
        let needs = self.check_needs(&specs)?;
        let order = order::with_what_they_need(&needs, specs.iter().map(|spec| spec.name.as_str()));
        let mut steps: Vec<(AppSpec, PlanStep)> = specs.into_iter().zip(plan).collect();
        steps.sort_by_key(|(spec, _)| order.iter().position(|name| *name == spec.name));
        Ok(steps)
    }

    /// What is stopped and has to be started as well, because one of these needs it.
    pub(super) fn needed_by(&self, steps: &[(AppSpec, PlanStep)]) -> Vec<(AppId, PlanStep)> {
        let mut needs = self.needs();
        needs.extend(order::needs(steps.iter().map(|(spec, _)| spec)));
        let starts = |step: &PlanStep| matches!(step.action, PlanAction::Start | PlanAction::Restart);
        let (started, others): (Vec<_>, Vec<_>) = steps.iter().partition(|(_, step)| starts(step));
        let names: Vec<String> = started.iter().map(|(spec, _)| spec.name.clone()).collect();
        let stopped = self.stopped_needs(&needs, &names).into_iter();
        let stopped = stopped.filter(|(_, name)| !others.iter().any(|(spec, _)| spec.name == *name));
        let step = |(id, app): (AppId, String)| {
            let slots = self.apps.get(&id).map_or(0, |app| app.machine.size());
            let (instances_before, instances_after) = (slots, slots);
            let action = PlanAction::Start;
            (id, PlanStep { app, action, changed: Vec::new(), instances_before, instances_after })
        };
        stopped.map(step).collect()
    }
}

impl ManagedApp {
    /// When a start has waited too long. It is told once: what else goes on then ends by itself.
    pub(super) fn waits_until(&self) -> Option<Time> {
        let awaited = self.awaited.as_ref().filter(|awaited| !awaited.late && !self.machine.operations().is_empty())?;
        Some(awaited.since + self.target_spec()?.depends_timeout)
    }
}
