//! How a command finds its supervisor.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use musher_api::client::{Client, ClientError};
use musher_supervisor::home::{Home, LeftBehind};

use crate::args::{Cli, WaitArgs};
use crate::failure::Failure;
use crate::output::{note, units};

/// How long a daemon that is just starting or ending is waited for.
const DAEMON_PATIENCE: Duration = Duration::from_secs(10);
/// How long a daemon may hold its lock without its socket.
const MOMENT: Duration = Duration::from_secs(2);
/// A daemon that lives answers sooner, or is slow.
const SLOW: Duration = Duration::from_millis(300);

/// Where the home is. Nothing is looked at or made.
pub(crate) fn home_path(cli: &Cli) -> Result<PathBuf, Failure> {
    let asked = cli.home.clone().map(Into::into).or_else(|| std::env::var_os("MUSHER_HOME"));
    Ok(Home::resolve(asked, std::env::var_os("HOME"))?)
}

/// A client of the supervisor that may or may not run. One that died together with its keeper, or with the machine, is
/// started again: its apps are on the disk.
pub(crate) fn client(cli: &Cli) -> Result<Client, Failure> {
    let path = home_path(cli)?;
    let client = Client::new(path.join("control.sock"));
    // Nothing is made and nothing is refused where there is no list.
    if !path.join("team.list").exists() {
        return Ok(client);
    }
    let home = Home::open(&path)?;
    match settled(&home)? {
        LeftBehind::Team { apps } => {
            home.connect_or_start(&own_executable()?, patience(cli))?;
            let apps = units::count(apps as u64, "app");
            note(&format!("the daemon had died; it was started again with its {apps} (see musher.log in the home)"));
        }
        LeftBehind::Stopped { apps } => {
            let apps = units::count(apps as u64, "app");
            note(&format!("no daemon runs; {apps} ran when it ended: `musher resurrect` brings them back"));
        }
        LeftBehind::Unreadable => tell_unreadable(&home),
        LeftBehind::DaemonLives | LeftBehind::Nothing => {}
    }
    Ok(client)
}

/// How long to wait for a daemon: no longer than the command may take.
fn patience(cli: &Cli) -> Duration {
    let deadline = cli.verb.wait().and_then(WaitArgs::deadline);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    left.unwrap_or(DAEMON_PATIENCE).min(DAEMON_PATIENCE)
}

/// What there is. A daemon that was just killed may hold its lock for a moment more, until its last thread is gone, and
/// one that is just starting has no socket yet: neither tells when that is over.
fn settled(home: &Home) -> Result<LeftBehind, Failure> {
    let deadline = Instant::now() + MOMENT;
    loop {
        let found = home.left_behind()?;
        let lives = || Ok::<bool, Failure>(home.connect()?.is_some_and(is_answered));
        if found != LeftBehind::DaemonLives || Instant::now() >= deadline || lives()? {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether somebody is behind the connection. One that was killed resets it when its last thread is gone; one that is
/// slow, or just being replaced, lives.
fn is_answered(mut stream: UnixStream) -> bool {
    let asked = stream
        .set_read_timeout(Some(SLOW))
        .and_then(|()| stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: musher\r\nConnection: close\r\n\r\n"))
        .and_then(|()| stream.read(&mut [0]));
    match asked {
        Ok(count) => count > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// This executable, which the daemon and apps of musher's own are made of.
pub(crate) fn own_executable() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::environment(format!("cannot tell where the executable of musher is: {error}")))
}

fn tell_unreadable(home: &Home) {
    note(&format!(
        "{} cannot be read: the next daemon puts it aside and begins without apps; see musher.log beside it",
        home.team_list().display()
    ));
}

/// A client of a supervisor that runs, because this starts it if need be. True: it did.
pub(crate) fn started(cli: &Cli) -> Result<(Client, bool), Failure> {
    let home = Home::open(&home_path(cli)?)?;
    let left = settled(&home)?;
    let (_, started) = home.connect_or_start(&own_executable()?, patience(cli))?;
    match left {
        LeftBehind::Team { apps } | LeftBehind::Stopped { apps } => {
            note(&format!("the daemon begins with the {} that it had", units::count(apps as u64, "app")));
        }
        LeftBehind::Unreadable => tell_unreadable(&home),
        LeftBehind::DaemonLives | LeftBehind::Nothing => {}
    }
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
