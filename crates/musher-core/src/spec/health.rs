//! What proves that a worker which serves still does. One that fails is replaced, without a gap.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppSpec, MAX_DURATION, Runtime, millis};

/// The most words of a command of a probe or hook.
pub const MAX_COMMAND: usize = 256;
/// The shortest time between two probes of a worker, and the shortest watchdog.
const SHORTEST: Duration = Duration::from_millis(100);

/// What proves that a worker which serves still does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is asked of each worker, from the moment it is ready.
    #[serde(default)]
    pub liveness: Option<Probe>,
    /// From one probe to the next.
    #[serde(with = "millis", default = "default_interval", rename = "interval_ms")]
    #[schemars(with = "u64")]
    pub interval: Duration,
    /// How long a probe may take.
    #[serde(with = "millis", default = "default_timeout", rename = "timeout_ms")]
    #[schemars(with = "u64")]
    pub timeout: Duration,
    /// So many failures in a row make a worker unfit.
    #[serde(default = "default_failures")]
    pub failures: u32,
    /// How long a worker that has become ready is not probed.
    #[serde(with = "millis", default, rename = "delay_ms")]
    #[schemars(with = "u64")]
    pub delay: Duration,
    /// A Node worker whose event loop does not turn for so long is unfit.
    #[serde(default, rename = "event_loop_ms")]
    pub event_loop: Option<u64>,
    /// A worker that does not notify WATCHDOG=1 for so long is unfit (sd_watchdog_enabled(3)).
    #[serde(default, rename = "watchdog_ms")]
    pub watchdog: Option<u64>,
}

/// What is asked of a worker to see whether it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Probe {
    /// `GET` answers with a status from 200 to 399.
    Http {
        /// A fixed address; none: where that very worker listens. Workers of a Node cluster are always asked themselves: the
        /// address says at which of their ports.
        #[serde(default)]
        address: Option<SocketAddr>,
        /// Path and query, from `/`.
        path: String,
    },
    /// A connection is taken.
    Tcp {
        /// As above.
        #[serde(default)]
        address: Option<SocketAddr>,
    },
    /// A command ends with code 0. It has the worker's pid in MUSHER_PID.
    Exec {
        /// The program, absolute, and its arguments.
        command: Vec<String>,
    },
}

impl Probe {
    /// Whether it asks that very worker, wherever that listens.
    pub fn asks_the_worker_itself(&self) -> bool {
        match self {
            Probe::Http { address, .. } | Probe::Tcp { address } => address.is_none(),
            Probe::Exec { .. } => false,
        }
    }
}

impl Default for Health {
    fn default() -> Health {
        Health {
            liveness: None,
            interval: default_interval(),
            timeout: default_timeout(),
            failures: default_failures(),
            delay: Duration::ZERO,
            event_loop: None,
            watchdog: None,
        }
    }
}

impl AppSpec {
    pub(super) fn check_health(&self, fault: &mut impl FnMut(&'static str, String)) {
        let health = &self.health;
        for (field, time) in [("health.interval", health.interval), ("health.timeout", health.timeout)] {
            if !(SHORTEST..=MAX_DURATION).contains(&time) {
                fault(field, "out of range: 100ms to a year".into());
            }
        }
        if health.delay > MAX_DURATION {
            fault("health.delay", "longer than a year".into());
        }
        if health.failures == 0 || health.failures > 1000 {
            fault("health.failures", format!("{} is out of range: 1 to 1000", health.failures));
        }
        if health.watchdog.is_some_and(|watchdog| !(SHORTEST..=MAX_DURATION).contains(&Duration::from_millis(watchdog)))
        {
            fault("health.watchdog", "out of range: 100ms to a year".into());
        }
        if let Some(event_loop) = health.event_loop {
            if !(SHORTEST..=MAX_DURATION).contains(&Duration::from_millis(event_loop)) {
                fault("health.event_loop", "out of range: 100ms to a year".into());
            }
            if self.exec.runtime == Runtime::Plain {
                let why = "is seen over Node's channel, which this program does not have; use health.liveness or health.watchdog";
                fault("health.event_loop", format!("an event loop {why}"));
            }
        }
        match &health.liveness {
            Some(Probe::Http { path, .. })
                if !path.starts_with('/') || path.contains(|c: char| c.is_control() || c == ' ') =>
            {
                fault("health.liveness", format!("{path:?} is not a path: it starts with '/' and has no spaces"));
            }
            Some(Probe::Exec { command }) => {
                if let Err(message) = check_command(command) {
                    fault("health.liveness", message);
                }
            }
            Some(Probe::Http { .. } | Probe::Tcp { .. }) | None => {}
        }
        if let Some(message) = self.whose_answer_would_it_be() {
            fault("health.liveness", message.to_owned());
        }
    }

    /// A probe whose answer may be that of another worker proves nothing.
    fn whose_answer_would_it_be(&self) -> Option<&'static str> {
        let probe = self.health.liveness.as_ref()?;
        if matches!(probe, Probe::Exec { .. }) {
            return None;
        }
        // A worker of a cluster is handed a connection, whatever the address.
        if self.exec.runtime == Runtime::NodeCluster {
            return None;
        }
        let itself = probe.asks_the_worker_itself();
        if !itself && self.instances > 1 {
            return Some(
                "any of the workers may answer at that address, so it cannot tell which of them is unfit: write the \
                 path alone (\"/health\") or \"tcp\", which ask each worker itself, or a command as a list",
            );
        }
        if itself && !self.listen.is_empty() && self.instances > 1 {
            return Some(
                "the workers share the sockets of `listen`, so any of them may answer: use a command as a list, or \
                 health.watchdog",
            );
        }
        None
    }
}

/// Whether a command can be run.
pub(super) fn check_command(command: &[String]) -> Result<(), String> {
    let Some(program) = command.first().filter(|program| !program.is_empty()) else {
        return Err("the command is empty".into());
    };
    if !Path::new(program).is_absolute() {
        return Err(format!("{program} is not an absolute path"));
    }
    if command.len() > MAX_COMMAND {
        return Err(format!("a command has at most {MAX_COMMAND} words"));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err("an argument contains a NUL byte, which no program can be given".into());
    }
    Ok(())
}

fn default_interval() -> Duration {
    Duration::from_secs(10)
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

fn default_failures() -> u32 {
    3
}
