//! The reference of the process file and its JSON schema, made from the table of keys. `cargo xtask docs` writes them.

#![cfg(test)]

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind, keys_of};

/// The page `docs/reference/process-file.md`.
fn page() -> String {
    let mut page = String::from(
        "# The process file\n\n\
         <!-- Made by `cargo xtask docs` from crates/musher/src/config/keys.rs: do not edit here. -->\n\n\
         A process file lists apps: `[[app]]` tables in TOML, a list under `app:` in YAML and JSON, with the same keys in all \
         three.\n`musher start FILE` starts what is new in it and changes what differs; `--dry-run` only says what it would \
         do.\nRelative paths of an app are relative to its `cwd`, and `cwd` is relative to the file.\n\n\
         Durations have a unit (`\"500ms\"`, `\"2s\"`, `\"1m30s\"`, `\"1h\"`), sizes too (`\"10MiB\"`, `\"1GB\"`). An unknown key is an error. \
         All errors of a\nfile are reported together, each with its line and column.\n\n\
         The same as a JSON schema, for editors: [musher.schema.json](musher.schema.json).\n\n",
    );
    page.push_str("| key | value | default | |\n|---|---|---|---|\n");
    for key in KEYS {
        let default = if key.default.is_empty() { "" } else { key.default };
        let default = if key.default.starts_with(['"', '[', '{']) || is_number(key.default) {
            format!("`{default}`")
        } else {
            default.to_owned()
        };
        page.push_str(&format!("| `{}` | {} | {default} | {} |\n", key.path, shape(key.kind), key.text));
    }
    page.push_str(EXAMPLES);
    page
}

const EXAMPLES: &str = "\n## Examples\n\n\
```toml\n[[app]]\nname = \"web\"\nscript = \"server.js\"\ninstances = \"max\"\nenv = { PORT = 8080 }\n\n\
[[app]]\nname = \"api\"\ncommand = \"gunicorn app:app\"\nlisten = \"tcp://127.0.0.1:8000\"\ninstances = 2\n\
ready = { http = \"http://127.0.0.1:8000/health\", timeout = \"10s\" }\n\
restart = { policy = \"on-failure\", max_restarts = 5, window = \"1m\" }\n\
stop = { signal = \"SIGTERM\", grace = \"20s\" }\nlogs = { format = \"json\", max_size = \"50MiB\", keep = 10 }\n```\n\n\
```yaml\napp:\n  - name: web\n    script: server.js\n    instances: max\n    env: { PORT: 8080 }\n```\n";

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

fn shape(kind: Kind) -> String {
    let words = |words: &[&str]| words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Text => "string".into(),
        Kind::Path => "path".into(),
        Kind::Words => "string, split as in a shell, or list of strings".into(),
        Kind::Watch => "`true`, path, list of paths, or table".into(),
        Kind::Schedule => "pattern, or table".into(),
        Kind::Depends => "name, list of names, or table of conditions".into(),
        Kind::Filter => "`true`, or word or list of words".into(),
        Kind::Socket => "`true`, or path".into(),
        Kind::Texts => "path or list of paths".into(),
        Kind::Variables => "table of strings, numbers, booleans".into(),
        Kind::Bool => "`true`, `false`".into(),
        Kind::Integer(low, i64::MAX) => format!("number from {low}"),
        Kind::Integer(low, high) | Kind::Number(low, high) => format!("number, {low} to {high}"),
        Kind::Integers => "list of numbers".into(),
        Kind::Duration => "duration".into(),
        Kind::Size => "size".into(),
        Kind::Memory => "size; `\"200M\"` is 200 MiB".into(),
        Kind::Command => "line for the shell, or list of words".into(),
        Kind::Probe => "path, address, or list of words".into(),
        Kind::Choice(choice) => words(choice),
        Kind::Instances => "number, 1 to 1000, `\"max\"`, `\"MIN..MAX\"`, or table".into(),
        Kind::Signal => "signal: name or number".into(),
        Kind::Account => "name or id".into(),
        Kind::Listen => "address or table, or list of them".into(),
        Kind::Table([]) => "table".into(),
        Kind::Table(choice) => format!("table, or {}", words(choice)),
    }
}

