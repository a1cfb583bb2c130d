//! What a run has to come to: `p99<200ms`, `errors<0.1%`, `during:p99<50ms`, `rate>=1000`. It gives the exit code.

use std::fmt;
use std::str::FromStr;

use crate::report::{Report, Stretch};
use crate::tally::{Tally, count};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// Milliseconds that this share of answers is not above.
    Quantile(f64),
    Mean,
    Shortest,
    Longest,
    /// Answers a second.
    Rate,
    /// Percent of requests that failed or were answered with 4xx or 5xx.
    ErrorShare,
    /// Their number.
    Errors,
    /// Percent of requests that were answered.
    Availability,
    /// Requests that were due and not sent.
    Unsent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// A threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    text: String,
    /// Only in this phase.
    phase: Option<String>,
    metric: Metric,
    sign: Sign,
    limit: f64,
}

/// Why a text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no threshold: {why}")]
pub struct ExpectError {
    text: String,
    why: String,
}

/// What a threshold came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// `p99<200ms: 143 ms`.
    pub words: String,
}

const FORM: &str = "METRIC, one of < <= > >=, and a value; METRIC is p50, p99.9, mean, min, max (with ms or s), rate, \
                    errors (a number, or with %), availability (with %) or unsent; PHASE: before it for one phase";

impl FromStr for Expectation {
    type Err = ExpectError;

