//! The figures of a run: siege's twelve with their documented meaning, and what siege does not tell.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::engine::Outcome;
use crate::plan::{Plan, Protocol};
use crate::tally::{FaultKind, Tally, count, ratio};

/// Of the form of a report as JSON.
pub const VERSION: u32 = 1;
/// Beyond this share of its cores, the generator is what was measured.
const BUSY: f64 = 0.8;
/// Beyond this share of late requests, the schedule was not kept.
const LATE: f64 = 0.001;
/// siege's MB.
const MEBIBYTE: f64 = 1_048_576.0;
const PERCENTILES: [f64; 8] = [10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

/// The twelve lines of siege, by the names of its JSON and in its units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Siege {
    /// Requests that were answered.
    pub transactions: u64,
    /// Percent of requests that got an answer, whatever its status.
    pub availability: f64,
    /// Seconds.
    pub elapsed_time: f64,
    /// MiB, heads included.
    pub data_transferred: f64,
    /// Mean, in seconds.
    pub response_time: f64,
    /// Answers a second.
    pub transaction_rate: f64,
    /// MiB a second.
    pub throughput: f64,
    /// Mean number of requests under way.
    pub concurrency: f64,
    /// Answers with a status below 400.
    pub successful_transactions: u64,
    /// Answers with 400 and above, and requests without an answer.
    pub failed_transactions: u64,
    /// Seconds.
    pub longest_transaction: f64,
    /// Seconds.
    pub shortest_transaction: f64,
}

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// A name for it (`--mark`).
    pub title: Option<String>,
    /// URLs, without passwords; the first 20.
    pub targets: Vec<String>,
    /// How many there are.
    pub target_count: u64,
    /// Closed loop: users; open loop: the most connections.
    pub users: u32,
    /// Open loop: the rate in words.
    pub rate: Option<String>,
    /// `http/1.1`, `h2` or `websocket`.
    pub protocol: String,
    /// Whether connections were kept.
    pub keep_alive: bool,
    /// When it began, in milliseconds since 1970.
    pub started_at: u64,
    /// Of everything random.
    pub seed: u64,
    /// Seconds of warm-up before.
    pub warm_up: f64,
    /// Generators.
    pub threads: u32,
}

impl About {
    /// A plan, as far as it is told.
    #[must_use]
    pub fn plan(plan: &Plan, title: Option<&str>, rate: Option<&str>) -> About {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        About {
            title: title.map(str::to_owned),
            targets: plan
                .requests
                .iter()
                .take(20)
                .map(|one| match one.method.as_str() {
                    "GET" => one.url.to_string(),
                    method => format!("{method} {}", one.url),
                })
                .collect(),
            target_count: plan.requests.len() as u64,
            users: plan.users,
            rate: rate.map(str::to_owned),
            protocol: match plan.protocol {
                Protocol::Http1 => "http/1.1",
                Protocol::Http2 { .. } => "h2",
                Protocol::WebSocket { .. } => "websocket",
            }
            .to_owned(),
            keep_alive: plan.keep_alive,
            started_at: u64::try_from(started.as_millis()).unwrap_or(0),
            seed: plan.seed,
            warm_up: plan.warm_up.as_secs_f64(),
            threads: plan.threads * plan.processes,
        }
    }
}

/// A phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its name.
    pub label: String,
    /// Seconds from the begin of the run.
    pub begun: f64,
    /// How long it was.
    pub seconds: f64,
    /// What was counted of the requests that were begun in it.
    pub tally: Tally,
}

/// One URL of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The URL.
    pub url: String,
    /// Answers.
    pub transactions: u64,
    /// Failures, 4xx and 5xx.
    pub errors: u64,
    /// Milliseconds.
    pub mean_ms: f64,
    /// Milliseconds.
    pub max_ms: f64,
}

/// All figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// siege's.
    #[serde(flatten)]
    pub siege: Siege,
    /// Of the form of this.
    pub report_version: u32,
    /// What was run.
    pub about: About,
    /// Milliseconds by percentile.
    pub percentiles_ms: Vec<(f64, f64)>,
    /// Everything that was counted after the warm-up.
    pub total: Tally,
    /// The phases, when there was more than one.
    pub phases: Vec<Stretch>,
    /// The URLs, when there were several.
    pub urls: Vec<Place>,
    /// Mean time to make a connection, in milliseconds.
    pub connect_ms: f64,
    /// CPU time of the generator, in seconds.
    pub client_cpu: f64,
    /// Share of its cores that it used, at the busiest.
    pub client_busy: f64,
    /// What makes the figures those of the generator, not of the server. Empty is good.
    pub client_limits: Vec<String>,
    /// What one should know when reading the figures.
    pub notes: Vec<String>,
    /// Why it ended before its time.
    pub ended_by: Option<String>,
    /// Everything, interval by interval; only in files.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
}

