//! What is done to the team while it is under load, and what became of the requests.

use std::time::Duration;

use anyhow::{Context, bail};
use musher_bench::load::{Load, Outcome, Plan, Report, Sample, Shape};

use crate::team::{PATIENCE, Team, kill};

pub(crate) const FRESH_PER_SECOND: u32 = 300;
pub(crate) const KEPT: u32 = 20;
/// Answers that each load gives before and after.
const BEFORE: u64 = 200;
const AFTER: u64 = 600;

/// Something that is done.
pub(crate) struct Scene {
    pub(crate) title: &'static str,
    action: fn(&mut Team) -> anyhow::Result<Done>,
}

/// What was done.
struct Done {
    /// The worker that was killed, whose requests nobody can answer.
    killed: Option<u32>,
    what: String,
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) title: &'static str,
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    pub(crate) held: usize,
    pub(crate) lost: usize,
    pub(crate) longest: Duration,
    pub(crate) what: String,
}

pub(crate) const SCENES: &[Scene] = &[
    Scene { title: "reload", action: reload },
    Scene { title: "kill -9 a worker", action: kill_worker },
    Scene { title: "kill -9 the supervisor", action: kill_supervisor },
    Scene { title: "kill -9 the keeper", action: kill_keeper },
];

/// Puts the team under load, does it, waits until all is well again, and counts.
pub(crate) fn play(scene: &Scene, team: &mut Team) -> anyhow::Result<Shown> {
    team.look()?;
    let shapes = [
        Shape::Fresh { per_second: FRESH_PER_SECOND },
        Shape::KeepAlive { connections: KEPT, think: Duration::from_millis(30) },
    ];
    let loads: Vec<Load> = shapes.into_iter().map(|shape| Load::start(Plan::new(team.port, shape))).collect();
    let answers = |more| loads.iter().all(|load| load.wait_answered(more, PATIENCE));
    if !answers(BEFORE) {
        bail!("the team does not answer");
    }
    let done = (scene.action)(team).context(scene.title)?;
    if !answers(AFTER) {
        bail!("{}: the team does not answer any more", scene.title);
    }
    let reports: Vec<Report> = loads.into_iter().map(Load::finish).collect();
    team.look()?;
    Ok(count(scene.title, team, &done, &reports))
}

fn count(title: &'static str, team: &Team, done: &Done, reports: &[Report]) -> Shown {
    let without: Vec<&Sample> = reports.iter().flat_map(Report::lost).collect();
    let (held, mut lost): (Vec<&Sample>, Vec<&Sample>) =
        without.into_iter().partition(|sample| was_held(sample, team, done.killed));
    let mut held = held.len();
    // A worker notes a connection right after accept(2), one after the other. So it may hold one more than it noted.
    let unnoted = |sample: &&Sample| broke(sample) && !sample.local_port.is_some_and(|port| team.accepted_by_any(port));
    if done.killed.is_some()
        && let Some(accepting) = lost.iter().position(unnoted)
    {
        lost.remove(accepting);
        held += 1;
    }
    for sample in lost.iter().take(5) {
        println!("   lost: {} after {:?} on port {:?}", sample.outcome.kind(), sample.latency, sample.local_port);
    }
    Shown {
        title,
        sent: reports.iter().map(|report| report.samples.len()).sum(),
        answered: reports.iter().map(Report::answered).sum(),
        held,
        lost: lost.len(),
        longest: reports.iter().map(Report::longest).max().unwrap_or_default(),
        what: done.what.clone(),
    }
}

/// Whether the connection broke. A refusal, a timeout or a wrong answer is something else.
fn broke(sample: &Sample) -> bool {
    matches!(sample.outcome, Outcome::Reset | Outcome::Eof | Outcome::Truncated)
}

/// Whether the request was in the hands of the worker that was killed: that one had accepted its connection.
fn was_held(sample: &Sample, team: &Team, killed: Option<u32>) -> bool {
    match (killed, sample.local_port) {
        (Some(killed), Some(port)) => broke(sample) && team.accepted(killed, port),
        _ => false,
    }
}

fn reload(team: &mut Team) -> anyhow::Result<Done> {
    let before = team.workers()?;
    team.show(&["reload", "web"])?;
    let after = team.workers()?;
    if after.len() != before.len() || after.iter().any(|pid| before.contains(pid)) {
        bail!("the workers were {before:?} and are {after:?}: not all were replaced");
    }
    Ok(Done { killed: None, what: format!("{} workers replaced", after.len()) })
}

fn kill_worker(team: &mut Team) -> anyhow::Result<Done> {
    let before = team.workers()?;
    let victim = *before.first().context("there is no worker")?;
    kill(victim)?;
    team.until("another worker takes its place", |team| {
        let now = team.workers()?;
        Ok(now.len() == before.len() && !now.contains(&victim))
    })?;
    Ok(Done { killed: Some(victim), what: format!("worker {victim} replaced") })
}

fn kill_supervisor(team: &mut Team) -> anyhow::Result<Done> {
    let (workers, before) = (team.workers()?, team.daemon()?);
    kill(before.supervisor)?;
    team.until("another supervisor takes over", |team| Ok(team.daemon()?.supervisor != before.supervisor))?;
    same_workers(team, &workers)?;
    Ok(Done { killed: None, what: format!("supervisor {} replaced, workers the same", before.supervisor) })
}

fn kill_keeper(team: &mut Team) -> anyhow::Result<Done> {
    let (workers, before) = (team.workers()?, team.daemon()?);
    kill(before.keeper)?;
    team.until("another keeper takes over", |team| Ok(team.daemon()?.keeper != before.keeper))?;
    same_workers(team, &workers)?;
    Ok(Done { killed: None, what: format!("keeper {} replaced, workers the same", before.keeper) })
}

fn same_workers(team: &Team, before: &[u32]) -> anyhow::Result<()> {
    let after = team.workers()?;
    if after == before { Ok(()) } else { bail!("the workers were {before:?} and are {after:?}") }
}
