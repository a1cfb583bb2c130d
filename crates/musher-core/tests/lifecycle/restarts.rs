//! When a slot is filled again, how long it waits, and when it is given up.

use std::time::Duration;

use musher_core::lifecycle::{Command, Death, Event, ExitOutcome, Policy, SlotState, Vacancy};
use musher_core::spec::RestartPolicy;
use musher_core::{RunId, SlotId};

use super::team::{Team, rules, target};
use super::{RELOAD, RESTART, SIGKILL, SIGTERM, START, code};

#[test]
fn the_restart_policy_decides_which_exits_are_final() {
    use RestartPolicy::{Always, Never, OnFailure};
    let cases = [
        (Always, code(0), false),
        (Always, code(1), false),
        (Always, code(3), true),
        (Always, SIGKILL, false),
        (Always, ExitOutcome::Unknown, false),
        (OnFailure, code(0), true),
        (OnFailure, code(1), false),
        (OnFailure, code(3), true),
        (OnFailure, SIGTERM, false),
        (OnFailure, ExitOutcome::Unknown, false),
        (Never, code(0), true),
        (Never, code(1), true),
        (Never, SIGKILL, true),
    ];
    for (restart, outcome, is_final) in cases {
        let mut team = Team::online(1, Policy { restart, stop_exit_codes: vec![3], ..rules() });
        team.exits(0, outcome);
        let ended = team.slot(0).state == SlotState::Vacant(Vacancy::Ended { death: Death::Exited(outcome) });
        assert_eq!(ended, is_final, "{restart:?} after {outcome}");
    }
}

#[test]
fn a_stable_worker_is_replaced_at_once() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.exits(0, SIGKILL);
    assert_eq!(team.asked(), ["spawn 2 in 0 as 1"]);
    assert_eq!(team.slot(0).restarts, 1);
}

#[test]
fn failures_in_a_row_wait_longer_and_a_stable_run_resets_that() {
    let mut team = Team::online(1, rules());
    let mut waits = Vec::new();
    // The first one had been ready.
    team.exits(0, code(1));
    for _ in 0..4 {
        team.exits(0, code(1));
        let died = team.now;
        waits.push(team.app.next_deadline().unwrap().since(died).as_millis());
        team.pass(2000);
    }
    assert_eq!(waits, [100, 200, 400, 800]);
    team.ready(0);
    team.pass(1000);
    team.asked();
    team.exits(0, code(1));
    assert_eq!(team.asked(), ["spawn 7 in 0 as 1"]);
    team.exits(0, code(1));
    assert_eq!(*team.vacancy(0), Vacancy::Backoff { until: team.now + Duration::from_millis(100), attempt: 1 });
}

#[test]
fn a_worker_that_is_killed_again_and_again_though_it_was_ready_is_replaced_at_once_three_times() {
    let mut team = Team::online(1, rules());
    for run in 2..5 {
        team.asked();
        team.pass(100);
        team.exits(0, SIGKILL);
        assert_eq!(team.asked(), [format!("spawn {run} in 0 as 1")]);
        team.ready(0);
    }
    for wait in [100, 200] {
        team.exits(0, SIGKILL);
        assert_eq!(team.app.next_deadline().unwrap().since(team.now).as_millis(), wait);
        team.pass(wait.try_into().unwrap());
        team.ready(0);
    }
    team.pass(1000);
    team.exits(0, SIGKILL);
    team.ready(0);
    team.asked();
    team.exits(0, SIGKILL);
    assert_eq!(team.asked(), ["spawn 8 in 0 as 1"], "after a stable one it begins anew");
}

#[test]
fn the_eleventh_restart_within_a_minute_is_not_made() {
    let mut team = Team::online(1, rules());
    for _ in 0..10 {
        team.pass(5900);
        team.exits(0, code(1));
        team.ready(0);
    }
    team.pass(5900);
    team.events();
    team.exits(0, code(1));
    let death = Death::Exited(code(1));
    assert!(team.events().contains(&Event::Giveup {
        slot: SlotId(0),
        restarts: 10,
        window_ms: 60_000,
        death: death.clone()
    }));
    assert_eq!(*team.vacancy(0), Vacancy::GaveUp { restarts: 10, death });
    assert_eq!(team.app.next_deadline(), None);
}

