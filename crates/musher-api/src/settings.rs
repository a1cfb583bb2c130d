//! What can be set for the daemon as a whole. It outlives every process: it is a file in the home.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `GET /v1/settings` gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Where Prometheus finds the metrics: `127.0.0.1:9616`, or the path of a unix socket. Null: nowhere.
    pub metrics: Option<String>,
    /// Where metrics and events are sent to by OTLP over HTTP: `http://127.0.0.1:4318`. Null: nowhere.
    pub otlp: Option<String>,
    /// How often metrics are sent there, in milliseconds.
    pub otlp_every_ms: u64,
    /// What is wrong with it now, in words: an address that is taken, a receiver that does not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
}

/// `POST /v1/settings`: changes what is given; the word `off` ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsRequest {
    /// Where to serve metrics; `off` for nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Serve them on an address that others than this machine reach.
    pub public: bool,
    /// Where to send metrics and events to; `off` for nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// How often to send metrics, in milliseconds; 1 second to 1 hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_every_ms: Option<u64>,
}
