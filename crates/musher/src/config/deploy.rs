//! Where the program of a process file is deployed to: `deploy.NAME`, with PM2's keys, in files of either kind.

use std::collections::BTreeMap;
use std::path::Path;

use super::fault::{Faults, Origin, did_you_mean, nearest};
use super::tree::{self, Entry, Node, Syntax, Value, shorten};
use super::{ConfigError, Surroundings, bytes_of, pm2};

/// Every key, as it is written with underscores.
const KEYS: [&str; 17] = [
    "user",
    "host",
    "port",
    "key",
    "ref",
    "repo",
    "path",
    "ssh_options",
    "forward_agent",
    "needs_tty",
    "fetch",
    "env",
    "pre_setup",
    "post_setup",
    "pre_deploy_local",
    "pre_deploy",
    "post_deploy",
];

/// One environment that a program is deployed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deployment {
    /// Machines, in order: a name or an address. At least one.
    pub(crate) hosts: Vec<String>,
    /// Account there; none: ssh decides.
    pub(crate) user: Option<String>,
    /// Port of its ssh; none: ssh decides.
    pub(crate) port: Option<u16>,
    /// File of the private key.
    pub(crate) key: Option<String>,
    /// Words for `ssh -o`.
    pub(crate) ssh_options: Vec<String>,
    /// `ssh -A`
    pub(crate) forward_agent: bool,
    /// `ssh -tt`
    pub(crate) tty: bool,
    /// The repository that is cloned there.
    pub(crate) repo: String,
    /// Directory there: absolute, or relative to the account's home.
    pub(crate) path: String,
    /// What is deployed when the command says nothing else.
    pub(crate) reference: String,
    /// Whether only the newest commits are fetched.
    pub(crate) fast: bool,
    /// Variables of the hooks.
    pub(crate) env: BTreeMap<String, String>,
    /// Lines for the shell, by the hook's name with underscores.
    pub(crate) hooks: BTreeMap<&'static str, String>,
}

/// The environment `name` of a process file.
///
/// # Errors
///
/// Everything that is wrong with it, all at once.
pub(crate) fn deployment(path: &Path, name: &str, around: &Surroundings) -> Result<Deployment, ConfigError> {
    let mut faults = Faults::default();
    let found = bytes_of(path, around, &mut faults).and_then(|(bytes, syntax)| {
        let root = parsed(&bytes, syntax, &mut faults)?;
        named(&root, name, &mut faults).and_then(|node| read(node, &mut faults))
    });
    match found {
        Some(deployment) if faults.is_empty() => Ok(deployment),
        _ => Err(faults.into_error(Some(path))),
    }
}

/// The tree of a file, also of one with comments.
pub(super) fn parsed(bytes: &[u8], syntax: Syntax, faults: &mut Faults) -> Option<Node> {
    let mut strict = Faults::default();
    let mut lenient = Faults::default();
    let relaxed = || (syntax == Syntax::Json).then(|| tree::parse_relaxed(bytes, &mut lenient)).flatten();
    let root = tree::parse(bytes, syntax, &mut strict).or_else(relaxed);
    if root.is_none() {
        faults.extend(strict.or_further(lenient));
    }
    root
}

/// The table of an environment.
fn named<'n>(root: &'n Node, name: &str, faults: &mut Faults) -> Option<&'n Node> {
    let environments = entries_of(root).and_then(|entries| entries.iter().find(|entry| entry.key == "deploy"));
    let Some(environments) = environments.and_then(|entry| entries_of(&entry.node)) else {
        faults
            .add(Origin::Whole, "", "there is no deploy in this file")
            .hint("deploy: { production: { host, user, repo, path, ref } }");
        return None;
    };
    let found = environments.iter().find(|entry| entry.key == name);
    if found.is_none() {
        let names: Vec<&str> = environments.iter().map(|entry| entry.key.as_str()).collect();
        let near = did_you_mean(&nearest(name, names.iter().copied()));
        let fault = faults.add(Origin::Whole, "deploy", format!("there is no environment {:?}", shorten(name)));
        fault.hint(if near.is_empty() { format!("it has {}", names.join(", ")) } else { near });
    }
    found.map(|entry| &entry.node)
}

pub(super) fn entries_of(node: &Node) -> Option<&[Entry]> {
    match &node.value {
        Value::Table(entries) => Some(entries),
        _ => None,
    }
}

