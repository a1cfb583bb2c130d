//! The flags of `musher dev`.

use clap::Args;

use super::StartArgs;

pub(super) const DEV_HELP: &str = "\
Examples:
  musher dev server.js                      one worker, replaced when a file below the directory changes
  musher dev server.js --ignore '*.md' --post-exec 'npm test'
  musher dev -- python3 worker.py
^C ends everything and leaves nothing behind.";

/// `musher dev`
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    pub(crate) start: StartArgs,
    /// Changes that do not count, as in a .gitignore: *.md,build/. May be repeated.
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', help_heading = "While developing")]
    pub(crate) ignore: Vec<String>,
    /// A line for the shell that is run after each start and replacement.
    #[arg(long, value_name = "COMMAND", help_heading = "While developing")]
    pub(crate) post_exec: Option<String>,
    /// Do not show what that writes.
    #[arg(long, requires = "post_exec", help_heading = "While developing")]
    pub(crate) silent_exec: bool,
    /// Show output as it is written, without the names of the workers.
    #[arg(long, conflicts_with = "timestamp", help_heading = "While developing")]
    pub(crate) raw: bool,
    /// Show output with the time.
    #[arg(long, help_heading = "While developing")]
    pub(crate) timestamp: bool,
    /// End when all apps have ended, and not only with ^C.
    #[arg(long, help_heading = "While developing")]
    pub(crate) auto_exit: bool,
}
