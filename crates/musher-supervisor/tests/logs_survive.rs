//! A log thread in a process of its own that is killed with SIGKILL again and again while workers write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use musher_core::spec::Logs;
use musher_process::{Child, Spawn, signal};
use musher_supervisor::home::Home;
use musher_supervisor::logs::{LogFilter, LogPaths, LogReader};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;

const LINES: usize = 400_000;
const KILLS: u32 = 25;

/// Every line is there, in order; only the batch at a cut may be there twice.
#[test]
fn a_killed_log_thread_loses_no_line_and_doubles_at_most_one_batch() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::open(&root.path().join("home")).unwrap();
    let mut pipes = Vec::new();
    let mut workers = Vec::new();
    for stream in 0..4 {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        pipes.push(read);
        let script = format!("exec seq -f '{stream} %.0f' 1 {LINES}");
        workers.push(spawn("/bin/sh".into(), &["sh", "-c", &script], vec![(write, 1)]));
    }
    let mut seed: u64 = 20_261_120;
    for _ in 0..KILLS {
        let (log, stdin) = start_log(home.root(), &pipes);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Its death comes at any instant after something was written.
        wait_for_growth(&home, seed >> 40 & 0x7_ffff);
        signal(log.pidfd.as_fd(), 9).unwrap();
        wait_for_end(&log.pidfd);
        drop(stdin);
    }
    let (log, stdin) = start_log(home.root(), &pipes);
    for worker in &workers {
        wait_for_end(&worker.pidfd);
    }
    drop(stdin);
    wait_for_end(&log.pidfd);

    let spec = Logs::default();
    let mut reader = LogReader::open("probe", LogPaths::new(&home, "probe", &spec), LogFilter::default());
    let mut last = BTreeMap::new();
    let mut doubles = 0;
    for line in reader.last(usize::MAX).unwrap() {
        let (stream, number) = line.line.split_once(' ').unwrap();
        let number: usize = number.parse().unwrap();
        let last = last.entry(stream.to_owned()).or_insert(0);
        assert!(number <= *last + 1, "stream {stream} has a gap between {last} and {number}");
        doubles += usize::from(number <= *last);
        *last = number;
    }
    assert_eq!(last.len(), 4);
    assert!(last.values().all(|last| *last == LINES), "{last:?}");
    println!("{doubles} lines twice after {KILLS} kills");
    // At a cut there is one batch of 64 KiB of lines of nine bytes.
    assert!(doubles <= KILLS as usize * (64 << 10) / 9, "{doubles} lines twice");
}

/// The log thread of the probe with all pipes, and the writing end of its stdin, whose closing is its end.
fn start_log(home: &Path, pipes: &[OwnedFd]) -> (Child, OwnedFd) {
    let test = std::env::current_exe().unwrap();
    let probe = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/keeper_probe");
    let (stdin, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut fds = vec![(stdin, 0)];
    for (n, pipe) in pipes.iter().enumerate() {
        fds.push((pipe.try_clone().unwrap(), 3 + i32::try_from(n).unwrap()));
    }
    (spawn(probe, &["probe", "logs", home.to_str().unwrap(), "1", "2"], fds), end)
}

/// Waits until so many more bytes are in the log, or it does not grow any more because all is written.
fn wait_for_growth(home: &Home, bytes: u64) {
    let size = || -> u64 {
        let entries = std::fs::read_dir(home.logs().join("probe")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
    };
    let start = size();
    let deadline = Instant::now() + Duration::from_millis(300);
    while size() <= start + bytes && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

fn spawn(program: PathBuf, args: &[&str], fds: Vec<(OwnedFd, i32)>) -> Child {
    let spawn = Spawn {
        args: args.iter().map(Into::into).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        fds,
        ..Spawn::new(program)
    };
    spawn.spawn().unwrap()
}

fn wait_for_end(pidfd: &OwnedFd) {
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1), "the process does not end");
}
