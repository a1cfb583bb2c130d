//! The flags of `musher start` for logs, by the names that PM2's users type, too.

use clap::{Args, ValueHint};

/// Where the output of an app goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct StartLogsArgs {
    /// File of standard output; /dev/null for none.
    #[arg(short, long, visible_alias = "output", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<String>,
    /// File of standard error; /dev/null for none.
    #[arg(long, visible_alias = "error", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) err: Option<String>,
    /// A file that gets both as well, in the order of time.
    #[arg(short = 'l', long = "log", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) combined: Option<String>,
    /// Write nothing to files; `musher logs` has nothing to show then.
    #[arg(long, conflicts_with_all = ["out", "err", "combined"])]
    pub(crate) disable_logs: bool,
    /// Form of a line in the log files: raw, timestamp, json or pm2-json.
    #[arg(long, value_name = "FORM")]
    pub(crate) log_format: Option<String>,
    /// `json`: the same as --log-format pm2-json.
    #[arg(long, value_name = "TYPE", value_parser = ["json"], conflicts_with = "log_format")]
    pub(crate) log_type: Option<String>,
    /// How times are written before lines, in local time: "YYYY-MM-DD HH:mm:ss.SSS Z".
    #[arg(long, value_name = "PATTERN")]
    pub(crate) log_date_format: Option<String>,
    /// The same as --log-date-format YYYY-MM-DDTHH:mm:ss.
    #[arg(long, conflicts_with = "log_date_format")]
    pub(crate) time: bool,
    /// All workers share the files, also where a process file says otherwise.
    #[arg(long)]
    pub(crate) merge_logs: bool,
}
