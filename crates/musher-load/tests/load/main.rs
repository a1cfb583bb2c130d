//! The engine against real servers, which count for themselves.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "these are tests, also where they are functions of their own"
)]

mod closed;
mod open;
mod server;
mod swept;
mod wire;
