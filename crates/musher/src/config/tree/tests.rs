//! What the three syntaxes agree on, and their bounds.

use proptest::prelude::{Strategy, any, prop, proptest};

use super::{Entry, MAX_FILE, Node, Syntax, Value, parse, parse_relaxed};
use crate::config::fault::{Faults, Origin};

fn read(text: &str, syntax: Syntax) -> Result<Node, String> {
    let mut faults = Faults::default();
    match parse(text.as_bytes(), syntax, &mut faults) {
        Some(node) if faults.is_empty() => Ok(node),
        _ => Err(faults.into_error(None).to_string()),
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> &'a Entry {
    let Value::Table(entries) = &node.value else { panic!("not a table: {node:?}") };
    entries.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("no {key} in {node:?}"))
}

fn at(line: u32, column: u32) -> Origin {
    Origin::Place { line, column }
}

#[test]
fn places_are_lines_and_columns_from_1_in_every_syntax() {
    for (syntax, text, key, value) in [
        (Syntax::Toml, "# héé\na = 1\n  b = \"ü\"\n", at(3, 3), at(3, 7)),
        (Syntax::Yaml, "# héé\na: 1\nb: ü\n", at(3, 1), at(3, 4)),
        (Syntax::Json, "{ \"a\": 1,\n  \"é\": 2,  \"b\": \"ü\" }", at(2, 12), at(2, 17)),
    ] {
        let tree = read(text, syntax).unwrap();
        let b = entry(&tree, "b");
        assert_eq!((b.at, b.node.at), (key, value), "{syntax:?}");
        assert_eq!(b.node.value, Value::Text("ü".into()));
    }
}

