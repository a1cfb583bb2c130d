//! PM2's process files: the same tree as that of a `musher.toml` is made from one, so that everything after it is the same.
//!
//! Nothing is dropped in silence: what has no meaning here, or cannot be done, is a note. What is given is taken as PM2
//! takes it; what is not given has musher's default, but for two things that programs written for PM2 rely on: the stop
//! signal is SIGINT, and a Node program is a worker of a cluster only where PM2 would make it one.

mod convert;
mod environment;
mod evaluate;
mod keys;
mod program;
mod site;

use std::collections::BTreeMap;
use std::path::Path;

use musher_core::spec::DatePattern;

use super::fault::{Faults, Origin, did_you_mean, nearest};
use super::tree::{Entry, Node, Value, shorten};
use super::{Surroundings, namesake};

pub(super) use convert::toml;
pub(super) use evaluate::evaluate;

pub(super) use keys::snake;
use keys::{Meaning, meaning, names};

/// How long a Node program that does not listen lives, in milliseconds, until it counts as ready.
const SETTLES: i64 = 3000;

/// What of a file is not the same here, each a sentence.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<String>,
}

impl Notes {
    pub(super) fn add(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.list.contains(&note) {
            self.list.push(note);
        }
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.list
    }
}

/// What surrounds a file of PM2.
pub(super) struct Context<'a> {
    /// The directory of the file.
    pub(super) base: &'a Path,
    /// What `--env` names.
    pub(super) environment: Option<&'a str>,
    pub(super) around: &'a Surroundings,
}

/// Whether the tree is one of PM2: a list of apps, `apps:` or `pm2:`, or one app.
pub(super) fn is_one(root: &Node) -> bool {
    match &root.value {
        Value::List(_) => true,
        Value::Table(entries) => {
            let has = |names: &[&str]| entries.iter().any(|entry| names.contains(&entry.key.as_str()));
            !has(&["app"]) && has(&["apps", "pm2", "static", "script", "exec", "cmd"])
        }
        _ => false,
    }
}

/// Says of each value in which app it is: values that a program computed have no line.
pub(super) fn place_by_app(root: &mut Node) {
    let list = match &mut root.value {
        Value::List(_) => Some(root),
        Value::Table(entries) => {
            entries.iter_mut().find(|entry| matches!(entry.key.as_str(), "apps" | "pm2")).map(|entry| &mut entry.node)
        }
        _ => None,
    };
    let Some(Node { value: Value::List(apps), .. }) = list else { return };
    for (n, app) in (0..).zip(apps) {
        place(app, Origin::App(n));
    }
}

fn place(node: &mut Node, at: Origin) {
    node.at = at;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| place(item, at)),
        Value::Table(entries) => entries.iter_mut().for_each(|entry| {
            entry.at = at;
            place(&mut entry.node, at);
        }),
        _ => {}
    }
}

/// The same apps as the tree of a musher.toml.
pub(super) fn translate(root: &Node, context: &Context<'_>, faults: &mut Faults, notes: &mut Notes) -> Node {
    let deployed = environment::deployed(root, context.environment);
    let mut environments = deployed.is_some();
    let sites = match &root.value {
        Value::Table(entries) => entries.iter().find(|entry| entry.key == "static"),
        _ => None,
    };
    let sites = sites.map(|entry| site::of_static(&entry.node, faults, notes)).unwrap_or_default();
    let apps: Vec<Node> = found(root)
        .into_iter()
        .filter_map(|node| {
            let Value::Table(entries) = &node.value else {
                let found = node.value.describe();
                faults.add(node.at, "", format!("an app is a table of keys, found {found}"));
                return None;
            };
            let (given, made) = (BTreeMap::new(), Vec::new());
            let mut app = App { context, deployed, faults, notes, at: node.at, given, made };
            app.read(entries);
            environments |= app.has_environment();
            Some(app.translate())
        })
        .chain(sites)
        .collect();
    if let (Some(name), false) = (context.environment, environments) {
        notes.add(format!("--env {name}: no app of the file has env_{name}"));
    }
    if apps.is_empty() && faults.is_empty() {
        faults.add(root.at, "", "no app in this file").hint("apps: a list of tables with a script each");
    }
    let list = Node { at: root.at, value: Value::List(apps) };
    let entry = Entry { key: "app".into(), at: root.at, node: list };
    Node { at: root.at, value: Value::Table(vec![entry]) }
}

