//! The team as `musher run`, as in a container: one command that stands for all of it, whose output is the workers'.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use musher_bench::load::{Target, get};
use musher_bench::{proc_fs, wait};
use rustix::process::Signal;
use serde_json::Value;

use crate::team::PATIENCE;
use crate::world::lock;

/// What the process files say in addition: as `--json` does, so that a changed file changes nothing else.
pub(crate) const LOGS: &str = "out = \"/dev/stdout\", err = \"/dev/stderr\", format = \"json\"";

/// The command, once it was given.
#[derive(Debug)]
pub(crate) struct Foreground {
    child: Mutex<Option<Child>>,
    /// Its standard output.
    pub(crate) out: PathBuf,
    /// Exists as long as the team is ready.
    ready: PathBuf,
    /// Of the health checks.
    health: u16,
}

impl Foreground {
    pub(crate) fn new(directory: &std::path::Path, health: u16) -> Foreground {
        let (out, ready) = (directory.join("output"), directory.join("state/ready"));
        Foreground { child: Mutex::default(), out, ready, health }
    }

    /// The words of the command before those that say what is to be run.
    pub(crate) fn words(&self) -> Vec<String> {
        let ready = self.ready.display().to_string();
        ["run", "--json", "--ready-file", &ready, "--health", &self.address().to_string()].map(str::to_owned).to_vec()
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.health).into()
    }

    /// Gives the command, and waits until it says that all are ready.
    pub(crate) fn start(&self, mut command: Command) -> Result<()> {
        command.stdout(File::create(&self.out)?).stderr(File::create(self.out.with_extension("err"))?);
        *lock(&self.child) = Some(command.spawn()?);
        let ready = wait::until(PATIENCE, || self.unready().is_none().then_some(()));
        ensure!(ready.is_some(), "musher run: {:?}; {}", self.unready(), self.errors());
        Ok(())
    }

    /// Why it is not ready, if it is not.
    pub(crate) fn unready(&self) -> Option<String> {
        if let Some(status) = self.ended() {
            return Some(format!("it has ended: {status}"));
        }
        let answer = get(&Target::Tcp(self.address()), "/ready", Duration::from_secs(5));
        match answer {
            Ok((200, _)) if self.ready.exists() => None,
            Ok((200, _)) => Some("/ready answers 200, but there is no file that says ready".into()),
            other => Some(format!("/ready: {other:?}")),
        }
    }

    fn ended(&self) -> Option<ExitStatus> {
        lock(&self.child).as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.out.with_extension("err")).unwrap_or_default()
    }

    /// Asks it to end, as a container's keeper does; what was wrong with how it did.
    pub(crate) fn end(&self) -> Option<String> {
        let Some(pid) = lock(&self.child).as_ref().map(Child::id) else { return Some("it was never started".into()) };
        if let Err(error) = proc_fs::signal(pid, Signal::TERM) {
            return Some(format!("it is not there any more: {error}"));
        }
        match wait::until(PATIENCE, || self.ended()) {
            Some(status) if status.code() == Some(0) && !self.ready.exists() => None,
            Some(status) if status.code() == Some(0) => Some("the file that says ready outlived it".into()),
            Some(status) => Some(format!("{status}; {}", self.errors())),
            None => Some(format!("it does not end for {PATIENCE:?}")),
        }
    }

    /// What the workers of an app wrote to their standard output.
    pub(crate) fn output_of(&self, app: &str) -> Result<String> {
        let text = String::from_utf8_lossy(&fs::read(&self.out)?).into_owned();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = lines.filter(|line| line["app"] == app);
        Ok(ours.filter_map(|line| Some(format!("{}\n", line["message"].as_str()?))).collect())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if let Some(child) = lock(&self.child).as_mut() {
            // It was ended before, or is killed with all the rest.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
