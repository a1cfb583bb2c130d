//! Measuring: memory, CPU and descriptors of processes, beside the driver.

use std::collections::BTreeMap;
use std::time::Duration;

use musher_api::metrics::Metrics;
use musher_api::{EventKind, SlotStatus};
use musher_core::vitals::Pulse;
use musher_process::Pid;
use musher_process::stat::{ProcessStat, since_boot};

use crate::clock::since_1970;
use crate::driver::{AppFigures, Figures, SlotFigures, descendants};

/// How many workers are told of one by one.
const MOST_WORKERS: usize = 2000;
/// How many buckets of a worker's histogram become one here: bounds a factor of four apart.
const BUCKETS: usize = 8;

type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a slot's processes use.
#[derive(Default)]
struct Used {
    cpu: Duration,
    memory_bytes: u64,
    processes: usize,
}

/// Measures everything.
pub(crate) fn measure(figures: &Figures, events: &BTreeMap<EventKind, u64>) -> Metrics {
    let time_ms = u64::try_from(since_1970().as_millis()).unwrap_or(0);
    let mut metrics = Metrics { time_ms, families: Vec::new() };
    metrics.add("musher_build_info", &[("version", crate::VERSION)], 1.0);
    for (role, pid) in &figures.own {
        add_own(&mut metrics, role, *pid);
    }
    for (kind, count) in events {
        metrics.add("musher_events_total", &[("kind", &kind.word())], float(*count));
    }
    let mut room = MOST_WORKERS;
    let mut left_out = 0;
    for app in &figures.apps {
        add_app(&mut metrics, app);
        let told = app.slots.len().min(room);
        room -= told;
        left_out += app.slots.len() - told;
        for slot in &app.slots[..told] {
            add_slot(&mut metrics, &app.name, slot);
        }
        for (slot, queued) in queues_of_slots(app).into_iter().take(told) {
            let labels = [("app", app.name.as_str()), ("slot", &slot.to_string())];
            metrics.add("musher_worker_accept_queue_connections", &labels, queued.into());
        }
    }
    metrics.add("musher_workers_left_out", &[], count(left_out));
    metrics
}

fn add_own(metrics: &mut Metrics, role: &str, pid: Pid) {
    let labels = [("role", role)];
    if let Ok(stat) = ProcessStat::read(pid) {
        let started = since_1970().saturating_sub(since_boot().saturating_sub(stat.started));
        metrics.add("musher_process_cpu_seconds_total", &labels, stat.cpu_time.as_secs_f64());
        metrics.add("musher_process_resident_memory_bytes", &labels, float(stat.rss_bytes));
        metrics.add("musher_process_start_time_seconds", &labels, (started.as_secs_f64() * 100.0).round() / 100.0);
    }
    if let Some(open) = open_fds(pid) {
        metrics.add("musher_process_open_fds", &labels, float(open));
    }
}

fn add_app(metrics: &mut Metrics, app: &AppFigures) {
    let labels = [("app", app.name.as_str())];
    let id = app.id.to_string();
    let about = [("app", app.name.as_str()), ("id", &id), ("namespace", &app.namespace), ("mode", app.mode)];
    metrics.add("musher_app_info", &about, 1.0);
    metrics.add("musher_app_wanted", &labels, f64::from(u8::from(app.wanted)));
    metrics.add("musher_app_generation", &labels, app.generation.into());
    for status in SlotStatus::KNOWN {
        let slots = app.slots.iter().filter(|slot| slot.status == status).count();
        metrics.add("musher_app_slots", &[labels[0], ("status", status.word())], count(slots));
    }
    metrics.add("musher_app_draining_workers", &labels, count(app.draining));
    let tally = &app.tally;
    for (reason, code, times) in tally.ends() {
        metrics.add("musher_app_exits_total", &[labels[0], ("reason", reason), ("code", code)], float(times));
    }
    for (result, times) in [("done", tally.reloads_done), ("aborted", tally.reloads_aborted)] {
        metrics.add("musher_app_reloads_total", &[labels[0], ("result", result)], float(times));
    }
    for (name, number) in [
        ("musher_app_restarts_total", float(tally.restarts)),
        ("musher_app_spawn_failures_total", float(tally.spawn_failures)),
        ("musher_app_not_ready_total", float(tally.not_ready)),
        ("musher_app_giveups_total", float(tally.giveups)),
        ("musher_app_connections_cut_total", float(tally.cut)),
        ("musher_app_log_lines_lost_total", float(tally.lines_lost)),
    ] {
        metrics.add(name, &labels, number);
    }
    if !app.queues.is_empty() {
        let sum = |of: fn(&musher_process::net::tcp::ListenState) -> u32| -> f64 {
            app.queues.iter().map(|(_, state)| f64::from(of(state))).sum()
        };
        metrics.add("musher_app_accept_queue_connections", &labels, sum(|state| state.queued));
        metrics.add("musher_app_accept_queue_limit", &labels, sum(|state| state.backlog));
    }
}

