//! A new version on trial: what its workers and those of the old one count in the same time, and what follows from it.
//!
//! Counts come with the workers' pulses and begin with the first one after all canaries are ready. They are not kept for
//! a later supervisor, which counts anew: the trial's time is.

use std::time::Duration;

use musher_api::{CanaryDetail, Traffic};
use musher_core::compare::{Sides, compare};
use musher_core::lifecycle::{self, Input, TrialView};
use musher_core::spec::Canary;
use musher_core::vitals::Pulse;
use musher_core::{AppId, RunId};

use super::app::ManagedApp;
use super::{Driver, now};

impl Driver {
    /// A worker has told how it is: a trial may end with that.
    pub(super) fn judge_canary(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let Some(trial) = app.machine.trial().filter(|trial| trial.until.is_some()) else {
            app.comparison = None;
            return;
        };
        let sides = app.compare(&trial);
        let bounds =
            app.spec(trial.generation).and_then(|spec| spec.reload.canary.clone()).unwrap_or_default().bounds();
        if let Some(worse) = compare(&sides.old, &sides.new, bounds) {
            app.comparison = None;
            self.step(id, Input::CanaryWorse { reason: worse.to_string() });
            self.drop_unused_specs(id);
        }
    }
}

impl ManagedApp {
    /// What old and new workers did in the trial; workers that are heard of for the first time begin to count.
    fn compare(&mut self, trial: &TrialView) -> Sides {
        let pulses = self.runs.iter().filter_map(|(run, managed)| Some((*run, managed.pulse.as_ref()?)));
        self.comparison.get_or_insert_default().note(&self.machine, trial, pulses);
        self.sides(trial)
    }

    fn sides(&self, trial: &TrialView) -> Sides {
        let pulse = |run: RunId| self.runs.get(&run)?.pulse.as_ref();
        let comparison = self.comparison.as_ref();
        comparison.map(|comparison| comparison.sides(&self.machine, trial, pulse)).unwrap_or_default()
    }

    /// The trial that goes on, for users.
    pub(super) fn canary_detail(&self) -> Option<CanaryDetail> {
        let trial = self.machine.trial()?;
        let sides = self.sides(&trial);
        Some(CanaryDetail {
            generation: trial.generation.0.into(),
            slots: trial.slots.iter().map(|slot| slot.0).collect(),
            remaining_ms: trial.until.map(|until| super::millis(until.since(now()))),
            new: traffic(&sides.new),
            old: traffic(&sides.old),
        })
    }

    /// What an operation on the app waits for besides its workers, in words.
    pub(super) fn canary_text(&self) -> Option<String> {
        if let Some(reason) = self.machine.goes_back() {
            return Some(format!("going back to the old version: {reason}"));
        }
        let trial = self.machine.trial()?;
        let slots = match trial.slots.len() {
            1 => "1 slot".to_owned(),
            n => format!("{n} slots"),
        };
        Some(match trial.until {
            None => format!("trying the new version in {slots}"),
            Some(_) => format!("watching the new version in {slots}"),
        })
    }
}

fn traffic(pulse: &Pulse) -> Traffic {
    let p95_ms = pulse.latencies.quantile(0.95).map(|time| time.as_secs_f64() * 1000.0);
    Traffic { requests: pulse.requests, errors: pulse.errors, p95_ms }
}

/// How a reload tries the new version: as the command says, else as the spec says.
pub(super) fn trial_of(spec: Option<&Canary>, asked: Option<(u32, Option<u64>)>) -> Option<lifecycle::Canary> {
    let rule = |spec: &Canary| lifecycle::Canary { slots: spec.slots, wait: spec.wait };
    match asked {
        None => spec.map(rule),
        Some((0, _)) => None,
        Some((slots, wait_ms)) => {
            let usual = spec.cloned().unwrap_or_default();
            Some(lifecycle::Canary { slots, wait: wait_ms.map_or(usual.wait, Duration::from_millis) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use musher_core::lifecycle;
    use musher_core::spec::Canary;

    use super::trial_of;

    #[test]
    fn a_command_wins_over_the_file_and_may_leave_the_trial_out() {
        let spec = Canary { slots: 2, wait: Duration::from_secs(60), ..Canary::default() };
        let trial = |slots, seconds| Some(lifecycle::Canary { slots, wait: Duration::from_secs(seconds) });
        assert_eq!(trial_of(None, None), None);
        assert_eq!(trial_of(Some(&spec), None), trial(2, 60));
        assert_eq!(trial_of(Some(&spec), Some((0, None))), None);
        assert_eq!(trial_of(Some(&spec), Some((1, None))), trial(1, 60));
        assert_eq!(trial_of(Some(&spec), Some((1, Some(5000)))), trial(1, 5));
        assert_eq!(trial_of(None, Some((3, None))), trial(3, 30));
    }
}
