//! Stop, start, restart, reload and delete of one slot, while its siblings go on.

use musher_core::lifecycle::{Command, Event, Observation, OpError, Policy, SlotAction, Vacancy};
use musher_core::{RunId, SlotId};

use super::team::{Team, reload_to, rules, target};
use super::{RELOAD, RESTART, SIGKILL, SIGTERM, START, code};

fn one(slot: u32, action: SlotAction) -> Command {
    Command::One { slot: SlotId(slot), action }
}

fn drains() -> Policy {
    Policy { drains: true, ..rules() }
}

#[test]
fn one_is_stopped_after_it_has_drained_and_nothing_but_a_user_fills_it() {
    let mut team = Team::online(3, drains());
    let stop = team.command(one(1, SlotAction::Stop));
    assert_eq!(team.asked(), ["retire 1", "drain 2"]);
    team.drained(RunId(2));
    assert_eq!(team.asked(), ["signal 2 with 15"]);
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.asked(), [format!("{stop} ok")]);
    team.crash_and_recover(&[(RunId(1), Observation::Alive), (RunId(3), Observation::Alive)]);
    team.asked();
    team.pass(3_600_000);
    assert!(team.asked().is_empty());
    assert_eq!(*team.vacancy(1), Vacancy::Stopped);
    assert_eq!((team.app.is_wanted(), team.app.size(), team.app.wanted_size()), (true, 3, 2));
    let start = team.command(one(1, SlotAction::Start));
    assert_eq!(team.asked(), ["spawn 4 in 1 as 1"]);
    team.ready(1);
    assert_eq!(team.asked(), [format!("{start} ok")]);
}

#[test]
fn one_that_crashes_is_not_restarted_after_a_stop() {
    let mut team = Team::online(2, rules());
    team.exits(1, code(1));
    team.exits(1, code(1));
    assert!(matches!(team.vacancy(1), Vacancy::Backoff { .. }));
    team.asked();
    team.command(one(1, SlotAction::Stop));
    assert_eq!(team.asked(), ["retire 1", "2 ok"]);
    team.pass(60_000);
    assert!(team.asked().is_empty());
}

#[test]
fn a_command_for_the_app_fills_what_was_stopped_alone() {
    for command in [START, RESTART, RELOAD] {
        let mut team = Team::online(2, rules());
        team.command(one(0, SlotAction::Stop));
        team.run_exits(RunId(1), SIGTERM);
        team.asked();
        let fills = team.command(command.clone());
        let asked = team.asked();
        assert!(asked.iter().any(|asked| asked.starts_with("spawn 3 in 0")), "{command:?}: {asked:?}");
        assert_eq!(team.result(fills), None);
    }
}

#[test]
fn a_reload_that_aborts_leaves_it_stopped() {
    let mut team = Team::online(2, rules());
    team.command(one(0, SlotAction::Stop));
    team.run_exits(RunId(1), SIGTERM);
    team.command(reload_to(target(2, rules())));
    team.exits(0, code(1));
    assert_eq!(*team.vacancy(0), Vacancy::Stopped);
    assert_eq!(team.app.ready_slots(), 1);
}

#[test]
fn one_is_restarted_alone_when_its_process_is_gone() {
    let mut team = Team::online(2, rules());
    let restart = team.command(one(1, SlotAction::Restart));
    assert_eq!(team.asked(), ["signal 2 with 15"]);
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.asked(), ["spawn 3 in 1 as 1"]);
    team.exits(1, code(1));
    assert!(matches!(team.result(restart), Some(Err(OpError::Died { slot: SlotId(1), .. }))));
}

#[test]
fn one_is_reloaded_alone_without_a_gap() {
    let mut team = Team::online(2, drains());
    let reload = team.command(one(1, SlotAction::Reload));
    assert_eq!(team.asked(), ["spawn 3 in 1 as 1"]);
    let busy = team.command(one(0, SlotAction::Stop));
    assert_eq!(team.result(busy), Some(Err(OpError::Busy { with: reload })));
    team.asked();
    team.ready(1);
    assert_eq!(team.asked(), ["drain 2", &format!("{reload} ok")]);
    assert_eq!(team.app.ready_slots(), 2);
}

#[test]
fn one_is_deleted_and_the_others_keep_their_numbers() {
    let mut team = Team::online(3, rules());
    let delete = team.command(one(1, SlotAction::Delete));
    assert!(team.events().contains(&Event::Scaled { from: 3, to: 2 }));
    team.run_exits(RunId(2), SIGTERM);
    assert_eq!(team.asked(), [format!("{delete} ok")]);
    assert_eq!(team.app.slot_ids(), [SlotId(0), SlotId(2)]);
    let gone = team.command(one(1, SlotAction::Start));
    assert_eq!(team.result(gone), Some(Err(OpError::NoSlot { slot: SlotId(1) })));
    team.command(RESTART);
    assert_eq!(team.app.slot_ids(), [SlotId(0), SlotId(2)]);
    team.run_exits(RunId(1), SIGTERM);
    team.run_exits(RunId(3), SIGTERM);
    team.asked();
    // The gap is filled first.
    team.command(Command::Scale { to: 4 });
    assert_eq!(team.asked(), ["spawn 6 in 1 as 1", "spawn 7 in 3 as 1"]);
}

#[test]
fn what_is_scaled_away_is_what_was_stopped() {
    let mut team = Team::online(3, rules());
    team.command(one(0, SlotAction::Stop));
    team.run_exits(RunId(1), SIGTERM);
    team.asked();
    team.command(Command::Scale { to: 2 });
    assert_eq!(team.asked(), ["retire 0", "3 ok"]);
    assert_eq!(team.app.slot_ids(), [SlotId(1), SlotId(2)]);
}

#[test]
fn the_last_one_is_stopped_and_deleted_with_its_app() {
    let mut team = Team::online(2, rules());
    team.command(one(0, SlotAction::Stop));
    team.run_exits(RunId(1), SIGTERM);
    let stop = team.command(one(1, SlotAction::Stop));
    team.asked();
    assert!(!team.app.is_wanted());
    team.run_exits(RunId(2), SIGKILL);
    assert_eq!(team.asked(), ["close", &format!("{stop} ok")]);
    // Of a stopped app only that one is started.
    team.command(one(1, SlotAction::Start));
    assert_eq!(team.asked(), ["spawn 3 in 1 as 1"]);
    assert_eq!(*team.vacancy(0), Vacancy::Stopped);
    team.command(one(0, SlotAction::Delete));
    let delete = team.command(one(1, SlotAction::Delete));
    team.run_exits(RunId(3), SIGTERM);
    assert_eq!(team.result(delete), Some(Ok(())));
    assert!(team.app.is_deleted());
}
