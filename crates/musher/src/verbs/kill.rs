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
    let client = session::client(cli)?;
    let asked = client.shutdown(&ShutdownRequest { request_id: request_id(), keeps_list: false }).await;
    let Some(begun) = session::unless_absent(asked)? else {
        note("no supervisor is running; nothing to do");
        return Ok(());
    };
    let home = Home::open(&session::home_path(cli)?)?;
    let deadline = args.wait.deadline().map(Instant::from_std);
    let mut progress = Progress::new();
    let mut pause = Duration::from_millis(5);
    // The lock is the proof of a daemon, and a lock tells nobody that it was let go: it has to be looked at.
    while home.daemon_lives()? {
        progress.tick(|| format!("stopping {}", begun.apps.join(", ")));
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            progress.finish();
            return Err(Failure::new(exit_codes::TIMEOUT, "the daemon has not ended in time")
                .with_hint("it goes on stopping its apps; `musher list` shows what is left"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    let took = in_time(progress.finish());
    note(&format!("stopped {} and ended the daemon{took}", units::count(begun.apps.len() as u64, "app")));
    Ok(())
}
