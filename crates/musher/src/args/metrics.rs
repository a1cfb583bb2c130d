//! What `musher metrics` takes.

use std::time::Duration;

use clap::Args;

pub(super) const METRICS_HELP: &str = "\
Nothing is measured and nothing listens until somebody asks. What is set is kept in the home: it outlives
the daemon, an upgrade and a reboot.

  musher metrics                                 the text that Prometheus reads, once
  musher metrics --listen 127.0.0.1:9616         http://127.0.0.1:9616/metrics from now on
  musher metrics --listen /run/musher/m.sock     on a unix socket that only this user can use
  musher metrics --listen off
  musher metrics --otlp http://127.0.0.1:4318    metrics and events to an OpenTelemetry collector
  musher metrics --show                          what is set, and whether it works";

/// `musher metrics`
#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Serve them from now on: IP:PORT, a port alone, the path of a unix socket; `off` to end it.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Let it be an address that other machines reach.
    #[arg(long, requires = "listen")]
    pub(crate) public: bool,
    /// Send metrics and events by OTLP over HTTP from now on; `off` to end it.
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// How often metrics are sent by OTLP [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    pub(crate) every: Option<Duration>,
    /// Show what is set.
    #[arg(long)]
    pub(crate) show: bool,
    /// The form of OpenMetrics.
    #[arg(long, conflicts_with = "json")]
    pub(crate) openmetrics: bool,
    /// As the control API gives it.
    #[arg(long)]
    pub(crate) json: bool,
}
