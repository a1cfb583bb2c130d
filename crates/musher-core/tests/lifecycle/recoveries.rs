//! After a crash of the supervisor, and what is written for it.

use musher_core::lifecycle::{App, Command, Death, Event, ExitOutcome, Input, Observation, Policy};
use musher_core::spec::RestartPolicy;
use musher_core::{OpId, RunId, SlotId};

use super::team::{Team, rules};
use super::{SIGKILL, SIGTERM, START, code};

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
fn a_process_that_was_found_again_goes_on_starting_with_the_time_that_is_left() {
    let mut team = Team::new(1, rules());
    team.input_and_crash(Input::Command { op: OpId(1), command: START });
    for _ in 0..2 {
        team.pass(10_000);
        team.crash_and_recover(&[(RunId(1), Observation::Alive)]);
    }
    team.pass(9999);
    assert_eq!(team.asked(), [""; 0]);
    team.pass(1);
    assert!(team.asked().contains(&"signal 1 with 15".into()), "crashes do not let it start for ever");
}

#[test]
fn a_process_that_was_found_again_at_its_last_moment_has_a_second_to_be_heard() {
    let mut team = Team::new(1, rules());
    team.input_and_crash(Input::Command { op: OpId(1), command: START });
    team.now = team.now + std::time::Duration::from_secs(40);
    team.crash_and_recover(&[(RunId(1), Observation::Alive)]);
    team.pass(999);
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
fn what_was_lost_without_a_fault_of_its_own_is_filled_at_once_and_not_counted() {
    let mut team = Team::online(2, Policy { max_restarts: 1, ..rules() });
    for round in 0..5 {
        team.crash_and_recover(&[1, 2].map(|n| (RunId(2 * round + n), Observation::Lost)));
        let first = 2 * round + 3;
        assert_eq!(team.asked(), [format!("spawn {first} in 0 as 1"), format!("spawn {} in 1 as 1", first + 1)]);
        team.ready(0);
        team.ready(1);
    }
    assert_eq!(team.slot(0).restarts, 0);
}

#[test]
fn what_was_lost_and_is_not_always_restarted_has_ended() {
    let mut team = Team::online(1, Policy { restart: RestartPolicy::Never, ..rules() });
    team.crash_and_recover(&[(RunId(1), Observation::Lost)]);
    assert_eq!(team.asked(), ["close"]);
    assert_eq!(team.slot(0).last_exit.as_ref().unwrap().death, Death::Exited(ExitOutcome::Unknown));
}

#[test]
fn numbers_of_runs_that_only_the_world_knows_are_not_given_again() {
    let mut team = Team::online(1, rules());
    team.app.skip_runs(RunId(7));
    team.app.skip_runs(RunId(3));
    team.crash_and_recover(&[(RunId(1), Observation::Lost)]);
    assert_eq!(team.asked(), ["spawn 8 in 0 as 1"]);
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

/// The state, with what is at this place replaced by what only a later version knows.
fn written_by_a_later_version(app: &App, place: &str, written: serde_json::Value) -> App {
    let mut state = serde_json::to_value(app).unwrap();
    *state.pointer_mut(place).unwrap_or_else(|| panic!("{place} is not in {app:#?}")) = written;
    let read = musher_core::tolerant::read::<App>(state.to_string().as_bytes()).unwrap();
    assert!(!read.left_out.is_empty(), "{place}");
    read.value
}

#[test]
fn words_of_a_later_version_cost_no_worker_that_serves() {
    let later = || serde_json::json!({"later": {"than": "this"}});
    for place in ["/wanted", "/slots/1/state", "/runs/2/state", "/operation", "/policies/1/restart"] {
        for drains in [true, false] {
            let mut team = Team::online(3, Policy { drains, ..rules() });
            team.command(super::team::reload_to(super::team::target(2, rules())));
            team.app.carried_out();
            team.app = written_by_a_later_version(&team.app, place, later());
            team.crash_and_recover(&[1, 2, 3, 4].map(|run| (RunId(run), Observation::Alive)));
            for slot in 0..3 {
                let (run, _) = team.app.occupant(SlotId(slot)).unwrap_or_else(|| panic!("{place}: {slot} is empty"));
                assert_eq!(run, RunId(u64::from(slot) + 1), "{place}");
            }
            let told = team.asked();
            let touched = |told: &String| told.starts_with("signal 2") || told.starts_with("kill") || told == "drain 2";
            assert!(!told.iter().any(touched), "{place}: {told:?}");
        }
    }
}

#[test]
fn words_of_a_later_version_about_a_slot_without_a_worker_leave_the_slot_stopped_and_usable() {
    for word in ["later", "replacing"] {
        let mut team = Team::online(1, Policy { restart: RestartPolicy::Never, ..rules() });
        team.exits(0, code(3));
        team.app.carried_out();
        team.app = written_by_a_later_version(&team.app, "/slots/0/state", serde_json::json!({"vacant": word}));
        team.crash_and_recover(&[]);
        assert!(team.app.occupant(SlotId(0)).is_none());
        let start = team.command(START);
        team.ready(0);
        assert_eq!(team.result(start), Some(Ok(())));
    }
}

#[test]
fn words_of_a_later_version_about_the_end_of_a_run_let_it_end() {
    let mut team = Team::online(2, Policy { drains: true, ..rules() });
    team.command(Command::Scale { to: 1 });
    team.app.carried_out();
    let state = serde_json::json!({"draining": {"stage": "later", "deadline": 1, "spawned": true, "blocks": false}});
    team.app = written_by_a_later_version(&team.app, "/runs/2/state", state);
    team.crash_and_recover(&[1, 2].map(|run| (RunId(run), Observation::Alive)));
    assert!(team.asked().contains(&"signal 2 with 15".into()));
    assert_eq!(team.app.occupant(SlotId(0)).map(|(run, _)| run), Some(RunId(1)));
}
