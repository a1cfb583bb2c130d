//! From a spec to a process: arguments, environment, descriptors, limits.
//!
//! What a worker is told by its environment, besides what the user declared:
//!
//! | variable | value |
//! |---|---|
//! | `MUSHER_RUN` | `<run>@<home>`: marks every process of the run, so that none escapes a stop |
//! | `MUSHER_APP`, `MUSHER_SLOT`, `MUSHER_INSTANCES` | name of the app, number of the slot, number of slots |
//! | `NODE_APP_INSTANCE`, or as `instance_var` says | number of the slot |
//! | that of `increment_var` | its value in the spec, and the number of the slot added |
//! | `NOTIFY_SOCKET` | where to notify readiness (sd_notify(3)) |
//! | `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES` | sockets of the spec's `listen` (sd_listen_fds(3)), from descriptor 3 |
//! | `WATCHDOG_USEC`, `WATCHDOG_PID` | with `health.watchdog`: how often to notify WATCHDOG=1 (sd_watchdog_enabled(3)) |
//! | `PORT` | port of the first TCP entry of `listen`, unless the user declared it |
//! | `NODE_CHANNEL_FD`, `NODE_UNIQUE_ID`, ... | Node's channel and cluster |
//! | `NODE_OPTIONS` | `--require` of the preload, before the user's own, for Node; not with `preload = false` |
//! | `WATCH_REPORT_DEPENDENCIES` | with `watch.loaded`, for Node: tell which files are loaded |
//! | `MUSHER_ON_UNCAUGHT` | with the preload: milliseconds to finish after an uncaught exception; taken away by the preload |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use musher_cluster::{limits, script};
use musher_core::spec::{AppSpec, ListenAddress, OnUncaught, Runtime, SlotVariables, is_mushers_own};
use musher_core::{RunId, SlotId};
use musher_process::{Credentials, Spawn};
use rustix::process::{Resource, Rlimit};

/// The first descriptor of socket activation.
const FIRST_SOCKET: i32 = 3;
/// The variable that tells a worker its slot.
pub(super) const SLOT: &str = "MUSHER_SLOT";

/// Everything about one run that is not in the spec.
pub(super) struct Launch<'a> {
    pub(super) spec: &'a AppSpec,
    pub(super) slot: SlotId,
    /// The number of slots.
    pub(super) instances: u32,
    /// `<run>@<home>`.
    pub(super) marker: &'a str,
    /// Value of NOTIFY_SOCKET.
    pub(super) notify: &'a str,
    /// Node's id of this cluster worker.
    pub(super) worker_id: u32,
    /// The preload for Node, if it could be written.
    pub(super) preload: Option<&'a Path>,
    /// What to give as limit of open files unless the spec says another.
    pub(super) open_files: Rlimit,
    /// Its standard input.
    pub(super) input: OwnedFd,
    pub(super) out: OwnedFd,
    pub(super) err: OwnedFd,
    /// The worker's end of its channel.
    pub(super) channel: Option<OwnedFd>,
    /// The sockets of the spec's `listen`, in order.
    pub(super) sockets: Vec<OwnedFd>,
    /// The cgroup of the run.
    pub(super) cgroup: Option<OwnedFd>,
}

/// The value of `MUSHER_RUN`.
pub(super) fn marker(run: RunId, home_id: &str) -> String {
    format!("{run}@{home_id}")
}

