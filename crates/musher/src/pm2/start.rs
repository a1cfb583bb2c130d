//! `start`, `restart`, `reload`: scripts, commands, process files and apps that exist.

use std::collections::BTreeMap;
use std::path::Path;

use musher_api::client::request_id;
use musher_api::{Action, StartRequest};
use musher_core::spec::AppSpec;
use serde_json::{Map, Value, json};

use super::actions::{act, all_chosen, ticks};
use super::args::Args;
use super::processes::Processes;
use super::view::Process;
use super::{Context, failed};
use crate::config::{self, ConfigError, Flags, Overrides, Surroundings};
use crate::failure::Failure;
use crate::output::{note, sanitize};
use crate::session;
use crate::verbs::operations::{all_well, follow};

/// `start`
pub(super) async fn start(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let around = surroundings()?;
    if words.is_empty() {
        let file = config::find_in(&around.cwd).ok_or_else(|| failed("no ecosystem.config.js here: start what?"))?;
        return start_file(context, &file.to_string_lossy()).await;
    }
    for word in words {
        if config::is_process_file(word.as_ref()) {
            start_file(context, word).await?;
            continue;
        }
        let processes = Processes::ask(&context.cli).await?;
        let plain = !word.contains('/') && Path::new(word).extension().is_none();
        let known =
            if plain || word.starts_with('/') { processes.chosen(word).unwrap_or_default() } else { Vec::new() };
        if known.is_empty() {
            start_script(context, &processes, word, &around).await?;
        } else {
            again(context, &processes, std::slice::from_ref(word)).await?;
        }
    }
    context.show_list().await
}

/// `restart`
pub(super) async fn restart(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    if let [file] = words
        && config::is_process_file(file.as_ref())
    {
        return start_file(context, file).await;
    }
    let processes = Processes::ask(&context.cli).await?;
    again(context, &processes, words).await?;
    context.show_list().await
}

/// `reload`, `startOrReload`, `startOrRestart`
pub(super) async fn reload(context: &Context<'_>, command: &str, words: &[String]) -> Result<(), Failure> {
    if let [file] = words
        && config::is_process_file(file.as_ref())
    {
        return start_file(context, file).await;
    }
    if command.starts_with("startOr") {
        return Err(failed(&format!("pm2 {command} FILE: a process file")));
    }
    let processes = Processes::ask(&context.cli).await?;
    let chosen = all_chosen(&processes, words)?;
    let env = if context.args.update_env { Some(surroundings()?.env) } else { None };
    renew_gently(&processes, &chosen, env.as_ref()).await?;
    ticks(context, "reloadProcessId", &chosen);
    context.show_list().await
}

/// Restarts what runs and starts what does not.
async fn again(context: &Context<'_>, processes: &Processes, words: &[String]) -> Result<(), Failure> {
    let chosen = all_chosen(processes, words)?;
    let env = if context.args.update_env { Some(surroundings()?.env) } else { None };
    run_again(processes, &chosen, env.as_ref()).await?;
    ticks(context, "restartProcessId", &chosen);
    Ok(())
}

/// Restarts what runs and starts what does not; with other variables, if these are given.
pub(super) async fn run_again(
    processes: &Processes,
    chosen: &[&Process],
    env: Option<&BTreeMap<String, String>>,
) -> Result<(), Failure> {
    let (run, rest): (Vec<_>, Vec<_>) = chosen.iter().copied().partition(|process| process.app.running);
    if let Some(env) = env {
        renew(processes, &Processes::apps(chosen), env).await?;
    } else {
        act(processes, Action::Restart, Processes::apps(&run)).await?;
        act(processes, Action::Start, Processes::apps(&rest)).await?;
    }
    processes.count(&run, false)
}

