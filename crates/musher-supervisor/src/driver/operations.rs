//! The operations: what users asked for, how far it is, how it ended. Followed by the control server, kept in the
//! home's record.

use std::collections::BTreeMap;

use musher_api::{ApiError, Death, ErrorCode, Operation, OperationKind, OperationRef, Progress};
use musher_core::lifecycle::OpError;
use musher_core::{AppId, OpId};
use tokio::sync::watch;

use super::records::REMEMBERED_OPERATIONS;

/// All operations that run, and the last ones that ended.
#[derive(Debug, Default)]
pub(super) struct Operations {
    all: BTreeMap<u64, watch::Sender<Operation>>,
}

impl Operations {
    /// Takes over what an earlier supervisor wrote.
    pub(super) fn restore(saved: Vec<Operation>) -> Operations {
        let all = saved.into_iter().map(|operation| (operation.id, watch::Sender::new(operation))).collect();
        Operations { all }
    }

    /// For the home's record.
    pub(super) fn save(&self) -> Vec<Operation> {
        self.all.values().map(|operation| operation.borrow().clone()).collect()
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
            progress: Progress::default(),
        };
        self.all.insert(id.0, watch::Sender::new(operation));
        self.forget_old();
        OperationRef { id: id.0, app: name.to_owned() }
    }

    /// Ends an operation. A second end of the same is ignored: after a crash ends are said again.
    pub(super) fn finish(&mut self, id: OpId, result: Result<(), (ApiError, Option<Death>)>) -> Option<Operation> {
        let sender = self.all.get(&id.0)?;
        let changed = sender.send_if_modified(|operation| {
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
        changed.then(|| sender.borrow().clone())
    }

    /// Says how far an operation is.
    pub(super) fn progress(&mut self, id: OpId, progress: Progress) {
        let Some(sender) = self.all.get(&id.0) else { return };
        sender.send_if_modified(|operation| {
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
        self.all.get(&id).map(watch::Sender::subscribe)
    }

    /// The newest operation of an app.
    pub(super) fn newest_of(&self, app: AppId) -> Option<Operation> {
        let newest = self.all.values().rev().find(|operation| operation.borrow().app_id == app.0)?;
        Some(newest.borrow().clone())
    }

    /// Operations that have not ended.
    pub(super) fn unfinished(&self) -> Vec<(OpId, AppId)> {
        let open = self.all.values().map(|operation| operation.borrow()).filter(|operation| !operation.done);
        open.map(|operation| (OpId(operation.id), AppId(operation.app_id))).collect()
    }

    fn forget_old(&mut self) {
        let done: Vec<u64> = self.all.iter().filter(|(_, op)| op.borrow().done).map(|(id, _)| *id).collect();
        let surplus = done.len().saturating_sub(REMEMBERED_OPERATIONS);
        for id in &done[..surplus] {
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
        musher_core::lifecycle::Death::Exited(_) => ErrorCode::WorkerDied,
    };
    match error {
        OpError::Superseded { .. } => ApiError::new(ErrorCode::Superseded, message),
        OpError::Busy { .. } => {
            ApiError::conflict(message).with_hint("wait for it to end, or stop the app: a stop takes the place of it")
        }
        OpError::Deleted => ApiError::conflict(message),
        OpError::OutOfRange { .. } => ApiError::bad_request(message),
        OpError::Died { death, .. } | OpError::Ended { death, .. } => {
            let hint = format!("`musher logs {app}` shows all it said; `musher describe {app}` what happens next");
            ApiError::new(spawn_failed(death), message).with_hint(hint)
        }
        OpError::GaveUp { .. } => ApiError::new(ErrorCode::GaveUp, message)
            .with_hint(format!("mend it, then `musher start {app}`; `musher logs {app}` shows all it said")),
        OpError::ReloadAborted { death, .. } => ApiError::new(spawn_failed(death), message)
            .with_hint("the old workers were kept and go on serving; mend the program and reload again"),
    }
}
