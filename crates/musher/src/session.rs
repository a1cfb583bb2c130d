//! How a command finds its supervisor.

use std::path::PathBuf;
use std::time::Duration;

use musher_api::client::{Client, ClientError};
use musher_supervisor::home::Home;

use crate::args::Cli;
use crate::failure::Failure;

/// How long a daemon that is just starting or ending is waited for.
const DAEMON_PATIENCE: Duration = Duration::from_secs(10);

/// Where the home is. Nothing is looked at or made.
pub(crate) fn home_path(cli: &Cli) -> Result<PathBuf, Failure> {
    let asked = cli.home.clone().map(Into::into).or_else(|| std::env::var_os("MUSHER_HOME"));
    Ok(Home::resolve(asked, std::env::var_os("HOME"))?)
}

/// A client of the supervisor that may or may not run.
pub(crate) fn client(cli: &Cli) -> Result<Client, Failure> {
    Ok(Client::new(home_path(cli)?.join("control.sock")))
}

/// A client of a supervisor that runs, because this starts it if need be. True: it did.
pub(crate) fn started(cli: &Cli) -> Result<(Client, bool), Failure> {
    let home = Home::open(&home_path(cli)?)?;
    let exe = std::env::current_exe()
        .map_err(|error| Failure::environment(format!("cannot tell where the executable of musher is: {error}")))?;
    let (_, started) = home.connect_or_start(&exe, DAEMON_PATIENCE)?;
    Ok((Client::new(home.control_socket()), started))
}

/// What a call gave; none when no supervisor runs.
pub(crate) fn unless_absent<T>(result: Result<T, ClientError>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
