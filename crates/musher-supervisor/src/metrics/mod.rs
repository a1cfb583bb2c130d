//! The metrics: measured when somebody asks, served to Prometheus, sent by OTLP. Nobody asks: it costs nothing.
//!
//! - `measure`: from what the driver knows and /proc tells to the API's [`Metrics`](musher_api::metrics::Metrics).
//! - `serve`: the what Prometheus reads, at an endpoint that is off unless it is set.
//! - `settings`: what is set for the daemon, on the disk.
//! - `telemetry`: the endpoint and the sender as the settings want them.
//! - `export`: metrics and events to an OTLP receiver.

mod export;
mod measure;
mod serve;
mod settings;
mod telemetry;

pub(crate) use measure::measure;
pub use telemetry::serve_from_the_beginning;
pub(crate) use telemetry::{METRICS_NAME, Telemetry};
