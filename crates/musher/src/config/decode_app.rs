//! Each key of an app, by name: the one place that says which shape each of them takes.

use musher_core::spec::{Balance, OnChange, OnUncaught, RestartPolicy};
use musher_process::exit::parse_signal;

use super::decode::{Decoder, Table};
use super::decode_health::{health, hooks, limits};
use super::decode_logs::logs;
use super::decode_times::{depends_on, schedule};
use super::fault::Origin;
use super::keys::{BALANCE, ON_CHANGE, ON_UNCAUGHT, READY, RESTART};
use super::raw::{
    Account, Filter, Instances, Proof, RawApp, RawCanary, RawListen, RawReady, RawReload, RawRestart, RawScale,
    RawStop, RawWatch,
};
use super::tree::{Node, Value};
use super::values;

impl Table<'_> {
    pub(super) fn app(&self, d: &mut Decoder<'_>) -> RawApp {
        RawApp {
            name: self.read(d, "name", |d, node, path| d.text(node, path)),
            namespace: self.read(d, "namespace", |d, node, path| d.text(node, path)),
            script: self.read(d, "script", |d, node, path| d.text(node, path)),
            command: self.read(d, "command", |d, node, path| d.words(node, path)),
            args: self.read(d, "args", |d, node, path| d.words(node, path)).unwrap_or_default(),
            cwd: self.read(d, "cwd", |d, node, path| d.text(node, path)),
            env: self.read(d, "env", |d, node, path| Some(d.variables(node, path))).unwrap_or_default(),
            env_file: self.read(d, "env_file", |d, node, path| d.texts(node, path)).unwrap_or_default(),
            filter_env: self.read(d, "filter_env", filter),
            instance_var: self.read(d, "instance_var", |d, node, path| d.text(node, path)),
            increment_var: self.read(d, "increment_var", |d, node, path| d.text(node, path)),
            autostart: self.read(d, "autostart", |d, node, path| d.boolean(node, path)),
            interpreter: self.read(d, "interpreter", |d, node, path| d.text(node, path)),
            interpreter_args: self.read(d, "interpreter_args", |d, node, path| d.words(node, path)).unwrap_or_default(),
            cluster: self.read(d, "cluster", |d, node, path| d.boolean(node, path)),
            instances: self.read(d, "instances", instances),
            watch: self.read(d, "watch", watch),
            schedule: self.read(d, "schedule", schedule),
            depends_on: self.read(d, "depends_on", depends_on).unwrap_or_default(),
            depends_timeout: self.duration(d, "depends_timeout"),
            balance: self.read(d, "balance", balance),
            listen: self.read(d, "listen", |d, node, _| Some(listen(d, node))).unwrap_or_default(),
            ready: self.of("ready").map(|(node, _)| ready(d, node)).unwrap_or_default(),
            restart: self.of("restart").map(|(node, _)| restart(d, node)).unwrap_or_default(),
            stop: self.of("stop").map(|(node, _)| stop(d, node)).unwrap_or_default(),
            on_uncaught: self.read(d, "on_uncaught", on_uncaught),
            pid_file: self.read(d, "pid_file", |d, node, path| d.text(node, path)),
            preload: self.read(d, "preload", |d, node, path| d.boolean(node, path)),
            reload: self.of("reload").map(|(node, _)| reload(d, node)).unwrap_or_default(),
            limits: self.of("limits").map(|(node, _)| limits(d, node)).unwrap_or_default(),
            health: self.of("health").map(|(node, _)| health(d, node)).unwrap_or_default(),
            hooks: self.of("hooks").map(|(node, _)| hooks(d, node)).unwrap_or_default(),
            logs: self.of("logs").map(|(node, _)| logs(d, node)).unwrap_or_default(),
            user: self.read(d, "user", account),
            group: self.read(d, "group", account),
            ..RawApp::default()
        }
    }

    pub(super) fn small(&self, d: &mut Decoder<'_>, key: &str) -> Option<u32> {
        self.read(d, key, |d, node, path| d.integer(node, path)).and_then(|number| u32::try_from(number).ok())
    }

    pub(super) fn large(&self, d: &mut Decoder<'_>, key: &str) -> Option<u64> {
        self.read(d, key, |d, node, path| d.integer(node, path)).and_then(|number| u64::try_from(number).ok())
    }

    pub(super) fn duration(&self, d: &mut Decoder<'_>, key: &str) -> Option<std::time::Duration> {
        self.read(d, key, |d, node, path| d.duration(node, path))
    }
}

fn filter(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<Filter> {
    match &node.value {
        Value::Bool(true) => Some(Filter::All),
        Value::Bool(false) => None,
        Value::Text(_) | Value::List(_) => d.texts(node, path).map(Filter::Containing),
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected true or words, found {found}"), "");
            None
        }
    }
}

