//! What `musher events` takes.

use clap::Args;

use super::Moment;
use super::moment::moment;

pub(super) const EVENTS_HELP: &str = "\
Without a time or a number it shows what happens from now on. What happened is kept in the home,
16 MiB at most, and can be asked for when no daemon runs.

  musher events --since 1h --json
  musher events web --since 2026-01-31T12:00 --until 2026-01-31T13:00
  musher events --kind died,giveup -n 20 --follow";

/// `musher events`
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only those of these: names or ids of apps, namespaces, /expressions/ for names.
    #[arg(value_name = "APP")]
    pub(crate) targets: Vec<String>,
    /// The same, as an option; with commas between them.
    #[arg(long, value_name = "APP", value_delimiter = ',')]
    pub(crate) app: Vec<String>,
    /// Only these kinds, with commas between them: died, giveup, online, ...
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(crate) kind: Vec<String>,
    /// What happened since then: so long ago (10m, 2h, 1d), or a time in UTC (2026-01-31T12:30).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// What happened before then.
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "follow")]
    pub(crate) until: Option<Moment>,
    /// How many events from the past; at most 10000.
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(musher_api::MAX_EVENTS)))]
    pub(crate) lines: Option<u32>,
    /// Go on with what happens [default: when nothing from the past is asked for].
    #[arg(short, long, conflicts_with = "no_follow")]
    pub(crate) follow: bool,
    /// End behind what happened.
    #[arg(long, visible_alias = "nostream")]
    pub(crate) no_follow: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}
