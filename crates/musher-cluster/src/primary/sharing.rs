//! What workers of an app share: messages to all of them, and a map ([`crate::shared`]).
//!
//! All are told in the one order in which they were heard here. Nobody waits for a worker that does not read: what finds
//! no room in its channel is missed, and it is told so, with how much it was, as soon as there is room.

use std::collections::BTreeSet;

use musher_core::ids::{AppId, RunId};
use serde_json::{Value, json};

use super::Primary;
use crate::message::{self, Ask};

impl Primary {
    pub(super) fn asked(&mut self, run: RunId, seq: u64, ask: Ask) {
        let Some(worker) = self.workers.get_mut(&run) else { return };
        let app = worker.app;
        let mut answer = match ask {
            Ask::Broadcast { message } => {
                let from = json!({ "slot": worker.slot, "run": run });
                let text = message::to_preload("told", json!({ "from": from, "message": message }));
                let all = self.apps.get(&app).map(|app| app.workers.clone()).unwrap_or_default();
                let (workers, missed) = self.tell_all(all, &text);
                json!({ "ok": true, "workers": workers, "missed": missed })
            }
            ask => {
                if let Ask::Watch { on } = ask {
                    worker.watches = on;
                    self.mark_dirty(app);
                }
                let Some(reply) = self.apps.get_mut(&app).map(|app| app.shared.answer(run, seq, ask)) else { return };
                if let Some(change) = reply.change {
                    self.changed(app, change);
                }
                reply.answer
            }
        };
        answer["ack"] = seq.into();
        self.tell_all(BTreeSet::from([run]), &message::to_preload("answer", answer));
    }

    fn changed(&mut self, app: AppId, change: Value) {
        self.mark_dirty(app);
        let all = self.apps.get(&app).map(|app| app.workers.clone()).unwrap_or_default();
        let watching = all.into_iter().filter(|run| self.workers.get(run).is_some_and(|worker| worker.watches));
        self.tell_all(watching.collect(), &message::to_preload("changed", change));
    }

    /// To how many it was sent, and how many had no room for it.
    fn tell_all(&mut self, runs: BTreeSet<RunId>, text: &str) -> (u32, u32) {
        let (mut sent, mut missed) = (0, 0);
        for run in runs {
            let Some(worker) = self.workers.get_mut(&run).filter(|worker| !worker.ended) else { continue };
            match worker.channel.queue_internal(text, None) {
                Ok(()) => sent += 1,
                Err(_) => {
                    worker.missed = worker.missed.saturating_add(1);
                    missed += 1;
                }
            }
            self.to_flush.insert(run);
        }
        (sent, missed)
    }
}
