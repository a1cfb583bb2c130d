//! What `start` has to change: the difference between the wanted specs and what runs. Pure.

use musher_api::{PlanAction, PlanStep};
use musher_core::spec::AppSpec;
use serde_json::Value;

/// What there is of an app that is wanted.
pub(super) struct Present<'a> {
    pub(super) spec: &'a AppSpec,
    /// The number of slots, which a scale may have changed since.
    pub(super) instances: u32,
    /// Whether it is wanted to run.
    pub(super) wanted: bool,
    /// Whether a slot is not online: still starting, waiting for a restart, given up, ended.
    pub(super) down: bool,
}

/// The step that turns what is present into what is wanted.
pub(super) fn step(present: Option<Present<'_>>, wanted: &AppSpec, force: bool) -> PlanStep {
    let Some(present) = present else {
        return PlanStep {
            app: wanted.name.clone(),
            action: if wanted.autostart { PlanAction::Start } else { PlanAction::Add },
            changed: Vec::new(),
            instances_before: 0,
            instances_after: wanted.instances,
        };
    };
    let mut changed = differences(present.spec, wanted);
    let scales = present.instances != wanted.instances;
    if scales {
        changed.push("instances".to_owned());
    }
    let action = if !present.wanted {
        PlanAction::Start
    } else if present.spec.differs_in_process(wanted) || force {
        PlanAction::Reload
    } else if present.down && !wanted.is_job() {
        PlanAction::Start
    } else if scales {
        PlanAction::Scale
    } else {
        PlanAction::None
    };
    PlanStep {
        app: wanted.name.clone(),
        action,
        changed,
        instances_before: present.instances,
        instances_after: wanted.instances,
    }
}

/// The keys whose values differ, without those that mean nothing to the processes.
fn differences(old: &AppSpec, new: &AppSpec) -> Vec<String> {
    let (Ok(Value::Object(old)), Ok(Value::Object(new))) = (serde_json::to_value(old), serde_json::to_value(new))
    else {
        return Vec::new();
    };
    let keys = new.iter().filter(|(key, value)| old.get(*key) != Some(*value)).map(|(key, _)| key.clone());
    keys.filter(|key| key != "base_env" && key != "instances").collect()
}

#[cfg(test)]
mod tests {
    use musher_api::PlanAction;
    use musher_core::spec::{AppSpec, Exec, Runtime};

    use super::{Present, step};

    fn spec() -> AppSpec {
        let exec = Exec { program: "/bin/sh".into(), args: vec!["-c".into()], script: None, runtime: Runtime::Plain };
        AppSpec::new("web", exec, "/")
    }

    fn present(spec: &AppSpec) -> Option<Present<'_>> {
        Some(Present { spec, instances: spec.instances, wanted: true, down: false })
    }

    #[test]
    fn a_new_app_is_started() {
        let step = step(None, &spec(), false);
        assert_eq!((step.action, step.instances_before, step.instances_after), (PlanAction::Start, 0, 1));
    }

    #[test]
    fn one_that_does_not_start_by_itself_is_only_added() {
        let mut new = spec();
        new.autostart = false;
        assert_eq!(step(None, &new, false).action, PlanAction::Add);
        assert_eq!(step(present(&new), &new, false).action, PlanAction::None);
    }

    #[test]
    fn the_same_app_is_left_alone() {
        let old = spec();
        assert_eq!(step(present(&old), &spec(), false).action, PlanAction::None);
    }

    #[test]
    fn another_shell_is_no_change() {
        let (old, mut new) = (spec(), spec());
        new.base_env.insert("SSH_TTY".into(), "/dev/pts/3".into());
        let step = step(present(&old), &new, false);
        assert_eq!((step.action, step.changed), (PlanAction::None, vec![]));
    }

    #[test]
    fn a_changed_environment_reloads_and_says_so() {
        let (old, mut new) = (spec(), spec());
        new.env.insert("A".into(), "1".into());
        let step = step(present(&old), &new, false);
        assert_eq!((step.action, step.changed), (PlanAction::Reload, vec!["env".to_owned()]));
    }

    #[test]
    fn another_number_of_slots_only_scales() {
        let (old, mut new) = (spec(), spec());
        new.instances = 4;
        let step = step(present(&old), &new, false);
        assert_eq!((step.action, step.changed), (PlanAction::Scale, vec!["instances".to_owned()]));
    }

    #[test]
    fn what_is_stopped_is_started_whatever_changed() {
        let (old, mut new) = (spec(), spec());
        new.cwd = "/tmp".into();
        let step = step(Some(Present { spec: &old, instances: 1, wanted: false, down: true }), &new, false);
        assert_eq!(step.action, PlanAction::Start);
    }

    #[test]
    fn what_is_not_online_is_started_or_waited_for() {
        let old = spec();
        let present = Present { spec: &old, instances: 1, wanted: true, down: true };
        assert_eq!(step(Some(present), &spec(), false).action, PlanAction::Start);
    }

    #[test]
    fn force_reloads_what_is_the_same() {
        let old = spec();
        assert_eq!(step(present(&old), &spec(), true).action, PlanAction::Reload);
    }
}