/// The apps of a file, in any of the forms that PM2 knows.
fn found(root: &Node) -> Vec<&Node> {
    fn listed(node: &Node) -> Vec<&Node> {
        match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        }
    }
    let Value::Table(entries) = &root.value else { return listed(root) };
    let apps = entries.iter().rfind(|entry| matches!(entry.key.as_str(), "apps" | "pm2"));
    let served_only = || entries.iter().all(|entry| matches!(entry.key.as_str(), "static" | "deploy"));
    match apps {
        Some(entry) => listed(&entry.node),
        None if served_only() => Vec::new(),
        None => vec![root],
    }
}

/// One app on its way.
struct App<'a> {
    context: &'a Context<'a>,
    /// The variables of the deployment that `--env` names.
    deployed: Option<&'a Node>,
    faults: &'a mut Faults,
    notes: &'a mut Notes,
    at: Origin,
    /// The first name of each key that was given, with its value.
    given: BTreeMap<String, &'a Node>,
    made: Vec<Entry>,
}

impl<'a> App<'a> {
    fn read(&mut self, entries: &'a [Entry]) {
        for entry in entries {
            let key = snake(&entry.key);
            if matches!(entry.node.value, Value::Null) {
                continue;
            }
            if key.starts_with("env_") {
                self.given.insert(key, &entry.node);
                continue;
            }
            match meaning(&key) {
                Some((name, Meaning::Needless(why))) => self.notes.add(format!("{name} changes nothing here: {why}")),
                Some((name, _)) => drop(self.given.insert(name.to_owned(), &entry.node)),
                None => {
                    let near = did_you_mean(&nearest(&key, names()));
                    let near = if near.is_empty() { String::new() } else { format!(": {near}") };
                    self.notes.add(format!("{:?} is no key of PM2{near}", shorten(&entry.key)));
                }
            }
        }
    }

    fn has_environment(&self) -> bool {
        self.context.environment.is_some_and(|name| self.given.contains_key(&format!("env_{name}")))
    }

    fn translate(mut self) -> Node {
        let at = self.at;
        let site = self.site();
        if site.is_none() {
            self.program();
        }
        self.name();
        for (key, node) in self.given.clone() {
            let Some((_, meaning)) = meaning(&key) else { continue };
            match meaning {
                Meaning::Same(path) => self.set(path, node.at, node.value.clone()),
                // PM2 goes on after it; here a program that does not listen would have failed before it is ready.
                Meaning::Time("ready.timeout")
                    if !self.is_true("wait_ready") && number(&node.value).is_some_and(|ms| ms <= SETTLES) =>
                {
                    self.notes.add("listen_timeout is left out: a program that does not listen is ready after 3 s");
                }
                Meaning::Time(path) => self.time(path, node),
                Meaning::Size(path) => self.size(path, node),
                Meaning::File(path) => self.file(path, node),
                Meaning::Words(path) => self.words(path, node),
                Meaning::Special | Meaning::Needless(_) => {}
            }
        }
        self.environment();
        if let Some(site) = site {
            site.write(&mut self.made);
        }
        self.restart();
        self.watch();
        self.schedule();
        self.stop();
        self.logs();
        Node { at, value: Value::Table(self.made) }
    }

