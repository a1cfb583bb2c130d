//! The command line: what can be typed. What it means is in [`crate::verbs`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::exit_codes;
use crate::systemd::args::{AttendArgs, STARTUP_HELP, StartupArgs, UnitArgs};

mod attach;
mod deploy;
mod dev;
mod events;
mod list;
mod load;
mod logs;
mod metrics;
mod moment;
mod pm2;
mod send;
mod serve;
mod start_logs;
mod times;
mod watch;
mod web;

pub(crate) use attach::{AttachArgs, TriggerArgs};
pub(crate) use deploy::DeployArgs;
pub(crate) use dev::DevArgs;
pub(crate) use events::EventsArgs;
pub(crate) use list::{DescribeArgs, Field, ListArgs, PidArgs, Sorting};
pub(crate) use logs::{LogsArgs, Times};
pub(crate) use metrics::MetricsArgs;
pub(crate) use moment::Moment;
pub(crate) use pm2::{ConvertArgs, ImportArgs, Pm2Args};
pub(crate) use send::SendArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use start_logs::StartLogsArgs;
use times::TimesArgs;
use watch::WatchArgs;
pub(crate) use web::WebArgs;

pub(crate) use load::{CompareArgs, JudgeArgs, LoadArgs, LoadVerb, MergeArgs, host_and_port, load_alone};

