//! What became of the requests of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered in full with the right body.
    Ok {
        /// The worker that says it answered.
        pid: Option<u32>,
        /// The version that it says it is.
        version: Option<String>,
    },
    /// The connection was refused.
    Refused,
    /// The connection was reset, before or within the answer.
    Reset,
    /// The connection ended before the first byte of an answer.
    Eof,
    /// The connection ended within the answer.
    Truncated,
    /// No full answer in time.
    Timeout,
    /// Another answer than the one asked for.
    Wrong(String),
    /// Another error of the connection.
    Failed(String),
}

impl Outcome {
    /// Whether the connection broke, as it does when the process dies that held it. A refusal, a wrong answer or none in
    /// time is something else.
    pub fn is_broken(&self) -> bool {
        matches!(self, Outcome::Reset | Outcome::Eof | Outcome::Truncated)
    }

    /// The outcome's name, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Outcome::Ok { .. } => "ok",
            Outcome::Refused => "refused",
            Outcome::Reset => "reset",
            Outcome::Eof => "EOF before answer",
            Outcome::Truncated => "truncated",
            Outcome::Timeout => "timeout",
            Outcome::Wrong(_) => "wrong answer",
            Outcome::Failed(_) => "failed",
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its `id` parameter.
    pub id: u64,
    /// When it was planned for.
    pub planned: Instant,
    /// From then to the last byte of the answer, or to its loss.
    pub latency: Duration,
    /// The client's port, by which the connections of a killed worker are known; none for unix sockets and failed connects.
    pub local_port: Option<u16>,
    /// When its connection was opened: a port is used again, so the port alone does not name a connection.
    pub opened: Option<Instant>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of all requests, in the order they were planned.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every request.
    pub samples: Vec<Sample>,
    /// Kept connections that the server closed between requests, and WebSockets that it told to go away: no loss.
    pub idle_closed: u64,
    /// From the start to the last answer.
    pub took: Duration,
}

impl Report {
    /// Requests without their answer.
    pub fn lost(&self) -> Vec<&Sample> {
        self.samples.iter().filter(|s| !matches!(s.outcome, Outcome::Ok { .. })).collect()
    }

    /// Requests with their answer.
    pub fn answered(&self) -> usize {
        self.samples.len() - self.lost().len()
    }

    /// How many answers each worker gave.
    pub fn by_worker(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for sample in &self.samples {
            if let Outcome::Ok { pid: Some(pid), .. } = sample.outcome {
                *counts.entry(pid).or_default() += 1;
            }
        }
        counts
    }

    /// How many answers each version gave.
    pub fn by_version(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for sample in &self.samples {
            if let Outcome::Ok { version: Some(version), .. } = &sample.outcome {
                *counts.entry(version.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// The `part` quantile (0 to 1) of the answered requests' latencies.
    pub fn quantile(&self, part: f64) -> Duration {
        let mut latencies: Vec<Duration> =
            self.samples.iter().filter(|s| matches!(s.outcome, Outcome::Ok { .. })).map(|s| s.latency).collect();
        latencies.sort_unstable();
        let last = latencies.len().saturating_sub(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a list of samples"
        )]
        let index = (last as f64 * part.clamp(0.0, 1.0)).round() as usize;
        latencies.get(index).copied().unwrap_or_default()
    }

    /// The longest latency of the answered requests.
    pub fn longest(&self) -> Duration {
        self.quantile(1.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for sample in &self.samples {
            *kinds.entry(sample.outcome.kind()).or_default() += 1;
        }
        write!(f, "{} requests in {:.1?}:", self.samples.len(), self.took)?;
        for (kind, count) in kinds {
            write!(f, " {count} {kind}")?;
        }
        write!(f, "; p50 {:.1?}, p99 {:.1?}, longest {:.1?}", self.quantile(0.5), self.quantile(0.99), self.longest())?;
        if self.idle_closed > 0 {
            write!(f, "; {} closed while idle", self.idle_closed)?;
        }
        for sample in self.lost().iter().take(8) {
            write!(f, "\n  lost: id {} port {:?} after {:.1?}: ", sample.id, sample.local_port, sample.latency)?;
            match &sample.outcome {
                Outcome::Wrong(what) | Outcome::Failed(what) => write!(f, "{}: {what}", sample.outcome.kind())?,
                outcome => f.write_str(outcome.kind())?,
            }
        }
        Ok(())
    }
}
