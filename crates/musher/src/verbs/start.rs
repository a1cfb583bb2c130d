//! `musher start`

use std::io::Write;
use std::path::{Path, PathBuf};

use musher_api::client::request_id;
use musher_api::{Action, Mode, OperationRef, PlanAction, PlanStep, StartRequest, StartResponse};
use musher_core::spec::{AppSpec, ReadyWhen};

use super::attach::app_and_slot;
use super::operations::{Ended, Online, follow, in_time, tell_failures};
use super::{act, targets};
use crate::args::{Cli, StartArgs};
use crate::config::{self, Flags, Overrides, Surroundings};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{Column, Table, Terminal, note, sanitize};
use crate::session;

/// What is to be started.
pub(super) enum Wanted {
    /// The apps of process files.
    Files(Vec<PathBuf>),
    /// One script.
    Script(String),
    /// One command, looked up in PATH.
    Command(Vec<String>),
    /// Apps that the supervisor knows.
    Known(Vec<String>),
}

/// Starts what the command line says, and waits until it is true.
pub(crate) async fn run(cli: &Cli, args: &StartArgs) -> Result<(), Failure> {
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let specs = match wanted(cli, args, &around).await? {
        Wanted::Known(targets) => return start_known(cli, args, &targets).await,
        wanted => specs_of(wanted, args, &around)?,
    };
    if args.dry_run { dry_run(cli, args, specs).await } else { start(cli, args, specs).await }
}

/// The apps of files, a script or a command.
pub(super) fn specs_of(wanted: Wanted, args: &StartArgs, around: &Surroundings) -> Result<Vec<AppSpec>, Failure> {
    match wanted {
        Wanted::Known(_) => Ok(Vec::new()),
        Wanted::Files(files) => from_files(&files, args, around),
        Wanted::Script(script) => Ok(vec![from_words(&script, false, &args.args, args, around)?]),
        Wanted::Command(words) => Ok(vec![from_words(&words[0], true, &words[1..], args, around)?]),
    }
}

/// What is to be started where no supervisor knows any apps.
pub(super) fn wanted_anew(args: &StartArgs, around: &Surroundings) -> Result<Wanted, Failure> {
    match (args.what.as_slice(), args.args.as_slice()) {
        ([], []) => match config::find_in(&around.cwd) {
            Some(file) => Ok(Wanted::Files(vec![file])),
            None => Err(Failure::new(exit_codes::USAGE, "there is nothing to run")
                .with_hint("name a script or a process file, or put a musher.toml here; see `musher run --help`")),
        },
        ([], command) => Ok(Wanted::Command(command.to_vec())),
        (what, _) if what.iter().all(|word| config::is_process_file(Path::new(word))) => {
            Ok(Wanted::Files(what.iter().map(PathBuf::from).collect()))
        }
        ([script], _) => Ok(Wanted::Script(script.clone())),
        _ => Err(Failure::new(exit_codes::USAGE, "several things at once can only be process files")
            .with_hint("a command and its arguments go behind `--`: musher run -- python3 -m http.server")),
    }
}

/// An app of this executable, with a verb that serves in the foreground.
pub(super) fn of_ours(args: Vec<String>, flags: Flags) -> Result<AppSpec, Failure> {
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let program = session::own_executable()?
        .into_os_string()
        .into_string()
        .map_err(|_| Failure::environment("the path of the executable of musher is no text"))?;
    Ok(config::from_command(&config::StartArgs { program, command: true, args, flags }, &around)?)
}

async fn wanted(cli: &Cli, args: &StartArgs, around: &Surroundings) -> Result<Wanted, Failure> {
    match (args.what.as_slice(), args.args.as_slice()) {
        ([], []) => match config::find_in(&around.cwd) {
            Some(file) => Ok(Wanted::Files(vec![file])),
            None => Err(Failure::new(exit_codes::USAGE, "there is nothing to start").with_hint(
                "name a script, a process file or an app, or put a musher.toml here; see `musher start --help`",
            )),
        },
        ([], command) => Ok(Wanted::Command(command.to_vec())),
        (what, _) if what.iter().all(|word| config::is_process_file(Path::new(word))) => {
            Ok(Wanted::Files(what.iter().map(PathBuf::from).collect()))
        }
        (what, arguments) => {
            let known = known_apps(cli, what).await?;
            let none_known = !what.iter().any(|word| known.contains(word));
            match what {
                [script] if none_known || (has_flags(args) && around.cwd.join(script).is_file()) => {
                    Ok(Wanted::Script(script.clone()))
                }
                _ if has_flags(args) || !arguments.is_empty() => Err(Failure::new(
                    exit_codes::USAGE,
                    "an app that is started by its name keeps its settings: flags and arguments cannot change them",
                )
                .with_hint("start it from its script or file with them, or use `musher scale`")),
                _ if what.iter().all(|word| known.contains(word)) => Ok(Wanted::Known(what.to_vec())),
                _ => Err(unknown(what, &known)),
            }
        }
    }
}

