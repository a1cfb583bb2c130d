//! How much load can a server take, and what does it do under it.
//!
//! [`plan::Plan`] says what is asked, how often and for how long; [`engine::Engine`] does it and gives an
//! [`engine::Outcome`]. A plan without a rate is a closed loop: each user sends its next request when it has the answer to
//! the one before. A plan with a rate is an open loop: requests are due by a schedule, whatever the server does, and their
//! latency counts from when they were due.

pub mod engine;
pub mod expect;
pub mod http;
pub mod pace;
pub mod plan;
pub mod random;
pub mod report;
pub mod siege;
pub mod sweep;
pub mod tally;
pub mod time;
pub mod url;