/// What waits at the sockets of each slot that has some of its own.
fn queues_of_slots(app: &AppFigures) -> BTreeMap<u32, u32> {
    let mut queues = BTreeMap::new();
    for (slot, state) in app.queues.iter().filter_map(|(slot, state)| Some(((*slot)?, state))) {
        *queues.entry(slot).or_default() += state.queued;
    }
    queues
}

fn add_slot(metrics: &mut Metrics, app: &str, slot: &SlotFigures) {
    let number = slot.slot.to_string();
    let labels: Labels<'_> = &[("app", app), ("slot", &number)];
    metrics.add("musher_worker_up", labels, f64::from(u8::from(slot.status == SlotStatus::Online)));
    metrics.add("musher_worker_restarts_total", labels, slot.restarts.into());
    let Some(worker) = &slot.worker else { return };
    let started = float(worker.started_ms) / 1000.0;
    let mut used = used(worker.pid);
    metrics.add("musher_worker_start_time_seconds", labels, started);
    metrics.add("musher_worker_cpu_seconds_total", labels, used.cpu.as_secs_f64());
    for other in slot.others.iter().map(|pid| self::used(*pid)) {
        used.memory_bytes += other.memory_bytes;
        used.processes += other.processes;
    }
    metrics.add("musher_worker_resident_memory_bytes", labels, float(used.memory_bytes));
    metrics.add("musher_worker_processes", labels, count(used.processes));
    if let Some(open) = open_fds(worker.pid) {
        metrics.add("musher_worker_open_fds", labels, float(open));
    }
    if let Some(pulse) = &worker.pulse {
        add_pulse(metrics, labels, pulse);
    }
}

fn add_pulse(metrics: &mut Metrics, labels: Labels<'_>, pulse: &Pulse) {
    metrics.add("musher_worker_event_loop_delay_seconds", labels, seconds(pulse.delay_us));
    metrics.add("musher_worker_event_loop_utilization_ratio", labels, f64::from(pulse.busy_permille) / 1000.0);
    if let Some(heap) = &pulse.heap {
        metrics.add("musher_worker_heap_used_bytes", labels, float(heap.used));
        metrics.add("musher_worker_heap_size_bytes", labels, float(heap.size));
        metrics.add("musher_worker_heap_limit_bytes", labels, float(heap.limit));
        metrics.add("musher_worker_external_memory_bytes", labels, float(heap.external));
        metrics.add("musher_worker_gc_total", labels, float(heap.collections));
        metrics.add("musher_worker_gc_seconds_total", labels, seconds(heap.collecting_us));
    }
    if let Some(connections) = pulse.connections {
        metrics.add("musher_worker_connections", labels, connections.into());
    }
    metrics.add("musher_worker_http_requests_in_flight", labels, pulse.active.into());
    metrics.add("musher_worker_http_requests_total", labels, float(pulse.requests));
    metrics.add("musher_worker_http_request_errors_total", labels, float(pulse.errors));
    let buckets = pulse.latencies.up_to(BUCKETS).map(|(bound, count)| (bound.as_secs_f64(), count)).collect();
    let (sum, count) = (seconds(pulse.took_us), pulse.latencies.count());
    metrics.add_histogram("musher_worker_http_request_duration_seconds", labels, buckets, sum, count);
}

/// What a process and its descendants use. The CPU time of descendants that ended is in that of who waited for them.
fn used(root: Pid) -> Used {
    let stats = descendants(root).into_iter().filter_map(|pid| ProcessStat::read(pid).ok());
    stats.fold(Used::default(), |used, stat| Used {
        cpu: used.cpu + stat.cpu_time + stat.children_cpu_time,
        memory_bytes: used.memory_bytes + stat.rss_bytes,
        processes: used.processes + 1,
    })
}

