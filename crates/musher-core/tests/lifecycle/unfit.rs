//! Workers that serve and have to go: unfit ones are replaced without a gap, failing ones end by themselves.

use std::time::Duration;

use musher_core::RunId;
use musher_core::lifecycle::{
    Command, Death, Due, Event, Input, Observation, OpError, Policy, RunState, SlotState, Stage, Vacancy,
};

use super::team::{Team, reload_to, rules, target};
use super::{SIGKILL, SIGTERM, code};

fn draining() -> Policy {
    Policy { drains: true, ..rules() }
}

fn due(team: &Team, slot: u32) -> Due {
    team.slot(slot).unfit.as_ref().expect("the slot's run is unfit").due
}

#[test]
fn an_unfit_worker_serves_until_its_successor_is_ready() {
    let mut team = Team::online(2, draining());
    team.pass(1000);
    team.unfit(1, "does not answer");
    assert_eq!(team.asked(), ["spawn 3 in 1 as 1"]);
    assert_eq!(team.app.ready_slots(), 2);
    team.ready(1);
    assert_eq!(team.asked(), ["drain 2"]);
    assert_eq!(team.slot(1).state, SlotState::Filled { run: RunId(3) });
    assert_eq!((team.slot(1).restarts, &team.slot(1).unfit), (1, &None));
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.runs(), [1, 3]);
}

#[test]
fn that_a_worker_is_unfit_is_heard_once() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    for _ in 0..3 {
        team.unfit(0, "too much memory");
    }
    let told = team.events();
    assert_eq!(told.iter().filter(|event| matches!(event, Event::Unfit { .. })).count(), 1, "{told:?}");
    assert_eq!(team.slot(0).restarts, 1);
}

#[test]
fn a_successor_that_fails_leaves_the_unfit_worker_serving_and_is_tried_again_later() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.unfit(0, "does not answer");
    team.run_exits(RunId(2), code(1));
    assert_eq!(team.app.ready_slots(), 1);
    assert_eq!(team.slot(0).state, SlotState::Filled { run: RunId(1) });
    assert_eq!(due(&team, 0), Due::At(team.now + Duration::from_millis(100)));
    team.asked();
    team.pass(100);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 1"]);
    team.run_exits(RunId(3), code(1));
    assert_eq!(due(&team, 0), Due::At(team.now + Duration::from_millis(200)));
    team.pass(200);
    team.ready(0);
    assert_eq!(team.slot(0).state, SlotState::Filled { run: RunId(4) });
}

#[test]
fn a_successor_that_is_not_ready_in_time_has_to_be_gone_before_the_next_try() {
    let mut team = Team::online(1, Policy { grace: Duration::from_secs(60), ..rules() });
    team.pass(1000);
    team.unfit(0, "does not answer");
    team.asked();
    team.pass(30_000);
    assert_eq!(team.asked(), ["signal 2 with 15"]);
    team.pass(1000);
    assert_eq!((team.asked(), due(&team, 0)), (vec![], Due::Now));
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 1"]);
}

#[test]
fn an_unfit_worker_is_not_given_up_but_waits_until_the_window_has_room() {
    let mut team = Team::online(1, Policy { max_restarts: 2, ..rules() });
    team.pass(1000);
    let first = team.now;
    for run in [2, 3] {
        team.unfit(0, "leaks");
        team.ready(0);
        team.run_exits(RunId(run - 1), SIGTERM);
        team.pass(5000);
    }
    team.unfit(0, "leaks");
    assert_eq!(due(&team, 0), Due::At(first + Duration::from_secs(60)));
    assert_eq!((team.app.ready_slots(), team.slot(0).restarts), (1, 2));
    team.asked();
    team.pass(60_000);
    assert_eq!(team.asked(), ["spawn 4 in 0 as 1"]);
}

#[test]
fn without_any_restart_an_unfit_worker_is_kept() {
    let mut team = Team::online(1, Policy { max_restarts: 0, ..rules() });
    team.unfit(0, "leaks");
    assert_eq!((team.asked(), due(&team, 0)), (vec![], Due::Never));
    assert_eq!((team.app.next_deadline(), team.app.ready_slots()), (None, 1));
    let reload = team.command(super::RELOAD);
    team.ready(0);
    assert_eq!((team.result(reload), &team.slot(0).unfit), (Some(Ok(())), &None));
}

#[test]
fn no_more_unfit_workers_are_replaced_at_a_time_than_a_reload_would() {
    let mut team = Team::online(3, Policy { max_surge: 2, ..rules() });
    team.pass(1000);
    for slot in 0..3 {
        team.unfit(slot, "the database does not answer");
    }
    assert_eq!(team.asked(), ["spawn 4 in 0 as 1", "spawn 5 in 1 as 1"]);
    team.ready(0);
    assert_eq!(team.asked(), ["signal 1 with 15", "spawn 6 in 2 as 1"]);
}

#[test]
fn an_unfit_worker_that_dies_first_leaves_its_slot_to_the_successor() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.unfit(0, "does not answer");
    team.asked();
    team.run_exits(RunId(1), SIGKILL);
    assert_eq!((team.asked(), team.slot(0).restarts), (vec![], 1));
    assert_eq!(team.slot(0).state, SlotState::Filled { run: RunId(2) });
    team.ready(0);
    assert_eq!(team.app.ready_slots(), 1);
}

#[test]
fn an_unfit_worker_that_has_done_its_work_needs_no_successor() {
    use musher_core::spec::RestartPolicy::OnFailure;
    let mut team = Team::online(1, Policy { restart: OnFailure, ..rules() });
    team.pass(1000);
    team.unfit(0, "does not answer");
    team.asked();
    team.run_exits(RunId(1), code(0));
    assert_eq!(team.asked(), ["signal 2 with 15"]);
    assert_eq!(*team.vacancy(0), Vacancy::Ended { death: Death::Exited(code(0)) });
}

