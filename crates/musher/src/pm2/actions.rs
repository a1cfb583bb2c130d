//! What is done to workers that exist, and what is shown of them.

use musher_api::client::{ClientError, request_id};
use musher_api::{Action, ActionRequest, ErrorCode, Mode, SendRequest, SlotStatus};
use musher_core::spec::MAX_INSTANCES;
use musher_supervisor::home::Home;
use serde_json::json;

use super::processes::{Processes, line};
use super::view::Process;
use super::{Context, failed, start};
use crate::config::{self, namesake};
use crate::failure::Failure;
use crate::output::{note, sanitize};
use crate::session;
use crate::verbs::operations::{all_well, follow};

/// Does something to apps, or to workers as APP/SLOT, and waits for its end.
pub(super) async fn act(processes: &Processes, action: Action, targets: Vec<String>) -> Result<(), Failure> {
    if targets.is_empty() {
        return Ok(());
    }
    let request = ActionRequest { request_id: request_id(), action, targets };
    let response = processes.client.act(&request).await?;
    let ended = follow(&processes.client, &response.operations, &Default::default()).await?;
    all_well(&ended)
}

/// The workers that several words mean; each must mean one at least.
pub(super) fn all_chosen<'p>(processes: &'p Processes, words: &[String]) -> Result<Vec<&'p Process>, Failure> {
    let mut chosen: Vec<&Process> = Vec::new();
    for word in words {
        for process in processes.chosen(word)? {
            if chosen.iter().all(|other| other.id != process.id) {
                chosen.push(process);
            }
        }
    }
    if chosen.is_empty() {
        Err(failed("which app? a name, an id, a namespace, /expression/ or all"))
    } else {
        Ok(chosen)
    }
}

/// Says of each worker that it is done.
pub(super) fn ticks(context: &Context<'_>, word: &str, chosen: &[&Process]) {
    for app in Processes::apps(chosen) {
        let ids: Vec<String> =
            chosen.iter().filter(|process| process.app_name() == app).map(|process| process.id.to_string()).collect();
        let app = namesake::shown(&app);
        context.say(&format!("Applying action {word} on app [{app}](ids: [ {} ])", ids.join(", ")));
        ids.iter().for_each(|id| context.say(&format!("[{app}]({id}) ✓")));
    }
}

/// `stop`, `delete`
pub(super) async fn end(context: &Context<'_>, command: &str, words: &[String]) -> Result<(), Failure> {
    let processes = Processes::ask(&context.cli).await?;
    let mut names = Vec::new();
    for word in words {
        if config::is_process_file(word.as_ref()) && !processes.is_name(word) {
            let specs = start::specs_of_file(context, word)?;
            let known = |name: &String| processes.list.iter().any(|process| process.app_name() == name);
            names.extend(specs.into_iter().map(|spec| spec.name).filter(known));
        } else {
            names.push(word.clone());
        }
    }
    let chosen = all_chosen(&processes, &names)?;
    if command == "stop" {
        stop(&processes, &chosen).await?;
        ticks(context, "stopProcessId", &chosen);
        return context.show_list().await;
    }
    take_away(&processes, &chosen).await?;
    ticks(context, "deleteProcessId", &chosen);
    context.show_list().await
}

/// Stops workers.
pub(super) async fn stop(processes: &Processes, chosen: &[&Process]) -> Result<(), Failure> {
    act(processes, Action::Stop, processes.targets(chosen)).await
}

/// Deletes workers, and apps of which none is left.
pub(super) async fn take_away(processes: &Processes, chosen: &[&Process]) -> Result<(), Failure> {
    act(processes, Action::Delete, processes.targets(chosen)).await
}

/// `scale NAME N`
pub(super) async fn scale(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let [word, number] = words else { return Err(failed("pm2 scale NAME N, +N or -N")) };
    let processes = Processes::ask(&context.cli).await?;
    let up = scale_to(&processes, word, number).await?;
    context.say(if up { "Scaled up application" } else { "Scaled down application" });
    context.show_list().await
}

/// Changes the number of an app's workers; whether there are more now.
pub(super) async fn scale_to(processes: &Processes, word: &str, number: &str) -> Result<bool, Failure> {
    let asked: i64 = number.parse().map_err(|_| failed(&format!("{number} is not a number of workers")))?;
    let mut scaled = Vec::new();
    for app in Processes::apps(&processes.chosen(word)?) {
        let now = processes.list.iter().filter(|process| process.app_name() == app).count();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let to = if number.starts_with(['+', '-']) { now.saturating_add(asked) } else { asked };
        if to == now {
            continue;
        }
        let to = u32::try_from(to).ok().filter(|to| (1..=MAX_INSTANCES).contains(to));
        let to = to.ok_or_else(|| failed(&format!("{number} would not leave 1 to {MAX_INSTANCES} workers")))?;
        act(processes, Action::Scale { to }, vec![app]).await?;
        scaled.push(i64::from(to) > now);
    }
    if scaled.is_empty() {
        return Err(failed("Nothing to do"));
    }
    Ok(scaled.contains(&true))
}

