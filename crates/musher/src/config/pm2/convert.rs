//! A tree as text: TOML for `musher convert`, JSON for variables that are objects.

use crate::config::tree::{Entry, Node, Value};

/// The apps of a tree as a musher.toml.
pub(in crate::config) fn toml(root: &Node) -> String {
    let mut text = String::new();
    let Value::Table(entries) = &root.value else { return text };
    let apps = entries.iter().filter_map(|entry| match &entry.node.value {
        Value::List(apps) if entry.key == "app" => Some(apps),
        _ => None,
    });
    for app in apps.flatten() {
        let Value::Table(entries) = &app.value else { continue };
        text.push_str(if text.is_empty() { "[[app]]\n" } else { "\n[[app]]\n" });
        // Tables below the app come last, each under its own head when it is long.
        let (tables, plain): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| matches!(entry.node.value, Value::Table(_)));
        for entry in plain.into_iter().chain(tables) {
            text.push_str(&format!("{} = {}\n", key(&entry.key), value(&entry.node.value)));
        }
    }
    text
}

fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { text.to_owned() } else { string(text) }
}

fn string(text: &str) -> String {
    ::toml::Value::String(text.to_owned()).to_string()
}

fn value(from: &Value) -> String {
    match from {
        Value::Null => "\"\"".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number, _) => ::toml::Value::Float(*number).to_string(),
        Value::Text(text) => string(text),
        Value::Date(text) => text.clone(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| value(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|entry| format!("{} = {}", key(&entry.key), value(&entry.node.value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A value as JSON.
pub(super) fn json(from: &Value) -> String {
    to_json(from).to_string()
}

fn to_json(from: &Value) -> serde_json::Value {
    match from {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number, _) => (*number).into(),
        Value::Text(text) | Value::Date(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(|item| to_json(&item.value)).collect(),
        Value::Table(entries) => entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.node.value))).collect(),
    }
}
