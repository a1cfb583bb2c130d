//! Waiting for operations, and telling how they ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use musher_api::client::{Client, ClientError};
use musher_api::{Operation, OperationRef, SlotStatus};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::args::WaitArgs;
use crate::exit_codes;
use crate::failure::{Failure, advice, death_story, shell_word};
use crate::output::{Progress, error_text, sanitize, units};

/// How many operations are polled at once.
const AT_ONCE: usize = 32;
/// How many operations the display names.
const SHOWN: usize = 3;

/// How operations ended.
pub(crate) struct Ended {
    /// In the order in which they were begun.
    pub(crate) operations: Vec<Operation>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Waits until all operations are done, showing how far they are.
pub(crate) async fn follow(client: &Client, begun: &[OperationRef], wait: &WaitArgs) -> Result<Ended, Failure> {
    let mut progress = Progress::new();
    let mut now: BTreeMap<u64, Operation> = BTreeMap::new();
    let (changes, mut changed) = mpsc::channel(AT_ONCE);
    let mut polls = poll_all(client, begun, &changes);
    drop(changes);

    let deadline = wait.deadline().map(Instant::from_std);
    let mut tick = interval(Progress::TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            change = changed.recv() => match change {
                Some(operation) => { now.insert(operation.id, operation); }
                None => break,
            },
            _ = tick.tick() => {}
            () = until(deadline) => {
                progress.finish();
                return Err(out_of_time(&now, wait));
            }
        }
        if now.values().any(|operation| !operation.done) {
            progress.tick(|| describe(&now));
        }
    }
    // The changes have ended, so every poll has.
    while let Some(ended) = polls.join_next().await {
        let ended = ended.map_err(|error| Failure::new(exit_codes::FAILED, format!("cannot wait: {error}")))?;
        let operation = ended?;
        now.insert(operation.id, operation);
    }
    let took = progress.finish();
    let operations = begun.iter().filter_map(|begun| now.remove(&begun.id)).collect();
    Ok(Ended { operations, took })
}

fn poll_all(
    client: &Client,
    begun: &[OperationRef],
    changes: &mpsc::Sender<Operation>,
) -> JoinSet<Result<Operation, ClientError>> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut polls = JoinSet::new();
    for operation in begun {
        let (client, operation, changes, places) =
            (client.clone(), operation.clone(), changes.clone(), Arc::clone(&places));
        polls.spawn(async move {
            let _place = places.acquire().await;
            // A change that finds the channel full is followed by another, or by the end, which is not sent here.
            client.wait(&operation, |now| drop(changes.try_send(now.clone()))).await
        });
    }
    polls
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn describe(now: &BTreeMap<u64, Operation>) -> String {
    let open: Vec<&Operation> = now.values().filter(|operation| !operation.done).collect();
    let mut parts: Vec<String> = open.iter().take(SHOWN).map(|operation| state(operation)).collect();
    if open.len() > SHOWN {
        parts.push(format!("and {} more", open.len() - SHOWN));
    }
    parts.join("; ")
}

fn state(operation: &Operation) -> String {
    let progress = &operation.progress;
    let mut text = format!("{} {}", operation.kind.word(), operation.subject());
    if progress.total > 0 {
        text.push_str(&format!(" {}/{}", progress.ready, progress.total));
    }
    if !progress.text.is_empty() {
        text.push_str(&format!(", {}", progress.text));
    }
    text
}

fn out_of_time(now: &BTreeMap<u64, Operation>, wait: &WaitArgs) -> Failure {
    let limit = units::precise(u64::try_from(wait.timeout.unwrap_or_default().as_millis()).unwrap_or(u64::MAX));
    Failure::new(exit_codes::TIMEOUT, format!("not done after {limit}: {}", sanitize(&describe(now))))
        .with_hint("the operation goes on; `musher list` and `musher events` show how far it is")
}