/// Since Linux 6.2 the size of the directory is the number; before, they are counted.
fn open_fds(pid: Pid) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    match std::fs::metadata(&path).ok()?.len() {
        0 => u64::try_from(std::fs::read_dir(path).ok()?.count()).ok(),
        open => Some(open),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a measured number")]
fn float(number: u64) -> f64 {
    number as f64
}

fn count(number: usize) -> f64 {
    float(number as u64)
}

fn seconds(micros: u64) -> f64 {
    float(micros) / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use musher_api::metrics::exposition;
    use musher_core::vitals::{Heap, Latencies};

    use super::*;
    use crate::driver::WorkerFigures;

    fn figures() -> Figures {
        let mut latencies = Latencies::default();
        [1, 20, 3000].into_iter().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let heap = Heap { used: 5, size: 6, limit: 7, external: 8, collections: 9, collecting_us: 1_500_000 };
        let pulse = Pulse {
            requests: 3,
            errors: 1,
            took_us: 3_021_000,
            latencies,
            heap: Some(heap),
            connections: Some(2),
            busy_permille: 250,
            ..Pulse::default()
        };
        let worker = WorkerFigures { pid: Pid::own(), started_ms: 1_700_000_000_500, pulse: Some(pulse) };
        let slot =
            SlotFigures { slot: 0, status: SlotStatus::Online, restarts: 4, worker: Some(worker), others: Vec::new() };
        let vacant = SlotFigures { slot: 1, status: SlotStatus::GaveUp, restarts: 9, worker: None, others: Vec::new() };
        let app = AppFigures {
            name: "web".into(),
            id: 1,
            namespace: "default".into(),
            mode: "cluster",
            wanted: true,
            generation: 2,
            draining: 0,
            slots: vec![slot, vacant],
            queues: Vec::new(),
            tally: serde_json::from_str("{\"restarts\":13}").unwrap(),
        };
        Figures { apps: vec![app], own: vec![("supervisor", Pid::own())], incomplete: false }
    }

    #[test]
    fn what_is_known_and_measured_becomes_text() {
        let text = exposition(&measure(&figures(), &[(EventKind::Died, 2)].into()), false);
        for line in [
            "musher_events_total{kind=\"died\"} 2",
            "musher_app_info{app=\"web\",id=\"1\",namespace=\"default\",mode=\"cluster\"} 1",
            "musher_app_slots{app=\"web\",status=\"online\"} 1",
            "musher_app_slots{app=\"web\",status=\"gave_up\"} 1",
            "musher_app_restarts_total{app=\"web\"} 13",
            "musher_worker_up{app=\"web\",slot=\"0\"} 1",
            "musher_worker_up{app=\"web\",slot=\"1\"} 0",
            "musher_worker_start_time_seconds{app=\"web\",slot=\"0\"} 1700000000.5",
            "musher_worker_heap_used_bytes{app=\"web\",slot=\"0\"} 5",
            "musher_worker_gc_seconds_total{app=\"web\",slot=\"0\"} 1.5",
            "musher_worker_connections{app=\"web\",slot=\"0\"} 2",
            "musher_worker_event_loop_utilization_ratio{app=\"web\",slot=\"0\"} 0.25",
            "musher_worker_http_request_duration_seconds_sum{app=\"web\",slot=\"0\"} 3.021",
            "musher_worker_http_request_duration_seconds_count{app=\"web\",slot=\"0\"} 3",
            "musher_worker_http_request_duration_seconds_bucket{app=\"web\",slot=\"0\",le=\"+Inf\"} 3",
            "musher_workers_left_out 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        for name in ["musher_process_open_fds{role=", "musher_worker_open_fds{", "musher_worker_cpu_seconds_total{"] {
            let value = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.rsplit(' ').next());
            assert!(value.is_some_and(|value| value.parse::<f64>().is_ok_and(|value| value >= 0.0)), "{name}\n{text}");
        }
        assert!(!text.contains("slot=\"1\"} NaN"));
    }

    #[test]
    fn no_team_is_so_large_that_the_answer_has_no_bound() {
        let mut figures = figures();
        let slot = |slot| SlotFigures { slot, status: SlotStatus::Stopped, restarts: 0, worker: None, others: vec![] };
        figures.apps[0].slots = (0..u32::try_from(MOST_WORKERS).unwrap() + 5).map(slot).collect();
        let metrics = measure(&figures, &BTreeMap::new());
        let of = |name: &str| metrics.families.iter().find(|family| family.name == name).unwrap();
        assert_eq!(of("musher_worker_up").samples.len(), MOST_WORKERS);
        assert_eq!(of("musher_workers_left_out").samples[0].value, 5.0);
    }
}