    fn name(&mut self) {
        let name = self.text("name").or_else(|| {
            let script = self.text("script")?;
            if script.contains(' ') && self.made.iter().any(|entry| entry.key == "command") {
                let name = namesake::of_line(&script);
                if name != script {
                    self.notes.add(format!("a command line cannot be a name as it is: the app is called {name:?}"));
                }
                return Some(name);
            }
            let file = Path::new(&script).file_name()?.to_str()?.to_owned();
            // A word that is no file is named as it is; a file without what follows the last dot.
            Some(file.rsplit_once('.').map_or(file.clone(), |(stem, _)| stem.to_owned()))
        });
        let Some(mut name) = name else { return };
        if self.is_true("append_env_to_name")
            && let Some(environment) = self.context.environment
        {
            name = format!("{name}-{environment}");
        }
        let at = self.given.get("name").map_or(self.at, |node| node.at);
        self.set("name", at, Value::Text(name));
    }

    fn restart(&mut self) {
        if let Some(node) = self.given.get("autorestart").copied()
            && node.value == Value::Bool(false)
        {
            self.set("restart.policy", node.at, Value::Text("never".into()));
        }
        if let Some(node) = self.given.get("stop_exit_codes").copied() {
            let codes = match &node.value {
                Value::List(items) => items.clone(),
                _ => vec![node.clone()],
            };
            let codes = codes.into_iter().map(|code| match &code.value {
                Value::Text(text) => match text.parse() {
                    Ok(number) => Node { value: Value::Integer(number), ..code },
                    Err(_) => code,
                },
                _ => code,
            });
            self.set("restart.stop_exit_codes", node.at, Value::List(codes.collect()));
        }
        if let Some(node) = self.given.get("max_restarts").copied() {
            let value = match number(&node.value) {
                Some(count) if count > 10_000 => {
                    self.notes.add(format!("max_restarts: {count} is more than 10000 within a minute, which is taken"));
                    Value::Integer(10_000)
                }
                Some(count) => Value::Integer(count),
                None => node.value.clone(),
            };
            self.set("restart.max_restarts", node.at, value);
        }
        let of = |app: &Self, key: &str| app.given.get(key).copied().filter(|node| !is_off(&node.value));
        if let Some(node) = of(self, "restart_delay") {
            // Always the same wait.
            self.time("restart.delay", node);
            self.time("restart.max_delay", node);
            self.set("restart.factor", node.at, Value::Integer(1));
            self.set("restart.jitter", node.at, Value::Integer(0));
        } else if let Some(node) = of(self, "exp_backoff_restart_delay") {
            self.time("restart.delay", node);
            self.set("restart.factor", node.at, Value::Float(1.5, "1.5".into()));
            self.set("restart.max_delay", node.at, Value::Text("15s".into()));
        }
    }

    fn watch(&mut self) {
        let Some(node) = self.given.get("watch").copied() else { return };
        if matches!(node.value, Value::Bool(false)) {
            return;
        }
        match &node.value {
            Value::Text(_) | Value::List(_) => self.set("watch.paths", node.at, node.value.clone()),
            _ => self.set("watch.paths", node.at, Value::Text(".".into())),
        }
        if let Some(ignore) = self.given.get("ignore_watch").copied() {
            self.set("watch.ignore", ignore.at, ignore.value.clone());
        }
        if let Some(endings) = self.given.get("ext").copied() {
            self.set("watch.extensions", endings.at, endings.value.clone());
        }
        if let Some(delay) = self.given.get("watch_delay").copied() {
            match &delay.value {
                // PM2 waits not at all by default; so short a time would make one change of a file two.
                Value::Integer(ms) if *ms < 10 => {}
                Value::Integer(ms) => self.set("watch.delay", delay.at, Value::Text(format!("{ms}ms"))),
                _ => self.set("watch.delay", delay.at, delay.value.clone()),
            }
        }
    }

    /// PM2 restarts at these times, and starts what is stopped as well; here what is stopped stays so.
    fn schedule(&mut self) {
        let Some(node) = self.given.get("cron_restart").copied().filter(|node| !is_off(&node.value)) else { return };
        self.set("schedule.cron", node.at, node.value.clone());
        self.set("schedule.action", node.at, Value::Text("restart".into()));
        self.notes.add("cron_restart: an app that is stopped is not started by it");
    }