/// Reloads whole apps; with other variables, if these are given.
pub(super) async fn renew_gently(
    processes: &Processes,
    chosen: &[&Process],
    env: Option<&BTreeMap<String, String>>,
) -> Result<(), Failure> {
    match env {
        Some(env) => renew(processes, &Processes::apps(chosen), env).await?,
        None => act(processes, Action::Reload, Processes::apps(chosen)).await?,
    }
    processes.count(chosen, false)
}

/// Gives apps the variables of a shell.
async fn renew(processes: &Processes, apps: &[String], env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut specs: Vec<AppSpec> = Vec::new();
    for process in &processes.list {
        let name = process.name();
        if !apps.iter().any(|app| app == name) || specs.iter().any(|spec| spec.name == name) {
            continue;
        }
        let mut spec = process.app.spec.clone();
        spec.instances = u32::try_from(process.app.slots.len()).unwrap_or(spec.instances);
        for (key, value) in &mut spec.env {
            if let Some(new) = env.get(key) {
                value.clone_from(new);
            }
        }
        spec.base_env = config::inherited(env);
        specs.push(spec);
    }
    send(processes, specs).await
}

/// Makes apps run as described, those that run already, too.
pub(super) async fn send(processes: &Processes, specs: Vec<AppSpec>) -> Result<(), Failure> {
    let request = StartRequest { request_id: request_id(), specs, dry_run: false, force: true };
    let response = processes.client.start(&request).await?;
    let ended = follow(&processes.client, &response.operations, &Default::default()).await?;
    all_well(&ended)
}

/// The apps of a process file, those that `--only` names.
pub(super) fn specs_of_file(context: &Context<'_>, file: &str) -> Result<Vec<AppSpec>, Failure> {
    let only = context.args.only.iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned());
    let flags = Flags { env: context.args.env.clone().into_iter().collect(), ..Flags::default() };
    let overrides = Overrides { only: only.collect(), flags };
    let loaded = config::from_file(file.as_ref(), &overrides, &surroundings()?).map_err(one_code)?;
    for told in loaded.notes.iter().filter(|_| !context.args.silent) {
        note(&format!("[PM2][WARN] {}", sanitize(told)));
    }
    Ok(loaded.specs)
}

async fn start_file(context: &Context<'_>, file: &str) -> Result<(), Failure> {
    let specs = specs_of_file(context, file)?;
    session::started(&context.cli)?;
    let processes = Processes::ask(&context.cli).await?;
    let known: Vec<_> = processes
        .list
        .iter()
        .filter(|process| process.app.running && specs.iter().any(|spec| spec.name == process.name()))
        .collect();
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    send(&processes, specs).await?;
    processes.count(&known, false)?;
    names.iter().for_each(|name| context.say(&format!("App [{name}] launched")));
    context.show_list().await
}

/// One script or command, described by flags.
async fn start_script(
    context: &Context<'_>,
    processes: &Processes,
    word: &str,
    around: &Surroundings,
) -> Result<(), Failure> {
    let app = described(context.args, word);
    let text = json!({ "apps": [app] }).to_string();
    let loaded = config::from_described(&text, &Overrides::default(), around).map_err(one_code)?;
    for told in loaded.notes.iter().filter(|_| !context.args.silent) {
        note(&format!("[PM2][WARN] {}", sanitize(told)));
    }
    let Some(spec) = loaded.specs.into_iter().next() else { return Err(failed("there is nothing to start")) };
    refuse_second(processes, &spec, context.args.force)?;
    session::started(&context.cli)?;
    let processes = Processes::ask(&context.cli).await?;
    let (name, count) = (spec.name.clone(), spec.instances);
    context.say(&format!("Starting {word} ({} instance{})", count, if count == 1 { "" } else { "s" }));
    send(&processes, vec![spec]).await?;
    context.say(&format!("[{name}] Done."));
    Ok(())
}

