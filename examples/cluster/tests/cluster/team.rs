//! Teams that are kept up: restarts, give-up, reload, scale and stop by the daemon's own decisions.

use std::time::Duration;

use musher_bench::load::{Load, Plan as LoadPlan, Shape};
use musher_cluster::lifecycle::{self, Policy};
use musher_cluster::{Event, Plan, ReadyOn, Scheduling, Settings, TeamError, setup_primary};
use tokio::time::timeout;

use crate::support::{AXUM, DEADLINE, PRIMARY, Running, answers_of, command, free_port, wait};

fn policy() -> Policy {
    Policy { backoff_initial: Duration::from_millis(1), ready_timeout: DEADLINE, ..Policy::default() }
}

async fn load(port: u16) -> Load {
    tokio::task::spawn_blocking(move || {
        let load = Load::start(LoadPlan::new(port, Shape::Fresh { per_second: 200 }));
        assert!(load.wait_answered(50, DEADLINE), "it answers");
        load
    })
    .await
    .unwrap()
}

async fn nothing_lost(load: Load) {
    tokio::task::spawn_blocking(move || {
        assert!(load.wait_answered(50, DEADLINE), "it still answers");
        let report = load.finish();
        assert!(report.lost().is_empty(), "{:?}", report.lost());
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_reload_and_a_scale_lose_no_request_under_any_policy() {
    for policy_of_connections in [Scheduling::Kernel, Scheduling::RoundRobin, Scheduling::Shared] {
        let port = free_port();
        let settings = Settings::program(AXUM).args([format!("127.0.0.1:{port}")]).scheduling(policy_of_connections);
        let cluster = setup_primary(settings).unwrap();
        let team = timeout(DEADLINE, cluster.keep(Plan::new(2).policy(policy()))).await.unwrap().unwrap();
        assert_eq!(team.ready(), (2, 2));
        let before: Vec<u32> = cluster.workers().into_keys().collect();
        let load = load(port).await;
        timeout(DEADLINE, team.reload(None)).await.unwrap().unwrap();
        let after: Vec<u32> = cluster.workers().into_keys().collect();
        assert!(after.len() == 2 && after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
        timeout(DEADLINE, team.scale(3)).await.unwrap().unwrap();
        timeout(DEADLINE, team.scale(1)).await.unwrap().unwrap();
        nothing_lost(load).await;
        timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
        assert!(cluster.workers().is_empty());
        assert!(matches!(team.stop().await, Err(TeamError::Operation(_))), "it was stopped");
    }
}

#[tokio::test]
async fn clients_that_keep_their_connections_lose_nothing_either() {
    for policy_of_connections in [Scheduling::Kernel, Scheduling::RoundRobin] {
        let port = free_port();
        let settings = Settings::program(AXUM).args([format!("127.0.0.1:{port}")]).scheduling(policy_of_connections);
        let cluster = setup_primary(settings).unwrap();
        let team = timeout(DEADLINE, cluster.keep(Plan::new(2).policy(policy()))).await.unwrap().unwrap();
        let load = tokio::task::spawn_blocking(move || {
            let shape = Shape::KeepAlive { connections: 16, think: Duration::from_millis(20) };
            let load = Load::start(LoadPlan::new(port, shape));
            assert!(load.wait_answered(50, DEADLINE), "it answers");
            load
        });
        let load = load.await.unwrap();
        for _ in 0..2 {
            let old: Vec<_> = cluster.workers().into_values().collect();
            timeout(DEADLINE, team.reload(None)).await.unwrap().unwrap();
            for worker in old {
                assert!(timeout(DEADLINE, worker.exited()).await.unwrap().is_success());
            }
        }
        nothing_lost(load).await;
        timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_version_that_does_not_become_ready_leaves_the_old_one_serving() {
    let port = free_port();
    let cluster = setup_primary(Settings::program(AXUM).args([format!("127.0.0.1:{port}")])).unwrap();
    let team = timeout(DEADLINE, cluster.keep(Plan::new(1).policy(policy()))).await.unwrap().unwrap();
    let load = load(port).await;
    let before: Vec<u32> = cluster.workers().into_keys().collect();
    let broken = team.reload(Some(Settings::program("false")));
    let error = timeout(DEADLINE, broken).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("the reload was aborted") && error.contains("exit code 1"), "{error}");
    assert_eq!(cluster.workers().into_keys().collect::<Vec<_>>(), before);
    nothing_lost(load).await;
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_killed_worker_is_replaced_and_one_that_always_dies_is_given_up() {
    let port = free_port();
    let cluster = setup_primary(Settings::program(AXUM).args([format!("127.0.0.1:{port}")])).unwrap();
    let mut events = cluster.events();
    let rules = Policy { max_restarts: 2, ..policy() };
    let team = timeout(DEADLINE, cluster.keep(Plan::new(1).policy(rules))).await.unwrap().unwrap();
    for killed in 1..=3 {
        let worker = cluster.workers().into_values().next().unwrap();
        worker.kill(9).unwrap();
        timeout(DEADLINE, worker.exited()).await.unwrap();
        let told = timeout(DEADLINE, async {
            loop {
                match events.next().await.unwrap() {
                    Event::Team(lifecycle::Event::Giveup { restarts, .. }) => return Some(restarts),
                    Event::Listening { worker: next, .. } if next.id() > worker.id() => return None,
                    _ => {}
                }
            }
        });
        assert_eq!(told.await.unwrap(), (killed == 3).then_some(2), "after {killed} deaths");
    }
    assert_eq!(team.ready(), (0, 1));
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn workers_that_never_get_ready_fail_the_start_and_are_stopped() {
    let cluster = setup_primary(Settings::program("sleep").args(["60"])).unwrap();
    let rules = Policy { ready_timeout: Duration::from_millis(50), max_restarts: 0, ..policy() };
    let failed = timeout(DEADLINE, cluster.keep(Plan::new(1).policy(rules).ready(ReadyOn::Message))).await.unwrap();
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("was not ready within 50 ms"), "{error}");
    assert!(cluster.workers().is_empty(), "nothing is left running");
}

#[test]
fn the_example_primary_obeys_and_ends_its_team_on_the_stop_signal() {
    let address = format!("127.0.0.1:{}", free_port());
    let mut primary = Running::start(command(PRIMARY).args(["2", AXUM, &address]));
    primary.line("listening ");
    primary.line("listening ");
    let before = answers_of(&address, 2);
    primary.say("reload");
    primary.line("done reload");
    // An old one may have accepted a connection before it heard that it drains.
    let after =
        wait("answers of new workers only", || Some(answers_of(&address, 2)).filter(|after| before.is_disjoint(after)));
    primary.signal(rustix::process::Signal::TERM);
    assert_eq!(primary.end(), Some(0), "{:?}", primary.seen());
    assert!(after.iter().all(|pid| !musher_bench::proc_fs::is_alive(*pid)));
}
