//! The two contenders, each in a home of its own: how a team is started, looked at and ended.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use musher_bench::{proc_fs, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::tools::Tools;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A variable by which everything that was started in an arena is found.
const MARK: &str = "BENCH_ARENA";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Musher,
    Pm2,
}

impl Contender {
    pub(crate) const ALL: [Contender; 2] = [Contender::Musher, Contender::Pm2];
}

/// A home of one contender. Dropping it ends everything in it.
pub(crate) struct Arena<'t> {
    pub(crate) contender: Contender,
    tools: &'t Tools,
    directory: TempDir,
}

/// A team of `hello.cjs`.
#[derive(Clone, Debug)]
pub(crate) struct Team {
    pub(crate) name: &'static str,
    pub(crate) instances: usize,
    pub(crate) port: u16,
    pub(crate) blocking: bool,
}

impl<'t> Arena<'t> {
    pub(crate) fn new(contender: Contender, tools: &'t Tools) -> Result<Arena<'t>> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in("/tmp")?;
        Ok(Arena { contender, tools, directory })
    }

    /// A command of the contender.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = match self.contender {
            Contender::Musher => Command::new(&self.tools.musher),
            Contender::Pm2 => {
                let mut command = Command::new(&self.tools.node);
                command.arg(&self.tools.pm2);
                command
            }
        };
        command
            .args(args)
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("MUSHER_HOME", self.home())
            .env("PM2_HOME", self.home())
            .env("PM2_DISABLE_VERSION_CHECK", "1")
            .env(MARK, self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        let mut command = self.command(args);
        let output = command.output().with_context(|| format!("{command:?}"))?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            bail!("{command:?} ended with {}:\n{}{}", output.status, text[0], text[1]);
        }
        Ok(output)
    }

    /// The command line that starts a team; the same for both contenders.
    pub(crate) fn start_words(&self, team: &Team) -> Vec<String> {
        let mut words = vec!["start".to_owned(), self.tools.hello.display().to_string()];
        words.extend(["-i".to_owned(), team.instances.to_string(), "--name".to_owned(), team.name.to_owned()]);
        words.extend(["--".to_owned(), team.port.to_string()]);
        if team.blocking {
            words.push("block".to_owned());
        }
        words
    }

    /// Starts a team and waits until all its workers are online.
    pub(crate) fn start(&self, team: &Team) -> Result<()> {
        self.run(self.start_words(team))?;
        self.wait_online(team)
    }

    /// Waits until all workers of a team are online.
    pub(crate) fn wait_online(&self, team: &Team) -> Result<()> {
        let mut last = Ok(Vec::new());
        let online = wait::until(PATIENCE, || {
            last = self.workers(team.name);
            last.as_ref().is_ok_and(|workers| workers.len() == team.instances).then_some(())
        });
        let (wanted, last) = (team.instances, last?.len());
        ensure!(online.is_some(), "{:?}: {last} of {wanted} workers online in {PATIENCE:?}", self.contender);
        Ok(())
    }

    fn list(&self) -> Result<Vec<Value>> {
        let words = match self.contender {
            Contender::Musher => vec!["list", "--json"],
            Contender::Pm2 => vec!["jlist"],
        };
        let output = self.run(words)?;
        let text = String::from_utf8_lossy(&output.stdout);
        // PM2 may greet before its JSON.
        let json = text.lines().find(|line| line.starts_with('[') && !line.starts_with("[PM2]")).unwrap_or(&text);
        let start = json.as_ptr().addr() - text.as_ptr().addr();
        serde_json::from_str(text[start..].trim_end()).with_context(|| text.clone().into_owned())
    }

    /// Pids of the workers that are online.
    pub(crate) fn workers(&self, name: &str) -> Result<Vec<u32>> {
        let pid = |row: &Value| row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let online = |row: &&Value| match self.contender {
            Contender::Musher => row["app"] == name && row["status"] == "online",
            Contender::Pm2 => row["name"] == name && row["pm2_env"]["status"] == "online",
        };
        Ok(self.list()?.iter().filter(online).filter_map(pid).collect())
    }

    /// Pids of the manager: all that is not a worker.
    pub(crate) fn managers(&self) -> Result<Vec<u32>> {
        match self.contender {
            Contender::Musher => {
                let output = self.run(["status", "--json"])?;
                let status: Value = serde_json::from_slice(&output.stdout)?;
                ["keeper", "supervisor"]
                    .iter()
                    .map(|role| {
                        let pid = status[role]["pid"].as_u64().with_context(|| format!("no pid of the {role}"))?;
                        Ok(u32::try_from(pid)?)
                    })
                    .collect()
            }
            Contender::Pm2 => {
                let text = fs::read_to_string(self.home().join("pm2.pid"))?;
                Ok(vec![text.trim().parse()?])
            }
        }
    }

    /// The process whose death is the manager's: the one that decides.
    pub(crate) fn decider(&self) -> Result<u32> {
        self.managers()?.last().copied().context("no manager runs")
    }

    pub(crate) fn manager_rss(&self) -> Result<f64> {
        let mut bytes = 0;
        for pid in self.managers()? {
            bytes += proc_fs::rss_bytes(pid).context("a manager is gone")?;
        }
        Ok(float(bytes))
    }

    pub(crate) fn manager_cpu(&self) -> Result<Duration> {
        let mut time = Duration::ZERO;
        for pid in self.managers()? {
            time += proc_fs::cpu_time(pid).context("a manager is gone")?;
        }
        Ok(time)
    }

    fn processes(&self) -> Vec<u32> {
        // The daemons keep their home, the workers what the command had.
        let home = self.home().display().to_string();
        let mark = format!("{MARK}={}", self.directory.path().display());
        proc_fs::with_variable(&[format!("MUSHER_HOME={home}"), format!("PM2_HOME={home}"), mark])
    }
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        if !self.processes().is_empty() {
            // Its failure shows below.
            let _ = self.run(["kill"]);
        }
        let _ = wait::until(Duration::from_secs(20), || {
            let left = self.processes();
            for pid in &left {
                let _ = proc_fs::kill9(*pid);
            }
            left.is_empty().then_some(())
        });
    }
}

/// A count as a measured value.
#[expect(clippy::cast_precision_loss, reason = "counts of bytes and requests, far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A TCP port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
