//! The report as people read it: siege's twelve lines as they are, then what siege leaves open.

use std::fmt::Write;

use super::summary::{Report, Siege};
use super::time_words;
use crate::tally::{Tally, ratio};

use std::time::Duration;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// siege's lines alone.
    Siege,
    /// All.
    All,
}

/// The report.
#[must_use]
pub fn text(report: &Report, words: Words) -> String {
    let mut out = siege(&report.siege);
    if words == Words::Siege {
        return out;
    }
    out.push('\n');
    latency(&mut out, report);
    statuses(&mut out, &report.total);
    urls(&mut out, report);
    if let Some(why) = &report.ended_by {
        let _ = writeln!(out, "\nended early: {why}");
    }
    for limit in &report.client_limits {
        let _ = writeln!(out, "the generator was the limit: {limit}");
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

/// As siege 4.0.7 prints them, with digits that mean something.
fn siege(lines: &Siege) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String, unit: &str| {
        let _ = writeln!(out, "{}", format!("{name:<25}{value:>12} {unit}").trim_end());
    };
    let size = |value: f64| if value < 10.0 { format!("{value:.4}") } else { format!("{value:.2}") };
    line("Transactions:", lines.transactions.to_string(), "hits");
    line("Availability:", format!("{:.2}", lines.availability), "%");
    line("Elapsed time:", format!("{:.2}", lines.elapsed_time), "secs");
    line("Data transferred:", size(lines.data_transferred), "MB");
    line("Response time:", format!("{:.6}", lines.response_time), "secs");
    line("Transaction rate:", format!("{:.2}", lines.transaction_rate), "trans/sec");
    line("Throughput:", size(lines.throughput), "MB/sec");
    line("Concurrency:", format!("{:.2}", lines.concurrency), "");
    line("Successful transactions:", lines.successful_transactions.to_string(), "");
    line("Failed transactions:", lines.failed_transactions.to_string(), "");
    line("Longest transaction:", format!("{:.6}", lines.longest_transaction), "");
    line("Shortest transaction:", format!("{:.6}", lines.shortest_transaction), "");
    out
}

const COLUMNS: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One row for the whole, and one for each phase.
fn latency(out: &mut String, report: &Report) {
    let widest = report.phases.iter().map(|phase| phase.label.chars().count()).max().unwrap_or(0).clamp(7, 40);
    let _ = write!(out, "{:<widest$}", "latency");
    for (name, _) in COLUMNS {
        let _ = write!(out, " {name:>8}");
    }
    let _ = writeln!(out, " {:>10} {:>8}", "per second", "errors");
    let mut row = |label: &str, tally: &Tally, seconds: f64| {
        let label: String = label.chars().take(widest).collect();
        let _ = write!(out, "{label:<widest$}");
        for (_, share) in COLUMNS {
            let time = if share >= 1.0 { tally.longest } else { Duration::from_micros(tally.quantile(share)) };
            let shown = if tally.transactions == 0 { "-".to_owned() } else { time_words(time) };
            let _ = write!(out, " {shown:>8}");
        }
        let rate = crate::tally::count(tally.transactions) / seconds.max(1e-9);
        let _ = writeln!(out, " {rate:>10.1} {:>8}", percent(tally.error_share()));
    };
    let open = report.about.rate.is_some();
    row(if open { "planned" } else { "all" }, &report.total, report.siege.elapsed_time);
    for phase in &report.phases {
        row(&phase.label, &phase.tally, phase.seconds);
    }
    if let Some(service) = report.total.service.as_ref().filter(|service| !service.is_empty()) {
        let quantile = |share: f64| time_words(Duration::from_micros(service.value_at_quantile(share)));
        let _ = write!(out, "{:<widest$}", "sent");
        for (_, share) in COLUMNS {
            let _ = write!(out, " {:>8}", quantile(share));
        }
        let _ = writeln!(out, "   (from when it was really sent)");
    }
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0%".into(),
        small if small < 0.01 => "<0.01%".into(),
        some if some < 10.0 => format!("{some:.2}%"),
        many => format!("{many:.0}%"),
    }
}

fn statuses(out: &mut String, total: &Tally) {
    if total.statuses.len() > 1 || total.with_status(400..=999) > 0 {
        let parts: Vec<String> = total.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        let _ = writeln!(out, "\nanswers   {}", parts.join("   "));
    }
    if !total.faults.is_empty() {
        let _ = writeln!(out, "\nfailures");
        for (kind, fault) in &total.faults {
            let share = percent(ratio(fault.count, total.ended()));
            let _ =
                writeln!(out, "  {:>8}  {share:>6}  {}; the first: {}", fault.count, kind.words(), plain(&fault.first));
        }
    }
}

fn urls(out: &mut String, report: &Report) {
    if report.urls.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{:>10} {:>8} {:>10} {:>10}  URL", "answers", "errors", "mean", "max");
    for place in &report.urls {
        let time = |ms: f64| time_words(Duration::from_secs_f64((ms / 1e3).max(0.0)));
        let _ = writeln!(
            out,
            "{:>10} {:>8} {:>10} {:>10}  {}",
            place.transactions,
            place.errors,
            time(place.mean_ms),
            time(place.max_ms),
            plain(&place.url)
        );
    }
    if report.about.target_count > report.urls.len() as u64 {
        let _ = writeln!(out, "{:>42}  (the first {} of {})", "", report.urls.len(), report.about.target_count);
    }
}

/// What came from a server must not drive the terminal.
fn plain(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Words, text};
    use crate::report::{About, Report};
    use crate::tally::{FaultKind, Tally};

    #[test]
    fn the_twelve_lines_have_the_names_and_places_of_siege() {
        let mut tally = Tally { head_bytes: 1_000_000, body_bytes: 97_152, ..Tally::default() };
        for (status, time) in [(200, 10), (200, 20), (404, 30)] {
            let time = Duration::from_millis(time);
            tally.answered(status, time, time);
        }
        tally.failed(FaultKind::Timeout, || "no answer within 30 s".into());
        let report = Report::of_tally(tally, Duration::from_secs(2), About::default());
        let expected = "\
Transactions:                       3 hits
Availability:                   75.00 %
Elapsed time:                    2.00 secs
Data transferred:              1.0463 MB
Response time:               0.020000 secs
Transaction rate:                1.50 trans/sec
Throughput:                    0.5232 MB/sec
Concurrency:                     0.03
Successful transactions:            2
Failed transactions:                2
Longest transaction:         0.030000
Shortest transaction:        0.010000
";
        assert_eq!(text(&report, Words::Siege), expected);
        let all = text(&report, Words::All);
        assert!(all.contains("answers   200: 2   404: 1"), "{all}");
        assert!(all.contains("no answer in time; the first: no answer within 30 s"), "{all}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["transactions"], &json["failed_transactions"]), (&3.into(), &2.into()));
        let again: Report = serde_json::from_value(json).unwrap();
        assert_eq!(again.total, report.total);
    }
}
