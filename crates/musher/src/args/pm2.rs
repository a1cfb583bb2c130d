//! What concerns PM2: `musher convert`, `musher import`, `musher pm2`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueHint};

pub(super) const PM2_HELP: &str = "\
For scripts that call pm2: its commands, flags, formats and exit codes. See docs/guide/coming-from-pm2.md.

  ln -s $(command -v musher) /usr/local/bin/pm2
  pm2 start ecosystem.config.js --env production
  pm2 jlist";

/// `musher pm2`
#[derive(Debug, Args)]
pub(crate) struct Pm2Args {
    /// A command of PM2 with its flags.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) words: Vec<OsString>,
}

pub(super) const IMPORT_HELP: &str = "\
Each app is stopped in PM2, then started here; one that does not start is started in PM2 again.

  musher import                  shows what would be done
  musher import --yes            does it
  musher import ~/.pm2/dump.pm2  from the list that `pm2 save` wrote";

/// `musher import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// PM2's home, or its dump [default: $PM2_HOME, else ~/.pm2].
    #[arg(value_name = "FROM", value_hint = ValueHint::AnyPath)]
    pub(crate) from: Option<PathBuf>,
    /// Do it.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// What `convert` does with what has no place in a musher.toml.
pub(super) const CONVERT_HELP: &str = "\
What is not the same in musher is told on standard error.

  musher convert ecosystem.config.js > musher.toml
  musher convert ecosystem.config.js --env production > production.toml";

/// `musher convert`
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The file: .config.js (.cjs, .mjs, .ts), .json, .yaml, or - for JSON on standard input.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Take the variables of env_NAME, too.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) env: Option<String>,
}
