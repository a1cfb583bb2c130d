//! Reloads that try the new version on a few slots first.

use std::time::Duration;

use musher_core::lifecycle::{Canary, Command, Event, Input, Observation, OpError, Policy};
use musher_core::{Generation, OpId, RunId};

use super::team::{Team, rules, target};
use super::{SIGKILL, SIGTERM, code};

const WAIT: u64 = 30_000;

/// A team with the new version on trial in its first slots, which are all online.
fn on_trial(slots: u32, canaries: u32) -> (Team, OpId) {
    let mut team = Team::online(slots, rules());
    team.pass(5000);
    let canary = Some(Canary { slots: canaries, wait: Duration::from_millis(WAIT) });
    let reload = team.command(Command::Reload { target: target(2, rules()), canary });
    for slot in 0..canaries {
        team.ready(slot);
        team.run_exits(RunId(u64::from(slot) + 1), SIGTERM);
    }
    team.asked();
    (team, reload)
}

fn generations(team: &Team) -> Vec<u32> {
    let online = team.app.runs().filter(|(_, run)| run.is_online());
    let mut found: Vec<(u32, u32)> = online.map(|(_, run)| (run.slot.0, run.generation.0)).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, generation)| generation).collect()
}

fn failure(team: &Team, op: OpId) -> String {
    match team.result(op) {
        Some(Err(error @ OpError::CanaryFailed { .. })) => error.to_string(),
        other => panic!("not a failed canary: {other:?}"),
    }
}

#[test]
fn a_good_canary_is_watched_for_its_time_then_the_rest_follows() {
    let (mut team, reload) = on_trial(3, 1);
    team.pass(WAIT - 1);
    assert_eq!((team.asked(), generations(&team)), (vec![], vec![2, 1, 1]));
    team.pass(1);
    assert_eq!(team.asked(), ["spawn 5 in 1 as 2"]);
    team.ready(1);
    team.ready(2);
    assert_eq!((team.result(reload), generations(&team)), (Some(Ok(())), vec![2, 2, 2]));
}

#[test]
fn a_canary_that_dies_brings_the_old_version_back() {
    let (mut team, reload) = on_trial(3, 2);
    team.pass(10_000);
    team.exits(0, SIGKILL);
    assert_eq!(team.app.target(), Generation(1));
    assert_eq!(team.asked(), ["spawn 6 in 0 as 1", "spawn 7 in 1 as 1"]);
    team.ready(0);
    assert_eq!(generations(&team), [1, 2, 1], "the other one serves until its successor is ready");
    assert_eq!(team.result(reload), None);
    team.ready(1);
    assert_eq!(
        failure(&team, reload),
        "the canary failed: the new worker in slot 0 ended with signal 9; the old version serves again"
    );
    assert_eq!(generations(&team), [1, 1, 1]);
}

#[test]
fn a_canary_that_does_worse_is_replaced_without_a_gap() {
    let (mut team, reload) = on_trial(2, 1);
    team.input(Input::CanaryWorse { reason: "5 % errors".into() });
    assert_eq!((team.asked(), team.app.ready_slots()), (vec!["spawn 4 in 0 as 1".into()], 2));
    team.ready(0);
    assert_eq!(failure(&team, reload), "the canary failed: 5 % errors; the old version serves again");
    assert_eq!(generations(&team), [1, 1]);
    assert!(team.asked().contains(&"signal 3 with 15".into()));
}

#[test]
fn a_canary_that_is_unfit_or_fails_is_no_good() {
    let (mut team, reload) = on_trial(2, 1);
    team.unfit(0, "does not answer");
    team.ready(0);
    assert!(failure(&team, reload).contains("unfit: does not answer"));
    let (mut team, reload) = on_trial(2, 1);
    team.input(Input::Failing { run: RunId(3) });
    team.ready(0);
    assert!(failure(&team, reload).contains("threw an exception"));
    assert_eq!(generations(&team), [1, 1]);
}

#[test]
fn a_canary_that_never_gets_ready_is_an_aborted_reload() {
    let mut team = Team::online(2, rules());
    let canary = Some(Canary { slots: 2, wait: Duration::ZERO });
    let reload = team.command(Command::Reload { target: target(2, rules()), canary });
    team.exits(0, code(1));
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { replaced: 0, .. }))));

    let mut team = Team::online(2, rules());
    let reload = team.command(Command::Reload { target: target(2, rules()), canary });
    team.ready(0);
    team.exits(1, code(1));
    assert_eq!(generations(&team), [2, 1]);
    team.ready(0);
    assert!(failure(&team, reload).contains("slot 1 ended with exit code 1"));
    assert_eq!(generations(&team), [1, 1], "also the one that was good goes back");
}

#[test]
fn an_old_worker_that_dies_during_a_trial_is_no_fault_of_the_canary() {
    let (mut team, reload) = on_trial(2, 1);
    team.exits(1, SIGKILL);
    team.ready(1);
    team.pass(WAIT);
    assert_eq!(generations(&team), [2, 1]);
    team.ready(1);
    assert_eq!(team.result(reload), Some(Ok(())));
}

