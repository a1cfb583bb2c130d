//! What a crash of supervisor and keeper together leaves to be put right: workers without a channel.
//!
//! A worker of a Node cluster whose channel is gone serves on with the sockets that it has (the preload sees to that),
//! but cannot be asked for anything. So its app is reloaded as soon as nothing else is going on with it. Where its
//! successor cannot have the port, because the system did not let us have the sockets back, the app is restarted: that
//! has a gap, and is the only case that does.

use musher_api::{EventKind, OperationKind};
use musher_core::AppId;
use musher_core::lifecycle::Command;
use musher_core::spec::Runtime;

use crate::control::News;

use super::Driver;
use super::app::ManagedApp;

/// How far the replacement of workers without a channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Nothing was tried.
    #[default]
    Untried,
    /// A reload was tried.
    Reloaded {
        /// A new worker was refused the port.
        refused: bool,
    },
    /// A restart was tried.
    Restarted,
}

impl ManagedApp {
    /// Whether a worker that serves was left without its channel.
    pub(super) fn has_orphans(&self) -> bool {
        self.runs.iter().any(|(id, run)| {
            let clustered = |spec: &std::sync::Arc<_>| is_cluster(spec);
            !run.has_channel
                && self.machine.run(*id).is_some_and(|run| run.is_online())
                && self.spec(run.record.generation).or(self.target_spec()).is_some_and(clustered)
        })
    }
}

fn is_cluster(spec: &musher_core::spec::AppSpec) -> bool {
    spec.exec.runtime == Runtime::NodeCluster
}

impl Driver {
    /// Replaces the workers of an app that have lost their channel, when nothing else is going on with it.
    pub(super) fn renew(&mut self, id: AppId) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        if !self.world.orphaned
            || !app.machine.is_wanted()
            || !app.machine.operations().is_empty()
            || app.gate.is_some()
            || !app.has_orphans()
        {
            return;
        }
        let (kind, why) = match app.renewal {
            Renewal::Untried => {
                app.renewal = Renewal::Reloaded { refused: false };
                (OperationKind::Reload, "its workers have lost their channel: it is reloaded")
            }
            Renewal::Reloaded { refused: true } => {
                app.renewal = Renewal::Restarted;
                (OperationKind::Restart, "its port is only with workers that cannot be reached: it is restarted")
            }
            // A build that does not start: the old workers go on.
            Renewal::Reloaded { refused: false } | Renewal::Restarted => return,
        };
        let name = app.name.clone();
        tracing::warn!(app = name, "{why}");
        self.world.events.publish(News::new(EventKind::Changed, why).of_app(&name, id.0));
        let command = match kind {
            OperationKind::Reload => Command::Reload { target: self.next_generation(id, None), canary: None },
            _ => Command::Restart { target: None },
        };
        let (op, _) = self.begin(id, &name, kind);
        self.world.write_home();
        self.command(id, op, command);
    }
}
