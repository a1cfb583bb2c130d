//! What was counted. One tally for each phase of each thread; they add up without loss.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::report::histogram_text;

/// Latencies are kept with three digits.
const DIGITS: u8 = 3;

/// An empty histogram of microseconds, which grows with what is put into it.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // Three digits are valid by the library's own rule (0 to 5).
    Histogram::new(DIGITS).unwrap_or_else(|_| unreachable_histogram())
}

fn unreachable_histogram() -> Histogram<u64> {
    // The smallest that can be made; `new` refuses none of these arguments.
    #[expect(clippy::expect_used, reason = "constant arguments that the library documents as valid")]
    Histogram::new_with_bounds(1, 2, 1).expect("valid bounds")
}

/// Kinds of failure: what did not get an answer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Nobody listens, or nobody is there.
    Connect,
    /// The connection was not made in time.
    ConnectTimeout,
    /// TLS could not be agreed upon.
    Tls,
    /// No answer in time.
    Timeout,
    /// Closed before an answer began.
    Closed,
    /// Closed before an answer began, on a connection that had served before: a server that closes idle connections.
    ClosedReused,
    /// Closed in the middle of an answer.
    ShortBody,
    /// Something that is no answer.
    Malformed,
    /// A redirect too many, or to nowhere.
    Redirect,
    /// HTTP/2 or WebSocket said no.
    Protocol,
    /// A WebSocket message other than expected.
    Unexpected,
    /// This machine had no port, descriptor or memory left: the generator's fault, not the server's.
    Local,
}

impl FaultKind {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            FaultKind::Connect => "could not connect",
            FaultKind::ConnectTimeout => "no connection in time",
            FaultKind::Tls => "TLS failed",
            FaultKind::Timeout => "no answer in time",
            FaultKind::Closed => "closed without an answer",
            FaultKind::ClosedReused => "closed without an answer, on a kept connection",
            FaultKind::ShortBody => "closed within the answer",
            FaultKind::Malformed => "not an answer",
            FaultKind::Redirect => "a redirect that cannot be followed",
            FaultKind::Protocol => "the protocol was broken",
            FaultKind::Unexpected => "another message than expected",
            FaultKind::Local => "this machine could not send",
        }
    }
}

/// How often a failure was seen, and what the first was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// How often.
    pub count: u64,
    /// The first one's message.
    pub first: String,
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Microseconds from the planned instant (open loop) or the begin (closed loop) to the end of the answer.
    #[serde(with = "histogram_text")]
    pub latency: Histogram<u64>,
    /// Open loop: microseconds from when it was really begun.
    #[serde(with = "histogram_text::optional")]
    pub service: Option<Histogram<u64>>,
    /// Sum of all latencies, exactly.
    pub latency_sum: Duration,
    /// Sum of what every request really took: of the plan, from its begin. What Little's law is about.
    pub busy_sum: Duration,
    /// The shortest.
    pub shortest: Option<Duration>,
    /// The longest.
    pub longest: Duration,
    /// Requests that got their final answer.
    pub transactions: u64,
    /// Answers on the wire, redirects included: what the server counts.
    pub answers: u64,
    /// Redirects that were followed.
    pub redirects: u64,
    /// Final answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Bytes of heads.
    pub head_bytes: u64,
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// Bytes of requests.
    pub sent_bytes: u64,
    /// Connections that were made.
    pub connects: u64,
    /// The time that took, together.
    pub connect_sum: Duration,
    /// The longest of them.
    pub connect_longest: Duration,
    /// What failed.
    pub faults: BTreeMap<FaultKind, Fault>,
    /// Requests without an answer at the end.
    pub unfinished: u64,
    /// Open loop: requests that were due and not begun, for want of a connection.
    pub unsent: u64,
    /// Open loop: requests that waited for a connection.
    pub delayed: u64,
    /// Open loop: how late the generator itself was at worst, with connections free.
    pub slip_longest: Duration,
    /// ... and how many were more than a millisecond late for that.
    pub slipped: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            latency: histogram(),
            service: None,
            latency_sum: Duration::ZERO,
            busy_sum: Duration::ZERO,
            shortest: None,
            longest: Duration::ZERO,
            transactions: 0,
            answers: 0,
            redirects: 0,
            statuses: BTreeMap::new(),
            head_bytes: 0,
            body_bytes: 0,
            sent_bytes: 0,
            connects: 0,
            connect_sum: Duration::ZERO,
            connect_longest: Duration::ZERO,
            faults: BTreeMap::new(),
            unfinished: 0,
            unsent: 0,
            delayed: 0,
            slip_longest: Duration::ZERO,
            slipped: 0,
        }
    }
}

