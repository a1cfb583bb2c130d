//! What can be typed of `musher startup`, `musher unstartup` and `musher attend`.

use clap::Args;

pub(crate) const STARTUP_HELP: &str = "\
The unit runs the daemon of this home with this executable, and brings its apps back after a reboot. `systemctl
restart` replaces musher and keeps the workers; `systemctl reload` reloads all apps without losing a request;
`systemctl stop` stops everything.

Examples:
  sudo musher startup                    a unit of the system for root's home
  musher startup                         as anybody else: tells the command that makes one that runs as you
  musher startup --user                  a unit of your own; `loginctl enable-linger` lets it start at boot
  musher startup --print > web.service   only show it
  musher unstartup                       no start at boot any more";

/// What names a unit.
#[derive(Debug, Args)]
pub(crate) struct UnitArgs {
    /// A unit of your own systemd, not of the system's.
    #[arg(long)]
    pub(crate) user: bool,
    /// Name of the unit [default: musher, or musher-USER for a unit of the system that runs as USER].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Whom a unit of the system runs as, if not the one who types this.
    #[arg(long, value_name = "USER", conflicts_with = "user")]
    pub(crate) run_as: Option<String>,
    /// One object, on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `musher startup`
#[derive(Debug, Args)]
pub(crate) struct StartupArgs {
    #[command(flatten)]
    pub(crate) unit: UnitArgs,
    /// Print the unit and change nothing.
    #[arg(long)]
    pub(crate) print: bool,
}

/// `musher attend`
#[derive(Debug, Args)]
pub(crate) struct AttendArgs {
    /// The unit that this process is the main process of.
    #[arg(long, value_name = "UNIT")]
    pub(crate) unit: Option<String>,
    /// It is one of the user's systemd.
    #[arg(long)]
    pub(crate) user: bool,
}
