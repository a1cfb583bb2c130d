//! What musher decides, without doing any of it.
//!
//! Everything here is a pure function of its arguments: no I/O, no clock, no randomness, no async. Time comes in as
//! [`Time`], chance as a number. The supervisor turns the world into inputs and carries out the effects that come back.
//!
//! - [`spec`]: the validated description of an app, the one type that files, flags, the API and the state share.
//! - [`ids`]: names of apps, slots, runs, operations and generations.
//! - [`lifecycle`]: when to start, restart, replace, stop, kill and give up.
//! - [`compare`]: whether a new version does worse than the old one.
//! - [`scaling`]: how many workers an app should have for its load.
//! - [`order`]: which apps need which others.
//! - [`schedule`]: when a pattern of cron comes true.
//! - [`tolerant`]: how a record of another version is read.
//! - [`vitals`]: how a worker is, by its own word.

pub mod compare;
pub mod ids;
pub mod lifecycle;
pub mod order;
pub mod scaling;
pub mod schedule;
pub mod spec;
mod time;
pub mod tolerant;
pub mod vitals;

pub use ids::{AppId, Generation, OpId, RunId, SlotId};
pub use time::Time;