/// Runs a program as a team of worker processes: one port over all cores, workers kept alive and replaced without
/// losing a request.
#[derive(Debug, Parser)]
#[command(name = "musher", version = musher_supervisor::VERSION, after_help = START_HERE, after_long_help = long_help(), max_term_width = 80)]
#[command(subcommand_required = true, arg_required_else_help = true, infer_subcommands = false)]
pub(crate) struct Cli {
    /// Directory of the daemon's socket and logs [default: $MUSHER_HOME, else ~/.musher].
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const START_HERE: &str = "\
Start here:
  musher start server.js -i max --name web    a Node server on every core, one port
  musher start -- python3 worker.py           any other command
  musher start team.toml                      several apps from a file; again: only what changed
  musher start ecosystem.config.js            the same from PM2's file
  musher list";

fn long_help() -> String {
    format!("{START_HERE}\n\n{}", exit_codes::HELP)
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a script, a command, the apps of a file, or apps that are stopped
    #[command(after_long_help = exit_codes::HELP)]
    Start(Box<StartArgs>),
    /// Run a script, a command or the apps of a file in the foreground, as in a container
    #[command(after_help = RUN_HELP, after_long_help = exit_codes::RUN_HELP)]
    Run(Box<RunArgs>),
    /// Run what is being written: one worker, replaced when a file changes, until ^C
    #[command(after_help = dev::DEV_HELP)]
    Dev(Box<DevArgs>),
    /// Show every worker
    #[command(visible_alias = "ls", aliases = ["l", "ps"])]
    List(ListArgs),
    /// Show all about an app
    #[command(aliases = ["show", "info"])]
    Describe(DescribeArgs),
    /// Watch apps, workers, logs and events on the terminal, and act on them
    #[command(visible_aliases = ["dashboard", "dash"], after_help = MONIT_HELP)]
    Monit,
    /// Show what workers wrote, and follow
    #[command(
        alias = "log",
        after_help = "Examples: musher logs web --since 2h --until 1h --text ERROR\n          musher logs api /^work/ --grep 'status=5..' -C 3"
    )]
    Logs(LogsArgs),
    /// Replace workers one after the other, without refusing a connection
    Reload(ReloadArgs),
    /// Stop workers, then start them
    #[command(
        after_help = "Examples: musher restart web\n          musher restart web/2      only the worker in slot 2"
    )]
    Restart(TargetArgs),
    /// Change the number of workers: N, +N, -N or max
    Scale(ScaleArgs),
    /// Stop workers and keep the app
    #[command(
        after_help = "Examples: musher stop web\n          musher stop web/2         only the worker in slot 2; `musher start web/2` starts it again"
    )]
    Stop(TargetArgs),
    /// Stop workers and forget the app
    #[command(
        visible_alias = "del",
        alias = "rm",
        after_help = "Examples: musher delete web\n          musher delete web/2       only the worker in slot 2; the others keep their numbers"
    )]
    Delete(TargetArgs),
    /// Set the counts of restarts to 0
    #[command(after_help = "Example: musher reset web")]
    Reset(TargetArgs),
    /// Empty the log files of apps, the rotated ones included
    #[command(after_help = "Example: musher flush web")]
    Flush(TargetArgs),
    /// Open the log files again, after logrotate(8) or another program has moved them
    #[command(alias = "reloadLogs", after_help = "Example, for logrotate: postrotate musher reopen-logs all")]
    ReopenLogs(TargetArgs),
    /// Print the pids of workers, one on each line
    #[command(after_help = "Example: kill -USR2 $(musher pid web)")]
    Pid(PidArgs),
    /// Behave as PM2: `musher pm2 jlist`, or `musher` called by the name `pm2`
    #[command(after_help = pm2::PM2_HELP, disable_help_flag = true)]
    Pm2(Pm2Args),
    /// Save the list of apps as it is now, for `resurrect`
    #[command(after_help = SAVE_HELP)]
    Save,
    /// Start the apps that were saved and do not run
    #[command(after_help = SAVE_HELP)]
    Resurrect(ResurrectArgs),
    /// Let systemd start the daemon and its apps at boot, and look after them
    #[command(after_help = STARTUP_HELP)]
    Startup(StartupArgs),
    /// Let systemd not start the daemon at boot any more
    Unstartup(UnitArgs),
    /// The main process of the unit that `startup` makes; systemd starts it
    #[command(hide = true)]
    Attend(AttendArgs),
    /// Stop everything, forget the apps and end the daemon
    Kill(KillArgs),
    /// Let the daemon become another executable, without touching workers
    #[command(after_long_help = UPGRADE_HELP)]
    Upgrade(UpgradeArgs),
    /// Show the daemon: version, home, processes
    Status(StatusArgs),
    /// Show what happened, and what happens as it happens
    #[command(after_help = events::EVENTS_HELP)]
    Events(EventsArgs),
    /// Print the metrics of musher, apps and workers, or let Prometheus or OpenTelemetry have them
    #[command(after_help = metrics::METRICS_HELP)]
    Metrics(MetricsArgs),
    /// Show all apps to browsers, and as the JSON of `pm2 web`
    #[command(after_help = web::WEB_HELP)]
    Web(WebArgs),
    /// Find out how much load a server takes: closed or open loop, siege's flags
    #[command(after_help = load::LOAD_HELP, after_long_help = load::LOAD_LONG_HELP)]
    Load(Box<LoadArgs>),
    /// Send a signal to the workers of apps
    Signal(SignalArgs),
    /// Send a message to the workers of an app
    #[command(after_help = send::SEND_HELP)]
    Send(SendArgs),
    /// Serve a folder of files over HTTP, as an app
    #[command(visible_alias = "expose", after_help = serve::SERVE_HELP)]
    Serve(Box<ServeArgs>),
    /// Type into a worker's standard input, and see what it writes
    #[command(after_help = attach::ATTACH_HELP)]
    Attach(AttachArgs),
    /// Have workers do something that their program registered by a name
    #[command(after_help = attach::TRIGGER_HELP)]
    Trigger(TriggerArgs),
    /// Bring a program to machines, by git and ssh, and start it there
    #[command(after_help = deploy::DEPLOY_HELP)]
    Deploy(DeployArgs),
    /// Take over the apps of a PM2 that runs, or of its dump
    #[command(after_help = pm2::IMPORT_HELP)]
    Import(ImportArgs),
    /// Print PM2's process file as a musher.toml
    #[command(after_help = pm2::CONVERT_HELP)]
    Convert(ConvertArgs),
    /// Print the OpenAPI description of the control API
    Openapi,
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all pages into a directory
    Man(ManArgs),
}

