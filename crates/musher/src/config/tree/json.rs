//! JSON into the tree. `serde_json` judges the syntax (its messages are good and it is strict); this walks over text
//! that is known to be valid, so as to keep the place of every value and keys that are given twice.

use serde::de::IgnoredAny;

use super::{Entry, Lines, MAX_DEPTH, Node, Value, place, relaxed, too_deep};
use crate::config::fault::{Faults, Origin};

pub(super) fn parse(text: &str, faults: &mut Faults) -> Option<Node> {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let fault = faults.add(place(error.line().max(1), error.column().max(1)), "", message);
        if text.contains("//") || text.contains("/*") || matches!(message, "trailing comma" | "key must be a string") {
            fault.hint("JSON has no comments and no trailing commas; TOML and YAML do");
        }
        return None;
    }
    walk(text, faults)
}

/// JSON as PM2's users write it.
pub(super) fn parse_relaxed(text: &str, faults: &mut Faults) -> Option<Node> {
    let plain = relaxed::plain(text);
    let proper = relaxed::Proper::of(&plain);
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&proper.text) {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let at = Lines::new(text).place(proper.origin(error.line(), error.column()));
        faults.add(at, "", message).hint("a JSON file is data: what is computed belongs into an ecosystem.config.js");
        return None;
    }
    walk(&plain, faults)
}

/// The tree of text that is known to be valid.
fn walk(text: &str, faults: &mut Faults) -> Option<Node> {
    let mut walk = Walk { text, bytes: text.as_bytes(), next: 0, lines: Lines::new(text) };
    match walk.node(1) {
        Ok(node) => Some(node),
        Err((at, message)) if message.is_empty() => {
            too_deep(at, faults);
            None
        }
        Err((at, message)) => {
            faults.add(at, "", message);
            None
        }
    }
}

/// Where and what; an empty message stands for "too deep".
type Stop = (Origin, String);

struct Walk<'a> {
    text: &'a str,
    bytes: &'a [u8],
    next: usize,
    lines: Lines<'a>,
}

impl Walk<'_> {
    fn node(&mut self, depth: usize) -> Result<Node, Stop> {
        self.skip_space();
        let at = self.here();
        if depth > MAX_DEPTH {
            return Err((at, String::new()));
        }
        let value = match self.peek() {
            b'{' => self.table(depth)?,
            b'[' => self.list(depth)?,
            b'"' | b'\'' => Value::Text(self.string()?),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number()?,
        };
        Ok(Node { at, value })
    }

    fn table(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut entries = Vec::new();
        self.next += 1;
        while self.more(b'}') {
            let at = self.here();
            let key = self.string()?;
            self.skip_space();
            self.next += 1; // the colon
            entries.push(Entry { key, at, node: self.node(depth + 1)? });
        }
        Ok(Value::Table(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        self.next += 1;
        while self.more(b']') {
            items.push(self.node(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    /// Steps over a comma; false behind the closing bracket.
    fn more(&mut self, close: u8) -> bool {
        self.skip_space();
        if self.peek() == b',' {
            self.next += 1;
            self.skip_space();
        }
        if self.peek() == close || self.next >= self.bytes.len() {
            self.next += 1;
            return false;
        }
        true
    }

    /// Text in quotes, or a key without.
    fn string(&mut self) -> Result<String, Stop> {
        let (start, at, quote) = (self.next, self.here(), self.peek());
        if !matches!(quote, b'"' | b'\'') {
            let rest = self.text.get(start..).unwrap_or_default();
            let name = &rest[..relaxed::name(rest)];
            self.next += name.len();
            return Ok(name.to_owned());
        }
        self.next += 1;
        while self.next < self.bytes.len() && self.peek() != quote {
            self.next += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.next = (self.next + 1).min(self.bytes.len());
        let literal = self.text.get(start..self.next).unwrap_or_default();
        let proper = if quote == b'"' { literal.to_owned() } else { relaxed::requoted(literal) };
        serde_json::from_str(&proper).map_err(|error| {
            let message = error.to_string();
            (at, message.split(" at line ").next().unwrap_or_default().to_owned())
        })
    }

    fn number(&mut self) -> Result<Value, Stop> {
        let (start, at) = (self.next, self.here());
        while self.next < self.bytes.len() && matches!(self.peek(), b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E') {
            self.next += 1;
        }
        let literal = self.text.get(start..self.next).unwrap_or_default();
        match literal.parse::<i64>() {
            Ok(value) => Ok(Value::Integer(value)),
            Err(_) => match literal.parse::<f64>() {
                Ok(value) => Ok(Value::Float(value, literal.into())),
                Err(_) => Err((at, format!("{literal:?} is not a value"))),
            },
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Value {
        self.next += word.len();
        value
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.next += 1;
        }
    }

    /// The next byte; 0 at the end.
    fn peek(&self) -> u8 {
        self.bytes.get(self.next).copied().unwrap_or(0)
    }

    fn here(&self) -> Origin {
        self.lines.place(self.next)
    }
}
