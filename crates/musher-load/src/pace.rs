//! When requests are due: the schedule of an open loop, as a function from the number of a request to its instant.
//!
//! The rate over time is a list of segments, each constant or rising in a line. The n-th request is due when the integral
//! of the rate reaches n, so that constant rates, ramps, steps and their mixtures are one formula. A Poisson process is the
//! same with waits of random size in that integral. Several generators share a schedule by taking every k-th request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// The most requests a second that can be asked for.
const HIGHEST: f64 = 10_000_000.0;

/// A stretch of time with a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Requests a second at its begin.
    pub from: f64,
    /// And at its end.
    pub to: f64,
    /// Seconds; infinite: until the run ends.
    #[serde(with = "forever")]
    pub seconds: f64,
}

/// JSON has no infinity.
mod forever {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(seconds: &f64, to: S) -> Result<S::Ok, S::Error> {
        seconds.is_finite().then_some(*seconds).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::INFINITY))
    }
}

/// A rate over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// One after the other.
    pub segments: Vec<Segment>,
    /// Whether requests come at random, as those of many independent people do.
    pub poisson: bool,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Not of the form.
    #[error("{0:?} is no rate: 1000, 100..1000@30s (a ramp), or several with commas between them: 100@10s,200@10s")]
    Form(String),
    /// Too high or not positive.
    #[error("the rate {0} is not from 0.001 to {HIGHEST} requests a second")]
    Bounds(String),
    /// Only the last may go on for ever.
    #[error("only the last of several rates may be without a time")]
    Endless,
}

impl Rate {
    /// The same all the time.
    #[must_use]
    pub fn constant(per_second: f64) -> Rate {
        Rate { segments: vec![Segment { from: per_second, to: per_second, seconds: f64::INFINITY }], poisson: false }
    }

    /// Reads `1000`, `100..1000@30s`, `100@10s,200@10s,400`.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str) -> Result<Rate, RateError> {
        let form = || RateError::Form(text.into());
        let number = |word: &str| match word.trim().trim_end_matches("/s").parse::<f64>() {
            Ok(number) if (0.001..=HIGHEST).contains(&number) => Ok(number),
            Ok(_) => Err(RateError::Bounds(word.into())),
            Err(_) => Err(form()),
        };
        let mut segments = Vec::new();
        for part in text.split(',') {
            if segments.last().is_some_and(|last: &Segment| last.seconds.is_infinite()) {
                return Err(RateError::Endless);
            }
            let (rate, seconds) = match part.split_once('@') {
                Some((rate, time)) => (rate, crate::time::seconds(time).ok_or_else(form)?),
                None => (part, f64::INFINITY),
            };
            let (from, to) = match rate.split_once("..") {
                // Only what has an end can rise in a line.
                Some(_) if seconds.is_infinite() => return Err(form()),
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(rate)?, number(rate)?),
            };
            segments.push(Segment { from, to, seconds });
        }
        Ok(Rate { segments, poisson: false })
    }

    /// How long it says to go on; none: for ever.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        let seconds: f64 = self.segments.iter().map(|segment| segment.seconds).sum();
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The highest rate of all.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.segments.iter().flat_map(|segment| [segment.from, segment.to]).fold(0.0, f64::max)
    }

    /// The second in which the integral of the rate reaches `area`; none: never.
    #[must_use]
    pub fn instant_of(&self, area: f64) -> Option<f64> {
        let (mut begun, mut left) = (0.0, area);
        for segment in &self.segments {
            let Segment { from, to, seconds } = *segment;
            let whole = if seconds.is_infinite() { f64::INFINITY } else { (from + to) / 2.0 * seconds };
            if left < whole {
                let slope = if seconds.is_infinite() { 0.0 } else { (to - from) / seconds };
                // slope/2 t² + from t = left, in the form that does not lose digits when the slope is small.
                return Some(begun + 2.0 * left / (from + (from * from + 2.0 * slope * left).max(0.0).sqrt()));
            }
            left -= whole;
            begun += seconds;
        }
        None
    }

    /// How many requests are due before `seconds`.
    #[must_use]
    pub fn due_before(&self, seconds: f64) -> f64 {
        let (mut begun, mut area) = (0.0, 0.0);
        for segment in &self.segments {
            let within = (seconds - begun).clamp(0.0, segment.seconds);
            let slope = if segment.seconds.is_infinite() { 0.0 } else { (segment.to - segment.from) / segment.seconds };
            area += (segment.from + slope * within / 2.0) * within;
            begun += segment.seconds;
        }
        area
    }
}

