//! The operations: what users asked for, how far it is, how it ended. Followed by the control server, kept in the
//! home's record.

use std::collections::BTreeMap;
use std::time::Duration;

use musher_api::{ApiError, Death, ErrorCode, Operation, OperationKind, OperationRef, Progress};
use musher_core::lifecycle::OpError;
use musher_core::{AppId, OpId, SlotId, Time};
use tokio::sync::watch;

use super::now;
use super::records::REMEMBERED_OPERATIONS;

/// How long the end of an operation is told however many others end.
const HEARD_OF: Duration = Duration::from_secs(60);
/// How many operations that are done are remembered at most.
const MOST_OPERATIONS: usize = 2048;

/// All operations that run, and the last ones that ended.
#[derive(Debug, Default)]
pub(super) struct Operations {
    all: BTreeMap<u64, Followed>,
}

#[derive(Debug)]
struct Followed {
    state: watch::Sender<Operation>,
    /// When it ended, if this supervisor saw it.
    ended: Option<Time>,
}

impl Operations {
    /// It is for one slot alone.
    pub(super) fn is_for(&mut self, id: OpId, slot: SlotId) {
        if let Some(followed) = self.all.get(&id.0) {
            followed.state.send_modify(|operation| operation.slot = Some(slot.0));
        }
    }

    /// Takes over what an earlier supervisor wrote.
    pub(super) fn restore(saved: Vec<Operation>) -> Operations {
        let followed = |operation: Operation| Followed { state: watch::Sender::new(operation), ended: None };
        Operations { all: saved.into_iter().map(|operation| (operation.id, followed(operation))).collect() }
    }

    /// For the home's record.
    pub(super) fn save(&self) -> Vec<Operation> {
        self.all.values().map(|operation| operation.state.borrow().clone()).collect()
    }

    /// Adds an operation that begins now.
    pub(super) fn begin(&mut self, id: OpId, app: AppId, name: &str, kind: OperationKind) -> OperationRef {
        let operation = Operation {
            id: id.0,
            app: name.to_owned(),
            app_id: app.0,
            kind,
            revision: 1,
            done: false,
            ok: false,
            error: None,
            death: None,
            slot: None,
            progress: Progress::default(),
        };
        self.all.insert(id.0, Followed { state: watch::Sender::new(operation), ended: None });
        self.forget_old();
        OperationRef { id: id.0, app: name.to_owned() }
    }

    /// Ends an operation. A second end of the same is ignored: after a crash ends are said again.
    pub(super) fn finish(&mut self, id: OpId, result: Result<(), (ApiError, Option<Death>)>) -> Option<Operation> {
        let followed = self.all.get_mut(&id.0)?;
        let changed = followed.state.send_if_modified(|operation| {
            if operation.done {
                return false;
            }
            operation.done = true;
            operation.revision += 1;
            match result {
                Ok(()) => {
                    operation.ok = true;
                    operation.progress.ready = operation.progress.total;
                    operation.progress.text.clear();
                }
                Err((error, death)) => {
                    operation.error = Some(error);
                    operation.death = death;
                }
            }
            true
        });
        changed.then(|| {
            followed.ended = Some(now());
            followed.state.borrow().clone()
        })
    }

    /// Says how far an operation is.
    pub(super) fn progress(&mut self, id: OpId, progress: Progress) {
        let Some(followed) = self.all.get(&id.0) else { return };
        followed.state.send_if_modified(|operation| {
            if operation.done || operation.progress == progress {
                return false;
            }
            operation.progress = progress;
            operation.revision += 1;
            true
        });
    }

    /// To follow an operation.
    pub(super) fn follow(&self, id: u64) -> Option<watch::Receiver<Operation>> {
        self.all.get(&id).map(|followed| followed.state.subscribe())
    }

    /// Why an app cannot do something: another operation runs.
    pub(super) fn busy(&self, with: OpId, app: &str) -> ApiError {
        let running = self.all.get(&with.0).map(|followed| followed.state.borrow().clone());
        let what = running.map_or_else(
            || format!("operation {with}"),
            |running| {
                let Progress { ready, total, .. } = running.progress;
                let far = if total > 0 { format!(", {ready} of {total} workers done") } else { String::new() };
                format!("a {} (operation {with}{far})", running.kind.word())
            },
        );
        ApiError::new(ErrorCode::Busy, format!("{app}: busy with {what}; nothing was changed")).with_hint(format!(
            "wait for its end and give the command again (`musher events {app}` shows how far it is), or give one that \
             takes its place: `musher restart {app}`, `musher stop {app}`"
        ))
    }

    /// The newest operation of an app.
    pub(super) fn newest_of(&self, app: AppId) -> Option<Operation> {
        let newest = self.all.values().rev().find(|operation| operation.state.borrow().app_id == app.0)?;
        Some(newest.state.borrow().clone())
    }

