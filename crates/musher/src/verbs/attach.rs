//! `musher attach`

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use musher_api::client::{Client, ClientError, request_id};
use musher_api::{InputRequest, LogLine, LogQuery, LogStream, MAX_INPUT};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::targets;
use crate::args::{AttachArgs, Cli};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{Terminal, note, sanitize, sanitize_keeping_colours};
use crate::session;

/// Pause before the stream is opened again, and before what a worker did not take is sent again at first.
const AGAIN: Duration = Duration::from_millis(20);
/// The longest such pause.
const LONGEST: Duration = Duration::from_millis(500);
/// How many lines wait to be sent.
const LINES: usize = 16;

/// One worker.
struct Worker {
    app: String,
    slot: u32,
}

/// Carries lines to a worker and what it writes back, until somebody detaches.
pub(crate) async fn run(cli: &Cli, args: &AttachArgs) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::environment(format!("signals cannot be received: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let separator = args.separator.as_deref().map_or_else(|| "\n".to_owned(), unescaped);
    let client = session::client(cli)?;
    let worker = one_worker(&client, &args.target).await?;
    let query =
        LogQuery { target: Some(worker.app.clone()), lines: Some(args.lines), follow: true, ..LogQuery::default() };
    // Opened before anything is sent, so that no answer is missed.
    let stream = client.logs(&query).await?;
    if std::io::stdin().is_terminal() {
        let name = format!("{}/{}", sanitize(&worker.app), worker.slot);
        note(&format!("attached to {name}: lines go to its standard input; ^C detaches"));
    }
    let typed = lines_of_stdin(separator);
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        shown = show(&client, &worker, query, stream) => shown,
        sent = send(&client, &worker, typed) => sent,
    }
}

/// `APP/SLOT` as an app and a slot.
pub(super) fn app_and_slot(target: &str) -> (&str, Option<u32>) {
    let parts = target.rsplit_once('/').and_then(|(app, slot)| Some((app, slot.parse().ok()?)));
    // An expression for names has a slash before it as well.
    match parts.filter(|(app, _)| !app.is_empty()) {
        Some((app, slot)) => (app, Some(slot)),
        None => (target, None),
    }
}

async fn one_worker(client: &Client, target: &str) -> Result<Worker, Failure> {
    let (app, slot) = app_and_slot(target);
    let rows = match client.slots(Some(app)).await {
        Ok(rows) => rows,
        Err(error) => return Err(targets::with_suggestion(client, error.into(), &[app.to_owned()]).await),
    };
    let there: Vec<u32> = rows.iter().map(|row| row.slot).collect();
    let name = rows.first().map_or(app, |row| row.app.as_str()).to_owned();
    let shown = sanitize(&name);
    match (slot, there.as_slice()) {
        (Some(slot), there) if there.contains(&slot) => Ok(Worker { app: name, slot }),
        (None, [slot]) => Ok(Worker { app: name, slot: *slot }),
        (Some(slot), there) => Err(Failure::new(exit_codes::NO_SUCH_APP, format!("{shown} has no slot {slot}"))
            .with_hint(format!("it has {}: 0 to {}", there.len(), there.len().saturating_sub(1)))),
        (None, there) => {
            Err(Failure::new(exit_codes::USAGE, format!("{shown} has {} workers: which one?", there.len()))
                .with_hint(format!("name its slot: `musher attach {shown}/0`")))
        }
    }
}

/// What is typed, a line at a time. A thread of its own waits for it.
fn lines_of_stdin(separator: String) -> mpsc::Receiver<String> {
    let (sink, source) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        loop {
            let limit = MAX_INPUT.saturating_sub(separator.len()).saturating_sub(line.len()) as u64;
            let read = std::io::Read::take(&mut input, limit).read_until(b'\n', &mut line).unwrap_or(0);
            if line.is_empty() {
                return;
            }
            let ended = line.last() == Some(&b'\n');
            let over = read == 0 || u64::try_from(read).unwrap_or(0) < limit;
            // The rest of a line that is longer than a request follows, with the letter that would be cut.
            let cut = if ended || over { line.len() } else { whole_letters(&line) };
            let rest = line.split_off(cut);
            let mut text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned();
            line = rest;
            if ended || over {
                text.push_str(&separator);
            }
            if sink.blocking_send(text).is_err() {
                return;
            }
        }
    });
    source
}

