//! Which lost requests a killed worker had held.
//!
//! A worker that is killed takes with it what it had accepted: nobody can give that back. The test apps write down
//! each connection as they accept it (`c <client port>`), so a loss is told apart from a loss that musher has to answer
//! for.

use std::collections::HashSet;
use std::fs;

use musher_bench::load::{Report, Sample};

use super::Home;

/// The client ports of the connections that process `pid` had accepted.
fn accepted(home: &Home, pid: u32) -> HashSet<u16> {
    let text = fs::read_to_string(home.directory().join("journal").join(pid.to_string())).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("c ")?.parse().ok()).collect()
}

/// Fails when a request was lost that none of the `killed` workers had accepted. Returns how many they had held.
#[track_caller]
pub(crate) fn only_held_lost(home: &Home, what: &str, report: &Report, killed: &[u32]) -> usize {
    let held: HashSet<u16> = killed.iter().flat_map(|pid| accepted(home, *pid)).collect();
    let is_held = |sample: &&Sample| sample.local_port.is_some_and(|port| held.contains(&port));
    let (explained, lost): (Vec<&Sample>, Vec<&Sample>) = report.lost().into_iter().partition(is_held);
    assert!(lost.is_empty(), "{what}: {} lost that no killed worker held: {lost:#?}\n{report}", lost.len());
    explained.len()
}
