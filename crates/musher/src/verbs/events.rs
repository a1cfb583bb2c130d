//! `musher events`

use std::io::Write;
use std::time::Duration;

use musher_api::client::{Client, ClientError};
use musher_api::{Event, EventFilter, EventKind, EventsQuery};
use musher_supervisor::event_log::{self, Wanted};
use tokio::time::sleep;

use super::targets;
use crate::args::{Cli, EventsArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{Colour, Terminal, note, sanitize};
use crate::session;

/// Pause before the stream is opened again.
const AGAIN: Duration = Duration::from_millis(50);

/// Shows what happened, and what happens until it is interrupted, or the daemon ends.
pub(crate) async fn run(cli: &Cli, args: &EventsArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let words: Vec<String> = args.targets.iter().chain(&args.app).cloned().collect();
    let named = targets::expanded(&client, &words).await?;
    let mut query = EventsQuery {
        since: None,
        from_ms: args.since.map(|since| since.0),
        until_ms: args.until.map(|until| until.0),
        lines: args.lines,
        target: (!named.is_empty()).then(|| named.join(",")),
        kind: (!args.kind.is_empty()).then(|| args.kind.join(",")),
        follow: None,
    };
    query.follow = Some(args.follow || (!args.no_follow && !query.asks_for_past()));
    let filter = query.filter().map_err(|error| wrong_kind(args).unwrap_or_else(|| error.into()))?;
    // An app that is gone has a past, but no future.
    let unknown = unknown(&client, &named).await?;
    if let (Some(failure), false) = (&unknown, query.asks_for_past()) {
        return Err(failure.clone().told(&client, &named).await);
    }
    let mut shown = Shown { json: args.json, terminal: Terminal::stdout(), count: 0 };
    match session::unless_absent(client.events_of(&query).await)? {
        Some(stream) => follow(&client, &mut query, stream, &mut shown).await?,
        None if query.asks_for_past() => from_disk(cli, &query, filter, &mut shown)?,
        None => client.events_of(&query).await.map(drop)?,
    }
    match unknown {
        Some(failure) if shown.count == 0 => Err(failure.told(&client, &named).await),
        _ => Ok(()),
    }
}

/// An app that does not exist, as the supervisor tells it.
#[derive(Clone)]
struct Unknown {
    target: String,
}

impl Unknown {
    async fn told(&self, client: &Client, named: &[String]) -> Failure {
        let failure = match client.slots(Some(&self.target)).await {
            Err(error) if !matches!(error, ClientError::NotRunning { .. }) => error.into(),
            _ => {
                let shown = sanitize(&self.target);
                Failure::new(exit_codes::NO_SUCH_APP, format!("there is no app {shown:?}, and nothing is kept of one"))
            }
        };
        targets::with_suggestion(client, failure, named).await
    }
}

/// The first of the names that no app has. Without a daemon, the first.
async fn unknown(client: &Client, named: &[String]) -> Result<Option<Unknown>, Failure> {
    if named.is_empty() {
        return Ok(None);
    }
    let apps = session::unless_absent(client.apps().await)?.unwrap_or_default();
    let is_known = |word: &str| word == "all" || apps.iter().any(|app| app.app == word || app.id.to_string() == word);
    Ok(named.iter().find(|word| !is_known(word)).map(|word| Unknown { target: word.clone() }))
}

/// What is wrong with a kind, and what may be meant.
fn wrong_kind(args: &EventsArgs) -> Option<Failure> {
    let wrong = args.kind.iter().find(|word| EventKind::of(word).is_none())?;
    let kinds = kinds();
    let near = kinds.iter().map(|kind| (strsim::damerau_levenshtein(wrong, kind), kind)).min();
    let hint = match near.filter(|(distance, kind)| distance * 5 <= kind.chars().count() * 2) {
        Some((_, kind)) => format!("did you mean {kind:?}?"),
        None => format!("there are: {}", kinds.join(", ")),
    };
    Some(Failure::new(exit_codes::USAGE, format!("{:?} is not a kind of event", sanitize(wrong))).with_hint(hint))
}

/// The words of all kinds.
fn kinds() -> Vec<String> {
    let description = musher_api::openapi();
    let kinds = description.pointer("/components/schemas/EventKind/oneOf").and_then(|kinds| kinds.as_array());
    kinds.into_iter().flatten().filter_map(|kind| kind["const"].as_str().map(str::to_owned)).collect()
}

/// Shows a stream to its end; one that breaks off is opened again behind the last event.
async fn follow(
    client: &Client,
    query: &mut EventsQuery,
    mut stream: musher_api::client::EventStream,
    shown: &mut Shown,
) -> Result<(), Failure> {
    loop {
        match stream.next().await {
            Ok(Some(event)) => {
                shown.show(&event)?;
                continue;
            }
            Ok(None) if !query.follows() => return Ok(()),
            Ok(None) | Err(ClientError::Lost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // The supervisor has ended. Another one goes on where it was, unless the whole daemon is gone.
        if let Some(last) = stream.last_id() {
            (query.since, query.lines) = (Some(last), None);
        }
        sleep(AGAIN).await;
        match session::unless_absent(client.events_of(query).await)? {
            Some(next) => stream = next,
            None => {
                note("the daemon has ended");
                return Ok(());
            }
        }
    }
}

/// Shows what is on the disk when no daemon runs.
fn from_disk(cli: &Cli, query: &EventsQuery, filter: EventFilter, shown: &mut Shown) -> Result<(), Failure> {
    let last = query.lines.and_then(|lines| usize::try_from(lines).ok());
    let wanted = Wanted { filter, last, ..Wanted::default() };
    let mut failed = None;
    event_log::read(&session::home_path(cli)?, &wanted, &mut |event| {
        failed = shown.show(&event).err();
        failed.is_none()
    })?;
    if query.follows() {
        note("no daemon runs: there is nothing to follow");
    }
    failed.map_or(Ok(()), Err)
}

/// How events are shown.
struct Shown {
    json: bool,
    terminal: Terminal,
    /// How many were.
    count: u64,
}

impl Shown {
    fn show(&mut self, event: &Event) -> Result<(), Failure> {
        self.count += 1;
        show(event, self.json, self.terminal)
    }
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
    let kind = event.kind.word();
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
        | EventKind::Schedule
        | EventKind::Waiting
        | EventKind::Other => None,
    }
}
