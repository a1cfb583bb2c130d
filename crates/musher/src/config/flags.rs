//! Flags as a tree: each value carries the flag that it came from, and is decoded like that of a file.

use super::fault::Origin;
use super::tree::{Entry, Node, Value};
use super::{StartArgs, Surroundings};
use crate::args::StartLogsArgs;

/// The flags of `musher start`, as they were typed. `None` and empty: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// `--name`
    pub(crate) name: Option<String>,
    /// `--instances`: a number or `max`.
    pub(crate) instances: Option<String>,
    /// `--cwd`
    pub(crate) cwd: Option<String>,
    /// `--interpreter`
    pub(crate) interpreter: Option<String>,
    /// `--interpreter-args`, each a word or several as in a shell.
    pub(crate) interpreter_args: Option<String>,
    /// `--env NAME=value`; a name alone takes the caller's value.
    pub(crate) env: Vec<String>,
    /// `--env-file`
    pub(crate) env_file: Vec<String>,
    /// `--watch`: the working directory; or these paths.
    pub(crate) watch: Option<Vec<String>>,
    /// `--ext`: endings of what is watched.
    pub(crate) watch_ext: Option<String>,
    /// `--watch-loaded`
    pub(crate) watch_loaded: bool,
    /// `--cron`: restarts at these times; 0 is off.
    pub(crate) cron: Option<String>,
    /// `--schedule`: a job.
    pub(crate) schedule: Option<String>,
    /// `--timezone` of either.
    pub(crate) timezone: Option<String>,
    /// `--no-cluster`
    pub(crate) no_cluster: bool,
    /// `--no-preload`
    pub(crate) no_preload: bool,
    /// `--on-uncaught`
    pub(crate) on_uncaught: Option<String>,
    /// `--balance`
    pub(crate) balance: Option<String>,
    /// `--listen`
    pub(crate) listen: Vec<String>,
    /// `--ready`: a word, a duration, an address or a URL.
    pub(crate) ready: Option<String>,
    /// `--ready-timeout`
    pub(crate) ready_timeout: Option<String>,
    /// `--restart`: a policy.
    pub(crate) restart: Option<String>,
    /// `--max-restarts`
    pub(crate) max_restarts: Option<String>,
    /// `--restart-delay`
    pub(crate) restart_delay: Option<String>,
    /// `--stop-exit-codes`, with commas.
    pub(crate) stop_exit_codes: Option<String>,
    /// `--stop-signal`
    pub(crate) stop_signal: Option<String>,
    /// `--grace`
    pub(crate) grace: Option<String>,
    /// `--drain`
    pub(crate) drain: Option<String>,
    /// `--max-surge`
    pub(crate) max_surge: Option<String>,
    /// `--max-unavailable`
    pub(crate) max_unavailable: Option<String>,
    /// `--max-memory`: a size.
    pub(crate) max_memory: Option<String>,
    /// `--liveness`: a path, `tcp`, a URL or an address.
    pub(crate) liveness: Option<String>,
    /// Those for logs.
    pub(crate) logs: StartLogsArgs,
    /// `--user`
    pub(crate) user: Option<String>,
    /// `--group`
    pub(crate) group: Option<String>,
}

/// The tree of an app that stands on the command line alone.
pub(super) fn app(start: &StartArgs, around: &Surroundings) -> Node {
    let mut entries = Vec::new();
    let list = |words: &[String], at| {
        let items = words.iter().map(|word| Node { at, value: Value::Text(word.clone()) }).collect();
        Node { at, value: Value::List(items) }
    };
    if start.command {
        let at = Origin::Flag("command");
        let words: Vec<String> = std::iter::once(&start.program).chain(&start.args).cloned().collect();
        entries.push(Entry { key: "command".into(), at, node: list(&words, at) });
    } else {
        let at = Origin::Flag("script");
        // What the shell completed is relative to the shell, also with --cwd.
        let here = around.cwd.join(&start.program);
        let script = if here.exists() { here.to_string_lossy().into_owned() } else { start.program.clone() };
        entries.push(Entry { key: "script".into(), at, node: Node { at, value: Value::Text(script) } });
        let at = Origin::Flag("args");
        entries.push(Entry { key: "args".into(), at, node: list(&start.args, at) });
    }
    for entry in start.flags.entries(around) {
        put(&mut entries, entry);
    }
    Node { at: Origin::Whole, value: Value::Table(entries) }
}

