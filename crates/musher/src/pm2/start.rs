//! `start`, `restart`, `reload`: scripts, commands, process files and apps that exist.

use std::path::Path;

use musher_api::client::request_id;
use musher_api::{Action, StartRequest};
use musher_core::spec::AppSpec;
use serde_json::json;

use super::actions::{act, all_chosen, ticks};
use super::change::Change;
use super::processes::Processes;
use super::view::Process;
use super::{Context, failed, flags, settings};
use crate::config::{self, ConfigError, Overrides, Surroundings, namesake};
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
    renew_gently(&processes, &chosen, &change(context)?).await?;
    ticks(context, "reloadProcessId", &chosen);
    context.show_list().await
}

/// Restarts what runs and starts what does not.
async fn again(context: &Context<'_>, processes: &Processes, words: &[String]) -> Result<(), Failure> {
    let chosen = all_chosen(processes, words)?;
    run_again(processes, &chosen, &change(context)?).await?;
    ticks(context, "restartProcessId", &chosen);
    Ok(())
}

/// What the command line changes about apps that exist.
fn change(context: &Context<'_>) -> Result<Change, Failure> {
    Ok(Change { keys: flags::keys(context.args), update_env: context.args.update_env, around: surroundings()? })
}

/// Restarts what runs and starts what does not; with what is to be other from now on.
pub(super) async fn run_again(processes: &Processes, chosen: &[&Process], change: &Change) -> Result<(), Failure> {
    let (run, rest): (Vec<_>, Vec<_>) = chosen.iter().copied().partition(|process| process.app.running);
    if change.is_none() {
        act(processes, Action::Restart, processes.targets(&run)).await?;
        act(processes, Action::Start, processes.targets(&rest)).await?;
        processes.count(&run, false)
    } else {
        processes.count(&run, false)?;
        change.carry_out(processes, chosen).await
    }
}

/// Reloads workers; with what is to be other from now on.
pub(super) async fn renew_gently(processes: &Processes, chosen: &[&Process], change: &Change) -> Result<(), Failure> {
    if change.is_none() {
        let targets = processes.targets(chosen);
        if targets.len() == Processes::apps(chosen).len() {
            act(processes, Action::Reload, targets).await?;
        } else {
            // Several workers of an app one after the other: no reload of an app goes beside another one.
            for target in targets {
                act(processes, Action::Reload, vec![target]).await?;
            }
        }
        processes.count(chosen, false)
    } else {
        processes.count(chosen, false)?;
        change.carry_out(processes, chosen).await
    }
}

/// Makes apps run as described, those that run already, too.
pub(super) async fn send(processes: &Processes, mut specs: Vec<AppSpec>) -> Result<(), Failure> {
    for spec in specs.iter_mut().filter(|spec| spec.pid_file.is_none()) {
        // Programs around PM2 look there.
        spec.pid_file = Some(processes.home().join("pids").join(format!("{}.pid", spec.name)));
    }
    let request = StartRequest { request_id: request_id(), specs, dry_run: false, force: true };
    let response = processes.client.start(&request).await?;
    let ended = follow(&processes.client, &response.operations, &Default::default()).await?;
    all_well(&ended)
}

/// The apps of a process file, those that `--only` names.
pub(super) fn specs_of_file(context: &Context<'_>, file: &str) -> Result<Vec<AppSpec>, Failure> {
    let only = context.args.only.iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned());
    let overrides = Overrides { only: only.collect(), flags: flags::over_file(context.args) };
    let mut loaded = config::from_file(file.as_ref(), &overrides, &surroundings()?).map_err(one_code)?;
    let without = flags::complete(&mut loaded.specs, context.args);
    loaded
        .notes
        .extend(without.iter().map(|name| format!("{name} does not get the words behind `--`: it is no script")));
    for told in loaded.notes.iter().filter(|_| !context.args.is_silent()) {
        note(&format!("[PM2][WARN] {}", sanitize(told)));
    }
    Ok(loaded.specs)
}

async fn start_file(context: &Context<'_>, file: &str) -> Result<(), Failure> {
    let mut specs = specs_of_file(context, file)?;
    settings::apply(&context.cli, &mut specs)?;
    session::started(&context.cli)?;
    let processes = Processes::ask(&context.cli).await?;
    let known: Vec<_> = processes
        .list
        .iter()
        .filter(|process| process.app.running && specs.iter().any(|spec| spec.name == process.app_name()))
        .collect();
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    send(&processes, specs).await?;
    processes.count(&known, false)?;
    let launched = |name: &String| context.say(&format!("App [{}] launched", namesake::shown(name)));
    names.iter().for_each(launched);
    context.show_list().await
}

/// One script or command, described by flags.
async fn start_script(
    context: &Context<'_>,
    processes: &Processes,
    word: &str,
    around: &Surroundings,
) -> Result<(), Failure> {
    let mut app = flags::keys(context.args);
    app.insert("script".into(), word.into());
    let text = json!({ "apps": [&app] }).to_string();
    let loaded = config::from_described(&text, &Overrides::default(), around).map_err(one_code)?;
    for told in loaded.notes.iter().filter(|_| !context.args.is_silent()) {
        note(&format!("[PM2][WARN] {}", sanitize(told)));
    }
    let Some(mut spec) = loaded.specs.into_iter().next() else { return Err(failed("there is nothing to start")) };
    find_place(processes, &mut spec, context.args.force)?;
    settings::apply(&context.cli, std::slice::from_mut(&mut spec))?;
    session::started(&context.cli)?;
    let processes = Processes::ask(&context.cli).await?;
    let (name, count) = (namesake::shown(&spec.name).to_owned(), spec.instances);
    context.say(&format!("Starting {word} ({} instance{})", count, if count == 1 { "" } else { "s" }));
    send(&processes, vec![spec]).await?;
    context.say(&format!("[{name}] Done."));
    if context.args.write {
        let file = around.cwd.join(format!("{name}-pm2.json"));
        std::fs::write(&file, format!("{:#}\n", json!({ "apps": [app] })))?;
        context.say(&format!("{} is written", file.display()));
    }
    Ok(())
}

/// Decides which app a script is that is started by its path: one that is there and does not run, or a further one. A script
/// that runs already is started once more only if that is asked for.
pub(super) fn find_place(processes: &Processes, spec: &mut AppSpec, force: bool) -> Result<(), Failure> {
    let name = namesake::shown(&spec.name).to_owned();
    // Of a command, all words count.
    let is_same = |process: &&Process| {
        let (there, new) = (&process.app.spec.exec, &spec.exec);
        process.name() == name && there.script == new.script && (new.script.is_some() || there.args == new.args)
    };
    let same: Vec<&Process> = processes.list.iter().filter(is_same).collect();
    if let Some(stopped) = same.iter().find(|process| !process.app.running) {
        stopped.app_name().clone_into(&mut spec.name);
        return Ok(());
    }
    if !same.is_empty() && !force {
        return Err(failed("Script already launched, add -f option to force re-execution"));
    }
    spec.name = namesake::free(&name, |name| processes.list.iter().any(|process| process.app_name() == name));
    Ok(())
}

pub(super) fn surroundings() -> Result<Surroundings, Failure> {
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    Ok(Surroundings { as_pm2: true, ..around })
}

fn one_code(error: ConfigError) -> Failure {
    Failure::from(error)
}
