//! An upgrade: this process becomes another executable, and the keeper follows it.
//!
//! First the executable is examined beside the driver; then everything is written down and this process executes it, with
//! every descriptor that the keeper holds. The supervisor of the new executable adopts as after any death, says that it
//! serves, and waits for the keeper. When both are the new executable the operation is done. If the keeper had to go
//! back, the supervisor of the old executable finds its word why, and the operation has failed.
//!
//! Which of these it is follows from what executables the two processes are, and from what is held, never from what was
//! planned: each of them may be killed at any instant.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use musher_api::{ApiError, ErrorCode, EventKind, OperationKind, UpgradeRequest, UpgradeResponse};
use musher_core::{AppId, OpId};
use musher_process::memfd;

use crate::control::News;
use crate::keeper::upgrade::{EXECUTABLE, FAILED, PREVIOUS};
use crate::takeover::{self, Refusal, Successor};

use super::adopt::Held;
use super::records::UpgradeRecord;
use super::{Driver, Wake};

/// What an upgrade's operation is called instead of an app, and its number, which no app has.
const MUSHER: &str = "musher";
const NO_APP: AppId = AppId(0);
/// How long the keeper may take to follow a supervisor that serves.
const KEEPER_TRIAL: Duration = Duration::from_secs(5);
/// The longest word of a keeper.
const WORD_LIMIT: usize = 4096;

/// What an earlier supervisor or the keeper left behind.
#[derive(Debug, Default)]
pub(super) struct Found {
    executable: Option<OwnedFd>,
    failed: Option<String>,
}

impl Found {
    pub(super) fn take(held: &mut Held) -> Found {
        let word = |fd: OwnedFd| memfd::read_memfd(fd.as_fd(), WORD_LIMIT).unwrap_or_default();
        let failed = held.remove(FAILED).map(|fd| String::from_utf8_lossy(&word(fd)).into_owned());
        Found { executable: held.remove(EXECUTABLE), failed }
    }

    /// Whether this process is the new executable, on trial.
    pub(super) fn is_trial(&self) -> bool {
        self.failed.is_none() && self.executable.as_ref().is_some_and(takeover::is_ours)
    }
}

impl Driver {
    /// Begins to examine the executable.
    pub(super) fn upgrade(&mut self, request: &UpgradeRequest) -> Result<UpgradeResponse, ApiError> {
        let from = crate::VERSION.to_owned();
        if let Some(answered) = self.answered(&request.request_id) {
            return Ok(UpgradeResponse { operation: answered.operations.first().cloned(), from });
        }
        self.refuse_when_ending()?;
        if self.world.examined.is_some() || self.world.record.upgrade.is_some() {
            return Err(ApiError::conflict("an upgrade is under way").with_hint("wait for it to end"));
        }
        if !self.world.link.can_upgrade() {
            return Err(ApiError::new(ErrorCode::CannotTakeOver, "the keeper is too old to become another executable"));
        }
        let path = std::path::PathBuf::from(&request.path);
        if std::fs::File::open(&path).is_ok_and(|file| takeover::is_ours(&file)) && self.keeper_is_ours() {
            return Ok(UpgradeResponse { operation: None, from });
        }
        let (op, operation) = self.begin(NO_APP, MUSHER, OperationKind::Upgrade);
        self.remember(&request.request_id, Vec::new(), vec![operation.clone()]);
        self.world.examined = Some((op, request.path.clone()));
        let (link, wakes) = (self.world.link.clone(), self.world.wakes.clone());
        tokio::spawn(async move {
            let examined = tokio::task::spawn_blocking(move || takeover::examine(&path, &link)).await;
            let refused = || Refusal { reason: "it could not be examined".into(), hint: "try again" };
            let examined = examined.unwrap_or_else(|_| Err(refused()));
            let _ = wakes.send(Wake::Examined(Box::new(examined))).await;
        });
        Ok(UpgradeResponse { operation: Some(operation), from })
    }