impl Launch<'_> {
    /// What to spawn.
    pub(super) fn into_spawn(self) -> Spawn {
        let program = &self.spec.exec.program;
        let mut args: Vec<OsString> = vec![program.file_name().unwrap_or(program.as_os_str()).to_owned()];
        args.extend(self.spec.exec.args.iter().map(OsString::from));

        let listen_pid = !self.sockets.is_empty() || self.spec.health.watchdog.is_some();
        let channel_number = FIRST_SOCKET + i32::try_from(self.sockets.len()).unwrap_or(0);
        let env = self.environment(channel_number);
        let limits = self.limits();
        let user = self.spec.user.as_ref();
        let credentials = user.map(|user| Credentials { uid: user.uid, gid: user.gid, groups: user.groups.clone() });

        let mut fds = vec![(self.input, 0), (self.out, 1), (self.err, 2)];
        fds.extend(self.sockets.into_iter().zip(FIRST_SOCKET..));
        fds.extend(self.channel.map(|channel| (channel, channel_number)));
        Spawn {
            program: program.clone(),
            args,
            env,
            cwd: self.spec.cwd.clone(),
            fds,
            session: true,
            limits,
            nice: self.spec.limits.nice,
            credentials,
            listen_pid,
            cgroup: self.cgroup,
        }
    }

    fn environment(&self, channel_number: i32) -> Vec<(OsString, OsString)> {
        let spec = self.spec;
        let mut env: BTreeMap<&str, String> = BTreeMap::new();
        // What says how somebody else was started is not true of the worker.
        let base = spec.base_env.iter().filter(|(key, _)| !is_mushers_own(key));
        env.extend(base.map(|(key, value)| (key.as_str(), value.clone())));
        let port = spec.listen.iter().find_map(|listen| match &listen.address {
            ListenAddress::Tcp(address) if address.port() != 0 => Some(address.port()),
            ListenAddress::Tcp(_) | ListenAddress::Udp(_) | ListenAddress::Unix(_) => None,
        });
        env.extend(port.map(|port| ("PORT", port.to_string())));
        env.extend(spec.env.iter().map(|(key, value)| (key.as_str(), value.clone())));

        env.insert("MUSHER_RUN", self.marker.to_owned());
        env.insert("MUSHER_APP", spec.name.clone());
        env.insert(SLOT, self.slot.to_string());
        env.insert("MUSHER_INSTANCES", self.instances.to_string());
        let number = spec.slot_variables.number.as_deref().unwrap_or(SlotVariables::NUMBER);
        env.insert(number, self.slot.to_string());
        if let Some(name) = &spec.slot_variables.increment {
            let first: i64 = env.get(name.as_str()).and_then(|value| value.parse().ok()).unwrap_or(0);
            env.insert(name, first.saturating_add(i64::from(self.slot.0)).to_string());
        }
        env.insert("NOTIFY_SOCKET", self.notify.to_owned());
        if let Some(watchdog) = spec.health.watchdog {
            env.insert("WATCHDOG_USEC", watchdog.saturating_mul(1000).to_string());
            // Filled in by the child itself.
            env.insert("WATCHDOG_PID", String::new());
        }
        if !self.sockets.is_empty() {
            env.insert("LISTEN_FDS", self.sockets.len().to_string());
            // Filled in by the child itself.
            env.insert("LISTEN_PID", String::new());
            let names = spec.listen.iter().map(|listen| listen.name.as_deref().unwrap_or("unknown"));
            env.insert("LISTEN_FDNAMES", names.collect::<Vec<_>>().join(":"));
        }
        if self.channel.is_some() {
            env.insert("NODE_CHANNEL_FD", channel_number.to_string());
            env.insert("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned());
        }
        if self.channel.is_some() && spec.watch.as_ref().is_some_and(|watch| watch.loaded) {
            env.insert("WATCH_REPORT_DEPENDENCIES", "1".to_owned());
        }
        if spec.exec.runtime == Runtime::NodeCluster {
            env.insert("NODE_UNIQUE_ID", self.worker_id.to_string());
        }
        if let Some(preload) = self.preload {
            let own = env.remove("NODE_OPTIONS");
            env.insert("NODE_OPTIONS", script::node_options(own.as_deref(), preload));
            if spec.effective_on_uncaught() == OnUncaught::Drain {
                env.insert("MUSHER_ON_UNCAUGHT", spec.stop.uncaught.as_millis().to_string());
            }
        }
        env.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    fn limits(&self) -> Vec<(Resource, Rlimit)> {
        let mut limits = limits::of_the_kernel(&self.spec.limits);
        if self.spec.limits.open_files.is_none() {
            limits.push((Resource::Nofile, self.open_files));
        }
        limits
    }
}

/// Whether the program is Node by its name.
pub(super) fn is_node(program: &Path) -> bool {
    Runtime::is_node(program.file_name().and_then(|name| name.to_str()).unwrap_or_default())
}

/// Whether the program is started under Node's permission model, by which it may not read our script: Node would not
/// start it at all.
pub(super) fn is_permission_bound(spec: &AppSpec) -> bool {
    let of = |env: &BTreeMap<String, String>| env.get("NODE_OPTIONS").cloned();
    let options = of(&spec.env).or_else(|| of(&spec.base_env)).unwrap_or_default();
    let words = spec.exec.args.iter().map(String::as_str).chain(options.split([' ', '"']));
    script::is_permission_bound(words)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_node;

    #[test]
    fn node_is_known_by_its_name() {
        for name in ["node", "/usr/bin/nodejs", "/opt/node22", "node18.20"] {
            assert!(is_node(Path::new(name)), "{name}");
        }
        for name in ["bun", "/usr/bin/deno", "nodemon", "node-gyp", "/opt/node/bin/tsx", ""] {
            assert!(!is_node(Path::new(name)), "{name}");
        }
    }
}
