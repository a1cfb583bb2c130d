//! The tree into apps as they were written. One pass, all faults: a wrong value is reported and counts as not given.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::{Faults, Origin, did_you_mean, nearest};
use super::keys::{KEYS, Kind, keys_of, suggestion};
use super::raw::RawApp;
use super::tree::{Entry, Node, Value, shorten};
use super::values;

/// The apps of a file.
pub(super) fn apps(root: &Node, faults: &mut Faults) -> Vec<RawApp> {
    let entries = match &root.value {
        Value::Table(entries) => entries,
        Value::Null => &Vec::new(),
        other => {
            let fault = faults.add(
                root.at,
                "",
                format!("a process file is a table with the key app, found {}", other.describe()),
            );
            fault.hint("write app: with a list of apps under it");
            return Vec::new();
        }
    };
    let mut apps = Vec::new();
    let mut seen: Option<Origin> = None;
    for entry in entries {
        // It says nothing about apps: `musher deploy` reads it.
        if entry.key == "deploy" {
            continue;
        }
        if entry.key != "app" {
            let fault = faults.add(entry.at, "", format!("unknown key {:?}", shorten(&entry.key)));
            fault.hint(match KEYS.iter().any(|key| key.path == entry.key) {
                true => format!(
                    "{} belongs to an app: put it under [[app]] (TOML) or into the list app: (YAML, JSON)",
                    entry.key
                ),
                false => match nearest(&entry.key, ["app"]).is_empty() && entry.key != "apps" {
                    true => "the keys of a process file are \"app\" and \"deploy\"".to_owned(),
                    false => did_you_mean(&["app"]),
                },
            });
            continue;
        }
        if let Some(first) = seen.replace(entry.at) {
            faults.add(entry.at, "app", given_twice(first));
        }
        match &entry.node.value {
            Value::List(items) => apps.extend(items.iter().filter_map(|item| app(item, faults))),
            other => {
                let fault =
                    faults.add(entry.node.at, "app", format!("expected a list of apps, found {}", other.describe()));
                fault.hint("write [[app]] in TOML, or app: with a list of apps under it");
            }
        }
    }
    if apps.is_empty() && faults.is_empty() {
        faults
            .add(Origin::Whole, "", "no app in this file")
            .hint("an app begins with [[app]] and has a script or a command");
    }
    apps
}

/// One app.
pub(super) fn app(node: &Node, faults: &mut Faults) -> Option<RawApp> {
    let mut decoder = Decoder { faults, places: BTreeMap::new() };
    let table = decoder.table(node, "")?;
    let mut app = table.app(&mut decoder);
    app.at = node.at;
    app.places = decoder.places;
    Some(app)
}

fn given_twice(first: Origin) -> String {
    match first {
        Origin::Place { line, .. } => format!("given twice; first in line {line}"),
        _ => "given twice".into(),
    }
}

pub(super) struct Decoder<'f> {
    faults: &'f mut Faults,
    places: BTreeMap<String, Origin>,
}

/// The entries of one table whose keys are known.
pub(super) struct Table<'n> {
    path: &'static str,
    pub(super) at: Origin,
    entries: Vec<&'n Entry>,
}