#[test]
fn json_strings_are_unescaped_as_json_says() {
    let tree =
        read(r#"{"a\u0041": "\ud83d\ude00 \/ \n \"x\" \\", "b": [1, -2.50, 1e3, true, null, {}]}"#, Syntax::Json);
    let tree = tree.unwrap();
    assert_eq!(entry(&tree, "aA").node.value, Value::Text("😀 / \n \"x\" \\".into()));
    let Value::List(items) = &entry(&tree, "b").node.value else { panic!() };
    let values: Vec<Value> = items.iter().map(|item| item.value.clone()).collect();
    assert_eq!(
        values,
        [
            Value::Integer(1),
            Value::Float(-2.5, "-2.50".into()),
            Value::Float(1000.0, "1e3".into()),
            Value::Bool(true),
            Value::Null,
            Value::Table(Vec::new()),
        ]
    );
}

#[test]
fn a_lone_surrogate_in_json_is_a_fault_with_its_place() {
    let error = read("{\n  \"a\": \"\\ud83d\"\n}", Syntax::Json).unwrap_err();
    assert!(error.starts_with("2:"), "{error}");
}

#[test]
fn scalars_of_yaml_follow_the_core_schema() {
    let cases = [
        ("yes", Value::Text("yes".into())),
        ("on", Value::Text("on".into())),
        ("true", Value::Bool(true)),
        ("~", Value::Null),
        ("", Value::Null),
        ("\"\"", Value::Text(String::new())),
        ("'1'", Value::Text("1".into())),
        ("!!str 1", Value::Text("1".into())),
        ("12", Value::Integer(12)),
        ("-3", Value::Integer(-3)),
        ("0x1F", Value::Integer(31)),
        ("0o17", Value::Integer(15)),
        ("1.10", Value::Float(1.1, "1.10".into())),
        ("007", Value::Float(7.0, "007".into())),
        ("1.2.3", Value::Text("1.2.3".into())),
        ("1_000", Value::Text("1_000".into())),
        ("2026-11-20", Value::Text("2026-11-20".into())),
        ("10s", Value::Text("10s".into())),
    ];
    for (text, value) in cases {
        let tree = read(&format!("a: {text}\n"), Syntax::Yaml).unwrap();
        assert_eq!(entry(&tree, "a").node.value, value, "{text}");
    }
}

#[test]
fn yaml_aliases_and_merge_keys_are_expanded() {
    let text = "base: &base {a: 1, b: 2}\nx:\n  <<: *base\n  b: 3\ny: *base\nz:\n  b: 4\n  <<: [*base, {c: 5}]\n";
    let tree = read(text, Syntax::Yaml).unwrap();
    let number = |table: &str, key: &str| entry(&entry(&tree, table).node, key).node.value.clone();
    assert_eq!(number("x", "a"), Value::Integer(1));
    assert_eq!(number("x", "b"), Value::Integer(3));
    assert_eq!(number("y", "b"), Value::Integer(2));
    assert_eq!(number("z", "b"), Value::Integer(4));
    assert_eq!(number("z", "c"), Value::Integer(5));
}

#[test]
fn a_bomb_of_yaml_aliases_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        let items = vec![format!("*a{}", n - 1); 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    let error = read(&text, Syntax::Yaml).unwrap_err();
    assert!(error.contains("more than 10000 values"), "{error}");
    assert!(read("a: &a [*a]", Syntax::Yaml).is_err());
}

#[test]
fn nesting_deeper_than_64_is_refused_in_every_syntax() {
    for n in [1_000, 100_000] {
        for (syntax, text) in [
            (Syntax::Toml, format!("a = {}", "[".repeat(n) + &"]".repeat(n))),
            (Syntax::Toml, format!("{}a = 1", "a.".repeat(n))),
            (Syntax::Toml, format!("[{}a]\nb = 1", "a.".repeat(n))),
            (Syntax::Yaml, "[".repeat(n) + &"]".repeat(n)),
            (Syntax::Yaml, "- ".repeat(n) + "1"),
            (Syntax::Yaml, "{a: ".repeat(n)),
            (Syntax::Json, "[".repeat(n) + &"]".repeat(n)),
            (Syntax::Json, "{\"a\":".repeat(n) + "1" + &"}".repeat(n)),
        ] {
            assert!(read(&text, syntax).is_err(), "{syntax:?}");
        }
    }
    let deep = |n| "[".repeat(n) + &"]".repeat(n);
    for (syntax, prefix) in [(Syntax::Toml, "a = "), (Syntax::Yaml, "a: "), (Syntax::Json, "{\"a\": ")] {
        let close = if syntax == Syntax::Json { "}" } else { "" };
        assert!(read(&format!("{prefix}{}{close}", deep(62)), syntax).is_ok(), "{syntax:?}");
        assert!(read(&format!("{prefix}{}{close}", deep(66)), syntax).is_err(), "{syntax:?}");
    }
}

#[test]
fn faults_of_syntax_have_their_place() {
    for (syntax, text, start) in [
        (Syntax::Toml, "a = 1\nb = \n", "2:"),
        (Syntax::Toml, "a = 1\na = 2\n", "2:1: "),
        (Syntax::Yaml, "a: 1\nb: [1, 2\nc: 3\n", "3:"),
        (Syntax::Yaml, "a: 1\n---\nb: 2\n", "2:"),
        (
            Syntax::Json,
            "{\n  \"a\": 1,\n}",
            "3:1: key must be a string\n  hint: JSON has no comments and no trailing commas",
        ),
        (Syntax::Json, "{\n  // no\n}", "2:3: "),
    ] {
        let error = read(text, syntax).unwrap_err();
        assert!(error.starts_with(start), "{syntax:?}: {error}");
    }
}

#[test]
fn every_fault_of_toml_syntax_is_reported_at_once() {
    let error = read("a = \nb = 'x\nc = 1\nc = 2\n", Syntax::Toml).unwrap_err();
    assert!(error.lines().count() >= 3, "{error}");
}

#[test]
fn a_file_that_is_too_large_or_not_utf8_is_refused() {
    let mut faults = Faults::default();
    assert!(parse(&vec![b'#'; MAX_FILE + 1], Syntax::Toml, &mut faults).is_none());
    assert!(faults.into_error(None).to_string().contains("larger than 4 MiB"));
    let mut faults = Faults::default();
    assert!(parse(b"a = 1\nb = \xff", Syntax::Toml, &mut faults).is_none());
    assert_eq!(faults.into_error(None).to_string(), "2:5: this byte is not UTF-8");
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert!(read("\u{feff}a = 1\n", Syntax::Toml).is_ok());
}

/// Text that is likelier than noise to get far into a parser.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "[[app]]\n",
        "app:\n",
        "  - ",
        "{\"app\":[",
        "]}",
        "name",
        " = ",
        ": ",
        "\"x\"",
        "'",
        "\"",
        "\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<",
        "!!str ",
        "1",
        "-0.5e3",
        "true",
        "null",
        "\\u00e9",
        "\\ud800",
        "| \n  x\n",
        "#",
        ".",
        "\t",
        "? ",
        "---\n",
        "...",
        "\u{feff}",
        "é",
        "\0",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), near in likely()) {
        for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
            for text in [&bytes, &near] {
                let mut faults = Faults::default();
                let tree = parse(text, syntax, &mut faults);
                assert!(tree.is_some() || !faults.is_empty(), "{syntax:?}: neither a tree nor a fault");
            }
        }
        for text in [&bytes, &near] {
            let strict = parse(text, Syntax::Json, &mut Faults::default());
            let relaxed = parse_relaxed(text, &mut Faults::default());
            assert!(strict.is_none() || strict == relaxed, "what is proper means the same");
        }
    }

    #[test]
    fn json_means_what_serde_json_says(near in likely()) {
        let mut faults = Faults::default();
        let ours = parse(&near, Syntax::Json, &mut faults);
        let theirs: Result<serde_json::Value, _> = serde_json::from_slice(&near);
        if let (Some(ours), Ok(theirs)) = (ours, theirs) {
            assert!(same(&ours, &theirs), "{ours:?} is not {theirs}");
        }
    }
}

/// Whether both say the same; the last of equal keys counts, as in `serde_json`.
fn same(ours: &Node, theirs: &serde_json::Value) -> bool {
    match (&ours.value, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Value::Integer(a), serde_json::Value::Number(b)) => b.as_i64() == Some(*a),
        (Value::Float(a, _), serde_json::Value::Number(b)) => b.as_f64() == Some(*a),
        (Value::Text(a), serde_json::Value::String(b)) => a == b,
        (Value::List(a), serde_json::Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Table(a), serde_json::Value::Object(b)) => b.iter().all(|(key, value)| {
            a.iter().rev().find(|entry| entry.key == *key).is_some_and(|entry| same(&entry.node, value))
        }),
        _ => false,
    }
}
