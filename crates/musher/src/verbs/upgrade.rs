//! `musher upgrade`

use std::path::PathBuf;

use musher_api::UpgradeRequest;
use musher_api::client::request_id;

use super::operations::{follow, in_time, tell_failures};
use crate::args::{Cli, UpgradeArgs};
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::{note, units};
use crate::session;

/// Lets the daemon become another executable, and waits until it has.
pub(crate) async fn run(cli: &Cli, args: &UpgradeArgs) -> Result<(), Failure> {
    let path = executable(args)?;
    let client = session::client(cli)?;
    let request = UpgradeRequest { request_id: request_id(), path: path.clone() };
    let response = client.upgrade(&request).await?;
    let Some(operation) = response.operation else {
        note(&format!("the daemon is {path} already (version {}); nothing to do", response.from));
        return Ok(());
    };
    let ended = follow(&client, &[operation], &args.wait).await?;
    tell_failures(&ended)?;
    let status = client.status().await?;
    let workers = units::count(status.workers, "worker");
    let (from, to) = (&response.from, &status.version);
    let versions = if from == to { format!("version {to}") } else { format!("version {from} to {to}") };
    note(&format!("upgraded supervisor and keeper, {versions}; {workers} untouched{}", in_time(ended.took)));
    Ok(())
}

/// The absolute path of the executable.
fn executable(args: &UpgradeArgs) -> Result<String, Failure> {
    let path = match &args.path {
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe(),
    };
    let path: PathBuf = path.map_err(|error| Failure::environment(format!("cannot tell which executable: {error}")))?;
    if args.path.is_none() && !path.exists() {
        return Err(Failure::environment(format!("{}: the executable of this command is gone", path.display()))
            .with_hint("give the path of the new one: `musher upgrade PATH`"));
    }
    path.into_os_string()
        .into_string()
        .map_err(|path| Failure::new(exit_codes::USAGE, format!("{}: the path has to be valid UTF-8", path.display())))
}
