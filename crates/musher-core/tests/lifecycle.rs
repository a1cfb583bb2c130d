//! Cases of the lifecycle, each told in a few lines.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail in this way too")]

#[path = "lifecycle/team.rs"]
mod team;

use std::time::Duration;

use musher_core::lifecycle::{
    App, Command, Death, Event, ExitOutcome, Input, Observation, OpError, Policy, SlotState, Vacancy,
};
use musher_core::spec::RestartPolicy;
use musher_core::{Generation, RunId, SlotId};

use team::{Team, rules, target};

const START: Command = Command::Start { target: None };
const RESTART: Command = Command::Restart { target: None };
const RELOAD: Command = Command::Reload { target: None };
const SIGKILL: ExitOutcome = ExitOutcome::Signal { signal: 9, core_dumped: false };
const SIGTERM: ExitOutcome = ExitOutcome::Signal { signal: 15, core_dumped: false };

fn code(code: i32) -> ExitOutcome {
    ExitOutcome::Code(code)
}

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
    assert_eq!(team.asked(), ["spawn 6 in 0 as 1"]);
    team.exits(0, code(1));
    assert_eq!(*team.vacancy(0), Vacancy::Backoff { until: team.now + Duration::from_millis(100), attempt: 1 });
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
        assert!(matches!(team.vacancy(0), Vacancy::Backoff { attempt: 1, .. }));
    }
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_stopped_and_counts_as_a_failure() {
    let mut team = Team::new(1, rules());
    let start = team.command(START);
    team.asked();
    team.pass(30_000);
    assert_eq!(
        team.asked(),
        ["signal 1 with 15", "1 failed: the worker in slot 0 was not ready within 30000 ms before it was ready"]
    );
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
    assert_eq!(error.to_string(), "the worker in slot 0 could not be started: no such file before it was ready");
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
fn a_reload_has_the_new_ready_before_the_old_drains() {
    let mut team = Team::online(2, Policy { drains: true, ..rules() });
    let reload = team.command(Command::Reload { target: target(2, Policy { drains: true, ..rules() }) });
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2"]);
    team.ready(0);
    assert_eq!(team.asked(), ["drain 1", "spawn 4 in 1 as 2"]);
    team.drained(RunId(1));
    assert_eq!(team.asked(), ["signal 1 with 15"]);
    team.ready(1);
    assert_eq!(team.asked(), ["drain 2", format!("{reload} ok").as_str()]);
}

#[test]
fn an_old_worker_that_does_not_finish_is_stopped_and_killed() {
    let mut team = Team::online(1, Policy { drains: true, ..rules() });
    team.command(RELOAD);
    team.ready(0);
    team.asked();
    team.pass(29_999);
    assert_eq!(team.asked(), [""; 0]);
    team.pass(1);
    assert_eq!(team.asked(), ["signal 1 with 15"]);
    team.pass(5000);
    assert_eq!(team.asked(), ["kill 1"]);
    team.run_exits(RunId(1), SIGKILL);
    assert_eq!(team.runs(), [2]);
}

#[test]
fn programs_of_other_kinds_drain_on_the_stop_signal() {
    let mut team = Team::online(1, rules());
    team.command(RELOAD);
    team.ready(0);
    assert_eq!(team.asked(), ["spawn 2 in 0 as 1", "signal 1 with 15", "2 ok"]);
}

#[test]
fn a_reload_replaces_only_so_many_slots_at_a_time() {
    let mut team = Team::online(5, Policy { max_surge: 2, ..rules() });
    let reload = team.command(RELOAD);
    for ready in [0, 1, 2, 3, 4] {
        let starting = team.app.runs().filter(|(_, run)| !run.is_online() && !run.is_draining()).count();
        assert_eq!(starting, 2.min(5 - ready as usize));
        team.ready(ready);
    }
    assert_eq!(team.result(reload), Some(Ok(())));
}

#[test]
fn a_reload_whose_new_worker_dies_keeps_the_old_ones() {
    let mut team = Team::online(3, rules());
    let reload = team.command(Command::Reload { target: target(2, Policy { max_surge: 2, ..rules() }) });
    team.ready(0);
    team.asked();
    team.exits(1, code(1));
    assert_eq!(
        team.asked(),
        [
            format!(
                "{reload} failed: the reload was aborted: the new worker in slot 1 ended with exit code 1; 1 of 3 slots were replaced before"
            ),
            "signal 6 with 15".into(),
        ]
    );
    assert_eq!(team.app.target(), Generation(1));
    let generations: Vec<u32> = team.app.slots().iter().map(|slot| slot.generation.0).collect();
    assert_eq!(generations, [2, 1, 1], "what was replaced stays");
    assert_eq!(team.app.ready_slots(), 3);
}

#[test]
fn a_reload_whose_new_worker_is_not_ready_in_time_is_aborted() {
    let mut team = Team::online(1, rules());
    let reload = team.command(Command::Reload { target: target(2, rules()) });
    team.pass(30_000);
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { death: Death::NotReady { .. }, .. }))));
    assert_eq!(team.app.ready_slots(), 1);
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.runs(), [1]);
    assert_eq!(team.app.generations_in_use().into_iter().collect::<Vec<_>>(), [Generation(1)]);
}

