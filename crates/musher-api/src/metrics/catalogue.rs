//! The list of metrics.

use super::MetricKind;
use super::MetricKind::{Counter, Gauge, Histogram};

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name, with its unit and, of a counter, `_total`.
    pub name: &'static str,
    /// What kind of number.
    pub kind: MetricKind,
    /// Unit as OpenMetrics writes it; empty for numbers of things.
    pub unit: &'static str,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// The metric of this name.
pub fn named(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

const fn metric(
    name: &'static str,
    kind: MetricKind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

const MUSHER: &[&str] = &["role"];
const APP: &[&str] = &["app"];
const WORKER: &[&str] = &["app", "slot"];

/// All metrics, in the order in which they are told.
pub const METRICS: &[Metric] = &[
    metric("musher_build_info", Gauge, "", &["version"], "Always 1; the version of the supervisor."),
    metric("musher_process_cpu_seconds_total", Counter, "seconds", MUSHER, "CPU time of musher's own processes."),
    metric(
        "musher_process_resident_memory_bytes",
        Gauge,
        "bytes",
        MUSHER,
        "Resident memory of musher's own processes.",
    ),
    metric("musher_process_open_fds", Gauge, "", MUSHER, "Open file descriptors of musher's own processes."),
    metric("musher_process_start_time_seconds", Gauge, "seconds", MUSHER, "When the process started, since 1970."),
    metric("musher_events_total", Counter, "", &["kind"], "Events since the supervisor began, by their kind."),
    metric(
        "musher_workers_left_out",
        Gauge,
        "",
        &[],
        "Workers that are not told of one by one, because there are too many.",
    ),
    metric("musher_app_info", Gauge, "", &["app", "id", "namespace", "mode"], "Always 1; what kind of app it is."),
    metric("musher_app_wanted", Gauge, "", APP, "1 when the app is meant to run, 0 after a stop."),
    metric("musher_app_generation", Gauge, "", APP, "Which reload the app is at: grows by one at each."),
    metric("musher_app_slots", Gauge, "", &["app", "status"], "Slots of the app by their status, as in the list."),
    metric("musher_app_draining_workers", Gauge, "", APP, "Workers that were replaced and finish what they have."),
    metric("musher_app_restarts_total", Counter, "", APP, "Restarts of all slots, for whatever reason."),
    metric(
        "musher_app_exits_total",
        Counter,
        "",
        &["app", "reason", "code"],
        "Workers that ended. Reason: asked (a stop, reload or scale), code, signal, oom (certain or likely want of memory), \
         limit (musher replaced it: a limit, a failed check), unknown. Code: the exit code, or the name of the signal.",
    ),
    metric("musher_app_spawn_failures_total", Counter, "", APP, "Workers that could not be executed."),
    metric("musher_app_not_ready_total", Counter, "", APP, "Workers that did not prove ready in time."),
    metric("musher_app_giveups_total", Counter, "", APP, "How often a slot was given up after too many restarts."),
    metric("musher_app_reloads_total", Counter, "", &["app", "result"], "Reloads that ended, by done and aborted."),
    metric(
        "musher_app_connections_cut_total",
        Counter,
        "",
        APP,
        "Connections closed at the limit of a drain, or reset when a slot was scaled away.",
    ),
    metric("musher_app_log_lines_lost_total", Counter, "", APP, "Lines of output that could not be written."),
    metric(
        "musher_app_accept_queue_connections",
        Gauge,
        "",
        APP,
        "Connections that wait to be accepted at the app's TCP sockets.",
    ),
    metric("musher_app_accept_queue_limit", Gauge, "", APP, "How many may wait there."),
    metric("musher_worker_up", Gauge, "", WORKER, "1 when a worker of the slot serves."),
    metric("musher_worker_restarts_total", Counter, "", WORKER, "Restarts of the slot, for whatever reason."),
    metric("musher_worker_start_time_seconds", Gauge, "seconds", WORKER, "When the worker was spawned, since 1970."),
    metric(
        "musher_worker_cpu_seconds_total",
        Counter,
        "seconds",
        WORKER,
        "CPU time of the worker and its descendants; begins anew with each worker.",
    ),
    metric(
        "musher_worker_resident_memory_bytes",
        Gauge,
        "bytes",
        WORKER,
        "Resident memory of the slot's workers and their descendants.",
    ),
    metric("musher_worker_open_fds", Gauge, "", WORKER, "Open file descriptors of the worker, without descendants."),
    metric("musher_worker_processes", Gauge, "", WORKER, "Processes of the slot: workers and their descendants."),
    metric(
        "musher_worker_accept_queue_connections",
        Gauge,
        "",
        WORKER,
        "Connections that wait at the slot's own sockets (balance kernel).",
    ),
    metric(
        "musher_worker_event_loop_delay_seconds",
        Gauge,
        "seconds",
        WORKER,
        "The latest that the event loop was in the last seconds (Node).",
    ),
    metric(
        "musher_worker_event_loop_utilization_ratio",
        Gauge,
        "ratio",
        WORKER,
        "The part of the last seconds that the event loop was busy (Node).",
    ),
    metric("musher_worker_heap_used_bytes", Gauge, "bytes", WORKER, "Memory in use on the JavaScript heap (Node)."),
    metric("musher_worker_heap_size_bytes", Gauge, "bytes", WORKER, "Size of the JavaScript heap (Node)."),
    metric(
        "musher_worker_heap_limit_bytes",
        Gauge,
        "bytes",
        WORKER,
        "The most that the JavaScript heap may have (Node).",
    ),
    metric(
        "musher_worker_external_memory_bytes",
        Gauge,
        "bytes",
        WORKER,
        "Memory of buffers and other objects outside of the heap (Node).",
    ),
    metric("musher_worker_gc_total", Counter, "", WORKER, "Garbage collections since the worker is measured (Node)."),
    metric(
        "musher_worker_gc_seconds_total",
        Counter,
        "seconds",
        WORKER,
        "Time in garbage collections since the worker is measured (Node).",
    ),
    metric("musher_worker_connections", Gauge, "", WORKER, "Open connections of the worker's servers (Node)."),
    metric("musher_worker_http_requests_in_flight", Gauge, "", WORKER, "Requests that are being answered (Node)."),
    metric(
        "musher_worker_http_requests_total",
        Counter,
        "",
        WORKER,
        "Requests that were answered since the worker is measured (Node).",
    ),
    metric(
        "musher_worker_http_request_errors_total",
        Counter,
        "",
        WORKER,
        "Of these, answers with a status of 500 or more (Node).",
    ),
    metric(
        "musher_worker_http_request_duration_seconds",
        Histogram,
        "seconds",
        WORKER,
        "From a request's head to the end of its answer (Node).",
    ),
];

#[cfg(test)]
mod tests {
    use super::{METRICS, MetricKind};

    #[test]
    fn names_follow_the_rules_of_openmetrics() {
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("musher_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
            let base = name.strip_suffix("_total").unwrap_or(name);
            assert!(metric.unit.is_empty() || base.ends_with(&format!("_{}", metric.unit)), "{name}: {}", metric.unit);
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
            assert_eq!(METRICS.iter().filter(|other| other.name == name).count(), 1, "{name}");
        }
    }
}
