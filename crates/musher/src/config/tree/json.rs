//! JSON into the tree. `serde_json` judges the syntax (its messages are good and it is strict); this walks over text
//! that is known to be valid, so as to keep the place of every value and keys that are given twice.

use serde::de::IgnoredAny;

use super::{Entry, Lines, MAX_DEPTH, Node, Value, place, too_deep};
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

/// The text with spaces in place of comments and of commas before a closing bracket, so that places stay what they are.
/// Nothing else is changed: what was no data before is none after.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let blank = |plain: &mut String, text: &str| {
        plain.extend(text.chars().flat_map(|c| {
            let width = if c == '\n' { 0 } else { c.len_utf8() };
            std::iter::repeat_n(' ', width).chain((c == '\n').then_some('\n'))
        }));
    };
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '"' => {
                let mut escaped = false;
                let close = rest[1..].find(|c: char| {
                    let found = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    found
                });
                close.map_or(rest.len(), |at| at + 2)
            }
            '/' if rest.starts_with("//") => {
                let end = rest.find('\n').unwrap_or(rest.len());
                blank(&mut plain, &rest[..end]);
                rest = &rest[end..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                let end = rest[2..].find("*/").map_or(rest.len(), |at| at + 4);
                blank(&mut plain, &rest[..end]);
                rest = &rest[end..];
                continue;
            }
            c => c.len_utf8(),
        };
        plain.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    without_last_commas(&plain)
}

fn without_last_commas(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let (mut comma, mut in_string, mut escaped) = (None, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b',' => comma = Some(at),
            b'}' | b']' => {
                if let Some(comma) = comma.take().and_then(|comma| bytes.get_mut(comma)) {
                    *comma = b' ';
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => (comma, in_string, escaped) = (None, byte == b'"', false),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
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
            b'"' => Value::Text(self.string()?),
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

    fn string(&mut self) -> Result<String, Stop> {
        let (start, at) = (self.next, self.here());
        self.next += 1;
        while self.next < self.bytes.len() && self.peek() != b'"' {
            self.next += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.next = (self.next + 1).min(self.bytes.len());
        let literal = self.text.get(start..self.next).unwrap_or_default();
        serde_json::from_str(literal).map_err(|error| {
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
