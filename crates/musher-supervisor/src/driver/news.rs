//! What was decided, as people hear of it.

use std::sync::Arc;

use musher_api::EventKind;
use musher_core::lifecycle::Event;
use musher_core::{RunId, SlotId};

use crate::control::News;

use super::World;
use super::app::ManagedApp;

impl World {
    /// Publishes what was decided; what was published, if it is worth it.
    pub(super) fn tell(&self, app: &ManagedApp, event: Event) -> Option<Arc<musher_api::Event>> {
        let about = |slot: SlotId, run: RunId, kind: EventKind, detail: String| {
            Some(News::new(kind, detail).of_slot(slot.0).of_run(run.0, app.pid_of(run)))
        };
        let news = match event {
            Event::Starting { .. } | Event::Started { .. } | Event::Recovered { .. } | Event::Deleted => None,
            Event::Online { slot, run, after_ms, .. } => {
                about(slot, run, EventKind::Online, format!("ready after {after_ms} ms"))
            }
            Event::SpawnFailed { slot, run, reason, .. } => about(slot, run, EventKind::SpawnFailed, reason),
            Event::NotReady { slot, run, timeout_ms, .. } => {
                about(slot, run, EventKind::NotReady, format!("not ready within {timeout_ms} ms"))
            }
            Event::Draining { slot, run, .. } => {
                about(slot, run, EventKind::Draining, "takes nothing new and finishes what it has".into())
            }
            Event::Stopping { slot, run, .. } => about(slot, run, EventKind::Signalled, "got the stop signal".into()),
            Event::Killing { slot, run, .. } => {
                about(slot, run, EventKind::Killed, "did not end in its grace and was killed".into())
            }
            Event::Exited { slot, run, outcome, uptime_ms, .. } => {
                // That of a slot that is scaled away is not kept.
                let death = app.deaths.get(&slot).filter(|death| death.run == run.0).cloned();
                let how = death.as_ref().map_or_else(|| outcome.to_string(), |death| death.status.clone());
                about(slot, run, EventKind::Exited, format!("ended with {how} after {uptime_ms} ms"))
                    .map(|news| news.with_death(death))
            }
            Event::Unfit { slot, run, reason, wait_ms, .. } => {
                about(slot, run, EventKind::Unfit, format!("{reason}; its replacement begins {}", when(wait_ms)))
            }
            Event::Kept { slot, run, death, wait_ms, .. } => {
                let detail = format!("its successor {death}; it goes on, and another is tried {}", when(wait_ms));
                about(slot, run, EventKind::Kept, detail)
            }
            Event::Failing { slot, run, .. } => {
                about(slot, run, EventKind::Failing, "an exception was not caught; it finishes what it has".into())
            }
            Event::Ended { slot, death } => {
                Some(News::new(EventKind::Stopped, format!("{death} and stays down")).of_slot(slot.0))
            }
            Event::Backoff { slot, delay_ms, attempt } => {
                let detail = format!("starts again in {delay_ms} ms (attempt {attempt})");
                Some(News::new(EventKind::Backoff, detail).of_slot(slot.0))
            }
            Event::Skipped { runs } => {
                let detail =
                    format!("its time has come, and it still runs ({runs} workers): it is not started once more");
                Some(News::new(EventKind::Schedule, detail))
            }
            Event::Giveup { slot, restarts, window_ms, death } => {
                let detail = format!("given up after {restarts} restarts in {} s: {death}", window_ms / 1000);
                Some(News::new(EventKind::Giveup, detail).of_slot(slot.0).with_death(app.deaths.get(&slot).cloned()))
            }
            Event::ReloadStarted { slots, generation } => Some(News::new(
                EventKind::OperationStarted,
                format!("reload of {slots} slots to generation {generation} begins"),
            )),
            Event::ReloadFinished { generation } => {
                Some(News::new(EventKind::Changed, format!("generation {generation} serves")))
            }
            Event::ReloadAborted { slot, run, death, .. } => about(
                slot,
                run,
                EventKind::Changed,
                format!("reload aborted: {death}; the workers that serve are kept"),
            ),
            Event::CanaryWatched { generation, slots, wait_ms } => {
                let detail = format!("generation {generation} is watched in {slots} slots for {wait_ms} ms");
                Some(News::new(EventKind::Canary, detail))
            }
            Event::CanaryPassed { generation, .. } => {
                Some(News::new(EventKind::Canary, format!("generation {generation} did well; the reload goes on")))
            }
            Event::CanaryFailed { generation, slot, run, reason } => {
                let detail = format!("generation {generation} failed: {reason}; the old version is brought back");
                match (slot, run) {
                    (Some(slot), Some(run)) => about(slot, run, EventKind::Canary, detail),
                    _ => Some(News::new(EventKind::Canary, detail)),
                }
            }
            Event::WentBack { generation, from } => {
                Some(News::new(EventKind::Canary, format!("generation {generation} serves again, {from} is gone")))
            }
            Event::Scaled { from, to } => Some(News::new(EventKind::Scaled, format!("from {from} to {to} slots"))),
            Event::Stopped => Some(News::new(EventKind::Stopped, "stopped")),
        };
        Some(self.events.publish(news?.of_app(&app.name, app.id.0)))
    }
}

/// When something begins that may have to wait.
fn when(wait_ms: Option<u64>) -> String {
    match wait_ms {
        Some(0) => "now".to_owned(),
        Some(ms) => format!("in {ms} ms"),
        None => "never, as no restart is allowed".to_owned(),
    }
}
