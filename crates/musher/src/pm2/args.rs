//! PM2's command line: every option may stand anywhere, before and behind the command.

use clap::Parser;

/// A command line of PM2.
#[derive(Debug, Default, Parser)]
#[command(
    name = "pm2",
    bin_name = "pm2",
    version = musher_supervisor::VERSION,
    about = "musher behaves as PM2: its commands, flags, formats and exit codes",
    after_help = COMMANDS,
    disable_help_subcommand = true
)]
pub(super) struct Args {
    /// A command of PM2, and what it is about.
    #[arg(value_name = "COMMAND", allow_negative_numbers = true)]
    pub(super) words: Vec<String>,
    /// Say nothing but data and errors.
    #[arg(short, long)]
    pub(super) silent: bool,
    #[arg(short, long)]
    pub(super) name: Option<String>,
    #[arg(short = 'm', long)]
    pub(super) mini_list: bool,
    #[arg(long)]
    pub(super) interpreter: Option<String>,
    #[arg(long, visible_alias = "node-args", allow_hyphen_values = true)]
    pub(super) interpreter_args: Option<String>,
    #[arg(short, long)]
    pub(super) output: Option<String>,
    #[arg(short, long)]
    pub(super) error: Option<String>,
    #[arg(short, long, num_args = 0..=1, default_missing_value = "")]
    pub(super) log: Option<String>,
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    pub(super) filter_env: Vec<String>,
    #[arg(long)]
    pub(super) log_type: Option<String>,
    #[arg(long)]
    pub(super) log_date_format: Option<String>,
    #[arg(long)]
    pub(super) time: bool,
    #[arg(long)]
    pub(super) disable_logs: bool,
    /// Take env_NAME of the process file, too.
    #[arg(long)]
    pub(super) env: Option<String>,
    /// Take the variables of this shell.
    #[arg(short = 'a', long)]
    pub(super) update_env: bool,
    #[arg(short, long)]
    pub(super) force: bool,
    #[arg(short, long, allow_hyphen_values = true)]
    pub(super) instances: Option<String>,
    #[arg(long, hide = true)]
    pub(super) parallel: Option<u32>,
    #[arg(long)]
    pub(super) shutdown_with_message: bool,
    #[arg(short, long)]
    pub(super) pid: Option<String>,
    #[arg(short, long)]
    pub(super) kill_timeout: Option<String>,
    #[arg(long)]
    pub(super) listen_timeout: Option<String>,
    #[arg(long)]
    pub(super) max_memory_restart: Option<String>,
    #[arg(long)]
    pub(super) restart_delay: Option<String>,
    #[arg(long)]
    pub(super) exp_backoff_restart_delay: Option<String>,
    #[arg(short = 'x', long)]
    pub(super) execute_command: bool,
    #[arg(long)]
    pub(super) max_restarts: Option<String>,
    #[arg(short, long)]
    pub(super) user: Option<String>,
    #[arg(long)]
    pub(super) uid: Option<String>,
    #[arg(long)]
    pub(super) gid: Option<String>,
    #[arg(long)]
    pub(super) namespace: Option<String>,
    #[arg(long)]
    pub(super) cwd: Option<String>,
    #[arg(short, long, visible_alias = "cron-restart", allow_hyphen_values = true)]
    pub(super) cron: Option<String>,
    /// In the foreground, as pm2-runtime does.
    #[arg(long)]
    pub(super) no_daemon: bool,
    /// Of pm2-runtime: wait so many seconds first.
    #[arg(long, hide = true)]
    pub(super) delay: Option<f64>,
    /// Write the app into NAME-pm2.json.
    #[arg(short = 'w', long)]
    pub(super) write: bool,
    #[arg(long)]
    pub(super) source_map_support: bool,
    #[arg(long)]
    pub(super) disable_source_map_support: bool,
    #[arg(long)]
    pub(super) only: Option<String>,
    #[arg(long)]
    pub(super) wait_ready: bool,
    #[arg(long, hide = true)]
    pub(super) merge_logs: bool,
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    pub(super) watch: Vec<String>,
    /// Watch only files with these endings.
    #[arg(long, hide = true)]
    pub(super) ext: Option<String>,
    #[arg(long, hide = true)]
    pub(super) ignore_watch: Vec<String>,
    #[arg(long, hide = true)]
    pub(super) watch_delay: Option<String>,
    #[arg(long, hide = true)]
    pub(super) no_color: bool,
    #[arg(long, hide = true)]
    pub(super) no_vizion: bool,
    #[arg(long)]
    pub(super) no_autostart: bool,
    #[arg(long)]
    pub(super) no_autorestart: bool,
    #[arg(long, num_args = 1..)]
    pub(super) stop_exit_codes: Vec<String>,
    #[arg(long)]
    pub(super) no_treekill: bool,
    #[arg(long, hide = true, alias = "no-automation")]
    pub(super) no_pmx: bool,
    #[arg(long)]
    pub(super) sort: Option<String>,
    #[arg(long, default_value_t = 15)]
    pub(super) lines: u32,
    #[arg(long)]
    pub(super) raw: bool,
    #[arg(long)]
    pub(super) json: bool,
    #[arg(long)]
    pub(super) nostream: bool,
    #[arg(long)]
    pub(super) err: bool,
    #[arg(long)]
    pub(super) out: bool,
    #[arg(long, num_args = 0..=1, default_missing_value = "YYYY-MM-DD-HH:mm:ss")]
    pub(super) timestamp: Option<String>,
    #[arg(long)]
    pub(super) format: bool,
    #[arg(long)]
    pub(super) highlight: Option<String>,
    #[command(flatten)]
    pub(super) ignored: Ignored,
    /// Arguments of the script.
    #[arg(last = true, value_name = "ARGS")]
    pub(super) args: Vec<String>,
}

