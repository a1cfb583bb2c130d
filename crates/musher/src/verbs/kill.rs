//! `musher kill`

use std::time::Duration;

use musher_api::ShutdownRequest;
use musher_api::client::request_id;
use musher_supervisor::home::Home;
use tokio::time::{Instant, sleep};

use super::operations::in_time;
use crate::args::{Cli, KillArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{Progress, note, units};
use crate::session;

/// The longest pause between two looks at the daemon's lock.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Stops everything and waits until the daemon is gone. That there is none is what was wanted.
pub(crate) async fn run(cli: &Cli, args: &KillArgs) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let deadline = args.wait.deadline().map(Instant::from_std);
    let ended = end(cli, deadline, |apps| progress.tick(|| format!("stopping {}", apps.join(", ")))).await;
    let took = in_time(progress.finish());
    match ended? {
        None => note("no supervisor is running; nothing to do"),
        Some(apps) => note(&format!("stopped {} and ended the daemon{took}", units::count(apps as u64, "app"))),
    }
    Ok(())
}

/// Stops everything; how many apps that were, or none if no daemon runs. `waiting` is called again and again meanwhile.
pub(crate) async fn end(
    cli: &Cli,
    deadline: Option<Instant>,
    mut waiting: impl FnMut(&[String]),
) -> Result<Option<usize>, Failure> {
    let client = session::client(cli)?;
    let asked = client.shutdown(&ShutdownRequest { request_id: request_id(), keeps_list: false }).await;
    let Some(begun) = session::unless_absent(asked)? else { return Ok(None) };
    let home = Home::open(&session::home_path(cli)?)?;
    let mut pause = Duration::from_millis(5);
    // The lock is the proof of a daemon, and a lock tells nobody that it was let go: it has to be looked at.
    while home.daemon_lives()? {
        waiting(&begun.apps);
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Failure::new(exit_codes::TIMEOUT, "the daemon has not ended in time")
                .with_hint("it goes on stopping its apps; `musher list` shows what is left"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(Some(begun.apps.len()))
}