fn watch(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<RawWatch> {
    const MEANING: [OnChange; 2] = [OnChange::Reload, OnChange::Restart];
    match &node.value {
        Value::Bool(true) => Some(RawWatch::default()),
        Value::Bool(false) => None,
        Value::Text(_) | Value::List(_) => {
            d.texts(node, path).map(|paths| RawWatch { paths: Some(paths), ..RawWatch::default() })
        }
        Value::Table(_) => {
            let table = d.table(node, path)?;
            Some(RawWatch {
                paths: table.read(d, "paths", |d, node, path| d.texts(node, path)),
                ignore: table.read(d, "ignore", |d, node, path| d.texts(node, path)).unwrap_or_default(),
                extensions: table.read(d, "extensions", |d, node, path| d.texts(node, path)).unwrap_or_default(),
                loaded: table.read(d, "loaded", |d, node, path| d.boolean(node, path)),
                gitignore: table.read(d, "gitignore", |d, node, path| d.boolean(node, path)),
                delay: table.duration(d, "delay"),
                on_change: table
                    .read(d, "on_change", |d, node, path| d.choice(node, path, ON_CHANGE))
                    .and_then(|number| MEANING.get(number).copied()),
            })
        }
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected true, paths or a table, found {found}"), "");
            None
        }
    }
}

fn instances(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<Instances> {
    let number = match &node.value {
        Value::Text(text) if text == "max" => return Some(Instances::Max),
        Value::Text(text) if text.contains("..") => {
            let bounds = text.split_once("..").and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
            let Some((min, max)) = bounds else {
                d.fault(node.at, path, format!("{text:?} is not two numbers"), "write for example \"2..8\"");
                return None;
            };
            return Some(Instances::Between(RawScale { min: Some(min), max: Some(max), ..RawScale::default() }));
        }
        Value::Table(_) => {
            let table = d.table(node, path)?;
            return Some(Instances::Between(RawScale {
                min: table.small(d, "min"),
                max: table.small(d, "max"),
                up_after: table.duration(d, "up_after"),
                down_after: table.duration(d, "down_after"),
            }));
        }
        Value::Integer(number) => *number,
        Value::Text(text) if matches!(node.at, Origin::Flag(_)) && text.parse::<i64>().is_ok() => {
            text.parse().unwrap_or_default()
        }
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected a number, \"max\", \"MIN..MAX\" or a table, found {found}"), "");
            return None;
        }
    };
    match u32::try_from(number) {
        Ok(number) if (1..=musher_core::spec::MAX_INSTANCES).contains(&number) => Some(Instances::Exactly(number)),
        _ => {
            let bounds = format!("{number} is out of range: 1 to {}", musher_core::spec::MAX_INSTANCES);
            d.fault(node.at, path, bounds, if number <= 0 { "\"max\" is one for each core" } else { "" });
            None
        }
    }
}

fn balance(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<Balance> {
    const MEANING: [Balance; 4] = [Balance::Auto, Balance::Kernel, Balance::Shared, Balance::RoundRobin];
    d.choice(node, path, BALANCE).and_then(|n| MEANING.get(n).copied())
}

fn on_uncaught(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<OnUncaught> {
    const MEANING: [OnUncaught; 2] = [OnUncaught::Drain, OnUncaught::Exit];
    d.choice(node, path, ON_UNCAUGHT).and_then(|n| MEANING.get(n).copied())
}

fn account(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<Account> {
    match &node.value {
        Value::Text(text) => Some(text.parse().map_or_else(|_| Account::Name(text.clone()), Account::Id)),
        Value::Integer(number) if u32::try_from(*number).is_ok() => u32::try_from(*number).ok().map(Account::Id),
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected a name or an id, found {found}"), "");
            None
        }
    }
}

fn listen(d: &mut Decoder<'_>, node: &Node) -> Vec<RawListen> {
    match &node.value {
        Value::List(items) => items.iter().filter_map(|item| listen_one(d, item)).collect(),
        _ => listen_one(d, node).into_iter().collect(),
    }
}

fn listen_one(d: &mut Decoder<'_>, node: &Node) -> Option<RawListen> {
    let address = |d: &mut Decoder<'_>, node: &Node, path: &str| {
        let text = match &node.value {
            Value::Integer(port) => port.to_string(),
            Value::Text(text) => text.clone(),
            other => {
                let found = other.describe();
                d.fault(
                    node.at,
                    path,
                    format!("expected an address such as \"tcp://127.0.0.1:8080\", found {found}"),
                    "",
                );
                return None;
            }
        };
        match text.parse() {
            Ok(address) => Some(address),
            Err(message) => {
                d.fault(node.at, path, message, "");
                None
            }
        }
    };
    if !matches!(node.value, Value::Table(_)) {
        return Some(RawListen { address: address(d, node, "listen")?, name: None, backlog: None });
    }
    let table = d.table(node, "listen")?;
    let name = table.read(d, "name", |d, node, path| d.text(node, path));
    let backlog = table.small(d, "backlog");
    if table.of("address").is_none() {
        d.fault(table.at, "listen", "no address", "write { address = \"tcp://127.0.0.1:8080\" }");
    }
    Some(RawListen { address: table.read(d, "address", address)?, name, backlog })
}

fn ready(d: &mut Decoder<'_>, node: &Node) -> RawReady {
    const MEANING: [Proof; 4] = [Proof::Auto, Proof::Listening, Proof::Message, Proof::Notify];
    if matches!(node.value, Value::Text(_)) {
        return RawReady { proof: d.choice(node, "ready", READY).and_then(|n| MEANING.get(n).cloned()), timeout: None };
    }
    let Some(table) = d.table(node, "ready") else { return RawReady::default() };
    let proofs = ["when", "tcp", "http", "after"];
    let given: Vec<&str> = proofs.into_iter().filter(|key| table.of(key).is_some()).collect();
    if given.len() > 1 {
        let message = format!("{} are given: one proof is enough", given.join(" and "));
        d.fault(table.at, "ready", message, "");
    }
    let mut proof =
        table.read(d, "when", |d, node, path| d.choice(node, path, READY)).and_then(|n| MEANING.get(n).cloned());
    if let Some((node, path)) = table.of("tcp")
        && let Some(text) = address_text(d, node, path)
    {
        proof = checked(d, node, path, values::probe_address(&text)).map(Proof::Tcp);
    }
    if let Some((node, path)) = table.of("http")
        && let Some(text) = d.text(node, path)
    {
        let url = checked(d, node, path, values::probe_url(&text));
        proof = url.map(|(address, path)| Proof::Http(address, path));
    }
    if let Some(after) = table.duration(d, "after") {
        proof = Some(Proof::After(after));
    }
    RawReady { proof, timeout: table.duration(d, "timeout") }
}

fn address_text(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<String> {
    match &node.value {
        Value::Integer(port) => Some(port.to_string()),
        _ => d.text(node, path),
    }
}

fn checked<T>(d: &mut Decoder<'_>, node: &Node, path: &str, result: Result<T, String>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(message) => {
            d.fault(node.at, path, message, "");
            None
        }
    }
}

