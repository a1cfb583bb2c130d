//! `musher events`

use std::io::Write;
use std::time::Duration;

use musher_api::client::ClientError;
use musher_api::{Event, EventKind};
use tokio::time::sleep;

use super::targets;
use crate::args::{Cli, EventsArgs};
use crate::failure::Failure;
use crate::output::{Colour, Terminal, note, sanitize};
use crate::session;

/// Pause before the stream is opened again.
const AGAIN: Duration = Duration::from_millis(50);

/// Shows what happens until it is interrupted, or the daemon ends.
pub(crate) async fn run(cli: &Cli, args: &EventsArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    for target in &args.targets {
        if let Err(error) = client.slots(Some(target)).await {
            return Err(targets::with_suggestion(&client, error.into(), std::slice::from_ref(target)).await);
        }
    }
    let terminal = Terminal::stdout();
    let mut last = None;
    let mut stream = client.events(None).await?;
    loop {
        match stream.next().await {
            Ok(Some(event)) => {
                if wanted(&event, &args.targets) {
                    show(&event, args.json, terminal)?;
                }
                continue;
            }
            Ok(None) | Err(ClientError::Lost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The supervisor has ended. Another one goes on where it was, unless the whole daemon is gone.
        last = stream.last_id().or(last);
        sleep(AGAIN).await;
        match session::unless_absent(client.events(last).await)? {
            Some(next) => stream = next,
            None => {
                note("the daemon has ended");
                return Ok(());
            }
        }
    }
}

/// Whether an event is of one of the apps, or of musher itself.
fn wanted(event: &Event, targets: &[String]) -> bool {
    targets.is_empty()
        || targets.iter().any(|target| {
            target == "all"
                || event.app.as_ref() == Some(target)
                || event.app_id.is_some_and(|id| id.to_string() == *target)
        })
}

fn show(event: &Event, json: bool, terminal: Terminal) -> Result<(), Failure> {
    let line = if json { serde_json::to_string(event).map_err(std::io::Error::from)? } else { text(event, terminal) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

fn text(event: &Event, terminal: Terminal) -> String {
    let place = match (&event.app, event.slot) {
        (Some(app), Some(slot)) => format!("{}/{slot}", sanitize(app)),
        (Some(app), None) => sanitize(app),
        (None, _) => "musher".into(),
    };
    let kind = serde_json::to_value(event.kind).ok();
    let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("other").to_owned();
    let pid = event.pid.map_or_else(String::new, |pid| format!(" pid {pid}"));
    let detail = if event.detail.is_empty() { String::new() } else { format!(" {}", sanitize(&event.detail)) };
    let painted = colour(event.kind).map_or_else(|| kind.clone(), |colour| terminal.paint(colour, &kind));
    format!("{} {place} {painted}{pid}{detail}", terminal.paint(Colour::Dim, &event.time))
}

fn colour(kind: EventKind) -> Option<Colour> {
    match kind {
        EventKind::Online | EventKind::Adopted => Some(Colour::Green),
        EventKind::Giveup
        | EventKind::Died
        | EventKind::Uncaught
        | EventKind::SpawnFailed
        | EventKind::BindFailed
        | EventKind::Violation
        | EventKind::NotReady
        | EventKind::Unfit
        | EventKind::Kept
        | EventKind::Failing
        | EventKind::Killed => Some(Colour::Red),
        EventKind::Canary
        | EventKind::Exited
        | EventKind::Backoff
        | EventKind::Cut
        | EventKind::Lagged
        | EventKind::Logs => Some(Colour::Yellow),
        EventKind::Added
        | EventKind::Changed
        | EventKind::Deleted
        | EventKind::Scaled
        | EventKind::Spawned
        | EventKind::Listening
        | EventKind::Draining
        | EventKind::Signalled
        | EventKind::Stopped
        | EventKind::Hook
        | EventKind::Message
        | EventKind::OperationStarted
        | EventKind::OperationDone
        | EventKind::SupervisorStarted
        | EventKind::KeeperStarted
        | EventKind::Upgrade
        | EventKind::Shutdown
        | EventKind::Files
        | EventKind::Other => None,
    }
}
