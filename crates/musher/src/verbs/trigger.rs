//! `musher trigger`

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use musher_api::client::{Client, request_id};
use musher_api::{RunState, SendRequest, WorkerMessage};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::attach::app_and_slot;
use super::targets;
use crate::args::{Cli, TriggerArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize, units};
use crate::session;

/// A worker that knows an action.
pub(crate) struct Called {
    app: String,
    slot: u32,
    pid: u32,
    is_scoped: bool,
}

/// What is to be done, and how long its answers are waited for.
pub(crate) struct Call<'a> {
    pub(crate) action: &'a str,
    pub(crate) param: Option<Value>,
    pub(crate) timeout: Duration,
}

/// Has workers do what their programs registered by this name, and shows what they answer.
pub(crate) async fn trigger(cli: &Cli, args: &TriggerArgs) -> Result<(), Failure> {
    let client = session::client(cli)?;
    let (target, slot) = app_and_slot(&args.target);
    let called = called(&client, (target, slot), &args.action).await?;
    note(&format!("{} asked", units::count(called.len() as u64, "worker")));
    let mut shown = Shown { json: args.json, answers: Vec::new() };
    let call = Call { action: &args.action, param: args.param.as_deref().map(Value::from), timeout: args.timeout };
    let silent = ask(&client, &call, &called, |message, value| shown.take(message, value)).await?;
    shown.end()?;
    silent
}

/// Asks these workers. What they answer is given to `heard` as it comes; the inner result tells who did not answer in time.
pub(crate) async fn ask(
    client: &Client,
    call: &Call<'_>,
    called: &[Called],
    mut heard: impl FnMut(&WorkerMessage, Value) -> Result<(), Failure>,
) -> Result<Result<(), Failure>, Failure> {
    let deadline = Instant::now() + call.timeout;
    let mut answers = client.messages(None).await?;
    // From here on no answer is missed.
    answers.opened().await?;
    let id = request_id();
    let mut open: BTreeMap<(String, u32), &Called> = BTreeMap::new();
    for worker in called {
        let mut message = json!({ "msg": call.action, "action_name": call.action });
        if let Some(param) = &call.param {
            message["opts"] = param.clone();
        }
        if worker.is_scoped {
            message["uuid"] = id.as_str().into();
        }
        let target = worker.app.clone();
        client.send(&SendRequest { request_id: request_id(), target, slot: Some(worker.slot), message }).await?;
        open.insert((worker.app.clone(), worker.slot), worker);
    }
    while !open.is_empty() {
        let Ok(next) = timeout_at(deadline, answers.next()).await else { break };
        let Some(message) = next? else {
            let ended = Failure::new(exit_codes::UNREACHABLE, "the supervisor ended before every worker had answered");
            return Err(ended.with_hint("it may have been done: `musher logs` tells"));
        };
        if let Some(answer) = answer_of(&message, call.action, &id)
            && let Some(worker) = open.get(&(message.app.clone(), message.slot))
            && message.pid.is_none_or(|pid| pid == worker.pid)
        {
            if let Some(value) = answer.value {
                heard(&message, value)?;
            }
            if answer.is_last {
                open.remove(&(message.app.clone(), message.slot));
            }
        }
    }
    if open.is_empty() {
        return Ok(Ok(()));
    }
    let silent: Vec<String> = open.keys().map(|(app, slot)| format!("{}/{slot}", sanitize(app))).collect();
    let limit = units::precise(u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX));
    Ok(Err(Failure::new(exit_codes::TIMEOUT, format!("no answer within {limit} from {}", silent.join(", ")))
        .with_hint("an action that does not call back never answers; --timeout says how long to wait")))
}