const MONIT_HELP: &str = "\
? shows the keys. For programs: `musher list --json`, `musher events --json`, `musher logs --json`.";

/// `musher start`
#[derive(Debug, Default, Args)]
pub(crate) struct StartArgs {
    /// A script, a process file (.toml, .json, .yaml, .config.js), or names or ids of apps. None: musher.toml (or .json,
    /// .yaml, ecosystem.config.js) here, or the command after `--`.
    #[arg(value_name = "WHAT", value_hint = ValueHint::FilePath)]
    pub(crate) what: Vec<String>,
    /// Number of workers: a number from 1 to 1000, `max` for one on each core, or MIN..MAX for as many as the load needs.
    #[arg(short, long, value_name = "N|max|MIN..MAX", allow_hyphen_values = true)]
    pub(crate) instances: Option<String>,
    /// Name of the app [default: the script's].
    #[arg(short, long)]
    pub(crate) name: Option<String>,
    /// Program that runs the script; `none`: the script is executable itself.
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    pub(crate) interpreter: Option<String>,
    /// Arguments for the interpreter, before the script; split as a shell does.
    #[arg(long, visible_alias = "node-args", value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) interpreter_args: Option<String>,
    /// Working directory of the workers [default: here].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cwd: Option<String>,
    /// A variable of the workers' environment; KEY alone takes its value from here. May be repeated. With a process file
    /// of PM2 a word alone is NAME of env_NAME.
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// A file of KEY=VALUE lines for the workers' environment; may be repeated.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) env_file: Vec<String>,
    /// How connections reach the workers: auto, kernel, shared or round-robin.
    #[arg(long, value_name = "POLICY")]
    pub(crate) balance: Option<String>,
    /// A socket that musher opens for the workers: tcp://IP:PORT, udp://IP:PORT, unix:///PATH. May be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,
    /// What proves a worker ready: auto, listening, message, notify, IP:PORT, http://IP:PORT/PATH, or a time.
    #[arg(long, value_name = "PROOF")]
    pub(crate) ready: Option<String>,
    /// Run a Node script by itself, not as a worker of a cluster.
    #[arg(long)]
    pub(crate) no_cluster: bool,
    /// Of a process file, only these apps; with commas between them.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Only show what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace the workers even when nothing changed.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) logs: StartLogsArgs,
    #[command(flatten)]
    pub(crate) more: MoreStartArgs,
    /// Arguments of the script; or, without WHAT, a command and its arguments.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

const RUN_HELP: &str = "\
In a container:  ENTRYPOINT [\"musher\", \"run\", \"team.toml\", \"--health\", \"0.0.0.0:9000\"]";

/// `musher run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) start: StartArgs,
    /// A file that exists as long as all apps are ready.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "In the foreground")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Answer health checks over HTTP: /ready and /live.
    #[arg(long, value_name = "IP:PORT", help_heading = "In the foreground")]
    pub(crate) health: Option<std::net::SocketAddr>,
    /// Serve metrics to Prometheus: /metrics.
    #[arg(long, value_name = "ADDRESS", help_heading = "In the foreground")]
    pub(crate) metrics: Option<String>,
    /// From SIGTERM or SIGINT to SIGKILL for what is left.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration,
        default_value = "25s",
        help_heading = "In the foreground"
    )]
    pub(crate) shutdown_grace: Duration,
    /// Serve on for this long after SIGTERM, not ready any more, before draining.
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "In the foreground")]
    pub(crate) linger: Option<Duration>,
    /// Output as JSON, one object a line.
    #[arg(long, help_heading = "In the foreground")]
    pub(crate) json: bool,
}