impl Flags {
    /// Puts the flags over every app of a file's tree.
    pub(super) fn put_over(&self, root: &mut Node, around: &Surroundings) {
        let Value::Table(entries) = &mut root.value else { return };
        let lists = entries.iter_mut().filter(|entry| entry.key == "app");
        for list in lists {
            let Value::List(apps) = &mut list.node.value else { continue };
            for app in apps {
                let Value::Table(entries) = &mut app.value else { continue };
                for entry in self.entries(around) {
                    put(entries, entry);
                }
            }
        }
    }

    fn entries(&self, around: &Surroundings) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut text = |path: &str, flag, value: &Option<String>| {
            if let Some(value) = value {
                entries.push(nested(path, flag, Value::Text(value.clone())));
            }
        };
        text("name", "--name", &self.name);
        text("instances", "--instances", &self.instances);
        text("cwd", "--cwd", &self.cwd.as_ref().map(|cwd| around.cwd.join(cwd).to_string_lossy().into_owned()));
        text("interpreter", "--interpreter", &self.interpreter);
        text("interpreter_args", "--interpreter-args", &self.interpreter_args);
        text("balance", "--balance", &self.balance);
        text("restart.policy", "--restart", &self.restart);
        text("restart.max_restarts", "--max-restarts", &self.max_restarts);
        text("restart.delay", "--restart-delay", &self.restart_delay);
        text("restart.stop_exit_codes", "--stop-exit-codes", &self.stop_exit_codes);
        text("stop.signal", "--stop-signal", &self.stop_signal);
        text("stop.grace", "--grace", &self.grace);
        text("stop.drain", "--drain", &self.drain);
        text("on_uncaught", "--on-uncaught", &self.on_uncaught);
        text("reload.max_surge", "--max-surge", &self.max_surge);
        text("reload.max_unavailable", "--max-unavailable", &self.max_unavailable);
        text("limits.memory", "--max-memory", &self.max_memory);
        text("health.liveness", "--liveness", &self.liveness);
        let file = |path: &Option<String>| {
            let given = path.as_deref().map(|path| if path.eq_ignore_ascii_case("null") { "/dev/null" } else { path });
            given.map(|path| here(path, around))
        };
        let off = self.logs.disable_logs.then(|| "/dev/null".to_owned());
        text("logs.out", "--out", &off.clone().or_else(|| file(&self.logs.out)));
        text("logs.err", "--err", &off.or_else(|| file(&self.logs.err)));
        text("logs.combined", "--log", &file(&self.logs.combined));
        text("logs.format", "--log-format", &self.logs.log_format);
        text("logs.format", "--log-type", &self.logs.log_type.as_ref().map(|kind| format!("pm2-{kind}")));
        text("logs.date_format", "--log-date-format", &self.logs.log_date_format);
        text("logs.date_format", "--time", &self.logs.time.then(|| "YYYY-MM-DDTHH:mm:ss".to_owned()));
        text("user", "--user", &self.user);
        text("group", "--group", &self.group);
        let (cron, restart) = (self.cron.clone().filter(|cron| cron != "0"), Some("restart".to_owned()));
        text("schedule.cron", "--cron", &cron);
        text("schedule.action", "--cron", &cron.as_ref().and(restart));
        text("schedule.cron", "--schedule", &self.schedule);
        text("schedule.action", "--schedule", &self.schedule.as_ref().map(|_| "start".to_owned()));
        text("schedule.timezone", "--timezone", &self.timezone);
        text(self.ready_key(), "--ready", &self.ready);
        text("ready.timeout", "--ready-timeout", &self.ready_timeout);
        entries.extend(self.watch_entries(around));
        if self.logs.merge_logs {
            entries.push(nested("logs.per_worker", "--merge-logs", Value::Bool(false)));
        }
        if self.cron.as_deref() == Some("0") {
            entries.push(nested("schedule", "--cron", Value::Bool(false)));
        }
        if self.no_cluster {
            entries.push(nested("cluster", "--no-cluster", Value::Bool(false)));
        }
        if self.no_preload {
            entries.push(nested("preload", "--no-preload", Value::Bool(false)));
        }
        for (key, flag, values) in [("listen", "--listen", &self.listen), ("env_file", "--env-file", &self.env_file)] {
            if !values.is_empty() {
                let at = Origin::Flag(flag);
                let value = |text: &String| if key == "env_file" { here(text, around) } else { text.clone() };
                let items = values.iter().map(|text| Node { at, value: Value::Text(value(text)) }).collect();
                entries.push(nested(key, flag, Value::List(items)));
            }
        }
        entries.extend(self.env.iter().map(|variable| {
            let (name, value) = match variable.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (variable.as_str(), around.env.get(variable).cloned().unwrap_or_default()),
            };
            let at = Origin::Flag("--env");
            let variable = Entry { key: name.to_owned(), at, node: Node { at, value: Value::Text(value) } };
            Entry { key: "env".into(), at, node: Node { at, value: Value::Table(vec![variable]) } }
        }));
        entries
    }

    fn watch_entries(&self, around: &Surroundings) -> Vec<Entry> {
        let mut entries = Vec::new();
        if let Some(paths) = &self.watch {
            let at = Origin::Flag("--watch");
            let items = paths.iter().map(|path| Node { at, value: Value::Text(here(path, around)) }).collect();
            let value = if paths.is_empty() { Value::Bool(true) } else { Value::List(items) };
            entries.push(nested("watch", "--watch", value));
        }
        if let Some(ext) = &self.watch_ext {
            entries.push(nested("watch.extensions", "--ext", Value::Text(ext.clone())));
        }
        if self.watch_loaded {
            entries.push(nested("watch.loaded", "--watch-loaded", Value::Bool(true)));
        }
        entries
    }

    /// Which key `--ready` stands for, by the shape of its value.
    fn ready_key(&self) -> &'static str {
        let text = self.ready.as_deref().unwrap_or_default();
        if text.starts_with("http://") || text.starts_with("https://") {
            "ready.http"
        } else if text.contains(':') || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())) {
            "ready.tcp"
        } else if text.starts_with(|c: char| c.is_ascii_digit()) {
            "ready.after"
        } else {
            "ready.when"
        }
    }
}