/// How many of the bytes are no beginning of a letter that is cut off at the end.
fn whole_letters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // Of what is no text at all, nothing can be saved.
        _ => bytes.len(),
    }
}

/// Sends what is typed until there is no more.
async fn send(client: &Client, worker: &Worker, mut typed: mpsc::Receiver<String>) -> Result<(), Failure> {
    while let Some(text) = typed.recv().await {
        type_in(client, &worker.app, worker.slot, &text).await?;
    }
    Ok(())
}

/// Writes a text to the standard input of a worker, as fast as it reads.
pub(crate) async fn type_in(client: &Client, app: &str, slot: u32, text: &str) -> Result<(), Failure> {
    let mut rest = text;
    let mut pause = AGAIN;
    while !rest.is_empty() {
        // Invalid bytes have grown by being replaced.
        let part = rest[..rest.floor_char_boundary(MAX_INPUT)].to_owned();
        let request = InputRequest { request_id: request_id(), target: app.to_owned(), slot: Some(slot), text: part };
        let taken = client.input(&request).await?.bytes;
        // Only whole letters are taken.
        rest = rest.get(taken..).unwrap_or_default();
        if taken > 0 {
            pause = AGAIN;
        } else {
            pause = (pause * 2).min(LONGEST);
            sleep(pause).await;
        }
    }
    Ok(())
}

/// Shows what the worker writes, over every restart of it and of the supervisor.
async fn show(
    client: &Client,
    worker: &Worker,
    mut query: LogQuery,
    mut stream: musher_api::client::LogStreamReader,
) -> Result<(), Failure> {
    let form = (Terminal::stdout(), Terminal::stderr());
    loop {
        match stream.next().await {
            Ok(Some(line)) => {
                query.since = Some(line.cursor);
                if line.slot == worker.slot {
                    write(&line, form)?;
                }
                continue;
            }
            Err(error @ ClientError::Protocol(_)) => return Err(error.into()),
            Ok(None) | Err(_) => {}
        }
        query.lines = query.since.is_none().then_some(0);
        sleep(AGAIN).await;
        match session::unless_absent(client.logs(&query).await)? {
            Some(next) => stream = next,
            None => {
                note("the daemon has ended");
                return Ok(());
            }
        }
    }
}

fn write(line: &LogLine, (out, err): (Terminal, Terminal)) -> Result<(), Failure> {
    let terminal = if line.stream == LogStream::Out { out } else { err };
    // A terminal must not be driven by a program's output.
    let text = match (terminal.is_terminal(), terminal.has_colours()) {
        (true, true) => sanitize_keeping_colours(&line.line),
        (true, false) => sanitize(&line.line),
        (false, _) => line.line.clone(),
    };
    match line.stream {
        LogStream::Out => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{text}")?;
            out.flush()?;
        }
        LogStream::Err => writeln!(std::io::stderr(), "{text}")?,
    }
    Ok(())
}

/// A separator as it was typed, with the usual escapes.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some(next @ ('n' | 'r' | 't' | '0' | '\\'))) => {
                letters.next();
                plain.push(match next {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '0' => '\0',
                    other => other,
                });
            }
            (letter, _) => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{app_and_slot, unescaped};

    #[test]
    fn a_worker_is_named_by_its_app_and_slot() {
        assert_eq!(app_and_slot("web"), ("web", None));
        assert_eq!(app_and_slot("web/2"), ("web", Some(2)));
        assert_eq!(app_and_slot("3/0"), ("3", Some(0)));
        assert_eq!(app_and_slot("/we.*/"), ("/we.*/", None));
        assert_eq!(app_and_slot("/5"), ("/5", None));
    }

    #[test]
    fn a_separator_has_escapes() {
        assert_eq!(unescaped(r"\r\n"), "\r\n");
        assert_eq!(unescaped(r";\0\\n\x"), ";\0\\n\\x");
    }
}