/// Those of `words` that the supervisor knows, as they were typed.
async fn known_apps(cli: &Cli, words: &[String]) -> Result<Vec<String>, Failure> {
    let one_of = |word: &str| match app_and_slot(word) {
        (app, Some(_)) if !Path::new(word).exists() => Some(app.to_owned()),
        _ => None,
    };
    if words.iter().all(|word| word.contains('/') && !targets::is_expression(word) && one_of(word).is_none()) {
        return Ok(Vec::new());
    }
    let apps = session::unless_absent(session::client(cli)?.apps().await)?.unwrap_or_default();
    let knows = |word: &&String| {
        let group = targets::is_expression(word) || apps.iter().any(|app| app.namespace == **word);
        let name = one_of(word).unwrap_or_else(|| word.to_string());
        word.as_str() == "all" || group || apps.iter().any(|app| app.app == name || app.id.to_string() == name)
    };
    Ok(words.iter().filter(knows).cloned().collect())
}

fn unknown(what: &[String], known: &[String]) -> Failure {
    let unknown: Vec<String> =
        what.iter().filter(|word| !known.contains(word)).map(|word| format!("{:?}", sanitize(word))).collect();
    Failure::new(exit_codes::NO_SUCH_APP, format!("there is no app {}", unknown.join(", ")))
        .with_hint("several things at once are names of apps or process files; a script is started alone")
}

/// Whether a flag was given that describes an app.
fn has_flags(args: &StartArgs) -> bool {
    flags(args) != Flags::default()
}

fn flags(args: &StartArgs) -> Flags {
    let more = &args.more;
    Flags {
        name: args.name.clone(),
        instances: args.instances.clone(),
        cwd: args.cwd.clone(),
        interpreter: args.interpreter.clone(),
        interpreter_args: args.interpreter_args.clone(),
        env: args.env.clone(),
        env_file: args.env_file.clone(),
        no_cluster: args.no_cluster,
        balance: args.balance.clone(),
        listen: args.listen.clone(),
        ready: args.ready.clone(),
        ready_timeout: more.ready_timeout.clone(),
        restart: more.restart.clone(),
        max_restarts: more.max_restarts.clone(),
        restart_delay: more.restart_delay.clone(),
        stop_exit_codes: more.stop_exit_codes.clone(),
        stop_signal: more.stop_signal.clone(),
        grace: more.grace.clone(),
        drain: more.drain.clone(),
        max_surge: more.max_surge.clone(),
        max_unavailable: more.max_unavailable.clone(),
        max_memory: more.max_memory.clone(),
        liveness: more.liveness.clone(),
        on_uncaught: more.on_uncaught.clone(),
        watch: more.watch.watch.clone(),
        watch_ext: more.watch.ext.clone(),
        watch_loaded: more.watch.watch_loaded,
        cron: more.times.cron.clone(),
        schedule: more.times.schedule.clone(),
        timezone: more.times.timezone.clone(),
        no_preload: more.no_preload,
        logs: args.logs.clone(),
        user: more.user.clone(),
        group: more.group.clone(),
    }
}

fn from_files(files: &[PathBuf], args: &StartArgs, around: &Surroundings) -> Result<Vec<AppSpec>, Failure> {
    if !args.args.is_empty() {
        return Err(Failure::new(exit_codes::USAGE, "arguments after `--` are for a script; a file has its own"));
    }
    let overrides = Overrides { only: args.only.clone(), flags: flags(args) };
    let mut specs = Vec::new();
    for file in files {
        let loaded = config::from_file(file, &overrides, around)?;
        for told in loaded.notes {
            note(&format!("{}: {}", sanitize(&file.to_string_lossy()), sanitize(&told)));
        }
        specs.extend(loaded.specs);
    }
    Ok(specs)
}

fn from_words(
    program: &str,
    command: bool,
    arguments: &[String],
    args: &StartArgs,
    around: &Surroundings,
) -> Result<AppSpec, Failure> {
    if !args.only.is_empty() {
        return Err(Failure::new(exit_codes::USAGE, "--only chooses apps of a process file; there is none"));
    }
    let start =
        config::StartArgs { program: program.to_owned(), command, args: arguments.to_vec(), flags: flags(args) };
    Ok(config::from_command(&start, around)?)
}

async fn start_known(cli: &Cli, args: &StartArgs, names: &[String]) -> Result<(), Failure> {
    let client = session::client(cli)?;
    if args.dry_run {
        for name in names {
            note(&format!("{}: would be started", sanitize(name)));
        }
        return Ok(());
    }
    let action = if args.force { Action::Restart } else { Action::Start };
    let names = targets::expanded(&client, names).await?;
    let ended = act::act(&client, action, &names, &args.wait).await?;
    act::tell(&client, action, &ended).await
}

