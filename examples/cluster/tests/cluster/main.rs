//! Rust workers under every primary there is, and Rust primaries of every worker: the examples themselves, as processes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests, also where they are functions of their own"
)]

mod conformance;
mod http;
mod node_teams;
mod node_workers;
mod primary;
mod runtimes;
mod support;
mod team;
mod ways;
