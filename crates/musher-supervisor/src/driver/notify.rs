//! What workers notify over NOTIFY_SOCKET (sd_notify(3)). Who did is what the kernel says, never what the message claims.
//!
//! | message | meaning |
//! |---|---|
//! | `READY=1` | it serves; also: it is done with `RELOADING=1` |
//! | `STATUS=…` | what it says of itself, shown by `musher describe` |
//! | `WATCHDOG=1`, `WATCHDOG=trigger` | a sign of life; that it is not fit |
//! | `WATCHDOG_USEC=…` | another time between signs of life, where the spec has a watchdog |
//! | `EXTEND_TIMEOUT_USEC=…` | so much more time to become ready, to stop, or until the next sign of life |
//! | `RELOADING=1`, `STOPPING=1` | shown; of one that stops no sign of life is expected any more |
//!
//! Everything else is left out: musher keeps descriptors and knows the worker's process itself.

use std::time::Duration;

use musher_api::RunPhase;
use musher_core::RunId;
use musher_process::Pid;
use musher_process::notify::Notification;
use musher_process::stat::ProcessStat;

use super::wakes::Proof;
use super::{Driver, Wake};

/// How far up a notifying process may be below the worker.
const ANCESTORS: usize = 16;
/// How many messages are read in one go.
const BATCH: usize = 64;
/// The longest status that is kept, in characters.
const LONGEST_STATUS: usize = 256;
/// The longest time that one message can ask for.
const LONGEST_EXTENSION: Duration = Duration::from_secs(3600);
/// The shortest watchdog.
const SHORTEST_WATCHDOG: Duration = Duration::from_millis(100);

impl Driver {
    /// Reads what was notified.
    pub(super) fn notified(&mut self) {
        // A bounded number at a time: the socket is watched by level again afterwards.
        for _ in 0..BATCH {
            match self.world.notify.recv() {
                Ok(Some(notification)) => {
                    if let Some(run) = notification.pid.and_then(|pid| self.run_above(pid)) {
                        self.heard(run, &notification);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a notification cannot be read");
                    return;
                }
            }
        }
        // Beside the driver, as there may be no room for it now.
        let wakes = self.world.wakes.clone();
        tokio::spawn(async move { drop(wakes.send(Wake::Notified).await) });
    }

    /// What one message says, in the order that makes sense of those that say several things.
    fn heard(&mut self, run: RunId, message: &Notification) {
        let is_one = |name: &str| message.value(name) == Some("1");
        let micros = |name: &str| message.value(name)?.parse().ok().map(Duration::from_micros);
        if let Some(status) = message.value("STATUS")
            && let Some(managed) = self.managed(run)
        {
            let status: String = status.chars().take(LONGEST_STATUS).collect();
            managed.record.said = (!status.is_empty()).then_some(status);
        }
        if let Some(every) = micros("WATCHDOG_USEC") {
            self.change_watchdog(run, every.max(SHORTEST_WATCHDOG));
        }
        if let Some(by) = micros("EXTEND_TIMEOUT_USEC") {
            self.extend(run, by.min(LONGEST_EXTENSION));
        }
        if is_one("WATCHDOG") {
            self.lives(run);
        }
        let phase = [("STOPPING", RunPhase::Stopping), ("RELOADING", RunPhase::Reloading)];
        let phase = phase.into_iter().find(|(name, _)| is_one(name)).map(|(_, phase)| phase);
        if phase.is_some() || is_one("READY") {
            if let Some(managed) = self.managed(run) {
                managed.phase = phase;
            }
            if phase == Some(RunPhase::Stopping) {
                self.watch_no_more(run);
            }
        }
        if is_one("READY") {
            self.claims(run, Proof::Notified);
        }
        if message.value("WATCHDOG") == Some("trigger") {
            self.unfit(run, "watchdog: it notified WATCHDOG=trigger");
        }
    }

    /// A run asks for more time.
    fn extend(&mut self, run: RunId, by: Duration) {
        self.extend_watchdog(run, by);
        self.step(run.app(), musher_core::lifecycle::Input::Extend { run, by });
    }

    /// The run to which a process belongs: itself or an ancestor is the run's first process.
    fn run_above(&self, pid: Pid) -> Option<RunId> {
        let mut pid = pid;
        for _ in 0..ANCESTORS {
            if let Some((_, run)) = self.find_pid(pid.as_raw()) {
                return Some(run);
            }
            pid = ProcessStat::read(pid).ok()?.parent?;
        }
        None
    }
}
