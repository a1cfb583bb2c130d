//! Flags of watched files.

use clap::{Args, ValueHint};

/// Which files replace the workers when they change.
#[derive(Debug, Default, Args)]
pub(crate) struct WatchArgs {
    /// Replace the workers when a file of the working directory changes; --watch=PATH: of this path. May be repeated.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, value_hint = ValueHint::AnyPath)]
    pub(crate) watch: Option<Vec<String>>,
    /// Watch only files with these endings: --ext js,json.
    #[arg(long, value_name = "ENDINGS")]
    pub(crate) ext: Option<String>,
    /// Watch only files that the program has loaded by require or import, as Node tells.
    #[arg(long)]
    pub(crate) watch_loaded: bool,
}
