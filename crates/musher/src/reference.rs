//! What the pages of docs/ say of the command line, of process files and of the control API is what is true. The reference is
//! made from what both are made from: `cargo xtask docs` writes
//! the pages, and these tests fail while a page says something else.

use std::fmt::Write;

use clap::{Command, CommandFactory};
use serde_json::{Map, Value};

use crate::args::Cli;
use crate::config::reference::check;

/// The page `docs/reference/commands.md`.
fn commands() -> String {
    let mut page = "# Commands\n\n\
        <!-- Made by `cargo xtask docs` from crates/musher/src/args: do not edit here. -->\n\n\
        What `musher help COMMAND` prints. `musher man DIR` writes the same as manual pages, and `musher completions SHELL` prints what\n\
        a shell completes. Exit codes: [exit-codes.md](exit-codes.md).\n"
        .to_owned();
    let mut cli = Cli::command().term_width(80);
    cli.build();
    page.push_str("\n## musher\n");
    help(&mut page, &mut cli.clone());
    for command in cli.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        below(&mut page, "musher", command);
    }
    page
}

fn below(page: &mut String, parent: &str, command: &mut Command) {
    if command.get_name() == "help" {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    let _ = write!(page, "\n## {name}\n");
    help(page, command);
    for command in command.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        below(page, &name, command);
    }
}

fn help(page: &mut String, command: &mut Command) {
    let text = command.render_long_help().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let _ = write!(page, "\n```text\n{}\n```\n", lines.join("\n").trim_end());
}

/// The page `docs/reference/api.md`.
fn api() -> String {
    let document = musher_api::openapi();
    let mut page = format!(
        "# The control API\n\n\
         <!-- Made by `cargo xtask docs` from crates/musher-api: do not edit here. -->\n\n{}\n`musher openapi` prints it as OpenAPI.\n\n\
         ```console\n$ curl -s --unix-socket ~/.musher/control.sock http://musher/v1/slots\n```\n\n\
         ## Routes\n\n| route | does | with | gives |\n|---|---|---|---|\n",
        text(&document["info"]["description"]).replace("\n", " ")
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let _ = writeln!(
                page,
                "| `{} {path}` | {} | {} | {} |",
                method.to_uppercase(),
                cell(text(&operation["summary"])),
                with(operation),
                gives(operation)
            );
        }
    }
    page.push_str("\n## Types\n");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(page, "\n### {name}\n\n");
        described(&mut page, schema);
    }
    page
}

/// What a request takes: the body and what stands behind the path.
fn with(operation: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(body) = operation["requestBody"]["content"].as_object().and_then(|content| content.values().next()) {
        parts.push(kind(&body["schema"]));
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        parts.push(format!("`{}`: {}", text(&parameter["name"]), cell(text(&parameter["description"]))));
    }
    parts.join("; ")
}

fn gives(operation: &Value) -> String {
    let bodies = operation["responses"].as_object().into_iter().flatten().filter(|(code, _)| code.starts_with('2'));
    let kinds = bodies.filter_map(|(_, response)| {
        let content = response["content"].as_object()?;
        let (media, body) = content.iter().next()?;
        Some(if media == "application/json" {
            kind(&body["schema"])
        } else {
            format!("{} as `{media}`", kind(&body["schema"]))
        })
    });
    kinds.collect::<Vec<_>>().join(", ")
}

/// A type: what it says of itself, and its fields or the forms that it has.
fn described(page: &mut String, schema: &Value) {
    let about = text(&schema["description"]);
    if !about.is_empty() {
        let _ = write!(page, "{}\n\n", plain(about));
    }
    if let Some(fields) = schema["properties"].as_object() {
        fields_of(page, fields, schema);
    } else if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let _ = writeln!(page, "One of {}.", words.join(", "));
    } else if let Some(forms) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        page.push_str("One of:\n\n");
        for form in forms {
            let _ = writeln!(page, "- {}", form_of(form));
        }
    } else if kind(schema) != "object" {
        let _ = writeln!(page, "A {}.", kind(schema));
    }
}