    fn from_str(text: &str) -> Result<Expectation, ExpectError> {
        let wrong = |why: &str| ExpectError { text: text.to_owned(), why: why.to_owned() };
        let at = text.find(['<', '>']).ok_or_else(|| wrong(FORM))?;
        let (left, right) = text.split_at(at);
        let (sign, value) = match right.as_bytes() {
            [b'<', b'=', ..] => (Sign::AtMost, &right[2..]),
            [b'>', b'=', ..] => (Sign::AtLeast, &right[2..]),
            [b'<', ..] => (Sign::Below, &right[1..]),
            _ => (Sign::Above, &right[1..]),
        };
        let (phase, name) = match left.rsplit_once(':') {
            Some((phase, name)) => (Some(phase.trim().to_owned()), name.trim()),
            None => (None, left.trim()),
        };
        let value = value.trim();
        let percent = value.strip_suffix('%').map(str::trim);
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        let milliseconds = || match crate::time::seconds(value) {
            // A bare number could be both.
            Some(_) if number(value).is_some() => Err(wrong("a time needs its unit: 200ms, 1.5s")),
            Some(seconds) => Ok(seconds * 1e3),
            None => Err(wrong("a time is a number and us, ms or s")),
        };
        let plain = |text: &str| number(text).ok_or_else(|| wrong("its value is no number"));
        let (metric, limit) = match (name.to_ascii_lowercase().as_str(), percent) {
            ("mean" | "avg", _) => (Metric::Mean, milliseconds()?),
            ("min", _) => (Metric::Shortest, milliseconds()?),
            ("max", _) => (Metric::Longest, milliseconds()?),
            ("rate", None) => (Metric::Rate, plain(value.trim_end_matches("/s"))?),
            ("errors", Some(share)) => (Metric::ErrorShare, plain(share)?),
            ("errors", None) => (Metric::Errors, plain(value)?),
            ("availability", share) => (Metric::Availability, plain(share.unwrap_or(value))?),
            ("unsent", None) => (Metric::Unsent, plain(value)?),
            (name, _) => {
                let share = name.strip_prefix('p').and_then(number).filter(|share| *share <= 100.0);
                (Metric::Quantile(share.ok_or_else(|| wrong(FORM))? / 100.0), milliseconds()?)
            }
        };
        Ok(Expectation { text: text.trim().to_owned(), phase, metric, sign, limit })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expectation {
    /// Whether a run came to it.
    #[must_use]
    pub fn judge(&self, report: &Report) -> Verdict {
        let value = match &self.phase {
            None => self.value(&report.total, report.siege.elapsed_time),
            Some(label) => report
                .phases
                .iter()
                .find(|stretch| stretch.label == *label || stretch.label.starts_with(&format!("{label}:")))
                .and_then(|Stretch { tally, seconds, .. }| self.value(tally, *seconds)),
        };
        let Some(value) = value else {
            let what =
                self.phase.as_ref().map_or("no answers".into(), |label| format!("no answers in a phase {label:?}"));
            return Verdict { holds: false, words: format!("{}: {what}", self.text) };
        };
        let holds = match self.sign {
            Sign::Below => value < self.limit,
            Sign::AtMost => value <= self.limit,
            Sign::Above => value > self.limit,
            Sign::AtLeast => value >= self.limit,
        };
        let unit = match self.metric {
            Metric::Quantile(_) | Metric::Mean | Metric::Shortest | Metric::Longest => " ms",
            Metric::Rate => "/s",
            Metric::ErrorShare | Metric::Availability => " %",
            Metric::Errors | Metric::Unsent => "",
        };
        let shown = format!("{value:.3}");
        let shown = shown.trim_end_matches('0').trim_end_matches('.');
        Verdict { holds, words: format!("{}: {shown}{unit}", self.text) }
    }

    /// None: there is nothing that it could be said of.
    fn value(&self, tally: &Tally, seconds: f64) -> Option<f64> {
        let answered = (tally.transactions > 0).then_some(());
        Some(match self.metric {
            Metric::Quantile(share) => answered.map(|()| count(tally.quantile(share)) / 1e3)?,
            Metric::Mean => answered.map(|()| tally.mean().as_secs_f64() * 1e3)?,
            Metric::Shortest => tally.shortest?.as_secs_f64() * 1e3,
            Metric::Longest => answered.map(|()| tally.longest.as_secs_f64() * 1e3)?,
            Metric::Rate => count(tally.transactions) / seconds.max(1e-9),
            Metric::ErrorShare if tally.ended() == 0 => return None,
            Metric::ErrorShare => tally.error_share() * 100.0,
            Metric::Errors => count(tally.failures() + tally.with_status(400..=999)),
            Metric::Availability if tally.ended() == 0 => return None,
            Metric::Availability => count(tally.transactions) / count(tally.ended()) * 100.0,
            Metric::Unsent => count(tally.unsent),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Expectation;
    use crate::report::{About, Report, Stretch};
    use crate::tally::Tally;

    fn report() -> Report {
        let mut tally = Tally::default();
        for number in 1..=1000u64 {
            let time = Duration::from_millis(number);
            tally.answered(if number <= 5 { 503 } else { 200 }, time, time);
        }
        let mut report = Report::of_tally(tally.clone(), Duration::from_secs(10), About::default());
        report.phases.push(Stretch { label: "during: musher reload web".into(), begun: 0.0, seconds: 5.0, tally });
        report
    }

    #[test]
    fn thresholds_are_judged_by_what_was_counted() {
        let report = report();
        for (text, holds) in [
            ("p99<995ms", true),
            ("p99<900ms", false),
            ("p50<=0.51s", true),
            ("max<1s", false),
            ("max<=1001ms", true),
            ("mean<501ms", true),
            ("min>0.5ms", true),
            ("rate>=100", true),
            ("rate>100/s", false),
            ("errors<1%", true),
            ("errors<0.1%", false),
            ("errors<=5", true),
            ("availability>=100%", true),
            ("unsent<1", true),
            ("during:p99<995ms", true),
            ("during: rate>=200", true),
            ("never:p99<1s", false),
        ] {
            let verdict = text.parse::<Expectation>().unwrap().judge(&report);
            assert_eq!(verdict.holds, holds, "{}", verdict.words);
        }
    }

    #[test]
    fn what_is_no_threshold_is_told() {
        for text in ["", "p99", "p99<200", "p101<1s", "rate<1ms", "latency<1s", "errors<x%", "p99<NaN ms"] {
            assert!(text.parse::<Expectation>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_stumble(text in "\\PC{0,20}") {
            let _ = text.parse::<Expectation>();
        }
    }
}