/// Options of PM2 that change nothing here.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Ignored {
    #[arg(long, hide = true)]
    hp: Option<String>,
    #[arg(long, hide = true)]
    service_name: Option<String>,
    #[arg(long, hide = true)]
    wait_ip: bool,
    #[arg(long, hide = true)]
    trace: bool,
    #[arg(long, hide = true)]
    disable_trace: bool,
    #[arg(long, hide = true)]
    v8: bool,
    #[arg(long, hide = true)]
    event_loop_inspector: bool,
    #[arg(long, hide = true)]
    deep_monitoring: bool,
    #[arg(long, hide = true)]
    no_auto_exit: bool,
    #[arg(long, hide = true)]
    formatted: bool,
    #[arg(long, hide = true)]
    attach: bool,
}

impl Args {
    /// Whether only data and errors are written: by the flag, or by PM2's variable.
    pub(super) fn is_silent(&self) -> bool {
        let on = |value: std::ffi::OsString| value == "true" || value == "1";
        self.silent || ["PM2_SILENT", "PM2_DISCRETE_MODE"].iter().any(|name| std::env::var_os(name).is_some_and(on))
    }
}

const COMMANDS: &str = "\
Commands: start stop restart reload delete startOrRestart startOrReload scale reset list jlist prettylist describe
env pid id logs flush reloadLogs sendSignal send attach trigger inspect monit save resurrect cleardump startup unstartup kill ping
update report init examples serve deploy pull forward backward set get unset multiset conf slist web completion
What musher does otherwise, and why: docs/guide/coming-from-pm2.md";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Args;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_stand_anywhere() {
        let args =
            Args::try_parse_from(["pm2", "-s", "start", "a.js", "-i", "-1", "--name", "x", "--watch", "--", "-n", "y"])
                .unwrap();
        assert_eq!(args.words, ["start", "a.js"]);
        assert_eq!((args.instances.as_deref(), args.name.as_deref()), (Some("-1"), Some("x")));
        assert_eq!(args.args, ["-n", "y"]);
        assert!(args.silent);
    }
}
