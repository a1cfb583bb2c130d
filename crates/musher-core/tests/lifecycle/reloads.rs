//! Replacing workers that serve.

use musher_core::lifecycle::{Command, Death, OpError, Policy};
use musher_core::{Generation, RunId};

use super::team::{Team, reload_to, rules, target};
use super::{RELOAD, SIGKILL, SIGTERM, START, code};

#[test]
fn a_reload_has_the_new_ready_before_the_old_drains() {
    let mut team = Team::online(2, Policy { drains: true, ..rules() });
    let reload = team.command(reload_to(target(2, Policy { drains: true, ..rules() })));
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
    let reload = team.command(reload_to(target(2, Policy { max_surge: 2, ..rules() })));
    team.ready(0);
    team.asked();
    team.exits(1, code(1));
    assert_eq!(
        team.asked(),
        [
            "signal 6 with 15".into(),
            format!(
                "{reload} failed: the reload was aborted: the new worker in slot 1 ended with exit code 1; 1 of 3 slots were replaced before"
            ),
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
    let reload = team.command(reload_to(target(2, rules())));
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
    let reload = team.command(reload_to(target(2, rules())));
    team.ready(0);
    team.pass(999);
    team.exits(0, code(1));
    assert!(matches!(team.result(reload), Some(Err(OpError::ReloadAborted { replaced: 1, .. }))));
}

#[test]
fn an_old_worker_that_dies_during_its_replacement_comes_back_only_when_the_reload_aborts() {
    let mut team = Team::online(1, rules());
    team.pass(5000);
    team.command(reload_to(target(2, rules())));
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
    team.command(reload_to(target(2, rules())));
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
    team.command(reload_to(target(2, rules())));
    assert_eq!(team.asked(), [""; 0]);
    team.ready(0);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2"]);
}

#[test]
fn a_reload_of_a_stopped_app_is_a_start() {
    let mut team = Team::new(2, rules());
    let reload = team.command(reload_to(target(2, rules())));
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
fn the_spec_of_a_superseded_reload_is_what_the_next_start_uses() {
    let mut team = Team::online(1, rules());
    team.command(reload_to(target(2, rules())));
    team.command(Command::Stop);
    team.run_exits(RunId(1), SIGTERM);
    team.run_exits(RunId(2), SIGTERM);
    team.asked();
    team.command(START);
    assert_eq!(team.asked(), ["spawn 3 in 0 as 2"]);
}

#[test]
fn slots_that_come_or_go_during_a_reload_come_and_go_in_it() {
    let mut team = Team::online(3, rules());
    let reload = team.command(reload_to(target(2, rules())));
    team.command(Command::Scale { to: 1 });
    team.ready(0);
    assert_eq!(team.result(reload), Some(Ok(())));

    let mut team = Team::online(1, rules());
    let reload = team.command(reload_to(target(2, rules())));
    team.asked();
    let scale = team.command(Command::Scale { to: 2 });
    assert_eq!(team.asked(), ["spawn 3 in 1 as 2"]);
    team.ready(0);
    assert_eq!(team.result(reload), None);
    team.ready(1);
    assert_eq!((team.result(reload), team.result(scale)), (Some(Ok(())), Some(Ok(()))));
}
