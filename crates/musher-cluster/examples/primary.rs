//! Runs N unmodified Node workers of a script under a policy, for measuring:
//!
//! ```text
//! cargo run --release -p musher-cluster --example primary -- server.js 4 kernel|round-robin|shared
//! ```
//!
//! Says where they listen; on the end of standard input stops them and says what the primary did and what CPU time it
//! took. A worker that dies is replaced. Needs `node` on the PATH.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measuring, run by hand")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use musher_cluster::{Bounds, Cluster, ClusterEvent, FdStore, Listens, PRELOAD, WorkerConfig};
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::Balance;
use musher_process::channel::Channel;
use musher_process::{Child, Spawn};

const APP: AppId = AppId(0);

/// Nothing outlives this primary.
struct Nowhere;

impl FdStore for Nowhere {
    fn put(&self, _: &str, _: BorrowedFd<'_>) {}
    fn put_bytes(&self, _: &str, _: &[u8]) {}
    fn remove(&self, _: &str) {}
}

fn main() {
    let mut args = std::env::args().skip(1);
    let script = PathBuf::from(args.next().unwrap()).canonicalize().unwrap();
    let count: u32 = args.next().map_or(2, |count| count.parse().unwrap());
    let policy = match args.next().as_deref() {
        None | Some("kernel") => Balance::Kernel,
        Some("round-robin") => Balance::RoundRobin,
        Some(_) => Balance::Shared,
    };
    let preload = std::env::temp_dir().join(format!("musher-preload-{}.cjs", std::process::id()));
    std::fs::write(&preload, PRELOAD).unwrap();

    let (sink, mut events) = tokio::sync::mpsc::channel(1024);
    let cluster = Cluster::start(Arc::new(Nowhere), sink).unwrap();
    cluster.add_app(APP);
    let listens = Arc::new(Listens { policy, inherited: Vec::new(), own: false });
    let mut children = BTreeMap::new();
    let mut runs = 0;
    let mut start = |slot: u32, children: &mut BTreeMap<RunId, (u32, Child)>| {
        runs += 1;
        let run = RunId(runs);
        let (channel, childs) = Channel::pair().unwrap();
        let child = spawn(slot, run, childs, &script, &preload);
        cluster.add_worker(WorkerConfig {
            app: APP,
            slot: SlotId(slot),
            run,
            listens: Arc::clone(&listens),
            channel: channel.into_socket(),
            cluster: true,
            advanced: false,
            bounds: Bounds::default(),
            adopted: false,
        });
        children.insert(run, (slot, child));
    };
    for slot in 0..count {
        start(slot, &mut children);
    }

    let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let end = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    while !ended.load(std::sync::atomic::Ordering::Relaxed) {
        while let Ok(event) = events.try_recv() {
            if !matches!(event, ClusterEvent::Message { .. }) {
                println!("{event:?}");
            }
        }
        let dead = children
            .iter()
            .filter(|(_, (_, child))| musher_process::reap(child.pidfd.as_fd()).is_ok_and(|status| status.is_some()));
        for (run, slot) in dead.map(|(run, (slot, _))| (*run, *slot)).collect::<Vec<_>>() {
            children.remove(&run);
            cluster.remove_worker(run);
            start(slot, &mut children);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }

    let (answer, stats) = std::sync::mpsc::sync_channel(1);
    cluster.stats(APP, move |stats| answer.send(stats).unwrap());
    println!("{:?}", stats.recv().unwrap());
    println!("CPU time of the cluster thread: {}", cpu_of_thread("cluster"));
    for (_, child) in children.into_values() {
        let _ = musher_process::signal(child.pidfd.as_fd(), 9);
    }
    let _ = std::fs::remove_file(preload);
}

fn spawn(slot: u32, run: RunId, channel: OwnedFd, script: &std::path::Path, preload: &std::path::Path) -> Child {
    let path = std::env::var("PATH").unwrap_or_default();
    let node = std::env::split_paths(&path).map(|dir| dir.join("node")).find(|file| file.is_file()).unwrap();
    let env = [
        ("PATH", path),
        ("NODE_CHANNEL_FD", "3".into()),
        ("NODE_UNIQUE_ID", (slot + 1).to_string()),
        ("MUSHER_RUN", run.to_string()),
        ("NODE_OPTIONS", format!("--require={}", preload.display())),
    ];
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
    let spawn = Spawn {
        args: vec![OsString::from("node"), script.into()],
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: std::env::current_dir().unwrap(),
        fds: vec![(channel, 3), (stderr, 2)],
        ..Spawn::new(node)
    };
    spawn.spawn().unwrap()
}

/// User and system time of a thread of ours, in milliseconds.
fn cpu_of_thread(name: &str) -> String {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim() == name {
            let nanos: u64 = stat.split_whitespace().next().unwrap_or("0").parse().unwrap();
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let wakes = status.lines().find(|line| line.starts_with("voluntary")).unwrap_or_default();
            return format!("{:.1} ms, {wakes}", nanos as f64 / 1e6);
        }
    }
    "unknown".into()
}
