//! The control API's server side.
//!
//! It speaks HTTP on the unix socket and knows nothing of apps; it turns every call into a [`Request`] for the driver,
//! over a bounded channel, and the driver's reply into an answer. What it owns: who may connect, how much may be asked
//! at once, how long things may take. What it refuses: any decision.

mod bounds;
mod event_stream;
mod events;
mod handlers;
mod messages;
mod request;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use events::lagged;
pub use events::{Events, News, Subscription};
pub use messages::{Listener, Messages};
pub use request::{DriverHandle, LogSource, Reply, Request, Requests, requests};
pub use server::serve;
