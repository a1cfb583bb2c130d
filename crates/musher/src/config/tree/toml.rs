//! TOML into the tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Lines, MAX_DEPTH, Node, Value, too_deep};
use crate::config::fault::Faults;

pub(super) fn parse(text: &str, faults: &mut Faults) -> Option<Node> {
    let lines = Lines::new(text);
    // The parser limits its own recursion; 64 is checked here so that the three syntaxes agree.
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = lines.place(error.span().map_or(0, |span| span.start));
        faults.add(at, "", error.message());
    }
    if !errors.is_empty() {
        return None;
    }
    let mut reader = Reader { lines, faults, failed: false };
    let value = Value::Table(reader.table(table.get_ref(), 1));
    let at = reader.lines.place(table.span().start);
    (!reader.failed).then_some(Node { at, value })
}

struct Reader<'a, 'b> {
    lines: Lines<'a>,
    faults: &'b mut Faults,
    failed: bool,
}

impl Reader<'_, '_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Vec<Entry> {
        table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                at: self.lines.place(key.span().start),
                node: self.node(value, depth),
            })
            .collect()
    }

    fn node(&mut self, spanned: &Spanned<DeValue<'_>>, depth: usize) -> Node {
        let at = self.lines.place(spanned.span().start);
        if depth > MAX_DEPTH {
            if !self.failed {
                too_deep(at, self.faults);
            }
            self.failed = true;
            return Node { at, value: Value::Null };
        }
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => Value::Integer(value),
                Err(_) => {
                    self.faults.add(at, "", format!("{number} is too large a number"));
                    self.failed = true;
                    Value::Null
                }
            },
            DeValue::Float(number) => {
                let text = number.as_str().to_owned();
                Value::Float(text.parse().unwrap_or(f64::NAN), text)
            }
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item, depth + 1)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table, depth + 1)),
        };
        Node { at, value }
    }
}
