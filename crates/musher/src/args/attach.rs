//! What `musher attach` and `musher trigger` take.

use std::time::Duration;

use clap::Args;

pub(super) const ATTACH_HELP: &str = "\
Each line that is typed goes to the worker's standard input; what it writes is shown. ^C or the end of the input detaches,
and the worker goes on.

  musher attach bot            an app with one worker
  musher attach web/2          the worker in slot 2
  echo reload | musher attach bot";

pub(super) const TRIGGER_HELP: &str = "\
The actions are those that the program registered: `io.action(name, callback)` of @pm2/io, or `tx2.action`.
`musher describe web` lists them.

  musher trigger web db:clean
  musher trigger web/0 log:level debug --json";

/// `musher attach`
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Name or id of an app with one worker, or APP/SLOT.
    #[arg(value_name = "APP[/SLOT]")]
    pub(crate) target: String,
    /// What ends each line that is sent, in place of a newline; \n, \r, \t and \0 may be written so.
    #[arg(value_name = "SEPARATOR", allow_hyphen_values = true)]
    pub(crate) separator: Option<String>,
    /// Show so many lines from the past first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    pub(crate) lines: u32,
}

/// `musher trigger`
#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// Name or id of an app, a namespace, an /expression/ for names, `all`, or APP/SLOT.
    #[arg(value_name = "APP[/SLOT]")]
    pub(crate) target: String,
    /// Name of the action.
    #[arg(value_name = "ACTION")]
    pub(crate) action: String,
    /// Its parameter, a text.
    #[arg(value_name = "PARAM", allow_hyphen_values = true)]
    pub(crate) param: Option<String>,
    /// How long to wait for the answers.
    #[arg(long, value_name = "TIME", value_parser = super::duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    /// One array with an object for each worker.
    #[arg(long)]
    pub(crate) json: bool,
}