/// What is rarely wanted on a command line: a process file is the better place for most.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Restart and stop")]
pub(crate) struct MoreStartArgs {
    /// How long a new worker may take to become ready.
    #[arg(long, value_name = "TIME")]
    pub(crate) ready_timeout: Option<String>,
    /// When an ended worker is started again: always, on-failure or never.
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Give up after this many restarts within a minute.
    #[arg(long, value_name = "N")]
    pub(crate) max_restarts: Option<String>,
    /// First wait before a restart.
    #[arg(long, value_name = "TIME")]
    pub(crate) restart_delay: Option<String>,
    /// Exit codes after which a worker stays down; with commas between them.
    #[arg(long, value_name = "CODES")]
    pub(crate) stop_exit_codes: Option<String>,
    /// The signal that asks a worker to stop.
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// From the stop signal to SIGKILL.
    #[arg(long, visible_alias = "kill-timeout", value_name = "TIME")]
    pub(crate) grace: Option<String>,
    /// How long a draining worker may take to finish what it has.
    #[arg(long, value_name = "TIME")]
    pub(crate) drain: Option<String>,
    /// How many workers a reload replaces at a time.
    #[arg(long, value_name = "N")]
    pub(crate) max_surge: Option<String>,
    /// How many workers a reload may end before their successors start.
    #[arg(long, value_name = "N")]
    pub(crate) max_unavailable: Option<String>,
    /// Replace a worker whose processes together have more memory than this: 200M, 1.5GiB.
    #[arg(long, visible_alias = "max-memory-restart", value_name = "SIZE")]
    pub(crate) max_memory: Option<String>,
    /// What each worker is asked, to replace one that does not answer: /PATH (HTTP), tcp, a URL or tcp://IP:PORT.
    #[arg(long, value_name = "PROBE")]
    pub(crate) liveness: Option<String>,
    /// What a Node cluster worker does after an exception that nobody catches: drain or exit.
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_uncaught: Option<String>,
    /// Leave musher's script out of Node cluster workers: their drain then closes idle connections at once.
    #[arg(long)]
    pub(crate) no_preload: bool,
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    #[command(flatten)]
    pub(crate) times: TimesArgs,
    /// Account that the workers run as: name or id. Root only.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Group that the workers run as: name or id. Root only.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
}

/// How long to wait.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WaitArgs {
    /// Wait no longer than this (500ms, 30s, 5m); the operation goes on [default: until it is done].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// When the command began.
    #[arg(skip = Some(Instant::now()))]
    pub(crate) begun: Option<Instant>,
}

impl WaitArgs {
    /// When the time is over; none: never.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.begun.unwrap_or_else(Instant::now) + self.timeout?)
    }
}

impl Verb {
    /// How long the command may take, for the verbs for which that can be said.
    pub(crate) fn wait(&self) -> Option<&WaitArgs> {
        match self {
            Verb::Start(args) => Some(&args.wait),
            Verb::Serve(args) => Some(&args.wait),
            Verb::Reload(args) => Some(&args.target.wait),
            Verb::Restart(args) | Verb::Stop(args) | Verb::Delete(args) => Some(&args.wait),
            Verb::Reset(args) | Verb::Flush(args) | Verb::ReopenLogs(args) => Some(&args.wait),
            Verb::Scale(args) => Some(&args.wait),
            Verb::Kill(args) => Some(&args.wait),
            Verb::Web(args) => Some(&args.wait),
            _ => None,
        }
    }
}

/// Verbs that take only targets.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Names or ids of apps, namespaces, /expressions/ for names, or `all`; APP/SLOT for one worker, where that can be.
    #[arg(required = true, value_name = "APP")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `musher reload`
#[derive(Debug, Args)]
#[command(after_help = "Example: musher reload web --canary 1 --canary-wait 2m")]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Replace only so many workers at first, watch them, and go back to the old version when they are not good. 0: no
    /// trial, also if the process file asks for one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) canary: Option<u32>,
    /// How long they are watched [default: reload.canary.wait of the process file, else 30s].
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "canary")]
    pub(crate) canary_wait: Option<Duration>,
}

