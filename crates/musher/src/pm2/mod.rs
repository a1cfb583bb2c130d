//! musher as PM2, for scripts that call it: its commands, flags, formats and exit codes over the same control API.
//!
//! What musher does not have is said, with exit code 1.

mod actions;
mod api;
mod args;
mod change;
mod describe;
mod flags;
mod ids;
mod inspect;
mod inspector;
mod machine;
mod processes;
mod repository;
mod runtime;
mod serve;
mod settings;
mod start;
mod talk;
mod verb;
mod versioning;
mod versions;
mod view;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use self::args::Args;
use self::processes::Processes;
use self::verb::{Verb, unknown};
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
    if command.is_empty() {
        error_text("no command: `pm2 list`, `pm2 start app.js`", Some("`pm2 --help` lists the commands"));
        return Err(Failure::told(1));
    }
    let verb = Verb::of(command).ok_or_else(|| unknown(command))?;
    match verb {
        Verb::Start => start::start(&context, rest).await,
        Verb::Restart => start::restart(&context, rest).await,
        Verb::Reload => start::reload(&context, command, rest).await,
        Verb::End => actions::end(&context, command, rest).await,
        Verb::Scale => actions::scale(&context, rest).await,
        Verb::Reset => actions::reset(&context, rest).await,
        Verb::Signal => actions::signal(&context, rest).await,
        Verb::Logs => actions::logs(&context, command, rest).await,
        Verb::ShowLogs => actions::show_logs(&context, rest).await,
        Verb::List => Processes::ask(&context.cli).await?.print_table(args),
        Verb::Jlist => Processes::ask(&context.cli).await?.print_json(),
        Verb::Prettylist => Processes::ask(&context.cli).await?.print_pretty(),
        Verb::Machine => machine::print(args).await,
        Verb::Pid => Processes::ask(&context.cli).await?.print_pids(rest.first()),
        Verb::Id => Processes::ask(&context.cli).await?.print_ids(rest.first()),
        Verb::Env => Processes::ask(&context.cli).await?.print_environment(rest.first()),
        Verb::Describe => describe::describe(&context, rest).await,
        Verb::Monit => context.verb(&["monit"]).await,
        Verb::Send => talk::send(&context, rest).await,
        Verb::Attach => talk::attach(&context, rest).await,
        Verb::Trigger => talk::trigger(&context, rest).await,
        Verb::Inspect => inspector::open(&context, rest).await,
        Verb::Save => actions::save(&context).await,
        Verb::Resurrect => context.verb(&["resurrect"]).await,
        Verb::ClearDump => actions::clear_saved(&context),
        Verb::Kill => kill(&context, rest).await,
        Verb::Update => context.verb(&["upgrade"]).await,
        Verb::Web => context.verb(&["web"]).await,
        Verb::Ping => actions::ping(&context).await,
        Verb::Report => actions::report(&context).await,
        Verb::Deploy => deploy(&context, rest).await,
        Verb::Versions => versioning::step(&context, command, rest).await,
        Verb::Startup => context.verb(&["startup"]).await,
        Verb::Unstartup => context.verb(&["unstartup"]).await,
        Verb::Completion => context.verb(&["completions", "bash"]).await,
        Verb::Init => settings::init(&context, rest),
        Verb::Examples => processes::line(EXAMPLES),
        Verb::Settings => settings::settings(&context, command, rest).await,
    }
}

async fn kill(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    if !words.is_empty() {
        return Err(failed("pm2 kill ends all apps and the daemon: it takes no names"));
    }
    context.verb(&["kill"]).await?;
    context.say("[v] All Applications Stopped");
    context.say("[v] PM2 Daemon Stopped");
    Ok(())
}

async fn deploy(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let force = if context.args.force { &["--force"][..] } else { &[] };
    let words: Vec<&str> = ["deploy"].iter().chain(force).copied().chain(words.iter().map(String::as_str)).collect();
    context.verb(&words).await
}

/// What `pm2 examples` prints.
const EXAMPLES: &str = "\
pm2 start server.js                          a program; python, bash, ruby, binaries as well
pm2 start server.js -i max                   one worker on each core, sharing the port
pm2 start server.js --name web -- --port 80  under a name, with arguments
pm2 start \"node server.js --port 80\"       a line for the shell
pm2 start app.js --watch                     again when a file changes
pm2 start job.js --cron-restart \"0 4 * * *\" again at these times
pm2 start ecosystem.config.js --env production
pm2 list, pm2 jlist, pm2 monit               what runs
pm2 logs web --lines 100                     what it says
pm2 reload web                               a new version, without a request lost
pm2 scale web +2                             two more workers
pm2 stop web, pm2 restart web, pm2 delete web
pm2 save, pm2 startup                        back after a reboot";

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