impl Report {
    /// The figures of a run.
    #[must_use]
    pub fn new(outcome: Outcome, about: About) -> Report {
        let total = outcome.total();
        let mut report = Report::of_tally(total, outcome.elapsed, about);
        report.client_cpu = outcome.cpu.as_secs_f64();
        report.client_busy = busiest(&outcome);
        report.ended_by.clone_from(&outcome.ended_by);
        let counted = outcome.phases.get(outcome.warm_up..).unwrap_or_default();
        if counted.len() > 1 {
            let end = counted.first().map_or(Duration::ZERO, |(phase, _)| phase.begun) + outcome.elapsed;
            for (number, (phase, tally)) in counted.iter().enumerate() {
                // What only opens the run before the first mark is no phase.
                if tally.ended() == 0 && number == 0 {
                    continue;
                }
                let until = counted.get(number + 1).map_or(end, |(next, _)| next.begun).max(phase.begun);
                report.phases.push(Stretch {
                    label: phase.label.clone(),
                    begun: phase.begun.as_secs_f64(),
                    seconds: (until - phase.begun).as_secs_f64(),
                    tally: tally.clone(),
                });
            }
        }
        if outcome.urls.len() > 1 {
            report.urls = outcome
                .urls
                .iter()
                .zip(&report.about.targets)
                .map(|(one, url)| Place {
                    url: url.clone(),
                    transactions: one.transactions,
                    errors: one.bad,
                    mean_ms: one.latency_sum.as_secs_f64() * 1e3 / count(one.transactions).max(1.0),
                    max_ms: one.longest.as_secs_f64() * 1e3,
                })
                .collect();
        }
        report.client_limits = client_limits(&report);
        report.notes = notes(&report, &outcome);
        report.outcome = Some(outcome);
        report
    }

    /// The figures that a tally gives by itself.
    #[must_use]
    pub fn of_tally(total: Tally, elapsed: Duration, about: About) -> Report {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let megabytes = count(total.head_bytes + total.body_bytes) / MEBIBYTE;
        let bad = total.with_status(400..=999);
        let siege = Siege {
            transactions: total.transactions,
            availability: ratio(total.transactions, total.ended()) * 100.0,
            elapsed_time: elapsed.as_secs_f64(),
            data_transferred: megabytes,
            response_time: total.mean().as_secs_f64(),
            transaction_rate: count(total.transactions) / seconds,
            throughput: megabytes / seconds,
            concurrency: total.busy_sum.as_secs_f64() / seconds,
            successful_transactions: total.transactions - bad,
            failed_transactions: bad + total.failures(),
            longest_transaction: total.longest.as_secs_f64(),
            shortest_transaction: total.shortest.unwrap_or_default().as_secs_f64(),
        };
        Report {
            siege,
            report_version: VERSION,
            about,
            percentiles_ms: PERCENTILES
                .iter()
                .map(|percent| (*percent, count(total.quantile(percent / 100.0)) / 1e3))
                .collect(),
            connect_ms: total.connect_sum.as_secs_f64() * 1e3 / count(total.connects).max(1.0),
            total,
            phases: Vec::new(),
            urls: Vec::new(),
            client_cpu: 0.0,
            client_busy: 0.0,
            client_limits: Vec::new(),
            notes: Vec::new(),
            ended_by: None,
            outcome: None,
        }
    }
}

/// The share of their cores that the generators used in the busiest tenth of all intervals.
fn busiest(outcome: &Outcome) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = f64::from(outcome.threads).min(count(cores as u64)).max(1.0);
    let whole = outcome.series.len().saturating_sub(1).max(1);
    let mut shares: Vec<f64> = outcome
        .series
        .iter()
        .take(whole)
        .map(|slice| slice.cpu.as_secs_f64() / outcome.interval.as_secs_f64() / threads)
        .collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len().saturating_sub(1) * 9 / 10).copied().unwrap_or(0.0)
}

fn client_limits(report: &Report) -> Vec<String> {
    let total = &report.total;
    let mut limits = Vec::new();
    if report.client_busy > BUSY {
        limits.push(format!(
            "the generator used {:.0} % of its CPU: more --threads or --processes, or a machine of its own, give more load",
            report.client_busy * 100.0
        ));
    }
    if ratio(total.slipped, total.ended()) > LATE {
        limits.push(format!(
            "{} requests were begun more than 1 ms late by the generator itself (at worst {})",
            total.slipped,
            super::time_words(total.slip_longest)
        ));
    }
    if let Some(fault) = total.faults.get(&FaultKind::Local) {
        limits.push(format!("this machine could not send {} requests: {}", fault.count, fault.first));
    }
    limits
}

fn notes(report: &Report, outcome: &Outcome) -> Vec<String> {
    let total = &report.total;
    let mut notes = Vec::new();
    if report.about.rate.is_some() {
        if total.unsent > 0 {
            notes.push(format!(
                "{} requests were due and not sent, as all {} connections were busy",
                total.unsent, report.about.users
            ));
        } else if ratio(total.delayed, total.ended()) > LATE {
            notes.push(format!(
                "{} requests waited for one of {} connections; that is in their latency",
                total.delayed, report.about.users
            ));
        }
    } else if total.longest > Duration::from_millis(100) && outcome.hidden > 10 * u64::from(report.about.users) {
        notes.push(format!(
            "closed loop: a stall of the server is seen by at most {} requests; some {} were not sent while the longest \
             answer was awaited (--rate measures that)",
            report.about.users, outcome.hidden
        ));
    }
    if total.unfinished > 0 {
        notes.push(format!("{} requests had no answer at the end; they are counted nowhere else", total.unfinished));
    }
    if total.redirects > 0 {
        notes.push(format!("{} redirects were followed; the server has counted {}", total.redirects, total.answers));
    }
    notes
}