impl Decoder<'_> {
    pub(super) fn fault(&mut self, at: Origin, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.add(at, path, message).hint(hint);
    }

    fn expected(&mut self, node: &Node, path: &str, what: &str, hint: &str) {
        self.fault(node.at, path, format!("expected {what}, found {}", node.value.describe()), hint);
    }

    /// The known entries of a table; unknown and repeated ones are reported.
    pub(super) fn table<'n>(&mut self, node: &'n Node, path: &'static str) -> Option<Table<'n>> {
        let Value::Table(entries) = &node.value else {
            let what = if path.is_empty() { "a table that describes an app" } else { "a table" };
            self.expected(node, path, what, "");
            return None;
        };
        let mut known: Vec<&Entry> = Vec::new();
        for entry in entries {
            let full = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            if keys_of(path).all(|key| key.path != full) {
                let hint = suggestion(path, &entry.key);
                self.fault(entry.at, "", format!("unknown key {:?}", shorten(&full)), hint);
            } else if let Some(first) = known.iter().find(|other| other.key == entry.key) {
                let message = given_twice(first.at);
                self.fault(entry.at, &full, message, "");
            } else {
                self.places.insert(full, entry.at);
                known.push(entry);
            }
        }
        Some(Table { path, at: node.at, entries: known })
    }

    pub(super) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                self.expected(node, path, "a string", "");
                None
            }
        }
    }

    /// Text, or what has one obvious text.
    fn scalar(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) | Value::Float(_, text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null => {
                self.expected(node, path, "a string, a number, true or false", "\"\" is the empty string");
                None
            }
            _ => {
                self.expected(node, path, "a string, a number, true or false", "");
                None
            }
        }
    }

    /// A string split like a shell does, or a list of words.
    pub(super) fn words(&mut self, node: &Node, path: &str) -> Option<Vec<String>> {
        match &node.value {
            Value::Text(text) => match values::words(text) {
                Ok(words) => Some(words),
                Err(message) => {
                    self.fault(node.at, path, message, "");
                    None
                }
            },
            Value::List(items) => items.iter().map(|item| self.scalar(item, path)).collect(),
            _ => {
                self.expected(node, path, "a string or a list of strings", "");
                None
            }
        }
    }

    pub(super) fn texts(&mut self, node: &Node, path: &str) -> Option<Vec<String>> {
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.text(item, path)).collect(),
            _ => Some(vec![self.text(node, path)?]),
        }
    }

    pub(super) fn variables(&mut self, node: &Node, path: &'static str) -> BTreeMap<String, String> {
        let Value::Table(entries) = &node.value else {
            self.expected(node, path, "a table of variables", "");
            return BTreeMap::new();
        };
        let mut variables = BTreeMap::new();
        for entry in entries {
            let full = format!("{path}.{}", entry.key);
            if let Some(first) = self.places.get(&full) {
                let message = given_twice(*first);
                self.fault(entry.at, &full, message, "");
                continue;
            }
            if let Some(value) = self.scalar(&entry.node, &full) {
                variables.insert(entry.key.clone(), value);
            }
            self.places.insert(full, entry.at);
        }
        variables
    }

    pub(super) fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => return Some(*value),
            Value::Text(text) if matches!(node.at, Origin::Flag(_)) && text == "true" => return Some(true),
            Value::Text(text) if matches!(node.at, Origin::Flag(_)) && text == "false" => return Some(false),
            _ => self.expected(node, path, "true or false", ""),
        }
        None
    }

    /// A whole number within the bounds that the table of keys gives for `path`.
    pub(super) fn integer(&mut self, node: &Node, path: &str) -> Option<i64> {
        let (low, high) = match KEYS.iter().find(|key| key.path == path).map(|key| key.kind) {
            Some(Kind::Integer(low, high)) => (low, high),
            _ => (i64::MIN, i64::MAX),
        };
        let number = self.any_integer(node, path)?;
        if (low..=high).contains(&number) {
            return Some(number);
        }
        let bounds = if high == i64::MAX { format!("at least {low}") } else { format!("{low} to {high}") };
        self.fault(node.at, path, format!("{number} is out of range: {bounds}"), "");
        None
    }

    fn any_integer(&mut self, node: &Node, path: &str) -> Option<i64> {
        let number = match &node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) if matches!(node.at, Origin::Flag(_)) => text.trim().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.expected(node, path, "a whole number", "");
        }
        number
    }

    pub(super) fn integers(&mut self, node: &Node, path: &str) -> Vec<i64> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| self.any_integer(item, path)).collect(),
            Value::Text(text) if matches!(node.at, Origin::Flag(_)) => {
                let part = |part: &str| Node { at: node.at, value: Value::Text(part.into()) };
                text.split(',').filter_map(|text| self.any_integer(&part(text), path)).collect()
            }
            _ => {
                self.expected(node, path, "a list of whole numbers", "");
                Vec::new()
            }
        }
    }

    /// A number within the bounds that the table of keys gives for `path`.
    pub(super) fn number(&mut self, node: &Node, path: &str) -> Option<f64> {
        let number = match &node.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number, _) => Some(*number),
            Value::Text(text) if matches!(node.at, Origin::Flag(_)) => text.parse().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.expected(node, path, "a number", "");
            return None;
        };
        if let Some(Kind::Number(low, high)) = KEYS.iter().find(|key| key.path == path).map(|key| key.kind)
            && !(low as f64..=high as f64).contains(&number)
        {
            self.fault(node.at, path, format!("{number} is out of range: {low} to {high}"), "");
            return None;
        }
        Some(number)
    }

    pub(super) fn duration(&mut self, node: &Node, path: &str) -> Option<Duration> {
        let error = match &node.value {
            Value::Text(text) => match values::duration(text) {
                Ok(duration) => return Some(duration),
                Err(error) => error,
            },
            Value::Integer(number) => {
                let hint = format!("write \"{number}ms\", \"{number}s\" or \"{number}m\"");
                self.fault(node.at, path, format!("{number} has no unit"), hint);
                return None;
            }
            Value::Float(_, number) => {
                self.fault(node.at, path, format!("{number} has no unit"), format!("write \"{number}s\""));
                return None;
            }
            _ => {
                self.expected(node, path, "a duration such as \"500ms\" or \"2s\"", "");
                return None;
            }
        };
        self.fault(node.at, path, error, "");
        None
    }

    pub(super) fn size(&mut self, node: &Node, path: &str) -> Option<u64> {
        let error = match &node.value {
            Value::Text(text) => match values::size(text) {
                Ok(size) => return Some(size),
                Err(error) => error,
            },
            Value::Integer(0) => return Some(0),
            Value::Integer(number) => {
                let hint = format!("write \"{number}B\", \"{number}KiB\" or \"{number}MiB\"");
                self.fault(node.at, path, format!("{number} has no unit"), hint);
                return None;
            }
            _ => {
                self.expected(node, path, "a size such as \"10MiB\"", "");
                return None;
            }
        };
        self.fault(node.at, path, error, "");
        None
    }

    /// The index of the word among `words`.
    pub(super) fn choice(&mut self, node: &Node, path: &str, words: &[&str]) -> Option<usize> {
        let Value::Text(text) = &node.value else {
            let what = if words.is_empty() { "a table".to_owned() } else { one_of(words) };
            self.expected(node, path, &what, "");
            return None;
        };
        let found = words.iter().position(|word| word == text);
        if found.is_none() {
            let near = nearest(text, words.iter().copied());
            let hint = near.first().map(|best| did_you_mean(&[best])).unwrap_or_default();
            self.fault(node.at, path, format!("{:?} is not {}", shorten(text), one_of(words)), hint);
        }
        found
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", quoted.join(", "))
}

impl<'n> Table<'n> {
    /// The value of `key`, with its full path.
    pub(super) fn of(&self, key: &str) -> Option<(&'n Node, &'static str)> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let known = keys_of(self.path).find(|known| known.path.rsplit('.').next() == Some(key))?;
        Some((&entry.node, known.path))
    }

    /// Decodes the value of `key` by `how`, when there is one.
    pub(super) fn read<'d, 'f, T>(
        &self,
        decoder: &'d mut Decoder<'f>,
        key: &str,
        how: impl FnOnce(&'d mut Decoder<'f>, &'n Node, &'static str) -> Option<T>,
    ) -> Option<T> {
        let (node, path) = self.of(key)?;
        how(decoder, node, path)
    }
}