/// Paths of flags are relative to where they were typed.
fn here(path: &str, around: &Surroundings) -> String {
    around.cwd.join(path).to_string_lossy().into_owned()
}

/// The entry for `restart.policy`: a table with one entry in it.
fn nested(path: &str, flag: &'static str, value: Value) -> Entry {
    let at = Origin::Flag(flag);
    match path.split_once('.') {
        None => Entry { key: path.into(), at, node: Node { at, value } },
        Some((table, rest)) => {
            let inner = Value::Table(vec![nested(rest, flag, value)]);
            Entry { key: table.into(), at, node: Node { at, value: inner } }
        }
    }
}

/// Replaces what `entry` says, key by key.
fn put(entries: &mut Vec<Entry>, entry: Entry) {
    // `ready = "listening"` and `restart = "never"` are tables in short.
    let short = match entry.key.as_str() {
        "ready" => "when",
        "restart" => "policy",
        "schedule" => "cron",
        _ => "",
    };
    let Some(old) = entries.iter_mut().find(|old| old.key == entry.key) else {
        entries.push(entry);
        return;
    };
    if entry.key == "watch" && matches!(entry.node.value, Value::Table(_)) {
        let given = old.node.clone();
        match &given.value {
            // `watch = true` and `watch = "src"` are tables in short.
            Value::Bool(_) => old.node.value = Value::Table(Vec::new()),
            Value::Text(_) | Value::List(_) => {
                old.node.value = Value::Table(vec![Entry { key: "paths".into(), at: old.at, node: given }]);
            }
            _ => {}
        }
    }
    if !short.is_empty() && matches!(old.node.value, Value::Text(_)) {
        let word = Entry { key: short.into(), at: old.at, node: old.node.clone() };
        old.node.value = Value::Table(vec![word]);
    }
    match (&mut old.node.value, entry.node.value) {
        (Value::Table(old), Value::Table(new)) => {
            for new in new {
                if entry.key == "ready" && is_proof(&new) {
                    old.retain(|old| !is_proof(old));
                }
                put(old, new);
            }
        }
        (old_value, new) => {
            *old_value = new;
            old.node.at = entry.node.at;
            old.at = entry.at;
        }
    }
}

/// Of these keys of `ready` only one can be given.
fn is_proof(entry: &Entry) -> bool {
    matches!(entry.key.as_str(), "when" | "tcp" | "http" | "after")
}
