//! musher as PM2, for scripts that call it: its commands, flags, formats and exit codes over the same control API.
//!
//! It refuses what would be dangerous to guess: an id that is one of several workers of an app can be restarted only with
//! its siblings, and is not stopped alone. What musher does not have is said, with exit code 1.

mod actions;
mod api;
mod args;
mod change;
mod flags;
mod ids;
mod inspect;
mod processes;
mod runtime;
mod serve;
mod settings;
mod start;
mod talk;
mod versions;
mod view;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use self::args::Args;
use self::processes::Processes;
use crate::args::Cli;
use crate::failure::Failure;
use crate::output::{error_text, sanitize};
use crate::verbs;

/// The name for containers.
const RUNTIME: &str = "pm2-runtime";

/// The command line behind `pm2`, if this is one: by the name that it was called by, or as `musher pm2`.
pub(crate) fn words_of(words: &[OsString]) -> Option<Vec<OsString>> {
    let called = Path::new(words.first()?).file_name()?.to_str()?;
    if ["pm2", RUNTIME, "pm2-docker"].contains(&called) {
        return Some(words.to_vec());
    }
    (words.get(1)? == "pm2").then(|| words.iter().skip(1).cloned().collect())
}

/// The command line of `pm2-dev [start] WHAT` as one of `musher dev`, if this is one.
pub(crate) fn development(words: &[OsString]) -> Option<Vec<OsString>> {
    if Path::new(words.first()?).file_name()? != "pm2-dev" {
        return None;
    }
    let rest = words[1..].iter();
    let start = rest.clone().position(|word| !word.to_string_lossy().starts_with('-'));
    let rest = rest.enumerate().filter(|(n, word)| Some(*n) != start || *word != "start").map(|(_, word)| word.clone());
    Some(["musher".into(), "dev".into()].into_iter().chain(rest).collect())
}

/// Whether this is the command line of PM2's programmatic API, which the Node package starts.
pub(crate) fn is_api(words: &[OsString]) -> bool {
    words.len() == 2 && words[1] == "pm2-api"
}

/// Answers the calls of PM2's programmatic API on standard input.
pub(crate) fn serve_api() -> ExitCode {
    api::serve()
}

/// Every worker as in `pm2 jlist`, without its environment.
pub(crate) async fn public_records(cli: &Cli) -> Result<Vec<serde_json::Value>, Failure> {
    let processes = Processes::ask(cli).await?;
    Ok(processes.list.iter().map(|process| process.public_record()).collect())
}

/// Does what PM2 would do.
pub(crate) fn play(words: &[OsString]) -> ExitCode {
    if let Some(words) = serve::words_of(words) {
        return finish(async { verbs::run(&cli(&words)?).await });
    }
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(refused) => {
            let _ = refused.print();
            return ExitCode::from(u8::from(refused.use_stderr()));
        }
    };
    let called = words.first().map(Path::new).and_then(Path::file_name);
    let is_start = args.words.first().is_some_and(|word| word == "start");
    let is_runtime = called.is_some_and(|name| name == RUNTIME || name == "pm2-docker");
    let foreground = is_runtime || (args.no_daemon && is_start);
    finish(run(&args, foreground))
}

/// Does it, with PM2's one code for everything that goes wrong.
fn finish(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Failure::environment(format!("cannot begin: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // PM2 knows one code for everything that went wrong.
            let _ = failure.tell();
            ExitCode::FAILURE
        }
    }
}

/// What a command needs.
struct Context<'a> {
    args: &'a Args,
    /// A command line of musher in the same home, for what is the same there.
    cli: Cli,
}

impl Context<'_> {
    /// Tells what is done, as PM2 does.
    fn say(&self, text: &str) {
        if !self.args.is_silent() {
            // A closed stream must not end the command.
            let _ = writeln!(std::io::stdout(), "[PM2] {}", sanitize(text));
        }
    }

    /// Runs a command of musher.
    async fn verb(&self, words: &[&str]) -> Result<(), Failure> {
        verbs::run(&cli(words)?).await
    }

    /// The list that ends most commands.
    async fn show_list(&self) -> Result<(), Failure> {
        if self.args.is_silent() {
            return Ok(());
        }
        Processes::ask(&self.cli).await?.print_table(self.args)
    }
}

/// A command line of musher in PM2's home, if that is given.
fn cli(words: &[impl AsRef<std::ffi::OsStr>]) -> Result<Cli, Failure> {
    let mut all: Vec<OsString> = vec!["musher".into()];
    if std::env::var_os("MUSHER_HOME").is_none()
        && let Some(home) = std::env::var_os("PM2_HOME")
    {
        all.push("--home".into());
        all.push(Path::new(&home).join("musher").into());
    }
    all.extend(words.iter().map(|word| OsString::from(word.as_ref())));
    Cli::try_parse_from(all).map_err(|error| failed(error.to_string().trim_start_matches("error: ").trim_end()))
}

/// Something went wrong.
fn failed(text: &str) -> Failure {
    Failure::new(1, sanitize(text))
}