fn fields_of(page: &mut String, fields: &Map<String, Value>, schema: &Value) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    page.push_str("| field | type | |\n|---|---|---|\n");
    for (name, field) in fields {
        let must = if required.contains(&name.as_str()) { "" } else { ", optional" };
        let _ = writeln!(page, "| `{name}` | {}{must} | {} |", kind(field), cell(text(&field["description"])));
    }
}

/// A form of a type with several, in one line.
fn form_of(form: &Value) -> String {
    let about = cell(text(&form["description"]));
    let about = if about.is_empty() { about } else { format!(": {about}") };
    if let Some(word) = form.get("const") {
        return format!("`{word}`{about}");
    }
    if let Some(fields) = form["properties"].as_object() {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, field)| match field.get("const") {
                Some(word) => format!("`{name}`: `{word}`"),
                None => format!("`{name}`: {}", kind(field)),
            })
            .collect();
        return format!("{}{about}", fields.join(", "));
    }
    format!("{}{about}", kind(form))
}

/// The name of a value's type.
fn kind(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or(target);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(word) = schema.get("const") {
        return format!("`{word}`");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        if let Some(forms) = schema[several].as_array() {
            let kinds: Vec<String> = forms.iter().map(kind).filter(|kind| kind != "null").collect();
            return kinds.join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(name) if name == "object" && schema["additionalProperties"].is_object() => {
            format!("map to {}", kind(&schema["additionalProperties"]))
        }
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().map(text).filter(|name| *name != "null").collect::<Vec<_>>().join(" or "),
        _ => "any JSON value".to_owned(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Without the targets of links that only rustdoc knows.
fn plain(text: &str) -> String {
    let mut parts = text.split("](crate::");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |before, after| {
        let word =
            before.rfind('[').map_or_else(|| before.clone(), |at| format!("{}{}", &before[..at], &before[at + 1..]));
        word + after.split_once(')').map_or("", |(_, rest)| rest)
    })
}

/// As the cell of a table.
fn cell(text: &str) -> String {
    plain(text).replace('\n', " ").replace('|', "\\|")
}

#[test]
fn the_reference_of_the_commands_is_up_to_date() {
    check("commands.md", &commands());
}

#[test]
fn the_reference_of_the_control_api_is_up_to_date() {
    check("api.md", &api());
}

/// The pages that people read.
fn pages() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_dir(root.join("docs/guide")).unwrap().map(|entry| entry.unwrap().path());
    guide
        .chain([root.join("README.md")])
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The blocks of a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn every_command_line_of_the_guide_is_one() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (page, text) in pages() {
        let lines =
            blocks(&text, "console").into_iter().flat_map(str::lines).filter_map(|line| line.strip_prefix("$ "));
        for line in lines {
            // What a shell makes of a line: nothing of what is behind a comment, a pipe or a second command.
            let command = line.split(" # ").next().unwrap_or(line);
            let command = command.split(" | ").next().unwrap_or(command).split(" && ").next().unwrap_or(command);
            let Ok(words) = crate::config::words(command.trim_end_matches('\\')) else { continue };
            let words = words.into_iter().skip_while(|word| word.contains('=') || word == "sudo").collect::<Vec<_>>();
            if words.first().is_none_or(|word| word != "musher") || words.get(1).is_some_and(|word| word == "pm2") {
                continue;
            }
            count += 1;
            if let Err(error) = <Cli as clap::Parser>::try_parse_from(&words)
                && error.use_stderr()
            {
                wrong.push(format!("{page}: {line}\n{error}"));
            }
        }
    }
    assert!(count > 50, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_process_file_of_the_guide_is_one() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (page, text) in pages() {
        for block in blocks(&text, "toml").into_iter().filter(|block| !block.contains("[dependencies]")) {
            count += 1;
            let right = |part: &str| crate::config::keys_are_right(part);
            let part = |lines: &str| right(&format!("[[app]]\n{lines}"));
            let found = match block.contains("[[app]]") {
                true => right(block),
                // A part of an app; or one in each line, to choose from.
                false => part(block).or_else(|fault| match block.lines().all(|line| part(line).is_ok()) {
                    true => Ok(()),
                    false => Err(fault),
                }),
            };
            if let Err(faults) = found {
                wrong.push(format!("{page}:\n{block}\n{faults}"));
            }
        }
    }
    assert!(count > 8, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