pub(super) async fn start(cli: &Cli, args: &StartArgs, specs: Vec<AppSpec>) -> Result<(), Failure> {
    let (client, _) = session::started(cli)?;
    let jobs: Vec<String> = specs.iter().filter(|spec| spec.is_job()).map(|spec| spec.name.clone()).collect();
    let request = StartRequest { request_id: request_id(), specs, dry_run: false, force: args.force };
    let StartResponse { plan, operations } = client.start(&request).await?;
    let ended = follow(&client, &operations, &args.wait).await?;
    let addresses = if plan.len() == 1 { addresses(&client, &operations).await } else { String::new() };
    let online = Online::ask(&client).await;
    for step in &plan {
        if let Some(line) = done(step, jobs.contains(&step.app), &ended, &online.of(&step.app), &addresses) {
            note(&line);
        }
    }
    tell_failures(&ended)
}

/// ` on tcp://...`: where the app listens, if musher knows. A Node program that does not listen yet may be one that
/// never does, and counts as ready when it has lived for a while: that has to be told.
async fn addresses(client: &musher_api::client::Client, operations: &[OperationRef]) -> String {
    let Some(operation) = operations.first() else { return String::new() };
    // That it is not known is no reason to fail a start that has succeeded.
    let Ok(app) = client.app(&operation.app, false).await else { return String::new() };
    let mut listening: Vec<String> = app.listeners.into_iter().map(|listener| sanitize(&listener.address)).collect();
    listening.sort();
    listening.dedup();
    if !listening.is_empty() {
        return format!(" on {}", listening.join(", "));
    }
    let may_listen = app.mode == Mode::Cluster && app.spec.ready.when == ReadyWhen::Auto && app.running;
    let lives = app.slots.iter().any(|slot| slot.row.pid.is_some());
    if may_listen && lives { SILENT.to_owned() } else { String::new() }
}

/// What is said of a Node program that runs and does not listen.
const SILENT: &str = ", not listening yet (with `--ready listening` a start waits for that)";

/// What was done about one app; none when it failed.
fn done(step: &PlanStep, job: bool, ended: &Ended, online: &str, addresses: &str) -> Option<String> {
    let operation = ended.operations.iter().find(|operation| operation.app == step.app);
    if operation.is_some_and(|operation| !operation.ok) {
        return None;
    }
    let took = in_time(ended.took);
    let changed = changed(step);
    let what = match step.action {
        PlanAction::Start | PlanAction::Reload if job => "scheduled".to_owned() + &changed,
        PlanAction::None if job => "scheduled so already; nothing to do".to_owned(),
        PlanAction::Start => format!("started, {online}{addresses}{took}"),
        PlanAction::Add => format!("added, not started; `musher start {}` starts it", sanitize(&step.app)),
        PlanAction::Reload => format!("reloaded, {online}{took}{changed}"),
        PlanAction::Restart => format!("restarted, {online}{took}{changed}"),
        PlanAction::Scale => {
            format!("scaled from {} to {}, {online}{took}", step.instances_before, step.instances_after)
        }
        PlanAction::Update => format!("updated{changed}"),
        PlanAction::None => format!("runs so already, {online}; nothing to do"),
    };
    Some(format!("{}: {what}", sanitize(&step.app)))
}

fn changed(step: &PlanStep) -> String {
    if step.changed.is_empty() { String::new() } else { format!(" (changed: {})", step.changed.join(", ")) }
}

/// Shows the plan. Without a supervisor everything would be started.
async fn dry_run(cli: &Cli, args: &StartArgs, specs: Vec<AppSpec>) -> Result<(), Failure> {
    let fresh: Vec<PlanStep> = specs.iter().map(fresh_start).collect();
    let request = StartRequest { request_id: request_id(), specs, dry_run: true, force: args.force };
    let asked = session::client(cli)?.start(&request).await;
    let plan = session::unless_absent(asked)?.map_or(fresh, |response| response.plan);
    let mut table = Table::new([
        Column::text("app", 0),
        Column::text("step", 0),
        Column::text("workers", 2),
        Column::text("changed", 1),
    ]);
    for step in &plan {
        let workers = match (step.instances_before, step.instances_after) {
            (0, after) => after.to_string(),
            (before, after) if before == after => after.to_string(),
            (before, after) => format!("{before} -> {after}"),
        };
        table.row(
            [sanitize(&step.app), word(step.action).into(), workers, step.changed.join(", ")].map(|text| (text, None)),
        );
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", table.render(Terminal::stdout()))?;
    out.flush()?;
    note("nothing was done: this is a dry run");
    Ok(())
}

fn fresh_start(spec: &AppSpec) -> PlanStep {
    PlanStep {
        app: spec.name.clone(),
        action: if spec.autostart { PlanAction::Start } else { PlanAction::Add },
        changed: Vec::new(),
        instances_before: 0,
        instances_after: spec.instances,
    }
}

fn word(action: PlanAction) -> &'static str {
    match action {
        PlanAction::Start => "start",
        PlanAction::Add => "add",
        PlanAction::Reload => "reload",
        PlanAction::Restart => "restart",
        PlanAction::Scale => "scale",
        PlanAction::Update => "update",
        PlanAction::None => "none",
    }
}
