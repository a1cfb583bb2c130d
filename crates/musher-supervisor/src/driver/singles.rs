//! Actions for one slot of an app: `musher stop web/2`.

use musher_api::{Action, ApiError, OperationKind, OperationRef};
use musher_core::lifecycle::{Command, SlotAction};
use musher_core::{AppId, OpId, SlotId};

use super::Driver;

/// One slot, and what is to be done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct One {
    app: AppId,
    slot: SlotId,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Action(SlotAction),
    Signal(i32),
}

impl What {
    /// None: it cannot be done to one slot.
    fn of(action: Action) -> Option<What> {
        match action {
            Action::Start => Some(What::Action(SlotAction::Start)),
            Action::Stop => Some(What::Action(SlotAction::Stop)),
            Action::Restart => Some(What::Action(SlotAction::Restart)),
            Action::Reload => Some(What::Action(SlotAction::Reload)),
            Action::Delete => Some(What::Action(SlotAction::Delete)),
            Action::Signal { signal, slot: None } => Some(What::Signal(signal)),
            Action::Signal { .. }
            | Action::Canary { .. }
            | Action::Scale { .. }
            | Action::Reset
            | Action::Flush
            | Action::ReopenLogs => None,
        }
    }
}

impl Driver {
    /// Divides targets into those that are apps and those that are slots. The only slot of an app is that app.
    pub(super) fn divide(&mut self, action: Action, targets: &[String]) -> Result<(Vec<String>, Vec<One>), ApiError> {
        let (mut whole, mut ones) = (Vec::new(), Vec::new());
        for target in targets {
            let parts = target.rsplit_once('/').and_then(|(app, slot)| Some((app, slot.parse().ok()?)));
            let Some((name, number)) = parts.filter(|_| self.find(target).is_err()) else {
                whole.push(target.clone());
                continue;
            };
            let (app, slot) = (self.find(name)?, SlotId(number));
            let Some(managed) = self.apps.get(&app) else { continue };
            if !managed.machine.has_slot(slot) {
                let slots: Vec<String> = managed.machine.slot_ids().iter().map(ToString::to_string).collect();
                return Err(ApiError::not_found(format!("{name} has no slot {slot}"))
                    .with_hint(format!("its slots are {}", slots.join(", "))));
            }
            let what = What::of(action).ok_or_else(|| {
                ApiError::bad_request(format!("{target} is one slot, and this is done to whole apps"))
                    .with_hint(format!("name the app: {name}"))
            })?;
            if managed.machine.size() == 1 {
                whole.push(name.to_owned());
            } else if ones.iter().all(|one: &One| (one.app, one.slot) != (app, slot)) {
                ones.push(One { app, slot, what });
            }
        }
        self.bounds_hold(&ones)?;
        Ok((whole, ones))
    }

    /// An app that is scaled by load keeps the number of slots that it has to have.
    fn bounds_hold(&mut self, ones: &[One]) -> Result<(), ApiError> {
        let deleted = |one: &&One| one.what == What::Action(SlotAction::Delete);
        for one in ones.iter().filter(deleted) {
            let Some(size) = self.apps.get(&one.app).map(|app| app.machine.size()) else { continue };
            let gone = ones.iter().filter(deleted).filter(|other| other.app == one.app).count();
            let left = size.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX));
            if left > 0 {
                self.scaled_by_hand(one.app, left)?;
            }
        }
        Ok(())
    }

    /// Puts apps into the order of what they need, and gives what has to be started before them and these slots.
    pub(super) fn needed_for(&self, action: Action, apps: &mut [AppId], ones: &[One]) -> Vec<AppId> {
        let mut needed = self.needed_first(action, apps);
        let mut of_ones: Vec<AppId> = ones.iter().map(|one| one.app).collect();
        for app in self.needed_first(action, &mut of_ones) {
            if !needed.contains(&app) && !apps.contains(&app) {
                needed.push(app);
            }
        }
        needed
    }

    /// Begins an operation for each.
    pub(super) fn begin_ones(
        &mut self,
        action: Action,
        ones: Vec<One>,
        operations: &mut Vec<OperationRef>,
    ) -> Vec<(OpId, One)> {
        let mut begun = Vec::new();
        for one in ones {
            let name = self.apps.get(&one.app).map(|app| app.name.clone()).unwrap_or_default();
            let (op, reference) = self.begin(one.app, &name, action.into());
            self.world.operations.is_for(op, one.slot);
            operations.push(reference);
            begun.push((op, one));
        }
        begun
    }

    /// Slots that were stopped before an app was saved are so again.
    pub(super) fn hold(&mut self, id: AppId, slots: Vec<SlotId>) {
        let Some(name) = self.apps.get(&id).map(|app| app.name.clone()) else { return };
        for slot in slots {
            let (op, _) = self.begin(id, &name, OperationKind::Stop);
            self.world.operations.is_for(op, slot);
            self.world.write_home();
            self.command(id, op, Command::One { slot, action: SlotAction::Stop });
        }
    }

    pub(super) fn act_on_one(&mut self, (op, One { app, slot, what }): (OpId, One)) {
        match what {
            What::Action(action) => self.command(app, op, Command::One { slot, action }),
            What::Signal(signal) => self.signal_workers(app, op, signal, Some(slot.0)),
        }
    }
}