/// A script that runs already is not started by its path again.
pub(super) fn refuse_second(processes: &Processes, spec: &AppSpec, force: bool) -> Result<(), Failure> {
    let Some(there) = processes.list.iter().find(|process| process.name() == spec.name) else { return Ok(()) };
    if there.app.spec.exec.script != spec.exec.script {
        return Err(failed(&format!(
            "an app called {} runs something else already: give this one a --name",
            spec.name
        )));
    }
    if there.app.running && !force {
        return Err(failed("Script already launched, add -f option to force re-execution"));
    }
    Ok(())
}

/// The flags as an app of a process file.
fn described(args: &Args, script: &str) -> Value {
    let mut app = Map::new();
    app.insert("script".into(), script.into());
    let texts = [
        ("name", &args.name),
        ("interpreter", &args.interpreter),
        ("node_args", &args.interpreter_args),
        ("out_file", &args.output),
        ("error_file", &args.error),
        ("log_type", &args.log_type),
        ("log_date_format", &args.log_date_format),
        ("instances", &args.instances),
        ("pid_file", &args.pid),
        ("kill_timeout", &args.kill_timeout),
        ("listen_timeout", &args.listen_timeout),
        ("max_memory_restart", &args.max_memory_restart),
        ("restart_delay", &args.restart_delay),
        ("exp_backoff_restart_delay", &args.exp_backoff_restart_delay),
        ("max_restarts", &args.max_restarts),
        ("user", &args.user),
        ("uid", &args.uid),
        ("gid", &args.gid),
        ("namespace", &args.namespace),
        ("cwd", &args.cwd),
        ("cron_restart", &args.cron),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            app.insert(key.into(), value.as_str().into());
        }
    }
    // `--log FILE` is for both outputs.
    if let Some(log) = args.log.as_deref().filter(|log| !log.is_empty()) {
        app.insert("out_file".into(), log.into());
        app.insert("error_file".into(), log.into());
    }
    let flags = [
        ("time", args.time),
        ("disable_logs", args.disable_logs),
        ("shutdown_with_message", args.shutdown_with_message),
        ("execute_command", args.execute_command),
        ("source_map_support", args.source_map_support),
        ("wait_ready", args.wait_ready),
    ];
    app.extend(flags.into_iter().filter(|(_, given)| *given).map(|(key, _)| (key.to_owned(), true.into())));
    let off = [("autostart", args.no_autostart), ("autorestart", args.no_autorestart), ("treekill", args.no_treekill)];
    app.extend(off.into_iter().filter(|(_, given)| *given).map(|(key, _)| (key.to_owned(), false.into())));
    let words: Vec<&str> = args.filter_env.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    match (args.filter_env.is_empty(), words.is_empty()) {
        (false, true) => drop(app.insert("filter_env".into(), true.into())),
        (false, false) => drop(app.insert("filter_env".into(), words.into())),
        (true, _) => {}
    }
    if !args.watch.is_empty() {
        let paths: Vec<&str> = args.watch.iter().map(String::as_str).filter(|path| !path.is_empty()).collect();
        app.insert("watch".into(), if paths.is_empty() { true.into() } else { paths.into() });
    }
    if !args.ignore_watch.is_empty() {
        app.insert("ignore_watch".into(), args.ignore_watch.clone().into());
    }
    if let Some(delay) = &args.watch_delay {
        // Seconds, or with a unit.
        let seconds = delay.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
        let text = seconds.map_or_else(|| delay.clone(), |seconds| format!("{:.0}ms", seconds * 1000.0));
        app.insert("watch_delay".into(), text.into());
    }
    if !args.stop_exit_codes.is_empty() {
        let codes = args.stop_exit_codes.iter().flat_map(|codes| codes.split(',')).map(Value::from);
        app.insert("stop_exit_codes".into(), codes.collect());
    }
    if !args.args.is_empty() {
        app.insert("args".into(), args.args.clone().into());
    }
    Value::Object(app)
}

fn surroundings() -> Result<Surroundings, Failure> {
    Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))
}

fn one_code(error: ConfigError) -> Failure {
    Failure::from(error)
}
