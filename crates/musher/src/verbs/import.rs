//! `musher import`

use std::io::Write;

use musher_api::StartRequest;
use musher_api::client::request_id;
use musher_core::spec::AppSpec;
use serde_json::json;

use super::operations::{follow, tell_failures};
use crate::args::{Cli, ImportArgs};
use crate::config::{self, Overrides, Surroundings};
use crate::exit_codes;
use crate::failure::Failure;
use crate::import::{self, Daemon, Found, Source};
use crate::output::{Column, Table, Terminal, error_text, note, sanitize};
use crate::session;

/// One app with what it becomes here.
struct Move {
    found: Found,
    spec: Result<AppSpec, String>,
    notes: Vec<String>,
}

/// Shows what would be taken over from a PM2; with `--yes` takes it over, one app after the other.
pub(crate) async fn run(cli: &Cli, args: &ImportArgs) -> Result<(), Failure> {
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let place = import::place(args.from.as_deref());
    let (source, records) = import::read(&place).map_err(|fault| {
        Failure::new(exit_codes::ENVIRONMENT, format!("there is no PM2 to take over from: {fault}"))
            .with_hint("name its home (PM2_HOME) or its dump: musher import ~/.pm2/dump.pm2")
    })?;
    let moves: Vec<Move> = import::found(&records, &place, &around.env)
        .into_iter()
        .map(|found| {
            let described =
                config::from_described(&json!({ "apps": [found.app] }).to_string(), &Overrides::default(), &around);
            match described.map(|loaded| (loaded.specs.into_iter().next(), loaded.notes)) {
                Ok((Some(spec), notes)) => Move { found, spec: Ok(spec), notes },
                Ok((None, notes)) => Move { found, spec: Err("there is nothing to start".into()), notes },
                Err(error) => Move { found, spec: Err(error.to_string()), notes: Vec::new() },
            }
        })
        .collect();
    show(&source, &moves)?;
    if !args.yes {
        note("nothing was done: `musher import --yes` does it");
        return Ok(());
    }
    let mut daemon = match source {
        Source::Daemon(daemon) => Some(daemon),
        Source::Dump(_) => None,
    };
    let mut failed = false;
    for one in moves {
        failed |= !take_over(cli, one, daemon.as_mut()).await?;
    }
    if daemon.is_some() {
        note("what was taken over is stopped in PM2, and still in its list: `pm2 kill` and `pm2 unstartup` end it");
    }
    if failed { Err(Failure::told(exit_codes::FAILED)) } else { Ok(()) }
}

/// The plan.
fn show(source: &Source, moves: &[Move]) -> Result<(), Failure> {
    match source {
        Source::Daemon(_) => note("PM2 runs: each app is stopped there, then started here, before the next one"),
        Source::Dump(path) => note(&format!("PM2 does not run: the list is that of {}", path.display())),
    }
    let mut table = Table::new([
        Column::text("app", 0),
        Column::number("workers", 0),
        Column::text("mode", 2),
        Column::text("there", 1),
        Column::text("step", 0),
    ]);
    for Move { found, spec, .. } in moves {
        let (workers, mode, step) = match spec {
            Ok(spec) => {
                let mode = musher_api::Mode::from(spec.exec.runtime).word();
                (spec.instances.to_string(), mode, if spec.autostart { "start" } else { "add, stopped" })
            }
            Err(_) => ("-".to_owned(), "-", "leave there"),
        };
        let there = format!("{} of {} run", found.running.len(), found.ids.len());
        table.row([sanitize(&found.name), workers, mode.to_owned(), there, step.to_owned()].map(|text| (text, None)));
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{}", table.render(Terminal::stdout()))?;
    out.flush()?;
    for Move { found, spec, notes } in moves {
        let name = sanitize(&found.name);
        if found.renamed {
            note(&format!("{name}: renamed, for a name is one app here"));
        }
        notes.iter().for_each(|told| note(&format!("{name}: {}", sanitize(told))));
        if let Err(fault) = spec {
            error_text(&format!("{name}: {}", sanitize(fault)), None);
        }
    }
    Ok(())
}

/// Stops one app there and starts it here; when it does not start, it is started there again. Whether it went well.
async fn take_over(cli: &Cli, one: Move, mut daemon: Option<&mut Daemon>) -> Result<bool, Failure> {
    let name = sanitize(&one.found.name);
    let Ok(spec) = one.spec else { return Ok(false) };
    let (client, _) = session::started(cli)?;
    let mut stopped = Vec::new();
    if let Some(daemon) = daemon.as_deref_mut() {
        for id in &one.found.running {
            match daemon.stop(*id) {
                Ok(()) => stopped.push(*id),
                Err(fault) => {
                    error_text(&format!("{name}: {}", sanitize(&fault)), Some("it is left there"));
                    start_again(&name, daemon, &stopped);
                    return Ok(false);
                }
            }
        }
    }
    let request = StartRequest { request_id: request_id(), specs: vec![spec], dry_run: false, force: false };
    let begun = client.start(&request).await;
    let ended = match begun {
        Ok(response) => follow(&client, &response.operations, &Default::default()).await,
        Err(error) => Err(error.into()),
    };
    let done = ended.and_then(|ended| tell_failures(&ended));
    if let Err(failure) = &done {
        let _ = failure.tell();
        if let Some(daemon) = daemon {
            // Only one of the two may run.
            let delete = musher_api::ActionRequest {
                request_id: request_id(),
                action: musher_api::Action::Delete,
                targets: vec![one.found.name.clone()],
            };
            if let Ok(response) = client.act(&delete).await {
                let _ = follow(&client, &response.operations, &Default::default()).await;
            }
            start_again(&name, daemon, &stopped);
        }
        return Ok(false);
    }
    note(&format!("{name}: taken over"));
    Ok(true)
}

fn start_again(name: &str, daemon: &mut Daemon, ids: &[u64]) {
    for id in ids {
        if let Err(fault) = daemon.start(*id) {
            error_text(&format!("{name}: {}", sanitize(&fault)), Some(&format!("pm2 start {id}")));
        }
    }
    if !ids.is_empty() {
        note(&format!("{name}: runs in PM2 again"));
    }
}