/// `reset NAME`
pub(super) async fn reset(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let processes = Processes::ask(&context.cli).await?;
    let chosen = all_chosen(&processes, words)?;
    act(&processes, Action::Reset, Processes::apps(&chosen)).await?;
    processes.count(&chosen, true)?;
    chosen.iter().for_each(|process| context.say(&format!("Resetting meta for process id {}", process.id)));
    context.show_list().await
}

/// `sendSignal SIGNAL NAME`
pub(super) async fn signal(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let [signal, word] = words else { return Err(failed("pm2 sendSignal SIGNAL NAME")) };
    let number = musher_process::exit::parse_signal(signal);
    let number = number.ok_or_else(|| failed(&format!("{signal} is not a signal")))?;
    let processes = Processes::ask(&context.cli).await?;
    let chosen = processes.chosen(word)?;
    act(&processes, Action::Signal { signal: number, slot: None }, processes.targets(&chosen)).await?;
    context.say(&format!("successfully sent signal {signal} to process name {word}"));
    context.show_list().await
}

/// `flush`, `reloadLogs`
pub(super) async fn logs(context: &Context<'_>, command: &str, words: &[String]) -> Result<(), Failure> {
    let processes = Processes::ask(&context.cli).await?;
    let chosen = if words.is_empty() { processes.list.iter().collect() } else { all_chosen(&processes, words)? };
    if command == "flush" {
        act(&processes, Action::Flush, Processes::apps(&chosen)).await?;
        context.say("Logs flushed");
        return Ok(());
    }
    for told in reload_logs(&processes, &chosen).await? {
        note(&format!("[PM2][WARN] {}", sanitize(&told)));
    }
    context.say("All logs reloaded");
    Ok(())
}

/// Opens log files anew, and tells the workers of clusters, as PM2 does, for programs that have log files of their own; what to
/// say of those that could not be told.
pub(super) async fn reload_logs(processes: &Processes, chosen: &[&Process]) -> Result<Vec<String>, Failure> {
    act(processes, Action::ReopenLogs, Processes::apps(chosen)).await?;
    let is_member =
        |process: &&&Process| process.app.mode == Mode::Cluster && process.slot.row.status == SlotStatus::Online;
    let mut notes = Vec::new();
    for process in chosen.iter().filter(is_member) {
        let message = json!({ "type": "log:reload" });
        let (target, slot) = (process.app_name().to_owned(), Some(process.slot.row.slot));
        match processes.client.send(&SendRequest { request_id: request_id(), target, slot, message }).await {
            // It has ended meanwhile; what comes after it opens the files anyway.
            Err(ClientError::Api(error)) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Conflict) => {
                notes.push(format!("{} ({}) was not told: {}", process.name(), process.id, error.message));
            }
            sent => {
                sent?;
            }
        }
    }
    Ok(notes)
}

/// `logs`
pub(super) async fn show_logs(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let processes = Processes::ask(&context.cli).await?;
    let apps = if words.is_empty() { Vec::new() } else { Processes::apps(&all_chosen(&processes, words)?) };
    let args = context.args;
    let lines = args.lines.to_string();
    let mut all = vec!["logs", "--lines", lines.as_str()];
    all.push(if args.nostream { "--no-follow" } else { "--follow" });
    let format = args.format && !args.json && !args.raw;
    let flags = [
        (args.raw && !args.json, "--raw"),
        (args.json, "--json"),
        (args.err && !args.out, "--err"),
        (args.out && !args.err, "--out"),
        (format, "--format"),
    ];
    all.extend(flags.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag));
    let times =
        args.timestamp.as_ref().filter(|_| !args.raw && !args.json).map(|times| format!("--timestamps={times}"));
    all.extend(times.as_deref());
    if let Some(word) = &args.highlight {
        all.extend(["--highlight", word]);
    }
    all.extend(apps.iter().map(String::as_str));
    context.verb(&all).await
}

/// `save`
pub(super) async fn save(context: &Context<'_>) -> Result<(), Failure> {
    context.say("Saving current process list...");
    let processes = Processes::ask(&context.cli).await?;
    if processes.list.is_empty() && !context.args.force {
        context.say("there is no app: nothing is saved; `pm2 save --force` saves the empty list");
        return Ok(());
    }
    context.verb(&["save"]).await
}

/// `cleardump`
pub(super) fn clear_saved(context: &Context<'_>) -> Result<(), Failure> {
    let home = Home::open(&session::home_path(&context.cli)?)?;
    match std::fs::remove_file(home.saved_list()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => {
            context.say("Successfully created the empty list of saved apps");
            Ok(())
        }
    }
}

/// `ping`: the daemon is there afterwards.
pub(super) async fn ping(context: &Context<'_>) -> Result<(), Failure> {
    let (client, _) = session::started(&context.cli)?;
    client.status().await?;
    line("{ msg: 'pong' }")
}

/// `report`: what a report of a fault wants to tell.
pub(super) async fn report(context: &Context<'_>) -> Result<(), Failure> {
    line(&format!("musher {}, called as pm2", musher_supervisor::VERSION))?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    line(&format!("Linux {}, {}", kernel.trim(), std::env::consts::ARCH))?;
    context.verb(&["status"]).await?;
    context.show_list().await
}