fn read(node: &Node, faults: &mut Faults) -> Option<Deployment> {
    let Some(entries) = entries_of(node) else {
        faults.add(node.at, "deploy", format!("expected a table, found {}", node.value.describe()));
        return None;
    };
    let mut given: BTreeMap<String, &Node> = BTreeMap::new();
    for entry in entries {
        let key = pm2::snake(&entry.key).replace('-', "_");
        if !KEYS.contains(&key.as_str()) {
            let fault = faults.add(entry.at, "deploy", format!("unknown key {:?}", shorten(&entry.key)));
            fault.hint(did_you_mean(&nearest(&key, KEYS)));
        }
        given.insert(key, &entry.node);
    }
    let mut reader = Reader { given: &given, at: node.at, faults };
    let deployment = Deployment {
        hosts: reader.required_list("host"),
        user: reader.text("user"),
        port: reader.port(),
        key: reader.text("key"),
        ssh_options: reader.list("ssh_options"),
        forward_agent: reader.yes("forward_agent"),
        tty: reader.yes("needs_tty"),
        repo: reader.required("repo"),
        path: reader.required("path"),
        reference: reader.text("ref").unwrap_or_else(|| "origin/HEAD".to_owned()),
        fast: reader.text("fetch").is_some_and(|word| word == "fast"),
        env: reader.env(),
        hooks: KEYS
            .iter()
            .filter(|key| key.starts_with("pre_") || key.starts_with("post_"))
            .filter_map(|key| Some((*key, reader.text(key).filter(|line| !line.trim().is_empty())?)))
            .collect(),
    };
    let words = deployment.hosts.iter().chain(&deployment.user).chain([&deployment.repo, &deployment.reference]);
    for word in words.filter(|word| word.starts_with('-')) {
        // ssh and git would take it for a flag.
        faults.add(node.at, "deploy", format!("{:?} begins with a dash", shorten(word)));
    }
    faults.is_empty().then_some(deployment)
}

struct Reader<'a> {
    given: &'a BTreeMap<String, &'a Node>,
    at: Origin,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn wrong(&mut self, key: &str, node: &Node, expected: &str) {
        self.faults.add(node.at, key, format!("expected {expected}, found {}", node.value.describe()));
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let node = *self.given.get(key)?;
        match &node.value {
            Value::Null => None,
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.wrong(key, node, "a text");
                None
            }
        }
    }

    fn required(&mut self, key: &str) -> String {
        if !self.given.contains_key(key) {
            self.faults.add(self.at, key, "is missing");
        }
        self.text(key).unwrap_or_default()
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.given.get(key).copied() else { return Vec::new() };
        let words: Option<Vec<String>> = match &node.value {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        words.unwrap_or_else(|| {
            self.wrong(key, node, "a text or a list of texts");
            Vec::new()
        })
    }

    fn required_list(&mut self, key: &str) -> Vec<String> {
        let words = self.list(key);
        if words.iter().all(|word| word.trim().is_empty()) {
            self.faults.add(self.at, key, "is missing");
        }
        words
    }

    fn port(&mut self) -> Option<u16> {
        let node = *self.given.get("port")?;
        let port = match &node.value {
            Value::Integer(number) => u16::try_from(*number).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        if port.is_none() {
            self.wrong("port", node, "a port");
        }
        port
    }

    fn yes(&mut self, key: &str) -> bool {
        match self.given.get(key).map(|node| &node.value) {
            Some(Value::Bool(yes)) => *yes,
            Some(Value::Text(word)) => word == "true" || word == "yes",
            _ => false,
        }
    }

    fn env(&mut self) -> BTreeMap<String, String> {
        let Some(node) = self.given.get("env").copied() else { return BTreeMap::new() };
        let Some(entries) = entries_of(node) else {
            self.wrong("env", node, "a table of variables");
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for Entry { key, node, .. } in entries {
            let value = match &node.value {
                Value::Text(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                _ => {
                    self.wrong(key, node, "a text, a number or true or false");
                    continue;
                }
            };
            let is_name = !key.starts_with(|c: char| c.is_ascii_digit())
                && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !key.is_empty();
            if is_name {
                variables.insert(key.clone(), value);
            } else {
                self.faults.add(node.at, "env", format!("{:?} is no name that a shell knows", shorten(key)));
            }
        }
        variables
    }
}
