//! Messages, sockets and children: Rust with Rust, Rust with Node, Node with Node, and a plain socket, all in one run of
//! `channel_rate`.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::arena::Contender;
use crate::report::{Goal, MUSHER, Unit};

/// A figure of its own: pair and name of the program, and the name in the table.
const FIGURES: [(&str, &str, &str, Unit); 7] = [
    ("rust-rust", "messages 100 B", "messages of 100 B, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "fed 100 B", "messages of 100 B, many in a call, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "messages 10 kB", "messages of 10 kB, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "messages 1 MB", "messages of 1 MB, Rust to Rust", Unit::PerSecond),
    ("rust-rust", "round trip us", "round trip of a message, Rust and Rust", Unit::Microseconds),
    ("rust-rust", "handles", "listeners sent, Rust to Rust", Unit::PerSecond),
    ("musher", "spawns", "children started and awaited", Unit::PerSecond),
];

/// A pair of the program, and what was measured of it.
type Measured = (&'static str, &'static str);

/// One against the other, as what the other does for each of ours: the name, ours, the other, and what is allowed. Node has
/// no call for many messages, so ours in one call are compared with its one by one; the plain socket has a buffer then.
const RATIOS: [(&str, Measured, Measured, f64); 18] = [
    (
        "100 B: Node to Node, part of Rust to Rust",
        ("rust-rust", "messages 100 B"),
        ("node-node", "messages 100 B"),
        0.1,
    ),
    (
        "100 B: Node to Node, part of Rust to Rust, many in a call",
        ("rust-rust", "fed 100 B"),
        ("node-node", "messages 100 B"),
        0.1,
    ),
    (
        "10 kB: Node to Node, part of Rust to Rust",
        ("rust-rust", "messages 10 kB"),
        ("node-node", "messages 10 kB"),
        0.1,
    ),
    ("1 MB: Node to Node, part of Rust to Rust", ("rust-rust", "messages 1 MB"), ("node-node", "messages 1 MB"), 0.1),
    (
        "100 B: plain socket, part of Rust to Rust",
        ("rust-rust", "messages 100 B"),
        ("plain", "messages 100 B"),
        1.0 / 0.9,
    ),
    (
        "100 B: plain socket, part of Rust to Rust, many in a call",
        ("rust-rust", "fed 100 B"),
        ("plain", "fed 100 B"),
        1.0 / 0.9,
    ),
    (
        "10 kB: plain socket, part of Rust to Rust",
        ("rust-rust", "messages 10 kB"),
        ("plain", "messages 10 kB"),
        1.0 / 0.9,
    ),
    (
        "10 kB: plain socket, part of Rust to Rust, many in a call",
        ("rust-rust", "fed 10 kB"),
        ("plain", "fed 10 kB"),
        1.0 / 0.9,
    ),
    ("1 MB: plain socket, part of Rust to Rust", ("rust-rust", "messages 1 MB"), ("plain", "messages 1 MB"), 1.0 / 0.9),
    (
        "100 B: Node to Node, part of Rust to Node",
        ("rust-node", "messages 100 B"),
        ("node-node", "messages 100 B"),
        1.0,
    ),
    (
        "100 B: Node to Node, part of Rust to Node, many in a call",
        ("rust-node", "fed 100 B"),
        ("node-node", "messages 100 B"),
        1.0,
    ),
    (
        "10 kB: Node to Node, part of Rust to Node",
        ("rust-node", "messages 10 kB"),
        ("node-node", "messages 10 kB"),
        1.0,
    ),
    ("1 MB: Node to Node, part of Rust to Node", ("rust-node", "messages 1 MB"), ("node-node", "messages 1 MB"), 1.0),
    ("listeners: Node to Node, part of Rust to Node", ("rust-node", "handles"), ("node-node", "handles"), 1.0),
    (
        "round trip: Rust and Rust, part of a plain socket",
        ("plain", "round trip us"),
        ("rust-rust", "round trip us"),
        1.0 / 0.9,
    ),
    ("spawns: std::process, part of musher's", ("musher", "spawns"), ("std", "spawns"), 1.0),
    ("spawns: tokio::process, part of musher's", ("musher", "spawns"), ("tokio", "spawns"), 1.0),
    ("spawns: Node, part of musher's", ("musher", "spawns"), ("node-node", "spawns"), 1.0),
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
    for (shown, ours, other, most) in RATIOS {
        let how = "the same run of `channel_rate`, one after the other";
        let ratio = value(other.0, other.1)? / value(ours.0, ours.1)?;
        bench.figures.add(shown, Unit::Times, Goal::AtMost(most), how, MUSHER, ratio);
    }
    Ok(())
}
