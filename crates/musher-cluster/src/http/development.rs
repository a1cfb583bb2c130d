//! Development: files are watched, the program is made anew, and its worker replaced.
//!
//! A change of the sources runs the build; a change of the program, or of any other watched file, replaces the worker. What
//! does not build or does not become ready leaves the old worker serving.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use musher_process::{ExitStatus, Spawn, lookup};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::team::Team;

/// Editors and compilers write in several steps: how long nothing may change before anything is done.
const SETTLED: Duration = Duration::from_millis(100);

/// What is watched.
pub(super) struct Watching {
    changes: Arc<Changes>,
    build: Option<Vec<OsString>>,
    _watcher: RecommendedWatcher,
}

#[derive(Default)]
struct Changes {
    sources: Notify,
    program: Notify,
}

impl Watching {
    /// Watches the program, `others`, and the sources if it is known how they are built.
    pub(super) fn begin(exec: &Path, others: &[PathBuf], build: Option<Vec<OsString>>) -> io::Result<Watching> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|package| package.is_dir());
        let build = build.or_else(|| package.as_ref().and_then(|package| cargo_build(exec, package)));
        let sources: Vec<PathBuf> = match (&build, package) {
            (Some(_), Some(package)) => [package.join("src"), package.join("Cargo.toml")].into(),
            _ => Vec::new(),
        };
        let changes = Arc::new(Changes::default());
        let told = Arc::clone(&changes);
        let (program, of) = (exec.to_owned(), sources.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) => told.saw(&event, &program, &of),
            Err(error) => tracing::warn!(%error, "changes of files may be missed"),
        })
        .map_err(io::Error::other)?;
        let directory = exec.parent().unwrap_or(exec);
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
        for path in sources.iter().chain(others).filter(|path| path.exists()) {
            watcher.watch(path, RecursiveMode::Recursive).map_err(io::Error::other)?;
        }
        Ok(Watching { changes, build, _watcher: watcher })
    }

    /// Acts on changes for ever; what comes back is why it cannot go on.
    pub(super) async fn follow(self, team: &Team) -> io::Error {
        loop {
            tokio::select! {
                () = self.changes.sources.notified() => {
                    settle(&self.changes.sources).await;
                    if let Err(error) = self.make().await {
                        tracing::error!(%error, "the program is not made anew; the old one serves on");
                    }
                }
                () = self.changes.program.notified() => {
                    settle(&self.changes.program).await;
                    match team.reload(None).await {
                        Ok(()) => tracing::info!("the worker is replaced"),
                        Err(error) => tracing::error!(%error, "the worker is not replaced; the old one serves on"),
                    }
                }
            }
        }
    }

    async fn make(&self) -> io::Result<()> {
        let Some((program, args)) = self.build.as_deref().and_then(<[OsString]>::split_first) else { return Ok(()) };
        tracing::info!(program = %program.display(), "the sources have changed");
        let cwd = std::env::current_dir()?;
        let path = std::env::var_os("PATH");
        let found = lookup::find_in_path(program, path.as_deref(), &cwd);
        let child = Spawn {
            args: [program.clone()].into_iter().chain(args.iter().cloned()).collect(),
            env: std::env::vars_os().collect(),
            cwd,
            fds: vec![(io::stdout().as_fd().try_clone_to_owned()?, 1), (io::stderr().as_fd().try_clone_to_owned()?, 2)],
            ..Spawn::new(found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error.to_string()))?)
        }
        .spawn()
        .map_err(|error| io::Error::other(error.to_string()))?;
        let status = crate::readiness::end_of(child.pidfd).await?;
        if status == ExitStatus::Code(0) {
            Ok(())
        } else {
            Err(io::Error::other(format!("the build ended with {status}")))
        }
    }
}

impl Changes {
    fn saw(&self, event: &Event, program: &Path, sources: &[PathBuf]) {
        if !matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)) {
            return;
        }
        for path in &event.paths {
            if sources.iter().any(|source| path.starts_with(source)) {
                self.sources.notify_one();
            } else if path == program || Some(path.parent().unwrap_or(path)) != program.parent() {
                // What lies beside the program is no concern of its worker.
                self.program.notify_one();
            }
        }
    }
}

/// Waits until nothing has changed for a while.
async fn settle(changes: &Notify) {
    while tokio::time::timeout(SETTLED, changes.notified()).await.is_ok() {}
}

/// How `cargo run` made this program.
fn cargo_build(exec: &Path, package: &Path) -> Option<Vec<OsString>> {
    let cargo = std::env::var_os("CARGO")?;
    let name = exec.file_name()?.to_owned();
    let profile = exec.parent()?.file_name()?.to_str()?;
    let profile = if profile == "debug" { "dev" } else { profile };
    let manifest = package.join("Cargo.toml").into_os_string();
    Some(vec![
        cargo,
        "build".into(),
        "--manifest-path".into(),
        manifest,
        "--profile".into(),
        profile.into(),
        "--bin".into(),
        name,
    ])
}
