//! How a worker is, by its own word: what its event loop does, and how it answers requests. Pure.
//!
//! A [`Pulse`] counts from when the worker began to count, so that one that is told twice, or missed, changes nothing:
//! what happened between two of them is [`Pulse::since`].

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a worker tells of itself, every so often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Pulse {
    /// Requests that were answered.
    pub requests: u64,
    /// Of these, answers with a status of 500 or more.
    pub errors: u64,
    /// Requests that are being answered.
    pub active: u32,
    /// How long the answers took, from the request's head to the answer's end.
    pub latencies: Latencies,
    /// The latest that the event loop was since the pulse before, in microseconds.
    pub delay_us: u64,
    /// The part of the time since the pulse before that the event loop was busy, in a thousandth.
    pub busy_permille: u16,
    /// How long all answers took together, in microseconds.
    pub took_us: u64,
    /// Open connections of its servers, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Its heap, if it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heap: Option<Heap>,
}

/// The memory of a JavaScript program, in bytes, and what the collection of garbage cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Heap {
    /// In use on the heap.
    pub used: u64,
    /// Size of the heap.
    pub size: u64,
    /// The most that the heap may have.
    pub limit: u64,
    /// Outside of the heap: buffers.
    pub external: u64,
    /// How often garbage was collected.
    pub collections: u64,
    /// How long that took, in microseconds.
    pub collecting_us: u64,
}

/// A histogram of durations. Four buckets for each doubling: a quantile is at most 19 % too large.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Latencies(Vec<u64>);

/// The upper bound of the first bucket, in microseconds.
const FIRST: f64 = 128.0;
/// Buckets, the last of which also has everything that is longer: 113 seconds.
const BUCKETS: usize = 80;

impl Pulse {
    /// What was counted since an earlier pulse of the same worker. The state of now stays as it is.
    #[must_use]
    pub fn since(&self, earlier: &Pulse) -> Pulse {
        Pulse {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            latencies: self.latencies.since(&earlier.latencies),
            took_us: self.took_us.saturating_sub(earlier.took_us),
            ..self.clone()
        }
    }
}

impl Latencies {
    /// From the counts of the buckets; what is too many is left out.
    pub fn from_counts(counts: impl IntoIterator<Item = u64>) -> Latencies {
        Latencies(counts.into_iter().take(BUCKETS).collect())
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        let bucket = (0..BUCKETS - 1).find(|bucket| duration <= upper_bound(*bucket)).unwrap_or(BUCKETS - 1);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] = self.0[bucket].saturating_add(1);
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Latencies) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count = count.saturating_add(*more);
        }
    }

    /// What came since an earlier state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Latencies) -> Latencies {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        Latencies(self.0.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect())
    }

    /// How many durations were at most so long, for every so many buckets' bound.
    pub fn up_to(&self, every: usize) -> impl Iterator<Item = (Duration, u64)> {
        (0..BUCKETS).step_by(every.max(1)).map(|bucket| {
            let counts = self.0.iter().take(bucket + 1);
            (upper_bound(bucket), counts.fold(0u64, |sum, count| sum.saturating_add(*count)))
        })
    }

    /// How many durations.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The duration that this part of them, 0 to 1, does not exceed; none when there is none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut sum = 0u64;
        let found = self.0.iter().position(|count| {
            sum = sum.saturating_add(*count);
            sum >= rank
        });
        found.map(upper_bound)
    }
}

/// The longest duration in a bucket.
fn upper_bound(bucket: usize) -> Duration {
    let doublings = bucket as f64 / 4.0;
    Duration::from_micros((FIRST * doublings.exp2()).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, Latencies, Pulse};

    #[test]
    fn quantiles_are_at_most_a_bucket_too_large() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        assert_eq!(latencies.count(), 1000);
        for (part, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.quantile(part).unwrap().as_secs_f64() * 1000.0;
            assert!(found >= exact && found <= exact * 1.19, "{part}: {found}");
        }
        assert_eq!(latencies.quantile(0.0), latencies.quantile(0.001));
    }

    #[test]
    fn bounds_are_those_of_buckets_with_all_that_is_shorter() {
        let mut latencies = Latencies::default();
        [1, 3, 3000].into_iter().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let bounds: Vec<(Duration, u64)> = latencies.up_to(8).collect();
        assert_eq!((bounds.len(), bounds[0]), (10, (Duration::from_micros(128), 0)));
        assert!(bounds.windows(2).all(|two| two[0].0 * 4 == two[1].0 && two[0].1 <= two[1].1), "{bounds:?}");
        assert_eq!((bounds[2].1, bounds[3].1, bounds[9].1), (1, 2, 3), "{bounds:?}");
    }

    #[test]
    fn what_is_very_short_or_long_is_counted_too() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.quantile(1.0), Some(Duration::from_micros(128)));
        latencies.record(Duration::from_secs(3600));
        assert_eq!(latencies.0.len(), BUCKETS);
        assert!(latencies.quantile(1.0).unwrap() > Duration::from_secs(100));
    }

    #[test]
    fn a_histogram_grows_and_shrinks_by_others() {
        let (mut one, mut two) = (Latencies::default(), Latencies::default());
        one.record(Duration::from_millis(1));
        two.record(Duration::from_millis(100));
        let before = one.clone();
        one.merge(&two);
        assert_eq!(one.count(), 2);
        assert_eq!(one.since(&before).quantile(1.0), two.quantile(1.0));
        assert_eq!(before.since(&one).count(), 0);
        assert_eq!(Latencies::from_counts(std::iter::repeat_n(u64::MAX, 1000)).count(), u64::MAX);
    }

    #[test]
    fn pulses_count_from_one_to_the_next() {
        let earlier = Pulse { requests: 10, errors: 1, active: 3, ..Pulse::default() };
        let later = Pulse { requests: 25, errors: 1, active: 5, delay_us: 7, ..Pulse::default() };
        let between = later.since(&earlier);
        assert_eq!((between.requests, between.errors, between.active, between.delay_us), (15, 0, 5, 7));
        // A worker that counts anew.
        assert_eq!(earlier.since(&later).requests, 0);
    }
}