    /// The executable was examined: it is become, or refused. Returns only if nothing comes of it.
    pub(super) fn examined(&mut self, examined: Result<Successor, Refusal>) {
        let Some((op, path)) = self.world.examined.take() else { return };
        let ending = self.world.record.shutting_down;
        let successor = match examined {
            Ok(successor) if !ending => successor,
            Ok(_) => return self.end_upgrade(op, Err(ApiError::unavailable("the daemon is ending"))),
            Err(Refusal { reason, hint }) => {
                let error = ApiError::new(
                    ErrorCode::CannotTakeOver,
                    format!("{path} cannot take over: {reason}; nothing was changed"),
                );
                return self.end_upgrade(op, Err(error.with_hint(hint)));
            }
        };
        tracing::info!(path, version = successor.version, "supervisor and keeper become another executable");
        let (from, to) = (crate::VERSION.to_owned(), successor.version);
        self.world.record.upgrade = Some(UpgradeRecord { operation: op.0, from, to, path });
        for app in self.apps.values() {
            self.world.write_app(app);
        }
        self.world.write_home();
        let link = &self.world.link;
        // Whoever dies before the new executable is known to work in both roles, this one is gone back to.
        match std::fs::File::open("/proc/self/exe") {
            Ok(own) => link.put(PREVIOUS, own.as_fd()),
            Err(error) => tracing::error!(%error, "this executable is not held while the new one is tried"),
        }
        link.put(EXECUTABLE, successor.executable.as_fd());
        link.announce_upgrade();
        // The exec would end their threads anywhere, also between the acceptance of a connection and its handover, and
        // between the writing of lines and their taking.
        self.world.cluster.stop();
        self.world.logs.stop();
        self.world.events.settle(super::EVENT_PATIENCE);
        let error = link.become_executable(successor.executable.as_fd());
        // The threads are gone: a new supervisor is needed in any case, and the keeper makes it of the old executable.
        link.put_bytes(FAILED, format!("it cannot be executed: {error}").as_bytes());
        self.world.broken = Some(io::Error::other("it could not become another executable"));
    }

    /// What came of an upgrade that was under way when this supervisor was started.
    pub(super) fn continue_upgrade(&mut self, found: Found) {
        let trial = found.is_trial();
        let Found { executable, failed } = found;
        if !trial {
            self.world.link.trust_executable();
        }
        let Some(upgrade) = self.world.record.upgrade.clone() else {
            if let Some(why) = failed {
                // After the end of the operation: nobody waits for it.
                let detail = format!("musher went back to version {}: {why}", crate::VERSION);
                tracing::error!("{detail}");
                self.world.events.publish(News::new(EventKind::Upgrade, detail));
            }
            return self.clear_upgrade();
        };
        let UpgradeRecord { operation, from, to, path } = upgrade;
        if trial {
            self.finish_if_both_are_new();
            return self.expect_keeper();
        }
        let why = failed.unwrap_or_else(|| match executable {
            Some(_) => "the supervisor was killed before it was that executable".into(),
            None => "it was cut short".into(),
        });
        let message = format!("{path} (version {to}) did not take over: {why}; version {from} goes on");
        let error = ApiError::new(ErrorCode::CannotTakeOver, message)
            .with_hint("the workers were not touched; musher.log in the home tells what the new executable said");
        self.end_upgrade(OpId(operation), Err(error));
    }

    /// The keeper has become another executable.
    pub(super) fn keeper_renewed(&mut self) {
        if self.world.record.upgrade.is_some() {
            self.finish_if_both_are_new();
        }
    }

    /// The keeper is to follow within a time, once this supervisor serves.
    fn expect_keeper(&self) {
        if self.world.record.upgrade.is_none() {
            return;
        }
        let wakes = self.world.wakes.clone();
        tokio::spawn(async move {
            tokio::time::sleep(KEEPER_TRIAL).await;
            let _ = wakes.send(Wake::KeeperLate).await;
        });
    }

    /// The keeper has had its time. If it is not the new executable by now, or is it and says nothing, both go back.
    pub(super) fn keeper_late(&self) {
        if self.world.record.upgrade.is_some() {
            tracing::error!("the keeper does not follow within {} s", KEEPER_TRIAL.as_secs());
            self.world.link.put_bytes(FAILED, b"its keeper said nothing");
            self.world.link.give_up_keeper();
        }
    }

    fn finish_if_both_are_new(&mut self) {
        let Some(upgrade) = self.world.record.upgrade.clone() else { return };
        if self.keeper_is_ours() {
            self.world.link.trust_executable();
            let detail = format!("musher is version {} now, it was {}", upgrade.to, upgrade.from);
            self.world.events.publish(News::new(EventKind::Upgrade, detail));
            self.end_upgrade(OpId(upgrade.operation), Ok(()));
        }
    }

    fn keeper_is_ours(&self) -> bool {
        let keeper = self.world.link.keeper_pid().and_then(|keeper| takeover::executable_of(keeper).ok());
        keeper.is_some_and(|executable| takeover::is_ours(&executable))
    }

    fn end_upgrade(&mut self, op: OpId, result: Result<(), ApiError>) {
        if let Err(error) = &result {
            tracing::warn!(%error, "no upgrade");
            self.world.events.publish(News::new(EventKind::Upgrade, error.to_string()));
        }
        self.world.operations.finish(op, result.map_err(|error| (error, None)));
        self.clear_upgrade();
    }

    fn clear_upgrade(&mut self) {
        self.world.record.upgrade = None;
        self.world.write_home();
        for name in [EXECUTABLE, FAILED] {
            self.world.link.remove(name);
        }
    }
}