#[test]
fn a_way_back_that_fails_says_what_is_left_and_is_tried_again() {
    let (mut team, reload) = on_trial(3, 2);
    team.events();
    team.input(Input::CanaryWorse { reason: "slow".into() });
    team.exits(0, code(1));
    assert_eq!(
        failure(&team, reload),
        "the canary failed: slow; going back failed too and is tried again: 2 slots have the new version still"
    );
    assert_eq!((team.app.target(), team.app.ready_slots()), (Generation(1), 3));
    let kept = |event: &Event| matches!(event, Event::Kept { wait_ms: Some(100), .. });
    assert_eq!(team.events().iter().filter(|event| kept(event)).count(), 2);
    team.asked();
    team.pass(99);
    assert_eq!(team.asked(), [""; 0]);
    team.pass(1);
    assert_eq!(team.asked(), ["spawn 7 in 0 as 1"], "one at a time");
    team.exits(0, code(1));
    team.pass(199);
    team.ready(1);
    team.pass(1);
    team.ready(0);
    assert_eq!(generations(&team), [1, 1, 1], "the old version serves");
    assert!(team.app.slots().iter().all(|slot| slot.unfit.is_none() && slot.generation == Generation(1)));
}

#[test]
fn a_version_that_failed_its_trial_and_could_not_be_gone_back_from_is_never_started_again() {
    let (mut team, _) = on_trial(2, 1);
    team.input(Input::CanaryWorse { reason: "slow".into() });
    team.exits(0, code(1));
    team.asked();
    team.run_exits(RunId(3), SIGKILL);
    team.pass(100);
    let asked = team.asked();
    assert!(asked.iter().any(|word| word.starts_with("spawn") && word.ends_with("in 0 as 1")), "{asked:?}");
    assert!(!asked.iter().any(|word| word.ends_with("as 2")), "{asked:?}");
}

#[test]
fn more_canaries_than_slots_are_all_slots() {
    let (mut team, reload) = on_trial(2, 2);
    assert_eq!(team.app.trial().map(|trial| trial.slots.len()), Some(2));
    team.pass(WAIT);
    assert_eq!(team.result(reload), Some(Ok(())));
}

#[test]
fn slots_that_are_added_during_a_trial_wait_for_its_end() {
    let (mut team, reload) = on_trial(1, 1);
    team.command(Command::Scale { to: 2 });
    assert_eq!(team.asked(), ["spawn 3 in 1 as 1"]);
    team.ready(1);
    team.pass(WAIT);
    assert_eq!(generations(&team), [2, 1]);
    team.ready(1);
    assert_eq!((team.result(reload), generations(&team)), (Some(Ok(())), vec![2, 2]));
}

#[test]
fn a_trial_goes_on_after_a_crash_of_the_supervisor() {
    let (mut team, reload) = on_trial(2, 1);
    team.app.carried_out();
    team.pass(10_000);
    team.crash_and_recover(&[2, 3].map(|run| (RunId(run), Observation::Alive)));
    team.pass(WAIT - 10_001);
    assert_eq!(generations(&team), [2, 1]);
    team.pass(1);
    team.ready(1);
    assert_eq!(team.result(reload), Some(Ok(())));
}

#[test]
fn that_nothing_is_on_trial_is_no_trouble() {
    let mut team = Team::online(1, rules());
    team.events();
    team.input(Input::CanaryWorse { reason: "late".into() });
    assert_eq!(team.events(), [] as [Event; 0]);
}

#[test]
fn a_reload_may_take_workers_down_first_when_it_is_told_so() {
    let policy = Policy { max_surge: 0, max_unavailable: 1, ..rules() };
    let mut team = Team::online(2, policy.clone());
    let reload = team.command(Command::Reload { target: target(2, policy), canary: None });
    assert_eq!(team.asked(), ["signal 1 with 15"]);
    team.run_exits(RunId(1), SIGTERM);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2"], "never more processes than slots");
    team.ready(0);
    assert_eq!(team.asked(), ["signal 2 with 15"]);
    team.run_exits(RunId(2), SIGTERM);
    team.ready(1);
    assert_eq!((team.result(reload), generations(&team)), (Some(Ok(())), vec![2, 2]));
}

#[test]
fn a_worker_that_was_taken_down_for_a_bad_version_comes_back() {
    let policy = Policy { max_surge: 0, max_unavailable: 1, ..rules() };
    let mut team = Team::online(2, policy.clone());
    let reload = team.command(Command::Reload { target: target(2, policy), canary: None });
    team.run_exits(RunId(1), SIGTERM);
    team.asked();
    team.exits(0, code(1));
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { .. }))));
    assert!(team.asked().contains(&"spawn 4 in 0 as 1".into()));
}
