//! Messages, sockets and children: Rust with Rust, Rust with Node, Node with Node, and a plain socket, all in one run of
//! `channel_rate`.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::arena::Contender;
use crate::report::{Goal, MUSHER, Unit};

/// A figure of its own: pair and name of the program, and the name in the table.
const FIGURES: [(&str, &str, &str, Unit); 6] = [
    ("rust-rust", "messages 100 B", "messages of 100 B, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "messages 10 kB", "messages of 10 kB, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "messages 1 MB", "messages of 1 MB, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "round trip us", "round trip of a message, Rust and Rust", Unit::Microseconds),
    ("rust-rust", "handles", "listeners sent, Rust to Rust", Unit::PerSecond),
    ("musher", "spawns", "children started and awaited", Unit::PerSecond),
];

/// One against the other, as what the other does for each of ours: the name, what is measured, ours, the other, and what is
/// allowed.
const RATIOS: [(&str, &str, &str, &str, f64); 13] = [
    ("100 B: Node to Node, part of Rust to Rust", "messages 100 B", "rust-rust", "node-node", 0.1),
    ("10 kB: Node to Node, part of Rust to Rust", "messages 10 kB", "rust-rust", "node-node", 0.1),
    ("1 MB: Node to Node, part of Rust to Rust", "messages 1 MB", "rust-rust", "node-node", 0.1),
    ("100 B: plain socket, part of Rust to Rust", "messages 100 B", "rust-rust", "plain", 1.0 / 0.9),
    ("10 kB: plain socket, part of Rust to Rust", "messages 10 kB", "rust-rust", "plain", 1.0 / 0.9),
    ("1 MB: plain socket, part of Rust to Rust", "messages 1 MB", "rust-rust", "plain", 1.0 / 0.9),
    ("100 B: Node to Node, part of Rust to Node", "messages 100 B", "rust-node", "node-node", 1.0),
    ("10 kB: Node to Node, part of Rust to Node", "messages 10 kB", "rust-node", "node-node", 1.0),
    ("1 MB: Node to Node, part of Rust to Node", "messages 1 MB", "rust-node", "node-node", 1.0),
    ("listeners: Node to Node, part of Rust to Node", "handles", "rust-node", "node-node", 1.0),
    ("round trip: Rust and Rust, part of a plain socket", "round trip us", "plain", "rust-rust", 1.0 / 0.9),
    ("spawns: std::process, part of musher's", "spawns", "musher", "std", 1.0),
    ("spawns: Node, part of musher's", "spawns", "musher", "node-node", 1.0),
];

pub(super) fn channel(bench: &mut Bench<'_>, _: Contender) -> Result<()> {
    let program = bench.tools.musher.with_file_name("examples").join("channel_rate");
    let missing = "is missing: `cargo build --release -p musher-process --example channel_rate` makes it";
    ensure!(program.is_file(), "{} {missing}", program.display());
    let scale = if bench.quick { "0.2" } else { "1" };
    let output = Command::new(&program).arg(scale).arg(&bench.tools.node).output()?;
    ensure!(output.status.success(), "channel_rate: {}", String::from_utf8_lossy(&output.stderr));
    let mut measured = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let figure: serde_json::Value = serde_json::from_str(line)?;
        let text = |key: &str| figure[key].as_str().unwrap_or_default().to_owned();
        measured.insert((text("pair"), text("name")), figure["value"].as_f64().unwrap_or_default());
    }
    let value = |pair: &str, name: &str| {
        let value = measured.get(&(pair.to_owned(), name.to_owned()));
        value.copied().with_context(|| format!("channel_rate says nothing of {name}, {pair}"))
    };
    for (pair, name, shown, unit) in FIGURES {
        let how = "`channel_rate`: parent to child, each end with one thread, JSON parsed into a struct";
        bench.figures.add(shown, unit, Goal::None, how, MUSHER, value(pair, name)?);
    }
    for (shown, name, ours, other, most) in RATIOS {
        let how = "the same run of `channel_rate`, one after the other";
        let ratio = value(other, name)? / value(ours, name)?;
        bench.figures.add(shown, Unit::Times, Goal::AtMost(most), how, MUSHER, ratio);
    }
    Ok(())
}
