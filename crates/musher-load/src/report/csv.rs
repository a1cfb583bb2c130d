//! Forms for other programs: CSV, siege's log, and the log of HdrHistogram's tools.

use std::fmt::Write;
use std::time::Duration;

use super::histogram_text;
use super::summary::Report;
use crate::engine::Outcome;
use crate::tally::count;

/// One line for each interval.
#[must_use]
pub fn series(outcome: &Outcome) -> String {
    let mut out = String::from(
        "seconds,answers,errors,per_second,p50_ms,p90_ms,p99_ms,max_ms,bytes,in_flight,connections,client_cpu_percent\n",
    );
    let interval = outcome.interval.as_secs_f64();
    for slice in &outcome.series {
        let at = |share: f64| match slice.latency.is_empty() {
            true => String::new(),
            false => format!("{:.3}", count(slice.latency.value_at_quantile(share)) / 1e3),
        };
        let answers = slice.latency.len();
        let _ = writeln!(
            out,
            "{:.3},{answers},{},{:.1},{},{},{},{},{},{},{},{:.1}",
            f64::from(slice.index) * interval,
            slice.bad,
            count(answers) / interval,
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            slice.bytes,
            slice.in_flight,
            slice.open,
            slice.cpu.as_secs_f64() / interval * 100.0
        );
    }
    out
}

/// The line of siege's log (`-l`): its heading, and the line.
#[must_use]
pub fn siege_log(report: &Report) -> (&'static str, String) {
    let siege = &report.siege;
    let heading = "Date & Time,Trans,Elap Time,Data Trans,Resp Time,Trans Rate,Throughput,Concurrent,OKAY,Failed";
    let line = format!(
        "{},{},{:.2},{:.4},{:.6},{:.2},{:.4},{:.2},{},{}",
        date(report.about.started_at),
        siege.transactions,
        siege.elapsed_time,
        siege.data_transferred,
        siege.response_time,
        siege.transaction_rate,
        siege.throughput,
        siege.concurrency,
        siege.successful_transactions,
        siege.failed_transactions
    );
    (heading, line)
}

/// `2026-11-20 17:05:12` of milliseconds since 1970, in UTC (Howard Hinnant's algorithm for days).
#[must_use]
pub(super) fn date(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The log that HdrHistogram's tools read (version 1.3), with one histogram for each interval.
///
/// # Errors
///
/// When a histogram cannot be written.
pub fn hdr_log(outcome: &Outcome, started_at: u64) -> Result<String, String> {
    let start = Duration::from_millis(started_at).as_secs_f64();
    let mut out = format!(
        "#[Histogram log format version 1.3]\n#[StartTime: {start:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
    );
    let interval = outcome.interval.as_secs_f64();
    for slice in outcome.series.iter().filter(|slice| !slice.latency.is_empty()) {
        let at = f64::from(slice.index) * interval;
        // The largest value is in milliseconds by convention, the histogram in its own unit: microseconds.
        let max = count(slice.latency.max()) / 1e3;
        let _ = writeln!(out, "{at:.3},{interval:.3},{max:.3},{}", histogram_text::text(&slice.latency)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in
            [(0, "1970-01-01 00:00:00"), (951_782_400, "2000-02-29 00:00:00"), (1_795_194_312, "2026-11-20 17:05:12")]
        {
            assert_eq!(date(seconds * 1000), text);
        }
    }
}
