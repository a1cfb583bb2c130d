//! The keys of `logs`.

use musher_core::spec::LogFormat;

use super::decode::Decoder;
use super::keys::FORMAT;
use super::raw::RawLogs;
use super::tree::{Node, Value};

/// Where journald listens.
const JOURNALD: &str = "/run/systemd/journal/socket";

pub(super) fn logs(d: &mut Decoder<'_>, node: &Node) -> RawLogs {
    const MEANING: [LogFormat; 4] = [LogFormat::Raw, LogFormat::Timestamp, LogFormat::Json, LogFormat::Pm2Json];
    let Some(table) = d.table(node, "logs") else { return RawLogs::default() };
    let format = table.read(d, "format", |d, node, path| d.choice(node, path, FORMAT));
    RawLogs {
        out: table.read(d, "out", |d, node, path| d.text(node, path)),
        err: table.read(d, "err", |d, node, path| d.text(node, path)),
        combined: table.read(d, "combined", |d, node, path| d.text(node, path)),
        per_worker: table.read(d, "per_worker", |d, node, path| d.boolean(node, path)),
        format: format.and_then(|n| MEANING.get(n).copied()),
        date_format: table.read(d, "date_format", |d, node, path| d.text(node, path)),
        max_size: table.read(d, "max_size", |d, node, path| d.size(node, path)),
        max_age: table.duration(d, "max_age"),
        keep: table.small(d, "keep"),
        keep_for: table.duration(d, "keep_for"),
        max_total: table.read(d, "max_total", |d, node, path| d.size(node, path)),
        compress: table.read(d, "compress", |d, node, path| d.boolean(node, path)),
        limit: table.small(d, "limit"),
        journald: table.read(d, "journald", socket),
        otlp: table.read(d, "otlp", |d, node, path| d.text(node, path)),
    }
}

fn socket(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<String> {
    match &node.value {
        Value::Bool(true) => Some(JOURNALD.into()),
        Value::Bool(false) => None,
        Value::Text(text) => Some(text.clone()),
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected true or a path, found {found}"), "");
            None
        }
    }
}
