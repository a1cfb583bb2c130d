//! Apps whose number of slots follows their load: looks at it every so often, and scales as the decisions say.
//!
//! Only such apps are looked at, and only while they are meant to run. What was seen is not kept for a later supervisor:
//! it looks anew, and in doubt changes nothing.

use std::time::Duration;

use musher_api::{ApiError, EventKind, OperationKind};
use musher_core::lifecycle::{Command, Input, Run};
use musher_core::scaling::{Load, Memory, decide};
use musher_core::{AppId, RunId, Time};
use musher_process::Pid;
use musher_process::net::tcp;

use crate::control::News;

use super::app::ManagedApp;
use super::{Driver, World, now};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// When an app is looked at next, and what is remembered until then.
#[derive(Debug)]
pub(super) struct Looks {
    next: Time,
    memory: Memory,
}

impl Driver {
    /// Looks at the apps that are due.
    pub(super) fn look_at_loads(&mut self) {
        let now = now();
        let due = self.apps.values().filter(|app| app.looks.as_ref().is_some_and(|looks| looks.next <= now));
        for id in due.map(|app| app.id).collect::<Vec<AppId>>() {
            if let Some((to, load)) = self.look(id, now) {
                self.scale_by_load(id, to, &load);
            }
        }
    }

    /// A user scales: within the bounds, and load does not move it again at once.
    pub(super) fn scaled_by_hand(&mut self, id: AppId, to: u32) -> Result<(), ApiError> {
        let Some(app) = self.apps.get_mut(&id) else { return Ok(()) };
        let Some(rule) = app.target_spec().and_then(|spec| spec.scale.clone()) else { return Ok(()) };
        if !(rule.min..=rule.max).contains(&to) {
            let message = format!("{} is scaled by load, between {} and {}: not to {to}", app.name, rule.min, rule.max);
            return Err(ApiError::conflict(message).with_hint("change `instances` in its process file"));
        }
        if let Some(looks) = &mut app.looks {
            looks.memory.changed(now());
        }
        Ok(())
    }

    fn look(&mut self, id: AppId, now: Time) -> Option<(u32, Load)> {
        let app = self.apps.get_mut(&id)?;
        let looks = app.looks.as_mut()?;
        looks.next = now + INTERVAL;
        // A reload has two workers in a slot: what they use together says nothing.
        if !app.machine.operations().is_empty() {
            return None;
        }
        let rule = app.target_spec()?.scale.clone()?;
        let load = self.world.load(app, now);
        // Those that a user stopped carry nothing, and stay.
        let (slots, held) = (app.machine.wanted_size(), app.machine.held_slots().len());
        let held = u32::try_from(held).unwrap_or_default();
        let ready = app.machine.ready_slots();
        let looks = app.looks.as_mut()?;
        let to = decide(now, &mut looks.memory, &rule, slots, ready, &load);
        (to != slots).then_some((to.saturating_add(held), load))
    }

    fn scale_by_load(&mut self, id: AppId, to: u32, load: &Load) {
        let Some(name) = self.apps.get(&id).map(|app| app.name.clone()) else { return };
        let delay = load.delay.map_or_else(String::new, |delay| format!(", event loop {} ms late", delay.as_millis()));
        let queued = load.queued.map_or_else(String::new, |queued| format!(", {queued} connections wait"));
        let detail = format!("to {to} by load: cpu {:.0} % a worker{delay}{queued}", load.cpu_percent);
        self.world.events.publish(News::new(EventKind::Scaled, detail).of_app(&name, id.0));
        let (op, _) = self.begin(id, &name, OperationKind::Scale);
        self.world.write_home();
        self.step(id, Input::Command { op, command: Command::Scale { to } });
        self.drop_unused_specs(id);
    }
}

impl World {
    /// What the workers that serve did since the last look.
    #[expect(clippy::cast_precision_loss, reason = "a number of workers")]
    fn load(&mut self, app: &ManagedApp, now: Time) -> Load {
        let online: Vec<RunId> = app.machine.runs().filter(|(_, run)| Run::is_online(run)).map(|(id, _)| id).collect();
        let mut cpu = 0.0;
        for run in &online {
            let pid: Option<Pid> = app.runs.get(run).and_then(super::app::ManagedRun::pid);
            cpu += pid.map_or(0.0, |pid| self.samples.measure(*run, pid, now).cpu_percent);
        }
        let pulses = online.iter().filter_map(|run| app.runs.get(run)?.pulse.as_ref());
        let delay = pulses.map(|pulse| Duration::from_micros(pulse.delay_us)).max();
        let of_driver = app.sockets.list().into_iter().filter_map(|(_, _, queue)| queue);
        let queued = of_driver.chain(self.queues_of_cluster(app.id)).max();
        Load { cpu_percent: cpu / online.len().max(1) as f64, delay, queued }
    }
}

impl World {
    /// How many connections wait at each listening socket of a Node cluster. The cluster thread owns them; what it does is
    /// not held up, as the keeper's copies are asked.
    fn queues_of_cluster(&self, app: AppId) -> impl Iterator<Item = u32> {
        let prefix = format!("listen/{app}/");
        let is_listener = |name: &str| {
            let place = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
            place.is_some_and(|(_, place)| place == "all" || place.parse::<u32>().is_ok())
        };
        let sockets = self.link.copies(is_listener).unwrap_or_default();
        sockets.into_iter().filter_map(|(_, socket)| tcp::listen_state(socket).ok().map(|state| state.queued))
    }
}

impl ManagedApp {
    /// When the app is looked at next.
    pub(super) fn next_look(&self) -> Option<Time> {
        self.looks.as_ref().map(|looks| looks.next)
    }

    /// Begins or ends to look at it, as its spec and its state say.
    pub(super) fn follow_load(&mut self) {
        let wanted = self.machine.is_wanted() && self.target_spec().is_some_and(|spec| spec.scale.is_some());
        match (&self.looks, wanted) {
            (None, true) => self.looks = Some(Looks { next: now() + INTERVAL, memory: Memory::default() }),
            (Some(_), false) => self.looks = None,
            (None, false) | (Some(_), true) => {}
        }
    }
}
