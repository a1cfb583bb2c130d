//! The contenders, each in a home of its own: how a team is started, looked at, replaced, scaled and ended.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use musher_bench::{proc_fs, wait};
use rustix::process::Signal;
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
    /// With an unmodified program, as musher.
    Pm2,
    /// As its documentation advises: a program that handles SIGINT, and time to do so.
    Pm2Tuned,
    /// Node's own primary, written as its documentation advises (`apps/primary.cjs`).
    Cluster,
    /// Its own master with two threaded workers.
    Gunicorn,
}

impl Contender {
    /// The two that are compared in everything.
    pub(crate) const BOTH: &[Contender] = &[Contender::Musher, Contender::Pm2];
    /// All whose workers can be replaced and killed.
    pub(crate) const ALL: &[Contender] =
        &[Contender::Musher, Contender::Pm2, Contender::Pm2Tuned, Contender::Cluster, Contender::Gunicorn];

    /// Whether it is a process that is told by signals, without a command.
    fn is_foreground(self) -> bool {
        matches!(self, Contender::Cluster | Contender::Gunicorn)
    }
}

/// A home of one contender. Dropping it ends everything in it.
pub(crate) struct Arena<'t> {
    pub(crate) contender: Contender,
    tools: &'t Tools,
    directory: TempDir,
    /// Of a contender in the foreground.
    primary: RefCell<Option<Child>>,
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
        Ok(Arena { contender, tools, directory, primary: RefCell::new(None) })
    }

    /// A command of the contender.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = match self.contender {
            Contender::Musher => Command::new(&self.tools.musher),
            Contender::Pm2 | Contender::Pm2Tuned => {
                let mut command = Command::new(&self.tools.node);
                command.arg(&self.tools.pm2);
                command
            }
            Contender::Cluster => Command::new(&self.tools.node),
            Contender::Gunicorn => Command::new(&self.tools.gunicorn),
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

    /// A directory of its own.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
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

    /// The command line that starts a team; the same for musher and PM2.
    pub(crate) fn start_words(&self, team: &Team) -> Vec<String> {
        match self.contender {
            Contender::Cluster => {
                let script = self.tools.hello.with_file_name("primary.cjs").display().to_string();
                return vec![script, team.instances.to_string(), team.port.to_string()];
            }
            Contender::Gunicorn => {
                let (apps, port, workers) = (self.tools.hello.with_file_name(""), team.port, team.instances);
                let words = format!(
                    "--chdir {} --bind 127.0.0.1:{port} --workers {workers} --worker-class gthread --threads 32 \
                     --keep-alive 30 hello:app",
                    apps.display()
                );
                return words.split_whitespace().map(str::to_owned).collect();
            }
            Contender::Musher | Contender::Pm2 | Contender::Pm2Tuned => {}
        }
        let mut words = vec!["start".to_owned(), self.tools.hello.display().to_string()];
        words.extend(["-i".to_owned(), team.instances.to_string(), "--name".to_owned(), team.name.to_owned()]);
        if self.contender == Contender::Pm2Tuned {
            words.extend(["--kill-timeout".to_owned(), "10000".to_owned()]);
        }
        words.extend(["--".to_owned(), team.port.to_string()]);
        if self.contender == Contender::Pm2Tuned {
            words.push("handles-sigint".to_owned());
        }
        if team.blocking {
            words.push("block".to_owned());
        }
        words
    }

    /// Starts a team and waits until all its workers are online.
    pub(crate) fn start(&self, team: &Team) -> Result<()> {
        if self.contender.is_foreground() {
            let mut command = self.command(self.start_words(team));
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            *self.primary.borrow_mut() = Some(child.with_context(|| format!("{command:?}"))?);
            // Its children may not listen yet.
            let serves = wait::until(PATIENCE, || proc_fs::listens(team.port).then_some(()));
            ensure!(serves.is_some(), "{:?} does not listen", self.contender);
        } else {
            self.run(self.start_words(team))?;
        }
        self.wait_online(team)
    }

    /// Replaces all workers; returns when all that are online are new.
    pub(crate) fn reload(&self, team: &Team) -> Result<()> {
        let before = self.workers(team.name)?;
        match self.contender {
            Contender::Musher | Contender::Pm2 | Contender::Pm2Tuned => drop(self.run(["reload", team.name])?),
            Contender::Cluster | Contender::Gunicorn => self.tell(Signal::HUP)?,
        }
        let replaced = wait::until(PATIENCE, || {
            let now = self.workers(team.name).ok()?;
            (now.len() == team.instances && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
        ensure!(replaced.is_some(), "{:?}: the workers were not replaced in {PATIENCE:?}", self.contender);
        Ok(())
    }

    /// Brings the team to so many workers.
    pub(crate) fn scale(&self, team: &mut Team, instances: usize) -> Result<()> {
        match self.contender {
            Contender::Musher | Contender::Pm2 | Contender::Pm2Tuned => {
                self.run(["scale", team.name, &instances.to_string()])?;
            }
            Contender::Cluster | Contender::Gunicorn => {
                for _ in team.instances..instances {
                    self.tell(Signal::TTIN)?;
                }
                for _ in instances..team.instances {
                    self.tell(Signal::TTOU)?;
                }
            }
        }
        team.instances = instances;
        self.wait_online(team)
    }

    fn tell(&self, signal: Signal) -> Result<()> {
        let primary = self.primary.borrow().as_ref().map(Child::id).context("no primary runs")?;
        // Two signals of a kind are one until the first is taken.
        let _: Option<()> = wait::until(Duration::from_millis(50), || None);
        Ok(proc_fs::signal(primary, signal)?)
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

    /// Rows of the list, in the contender's own form.
    pub(crate) fn list(&self) -> Result<Vec<Value>> {
        let words = match self.contender {
            Contender::Musher => vec!["list", "--json"],
            _ => vec!["jlist"],
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
        if self.contender.is_foreground() {
            let primary = self.primary.borrow().as_ref().map(Child::id).context("no primary runs")?;
            return Ok(proc_fs::children(primary).into_iter().filter(|pid| proc_fs::is_alive(*pid)).collect());
        }
        let pid = |row: &Value| row["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let online = |row: &&Value| match self.contender {
            Contender::Musher => row["app"] == name && row["status"] == "online",
            _ => row["name"] == name && row["pm2_env"]["status"] == "online",
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
            Contender::Pm2 | Contender::Pm2Tuned => {
                let text = fs::read_to_string(self.home().join("pm2.pid"))?;
                Ok(vec![text.trim().parse()?])
            }
            Contender::Cluster | Contender::Gunicorn => {
                Ok(vec![self.primary.borrow().as_ref().map(Child::id).context("no primary runs")?])
            }
        }
    }

    /// The process whose death is the manager's: the one that decides.
    pub(crate) fn decider(&self) -> Result<u32> {
        self.managers()?.last().copied().context("no manager runs")
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
        if !self.contender.is_foreground() && !self.processes().is_empty() {
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
        if let Some(mut primary) = self.primary.borrow_mut().take() {
            let _ = primary.wait();
        }
    }
}

/// Resident memory of managers, in bytes. Who asks for their pids wakes them: that comes before they rest.
pub(crate) fn rss_of(pids: &[u32]) -> Result<f64> {
    let sizes = pids.iter().map(|pid| proc_fs::rss_bytes(*pid).context("a process is gone"));
    Ok(float(sizes.sum::<Result<u64>>()?))
}

/// CPU time of processes until now.
pub(crate) fn cpu_of(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| proc_fs::cpu_time(*pid).context("a process is gone")).sum()
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
