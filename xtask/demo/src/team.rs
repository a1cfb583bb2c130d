//! The team that is shown: a home of its own, the executable, and what it says of itself.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use musher_bench::load::{Load, Plan, Shape};
use musher_bench::wait;
use serde_json::Value;

/// How long any step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Which program the team runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `examples/team`: unmodified Node, and Python.
    Node,
    /// `examples/team-rust`: socket activation.
    Rust,
}

/// A running team.
#[derive(Debug)]
pub(crate) struct Team {
    pub(crate) executable: PathBuf,
    pub(crate) port: u16,
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
    /// Every process of the daemon and the team ever seen, for cleaning up after a failure.
    seen: Vec<u32>,
}

/// What `musher status` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    pub(crate) supervisor: u32,
    pub(crate) keeper: u32,
}

impl Team {
    pub(crate) fn start(kind: Kind) -> anyhow::Result<Team> {
        let executable = std::env::current_exe()?.with_file_name("musher");
        // A unix socket's path is short: not below a deep TMPDIR.
        let directory = tempfile::Builder::new().prefix("musher-demo-").tempdir_in("/tmp")?;
        let path = directory.path().to_path_buf();
        std::fs::create_dir(path.join("journal"))?;
        let port = free_port()?;
        let mut team = Team { executable, port, directory: Some(directory), path, seen: Vec::new() };
        let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        match kind {
            Kind::Node => team.start_node(workers)?,
            Kind::Rust => {
                let server = team.executable.with_file_name("team-rust");
                let address = format!("tcp://127.0.0.1:{port}");
                let instances = workers.to_string();
                let server = server.to_str().context("the path of the repository is not UTF-8")?;
                team.show(&[
                    "start", "--name", "web", "-i", &instances, "--listen", &address, "--ready", "notify", "--", server,
                ])?;
            }
        }
        team.list()?;
        team.look()?;
        Ok(team)
    }

    fn start_node(&self, workers: usize) -> anyhow::Result<()> {
        // `cargo xtask` calls this in the repository.
        let file = "examples/team/team.toml";
        let python = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join("python3").is_file());
        let words: &[&str] = if python { &["start", file] } else { &["start", file, "--only", "web"] };
        self.show(words)?;
        // "max" is one on a machine with one core, and one is no team.
        if self.workers()?.len() != workers {
            self.show(&["scale", "web", &workers.to_string()])?;
        }
        Ok(())
    }

    /// The home of this demonstration's daemon.
    pub(crate) fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(words).stdin(Stdio::null());
        command.env("MUSHER_HOME", self.home()).env("PORT", self.port.to_string()).env("JOURNAL", self.journal());
        command
    }

    /// Runs a command of musher for everybody to see.
    pub(crate) fn show(&self, words: &[&str]) -> anyhow::Result<()> {
        println!("   $ musher {}", words.join(" "));
        let output = self.command(words).output().with_context(|| self.executable.display().to_string())?;
        for text in [&output.stdout, &output.stderr] {
            for line in String::from_utf8_lossy(text).lines() {
                println!("   {line}");
            }
        }
        if !output.status.success() {
            bail!("musher {} failed: {}", words.join(" "), output.status);
        }
        Ok(())
    }

    pub(crate) fn list(&self) -> anyhow::Result<()> {
        self.show(&["list"])
    }

    /// Runs a command of musher and reads its JSON.
    fn ask(&self, words: &[&str]) -> anyhow::Result<Value> {
        let output = self.command(words).output()?;
        if !output.status.success() {
            bail!("musher {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The pids of the web workers that are online.
    pub(crate) fn workers(&self) -> anyhow::Result<Vec<u32>> {
        let rows = self.ask(&["list", "--json"])?;
        let rows = rows.as_array().context("musher list --json is no array")?;
        let online = rows.iter().filter(|row| row["app"] == "web" && row["status"] == "online");
        let mut pids: Vec<u32> = online.filter_map(|row| u32::try_from(row["pid"].as_u64()?).ok()).collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// Supervisor and keeper.
    pub(crate) fn daemon(&self) -> anyhow::Result<Daemon> {
        let status = self.ask(&["status", "--json"])?;
        let pid = |role: &str| {
            let pid = status[role]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            pid.with_context(|| format!("musher status --json has no pid of the {role}"))
        };
        Ok(Daemon { supervisor: pid("supervisor")?, keeper: pid("keeper")? })
    }

    /// Remembers who runs now.
    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        let Daemon { supervisor, keeper } = self.daemon()?;
        self.seen.extend(self.workers()?);
        self.seen.extend([keeper, supervisor]);
        Ok(())
    }

    /// Waits until what musher says satisfies `condition`.
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Team) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        // While a supervisor begins, commands may fail: that is waited for, too.
        wait::until(PATIENCE, || matches!(condition(self), Ok(true)).then_some(()))
            .ok_or_else(|| anyhow!("in vain for {PATIENCE:?}: {what}"))
    }

    /// How many of `count` requests on new connections each worker answers.
    pub(crate) fn who_answers(&self, count: u64) -> anyhow::Result<BTreeMap<u32, usize>> {
        let load = Load::start(Plan::new(self.port, Shape::Fresh { per_second: 400 }));
        if !load.wait_answered(count, PATIENCE) {
            bail!("the team does not answer on port {}", self.port);
        }
        let mut report = load.finish();
        report.samples.truncate(usize::try_from(count)?);
        Ok(report.by_worker())
    }

    /// Whether the worker `pid` accepted the connection from the client's port.
    pub(crate) fn accepted(&self, pid: u32, port: u16) -> bool {
        let journal = std::fs::read_to_string(self.journal().join(pid.to_string())).unwrap_or_default();
        journal.lines().any(|line| line == port.to_string())
    }

    /// Whether any worker did.
    pub(crate) fn accepted_by_any(&self, port: u16) -> bool {
        let journals = std::fs::read_dir(self.journal()).into_iter().flatten().flatten();
        let mut pids = journals.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.any(|pid| self.accepted(pid, port))
    }

    fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Ends the team and its daemon.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.look()?;
        self.show(&["kill"])?;
        self.seen.clear();
        Ok(())
    }

    /// Leaves the team running.
    pub(crate) fn keep(&mut self) {
        self.seen.clear();
        if let Some(directory) = self.directory.take() {
            let _ = directory.keep();
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        // After a failure: first as one should, then for certain.
        let _ = self.look();
        let _ = self.command(&["kill"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        for pid in &self.seen {
            // Only what is ours still: its environment or its arguments name this directory.
            let home = self.path.display().to_string();
            let names_home = |file: &str| {
                let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(home.len()).any(|window| window == home.as_bytes())
            };
            if names_home("environ") || names_home("cmdline") {
                let _ = kill(*pid);
            }
        }
    }
}

/// `kill -9`
pub(crate) fn kill(pid: u32) -> anyhow::Result<()> {
    // The shell's own: a machine need not have /bin/kill.
    let status = Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { bail!("there is no process {pid} to kill") }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
