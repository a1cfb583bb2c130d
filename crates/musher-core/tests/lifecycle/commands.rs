//! Start, stop, scale, and what they do to each other.

use musher_core::lifecycle::{Command, Death, Input, OpError, Policy, Vacancy};
use musher_core::spec::RestartPolicy;
use musher_core::{RunId, SlotId};

use super::team::{Team, rules};
use super::{RELOAD, RESTART, SIGKILL, SIGTERM, START, code};

#[test]
fn a_start_finishes_when_every_slot_is_online() {
    let mut team = Team::new(2, rules());
    let start = team.command(START);
    assert_eq!(team.asked(), ["spawn 1 in 0 as 1", "spawn 2 in 1 as 1"]);
    team.ready(1);
    assert_eq!(team.result(start), None);
    team.ready(0);
    assert_eq!(team.result(start), Some(Ok(())));
}

#[test]
fn a_start_fails_with_the_first_death_before_ready_and_the_slot_goes_on() {
    let mut team = Team::new(2, rules());
    let start = team.command(START);
    team.exits(1, code(1));
    let died = OpError::Died { slot: SlotId(1), run: RunId(2), death: Death::Exited(code(1)) };
    assert_eq!(died.to_string(), "the worker in slot 1 ended with exit code 1 before it was ready");
    assert_eq!(team.result(start), Some(Err(died)));
    team.asked();
    team.pass(100);
    assert_eq!(team.asked(), ["spawn 3 in 1 as 1"]);
}

#[test]
fn a_job_that_ends_with_code_0_has_started_well() {
    let mut team = Team::new(1, Policy { restart: RestartPolicy::OnFailure, ..rules() });
    let start = team.command(START);
    team.exits(0, code(0));
    assert_eq!(team.result(start), Some(Ok(())));
    assert_eq!(*team.vacancy(0), Vacancy::Ended { death: Death::Exited(code(0)) });
}

#[test]
fn a_start_fills_what_is_empty_and_leaves_what_runs() {
    let mut team = Team::online(3, Policy { restart: RestartPolicy::Never, ..rules() });
    team.exits(1, code(1));
    team.asked();
    let start = team.command(START);
    assert_eq!(team.asked(), ["spawn 4 in 1 as 1"]);
    team.ready(1);
    assert_eq!(team.result(start), Some(Ok(())));
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_stopped_and_counts_as_a_failure() {
    let mut team = Team::new(1, rules());
    let start = team.command(START);
    team.asked();
    team.pass(30_000);
    assert_eq!(team.asked(), ["signal 1 with 15", "1 failed: the worker in slot 0 was not ready within 30 s"]);
    assert!(team.result(start).is_none());
    team.pass(100);
    assert_eq!(team.asked(), [""; 0], "the slot waits for the old process");
    team.run_exits(RunId(1), code(0));
    assert_eq!(team.asked(), ["spawn 2 in 0 as 1"]);
    assert_eq!(team.slot(0).restarts, 1);
}

#[test]
fn a_spawn_that_fails_is_a_failed_start() {
    let mut team = Team::new(1, rules());
    let start = team.command(START);
    team.input(Input::SpawnFailed { run: RunId(1), reason: "no such file".into() });
    let error = team.result(start).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the worker in slot 0 could not be started: no such file");
    assert!(matches!(team.vacancy(0), Vacancy::Backoff { attempt: 1, .. }));
}

#[test]
fn a_stop_is_stop_signal_then_grace_then_kill_every_second() {
    let mut team = Team::online(1, rules());
    team.command(Command::Stop);
    assert_eq!(team.asked(), ["signal 1 with 15"]);
    team.pass(4999);
    assert_eq!(team.asked(), [""; 0]);
    team.pass(1);
    assert_eq!(team.asked(), ["kill 1"]);
    team.pass(2000);
    assert_eq!(team.asked(), ["kill 1", "kill 1"]);
    team.run_exits(RunId(1), SIGKILL);
    assert_eq!(team.asked(), ["close", "2 ok"]);
    assert_eq!(*team.vacancy(0), Vacancy::Stopped);
}

#[test]
fn a_stop_of_a_stopped_app_finishes_at_once() {
    let mut team = Team::new(2, rules());
    team.command(Command::Stop);
    assert_eq!(team.asked(), ["close", "1 ok"]);
}

#[test]
fn a_second_stop_joins_the_first_and_a_delete_takes_it_over() {
    let mut team = Team::online(1, rules());
    team.command(Command::Stop);
    team.command(Command::Stop);
    team.command(Command::Delete);
    team.asked();
    let refused = team.command(START);
    assert_eq!(team.result(refused), Some(Err(OpError::Deleted)));
    team.asked();
    team.run_exits(RunId(1), SIGTERM);
    assert_eq!(team.asked(), ["close", "2 ok", "3 ok", "4 ok"]);
    assert!(team.app.is_deleted());
    let late = team.command(Command::Stop);
    assert_eq!(team.result(late), Some(Err(OpError::Deleted)));
}

#[test]
fn a_start_during_a_stop_takes_its_place() {
    let mut team = Team::online(1, rules());
    let stop = team.command(Command::Stop);
    let start = team.command(START);
    assert_eq!(team.result(stop), Some(Err(OpError::Superseded { by: start })));
    team.asked();
    team.run_exits(RunId(1), SIGTERM);
    assert_eq!(team.asked(), ["spawn 2 in 0 as 1"]);
}

#[test]
fn stop_restart_and_delete_supersede_what_runs() {
    for command in [Command::Stop, RESTART, Command::Delete] {
        for running in [RELOAD, Command::Scale { to: 3 }] {
            let mut team = Team::online(2, rules());
            let first = team.command(running);
            let second = team.command(command.clone());
            assert_eq!(team.result(first), Some(Err(OpError::Superseded { by: second })));
        }
    }
}

#[test]
fn scaling_up_finishes_when_the_added_slots_are_online() {
    let mut team = Team::online(1, rules());
    let scale = team.command(Command::Scale { to: 3 });
    assert_eq!(team.asked(), ["spawn 2 in 1 as 1", "spawn 3 in 2 as 1"]);
    team.ready(1);
    team.ready(2);
    assert_eq!(team.result(scale), Some(Ok(())));
}

#[test]
fn scaling_down_retires_the_highest_slots_and_waits_for_their_processes() {
    let mut team = Team::online(3, Policy { drains: true, ..rules() });
    let scale = team.command(Command::Scale { to: 1 });
    assert_eq!(team.asked(), ["retire 2", "drain 3", "retire 1", "drain 2"]);
    for run in [2, 3] {
        team.drained(RunId(run));
        team.run_exits(RunId(run), SIGTERM);
    }
    assert_eq!(team.result(scale), Some(Ok(())));
    assert_eq!(team.runs(), [1]);
}

#[test]
fn a_stopped_app_is_scaled_without_starting_it() {
    let mut team = Team::new(1, rules());
    team.command(Command::Scale { to: 4 });
    assert_eq!(team.asked(), ["1 ok"]);
    assert_eq!(team.app.slots().len(), 4);
    team.command(Command::Scale { to: 0 });
    team.command(Command::Scale { to: 1001 });
    assert_eq!(
        team.asked(),
        [
            "2 failed: 0 slots are not possible: an app has 1 to 1000",
            "3 failed: 1001 slots are not possible: an app has 1 to 1000"
        ]
    );
}
