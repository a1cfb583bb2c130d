//! Which lost requests a killed worker had held.
//!
//! A worker that is killed takes with it what it had accepted: nobody can give that back. What it holds is read from
//! `/proc` in the instant before it dies, so a loss is told apart from a loss that musher has to answer for.

use std::collections::HashSet;

use musher_bench::load::{Report, Sample};
use musher_bench::proc_fs;

/// The client ports of the connections that killed workers held.
#[derive(Debug, Default)]
pub(crate) struct Held(HashSet<u16>);

impl Held {
    /// `kill -9` of a worker that serves this port.
    #[track_caller]
    pub(crate) fn kill(&mut self, worker: u32, port: u16) {
        self.0.extend(proc_fs::kill9_holding(worker, port).unwrap());
    }

    /// Fails when a request was lost that no killed worker had accepted.
    #[track_caller]
    pub(crate) fn only_these_lost(&self, what: &str, report: &Report) {
        let is_held = |sample: &&Sample| sample.local_port.is_some_and(|port| self.0.contains(&port));
        let (held, lost): (Vec<&Sample>, Vec<&Sample>) = report.lost().into_iter().partition(is_held);
        assert!(lost.is_empty(), "{what}: {} lost that no killed worker held: {lost:#?}\n{report}", lost.len());
        eprintln!("{what}: {} lost with the killed workers; {report}", held.len());
    }
}
