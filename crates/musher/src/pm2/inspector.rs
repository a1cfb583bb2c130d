//! `inspect`: opens the inspector of workers, to which Chrome's chrome://inspect and editors connect.
//!
//! Node opens it at SIGUSR1 and says on standard error where it listens. The signal ends any program that is not Node, so it
//! is sent to Node only.

use std::time::Duration;

use musher_api::client::request_id;
use musher_api::{Action, ActionRequest, LogQuery, LogStream, SlotStatus};
use musher_core::spec::Runtime;
use tokio::time::{Instant, timeout_at};

use super::processes::{Processes, line};
use super::view::Process;
use super::{Context, failed};
use crate::failure::Failure;
use crate::output::sanitize;

/// What Node says.
const SAID: &str = "Debugger listening on|Starting inspector on";
/// How long it may take to say it: its loop may be busy.
const PATIENCE: Duration = Duration::from_secs(15);
/// The number of the signal on Linux.
const SIGUSR1: i32 = 10;

/// `inspect NAME`
pub(super) async fn open(context: &Context<'_>, words: &[String]) -> Result<(), Failure> {
    let [word] = words else { return Err(failed("which process? pm2 inspect NAME")) };
    let processes = Processes::ask(&context.cli).await?;
    for process in processes.chosen(word)? {
        let place = open_one(&processes, process).await?;
        line(&format!("[{}:{}] {}", sanitize(process.name()), process.id, sanitize(&place)))?;
    }
    context.say(
        "open chrome://inspect in Chrome, or attach an editor; whoever reaches it can do anything in that process",
    );
    Ok(())
}

/// Opens one; what Node says of it.
async fn open_one(processes: &Processes, process: &Process) -> Result<String, Failure> {
    let (app, slot) = (process.app_name(), process.slot.row.slot);
    let is_node = process.app.spec.exec.runtime != Runtime::Plain && process.node_version.is_some();
    if !is_node || process.arguments().0.iter().any(|word| word == "--disable-sigusr1") {
        return Err(failed(&format!("{app} has no inspector that can be opened: it is not Node")));
    }
    // One that is about to start has no handler of the signal yet, and would be ended by it.
    if process.slot.row.status != SlotStatus::Online {
        return Err(failed(&format!("{} is not online", process.id)));
    }
    let deadline = Instant::now() + PATIENCE;
    let query = LogQuery {
        target: Some(app.to_owned()),
        lines: Some(0),
        follow: true,
        stream: Some(LogStream::Err),
        pattern: Some(SAID.to_owned()),
        ..LogQuery::default()
    };
    let mut said = processes.client.logs(&query).await?;
    let action = Action::Signal { signal: SIGUSR1, slot: Some(slot) };
    let request = ActionRequest { request_id: request_id(), action, targets: vec![app.to_owned()] };
    processes.client.act(&request).await?;
    while let Ok(next) = timeout_at(deadline, said.next()).await {
        let Some(next) = next? else { break };
        if next.slot != slot {
            continue;
        }
        return match next.line.split_once("Debugger listening on ") {
            Some((_, place)) => Ok(place.trim().to_owned()),
            None => Err(failed(&sanitize(&next.line)).with_hint(
                "another worker has the port: `pm2 restart NAME --node-args --inspect-port=0` takes a free one",
            )),
        };
    }
    Err(failed(&format!("{app} did not say within {} s where its inspector listens", PATIENCE.as_secs()))
        .with_hint("it is open already, its standard error goes nowhere, or the program has its own use for SIGUSR1"))
}
