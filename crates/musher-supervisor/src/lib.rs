//! The daemon of musher: the keeper, which holds what must survive, and the supervisor, which does the work.
//!
//! - [`keeper`]: the role that holds descriptors and state, and starts the supervisor again.
//! - [`link`]: the supervisor's side of the link between both.
//! - [`home`]: the directory of one daemon, and how a daemon is started.
//! - `driver`: apps and their processes: the world as inputs of `musher-core`'s decisions, their effects carried out.
//! - [`control`]: the control API on the unix socket.
//! - [`takeover`]: whether another executable can take over.
//! - [`foreground`]: a team in the foreground, as in a container; `health_checks`: what answers for it.
//! - [`metrics`]: what is measured, and where it is told.
//! - `team`: the list of apps on the disk.
//! - `guard`: the control socket served, and the home made again when somebody deletes it.
//! - `daemon_log`: `musher.log`, rotated.
//! - [`endpoint`]: small HTTP endpoints for this machine.
//! - [`event_log`]: what happened, on the disk.
//! - [`logs`]: the workers' output, from pipes to files and from files to people.
//!
//! It links no proxy, no web server but the control API, no broker client and no load tester.

mod clock;
pub mod control;
mod daemon_log;
mod driver;
pub mod endpoint;
pub mod event_log;
mod files;
pub mod foreground;
mod guard;
mod health_checks;
pub mod home;
pub mod keeper;
pub mod link;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod takeover;
mod team;
mod watch;

use std::io;
use std::os::fd::RawFd;

use musher_process::inherit;

use daemon_log::DaemonLog;
use home::{Home, HomeError};

/// The version of this software.
pub const VERSION: &str = if cfg!(feature = "next") { "99.0.0-next" } else { env!("CARGO_PKG_VERSION") };

/// Why a supervisor could not work.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The descriptor of the link is not one.
    #[error("cannot use the link to the keeper: {0}")]
    Link(io::Error),
    /// The keeper ended or said nothing before everything was handed over.
    #[error("cannot take over from the keeper: {0}")]
    Keeper(io::Error),
    /// The keeper has no control socket.
    #[error("the keeper holds no control socket; a supervisor is started by `musher start`, not by hand")]
    NoControlSocket,
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// On trial: the executable before could go on with this.
    #[error("this version cannot go on with {name}: {why}")]
    Record {
        /// Name of the record.
        name: String,
        /// Why.
        why: String,
    },
    /// A system call that a supervisor cannot do without.
    #[error("cannot {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// The supervisor's whole life. `link` is the number of the descriptor that its keeper gave it; `adopt`, when this
/// process was the supervisor of another executable before, that of the list of what it held. Returns after an orderly
/// end; the process is to exit then.
///
/// # Errors
///
/// When it cannot take over; the keeper starts another one.
pub fn run(link: RawFd, adopt: Option<RawFd>) -> Result<(), SupervisorError> {
    let socket = inherit::take_inherited(link).map_err(SupervisorError::Link)?;
    let list = adopt.map(inherit::take_inherited).transpose().map_err(SupervisorError::Link)?;
    // What people see in ps(1); without it the process would be called "exe".
    let _ = rustix::thread::set_name(c"musher-superv");
    let home = Home::from_env()?;
    let in_foreground = std::env::var_os(home::FOREGROUND).is_some();
    let log = if in_foreground { DaemonLog::of_foreground() } else { DaemonLog::take(home.daemon_log()) };
    log_to(log.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|source| SupervisorError::System { step: "start the runtime", source })?;
    runtime.block_on(driver::supervise(socket, list, home, log))
}

/// The daemon's own words go to its log. `MUSHER_LOG` sets the level (`debug`, `info`, ...).
fn log_to(log: DaemonLog) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("MUSHER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A word that cannot be written, because the disk is full, must not end the daemon: telling of it on stderr would
    // panic there.
    let format = tracing_subscriber::fmt()
        .with_writer(move || log.clone())
        .with_ansi(false)
        .log_internal_errors(false)
        .with_env_filter(filter);
    // Fails only when there is a subscriber already, in tests.
    let _ = format.try_init();
}