/// The workers that know the action.
pub(crate) async fn called(
    client: &Client,
    (target, slot): (&str, Option<u32>),
    action: &str,
) -> Result<Vec<Called>, Failure> {
    let words = [target.to_owned()];
    let mut names = targets::expanded(client, &words).await?;
    if names.iter().any(|name| name == "all") {
        names = client.apps().await?.into_iter().map(|app| app.app).collect();
    }
    let (mut called, mut known) = (Vec::new(), Vec::new());
    for name in names {
        let detail = match client.app(&name, false).await {
            Ok(detail) => detail,
            Err(error) => return Err(targets::with_suggestion(client, error.into(), &words).await),
        };
        for of in detail.slots.iter().filter(|of| slot.is_none_or(|slot| of.row.slot == slot)) {
            let run = of.runs.iter().rev().find(|run| matches!(run.state, RunState::Online | RunState::Starting));
            let Some(run) = run else { continue };
            known.extend(run.custom_actions.iter().map(|action| action.name.clone()));
            if let Some(known) = run.custom_actions.iter().find(|known| known.name == action) {
                let is_scoped = known.kind.as_deref() == Some("scoped");
                called.push(Called { app: detail.app.clone(), slot: of.row.slot, pid: run.pid, is_scoped });
            }
        }
    }
    if !called.is_empty() {
        return Ok(called);
    }
    known.sort_unstable();
    known.dedup();
    let hint = match known.as_slice() {
        [] => "its program registers none: `io.action(name, callback)` of @pm2/io, or `tx2.action`; \
               `musher send` sends a message"
            .to_owned(),
        known => format!("there are: {}", sanitize(&known.join(", "))),
    };
    let message = format!("no worker of {} has an action {action:?}", sanitize(target));
    Err(Failure::new(exit_codes::FAILED, message).with_hint(hint))
}

struct Answer {
    value: Option<Value>,
    is_last: bool,
}

/// What a message answers, if it does.
fn answer_of(message: &WorkerMessage, action: &str, id: &str) -> Option<Answer> {
    let (kind, data) = (message.message.get("type")?.as_str()?, message.message.get("data")?);
    if data.get("action_name").and_then(Value::as_str) != Some(action) {
        return None;
    }
    let part = kind.strip_prefix("axm:scoped_action:");
    if part.is_some() && data.get("uuid").and_then(Value::as_str) != Some(id) {
        return None;
    }
    match part {
        None if kind == "axm:reply" => Some(Answer { value: data.get("return").cloned(), is_last: true }),
        Some("stream") => Some(Answer { value: data.get("data").cloned(), is_last: false }),
        Some("end" | "error") => Some(Answer { value: data.get("data").cloned(), is_last: true }),
        None | Some(_) => None,
    }
}

/// What was answered.
struct Shown {
    json: bool,
    answers: Vec<Value>,
}

impl Shown {
    fn take(&mut self, message: &WorkerMessage, value: Value) -> Result<(), Failure> {
        if self.json {
            let (app, slot, pid) = (&message.app, message.slot, message.pid);
            self.answers.push(json!({ "app": app, "slot": slot, "pid": pid, "return": value }));
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}/{}: {}", sanitize(&message.app), message.slot, sanitize(&value.to_string()))?;
        Ok(out.flush()?)
    }

    fn end(&self) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string_pretty(&self.answers).map_err(std::io::Error::from)?;
            writeln!(std::io::stdout(), "{text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use musher_api::WorkerMessage;
    use serde_json::{Value, json};

    use super::answer_of;

    fn message(message: Value) -> WorkerMessage {
        let (app, pid) = ("web".to_owned(), Some(7));
        WorkerMessage { seq: 1, time_ms: 0, app, app_id: 1, slot: 0, run: 1, pid, message, lost: 0 }
    }

    #[test]
    fn an_answer_is_of_the_action_that_was_called() {
        let reply =
            |name: &str| message(json!({"type": "axm:reply", "data": {"action_name": name, "return": {"a": 1}}}));
        let answer = answer_of(&reply("clean"), "clean", "1").unwrap();
        assert_eq!((answer.value, answer.is_last), (Some(json!({"a": 1})), true));
        assert!(answer_of(&reply("other"), "clean", "1").is_none());
        assert!(answer_of(&message(json!({"type": "process:msg", "data": {}})), "clean", "1").is_none());
        assert!(answer_of(&message(json!("clean")), "clean", "1").is_none());
    }

    #[test]
    fn a_scoped_action_answers_until_its_end_and_only_whoever_asked() {
        let part = |kind: &str, id: &str| {
            let data = json!({"action_name": "clean", "uuid": id, "data": 5});
            message(json!({"type": format!("axm:scoped_action:{kind}"), "data": data}))
        };
        assert!(!answer_of(&part("stream", "1"), "clean", "1").unwrap().is_last);
        assert!(answer_of(&part("end", "1"), "clean", "1").unwrap().is_last);
        assert!(answer_of(&part("stream", "2"), "clean", "1").is_none());
    }
}
