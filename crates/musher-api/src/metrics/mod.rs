//! Metrics: what musher measures of itself, its apps and their workers, and the text that Prometheus reads.
//!
//! [`METRICS`] is the one list of names, from which answers are made and the reference is written. A worker is named by
//! its app and slot, never by a process id, so that the number of series is that of the slots, however often they are
//! restarted.

mod catalogue;
mod text;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use catalogue::{METRICS, Metric, named};
pub use text::{OPENMETRICS, PROMETHEUS, exposition};

/// What `GET /v1/metrics` gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    /// When it was measured, in milliseconds since 1970.
    pub time_ms: u64,
    /// In the order of the reference; those without a sample are left out.
    pub families: Vec<Family>,
}

/// All samples of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Family {
    /// Name, with unit and, of a counter, `_total`.
    pub name: String,
    /// What kind of number.
    pub kind: MetricKind,
    /// One sentence.
    pub help: String,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Grows, and begins anew with 0.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of what was below some bounds.
    Histogram,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// What it is of: names and values.
    pub labels: Vec<(String, String)>,
    /// The number; of a histogram, the sum of what was counted.
    pub value: f64,
    /// Of a histogram, how many were at most so large, for each bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(f64, u64)>,
    /// Of a histogram, how many there were in all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl MetricKind {
    /// The word for it in the text.
    pub fn word(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

impl Metrics {
    /// Adds a sample. One whose metric is not in the list is left out: a test finds it.
    pub fn add(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.put(name, labels, value, Vec::new(), 0);
    }

    /// Adds a histogram: bounds with how many were at most so large, the sum and the number of all.
    pub fn add_histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: Vec<(f64, u64)>,
        sum: f64,
        count: u64,
    ) {
        self.put(name, labels, sum, buckets, count);
    }

    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64, buckets: Vec<(f64, u64)>, count: u64) {
        let Some((place, metric)) = METRICS.iter().enumerate().find(|(_, metric)| metric.name == name) else {
            debug_assert!(false, "{name} is not in the list");
            return;
        };
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sample = Sample { labels, value, buckets, count };
        if let Some(family) = self.families.iter_mut().find(|family| family.name == name) {
            return family.samples.push(sample);
        }
        let before = self.families.iter().filter(|family| {
            METRICS.iter().position(|metric| metric.name == family.name).is_some_and(|other| other < place)
        });
        let at = before.count();
        let family =
            Family { name: name.to_owned(), kind: metric.kind, help: metric.help.to_owned(), samples: vec![sample] };
        self.families.insert(at, family);
    }
}