    /// Operations that have not ended.
    pub(super) fn unfinished(&self) -> Vec<(OpId, AppId)> {
        let open = self.all.values().map(|operation| operation.state.borrow()).filter(|operation| !operation.done);
        open.map(|operation| (OpId(operation.id), AppId(operation.app_id))).collect()
    }

    /// Those that ended last are kept, and those that ended so lately that their askers may not have heard of it yet.
    fn forget_old(&mut self) {
        let is_done = |followed: &Followed| followed.state.borrow().done;
        let done: Vec<u64> = self.all.iter().filter(|(_, operation)| is_done(operation)).map(|(id, _)| *id).collect();
        let now = now();
        for id in &done[..done.len().saturating_sub(REMEMBERED_OPERATIONS)] {
            let ended = self.all.get(id).and_then(|operation| operation.ended);
            if ended.is_none_or(|ended| now.since(ended) >= HEARD_OF) {
                self.all.remove(id);
            }
        }
        for id in &done[..done.len().saturating_sub(MOST_OPERATIONS)] {
            self.all.remove(id);
        }
    }
}

/// How the failure of a decision is told over the API.
pub(super) fn explain(error: &OpError, app: &str) -> ApiError {
    let message = format!("{app}: {error}");
    let spawn_failed = |death: &musher_core::lifecycle::Death| match death {
        musher_core::lifecycle::Death::SpawnFailed { .. } => ErrorCode::SpawnFailed,
        musher_core::lifecycle::Death::NotReady { .. } => ErrorCode::NotReady,
        musher_core::lifecycle::Death::Exited(_) | musher_core::lifecycle::Death::Uncaught => ErrorCode::WorkerDied,
    };
    match error {
        OpError::Superseded { .. } => ApiError::new(ErrorCode::Superseded, message),
        OpError::Busy { .. } => ApiError::new(ErrorCode::Busy, message),
        OpError::Deleted => ApiError::conflict(message),
        OpError::OutOfRange { .. } => ApiError::bad_request(message),
        OpError::NoSlot { .. } => {
            ApiError::not_found(message).with_hint(format!("`musher list {app}` shows its workers"))
        }
        OpError::Died { death, .. } | OpError::Ended { death, .. } => {
            let hint = format!("`musher logs {app}` shows all it said; `musher describe {app}` what happens next");
            ApiError::new(spawn_failed(death), message).with_hint(hint)
        }
        OpError::GaveUp { .. } => ApiError::new(ErrorCode::GaveUp, message)
            .with_hint(format!("mend it, then `musher start {app}`; `musher logs {app}` shows all it said")),
        OpError::Dependency { .. } => ApiError::new(ErrorCode::DependencyFailed, message)
            .with_hint(format!("it goes on waiting, and starts when that is so; `musher stop {app}` ends that")),
        OpError::CanaryFailed { left, .. } => {
            let hint = match left {
                0 => "nobody but the clients of the canaries noticed; mend the program and reload again".to_owned(),
                _ => format!("`musher describe {app}` shows which version each slot has; reload again"),
            };
            ApiError::new(ErrorCode::CanaryFailed, message).with_hint(hint)
        }
        OpError::ReloadAborted { death, .. } => ApiError::new(spawn_failed(death), message)
            .with_hint("the old workers were kept and go on serving; mend the program and reload again"),
    }
}

#[cfg(test)]
mod tests {
    use musher_api::{ErrorCode, OperationKind, Progress};
    use musher_core::{AppId, OpId};

    use super::{MOST_OPERATIONS, Operations};

    #[test]
    fn who_is_told_to_wait_is_told_for_what_and_what_else_can_be_done() {
        let mut operations = Operations::default();
        operations.begin(OpId(7), AppId(1), "web", OperationKind::Reload);
        operations.progress(OpId(7), Progress { ready: 1, total: 4, text: String::new() });
        let busy = operations.busy(OpId(7), "web");
        assert_eq!(busy.code, ErrorCode::Busy);
        assert_eq!(busy.message, "web: busy with a reload (operation 7, 1 of 4 workers done); nothing was changed");
        assert!(busy.hint.unwrap().contains("`musher events web`"));
    }

    #[test]
    fn the_ends_of_many_operations_can_be_asked_for_and_are_bounded() {
        let mut operations = Operations::default();
        let last = MOST_OPERATIONS as u64 + 500;
        for id in 1..=last {
            operations.begin(OpId(id), AppId(1), "web", OperationKind::Stop);
            operations.finish(OpId(id), Ok(()));
        }
        assert!(operations.follow(last - 1000).is_some_and(|operation| operation.borrow().ok));
        assert!(operations.save().len() <= MOST_OPERATIONS + 1);
        // A later supervisor does not know when they ended.
        let mut restored = Operations::restore(operations.save());
        restored.begin(OpId(last + 1), AppId(1), "web", OperationKind::Stop);
        assert_eq!(restored.save().len(), super::REMEMBERED_OPERATIONS + 1);
    }
}
