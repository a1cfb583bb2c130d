//! What `musher send` takes.

use clap::Args;

pub(super) const SEND_HELP: &str = "\
Node, Bun and Deno programs hear it by process.on('message').

  musher send web '{\"type\": \"reread\", \"data\": {\"what\": \"prices\"}}'
  musher send web --slot 0 '\"hello\"'";

/// `musher send`
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Name or id of the app.
    #[arg(value_name = "APP")]
    pub(crate) target: String,
    /// The message: any JSON value, at most 1 MiB.
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) message: String,
    /// Only to the worker of this slot.
    #[arg(long, value_name = "N")]
    pub(crate) slot: Option<u32>,
}
