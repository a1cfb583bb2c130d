//! Folders of files that PM2 would serve: `static` of a file, and the script `serve` with its `PM2_SERVE_...` variables.
//! Both become this executable with `serve --foreground`, on a socket that musher opens.

use std::net::IpAddr;

use super::super::fault::{Faults, Origin};
use super::super::tree::{Entry, Node, Value};
use super::{App, Notes, is_true, number, set, snake};

/// PM2's default.
const PORT: u16 = 8080;

/// What is served, and how.
pub(super) struct Site {
    at: Origin,
    path: String,
    port: u16,
    host: IpAddr,
    spa: bool,
    listing: bool,
    account: Option<(String, String)>,
}

impl Site {
    /// From what `value` finds by the names that `static` has.
    fn read(at: Origin, value: impl Fn(&str) -> Option<Value>, faults: &mut Faults, notes: &mut Notes) -> Site {
        let text = |key: &str| match value(key)? {
            Value::Text(text) => Some(text),
            Value::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        let yes = |key: &str| value(key).is_some_and(|value| is_true(&value));
        let host = text("host").and_then(|host| host.parse().ok()).unwrap_or_else(|| {
            notes.add("a served folder can be reached from this machine only; with host: \"0.0.0.0\" by others, too");
            IpAddr::from([127, 0, 0, 1])
        });
        let port = value("port").and_then(|value| number(&value)).and_then(|port| u16::try_from(port).ok());
        let account = text("username").zip(text("password"));
        // Half of it would let everybody in who was meant to be kept out.
        if account.is_none() && (value("username").is_some() || value("password").is_some()) {
            faults.add(at, "basic_auth", "a name and a password go together, both texts");
        }
        Site {
            at,
            path: text("path").unwrap_or_else(|| ".".into()),
            port: port.unwrap_or(PORT),
            host,
            spa: yes("spa"),
            listing: yes("ftp"),
            account,
        }
    }

    /// Writes the keys of a musher.toml.
    pub(super) fn write(&self, made: &mut Vec<Entry>) {
        let text = |text: &str| Node { at: self.at, value: Value::Text(text.to_owned()) };
        let executable = std::env::current_exe().unwrap_or_else(|_| "musher".into());
        let port = self.port.to_string();
        let host = self.host.to_string();
        let mut words =
            vec![&*executable.to_string_lossy(), "serve", &self.path, &port, "--foreground", "--host", &host]
                .into_iter()
                .map(text)
                .collect::<Vec<_>>();
        words.extend(self.spa.then(|| text("--spa")));
        words.extend(self.listing.then(|| text("--listing")));
        let address = std::net::SocketAddr::new(self.host, self.port);
        set(made, "command", self.at, Value::List(words));
        set(made, "listen", self.at, Value::List(vec![text(&format!("tcp://{address}"))]));
        set(made, "balance", self.at, Value::Text("kernel".into()));
        set(made, "ready", self.at, Value::Text("notify".into()));
        if let Some((name, password)) = &self.account {
            set(made, "env.SERVE_USERNAME", self.at, Value::Text(name.clone()));
            set(made, "env.SERVE_PASSWORD", self.at, Value::Text(password.clone()));
        }
    }
}

impl App<'_> {
    /// What the script `serve` serves, if this app is that.
    pub(super) fn site(&mut self) -> Option<Site> {
        if self.text("script")? != "serve" || self.context.around.cwd.join("serve").exists() {
            return None;
        }
        // As its program would find them: what `--env` names first, then `env`, then the shell's.
        let named = self.context.environment.map(|name| format!("env_{name}"));
        let tables: Vec<&Value> = named
            .iter()
            .map(String::as_str)
            .chain(["env"])
            .filter_map(|key| Some(&self.given.get(key)?.value))
            .collect();
        let shell = &self.context.around.env;
        let value = |key: &str| {
            let name = match key {
                "username" => "PM2_SERVE_BASIC_AUTH_USERNAME".to_owned(),
                "password" => "PM2_SERVE_BASIC_AUTH_PASSWORD".to_owned(),
                key => format!("PM2_SERVE_{}", key.to_uppercase()),
            };
            let given = tables.iter().find_map(|table| match table {
                Value::Table(entries) => entries.iter().find(|entry| entry.key == name),
                _ => None,
            });
            given.map(|entry| entry.node.value.clone()).or_else(|| Some(Value::Text(shell.get(&name)?.clone())))
        };
        let site = Site::read(self.at, value, self.faults, self.notes);
        self.count();
        Some(site)
    }
}

/// The apps of `static`, as tables of a musher.toml.
pub(super) fn of_static(node: &Node, faults: &mut Faults, notes: &mut Notes) -> Vec<Node> {
    let items = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    items
        .into_iter()
        .filter_map(|item| {
            let Value::Table(entries) = &item.value else { return None };
            let find = |entries: &[Entry], key: &str| {
                entries.iter().find(|entry| snake(&entry.key) == key).map(|entry| entry.node.value.clone())
            };
            let value = |key: &str| match key {
                "username" | "password" => match find(entries, "basic_auth") {
                    Some(Value::Table(account)) => find(&account, key),
                    _ => None,
                },
                key => find(entries, key),
            };
            let site = Site::read(item.at, value, faults, notes);
            let name = match value("name") {
                Some(Value::Text(name)) => name,
                _ => format!("static-page-server-{}", site.port),
            };
            let mut made = Vec::new();
            set(&mut made, "name", item.at, Value::Text(name));
            site.write(&mut made);
            Some(Node { at: item.at, value: Value::Table(made) })
        })
        .collect()
}
