//! The arguments of `musher logs`.

use clap::Args;
use musher_core::spec::DatePattern;
use regex_lite::Regex;

use super::moment::{self, Moment};

/// `musher logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Names or ids of apps, namespaces, /expressions/ for names [default: all].
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<String>,
    /// How many lines from the past [default: 15; with --since or --until: all].
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<u32>,
    /// Only lines since then: so long ago (10m, 2h, 1d), or a time in UTC (2026-01-31T12:30).
    #[arg(long, value_name = "TIME", value_parser = moment::moment)]
    pub(crate) since: Option<Moment>,
    /// Only lines before then; ends there.
    #[arg(long, value_name = "TIME", value_parser = moment::moment, conflicts_with = "follow")]
    pub(crate) until: Option<Moment>,
    /// Go on with new lines as they come [default: on a terminal].
    #[arg(short, long, conflicts_with = "no_follow")]
    pub(crate) follow: bool,
    /// End after the lines from the past [default: when the output is not a terminal].
    #[arg(long, visible_alias = "nostream")]
    pub(crate) no_follow: bool,
    /// Only standard output.
    #[arg(long, conflicts_with = "err")]
    pub(crate) out: bool,
    /// Only standard error.
    #[arg(long)]
    pub(crate) err: bool,
    /// Only lines that contain this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Only lines that match this regular expression; (?i) before it: in capitals or not.
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub(crate) grep: Option<Regex>,
    /// With --grep: so many lines of the same app before and after each match, too; `--` stands between groups.
    #[arg(short = 'C', long, value_name = "N", requires = "grep", conflicts_with = "lines")]
    pub(crate) context: Option<u32>,
    /// Show this word in colour.
    #[arg(long, value_name = "WORD")]
    pub(crate) highlight: Option<String>,
    /// Before each line, when it was written: in UTC, or in local time by a pattern (--timestamps="HH:mm:ss").
    #[arg(
        short,
        long,
        visible_alias = "timestamp",
        value_name = "PATTERN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = times
    )]
    pub(crate) timestamps: Option<Times>,
    /// The lines as they were written, without names.
    #[arg(long, conflicts_with_all = ["json", "timestamps", "format"])]
    pub(crate) raw: bool,
    /// One JSON object a line.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Each line as key=value: timestamp, app, id (of the worker), type, message.
    #[arg(long)]
    pub(crate) format: bool,
}

/// How times are shown.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// As RFC 3339, in UTC.
    Utc,
    /// By a pattern, in local time.
    Local(DatePattern),
}

fn times(text: &str) -> Result<Times, String> {
    if text.is_empty() { Ok(Times::Utc) } else { DatePattern::parse(text).map(Times::Local) }
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}