/// Tells every operation that failed; an error when there is one.
pub(crate) fn tell_failures(ended: &Ended) -> Result<(), Failure> {
    let mut failed = false;
    for operation in ended.operations.iter().filter(|operation| !operation.ok) {
        let (text, hint) = failure_text(operation);
        error_text(&text, Some(&hint));
        failed = true;
    }
    if failed { Err(Failure::told(exit_codes::FAILED)) } else { Ok(()) }
}

/// The same for those who tell it themselves: all that failed as one failure.
pub(crate) fn all_well(ended: &Ended) -> Result<(), Failure> {
    let failed = ended.operations.iter().filter(|operation| !operation.ok).map(failure_text);
    let (texts, hints): (Vec<String>, Vec<String>) = failed.unzip();
    match hints.into_iter().next() {
        None => Ok(()),
        Some(hint) => Err(Failure::new(exit_codes::FAILED, texts.join("\n")).with_hint(hint)),
    }
}

/// What is told of an operation that failed, and the advice.
fn failure_text(operation: &Operation) -> (String, String) {
    let (app, subject) = (sanitize(&operation.app), sanitize(&operation.subject()));
    let reason = operation.error.as_ref().map_or_else(|| "no reason is known".into(), |error| sanitize(&error.message));
    let reason = reason.strip_prefix(&format!("{app}: ")).unwrap_or(&reason);
    let mut text = format!("{subject}: {} failed: {reason}", operation.kind.word());
    if let Some(death) = &operation.death {
        text.push_str(&format!("\n{}", death_story(death)));
    }
    let hint = operation
        .death
        .as_ref()
        .and_then(advice)
        .map(str::to_owned)
        .or_else(|| operation.error.as_ref()?.hint.as_deref().map(sanitize))
        .unwrap_or_else(|| format!("`musher logs {} --err` shows what it wrote", shell_word(&app)));
    (text, hint)
}

/// How many workers of each app are online now, for the last word of a command.
pub(super) struct Online(BTreeMap<String, u32>);

impl Online {
    /// Asks. That it is not known is no reason to fail a command that has succeeded.
    pub(super) async fn ask(client: &Client) -> Online {
        let mut online = BTreeMap::new();
        for row in client.slots(None).await.unwrap_or_default() {
            *online.entry(row.app).or_default() += u32::from(row.status == SlotStatus::Online);
        }
        Online(online)
    }

    /// `2 workers online`
    pub(super) fn of(&self, app: &str) -> String {
        format!("{} online", units::count(self.0.get(app).copied().unwrap_or(0), "worker"))
    }
}

/// ` in 3.2 s`, when it took long enough to be worth a word.
pub(super) fn in_time(took: Duration) -> String {
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if ms < 1000 { String::new() } else { format!(" in {}", units::precise(ms)) }
}

#[cfg(test)]
mod tests {
    use musher_api::{ApiError, Death, ErrorCode, Operation, OperationKind, Progress};

    use super::failure_text;

    #[test]
    fn a_failed_start_tells_the_story_of_the_death() {
        let death = Death {
            run: 3,
            slot: 0,
            pid: Some(4711),
            status: "exit code 1".into(),
            code: Some(1),
            uptime_ms: 43,
            stderr: vec!["\x1b]0;owned\x07Error: listen EADDRINUSE: address already in use :::80".into()],
            ..Death::default()
        };
        let operation = Operation {
            id: 1,
            app: "web".into(),
            app_id: 1,
            slot: None,
            kind: OperationKind::Start,
            revision: 2,
            done: true,
            ok: false,
            error: Some(ApiError::new(ErrorCode::WorkerDied, "web: a worker ended before it was ready")),
            death: Some(death),
            progress: Progress::default(),
        };
        let (text, hint) = failure_text(&operation);
        assert_eq!(
            text,
            "web: start failed: a worker ended before it was ready\n\
             slot 0, pid 4711: exit code 1 after 43 ms\n  \
             its last words on stderr:\n    \
             \\x1b]0;owned\\x07Error: listen EADDRINUSE: address already in use :::80"
        );
        assert!(hint.contains("another program or app has that port"), "{hint}");
    }
}
