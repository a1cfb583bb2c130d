//! `musher run`: a team in the foreground, for containers and terminals.
//!
//! This process reads what is to be run, binds the port of the health checks, and then becomes the keeper: it keeps its
//! process id (1 in a container), so that nothing that can be killed stands above the team.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use musher_core::order;
use musher_core::spec::{AppSpec, LogFormat};
use musher_supervisor::foreground::Foreground;
use musher_supervisor::home::Home;
use musher_supervisor::metrics::serve_from_the_beginning;

use super::start::{self, Wanted};
use crate::args::{Cli, RunArgs};
use crate::config::Surroundings;
use crate::exit_codes;
use crate::failure::Failure;

/// Where workers' output goes.
pub(super) const STDOUT: &str = "/dev/stdout";
pub(super) const STDERR: &str = "/dev/stderr";

/// Becomes the team. Returns only if that fails.
pub(crate) async fn run(cli: &Cli, args: &RunArgs) -> Result<(), Failure> {
    let start = &args.start;
    if start.dry_run || start.force || start.wait.timeout.is_some() {
        return Err(Failure::new(exit_codes::USAGE, "--dry-run, --force and --timeout are for `musher start`"));
    }
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let specs = match start::wanted_anew(start, &around)? {
        Wanted::Known(_) => Vec::new(),
        wanted => start::specs_of(wanted, start, &around)?,
    };
    check_order(&specs)?;
    let manner = Manner {
        json: args.json,
        health: args.health,
        metrics: args.metrics.clone(),
        ready_file: args.ready_file.clone(),
        grace: args.shutdown_grace,
        linger: args.linger.unwrap_or_default(),
    };
    become_team(cli, specs, manner)
}

/// What a team in the foreground does besides.
#[derive(Debug)]
pub(crate) struct Manner {
    /// Lines of output are JSON.
    pub(crate) json: bool,
    /// Answers health checks here.
    pub(crate) health: Option<SocketAddr>,
    /// Serves metrics here.
    pub(crate) metrics: Option<String>,
    /// A file that exists once all are ready.
    pub(crate) ready_file: Option<PathBuf>,
    /// How long workers may take to end.
    pub(crate) grace: Duration,
    /// How long they serve on after they were told to end.
    pub(crate) linger: Duration,
}

/// Becomes the team. Returns only if that fails.
pub(crate) fn become_team(cli: &Cli, mut specs: Vec<AppSpec>, manner: Manner) -> Result<(), Failure> {
    let several = specs.len() > 1;
    specs.iter_mut().for_each(|spec| to_our_streams(spec, several, manner.json));
    let health = manner.health.map(listen).transpose()?;
    let asked = cli.home.clone().or_else(|| std::env::var_os("MUSHER_HOME").map(PathBuf::from));
    let (home, throw_away) = home(asked.as_deref())?;
    let foreground = Foreground {
        specs,
        ready_file: manner.ready_file.as_deref().map(absolute).transpose()?,
        grace: manner.grace,
        linger: manner.linger,
        throw_away,
        stays: false,
    };
    if let Some(file) = &foreground.ready_file {
        // One of a container's earlier life would be believed.
        let _ = std::fs::remove_file(file);
    }
    // A daemon that runs here already keeps what it has: who becomes its keeper is refused.
    let metrics = manner.metrics.as_deref().filter(|_| !home.daemon_lives().unwrap_or(false));
    let metrics = metrics.map(|address| serve_from_the_beginning(home.root(), address)).transpose()?;
    Err(foreground.become_keeper(&home, health, metrics).into())
}

/// Output goes to our own streams, where the file says nothing else.
fn to_our_streams(spec: &mut AppSpec, several: bool, json: bool) {
    spec.logs.out.get_or_insert_with(|| STDOUT.into());
    spec.logs.err.get_or_insert_with(|| STDERR.into());
    if json {
        spec.logs.format = LogFormat::Json;
    } else if several && spec.logs.format == LogFormat::Raw {
        spec.logs.format = LogFormat::Named;
    }
}

/// Whether the apps have each other, as they need.
pub(super) fn check_order(specs: &[AppSpec]) -> Result<(), Failure> {
    let needs = order::needs(specs);
    let spec = |name: &str| specs.iter().find(|spec| spec.name == name);
    order::check(&needs)
        .and_then(|()| order::check_ends(&needs, spec))
        .map_err(|fault| Failure::new(exit_codes::BAD_SPEC, format!("depends_on: {fault}")))
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        Failure::environment(format!("cannot listen on {address} for health checks: {error}"))
            .with_hint("`ss -ltnp` tells which program has that port")
    })
}

/// The home that was asked for; else one of this process's own, and true.
pub(super) fn home(asked: Option<&Path>) -> Result<(Home, bool), Failure> {
    if let Some(asked) = asked.filter(|home| !home.as_os_str().is_empty()) {
        return Ok((Home::open(&absolute(asked)?)?, false));
    }
    let name = format!("musher-run-{}", std::process::id());
    let mut refused = None;
    for place in [std::env::temp_dir(), "/dev/shm".into(), "/run".into()] {
        match Home::open(&place.join(&name)) {
            Ok(home) => return Ok((home, true)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.map_or_else(|| Failure::environment("there is no place for a home"), Failure::from))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::environment(format!("{}: {error}", path.display())))
}
