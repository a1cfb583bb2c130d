//! PM2's programmatic API as lines of JSON over standard input and output, for the Node package: `musher pm2-api`.
//!
//! A line is `{"id": 1, "method": "list", "params": {}}`; its answer `{"id": 1, "result": …, "notes": […]}` or
//! `{"id": 1, "error": {"code", "message", "hint"}}`; what happens, once the bus was asked for, `{"event", "data"}`. Calls
//! run beside each other, but for messages to workers, which go in their order. Everything is bounded: lines, calls that
//! run, lines that wait to be read; a caller that does not read is not read from either.
//!
//! It is the control API with PM2's words, so what is decided here is only how PM2 would say it: the shapes are those of
//! `pm2 jlist` ([`super::view`]). It ends when its input does.

mod bus;
mod calls;
mod session;

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use self::calls::{Answer, Call};
use self::session::Session;
use crate::exit_codes;
use crate::failure::Failure;

/// The longest line of a caller: apps with all their variables.
const MAX_LINE: u64 = 8 << 20;
/// How many calls run beside each other.
const CALLS: usize = 64;
/// How many lines wait to be handled, and to be read.
const LINES: usize = 64;
/// How long what was asked for goes on when the caller has gone.
const LAST: Duration = Duration::from_secs(5);

/// One line of the caller.
#[derive(Deserialize)]
struct Line {
    id: u64,
    #[serde(flatten)]
    call: Call,
}

/// Answers until the input ends.
pub(in crate::pm2) fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => LocalSet::new().block_on(&runtime, answer_all()),
        Err(error) => Err(Failure::environment(format!("cannot begin: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

async fn answer_all() -> Result<(), Failure> {
    let (mut lines, (out, writer)) = (read_lines()?, write_lines()?);
    let session = Rc::new(Session::new(super::cli(&["status"])?, out.clone()));
    let places = Arc::new(Semaphore::new(CALLS));
    let (messages, in_order) = mpsc::channel(LINES);
    let mut calls = JoinSet::new();
    calls.spawn_local(answer_in_order(Rc::clone(&session), in_order));
    while let Some(line) = lines.recv().await {
        let line = match serde_json::from_str::<Line>(&line) {
            Ok(line) => line,
            Err(error) => {
                let id = serde_json::from_str::<Value>(&line).ok().and_then(|line| line["id"].as_u64());
                let failure = Failure::new(exit_codes::USAGE, format!("this is no call: {error}"));
                tell(&out, id, Err(failure)).await;
                continue;
            }
        };
        if line.call.is_message() {
            if messages.send(line).await.is_err() {
                break;
            }
            continue;
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let (session, out) = (Rc::clone(&session), out.clone());
        calls.spawn_local(async move {
            let _place = place;
            let answer = line.call.answer(&session).await;
            tell(&out, Some(line.id), answer).await;
        });
        while calls.try_join_next().is_some() {}
    }
    drop(messages);
    let _ = timeout(LAST, async { while calls.join_next().await.is_some() {} }).await;
    session.end().await;
    drop((session, out));
    // What is answered last is written before this process is gone; a reader that does not read cannot hold it up.
    let _ = timeout(LAST, writer).await;
    Ok(())
}

async fn answer_in_order(session: Rc<Session>, mut lines: mpsc::Receiver<Line>) {
    while let Some(line) = lines.recv().await {
        let answer = line.call.answer(&session).await;
        tell(session.out(), Some(line.id), answer).await;
    }
}

async fn tell(out: &mpsc::Sender<String>, id: Option<u64>, answer: Result<Answer, Failure>) {
    let line = match answer {
        Ok(Answer { result, notes }) => json!({ "id": id, "result": result, "notes": notes }),
        Err(failure) => json!({ "id": id, "error": failure.record() }),
    };
    // A caller that is gone has no use for it.
    let _ = out.send(line.to_string()).await;
}

/// The lines of standard input, read by a thread of their own: a pipe cannot be waited for otherwise.
fn read_lines() -> Result<mpsc::Receiver<String>, Failure> {
    let (lines, received) = mpsc::channel(LINES);
    let read = move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            match (&mut input).take(MAX_LINE).read_line(&mut line) {
                Ok(count) if count > 0 && line.ends_with('\n') && lines.blocking_send(line).is_ok() => {}
                // The end, a part of a line, or one that is too long: nothing behind it can be understood.
                _ => return,
            }
        }
    };
    std::thread::Builder::new().name("calls".into()).spawn(read).map_err(no_thread)?;
    Ok(received)
}

/// Where lines go to standard output; and what ends when they are written and nobody has more.
fn write_lines() -> Result<(mpsc::Sender<String>, tokio::sync::oneshot::Receiver<()>), Failure> {
    let (lines, mut waiting) = mpsc::channel::<String>(LINES);
    let (written, all_written) = tokio::sync::oneshot::channel();
    let write = move || {
        let mut out = std::io::stdout().lock();
        while let Some(mut line) = waiting.blocking_recv() {
            line.push('\n');
            if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                break;
            }
        }
        let _ = written.send(());
    };
    std::thread::Builder::new().name("answers".into()).spawn(write).map_err(no_thread)?;
    Ok((lines, all_written))
}

fn no_thread(error: std::io::Error) -> Failure {
    Failure::environment(format!("cannot begin: {error}"))
}