#[test]
fn a_reload_is_aborted_when_a_new_worker_dies_soon_after_it_was_ready() {
    let mut team = Team::online(2, rules());
    let reload = team.command(Command::Reload { target: target(2, rules()) });
    team.ready(0);
    team.pass(999);
    team.exits(0, code(1));
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { replaced: 1, .. }))));
}

#[test]
fn an_old_worker_that_dies_during_its_replacement_comes_back_only_when_the_reload_aborts() {
    let mut team = Team::online(1, rules());
    team.pass(5000);
    team.command(Command::Reload { target: target(2, rules()) });
    team.asked();
    team.run_exits(RunId(1), SIGKILL);
    assert_eq!(team.asked(), [""; 0]);
    team.run_exits(RunId(2), code(1));
    assert!(team.asked().contains(&"spawn 3 in 0 as 1".to_owned()));
}

#[test]
fn a_reload_starts_what_is_vacant_and_puts_it_back_when_it_aborts() {
    let mut team = Team::online(2, Policy { max_restarts: 0, ..rules() });
    team.exits(1, code(1));
    let before = team.slot(1).state.clone();
    team.asked();
    team.command(Command::Reload { target: target(2, rules()) });
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2", "spawn 4 in 1 as 2"]);
    team.exits(1, code(7));
    assert_eq!(team.slot(1).state, before);
    assert_eq!(team.slot(1).generation, Generation(1));
}

#[test]
fn a_reload_waits_for_a_worker_that_is_starting() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.exits(0, SIGKILL);
    team.asked();
    team.command(Command::Reload { target: target(2, rules()) });
    assert_eq!(team.asked(), [""; 0]);
    team.ready(0);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2"]);
}

#[test]
fn a_reload_of_a_stopped_app_is_a_start() {
    let mut team = Team::new(2, rules());
    let reload = team.command(Command::Reload { target: target(2, rules()) });
    assert_eq!(team.asked(), ["spawn 1 in 0 as 2", "spawn 2 in 1 as 2"]);
    team.ready(0);
    team.ready(1);
    assert_eq!(team.result(reload), Some(Ok(())));
}

