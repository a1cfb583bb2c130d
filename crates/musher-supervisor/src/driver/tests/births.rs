//! Many processes that are to be made, or to end, at once.

use std::collections::BTreeSet;

use musher_api::Action;
use musher_core::AppId;

use super::super::births::AT_ONCE;
use super::super::{Driver, Wake};
use super::rig::{Booted, Rig, names, sleepers};

const MANY: usize = 80;

fn app(driver: &Driver, id: AppId) -> &super::super::app::ManagedApp {
    &driver.apps[&id]
}

fn start(one: &mut Booted) -> AppId {
    one.start(&sleepers("many", u32::try_from(MANY).unwrap()));
    one.app("many")
}

async fn stop(mut one: Booted, request: &str) {
    let stop = one.act(request, Action::Stop, "many");
    let id = one.app("many");
    one.until("all have ended", |driver| app(driver, id).runs.is_empty() && app(driver, id).stories.is_empty()).await;
    assert_eq!(one.end_of(&stop[0]), Some(true));
    assert!(one.driver.world.cleared.is_empty(), "of each was heard");
    assert!(one.driver.world.roots.is_empty());
}

#[tokio::test]
async fn others_get_their_turn_while_many_processes_are_made() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let id = start(&mut one);
    for made in [AT_ONCE, 2 * AT_ONCE, MANY] {
        assert_eq!(app(&one.driver, id).runs.len(), made);
        // Here the driver's other inputs are handled: each worker that lives is in the answer to `status`.
        assert_eq!(one.driver.rows(&[id], false).iter().filter(|row| row.pid.is_some()).count(), made);
        assert_eq!(one.driver.world.births.are_waiting(), made < MANY);
        one.driver.spawn_waiting();
    }
    stop(one, "stop").await;
}

#[tokio::test]
async fn those_that_are_not_wanted_any_more_are_not_made() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let id = start(&mut one);
    let stopped = one.act("stop", Action::Stop, "many");
    one.until("all have ended", |driver| app(driver, id).machine.runs().next().is_none()).await;
    assert_eq!(app(&one.driver, id).next_worker, u32::try_from(AT_ONCE).unwrap());
    one.until("it is told", |driver| app(driver, id).held.is_empty()).await;
    assert_eq!(one.end_of(&stopped[0]), Some(true));
}

#[tokio::test]
async fn a_successor_makes_those_that_were_waiting() {
    let mut rig = Rig::new();
    let mut one = rig.boot();
    let id = start(&mut one);
    let before: BTreeSet<_> = app(&one.driver, id).runs.values().map(|run| run.record.pid).collect();
    rig.kill(one);
    let mut two = rig.boot();
    two.until("all are made", |driver| app(driver, id).runs.len() == MANY).await;
    let after: BTreeSet<_> = app(&two.driver, id).runs.values().map(|run| run.record.pid).collect();
    assert_eq!(after.len(), MANY, "each once");
    assert!(after.is_superset(&before), "those that lived live on");
    let pidfds = names(&two.driver, "run/").into_iter().filter(|name| name.ends_with("pidfd"));
    assert_eq!(pidfds.count(), MANY);
    two.driver.wake(Wake::ChildEnded);
    stop(two, "stop").await;
}
