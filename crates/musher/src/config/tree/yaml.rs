//! YAML into the tree, from the parser's events: so that nothing recurses, depth and aliases are bounded while
//! reading, and keys that are given twice are all seen.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Entry, MAX_DEPTH, MAX_VALUES, Node, Value, place, too_deep};
use crate::config::fault::{Faults, Origin};

/// How many values aliases may add to what is written.
const MAX_ALIASED: usize = 10_000;

pub(super) fn parse(text: &str, faults: &mut Faults) -> Option<Node> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => reader.event(event, origin(&span.start)),
            Err(error) => Err((origin(error.marker()), error.info().to_owned())),
        };
        if let Err((at, message)) = step {
            if message.is_empty() {
                too_deep(at, faults);
            } else {
                faults.add(at, "", message);
            }
            return None;
        }
    }
    match reader.root {
        Some(root) => Some(root),
        None => Some(Node { at: place(1, 1), value: Value::Null }),
    }
}

fn origin(mark: &Marker) -> Origin {
    place(mark.line().max(1), mark.col() + 1)
}

/// Where and what; an empty message stands for "too deep".
type Stop = (Origin, String);

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    root: Option<Node>,
    values: usize,
    aliased: usize,
}

/// A value that aliases can repeat.
struct Anchored {
    node: Node,
    values: usize,
    depth: usize,
}

/// A list or table that is not at its end yet.
struct Open {
    at: Origin,
    anchor: usize,
    kind: OpenKind,
    /// How many values it holds, itself included, and how deep they go.
    values: usize,
    depth: usize,
}

enum OpenKind {
    List(Vec<Node>),
    /// `merged` came by `<<`: it counts where `entries` has no such key.
    Table {
        entries: Vec<Entry>,
        merged: Vec<Entry>,
        key: Option<(String, Origin)>,
    },
}

impl Reader {
    fn event(&mut self, event: Event<'_>, at: Origin) -> Result<(), Stop> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => Ok(()),
            Event::DocumentStart(_) => match self.root {
                None => Ok(()),
                Some(_) => Err((at, "a second document: a process file has one".into())),
            },
            Event::SequenceStart(anchor, _) => self.open(at, anchor, OpenKind::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(at, anchor, OpenKind::Table { entries: Vec::new(), merged: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), at)?;
                self.add(Node { at, value }, anchor, 1, 1)
            }
            Event::Alias(id) => {
                let Some(anchored) = self.anchors.get(&id) else {
                    return Err((at, "an alias of something that contains it".into()));
                };
                self.aliased += anchored.values;
                if self.aliased > MAX_ALIASED {
                    return Err((at, format!("aliases repeat more than {MAX_ALIASED} values")));
                }
                let (node, values, depth) = (anchored.node.clone(), anchored.values, anchored.depth);
                self.add(node, 0, values, depth)
            }
        }
    }

    fn open(&mut self, at: Origin, anchor: usize, kind: OpenKind) -> Result<(), Stop> {
        if let Some(Open { kind: OpenKind::Table { key: None, .. }, .. }) = self.open.last() {
            return Err((at, "a list or a table cannot be a key".into()));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err((at, String::new()));
        }
        self.open.push(Open { at, anchor, kind, values: 1, depth: 1 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(Open { at, anchor, kind, values, depth }) = self.open.pop() else { return Ok(()) };
        let value = match kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Table { mut entries, merged, .. } => {
                for entry in merged {
                    if entries.iter().all(|other| other.key != entry.key) {
                        entries.push(entry);
                    }
                }
                Value::Table(entries)
            }
        };
        self.add(Node { at, value }, anchor, values, depth)
    }

    fn add(&mut self, node: Node, anchor: usize, values: usize, depth: usize) -> Result<(), Stop> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err((node.at, format!("more than {MAX_VALUES} values")));
        }
        if self.open.len() + depth > MAX_DEPTH + 1 {
            return Err((node.at, String::new()));
        }
        if anchor != 0 {
            // Anchors inside anchors cost a copy each: count them like aliases.
            self.aliased += values;
            if self.aliased > MAX_ALIASED {
                return Err((node.at, format!("anchors name more than {MAX_ALIASED} values")));
            }
            self.anchors.insert(anchor, Anchored { node: node.clone(), values, depth });
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.values += values;
        parent.depth = parent.depth.max(depth + 1);
        match &mut parent.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Table { entries, merged, key } => match key.take() {
                None => *key = Some((key_text(node.value, node.at)?, node.at)),
                Some((key, at)) if key == "<<" => merge(merged, node, at)?,
                Some((key, at)) => entries.push(Entry { key, at, node }),
            },
        }
        Ok(())
    }
}

fn key_text(value: Value, at: Origin) -> Result<String, Stop> {
    match value {
        Value::Text(text) | Value::Float(_, text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        other => Err((at, format!("{} cannot be a key", other.describe()))),
    }
}

fn merge(into: &mut Vec<Entry>, node: Node, at: Origin) -> Result<(), Stop> {
    match node.value {
        Value::Table(entries) => {
            into.extend(entries);
            Ok(())
        }
        Value::List(items) => items.into_iter().try_for_each(|item| match item.value {
            Value::Table(entries) => {
                into.extend(entries);
                Ok(())
            }
            other => Err((item.at, format!("<< merges tables, found {}", other.describe()))),
        }),
        other => Err((at, format!("<< merges a table, found {}", other.describe()))),
    }
}

/// The core schema of YAML 1.2: `yes`, `no`, `on` and `off` are strings.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Origin) -> Result<Value, Stop> {
    let tag = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if tag == Some("str") || (style != ScalarStyle::Plain && tag.is_none()) {
        return Ok(Value::Text(text.into()));
    }
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::Text(text.into())),
    };
    let fits = match tag {
        None => true,
        Some("null") => value == Value::Null,
        Some("bool") => matches!(value, Value::Bool(_)),
        Some("int") => matches!(value, Value::Integer(_)),
        Some("float") => matches!(value, Value::Integer(_) | Value::Float(..)),
        Some(_) => false,
    };
    if fits { Ok(value) } else { Err((at, format!("{:?} is not a !!{}", text, tag.unwrap_or_default()))) }
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().filter(|_| digits == text).map(Value::Integer);
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().filter(|_| digits == text).map(Value::Integer);
    }
    if digits.starts_with(|c: char| c.is_ascii_digit()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // A zip code or a commit id such as 0123 keeps its text in an environment.
        return match text.parse() {
            Ok(value) if !digits.starts_with('0') || digits.len() == 1 => Some(Value::Integer(value)),
            _ => Some(Value::Float(text.parse().ok()?, text.into())),
        };
    }
    let plausible = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if !plausible {
        return None;
    }
    Some(Value::Float(text.parse().ok()?, text.into()))
}
