//! Messages of users and of workers.

use std::time::Duration;

use musher_api::{ApiError, ErrorCode, EventKind, SendRequest, SendResponse, WorkerMessage};
use musher_core::RunId;
use musher_process::channel::MAX_MESSAGE;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::control::Reply;

use super::{Driver, wall_clock_ms};

/// How much of a message an event shows.
const SHOWN: usize = 1024;
/// How long the thread that has the channels may take to queue a message.
const PATIENCE: Duration = Duration::from_secs(5);

impl Driver {
    /// A worker said something: in full to those who listen, its beginning as an event.
    pub(super) fn message(&mut self, run: RunId, value: Value) {
        if self.loaded(run, &value) {
            return;
        }
        // Its size is bounded by the channel.
        let text = value.to_string();
        let Some((app, slot, pid)) = self.place_of_run(run) else { return };
        let (app, app_id, time_ms) = (app.name.clone(), app.id.0, wall_clock_ms());
        let is_report = self.reported(run, &value);
        // What libraries report each second would leave no place for anything else.
        if !is_report {
            self.publish_of_run(run, EventKind::Message, text.chars().take(SHOWN).collect());
        }
        let message = WorkerMessage { seq: 0, time_ms, app, app_id, slot, run: run.0, pid, message: value, lost: 0 };
        self.world.events.messages().publish(message, text.len());
    }

    /// Sends a message to the workers of an app. Answered when it is in their channels, or has no room there.
    pub(super) fn send(&mut self, request: SendRequest, reply: Reply<SendResponse>) {
        let runs = match self.receivers(&request) {
            Ok(runs) => runs,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let (queued, mut answers) = mpsc::channel(runs.len().max(1));
        for run in &runs {
            let queued = queued.clone();
            // The channel has room for all of them.
            self.world
                .cluster
                .send_and_tell(*run, request.message.clone(), move |result| drop(queued.try_send(result)));
        }
        drop(queued);
        tokio::spawn(async move {
            let (mut workers, mut refused) = (0, None);
            while let Ok(Some(answer)) = timeout(PATIENCE, answers.recv()).await {
                match answer {
                    Ok(()) => workers += 1,
                    Err(reason) => refused = Some(reason),
                }
            }
            let answer = match refused {
                Some(reason) if workers == 0 => Err(ApiError::new(ErrorCode::Busy, reason)
                    .with_hint("send it again when the worker has read what it was sent before")),
                _ => Ok(SendResponse { workers }),
            };
            let _ = reply.send(answer);
        });
    }

    fn receivers(&self, request: &SendRequest) -> Result<Vec<RunId>, ApiError> {
        let id = self.find(&request.target)?;
        let Some(app) = self.apps.get(&id) else { return Ok(Vec::new()) };
        if request.message.to_string().len() >= MAX_MESSAGE {
            return Err(ApiError::new(ErrorCode::TooLarge, format!("a message has at most {MAX_MESSAGE} bytes")));
        }
        let slots = app.runs.iter().filter(|(_, run)| request.slot.is_none_or(|asked| asked == run.record.slot.0));
        let runs: Vec<RunId> = slots.filter(|(_, run)| run.has_channel).map(|(run, _)| *run).collect();
        if runs.is_empty() {
            let which = request.slot.map_or_else(String::new, |slot| format!(" in slot {slot}"));
            return Err(ApiError::conflict(format!("{} has no worker with a channel{which} to send to", app.name))
                .with_hint("only Node, Bun and Deno programs have one, while they run"));
        }
        Ok(runs)
    }
}
