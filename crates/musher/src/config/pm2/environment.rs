//! The variables of an app.

use super::super::tree::{Entry, Node, Value};
use super::{App, convert};

/// `deploy.NAME.env` of a file, for the NAME that `--env` says.
pub(super) fn deployed<'n>(root: &'n Node, name: Option<&str>) -> Option<&'n Node> {
    fn of<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
        let Value::Table(entries) = &node.value else { return None };
        entries.iter().rfind(|entry| entry.key == key).map(|entry| &entry.node)
    }
    of(of(of(root, "deploy")?, name?)?, "env")
}

impl App<'_> {
    /// `env`, what the deployment that `--env` names has over it, `env_NAME` over both, and `port`.
    pub(super) fn environment(&mut self) {
        let mut variables: Vec<Entry> = Vec::new();
        let named = self.context.environment.map(|name| format!("env_{name}"));
        let given = |key: &str| self.given.get(key).map(|node| (key.to_owned(), *node));
        let deployed = self.deployed.map(|node| ("deploy".to_owned(), node));
        let named = named.and_then(|key| given(&key));
        let all: Vec<(String, &Node)> = given("env").into_iter().chain(deployed).chain(named).collect();
        for (key, node) in all {
            let Value::Table(entries) = &node.value else {
                self.faults.add(
                    node.at,
                    key,
                    format!("expected a table of variables, found {}", node.value.describe()),
                );
                continue;
            };
            for entry in entries.iter().filter(|entry| !matches!(entry.node.value, Value::Null)) {
                variables.retain(|other| other.key != entry.key);
                let value = match &entry.node.value {
                    Value::List(_) | Value::Table(_) => Value::Text(convert::json(&entry.node.value)),
                    value => value.clone(),
                };
                variables.push(Entry { node: Node { at: entry.node.at, value }, ..entry.clone() });
            }
        }
        if let Some(port) = self.given.get("port").copied() {
            variables.retain(|other| other.key != "PORT");
            variables.push(Entry { key: "PORT".into(), at: port.at, node: port.clone() });
        }
        if !variables.is_empty() {
            let at = self.given.get("env").map_or(self.at, |node| node.at);
            self.set("env", at, Value::Table(variables));
        }
    }
}