    fn stop(&mut self) {
        let signal = self.context.around.env.get("PM2_KILL_SIGNAL").cloned().unwrap_or_else(|| "SIGINT".into());
        self.set("stop.signal", self.at, Value::Text(signal));
        // What PM2 takes from its daemon's environment is taken from that of whoever starts an app.
        let variable = |name: &str| self.context.around.env.get(name).cloned().unwrap_or_default();
        let (grace, message) = (variable("PM2_KILL_TIMEOUT"), Value::Text(variable("PM2_KILL_USE_MESSAGE")));
        if !self.given.contains_key("kill_timeout") && !grace.is_empty() {
            if grace.bytes().all(|byte| byte.is_ascii_digit()) {
                self.set("stop.grace", self.at, Value::Text(format!("{grace}ms")));
            } else {
                self.notes.add(format!("PM2_KILL_TIMEOUT is left out: {:?} are no milliseconds", shorten(&grace)));
            }
        }
        if !self.given.contains_key("shutdown_with_message") && !is_off(&message) {
            self.set("stop.message", self.at, Value::Bool(true));
        }
        if let Some(node) = self.given.get("wait_ready").copied()
            && is_true(&node.value)
        {
            self.set("ready.when", node.at, Value::Text("message".into()));
        }
    }

    fn logs(&mut self) {
        if self.is_true("disable_logs") {
            for path in ["logs.out", "logs.err"] {
                self.set(path, self.at, Value::Text("/dev/null".into()));
            }
        } else if let Some(node) = self.given.get("log_file").copied() {
            self.combined(node);
        }
        match self.given.get("merge_logs").copied() {
            Some(node) if node.value == Value::Bool(false) => self.set("logs.per_worker", node.at, Value::Bool(true)),
            None if self.context.around.as_pm2 && self.splits_logs() => {
                self.set("logs.per_worker", self.at, Value::Bool(true));
            }
            _ => {}
        }
        if let Some(node) = self.given.get("log_type").copied() {
            let form = match &node.value {
                Value::Text(text) if text == "json" => "pm2-json",
                _ => "raw",
            };
            self.set("logs.format", node.at, Value::Text(form.into()));
        }
        if let Some(node) = self.given.get("log_date_format").copied().filter(|node| !is_off(&node.value)) {
            if let Value::Text(text) = &node.value
                && let Ok(pattern) = DatePattern::parse(text)
            {
                let unknown: Vec<String> = pattern.unknown().iter().map(|letter| format!("{letter:?}")).collect();
                if !unknown.is_empty() {
                    let list = unknown.join(", ");
                    self.notes.add(format!("log_date_format: {list} mean nothing there and are written as they are"));
                }
            }
            self.set("logs.date_format", node.at, node.value.clone());
        } else if self.is_true("time") {
            self.set("logs.date_format", self.at, Value::Text("YYYY-MM-DDTHH:mm:ss".into()));
        }
    }

    /// Whether PM2 would give each worker files of its own, and somebody may look for them where they were wanted.
    fn splits_logs(&self) -> bool {
        let named = ["out_file", "error_file", "log_file"].iter().any(|key| self.given.contains_key(*key));
        named
            && (self.given.contains_key("instances")
                || self.text("exec_mode").is_some_and(|m| m.starts_with("cluster")))
    }

    /// The file of both outputs, unless it is that of one of them, too.
    fn combined(&mut self, node: &Node) {
        let same = ["out_file", "error_file"]
            .into_iter()
            .filter(|key| self.given.get(*key).is_some_and(|other| other.value == node.value))
            .collect::<Vec<_>>();
        match &node.value {
            Value::Text(text) if text.eq_ignore_ascii_case("null") || text == "/dev/null" => {}
            Value::Text(_) if !same.is_empty() => {
                let same = same.join(" and ");
                self.notes
                    .add(format!("log_file is left out: it is the same as {same}, and each line would be there twice"));
            }
            value => self.set("logs.combined", node.at, self.at_home(value)),
        }
    }

