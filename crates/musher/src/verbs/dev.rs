//! `musher dev`: apps while they are being written. In the foreground, watched, with a home of their own that is thrown away.

use musher_core::spec::{AppSpec, LogFormat, OnChange, WatchFiles};
use musher_supervisor::foreground::Foreground;

use super::run::{self, STDERR, STDOUT};
use super::start::{self, Wanted};
use crate::args::{Cli, DevArgs};
use crate::config::Surroundings;
use crate::exit_codes;
use crate::failure::Failure;

/// The wait before a program that fails is tried again, when nothing changes.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Becomes the team. Returns only if that fails.
pub(crate) async fn run(cli: &Cli, args: &DevArgs) -> Result<(), Failure> {
    let start = &args.start;
    if start.dry_run || start.force || start.wait.timeout.is_some() {
        return Err(Failure::new(exit_codes::USAGE, "--dry-run, --force and --timeout are for `musher start`"));
    }
    let around = Surroundings::current()
        .map_err(|error| Failure::environment(format!("the working directory cannot be used: {error}")))?;
    let mut specs = match start::wanted_anew(start, &around)? {
        Wanted::Known(_) => Vec::new(),
        wanted => start::specs_of(wanted, start, &around)?,
    };
    run::check_order(&specs)?;
    specs.iter_mut().for_each(|spec| develop(spec, args));
    let (home, throw_away) = run::home(cli.home.as_deref())?;
    let foreground = Foreground {
        specs,
        ready_file: None,
        grace: std::time::Duration::from_secs(5),
        linger: std::time::Duration::ZERO,
        throw_away,
        stays: !args.auto_exit,
    };
    Err(foreground.become_keeper(&home, None, None).into())
}

/// One worker, watched, that writes to our streams.
fn develop(spec: &mut AppSpec, args: &DevArgs) {
    if args.start.instances.is_none() {
        spec.instances = 1;
        spec.scale = None;
    }
    let cwd = spec.cwd.clone();
    let rolls = spec.shares_its_port();
    let watch = spec.watch.get_or_insert_with(|| WatchFiles {
        // Two of a program that opens its port by itself would be in each other's way.
        on_change: if rolls { OnChange::Reload } else { OnChange::Restart },
        ..WatchFiles::of(vec![cwd])
    });
    watch.ignore.extend(args.ignore.iter().cloned());
    spec.restart.backoff.initial = spec.restart.backoff.initial.max(PAUSE);
    spec.restart.backoff.max = spec.restart.backoff.max.max(PAUSE);
    spec.logs.out.get_or_insert_with(|| STDOUT.into());
    spec.logs.err.get_or_insert_with(|| STDERR.into());
    spec.logs.format = match (args.raw, args.timestamp) {
        (true, _) => LogFormat::Raw,
        (false, true) => LogFormat::Timestamp,
        (false, false) => LogFormat::Named,
    };
    if let Some(command) = &args.post_exec {
        // This process is the keeper then, and has our streams; the hook's own go to the daemon's log.
        let streams = format!("/proc/{}/fd", std::process::id());
        let to = if args.silent_exec { ">/dev/null 2>&1".into() } else { format!(">>{streams}/1 2>>{streams}/2") };
        let line = vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("{{ {command}\n}} {to}")];
        spec.hooks.post_start = Some(line.clone());
        spec.hooks.post_reload = Some(line);
    }
}