async fn run(args: &Args, foreground: bool) -> Result<(), Failure> {
    let context = Context { args, cli: cli(&["status"])? };
    if foreground {
        return runtime::run(&context, &args.words).await;
    }
    let (command, rest) = args.words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    match command {
        "start" => start::start(&context, rest).await,
        "restart" => start::restart(&context, rest).await,
        "reload" | "gracefulReload" | "startOrReload" | "startOrGracefulReload" | "startOrRestart" => {
            start::reload(&context, command, rest).await
        }
        "stop" | "delete" | "del" => actions::end(&context, command, rest).await,
        "scale" => actions::scale(&context, rest).await,
        "reset" => actions::reset(&context, rest).await,
        "sendSignal" => actions::signal(&context, rest).await,
        "flush" | "reloadLogs" => actions::logs(&context, command, rest).await,
        "list" | "ls" | "l" | "ps" | "status" => Processes::ask(&context.cli).await?.print_table(args),
        "jlist" => Processes::ask(&context.cli).await?.print_json(),
        "prettylist" => Processes::ask(&context.cli).await?.print_pretty(),
        "pid" => Processes::ask(&context.cli).await?.print_pids(rest.first()),
        "id" => Processes::ask(&context.cli).await?.print_ids(rest.first()),
        "env" => Processes::ask(&context.cli).await?.print_environment(rest.first()),
        "describe" | "desc" | "info" | "show" => actions::describe(&context, rest).await,
        "monit" | "dash" | "dashboard" | "imonit" => context.verb(&["monit"]).await,
        "send" => talk::send(&context, rest).await,
        "attach" => talk::attach(&context, rest).await,
        "trigger" => talk::trigger(&context, rest).await,
        "logs" | "log" => actions::show_logs(&context, rest).await,
        "save" | "dump" => actions::save(&context).await,
        "resurrect" => context.verb(&["resurrect"]).await,
        "cleardump" => actions::clear_saved(&context),
        "kill" if !rest.is_empty() => Err(failed("pm2 kill ends all apps and the daemon: it takes no names")),
        "kill" => {
            context.verb(&["kill"]).await?;
            context.say("[v] All Applications Stopped");
            context.say("[v] PM2 Daemon Stopped");
            Ok(())
        }
        "update" | "updatePM2" | "deepUpdate" => context.verb(&["upgrade"]).await,
        "web" => context.verb(&["web"]).await,
        "ping" => actions::ping(&context).await,
        "report" => actions::report(&context).await,
        "deploy" => {
            let force = if context.args.force { &["--force"][..] } else { &[] };
            let words: Vec<&str> =
                ["deploy"].iter().chain(force).copied().chain(rest.iter().map(String::as_str)).collect();
            context.verb(&words).await
        }
        "startup" => context.verb(&["startup"]).await,
        "unstartup" => context.verb(&["unstartup"]).await,
        "completion" => context.verb(&["completions", "bash"]).await,
        "init" | "ecosystem" => settings::init(&context, rest),
        "set" | "get" | "unset" | "multiset" | "conf" | "config" => settings::settings(&context, command, rest).await,
        "" => {
            error_text("no command: `pm2 list`, `pm2 start app.js`", Some("`pm2 --help` lists the commands"));
            Err(Failure::told(1))
        }
        other => Err(unknown(other)),
    }
}

fn unknown(command: &str) -> Failure {
    let instead = match command {
        "link" | "unlink" | "plus" | "register" | "login" | "logout" | "monitor" | "unmonitor" | "open" => {
            "it belongs to PM2's own services, which musher has nothing to do with"
        }
        "install" | "uninstall" | "module:update" | "module:generate" | "package" | "publish" => {
            "musher has no modules: logs are rotated by itself, and its control API is for everybody"
        }
        "logrotate" => "logs are rotated by musher itself: `logs.max_size` and `logs.keep` of the process file",
        "slist" | "sysinfos" => "`musher status` tells what the daemon costs, the system's own tools about the machine",
        "autoinstall" => "musher installs nothing: what an app needs is installed by its own package manager",
        "profile:cpu" | "profile:mem" | "inspect" => "start the app with `--node-args --inspect`",
        _ => "`pm2 --help` lists the commands",
    };
    Failure::new(1, format!("command not found: {}", sanitize(command))).with_hint(instead)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::development;

    #[test]
    fn pm2_dev_is_musher_dev() {
        for (line, words) in [
            ("/usr/bin/pm2-dev app.js --ignore a,b", Some("musher dev app.js --ignore a,b")),
            ("pm2-dev start app.json --raw", Some("musher dev app.json --raw")),
            ("pm2-dev --raw start start", Some("musher dev --raw start")),
            ("pm2-dev", Some("musher dev")),
            ("pm2 start app.js", None),
        ] {
            let line: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let words: Option<Vec<OsString>> = words.map(|words| words.split(' ').map(Into::into).collect());
            assert_eq!(development(&line), words, "{line:?}");
        }
    }
}
