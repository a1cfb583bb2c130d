//! `slist`, `sysinfos`: the machine, in the names that PM2 gives its figures.

use std::fs::read_to_string;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::args::Args;
use super::inspect::inspect;
use super::processes::line;
use crate::failure::Failure;

/// Between two looks at the counters of the processors.
const BETWEEN: Duration = Duration::from_millis(200);

/// Prints the figures: as Node prints objects, or with `--json` as JSON.
pub(super) async fn print(args: &Args) -> Result<(), Failure> {
    let before = read_to_string("/proc/stat").unwrap_or_default();
    sleep(BETWEEN).await;
    let after = read_to_string("/proc/stat").unwrap_or_default();
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let disk = rustix::fs::statvfs("/").ok().map(|disk| {
        let used = disk.f_blocks.saturating_sub(disk.f_bfree);
        (used as f64 / (used + disk.f_bavail).max(1) as f64, disk.f_blocks.saturating_mul(disk.f_frsize))
    });
    let figures = figures((&before, &after), &memory, disk);
    line(&if args.json { figures.to_string() } else { inspect(&figures, 0) })
}

fn figures((before, after): (&str, &str), memory: &str, disk: Option<(f64, u64)>) -> Value {
    let metric = |value: f64, unit: &str| json!({ "value": value, "type": "metric", "unit": unit, "historic": true });
    let percent = |part: f64| metric((part * 10_000.0).round() / 100.0, "%");
    let (total, free) = (bytes(memory, "MemTotal"), bytes(memory, "MemAvailable"));
    let mut all = serde_json::Map::new();
    let (busy, time) = (counted(after).0 - counted(before).0, counted(after).1 - counted(before).1);
    all.insert("CPU Usage".into(), percent(if time > 0.0 { busy / time } else { 0.0 }));
    all.insert("RAM Usage".into(), percent((total - free) / total.max(1.0)));
    all.insert("RAM Total".into(), metric(total, "b"));
    all.insert("RAM Available".into(), metric(free, "b"));
    if let Some((used, size)) = disk {
        all.insert("fs:use:/".into(), percent(used));
        all.insert("fs:size:/".into(), metric((size as f64 / f64::from(1 << 30) * 100.0).round() / 100.0, "gb"));
    }
    Value::Object(all)
}

/// How long all processors did something, and how long in all, in the kernel's unit.
fn counted(stat: &str) -> (f64, f64) {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    // What guests took is part of the first two.
    let times: Vec<f64> = line.split_whitespace().take(8).filter_map(|number| number.parse().ok()).collect();
    let idle: f64 = times.iter().skip(3).take(2).sum();
    let all: f64 = times.iter().sum();
    (all - idle, all)
}

fn bytes(meminfo: &str, key: &str) -> f64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

#[cfg(test)]
mod tests {
    use super::figures;

    #[test]
    fn figures_have_the_names_of_pm2() {
        let (before, after) = ("cpu  10 0 10 70 10 0 0 0 0 0\n", "cpu  20 0 20 140 20 0 0 0 0 0\n");
        let memory = "MemTotal:       1000 kB\nMemAvailable:    250 kB\n";
        let all = figures((before, after), memory, Some((0.5, 3 << 30)));
        let value = |name: &str| all[name]["value"].as_f64().unwrap();
        assert_eq!(["CPU Usage", "RAM Usage", "fs:use:/", "fs:size:/"].map(value), [20.0, 75.0, 50.0, 3.0]);
        assert_eq!(all["RAM Total"]["value"].as_f64(), Some(1_024_000.0));
        assert_eq!(figures((after, after), "", None)["CPU Usage"]["value"], 0.0);
    }
}
