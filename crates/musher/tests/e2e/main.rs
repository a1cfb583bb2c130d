//! End-to-end tests: the real executable, real programs, and clients that count every lost request.
//!
//! Each test has a home of its own and cleans up after itself (`support::Home`). What they need from npm and PyPI is
//! installed into `target/e2e` by `cargo xtask test`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "these are tests, also where they are functions of their own"
)]

mod account;
mod after_all;
mod alone;
mod api;
mod attach;
mod attendant;
mod bad_input;
mod balance;
mod births;
mod canary;
mod cgroups;
mod clients;
mod crash;
mod death;
mod dependencies;
mod deploy;
mod dev;
mod disk;
mod ecosystem;
mod events;
mod family;
mod flapping;
mod foreground;
mod health;
mod home;
mod hooks;
mod import;
mod jobs;
mod lifecycle;
mod load;
mod logs;
mod metrics;
mod monit;
mod node;
mod node_calls;
mod node_module;
mod own_sockets;
mod pages;
mod pm2;
mod pm2_versions;
mod programs;
mod reload;
mod replace;
mod runtimes;
mod rust;
mod scaling;
mod serve;
mod singles;
mod slow_clients;
mod support;
mod systemd;
mod trigger;
mod uncaught;
mod upgrade;
mod watch;
mod web;
