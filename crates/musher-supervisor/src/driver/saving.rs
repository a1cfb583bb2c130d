//! Saving the list of apps where nothing but a user changes it, and bringing saved apps back.

use musher_api::{
    ApiError, OperationKind, PlanAction, PlanStep, ResurrectRequest, SaveResponse, StartRequest, StartResponse,
};
use musher_core::lifecycle::Command;
use tokio::sync::oneshot;

use crate::control::Reply;
use crate::team::Order;

use super::resume::{SavedApp, read_saved};
use super::{Driver, Wake};

/// What was read for a request to resurrect.
#[derive(Debug)]
pub(crate) struct Resurrection {
    request: ResurrectRequest,
    saved: Result<Vec<SavedApp>, String>,
    reply: Reply<StartResponse>,
}

impl Driver {
    /// Adds apps of a list that no daemon has any more, and starts those that were meant to run.
    pub(super) fn revive(&mut self, apps: Vec<SavedApp>) {
        for SavedApp { spec, wanted, held, times } in apps {
            if let Err(faults) = spec.check() {
                let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::error!(app = spec.name, faults, "an app on the disk is not valid any more, and is left out");
                continue;
            }
            let id = self.app_for(&spec);
            if let Some(app) = self.apps.get_mut(&id).filter(|_| wanted) {
                // What its schedule missed meanwhile is seen.
                app.times_record = times;
            }
            if wanted && self.apps.get(&id).is_some_and(|app| !app.machine.is_wanted()) {
                let (op, _) = self.begin(id, &spec.name, OperationKind::Start);
                self.world.write_home();
                self.command(id, op, Command::Start { target: None });
                self.hold(id, held);
            }
        }
        self.world.record.taken_up = true;
        self.world.write_home();
    }

    /// Writes the list as it is now where `musher resurrect` finds it. Answered when it is on the disk.
    pub(super) fn save(&self, reply: Reply<SaveResponse>) {
        let path = self.world.home.saved_list();
        let Some(team) = self.world.link.team() else {
            return drop(reply.send(Err(ApiError::unavailable("the daemon is just beginning, or ending"))));
        };
        let file = Box::new(self.world.link.team_file(false));
        let apps = u32::try_from(file.apps()).unwrap_or(u32::MAX);
        let (written, done) = oneshot::channel();
        team.order(Order::Save(file, path.clone(), written));
        tokio::spawn(async move {
            let shown = path.display().to_string();
            let answer = match done.await {
                Ok(Ok(_)) => Ok(SaveResponse { apps, path: shown }),
                Ok(Err(error)) => Err(ApiError::internal(format!("{shown} cannot be written: {error}"))
                    .with_hint("what was saved before is still there; make room or make the home writable")),
                Err(_) => Err(ApiError::internal("the thread that writes has ended")),
            };
            drop(reply.send(answer));
        });
    }

    /// Reads what was saved, beside the driver.
    pub(super) fn begin_resurrection(&self, request: ResurrectRequest, reply: Reply<StartResponse>) {
        let (path, wakes) = (self.world.home.saved_list(), self.world.wakes.clone());
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || read_saved(&path)).await;
            let saved = read.unwrap_or_else(|error| Err(error.to_string()));
            let _ = wakes.send(Wake::Resurrect(Box::new(Resurrection { request, saved, reply }))).await;
        });
    }

    /// Starts what was saved and does not run.
    pub(super) fn resurrect(&mut self, resurrection: Resurrection) {
        let Resurrection { request, saved, reply } = resurrection;
        let answer = match saved {
            Ok(saved) if saved.is_empty() => Err(ApiError::not_found("no apps were saved")
                .with_hint("`musher save` saves those that there are; without it they come back by themselves")),
            Ok(saved) => self.start_saved(request, saved),
            Err(fault) => Err(ApiError::internal(fault).with_hint("start the apps from their files, and save again")),
        };
        drop(reply.send(answer));
    }

    fn start_saved(&mut self, request: ResurrectRequest, saved: Vec<SavedApp>) -> Result<StartResponse, ApiError> {
        let mut specs = Vec::new();
        let mut untouched = Vec::new();
        let mut all_held = Vec::new();
        for SavedApp { spec, wanted, held, .. } in saved {
            let present = self.apps.values().find(|app| app.name == spec.name);
            let runs = present.is_some_and(|app| app.machine.is_wanted());
            if wanted && !runs {
                all_held.push((spec.name.clone(), held));
                specs.push(spec);
                continue;
            }
            let slots = present.map_or(spec.instances, |app| app.machine.size());
            untouched.push(PlanStep {
                app: spec.name.clone(),
                action: PlanAction::None,
                changed: Vec::new(),
                instances_before: slots,
                instances_after: slots,
            });
            // One that was saved as stopped is there again, stopped.
            if present.is_none() {
                self.app_for(&spec);
            }
        }
        let request = StartRequest { request_id: request.request_id, specs, dry_run: false, force: false };
        let mut response = self.start(request)?;
        for (name, held) in all_held {
            if let Some(id) = self.apps.values().find(|app| app.name == name).map(|app| app.id) {
                self.hold(id, held);
            }
        }
        response.plan.extend(untouched);
        Ok(response)
    }
}
