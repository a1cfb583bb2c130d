//! The document that `pm2 web` gives: the machine, and every worker as in `pm2 jlist`, without environments.

use std::fs::read_to_string;

use serde_json::{Value, json};

use crate::args::Cli;
use crate::failure::Failure;
use crate::pm2;

/// The document as text.
pub(super) async fn document(cli: &Cli) -> Result<String, Failure> {
    let processes = pm2::public_records(cli).await?;
    let uname = rustix::system::uname();
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    Ok(json!({
        "system_info": {
            "hostname": uname.nodename().to_string_lossy(),
            "uptime": first_number(&read_to_string("/proc/uptime").unwrap_or_default()),
        },
        "monit": {
            "loadavg": load(&read_to_string("/proc/loadavg").unwrap_or_default()),
            "total_mem": bytes(&memory, "MemTotal"),
            "free_mem": bytes(&memory, "MemAvailable"),
            "cpu": cores(&read_to_string("/proc/stat").unwrap_or_default()),
            // Addresses of this machine are nobody's business here.
            "interfaces": {},
        },
        "processes": processes,
    })
    .to_string())
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// The three means of load.
fn load(text: &str) -> Vec<f64> {
    text.split_whitespace().take(3).filter_map(|number| number.parse().ok()).collect()
}

/// A line of /proc/meminfo, in bytes.
fn bytes(meminfo: &str, key: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The times of each core in milliseconds, as Node's `os.cpus()` has them; the kernel counts hundredths of a second.
fn cores(stat: &str) -> Vec<Value> {
    let is_core =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let core = |line: &str| {
        let times: Vec<u64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap_or(0)).collect();
        let time = |at: usize| times.get(at).copied().unwrap_or(0) * 10;
        json!({"times": {"user": time(0), "nice": time(1), "sys": time(2), "idle": time(3), "irq": time(5)}})
    };
    stat.lines().filter(is_core).map(core).collect()
}

#[cfg(test)]
mod tests {
    use super::{bytes, cores, load};

    #[test]
    fn the_machine_is_read_from_proc() {
        assert_eq!(load("0.50 1.25 2.00 3/400 99\n"), [0.5, 1.25, 2.0]);
        assert_eq!(bytes("MemTotal:       16 kB\nMemAvailable:    4 kB\n", "MemAvailable"), 4096);
        let stat = "cpu  9 9 9 9 9 9 9 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\ncpu1 2 0 0 0 0 0 0 0 0 0\nintr 5\n";
        let cores = cores(stat);
        assert_eq!(cores.len(), 2);
        assert_eq!((&cores[0]["times"]["idle"], &cores[0]["times"]["irq"]), (&40.into(), &60.into()));
    }
}