/// Whole microseconds, 1 at least: a histogram has no 0.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

impl Tally {
    /// Counts a final answer.
    pub(crate) fn answered(&mut self, status: u16, latency: Duration, busy: Duration) {
        self.transactions += 1;
        *self.statuses.entry(status).or_insert(0) += 1;
        // It grows, so it takes everything.
        let _ = self.latency.record(micros(latency));
        if let Some(service) = &mut self.service {
            let _ = service.record(micros(busy));
        }
        self.latency_sum += latency;
        self.busy_sum += busy;
        if latency > self.longest {
            self.longest = latency;
        }
        if self.shortest.is_none_or(|shortest| latency < shortest) {
            self.shortest = Some(latency);
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&mut self, kind: FaultKind, message: impl FnOnce() -> String) {
        self.faults.entry(kind).or_insert_with(|| Fault { count: 0, first: message() }).count += 1;
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Tally) {
        // Only a histogram that may not grow can refuse.
        let _ = self.latency.add(&other.latency);
        if let Some(service) = &other.service {
            let _ = self.service.get_or_insert_with(histogram).add(service);
        }
        self.latency_sum += other.latency_sum;
        self.busy_sum += other.busy_sum;
        self.shortest = self.shortest.into_iter().chain(other.shortest).min();
        self.longest = self.longest.max(other.longest);
        self.transactions += other.transactions;
        self.answers += other.answers;
        self.redirects += other.redirects;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_insert(0) += count;
        }
        self.head_bytes += other.head_bytes;
        self.body_bytes += other.body_bytes;
        self.sent_bytes += other.sent_bytes;
        self.connects += other.connects;
        self.connect_sum += other.connect_sum;
        self.connect_longest = self.connect_longest.max(other.connect_longest);
        for (kind, fault) in &other.faults {
            self.faults.entry(*kind).or_insert_with(|| Fault { count: 0, first: fault.first.clone() }).count +=
                fault.count;
        }
        self.unfinished += other.unfinished;
        self.unsent += other.unsent;
        self.delayed += other.delayed;
        self.slip_longest = self.slip_longest.max(other.slip_longest);
        self.slipped += other.slipped;
    }

    /// Requests that got no answer, for whatever reason.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.faults.values().map(|fault| fault.count).sum()
    }

    /// Answers whose status is in a range.
    #[must_use]
    pub fn with_status(&self, range: std::ops::RangeInclusive<u16>) -> u64 {
        self.statuses.range(range).map(|(_, count)| count).sum()
    }

    /// Every request that ended one way or the other.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.transactions + self.failures()
    }

    /// The share of failures and 4xx/5xx answers, from 0 to 1.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        ratio(self.failures() + self.with_status(400..=999), self.ended())
    }

    /// Mean of all latencies.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.transactions).unwrap_or(u32::MAX).max(1);
        self.latency_sum / count
    }

    /// The latency that this share of answers is not above, in microseconds; 0 without answers.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        // The histogram gives the upper end of a range.
        if self.latency.is_empty() { 0 } else { self.latency.value_at_quantile(share).min(micros(self.longest)) }
    }
}

/// A share; 0 of nothing.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { count(part) / count(whole) }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
#[must_use]
pub fn count(count: u64) -> f64 {
    count as f64
}