/// `musher scale`
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Name or id of an app, a namespace, an /expression/ for names, or `all`.
    #[arg(value_name = "APP")]
    pub(crate) target: String,
    /// A number of workers, or a change (+2, -1), or `max` for one on each core.
    #[arg(value_name = "N|+N|-N|max", allow_hyphen_values = true)]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `musher signal`
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// Name or number: SIGUSR2, usr2, 12.
    #[arg(value_name = "SIGNAL")]
    pub(crate) signal: String,
    /// Names or ids of apps, namespaces, /expressions/ for names, or `all`.
    #[arg(required = true, value_name = "APP")]
    pub(crate) targets: Vec<String>,
}

/// What `save` is for, and what not.
const SAVE_HELP: &str = "\
The daemon keeps its list of apps by itself: after a reboot, or when it was killed, the next
daemon goes on with it. A saved list is for what ends that list: `musher kill`, `musher delete`.

  musher save              what there is now
  musher kill              ...
  musher resurrect         there again";

/// `musher resurrect`
#[derive(Debug, Args)]
pub(crate) struct ResurrectArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `musher kill`
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

const UPGRADE_HELP: &str = "\
Supervisor and keeper become the new executable, with their pids. Workers, their connections, uptimes and logs
are not touched. An executable that cannot take over is refused; one that turns out not to work is gone back from.

Examples:
  musher upgrade                     after a new musher was installed
  musher upgrade ./target/release/musher
  /opt/musher-0.1/musher upgrade     back to an older version";

/// `musher upgrade`
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// The new executable [default: that of this command].
    #[arg(value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) path: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `musher status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// One object; `running` tells whether a supervisor runs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `musher completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `musher man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where to write musher.1 and a page for each command.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<OsString>,
}

/// A time with its unit; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time is a number and ms, s, m or h: 500ms, 30s, 5m".into()),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * factor).ok())
        .filter(|time| !time.is_zero() && time.as_secs() < 365 * 24 * 3600)
        .ok_or_else(|| "a time is longer than 0 and shorter than a year: 500ms, 30s, 5m".into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};

    use super::{Cli, Verb, duration};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_short_name_of_a_verb_works() {
        for word in ["list", "ls", "l", "ps"] {
            assert!(matches!(Cli::try_parse_from(["musher", word]).unwrap().verb, Verb::List(_)));
        }
        for word in ["describe", "show", "info"] {
            assert!(matches!(Cli::try_parse_from(["musher", word, "web"]).unwrap().verb, Verb::Describe(_)));
        }
        for word in ["delete", "del", "rm"] {
            assert!(matches!(Cli::try_parse_from(["musher", word, "web"]).unwrap().verb, Verb::Delete(_)));
        }
    }

    #[test]
    fn what_follows_two_dashes_belongs_to_the_program() {
        let cli = Cli::try_parse_from(["musher", "start", "a.js", "-i", "max", "--", "--name", "x", "-i"]).unwrap();
        let Verb::Start(start) = cli.verb else { panic!() };
        assert_eq!(start.args, ["--name", "x", "-i"]);
        assert_eq!(start.name, None);
        assert_eq!(start.instances.as_deref(), Some("max"));
    }

    #[test]
    fn a_negative_number_is_a_value_not_a_flag() {
        let cli = Cli::try_parse_from(["musher", "start", "a.js", "-i", "-1"]).unwrap();
        assert!(matches!(cli.verb, Verb::Start(start) if start.instances.as_deref() == Some("-1")));
        let cli = Cli::try_parse_from(["musher", "scale", "web", "-1"]).unwrap();
        assert!(matches!(cli.verb, Verb::Scale(scale) if scale.to == "-1"));
    }

    #[test]
    fn a_misspelt_verb_is_answered_with_the_right_one() {
        let error = Cli::try_parse_from(["musher", "relaod", "web"]).unwrap_err().to_string();
        assert!(error.contains("reload"), "{error}");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "s", "0", "-1s", "1 day", "1e99h", "NaN"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
