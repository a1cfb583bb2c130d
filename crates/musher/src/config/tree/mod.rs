//! The values of a process file with their places, whatever syntax they were written in.
//!
//! Three readers produce the same tree: TOML, YAML and JSON. They know syntax and bounds; what a key means is not
//! their business. Every bound is checked before memory or stack is spent on what is beyond it.

mod json;
mod relaxed;
mod toml;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

use super::fault::{Faults, Origin};

/// The largest process file, in bytes.
pub(super) const MAX_FILE: usize = 4 << 20;
/// How the names of process files end that are programs.
const PROGRAMS: [&str; 6] = [".config.js", ".config.cjs", ".config.mjs", ".config.ts", ".config.cts", ".config.mts"];
/// The deepest nesting.
const MAX_DEPTH: usize = 64;
/// The largest number of values in a file, aliases expanded.
const MAX_VALUES: usize = 1_000_000;

/// A syntax of process files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2 with merge keys (`<<`).
    Yaml,
    /// JSON, RFC 8259.
    Json,
    /// A program that exports apps: `ecosystem.config.js`, PM2's.
    Program,
}

impl Syntax {
    /// The syntax that a file's extension names.
    pub(crate) fn of(path: &Path) -> Option<Syntax> {
        let name = path.file_name()?.to_str()?;
        if PROGRAMS.iter().any(|end| name.ends_with(end)) {
            return Some(Syntax::Program);
        }
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Syntax::Toml),
            "yaml" | "yml" => Some(Syntax::Yaml),
            "json" => Some(Syntax::Json),
            _ => None,
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Origin,
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// With its text, so that `VERSION: 1.10` in an environment stays what was written.
    Float(f64, String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// A date or time, which only TOML has.
    Date(String),
}

/// One `key = value`. A table keeps every entry, also one whose key was there before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Origin,
    pub(super) node: Node,
}

impl Value {
    /// What this is, for "found ...".
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Null => "nothing (null)".into(),
            Value::Bool(value) => format!("{value}"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(_, text) => format!("the number {text}"),
            Value::Text(text) => format!("the string {:?}", shorten(text)),
            Value::List(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
            Value::Date(text) => format!("the date {text}"),
        }
    }
}

/// At most 40 characters of `text`.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 { text.into() } else { text.chars().take(37).chain("...".chars()).collect() }
}

/// The tree of `bytes`. On a fault of syntax there is no tree.
pub(super) fn parse(bytes: &[u8], syntax: Syntax, faults: &mut Faults) -> Option<Node> {
    if bytes.len() > MAX_FILE {
        faults.add(Origin::Whole, "", format!("the file is larger than {} MiB", MAX_FILE >> 20));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            let at = Lines::new(&valid).place(valid.len());
            faults.add(at, "", "this byte is not UTF-8");
            return None;
        }
    };
    match syntax {
        Syntax::Toml => toml::parse(text, faults),
        Syntax::Yaml => yaml::parse(text, faults),
        // What a program exports was made JSON.
        Syntax::Json | Syntax::Program => json::parse(text, faults),
    }
}

/// The tree of JSON as PM2's users write it: with comments, commas behind the last of a list, keys without quotes and text
/// in single ones.
pub(super) fn parse_relaxed(bytes: &[u8], faults: &mut Faults) -> Option<Node> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_FILE)?;
    json::parse_relaxed(text.strip_prefix('\u{feff}').unwrap_or(text), faults)
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(n, _)| n + 1);
        Lines { text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    fn place(&self, offset: usize) -> Origin {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        // A line of megabytes would make this quadratic; nobody reads such a column.
        let column = if offset - start > 10_000 { offset - start } else { self.text[start..offset].chars().count() };
        place(line, column + 1)
    }
}

fn place(line: usize, column: usize) -> Origin {
    let small = |n| u32::try_from(n).unwrap_or(u32::MAX);
    Origin::Place { line: small(line), column: small(column) }
}

fn too_deep(at: Origin, faults: &mut Faults) {
    faults.add(at, "", format!("nested more than {MAX_DEPTH} deep"));
}
