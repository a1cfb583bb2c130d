//! JSON as Node's `util.inspect` prints objects: what `pm2 prettylist` is.

use serde_json::Value;

/// A line that is longer is broken into several.
const WIDTH: usize = 80;
/// How deep the things may be that stand in one line.
const LEVELS: usize = 3;

/// `value`, with what follows its first line indented by `indent`.
pub(super) fn inspect(value: &Value, indent: usize) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| inspect(item, indent + 2)).collect();
            joined(value, items, '[', ']', indent)
        }
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", name(key), inspect(value, indent + 2));
            joined(value, entries.iter().map(entry).collect(), '{', '}', indent)
        }
    }
}

fn joined(value: &Value, parts: Vec<String>, open: char, close: char, indent: usize) -> String {
    if parts.is_empty() {
        return format!("{open}{close}");
    }
    let length: usize = parts.iter().map(|part| part.chars().count() + 1).sum::<usize>() + parts.len();
    let fits = length + indent + 11 <= WIDTH && parts.iter().all(|part| !part.contains('\n'));
    if fits && depth(value) <= LEVELS {
        return format!("{open} {} {close}", parts.join(", "));
    }
    let pad = " ".repeat(indent);
    format!("{open}\n{pad}  {}\n{pad}{close}", parts.join(&format!(",\n{pad}  ")))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn name(key: &str) -> String {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    let bare = key.starts_with(first) && key.chars().all(|c| first(c) || c.is_ascii_digit());
    if bare { key.to_owned() } else { quoted(key) }
}

fn quoted(text: &str) -> String {
    let quote = if !text.contains('\'') {
        '\''
    } else if !text.contains('"') {
        '"'
    } else if !text.contains('`') && !text.contains("${") {
        '`'
    } else {
        '\''
    };
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{8}' => quoted.push_str("\\b"),
            '\\' => quoted.push_str("\\\\"),
            c if c == quote => quoted.extend(['\\', c]),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => quoted.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::inspect;

    #[test]
    fn objects_are_printed_as_by_node() {
        // What Node 20 prints for the same.
        let value = json!([{
            "pid": 1, "name": "web", "monit": { "memory": 53_149_696, "cpu": 0.1 },
            "pm2_env": { "a-b": "it's", "args": ["--harmony"], "none": {}, "empty": [], "status": "online",
                "text": "line\none \u{1b}[1m", "long": "x".repeat(60) },
        }]);
        let expected = "\
[
  {
    monit: { cpu: 0.1, memory: 53149696 },
    name: 'web',
    pid: 1,
    pm2_env: {
      'a-b': \"it's\",
      args: [ '--harmony' ],
      empty: [],
      long: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
      none: {},
      status: 'online',
      text: 'line\\none \\x1B[1m'
    }
  }
]";
        assert_eq!(inspect(&value, 0), expected);
    }
}