#[test]
fn a_reload_that_aborts_leaves_an_unfit_worker_to_its_own_replacement() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    let reload = team.command(reload_to(target(2, rules())));
    team.unfit(0, "does not answer");
    team.asked();
    team.run_exits(RunId(2), code(1));
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { .. }))));
    team.asked();
    team.pass(0);
    assert_eq!(team.slot(0).generation.0, 1);
    assert!(matches!(team.slot(0).state, SlotState::Replacing { .. }), "{:?}", team.slot(0));
    assert_eq!(team.app.ready_slots(), 1);
}

#[test]
fn a_start_does_not_wait_for_the_replacement_of_a_worker_that_serves() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.unfit(0, "does not answer");
    let start = team.command(super::START);
    assert_eq!(team.result(start), Some(Ok(())));
}

#[test]
fn what_is_being_replaced_is_stopped_with_the_app_and_forgotten() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.unfit(0, "does not answer");
    team.asked();
    team.command(Command::Stop);
    assert_eq!(team.asked(), ["signal 1 with 15", "signal 2 with 15"]);
    assert_eq!(team.slot(0).unfit, None);
}

#[test]
fn a_replacement_goes_on_after_a_crash_of_the_supervisor() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    let run = RunId(1);
    team.input_and_crash(Input::Unfit { run, reason: "does not answer".into() });
    team.crash_and_recover(&[(run, Observation::Alive)]);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 1"]);
    team.ready(0);
    assert_eq!((team.asked(), team.slot(0).restarts), (vec!["signal 1 with 15".into()], 1));
}

#[test]
fn workers_that_do_not_serve_cannot_be_unfit() {
    let mut team = Team::new(1, rules());
    team.command(super::START);
    team.unfit(0, "does not answer");
    assert_eq!(team.slot(0).unfit, None);
    team.input(Input::Unfit { run: RunId(99), reason: String::new() });
    assert!(team.events().iter().all(|event| !matches!(event, Event::Unfit { .. })));
}

#[test]
fn the_successor_of_a_failing_worker_starts_while_that_finishes_what_it_has() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.input(Input::Failing { run: RunId(1) });
    assert_eq!(team.asked(), ["drain 1", "spawn 2 in 0 as 1"]);
    assert_eq!(team.slot(0).last_exit.as_ref().unwrap().death, Death::Uncaught);
    team.ready(0);
    team.run_exits(RunId(1), code(1));
    assert_eq!((team.asked(), team.slot(0).restarts), (vec![], 1), "its end is not another death");
}

#[test]
fn a_failing_worker_that_does_not_end_is_stopped_and_killed() {
    let mut team = Team::online(1, rules());
    team.pass(1000);
    team.input(Input::Failing { run: RunId(1) });
    team.ready(0);
    team.asked();
    team.pass(4999);
    assert_eq!(team.asked(), [""; 0]);
    team.pass(1);
    assert_eq!(team.asked(), ["signal 1 with 15"]);
    team.pass(5000);
    assert_eq!(team.asked(), ["kill 1"]);
}

#[test]
fn a_worker_that_fails_again_and_again_backs_off_and_is_given_up() {
    let mut team = Team::online(1, Policy { max_restarts: 1, ..rules() });
    team.pass(1000);
    team.input(Input::Failing { run: RunId(1) });
    team.ready(0);
    team.pass(1000);
    team.input(Input::Failing { run: RunId(2) });
    assert_eq!(*team.vacancy(0), Vacancy::GaveUp { restarts: 1, death: Death::Uncaught });
}

#[test]
fn a_new_worker_that_fails_aborts_its_reload() {
    let mut team = Team::online(1, rules());
    let reload = team.command(super::RELOAD);
    team.input(Input::Failing { run: RunId(2) });
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { death: Death::Uncaught, .. }))));
    assert_eq!(team.app.ready_slots(), 1);
}

#[test]
fn a_failing_worker_has_its_own_time_also_after_a_crash_of_the_supervisor() {
    let mut team = Team::online(1, draining());
    team.pass(1000);
    team.input(Input::Failing { run: RunId(1) });
    team.crash_and_recover(&[1, 2].map(|run| (RunId(run), Observation::Alive)));
    let until = team.now + Duration::from_secs(5);
    assert_eq!(
        team.app.run(RunId(1)).unwrap().state,
        RunState::Draining { stage: Stage::Drain, deadline: until, spawned: true, blocks: false }
    );
}

#[test]
fn a_worker_that_asks_for_time_gets_it_to_start_and_to_stop_but_a_kill_is_not_put_off() {
    let by = Duration::from_secs(100);
    let mut team =
        Team::new(1, Policy { ready_timeout: Duration::from_secs(10), grace: Duration::from_secs(5), ..rules() });
    team.command(Command::Start { target: None });
    team.pass(9000);
    team.input(Input::Extend { run: RunId(1), by });
    // Less than it has changes nothing.
    team.input(Input::Extend { run: RunId(1), by: Duration::from_secs(1) });
    team.pass(99_000);
    assert_eq!(team.runs(), [1]);
    team.ready(0);
    team.asked();
    team.command(Command::Stop);
    assert_eq!(team.asked(), ["signal 1 with 15"]);
    team.input(Input::Extend { run: RunId(1), by });
    team.pass(99_000);
    assert!(team.asked().is_empty());
    team.pass(1000);
    assert_eq!(team.asked(), ["kill 1"]);
    team.input(Input::Extend { run: RunId(1), by });
    team.pass(1000);
    assert_eq!(team.asked(), ["kill 1"]);
}
