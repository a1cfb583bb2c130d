//! Teams of Node programs, and what a team does about workers that do not do well: by the daemon's own decisions.

use std::time::Duration;

use musher_bench::load::{Load, Plan as LoadPlan, Shape};
use musher_cluster::lifecycle::{self, Policy};
use musher_cluster::{Canary, Event, Limits, Plan, ReadyOn, Settings, TeamError, setup_primary};
use tokio::time::timeout;

use crate::support::{DEADLINE, free_port, get, tool, wait};

/// A server that answers with the status in its arguments, and may be told to do worse.
const PROGRAM: &str = "
  const [, , port, status] = process.argv;
  const kept = [];
  process.on('message', (message) => {
    if (message === 'grow') kept.push(Buffer.alloc(300 << 20, 1));
    if (message === 'throw') setImmediate(() => { throw new Error('nobody catches this'); });
  });
  require('http').createServer((request, response) => {
    response.statusCode = Number(status);
    response.end(`${request.url.slice(2)} pid=${process.pid} version=1\\n`);
  }).listen(Number(port), '127.0.0.1');";

fn program(directory: &std::path::Path, port: u16, status: u16) -> Settings {
    let script = directory.join("server.cjs");
    std::fs::write(&script, PROGRAM).unwrap();
    let node = tool("node_modules/node22/bin/node");
    Settings::node(script).exec_path(node).args([port.to_string(), status.to_string()])
}

fn policy() -> Policy {
    Policy { backoff_initial: Duration::from_millis(1), ready_timeout: DEADLINE, ..Policy::default() }
}

#[tokio::test]
async fn a_team_of_node_drains_kept_connections_and_tells_what_nobody_caught() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let cluster = setup_primary(program(directory.path(), port, 200)).unwrap();
    let mut events = cluster.events();
    let team = timeout(DEADLINE, cluster.keep(Plan::new(2).policy(policy()))).await.unwrap().unwrap();
    let shape = Shape::KeepAlive { connections: 8, think: Duration::from_millis(20) };
    let load = tokio::task::spawn_blocking(move || {
        let load = Load::start(LoadPlan::new(port, shape));
        assert!(load.wait_answered(50, DEADLINE), "it answers");
        load
    });
    let load = load.await.unwrap();
    let old: Vec<_> = cluster.workers().into_values().collect();
    timeout(DEADLINE, team.reload(None)).await.unwrap().unwrap();
    for worker in old {
        timeout(DEADLINE, worker.exited()).await.unwrap();
    }
    let thrower = cluster.workers().into_values().next().unwrap();
    thrower.send("throw").unwrap();
    let told = timeout(DEADLINE, async {
        loop {
            if let Event::Uncaught { worker, stack } = events.next().await.unwrap() {
                return (worker, stack);
            }
        }
    });
    let (worker, stack) = told.await.unwrap();
    assert!(worker == thrower && stack.contains("nobody catches this"), "{stack}");
    timeout(DEADLINE, thrower.exited()).await.unwrap();
    assert_eq!(thrower.exited_after_disconnect(), Some(false), "it is a crash");
    tokio::task::spawn_blocking(move || {
        assert!(load.wait_answered(50, DEADLINE), "it still answers");
        let report = load.finish();
        assert!(report.lost().is_empty(), "{:?}", report.lost());
    })
    .await
    .unwrap();
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_that_has_more_memory_than_it_may_is_replaced_and_serves_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let cluster = setup_primary(program(directory.path(), port, 200)).unwrap();
    let mut events = cluster.events();
    let limits = Limits { memory_bytes: Some(250 << 20), nice: Some(1), ..Limits::default() };
    let plan = Plan::new(1).policy(policy()).limits(limits);
    let team = timeout(DEADLINE, cluster.keep(plan)).await.unwrap().unwrap();
    let first = cluster.workers().into_values().next().unwrap();
    first.send("grow").unwrap();
    let reason = timeout(DEADLINE, async {
        loop {
            if let Event::Team(lifecycle::Event::Unfit { reason, .. }) = events.next().await.unwrap() {
                return reason;
            }
        }
    });
    assert!(reason.await.unwrap().starts_with("memory: "));
    timeout(DEADLINE, first.exited()).await.unwrap();
    let second = cluster.workers().into_values().next().expect("its successor was ready before");
    assert!(second != first && !second.addresses().is_empty());
    assert_eq!(first.exited_after_disconnect(), Some(true));
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_version_on_trial_that_answers_worse_or_dies_is_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let good = program(directory.path(), port, 200);
    let cluster = setup_primary(good.clone()).unwrap();
    let team = timeout(DEADLINE, cluster.keep(Plan::new(2).policy(policy()))).await.unwrap().unwrap();
    let canary = Canary { slots: 1, wait: DEADLINE, ..Canary::default() };
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let asking = tokio::task::spawn_blocking(move || {
        let address = format!("127.0.0.1:{port}");
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            get(&address);
        }
    });
    let worse = team.reload_on_trial(Some(good.clone().args([port.to_string(), "500".into()])), canary.clone());
    let error = timeout(DEADLINE, worse).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("of the new version's answers are errors"), "{error}");
    drop(stop);
    asking.await.unwrap();

    let mut events = cluster.events();
    let before = cluster.workers();
    let dies = team.reload_on_trial(None, canary.clone());
    let killer = async {
        while let Some(event) = events.next().await {
            if let Event::Listening { worker, .. } = event
                && !before.contains_key(&worker.id())
            {
                worker.kill(9).unwrap();
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = timeout(DEADLINE, dies) => ended.unwrap(),
        () = killer => unreachable!(),
    };
    assert!(matches!(ended, Err(TeamError::Operation(_))), "{ended:?}");
    assert!(timeout(DEADLINE, team.reload(None)).await.unwrap().is_ok(), "and without a trial it goes as before");
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_is_killed_with_all_that_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let line = "trap '' TERM; sleep 1000 & echo $! > pid; echo '\"ready\"' >&3; while :; do wait; done";
    let settings = Settings::program("sh").args(["-c", line]).cwd(directory.path());
    let cluster = setup_primary(settings).unwrap();
    let rules = Policy { grace: Duration::from_millis(50), drain: Duration::from_millis(50), ..policy() };
    let plan = Plan::new(1).policy(rules).ready(ReadyOn::Message);
    let team = timeout(DEADLINE, cluster.keep(plan)).await.unwrap().unwrap();
    let written = std::fs::read_to_string(directory.path().join("pid")).unwrap();
    let started: u32 = written.trim().parse().unwrap();
    let alive = || musher_bench::proc_fs::is_alive(started);
    assert!(alive());
    timeout(DEADLINE, team.stop()).await.unwrap().unwrap();
    wait("the end of what it started", || (!alive()).then_some(()));
}
