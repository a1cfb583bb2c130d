//! The references of metrics and events, made from the lists in `musher-api`. `cargo xtask docs` writes them.

#![cfg(test)]

use musher_api::metrics::METRICS;
use serde_json::Value;

use crate::config::reference::check;

/// The page `docs/reference/metrics.md`.
fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made by `cargo xtask docs` from crates/musher-api/src/metrics/catalogue.rs: do not edit here. -->\n\n\
         What `musher metrics` prints, Prometheus reads and OTLP gets ([how to ask for it](../guide/metrics.md)). A worker is named \
         by its\napp and slot, so the number of series is that of the slots, however often they are restarted; what a worker \
         counts begins anew\nwith each worker, which Prometheus' `rate` and `increase` know. A metric that is not known is left \
         out: of programs that are no\nNode clusters, what only Node workers tell.\n\n\
         | name | type | labels | |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            metric.name,
            metric.kind.word(),
            labels.join(", "),
            metric.help
        ));
    }
    page.push_str(
        "\nThe suffix is the unit: `_seconds`, `_bytes`, `_ratio` (0 to 1); without one it is a number of things. By OTLP the names are \
         the\nsame without `_total`. More than 2000 workers are not told of one by one: `musher_workers_left_out` says how many.\n",
    );
    page
}

/// The page `docs/reference/events.md`.
fn events_page() -> String {
    let description = musher_api::openapi();
    let schema = |name: &str| description.pointer(&format!("/components/schemas/{name}")).cloned().unwrap_or_default();
    let mut page = String::from(
        "# Events\n\n\
         <!-- Made by `cargo xtask docs` from crates/musher-api/src/event.rs: do not edit here. -->\n\n\
         What `musher events --json` prints, one object a line, and `GET /v1/events` gives as server-sent events. They are kept in \
         the home\n(`events/`): 8 files of at most 2 MiB and 10000 events each, the oldest goes first.\n\n\
         ## Fields\n\n| field | |\n|---|---|\n",
    );
    // In the order of the code, which the schema does not keep.
    let fields =
        ["seq", "time_ms", "time", "kind", "app", "app_id", "slot", "run", "pid", "detail", "death", "operation", "ok"];
    let event = schema("Event");
    for field in fields {
        page.push_str(&format!("| `{field}` | {} |\n", text(&event["properties"][field]["description"])));
    }
    assert_eq!(
        event["properties"].as_object().map(serde_json::Map::len),
        Some(fields.len()),
        "a field is missing here"
    );
    page.push_str(
        "\n`death` has the fields of `last_death` in `musher describe --json`.\n\n## Kinds\n\n| kind | |\n|---|---|\n",
    );
    for kind in schema("EventKind")["oneOf"].as_array().into_iter().flatten() {
        let words = kind["const"]
            .as_str()
            .into_iter()
            .chain(kind["enum"].as_array().into_iter().flatten().filter_map(Value::as_str));
        for word in words {
            page.push_str(&format!("| `{word}` | {} |\n", text(&kind["description"])));
        }
    }
    page
}

/// A description on one line, without links of the code.
fn text(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<&str>>().join(" ").replace('|', "\\|")
}

#[test]
fn the_reference_of_the_metrics_is_up_to_date() {
    check("metrics.md", &metrics_page());
}

#[test]
fn the_reference_of_the_events_is_up_to_date() {
    let page = events_page();
    assert!(page.contains("| `online` |") && page.contains("| `giveup` |"), "{page}");
    check("events.md", &page);
}