fn restart(d: &mut Decoder<'_>, node: &Node) -> RawRestart {
    const MEANING: [RestartPolicy; 3] = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never];
    let policy = |n: usize| MEANING.get(n).copied();
    if let Value::Bool(value) = &node.value {
        let word = if *value { "always" } else { "never" };
        d.fault(
            node.at,
            "restart",
            format!("expected a policy or a table, found {value}"),
            format!("write \"{word}\""),
        );
        return RawRestart::default();
    }
    if matches!(node.value, Value::Text(_)) {
        let policy = d.choice(node, "restart", RESTART).and_then(policy);
        return RawRestart { policy, ..RawRestart::default() };
    }
    let Some(table) = d.table(node, "restart") else { return RawRestart::default() };
    let codes = table.read(d, "stop_exit_codes", |d, node, path| Some(d.integers(node, path))).unwrap_or_default();
    RawRestart {
        policy: table.read(d, "policy", |d, node, path| d.choice(node, path, RESTART)).and_then(policy),
        // Out of range stays out of range: the spec's check says so.
        stop_exit_codes: codes.into_iter().map(|code| i32::try_from(code).unwrap_or(-1)).collect(),
        min_uptime: table.duration(d, "min_uptime"),
        delay: table.duration(d, "delay"),
        factor: table.read(d, "factor", |d, node, path| d.number(node, path)),
        max_delay: table.duration(d, "max_delay"),
        jitter: table.read(d, "jitter", |d, node, path| d.number(node, path)),
        max_restarts: table.small(d, "max_restarts"),
        window: table.duration(d, "window"),
    }
}

fn stop(d: &mut Decoder<'_>, node: &Node) -> RawStop {
    let Some(table) = d.table(node, "stop") else { return RawStop::default() };
    RawStop {
        signal: table.read(d, "signal", signal),
        message: table.read(d, "message", |d, node, path| d.boolean(node, path)),
        tree: table.read(d, "tree", |d, node, path| d.boolean(node, path)),
        grace: table.duration(d, "grace"),
        drain: table.duration(d, "drain"),
        uncaught: table.duration(d, "uncaught"),
    }
}

fn signal(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<i32> {
    let text = match &node.value {
        Value::Integer(number) => number.to_string(),
        _ => d.text(node, path)?,
    };
    let signal = parse_signal(&text);
    if signal.is_none() {
        d.fault(node.at, path, format!("{text:?} is not a signal"), "write for example \"SIGTERM\" or \"SIGINT\"");
    }
    signal
}

fn reload(d: &mut Decoder<'_>, node: &Node) -> RawReload {
    let Some(table) = d.table(node, "reload") else { return RawReload::default() };
    RawReload {
        max_surge: table.small(d, "max_surge"),
        max_unavailable: table.small(d, "max_unavailable"),
        canary: table.read(d, "canary", canary),
    }
}

fn canary(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<RawCanary> {
    let table = d.table(node, path)?;
    Some(RawCanary {
        slots: table.small(d, "slots"),
        wait: table.duration(d, "wait"),
        max_errors: table.read(d, "max_errors", |d, node, path| d.number(node, path)),
        max_latency: table.read(d, "max_latency", |d, node, path| d.number(node, path)),
    })
}