#[test]
fn a_running_reload_keeps_starts_and_reloads_off() {
    let mut team = Team::online(1, rules());
    let reload = team.command(RELOAD);
    for command in [START, RELOAD] {
        let refused = team.command(command);
        assert_eq!(team.result(refused), Some(Err(OpError::Busy { with: reload })));
    }
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
fn the_spec_of_a_superseded_reload_is_what_the_next_start_uses() {
    let mut team = Team::online(1, rules());
    team.command(Command::Reload { target: target(2, rules()) });
    team.command(Command::Stop);
    team.run_exits(RunId(1), SIGTERM);
    team.run_exits(RunId(2), SIGTERM);
    team.asked();
    team.command(START);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2"]);
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
fn slots_that_come_or_go_during_a_reload_come_and_go_in_it() {
    let mut team = Team::online(3, rules());
    let reload = team.command(Command::Reload { target: target(2, rules()) });
    team.command(Command::Scale { to: 1 });
    team.ready(0);
    assert_eq!(team.result(reload), Some(Ok(())));

    let mut team = Team::online(1, rules());
    let reload = team.command(Command::Reload { target: target(2, rules()) });
    team.asked();
    let scale = team.command(Command::Scale { to: 2 });
    assert_eq!(team.asked(), ["spawn 3 in 1 as 2"]);
    team.ready(0);
    assert_eq!(team.result(reload), None);
    team.ready(1);
    assert_eq!((team.result(reload), team.result(scale)), (Some(Ok(())), Some(Ok(()))));
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

#[test]
fn a_spawn_that_was_lost_in_a_crash_is_made_again_and_not_counted() {
    let mut team = Team::online(1, Policy { max_restarts: 1, ..rules() });
    team.pass(5000);
    team.input_and_crash(Input::Exited { run: RunId(1), outcome: SIGKILL });
    team.crash_and_recover(&[]);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 1"]);
    assert_eq!(team.slot(0).restarts, 1, "the restart itself, but not its repetition");
}

#[test]
fn a_process_that_was_found_again_goes_on_starting_with_its_whole_time() {
    let mut team = Team::new(1, rules());
    team.input_and_crash(Input::Command { op: musher_core::OpId(1), command: START });
    team.pass(29_000);
    team.crash_and_recover(&[(RunId(1), Observation::Alive)]);
    assert_eq!(team.asked(), [""; 0]);
    team.pass(29_000);
    team.ready(0);
    assert_eq!(team.asked(), ["1 ok"]);
}

#[test]
fn what_a_draining_run_was_told_is_said_again() {
    let mut team = Team::online(3, Policy { drains: true, ..rules() });
    team.command(Command::Scale { to: 2 });
    team.crash_and_recover(&[1, 2, 3].map(|run| (RunId(run), Observation::Alive)));
    assert_eq!(team.asked(), ["retire 2", "drain 3"]);
    team.command(Command::Stop);
    team.crash_and_recover(&[1, 2, 3].map(|run| (RunId(run), Observation::Alive)));
    let asked = team.asked();
    assert!(asked.contains(&"signal 1 with 15".into()) && asked.contains(&"signal 3 with 15".into()), "{asked:?}");
}

#[test]
fn a_result_that_may_not_have_been_told_is_told_again() {
    let mut team = Team::online(1, rules());
    team.app.carried_out();
    team.command(Command::Stop);
    team.run_exits(RunId(1), SIGTERM);
    team.crash_and_recover(&[]);
    assert_eq!(team.asked(), ["close", "2 ok"]);
    team.app.carried_out();
    team.crash_and_recover(&[]);
    assert_eq!(team.asked(), [""; 0]);
}

#[test]
fn what_no_longer_holds_is_not_said_again() {
    let mut team = Team::online(1, rules());
    team.app.carried_out();
    team.command(Command::Stop);
    team.run_exits(RunId(1), SIGTERM);
    team.command(START);
    team.crash_and_recover(&[(RunId(2), Observation::Alive)]);
    assert_eq!(team.asked(), ["2 ok"], "the listeners of a running app stay open");
}

#[test]
fn runs_that_ended_while_nobody_looked_are_replaced() {
    let mut team = Team::online(2, rules());
    team.pass(5000);
    team.crash_and_recover(&[(RunId(1), Observation::Exited(code(1)))]);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 1", "spawn 4 in 1 as 1"]);
    assert_eq!(team.slot(1).last_exit.as_ref().unwrap().death, Death::Exited(ExitOutcome::Unknown));
}

#[test]
fn a_state_with_fields_of_the_future_is_read() {
    let team = Team::online(1, rules());
    let mut state = serde_json::to_value(&team.app).unwrap();
    for path in ["", "/slots/0", "/policies/1", "/runs/1"] {
        state.pointer_mut(path).unwrap()["of_the_future"] = 1.into();
    }
    assert_eq!(serde_json::from_value::<App>(state).unwrap(), team.app);
}

#[test]
fn events_are_told_in_kebab_case() {
    let event = Event::Giveup { slot: SlotId(0), restarts: 10, window_ms: 60_000, death: Death::Exited(code(1)) };
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"kind":"giveup","slot":0,"restarts":10,"window_ms":60000,"death":{"exited":{"code":1}}}"#
    );
}