/// The requests of one generator, of several that share a rate.
#[derive(Debug)]
pub struct Schedule {
    rate: Rate,
    random: Random,
    /// The integral of the rate at the next request.
    area: f64,
    generators: f64,
    next: Option<f64>,
}

impl Schedule {
    /// The share of generator `number` of `generators`.
    #[must_use]
    pub fn new(rate: Rate, number: u32, generators: u32, seed: u64) -> Schedule {
        let mut random = Random::new(seed.wrapping_add(u64::from(number) << 32));
        let generators = f64::from(generators.max(1));
        let area = if rate.poisson { random.exponential() * generators } else { f64::from(number) };
        let next = rate.instant_of(area);
        Schedule { rate, random, area, generators, next }
    }

    /// When the next request is due, in time from the begin; none: no more.
    #[must_use]
    pub fn peek(&self) -> Option<Duration> {
        self.next.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Goes on to the one after it.
    pub fn advance(&mut self) {
        self.area += if self.rate.poisson { self.random.exponential() * self.generators } else { self.generators };
        self.next = self.rate.instant_of(self.area);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rate, RateError, Schedule};

    fn instants(rate: &str, number: u32, generators: u32, until: f64) -> Vec<f64> {
        let mut schedule = Schedule::new(Rate::parse(rate).unwrap(), number, generators, 1);
        let mut found = Vec::new();
        while let Some(at) = schedule.peek().map(|at| at.as_secs_f64()).filter(|at| *at < until) {
            found.push(at);
            schedule.advance();
        }
        found
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let at = instants("1000", 0, 1, 1.0);
        assert_eq!(at.len(), 1000);
        assert!(at.windows(2).all(|pair| (pair[1] - pair[0] - 0.001).abs() < 1e-6));
    }

    #[test]
    fn steps_and_ramps_send_what_their_areas_say() {
        assert_eq!(instants("100@2s,300@1s", 0, 1, 10.0).len(), 500);
        let ramp = instants("100..300@10s", 0, 1, 100.0);
        assert_eq!(ramp.len(), 2000);
        assert_eq!(ramp.iter().filter(|at| **at < 5.0).count(), 750);
        assert_eq!(Rate::parse("100..300@10s,50").unwrap().due_before(12.0).round(), 2100.0);
    }

    #[test]
    fn generators_share_a_rate_without_a_seam() {
        let mut all: Vec<f64> = (0..3).flat_map(|number| instants("900", number, 3, 1.0)).collect();
        all.sort_by(f64::total_cmp);
        assert_eq!(all.len(), 900);
        assert!(all.windows(2).all(|pair| (pair[1] - pair[0] - 1.0 / 900.0).abs() < 1e-6));
    }

    #[test]
    fn a_poisson_process_has_its_rate_and_its_spread() {
        let rate = Rate { poisson: true, ..Rate::constant(1000.0) };
        let mut waits = Vec::new();
        let mut schedule = Schedule::new(rate, 0, 2, 3);
        let mut last = 0.0;
        for _ in 0..20_000 {
            let at = schedule.peek().unwrap().as_secs_f64();
            waits.push(at - last);
            last = at;
            schedule.advance();
        }
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        let spread = (waits.iter().map(|wait| (wait - mean).powi(2)).sum::<f64>() / waits.len() as f64).sqrt();
        assert!((mean / 0.002 - 1.0).abs() < 0.03 && (spread / mean - 1.0).abs() < 0.05, "{mean} {spread}");
    }

    #[test]
    fn what_is_no_rate_is_told() {
        assert!(matches!(Rate::parse("fast"), Err(RateError::Form(_))));
        assert!(matches!(Rate::parse("0"), Err(RateError::Bounds(_))));
        assert!(matches!(Rate::parse("1,2"), Err(RateError::Endless)));
        assert!(matches!(Rate::parse("1..2"), Err(RateError::Form(_))));
        assert!(matches!(Rate::parse("NaN"), Err(RateError::Bounds(_))));
    }

    proptest! {
        #[test]
        fn the_instant_of_an_area_is_where_that_much_is_due(
            parts in prop::collection::vec((0.1..500.0f64, 0.1..500.0f64, 0.1..20.0f64), 1..5), share in 0.0..0.99f64,
        ) {
            let text: Vec<String> = parts.iter().map(|(from, to, time)| format!("{from}..{to}@{time}s")).collect();
            let rate = Rate::parse(&text.join(",")).unwrap();
            let area = rate.due_before(rate.length().unwrap().as_secs_f64()) * share;
            let at = rate.instant_of(area).unwrap();
            prop_assert!((rate.due_before(at) - area).abs() < 1e-6 * area.max(1.0));
        }
    }
}