/// The schema `docs/reference/musher.schema.json`.
fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Process file of musher",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "app": { "type": "array", "items": table(""), "description": "The apps." },
        },
    })
}

fn table(path: &str) -> Value {
    let properties: Map<String, Value> =
        keys_of(path).map(|key| (key.path.rsplit('.').next().unwrap_or_default().to_owned(), property(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    let list = |item: Value| json!({ "type": "array", "items": item });
    let string = json!({ "type": "string" });
    let scalar = json!({ "type": ["string", "number", "boolean"] });
    let mut property = match key.kind {
        Kind::Text | Kind::Path => string,
        Kind::Duration => json!({ "type": "string", "pattern": "^([0-9.]+(ms|s|m|min|h|d) ?)+$" }),
        Kind::Size => {
            json!({ "anyOf": [{ "const": 0 }, { "type": "string", "pattern": "^[0-9.]+ ?([kKMGT]i?)?B$|^0$" }] })
        }
        Kind::Memory => {
            json!({ "anyOf": [{ "const": 0 }, { "type": "string", "pattern": "^[0-9.]+ ?(([kKMGT]i?)?B|[kKMGT])$|^0$" }] })
        }
        Kind::Words | Kind::Command | Kind::Probe => json!({ "anyOf": [string, list(scalar)] }),
        Kind::Filter => json!({ "anyOf": [{ "type": "boolean" }, string.clone(), list(string)] }),
        Kind::Socket => json!({ "anyOf": [{ "type": "boolean" }, string] }),
        Kind::Schedule => json!({ "anyOf": [string, table(key.path)] }),
        Kind::Depends => {
            let conditions = json!({ "type": "object", "additionalProperties": { "enum": super::keys::CONDITION } });
            json!({ "anyOf": [string.clone(), list(string), conditions] })
        }
        Kind::Watch => {
            json!({ "anyOf": [{ "type": "boolean" }, string.clone(), list(string), table(key.path)] })
        }
        Kind::Texts => json!({ "anyOf": [string.clone(), list(string)] }),
        Kind::Variables => json!({ "type": "object", "additionalProperties": scalar }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Integer(low, i64::MAX) => json!({ "type": "integer", "minimum": low }),
        Kind::Integer(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Number(low, high) => json!({ "type": "number", "minimum": low, "maximum": high }),
        Kind::Integers => list(json!({ "type": "integer" })),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Instances => {
            json!({ "anyOf": [
                { "type": "string", "pattern": "^(max|[0-9]+\\.\\.[0-9]+)$" },
                { "type": "integer", "minimum": 1, "maximum": 1000 },
                table(key.path)
            ] })
        }
        Kind::Signal | Kind::Account => json!({ "type": ["string", "integer"] }),
        Kind::Listen => {
            let one = json!({ "anyOf": [{ "type": ["string", "integer"] }, table(key.path)] });
            json!({ "anyOf": [one.clone(), list(one)] })
        }
        Kind::Table([]) => table(key.path),
        Kind::Table(words) => json!({ "anyOf": [{ "enum": words }, table(key.path)] }),
    };
    if let Value::Object(property) = &mut property {
        property.insert("description".into(), key.text.into());
    }
    property
}

/// Compares a made file with the one in the repository; writes it when `MUSHER_WRITE_DOCS` is set.
pub(crate) fn check(name: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("MUSHER_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == made, "docs/reference/{name} is out of date: run cargo xtask docs");
}

#[test]
fn the_reference_of_the_process_file_is_up_to_date() {
    check("process-file.md", &page());
}

#[test]
fn the_schema_of_the_process_file_is_up_to_date() {
    check("musher.schema.json", &format!("{:#}\n", schema()));
}
