//! `-g` and `-p`: each URL once, with what was sent and what came.

use std::io::{Read, Write};

use musher_load::plan::{Count, Plan, Protocol};

use super::engine;
use crate::exit_codes;
use crate::failure::Failure;
use crate::output::sanitize;

/// The most of an answer that is shown.
const MOST: usize = 1 << 20;

/// Asks and shows.
pub(super) fn run(plan: &Plan, body: bool) -> Result<(), Failure> {
    let plan = Plan {
        users: 1,
        rate: None,
        duration: None,
        count: Some(Count::Once),
        think: None,
        threads: 1,
        show: MOST,
        protocol: Protocol::Http1,
        ..plan.clone()
    };
    let outcome = engine(&plan)?.run(&mut ())?;
    let mut out = std::io::stdout().lock();
    for exchange in &outcome.shown {
        for line in exchange.request.lines().filter(|line| !line.is_empty()) {
            let secret = line.to_ascii_lowercase().contains("authorization:");
            let line = if secret {
                line.split(':').next().unwrap_or_default().to_owned() + ": (not shown)"
            } else {
                sanitize(line)
            };
            writeln!(out, "> {line}")?;
        }
        let end = exchange
            .answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map_or(exchange.answer.len(), |at| at + 4);
        let (head, rest) = exchange.answer.split_at(end);
        for line in String::from_utf8_lossy(head).lines().filter(|line| !line.is_empty()) {
            writeln!(out, "< {}", sanitize(line))?;
        }
        writeln!(out)?;
        if body {
            let mut plain = Vec::new();
            match exchange.encoding.as_deref() {
                Some("gzip") => {
                    let reader = flate2::read::GzDecoder::new(rest);
                    // What came of it is shown, also when it ends in the middle.
                    let _ = reader.take(MOST as u64).read_to_end(&mut plain);
                }
                _ => plain.extend_from_slice(rest),
            }
            out.write_all(&plain)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    match outcome.total().faults.values().next() {
        Some(fault) => Err(Failure::new(exit_codes::FAILED, sanitize(&fault.first))),
        None => Ok(()),
    }
}
