//! `musher save`, `musher resurrect`

use musher_api::client::request_id;
use musher_api::{PlanAction, ResurrectRequest, SaveRequest};

use super::operations::{Online, follow, in_time, tell_failures};
use crate::args::{Cli, ResurrectArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, sanitize, units};
use crate::session;

/// Keeps the list of apps as it is now.
pub(crate) async fn save(cli: &Cli) -> Result<(), Failure> {
    let saved = session::client(cli)?.save(&SaveRequest { request_id: request_id() }).await?;
    note(&format!("saved {} in {}", units::count(saved.apps, "app"), sanitize(&saved.path)));
    Ok(())
}

/// Starts what was saved and does not run. Starts the daemon if need be.
pub(crate) async fn resurrect(cli: &Cli, args: &ResurrectArgs) -> Result<(), Failure> {
    let (client, started) = session::started(cli)?;
    let response = match client.resurrect(&ResurrectRequest { request_id: request_id() }).await {
        Ok(response) => response,
        Err(error) => {
            let failure = Failure::from(error);
            // The daemon brought back by itself what it had: that is what was wanted.
            if failure.code() == exit_codes::NO_SUCH_APP && started && !client.apps().await?.is_empty() {
                return Ok(());
            }
            return Err(failure);
        }
    };
    let ended = follow(&client, &response.operations, &args.wait).await?;
    let online = Online::ask(&client).await;
    for step in &response.plan {
        let app = sanitize(&step.app);
        let failed = ended.operations.iter().any(|operation| operation.app == step.app && !operation.ok);
        match step.action {
            PlanAction::None => note(&format!("{app}: is there already, {}", online.of(&step.app))),
            _ if failed => {}
            _ => note(&format!("{app}: started, {}{}", online.of(&step.app), in_time(ended.took))),
        }
    }
    tell_failures(&ended)
}
