//! What is valid.

use std::time::Duration;

use super::{
    AppSpec, Balance, ListenAddress, MAX_ARGS_AND_ENV, MAX_DURATION, MAX_INSTANCES, MAX_LISTEN, MAX_NAME, MAX_WATCHED,
    OnUncaught, ReadyWhen, Reload, Runtime,
};

/// Beside all that begin with `MUSHER_`.
const MUSHERS_OWN: &[&str] = &[
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// One thing that is wrong with a spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SpecFault {
    /// The key as in a process file, for example `restart.window`.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl AppSpec {
    /// Everything that is wrong with this spec, all at once.
    ///
    /// # Errors
    ///
    /// The faults, in the order of the fields; never empty.
    pub fn check(&self) -> Result<(), Vec<SpecFault>> {
        let mut faults = Vec::new();
        let mut fault = |field, message: String| faults.push(SpecFault { field, message });

        if let Err(message) = check_name(&self.name) {
            fault("name", message);
        }
        if let Err(message) = check_name(&self.namespace) {
            fault("namespace", message);
        }
        self.check_slot_variables(&mut fault);
        if !self.exec.program.is_absolute() {
            fault("command", format!("{} is not an absolute path", self.exec.program.display()));
        }
        if !self.cwd.is_absolute() {
            fault("cwd", format!("{} is not an absolute path", self.cwd.display()));
        }
        let mut size = 0;
        for arg in &self.exec.args {
            size += arg.len();
            if arg.contains('\0') {
                fault("args", "an argument contains a NUL byte, which no program can be given".into());
            }
        }
        for name in self.env.keys().filter(|name| is_mushers_own(name)) {
            fault("env", format!("{name}: musher sets this variable itself for each worker; leave it out"));
        }
        for (field, env) in [("env", &self.env), ("base_env", &self.base_env)] {
            for (key, value) in env {
                size += key.len() + value.len();
                if key.is_empty() || key.contains(['=', '\0']) {
                    fault(field, format!("{key:?} is not a variable name: it is empty or contains '=' or NUL"));
                }
                if value.contains('\0') {
                    fault(field, format!("the value of {key} contains a NUL byte"));
                }
            }
        }
        if size > MAX_ARGS_AND_ENV {
            fault(
                "env",
                format!("arguments and environment take {size} bytes; at most {MAX_ARGS_AND_ENV} are possible"),
            );
        }
        if self.instances == 0 || self.instances > MAX_INSTANCES {
            fault("instances", format!("{} is out of range: 1 to {MAX_INSTANCES}", self.instances));
        }
        if let Some(scale) = &self.scale {
            if scale.min == 0 || scale.min > scale.max || scale.max > MAX_INSTANCES {
                let (min, max) = (scale.min, scale.max);
                fault("instances", format!("{min} to {max} is not possible: 1 to {MAX_INSTANCES}, the least first"));
            }
            for (field, time) in [("instances.up_after", scale.up_after), ("instances.down_after", scale.down_after)] {
                if time > MAX_DURATION {
                    fault(field, "longer than a year".into());
                }
            }
        }
        self.check_watch(&mut fault);
        self.check_schedule(&mut fault);
        self.check_dependencies(&mut fault);
        if self.balance == Balance::RoundRobin && self.exec.runtime != Runtime::NodeCluster {
            fault(
                "balance",
                "round-robin hands connections over Node's channel, so it needs a Node program in cluster mode; \
                 use \"shared\" or \"kernel\""
                    .into(),
            );
        }
        self.check_listen(&mut fault);
        self.check_times(&mut fault);
        if self.restart.backoff.factor_percent < 100 || self.restart.backoff.factor_percent > 1000 {
            fault("restart.factor", "out of range: 1 to 10 (a wait never gets shorter than the one before)".into());
        }
        if self.restart.backoff.jitter_percent > 100 {
            fault("restart.jitter", "out of range: 0 to 1 (the part of the wait that is left to chance)".into());
        }
        if self.restart.max_restarts > 10_000 {
            fault("restart.max_restarts", format!("{} is out of range: 0 to 10000", self.restart.max_restarts));
        }
        if self.restart.stop_exit_codes.iter().any(|code| !(0..=255).contains(code)) {
            fault("restart.stop_exit_codes", "an exit code is a number from 0 to 255".into());
        }
        if !(1..=64).contains(&self.stop.signal) || self.stop.signal == 19 {
            fault("stop.signal", format!("{} is not a signal that stops a program", self.stop.signal));
        }
        if self.on_uncaught == Some(OnUncaught::Drain) {
            let why = match (self.exec.runtime, self.preload) {
                (Runtime::NodeCluster, true) => None,
                (Runtime::NodeCluster, false) => {
                    Some("\"drain\" needs musher's script, which preload = false leaves out")
                }
                _ => {
                    Some("only workers of a Node cluster have siblings that serve meanwhile; others end with \"exit\"")
                }
            };
            if let Some(why) = why {
                fault("on_uncaught", why.into());
            }
        }
        self.check_reload(&mut fault);
        self.check_limits(&mut fault);
        self.check_health(&mut fault);
        self.check_hooks(&mut fault);
        if self.pid_file.as_ref().is_some_and(|path| !path.is_absolute()) {
            fault("pid_file", "not an absolute path".into());
        }
        self.logs.check(&mut fault);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn check_watch(&self, fault: &mut impl FnMut(&'static str, String)) {
        let Some(watch) = &self.watch else { return };
        if watch.paths.is_empty() || watch.paths.len() > MAX_WATCHED {
            fault("watch.paths", format!("{} paths: 1 to {MAX_WATCHED} can be watched", watch.paths.len()));
        }
        if let Some(path) = watch.paths.iter().find(|path| !path.is_absolute()) {
            fault("watch.paths", format!("{} is not an absolute path", path.display()));
        }
        if watch.ignore.len() > MAX_WATCHED || watch.ignore.iter().any(|pattern| pattern.len() > 1024) {
            fault("watch.ignore", format!("at most {MAX_WATCHED} patterns of at most 1024 bytes are possible"));
        }
        let is_ending = |ending: &String| {
            (1..=64).contains(&ending.len()) && !ending.starts_with('.') && !ending.contains(['/', '*'])
        };
        if watch.extensions.len() > MAX_WATCHED || !watch.extensions.iter().all(is_ending) {
            fault(
                "watch.extensions",
                format!("at most {MAX_WATCHED} endings as \"js\" are possible, without '/' and '*'"),
            );
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&watch.delay) {
            fault("watch.delay", "out of range: 10ms to 1h".into());
        }
    }

    fn check_slot_variables(&self, fault: &mut impl FnMut(&'static str, String)) {
        let variables = &self.slot_variables;
        for (field, name) in [("instance_var", &variables.number), ("increment_var", &variables.increment)] {
            if let Some(name) = name
                && (name.is_empty() || name.contains(['=', '\0']))
            {
                fault(field, format!("{name:?} is not a variable name: it is empty or contains '=' or NUL"));
            }
        }
        if let Some(name) = &variables.increment
            && self.env.get(name).is_some_and(|first| first.parse::<i64>().is_err())
        {
            fault("increment_var", format!("the value of {name} in env is not a whole number"));
        }
        if self.stop.message && self.exec.runtime == Runtime::Plain {
            fault("stop.message", "only Node programs (and bun and deno with cluster = false) get messages".into());
        }
    }

    fn check_reload(&self, fault: &mut impl FnMut(&'static str, String)) {
        let Reload { max_surge, max_unavailable, .. } = self.reload;
        if max_surge == 0 && max_unavailable == 0 {
            fault("reload.max_surge", "0 is only possible with a reload.max_unavailable of 1 or more".into());
        }
        for (field, number) in [("reload.max_surge", max_surge), ("reload.max_unavailable", max_unavailable)] {
            if number > MAX_INSTANCES {
                fault(field, format!("{number} is out of range: 0 to {MAX_INSTANCES}"));
            }
        }
        let Some(canary) = &self.reload.canary else { return };
        if canary.slots == 0 || canary.slots > MAX_INSTANCES {
            fault("reload.canary.slots", format!("{} is out of range: 1 to {MAX_INSTANCES}", canary.slots));
        }
        if canary.wait > MAX_DURATION {
            fault("reload.canary.wait", "longer than a year".into());
        }
        if canary.max_errors_permille > 1000 {
            fault("reload.canary.max_errors", "out of range: 0 to 1 (a part of all answers)".into());
        }
        if !(100..=10_000).contains(&canary.max_latency_percent) {
            fault("reload.canary.max_latency", "out of range: 1 to 100 (times the old version's)".into());
        }
    }

    fn check_listen(&self, fault: &mut impl FnMut(&'static str, String)) {
        if self.listen.len() > MAX_LISTEN {
            fault("listen", format!("{} sockets; at most {MAX_LISTEN} are possible", self.listen.len()));
        }
        for (n, listen) in self.listen.iter().enumerate() {
            if self.listen[..n].iter().any(|other| other.address == listen.address) {
                fault("listen", format!("{} is named twice", listen.address));
            }
            if listen.backlog == 0 || listen.backlog > 65_535 {
                fault("listen.backlog", format!("{} is out of range: 1 to 65535", listen.backlog));
            }
            if let Some(name) = &listen.name
                && (name.is_empty() || name.len() > 255 || name.chars().any(|c| c == ':' || c.is_control()))
            {
                // sd_listen_fds_with_names(3)
                fault("listen.name", format!("{name:?} is not a name: 1 to 255 characters without ':' and controls"));
            }
            if let ListenAddress::Unix(path) = &listen.address {
                if !path.is_absolute() {
                    fault("listen", format!("{} is not an absolute path", path.display()));
                }
                // unix(7): sun_path is 108 bytes with its final NUL.
                if path.as_os_str().len() > 107 {
                    fault("listen", format!("{} is longer than the 107 bytes a socket path may have", path.display()));
                }
            }
        }
    }

    fn check_times(&self, fault: &mut impl FnMut(&'static str, String)) {
        let times = [
            ("ready.timeout", self.ready.timeout),
            ("restart.min_uptime", self.restart.min_uptime),
            ("restart.window", self.restart.window),
            ("restart.delay", self.restart.backoff.initial),
            ("restart.max_delay", self.restart.backoff.max),
            ("stop.grace", self.stop.grace),
            ("stop.drain", self.stop.drain),
            ("stop.uncaught", self.stop.uncaught),
        ];
        for (field, time) in times {
            if time > MAX_DURATION {
                fault(field, "longer than a year".into());
            }
        }
        for (field, time) in [("ready.timeout", self.ready.timeout), ("restart.window", self.restart.window)] {
            if time.is_zero() {
                fault(field, "must be longer than 0".into());
            }
        }
        if let ReadyWhen::Alive { after_ms } = self.ready.when
            && Duration::from_millis(after_ms) >= self.ready.timeout
        {
            fault("ready.after", "not shorter than ready.timeout, so that no worker would ever be ready".into());
        }
        if let ReadyWhen::Http { path, .. } = &self.ready.when
            && (!path.starts_with('/') || path.contains(|c: char| c.is_control() || c == ' '))
        {
            fault("ready.http", format!("{path:?} is not a path: it starts with '/' and has no spaces"));
        }
        if self.ready.when == ReadyWhen::Message && self.exec.runtime == Runtime::Plain {
            fault("ready", "a message needs Node's channel; this program has none".into());
        }
    }
}

/// Whether this variable is one that musher sets to what is true of each worker, or leaves out where it does not apply: a
/// user cannot declare it.
pub fn is_mushers_own(variable: &str) -> bool {
    variable.starts_with("MUSHER_") || MUSHERS_OWN.contains(&variable)
}

/// Whether `name` can be the name of an app.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name is at least one character long".into());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name has {} bytes; at most {MAX_NAME} are possible", name.len()));
    }
    if let Some(bad) = name.chars().find(|c| !(c.is_alphanumeric() || " ._-@:".contains(*c))) {
        return Err(format!("{bad:?} cannot be in a name: use letters, digits, '.', '_', '-', '@', ':' and spaces"));
    }
    if name.starts_with([' ', '.', '-']) || name.ends_with(' ') {
        return Err("a name does not start with a space, '.' or '-', nor end with a space".into());
    }
    if name == "all" {
        return Err("\"all\" stands for every app and cannot be the name of one".into());
    }
    if name.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("{name} would be taken for an id: a name has something other than digits"));
    }
    Ok(())
}
