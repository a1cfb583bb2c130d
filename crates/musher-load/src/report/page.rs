//! One HTML page with everything in it: no script, nothing to load.

use std::fmt::Write;

use super::drawn::{run_svg, sweep_svg};
use super::plot::escaped;
use super::{Report, Words, text};
use crate::sweep::SweepReport;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:920px;margin:2em auto;padding:0 1em}\
pre{overflow:auto;padding:1em;border:1px solid #8884;border-radius:6px}svg{width:100%;height:auto}\
h1{font-size:1.3em;overflow-wrap:anywhere}.bad{border-left:4px solid #d62728;padding-left:.8em}";

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        title = escaped(title)
    )
}

/// The page of a run.
#[must_use]
pub fn run_page(report: &Report) -> String {
    let about = &report.about;
    let target = about.targets.first().map_or("", String::as_str);
    let title = about.title.clone().unwrap_or_else(|| format!("Load on {target}"));
    let mut body = format!("<h1>{}</h1>\n", escaped(&title));
    for limit in &report.client_limits {
        let _ = writeln!(body, "<p class=\"bad\">The generator was the limit: {}</p>", escaped(limit));
    }
    if let Some(drawing) = run_svg(report) {
        body.push_str(&drawing);
    }
    let _ = writeln!(body, "<pre>{}</pre>", escaped(&text(report, Words::All)));
    let _ = writeln!(
        body,
        "<p>{} generator threads, {:.2} s of CPU; {}; seed {}.</p>",
        about.threads,
        report.client_cpu,
        escaped(&about.protocol),
        about.seed
    );
    page(&title, &body)
}

/// The page of a sweep.
#[must_use]
pub fn sweep_page(report: &SweepReport) -> String {
    let title = format!("Best concurrency of {}", report.target);
    let body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n{}<pre>{}</pre>\n",
        escaped(&title),
        escaped(&report.headline()),
        sweep_svg(report),
        escaped(&report.text())
    );
    page(&title, &body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{run_page, sweep_page};
    use crate::engine::{Outcome, Phase, Slice};
    use crate::report::{About, Report, run_svg, sweep_svg};
    use crate::sweep::{Run, SweepReport};
    use crate::tally::Tally;

    /// Whether every element is closed, in order.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name) {
                    return false;
                }
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap());
            }
            if tag.matches('"').count() % 2 != 0 {
                return false;
            }
        }
        open.is_empty()
    }

    #[test]
    fn pages_hold_everything_and_nothing_of_what_a_server_says_as_markup() {
        let mut tally = Tally::default();
        tally.answered(200, Duration::from_millis(3), Duration::from_millis(3));
        let mut latency = crate::tally::histogram();
        latency.record(3000).unwrap();
        let zero = Duration::ZERO;
        let slice =
            Slice { index: 0, latency, good: 1, bad: 0, bytes: 9, in_flight: 1, open: 1, cpu: zero, said: vec![] };
        let outcome = Outcome {
            phases: vec![(Phase { label: "run".into(), begun: zero }, tally)],
            warm_up: 0,
            series: vec![slice.clone(), Slice { index: 1, ..slice }],
            interval: Duration::from_secs(1),
            urls: vec![],
            elapsed: Duration::from_secs(2),
            cpu: zero,
            threads: 1,
            open: 1,
            ended_by: Some("<script>".into()),
            gone: 0,
            shown: vec![],
            hidden: 0,
        };
        let about = About { targets: vec!["http://h/<script>&".into()], ..About::default() };
        let report = Report::new(outcome, about);
        let svg = run_svg(&report).unwrap();
        assert!(is_well_formed(&svg), "{svg}");
        let page = run_page(&report);
        assert!(page.contains("<svg") && page.contains("Transactions:") && !page.contains("<script>"), "{page}");
        assert!(!page.contains("http://") || !page.contains("src="), "nothing is loaded");

        let runs = (0..7).map(|n| 1u32 << n).flat_map(|users| {
            let rate = (f64::from(users) * 50.0).min(800.0);
            let response = f64::from(users) / rate;
            let run = Run {
                users,
                rate,
                response,
                p50: response,
                p95: response,
                p99: response,
                open: users,
                ..Run::default()
            };
            [run.clone(), Run { halves: (rate, rate), ..run }]
        });
        let report = SweepReport::new("http://h/<x>", runs.collect(), 0.0, Some(0.1), 7);
        assert!(is_well_formed(&sweep_svg(&report)));
        assert!(sweep_page(&report).contains("best concurrency 16"), "{}", report.headline());
    }
}
