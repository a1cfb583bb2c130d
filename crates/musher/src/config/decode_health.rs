//! The keys that keep workers fit: `health`, `limits` and `hooks`.

use super::decode::Decoder;
use super::raw::{RawCommand, RawHealth, RawHooks, RawLimits, RawProbe};
use super::tree::{Node, Value};
use super::values;

pub(super) fn health(d: &mut Decoder<'_>, node: &Node) -> RawHealth {
    let Some(table) = d.table(node, "health") else { return RawHealth::default() };
    RawHealth {
        liveness: table.read(d, "liveness", liveness),
        interval: table.duration(d, "interval"),
        timeout: table.duration(d, "timeout"),
        failures: table.small(d, "failures"),
        delay: table.duration(d, "delay"),
        event_loop: table.duration(d, "event_loop"),
        watchdog: table.duration(d, "watchdog"),
    }
}

fn liveness(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<RawProbe> {
    const FORMS: &str =
        "write \"/health\", \"tcp\", \"http://127.0.0.1:8080/health\", \"tcp://127.0.0.1:8080\" or a command as a list";
    let text = match &node.value {
        Value::List(_) => return d.words(node, path).map(RawProbe::Exec),
        Value::Text(text) => text,
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected a path, an address or a list, found {found}"), FORMS);
            return None;
        }
    };
    let probe = if text == "tcp" {
        Ok(RawProbe::Tcp(None))
    } else if text.starts_with('/') {
        Ok(RawProbe::Http(None, text.clone()))
    } else if text.starts_with("tcp://") {
        values::probe_address(text).map(|address| RawProbe::Tcp(Some(address)))
    } else if text.starts_with("http://") {
        values::probe_url(text).map(|(address, path)| RawProbe::Http(Some(address), path))
    } else {
        Err(format!("{text:?} is no probe"))
    };
    match probe {
        Ok(probe) => Some(probe),
        Err(message) => {
            d.fault(node.at, path, message, FORMS);
            None
        }
    }
}

pub(super) fn hooks(d: &mut Decoder<'_>, node: &Node) -> RawHooks {
    let Some(table) = d.table(node, "hooks") else { return RawHooks::default() };
    let names = super::keys::HOOKS.iter();
    let commands = names.filter_map(|name| Some((*name, table.read(d, name, command)?))).collect();
    RawHooks { commands, timeout: table.duration(d, "timeout") }
}

/// A text is a line for the shell, a list a program with its arguments.
fn command(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<RawCommand> {
    match &node.value {
        Value::List(_) => d.words(node, path).map(RawCommand::Words),
        Value::Text(line) if !line.trim().is_empty() => Some(RawCommand::Line(line.clone())),
        Value::Text(_) => {
            d.fault(node.at, path, "the command is empty", "");
            None
        }
        other => {
            let found = other.describe();
            d.fault(node.at, path, format!("expected a line for the shell or a list of words, found {found}"), "");
            None
        }
    }
}

pub(super) fn limits(d: &mut Decoder<'_>, node: &Node) -> RawLimits {
    let Some(table) = d.table(node, "limits") else { return RawLimits::default() };
    RawLimits {
        open_files: table.large(d, "open_files"),
        address_space: table.read(d, "address_space", |d, node, path| d.size(node, path)),
        core: table.read(d, "core", |d, node, path| d.size(node, path)),
        cpu: table.duration(d, "cpu"),
        processes: table.large(d, "processes"),
        nice: table.read(d, "nice", |d, node, path| d.integer(node, path)).and_then(|nice| i32::try_from(nice).ok()),
        memory: table.read(d, "memory", memory),
        cpu_percent: table.small(d, "cpu_percent"),
        cpu_for: table.duration(d, "cpu_for"),
    }
}

/// A size as those write it who limit memory: `M` is a MiB to PM2 and to systemd.resource-control(5).
fn memory(d: &mut Decoder<'_>, node: &Node, path: &'static str) -> Option<u64> {
    let Value::Text(text) = &node.value else { return d.size(node, path) };
    let number = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    match text.trim().strip_prefix(number) {
        Some(unit @ ("K" | "M" | "G" | "T" | "k")) => {
            let unit = unit.to_ascii_uppercase();
            let node = Node { at: node.at, value: Value::Text(format!("{number}{unit}iB")) };
            d.size(&node, path)
        }
        _ => d.size(node, path),
    }
}