    /// A path that begins with `~/` is below the caller's home.
    fn at_home(&self, value: &Value) -> Value {
        let home = self.context.around.env.get("HOME");
        match (value, home) {
            (Value::Text(text), Some(home)) if text.starts_with("~/") => Value::Text(format!("{home}{}", &text[1..])),
            (value, _) => value.clone(),
        }
    }

    fn file(&mut self, path: &'static str, node: &Node) {
        let value = match &node.value {
            Value::Text(text) if text.eq_ignore_ascii_case("null") => Value::Text("/dev/null".into()),
            value => self.at_home(value),
        };
        self.set(path, node.at, value);
    }

    fn words(&mut self, path: &'static str, node: &Node) {
        let words = match &node.value {
            Value::Text(text) => program::split(text),
            Value::List(items) => return self.add_words(path, node.at, items.clone()),
            value => return self.set(path, node.at, value.clone()),
        };
        let items = words.into_iter().map(|word| Node { at: node.at, value: Value::Text(word) }).collect();
        self.add_words(path, node.at, items);
    }

    /// Puts words behind those that `path` has.
    fn add_words(&mut self, path: &'static str, at: Origin, mut items: Vec<Node>) {
        if let Some(old) = self.made.iter_mut().find(|entry| entry.key == path)
            && let Value::List(list) = &mut old.node.value
        {
            list.append(&mut items);
            return;
        }
        self.set(path, at, Value::List(items));
    }

    /// PM2's times are milliseconds; `10s`, `5m` and `1h` are known, too.
    fn time(&mut self, path: &'static str, node: &Node) {
        let value = match &node.value {
            Value::Integer(ms) => Value::Text(format!("{ms}ms")),
            Value::Float(ms, _) => Value::Text(format!("{}ms", ms.round())),
            Value::Text(text) if text.trim().bytes().all(|byte| byte.is_ascii_digit()) => {
                Value::Text(format!("{}ms", text.trim()))
            }
            value => value.clone(),
        };
        self.set(path, node.at, value);
    }

    /// PM2's sizes are bytes, or have one of the letters K, M and G.
    fn size(&mut self, path: &'static str, node: &Node) {
        let value = match &node.value {
            Value::Integer(0) => return,
            Value::Integer(bytes) => Value::Text(format!("{bytes}B")),
            Value::Text(text) if text.trim().bytes().all(|byte| byte.is_ascii_digit()) => {
                Value::Text(format!("{}B", text.trim()))
            }
            value => value.clone(),
        };
        self.set(path, node.at, value);
    }

    fn text(&self, key: &str) -> Option<String> {
        match &self.given.get(key)?.value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn is_true(&self, key: &str) -> bool {
        self.given.get(key).is_some_and(|node| is_true(&node.value))
    }

    /// Sets a key of musher by its path.
    fn set(&mut self, path: &str, at: Origin, value: Value) {
        set(&mut self.made, path, at, value);
    }
}

fn set(entries: &mut Vec<Entry>, path: &str, at: Origin, value: Value) {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let index = entries.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
        entries.push(Entry { key: key.to_owned(), at, node: Node { at, value: Value::Table(Vec::new()) } });
        entries.len() - 1
    });
    let Some(entry) = entries.get_mut(index) else { return };
    match (rest, &mut entry.node.value) {
        (Some(rest), Value::Table(inner)) => set(inner, rest, at, value),
        _ => entry.node = Node { at, value },
    }
}

/// Values that switch something off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(false) | Value::Null | Value::Integer(0) => true,
        Value::Text(text) => text.is_empty() || text == "false" || text == "0",
        Value::List(items) => items.is_empty(),
        _ => false,
    }
}

fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true)) || matches!(value, Value::Text(text) if text == "true")
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}