#[test]
fn eleven_restarts_in_more_than_a_minute_are_fine() {
    let mut team = Team::online(1, rules());
    for _ in 0..50 {
        team.pass(6000);
        team.exits(0, code(1));
        team.ready(0);
    }
    assert_eq!(team.slot(0).restarts, 50);
}

#[test]
fn a_restart_by_the_clock_counts_where_something_runs_and_is_no_failure() {
    let mut team = Team::online(2, rules());
    // The first time it is started again at once, the second time it waits.
    team.exits(0, code(1));
    team.exits(0, code(1));
    assert!(matches!(team.vacancy(0), Vacancy::Backoff { .. }));
    team.app.count_restart();
    assert_eq!((team.slot(0).restarts, team.slot(1).restarts), (1, 1), "what waits is not started again");
    team.app.reset_restarts();
    assert_eq!(team.slot(1).restarts, 0);
}

#[test]
fn a_program_that_always_fails_is_given_up_within_its_window() {
    let mut team = Team::new(1, rules());
    team.command(START);
    let begin = team.now;
    while team.app.runs().next().is_some() {
        team.exits(0, code(1));
        if let Some(until) = team.app.next_deadline() {
            team.pass(until.since(team.now).as_millis().try_into().unwrap());
        }
    }
    assert!(matches!(team.vacancy(0), Vacancy::GaveUp { restarts: 10, .. }));
    let waits = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000];
    assert_eq!(team.now.since(begin).as_millis(), waits.iter().sum());
}

#[test]
fn no_restarts_allowed_means_giving_up_at_the_first_death() {
    let mut team = Team::online(1, Policy { max_restarts: 0, ..rules() });
    team.exits(0, code(1));
    assert_eq!(*team.vacancy(0), Vacancy::GaveUp { restarts: 0, death: Death::Exited(code(1)) });
}

#[test]
fn the_listeners_of_an_app_that_will_not_come_back_are_closed_once() {
    let mut team = Team::online(2, Policy { max_restarts: 0, ..rules() });
    team.asked();
    team.exits(0, code(1));
    assert_eq!(team.asked(), Vec::<String>::new(), "the other slot still serves");
    team.exits(1, code(1));
    assert_eq!(team.asked(), ["close"]);
    team.pass(60_000);
    assert_eq!(team.asked(), Vec::<String>::new());
    team.command(START);
    team.ready(0);
    team.asked();
    team.exits(0, code(1));
    team.exits(1, code(1));
    assert!(team.asked().contains(&"close".to_owned()));
}

#[test]
fn a_slot_that_gave_up_starts_over_when_a_user_says_so() {
    for command in [START, RESTART, RELOAD] {
        let mut team = Team::online(1, Policy { max_restarts: 1, ..rules() });
        team.exits(0, code(1));
        team.pass(100);
        team.exits(0, code(1));
        assert!(matches!(team.vacancy(0), Vacancy::GaveUp { .. }));
        let op = team.command(command);
        team.ready(0);
        assert_eq!(team.result(op), Some(Ok(())));
        team.exits(0, code(1));
        assert!(matches!(team.slot(0).state, SlotState::Filled { .. }), "{:?}", team.slot(0));
    }
}

#[test]
fn a_restart_starts_each_slot_when_its_old_process_is_gone() {
    let mut team = Team::online(2, rules());
    let restart = team.command(Command::Restart { target: target(2, rules()) });
    assert_eq!(team.asked(), ["signal 1 with 15", "signal 2 with 15"]);
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.asked(), ["spawn 3 in 1 as 2"]);
    team.run_exits(RunId(1), SIGTERM);
    assert_eq!(team.asked(), ["spawn 4 in 0 as 2"]);
    team.ready(0);
    team.ready(1);
    assert_eq!(team.result(restart), Some(Ok(())));
    assert_eq!(team.slot(0).restarts, 0, "a restart by a user is not counted");
}
