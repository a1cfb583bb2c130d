//! A team in the foreground (`musher run`): what the command that becomes the keeper tells its supervisors.
//!
//! The command binds what has to be bound, so that it can say what is wrong while somebody looks, and then becomes the
//! keeper: with the pid that the container or the terminal knows. The supervisor does the rest ([`crate::driver`]).

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use musher_core::spec::AppSpec;
use musher_process::memfd::memfd_with;
use serde::{Deserialize, Serialize};

use crate::home::{Home, HomeError, become_daemon};
use crate::keeper::FOREGROUND_NAME;
use crate::metrics::METRICS_NAME;

/// The name of the listening socket of the health checks in the keeper.
pub(crate) const HEALTH_NAME: &str = "health";

/// What is to be run, and how it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foreground {
    /// The apps.
    pub specs: Vec<AppSpec>,
    /// Exists as long as the team is ready.
    #[serde(default)]
    pub ready_file: Option<PathBuf>,
    /// From the request to end to SIGKILL for what is left.
    #[serde(default)]
    pub grace: Duration,
    /// How long the team serves on after the request to end, not ready any more, so that those who send it requests learn
    /// that they should not.
    #[serde(default)]
    pub linger: Duration,
    /// Whether the home is removed at the end.
    #[serde(default)]
    pub throw_away: bool,
    /// Whether it goes on when all apps have ended: a change of their files starts them again.
    #[serde(default)]
    pub stays: bool,
}

impl Foreground {
    /// Turns this process into the keeper of the team. Returns only if that fails.
    ///
    /// # Errors
    ///
    /// See [`HomeError`].
    pub fn become_keeper(&self, home: &Home, health: Option<TcpListener>, metrics: Option<OwnedFd>) -> HomeError {
        let plan = serde_json::to_vec(self).map_err(std::io::Error::from);
        let plan = match plan.and_then(|bytes| memfd_with(FOREGROUND_NAME, &bytes)) {
            Ok(plan) => plan,
            Err(source) => return HomeError::Io { path: home.root().to_path_buf(), source },
        };
        let mut more = vec![(FOREGROUND_NAME, plan)];
        more.extend(health.map(|health| (HEALTH_NAME, OwnedFd::from(health))));
        more.extend(metrics.map(|metrics| (METRICS_NAME, metrics)));
        become_daemon(home, &more)
    }
}
