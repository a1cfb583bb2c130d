//! What is said to workers: lines, actions; and the dashboard.

use std::time::Duration;

use serde_json::Value;

use super::processes::{Processes, line};
use super::view::Process;
use super::{Context, failed};
use crate::failure::Failure;
use crate::output::sanitize;
use crate::verbs::attach;
use crate::verbs::trigger::{Call, ask, called};

/// How long the answers to an action are waited for; PM2 waits for ever.
const ANSWERS: Duration = Duration::from_secs(30);

/// How long a worker has to read a line that it is sent.
const READS: Duration = Duration::from_secs(5);

/// `send`: one line to the standard input of a worker.
pub(super) async fn send(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let [word, text] = words else { return Err(failed("send takes an id and a line")) };
    let processes = Processes::ask(&context.cli).await?;
    type_in(&processes, word, &format!("{text}\n")).await?;
    context.say("Done");
    Ok(())
}

/// Writes text into the standard input of each worker that a word means.
pub(super) async fn type_in(processes: &Processes, word: &str, text: &str) -> Result<(), Failure> {
    for process in processes.chosen(word)? {
        let written = attach::type_in(&processes.client, &process.app.app, process.slot.row.slot, text);
        tokio::time::timeout(READS, written)
            .await
            .map_err(|_| failed(&format!("{} does not read its standard input: it is full", process.name())))??;
    }
    Ok(())
}

/// `attach`
pub(super) async fn attach(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let (word, separator) = match words {
        [word] => (word, None),
        [word, separator] => (word, Some(separator)),
        _ => return Err(failed("attach takes an id, and what separates lines")),
    };
    let worker = match Processes::ask(&context.cli).await?.chosen(word)?.as_slice() {
        [process] => place(process),
        several => return Err(failed(&format!("{word} has {} processes: which id?", several.len()))),
    };
    let mut all = vec!["attach", &worker];
    all.extend(separator.map(String::as_str));
    context.verb(&all).await
}

/// `trigger`: each answer is a line, as with PM2.
pub(super) async fn trigger(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let (word, action, param) = match words {
        [word, action] => (word, action, None),
        [word, action, param] => (word, action, Some(Value::from(param.as_str()))),
        _ => return Err(failed("trigger takes a process, an action and its parameter")),
    };
    let processes = Processes::ask(&context.cli).await?;
    let call = Call { action, param, timeout: ANSWERS };
    let begun = |count: usize| context.say(&format!("{count} processes have received command {action}"));
    have_done(&processes, word, call, begun, |process, _, value| line(&answer(process, &value))).await
}

/// What an action answers is given to `heard` as it comes, with when that was.
pub(super) async fn act_by_name(
    processes: &Processes,
    (word, action, param): (&str, &str, Option<Value>),
    heard: impl FnMut(&Process, u64, Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    have_done(processes, word, Call { action, param, timeout: ANSWERS }, |_| (), heard).await
}

/// Has the workers that a word means do what their programs registered.
async fn have_done(
    processes: &Processes,
    word: &str,
    call: Call<'_>,
    begun: impl FnOnce(usize),
    mut heard: impl FnMut(&Process, u64, Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let chosen = processes.chosen(word)?;
    let (mut all, mut nobody) = (Vec::new(), None);
    for process in &chosen {
        match called(&processes.client, (&process.app.app, Some(process.slot.row.slot)), call.action).await {
            Ok(found) => all.extend(found),
            Err(why) => nobody = Some(why),
        }
    }
    if let (true, Some(why)) = (all.is_empty(), nobody) {
        return Err(why);
    }
    begun(all.len());
    let of = |message: &musher_api::WorkerMessage| {
        chosen.iter().find(|process| (process.app.id, process.slot.row.slot) == (message.app_id, message.slot))
    };
    ask(&processes.client, &call, &all, |message, value: Value| {
        of(message).map_or(Ok(()), |process| heard(process, message.time_ms, value))
    })
    .await?
}

/// `[web:0:default]={"done":true}`
fn answer(process: &Process, value: &Value) -> String {
    let (name, namespace) = (process.name(), &process.app.spec.namespace);
    sanitize(&format!("[{name}:{}:{namespace}]={value}", process.id))
}

/// A worker as `musher` names it.
fn place(process: &Process) -> String {
    format!("{}/{}", process.app.app, process.slot.row.slot)
}
