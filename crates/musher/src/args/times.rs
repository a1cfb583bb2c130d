//! Flags of schedules.

use clap::Args;

/// When an app is started or restarted by the clock.
#[derive(Debug, Default, Args)]
pub(crate) struct TimesArgs {
    /// Restart what runs at these times, a pattern as in crontab(5): without a gap where the workers share their port. 0: not any more.
    #[arg(short, long, visible_alias = "cron-restart", value_name = "PATTERN")]
    pub(crate) cron: Option<String>,
    /// Run it as a job: started at these times, and ends by itself.
    #[arg(long, value_name = "PATTERN", conflicts_with = "cron")]
    pub(crate) schedule: Option<String>,
    /// Time zone of the pattern, as Europe/Berlin [default: the machine's].
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
}
