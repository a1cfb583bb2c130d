//! The text that Prometheus reads, in both of its forms.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/> and OpenMetrics 1.0: there a counter's family is named
//! without `_total`, units have lines of their own, and `# EOF` ends it.

use std::fmt::Write;

use super::{Family, MetricKind, Metrics, Sample, named};

/// The type of Prometheus' own form.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The type of OpenMetrics' form.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as text, in OpenMetrics' form or that of Prometheus.
pub fn exposition(metrics: &Metrics, openmetrics: bool) -> String {
    let mut text = String::new();
    for family in &metrics.families {
        // Writing to a String cannot fail.
        let _ = write_family(family, openmetrics, &mut text);
    }
    if openmetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn write_family(family: &Family, openmetrics: bool, text: &mut String) -> std::fmt::Result {
    let name = &family.name;
    let base = name.strip_suffix("_total").filter(|_| openmetrics).unwrap_or(name);
    writeln!(text, "# HELP {base} {}", escape(&family.help, openmetrics))?;
    writeln!(text, "# TYPE {base} {}", family.kind.word())?;
    if let Some(unit) = named(name).map(|metric| metric.unit).filter(|unit| openmetrics && !unit.is_empty()) {
        writeln!(text, "# UNIT {base} {unit}")?;
    }
    for sample in &family.samples {
        match family.kind {
            MetricKind::Counter | MetricKind::Gauge => {
                writeln!(text, "{name}{} {}", labels(sample, None), number(sample.value))?;
            }
            MetricKind::Histogram => write_histogram(name, sample, text)?,
        }
    }
    Ok(())
}

fn write_histogram(name: &str, sample: &Sample, text: &mut String) -> std::fmt::Result {
    let bounds = sample.buckets.iter().map(|(bound, count)| (number(*bound), *count));
    for (bound, count) in bounds.chain([("+Inf".to_owned(), sample.count)]) {
        writeln!(text, "{name}_bucket{} {count}", labels(sample, Some(&bound)))?;
    }
    writeln!(text, "{name}_sum{} {}", labels(sample, None), number(sample.value))?;
    writeln!(text, "{name}_count{} {}", labels(sample, None), sample.count)
}

fn labels(sample: &Sample, bound: Option<&str>) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let all = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(bound);
    let parts: Vec<String> = all.map(|(name, value)| format!("{name}=\"{}\"", escape(value, true))).collect();
    if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) }
}

/// A name of an app may be anything.
fn escape(text: &str, quotes: bool) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { escaped.replace('"', "\\\"") } else { escaped }
}

fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value}")
    } else if value.is_nan() {
        "NaN".into()
    } else if value > 0.0 {
        "+Inf".into()
    } else {
        "-Inf".into()
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, exposition};

    fn metrics() -> Metrics {
        let mut metrics = Metrics::default();
        // Told in the order of the list, not in this one.
        metrics.add_histogram(
            "musher_worker_http_request_duration_seconds",
            &[("app", "web"), ("slot", "0")],
            vec![(0.001, 1), (0.5, 3)],
            0.75,
            4,
        );
        metrics.add("musher_worker_cpu_seconds_total", &[("app", "a\"b\\c\nd"), ("slot", "0")], 1.5);
        metrics.add("musher_worker_cpu_seconds_total", &[("app", "web"), ("slot", "1")], 2.0);
        metrics.add("musher_workers_left_out", &[], 0.0);
        metrics
    }

    #[test]
    fn the_text_is_that_of_prometheus() {
        let expected = "\
# HELP musher_workers_left_out Workers that are not told of one by one, because there are too many.
# TYPE musher_workers_left_out gauge
musher_workers_left_out 0
# HELP musher_worker_cpu_seconds_total CPU time of the worker and its descendants; begins anew with each worker.
# TYPE musher_worker_cpu_seconds_total counter
musher_worker_cpu_seconds_total{app=\"a\\\"b\\\\c\\nd\",slot=\"0\"} 1.5
musher_worker_cpu_seconds_total{app=\"web\",slot=\"1\"} 2
# HELP musher_worker_http_request_duration_seconds From a request's head to the end of its answer (Node).
# TYPE musher_worker_http_request_duration_seconds histogram
musher_worker_http_request_duration_seconds_bucket{app=\"web\",slot=\"0\",le=\"0.001\"} 1
musher_worker_http_request_duration_seconds_bucket{app=\"web\",slot=\"0\",le=\"0.5\"} 3
musher_worker_http_request_duration_seconds_bucket{app=\"web\",slot=\"0\",le=\"+Inf\"} 4
musher_worker_http_request_duration_seconds_sum{app=\"web\",slot=\"0\"} 0.75
musher_worker_http_request_duration_seconds_count{app=\"web\",slot=\"0\"} 4
";
        assert_eq!(exposition(&metrics(), false), expected);
    }

    #[test]
    fn openmetrics_names_families_without_total_and_has_units_and_an_end() {
        let text = exposition(&metrics(), true);
        assert!(text.contains("# TYPE musher_worker_cpu_seconds counter\n# UNIT musher_worker_cpu_seconds seconds\n"));
        assert!(text.contains("\nmusher_worker_cpu_seconds_total{app=\"web\",slot=\"1\"} 2\n"));
        assert!(text.ends_with("# EOF\n"));
    }
}
