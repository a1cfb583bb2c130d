//! The log thread with real pipes, processes and files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking and tells what it saw")]

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use musher_api::{Cursor, LogLine, LogStream};
use musher_core::ids::{AppId, RunId, SlotId};
use musher_core::spec::{LogFormat, Logs};
use musher_process::{Spawn, memfd};
use musher_supervisor::home::Home;
use musher_supervisor::logs::{
    Detached, LogFilter, LogHandle, LogNotice, LogPaths, LogReader, LogReaders, LogThread, LogTrouble, Output,
};
use rustix::pipe::PipeFlags;
use tempfile::TempDir;
use tokio::sync::oneshot;

#[path = "logs/exported.rs"]
mod exported;
#[path = "logs/kept.rs"]
mod kept;

const PATIENCE: Duration = Duration::from_secs(60);
const APP: AppId = AppId(1);

#[test]
fn whole_lines_of_both_outputs_get_to_their_files_and_are_read_in_the_order_of_time() {
    let logs = Bench::new(Logs::default());
    let mut worker = logs.worker(7);
    for n in 0..10 {
        writeln!(worker.out, "out {n}").unwrap();
        logs.settle();
        writeln!(worker.err, "err {n}").unwrap();
        logs.settle();
    }
    write!(worker.out, "no end").unwrap();
    let detached = logs.end(worker);
    assert_eq!(detached.stderr_tail, (0..10).map(|n| format!("err {n}")).collect::<Vec<_>>());
    let expected: String = (0..10).map(|n| format!("out {n}\n")).chain(["no end\n".into()]).collect();
    assert_eq!(logs.text("out.log"), expected);
    let lines = logs.reader().last(100).unwrap();
    let mut expected: Vec<String> = (0..10).flat_map(|n| [format!("out {n}"), format!("err {n}")]).collect();
    expected.push("no end".into());
    assert_eq!(texts(&lines), expected);
    assert!(lines.iter().all(|line| line.run == 7 && line.slot == 7 && line.pid == 1007 && line.app == "web"));
    assert!(lines.is_sorted_by(|a, b| a.cursor < b.cursor));
    assert_eq!(lines[1].stream, LogStream::Err);
}

#[test]
fn files_are_private() {
    let logs = Bench::new(Logs::default());
    let mut worker = logs.worker(1);
    writeln!(worker.out, "x").unwrap();
    logs.end(worker);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&logs.home.logs().join("web")), 0o700);
    for name in ["out.log", "err.log", "index"] {
        assert_eq!(mode(&logs.file(name)), 0o600, "{name}");
    }
}

#[test]
fn the_last_words_of_a_process_are_told_right_after_its_death() {
    let logs = Bench::new(Logs::default());
    let mut worker = logs.worker(1);
    for n in 0..100 {
        writeln!(worker.err, "line {n}").unwrap();
    }
    write!(worker.err, "Error: no semicolon").unwrap();
    drop(worker.err);
    let mut expected: Vec<String> = (61..100).map(|n| format!("line {n}")).collect();
    expected.push("Error: no semicolon".into());
    assert_eq!(wait(logs.handle.tail(worker.run)), expected);
    assert_eq!(wait(logs.handle.detach(worker.run)).stderr_tail, expected);
}

#[test]
fn filters_choose_by_stream_text_slot_and_run() {
    let logs = Bench::new(Logs::default());
    for run in [1, 2] {
        let mut worker = logs.worker(run);
        writeln!(worker.out, "apple {run}\npear {run}").unwrap();
        writeln!(worker.err, "apple error {run}").unwrap();
        logs.end(worker);
    }
    let last = |filter| texts(&logs.reader_with(filter).last(100).unwrap());
    let filter = LogFilter::default;
    assert_eq!(last(LogFilter { stream: Some(LogStream::Err), ..filter() }), ["apple error 1", "apple error 2"]);
    assert_eq!(last(LogFilter { text: Some("pear".into()), ..filter() }), ["pear 1", "pear 2"]);
    assert_eq!(last(LogFilter { slot: Some(2), stream: Some(LogStream::Out), ..filter() }), ["apple 2", "pear 2"]);
    assert_eq!(last(LogFilter { run: Some(1), text: Some("apple".into()), ..filter() }).len(), 2);
    assert_eq!(
        texts(&logs.reader_with(LogFilter { text: Some("pear".into()), ..filter() }).last(1).unwrap()),
        ["pear 2"]
    );
}

#[test]
fn a_cursor_goes_on_exactly_behind_its_line() {
    let logs = Bench::new(Logs { max_bytes: 2000, keep: 100, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..1000 {
        writeln!(worker.out, "line {n}").unwrap();
        if n % 10 == 0 {
            logs.settle();
        }
    }
    logs.end(worker);
    let all = logs.reader().last(10_000).unwrap();
    assert_eq!(all.len(), 1000);
    for start in [0, 1, 9, 10, 499, 998, 999] {
        let mut reader = logs.reader();
        reader.since(all[start].cursor).unwrap();
        assert_eq!(drain(&mut reader), all[start + 1..], "from {start}");
    }
    let mut reader = logs.reader();
    reader.since(Cursor(0)).unwrap();
    assert_eq!(drain(&mut reader), all);
}

#[test]
fn formats_are_written_as_asked_and_read_back_as_the_worker_wrote() {
    for format in [LogFormat::Timestamp, LogFormat::Json] {
        let logs = Bench::new(Logs { format, ..Logs::default() });
        let mut worker = logs.worker(3);
        worker.out.write_all(b"plain\nwith \"quotes\" and \xff\xfe\n").unwrap();
        logs.end(worker);
        let text = logs.text("out.log");
        if format == LogFormat::Json {
            for line in text.lines() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!((&value["app"], &value["slot"], &value["pid"]), (&"web".into(), &3.into(), &1003.into()));
            }
        } else {
            assert!(text.lines().all(|line| line.as_bytes()[23] == b'Z'), "{text}");
        }
        let lines = texts(&logs.reader().last(9).unwrap());
        assert_eq!(lines, ["plain", "with \"quotes\" and \u{fffd}\u{fffd}"]);
    }
}

#[test]
fn long_lines_are_cut_and_binary_output_is_kept_to_the_byte() {
    let logs = Bench::new(Logs { max_bytes: 0, ..Logs::default() });
    let mut worker = logs.worker(1);
    worker.out.write_all(&vec![b'x'; 1_000_000]).unwrap();
    worker.out.write_all(b"\n").unwrap();
    let binary: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    worker.err.write_all(&binary).unwrap();
    logs.end(worker);
    let out = std::fs::read(logs.file("out.log")).unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'x').count(), 1_000_000);
    assert!(out.split(|byte| *byte == b'\n').all(|line| line.len() <= 64 << 10));
    let mut err = std::fs::read(logs.file("err.log")).unwrap();
    if err.len() > binary.len() {
        assert_eq!(err.pop(), Some(b'\n'), "the last line got an end");
    }
    assert_eq!(err, binary);
}

#[test]
fn rotation_loses_none_of_a_million_numbered_lines_and_a_follower_sees_each_once() {
    const LINES: usize = 1_000_000;
    let logs = Bench::new(Logs { max_bytes: 300_000, keep: 200, ..Logs::default() });
    let run = logs
        .attach_script(1, &format!("i=0; while [ $i -lt 4 ]; do seq -f \"$i %.0f\" 1 {}; i=$((i+1)); done", LINES / 4));
    let mut changed = logs.handle.watch(APP);
    let mut reader = logs.reader();
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < LINES {
        assert!(Instant::now() < deadline, "only {} lines came", seen.len());
        let batch = reader.next_batch(5000).unwrap();
        if batch.is_empty() {
            runtime().block_on(async { tokio::time::timeout(PATIENCE, changed.changed()).await }).unwrap().unwrap();
        }
        seen.extend(batch);
    }
    wait(logs.handle.detach(run));
    assert!(drain(&mut reader).is_empty());
    let expected = (0..4).flat_map(|i| (1..=LINES / 4).map(move |n| format!("{i} {n}")));
    assert!(seen.iter().map(|line| line.line.clone()).eq(expected), "a gap or a double");
    assert!(logs.file("out.log.20").exists(), "it was rotated");
    assert!(logs.file("err.log.20").exists(), "err with it");
    let files = (0..200).map(|n| if n == 0 { logs.file("out.log") } else { logs.file(&format!("out.log.{n}")) });
    let count: usize =
        files.filter_map(|path| std::fs::read(path).ok()).map(|text| text.split(|b| *b == b'\n').count() - 1).sum();
    assert_eq!(count, LINES);
    assert!(texts(&logs.reader().last(3).unwrap()).last().unwrap().ends_with("250000"));
}

#[test]
fn as_many_rotated_files_are_kept_as_asked() {
    for keep in [0, 2] {
        let logs = Bench::new(Logs { max_bytes: 1000, keep, ..Logs::default() });
        let mut worker = logs.worker(1);
        for n in 0..50 {
            writeln!(worker.out, "{n:0100}").unwrap();
            logs.settle();
        }
        logs.end(worker);
        let count = std::fs::read_dir(logs.home.logs().join("web")).unwrap();
        let count = count.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("out.log"));
        assert_eq!(count.count(), 1 + keep as usize);
        assert_eq!(texts(&logs.reader().last(1).unwrap()), [format!("{:0100}", 49)]);
    }
}

#[test]
fn lines_are_read_without_an_index_and_with_a_damaged_one() {
    let logs = Bench::new(Logs { max_bytes: 5000, keep: 50, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..2000 {
        writeln!(worker.out, "line {n}").unwrap();
        if n % 7 == 0 {
            logs.settle();
        }
    }
    logs.end(worker);
    logs.handle.stop();
    let expected: Vec<String> = (0..2000).map(|n| format!("line {n}")).collect();
    same(&texts(&logs.reader().last(5000).unwrap()), &expected);
    // Records in the middle, and the end of another.
    let damage = File::options().write(true).open(logs.file("index.2")).unwrap();
    rustix::io::pwrite(&damage, &[0xee; 200], 88 + 48 * 2).unwrap();
    let length = std::fs::metadata(logs.file("index.1")).unwrap().len();
    File::options().write(true).open(logs.file("index.1")).unwrap().set_len(length - 20).unwrap();
    same(&texts(&logs.reader().last(5000).unwrap()), &expected);
    let mut reader = logs.reader();
    reader.since(Cursor(0)).unwrap();
    same(&texts(&drain(&mut reader)), &expected);
    // The head of one.
    let damage = File::options().write(true).open(logs.file("index.1")).unwrap();
    rustix::io::pwrite(&damage, &[0xee; 20], 0).unwrap();
    let mut lines = texts(&logs.reader().last(5000).unwrap());
    lines.sort_by_key(|line| line[5..].parse::<u32>().unwrap());
    same(&lines, &expected);
    // All of them.
    for n in 0..50 {
        let name = if n == 0 { "index".into() } else { format!("index.{n}") };
        let _ = std::fs::remove_file(logs.file(&name));
    }
    let mut lines = texts(&logs.reader().last(5000).unwrap());
    lines.sort_by_key(|line| line[5..].parse::<u32>().unwrap());
    same(&lines, &expected);
}

#[test]
fn files_that_somebody_deletes_or_renames_are_made_again() {
    let logs = Bench::new(Logs::default());
    let mut worker = logs.worker(1);
    writeln!(worker.out, "one").unwrap();
    logs.settle();
    std::fs::remove_dir_all(logs.home.logs()).unwrap();
    writeln!(worker.out, "two").unwrap();
    logs.settle();
    assert_eq!(logs.text("out.log"), "two\n");
    std::fs::rename(logs.file("out.log"), logs.file("moved")).unwrap();
    wait(logs.handle.reopen());
    writeln!(worker.out, "three").unwrap();
    logs.settle();
    assert_eq!(logs.text("out.log"), "three\n");
    wait(logs.handle.clear(APP)).unwrap();
    assert_eq!(logs.text("out.log"), "");
    writeln!(worker.out, "four").unwrap();
    logs.end(worker);
    assert_eq!(texts(&logs.reader().last(9).unwrap()), ["four"]);
}

#[test]
fn two_apps_and_both_streams_may_share_a_file() {
    let root = tempfile::tempdir().unwrap();
    let shared = root.path().join("all.log");
    let spec =
        Logs { out: Some(shared.clone()), err: Some(shared.clone()), max_bytes: 2000, keep: 100, ..Logs::default() };
    let logs = Bench::new(spec.clone());
    logs.handle.open_app(AppId(2), "jobs", &spec);
    let mut web = logs.worker(1);
    let mut jobs = logs.worker_of(AppId(2), 2);
    for n in 0..200 {
        writeln!(web.out, "web out {n}").unwrap();
        writeln!(jobs.out, "jobs out {n}").unwrap();
        writeln!(web.err, "web err {n}").unwrap();
        logs.settle();
    }
    logs.end(web);
    logs.end(jobs);
    let read = |name: &str| LogReader::open(name, LogPaths::new(&logs.home, name, &spec), LogFilter::default());
    assert_eq!(read("web").last(1000).unwrap().len(), 400);
    let jobs = texts(&read("jobs").last(1000).unwrap());
    assert_eq!(jobs, (0..200).map(|n| format!("jobs out {n}")).collect::<Vec<_>>());
    let together = LogReaders::new(vec![read("web"), read("jobs")]).last(1000).unwrap();
    assert_eq!(together.len(), 600);
    assert!(together.is_sorted_by(|a, b| a.cursor < b.cursor));
}

#[test]
fn devices_can_be_log_files() {
    let logs = Bench::new(Logs { out: Some("/dev/null".into()), err: Some("/dev/full".into()), ..Logs::default() });
    let mut worker = logs.worker(1);
    writeln!(worker.out, "x").unwrap();
    writeln!(worker.err, "lost").unwrap();
    let detached = logs.end(worker);
    assert_eq!(detached.stderr_tail, ["lost"], "a death can be told although the disk is full");
    assert!(matches!(logs.notices.try_recv().unwrap().trouble, LogTrouble::Losing { .. }));
    assert!(logs.reader().last(9).unwrap().is_empty());
}

#[test]
fn a_flood_takes_bounded_memory_and_silences_nobody() {
    let logs = Bench::new(Logs { max_bytes: 4 << 20, keep: 1, ..Logs::default() });
    let before = resident_bytes();
    let flood = logs.attach_script(1, "exec yes a line of the flood, which never ends");
    let mut quiet = logs.worker(2);
    for n in 0..200 {
        writeln!(quiet.err, "quiet {n}").unwrap();
        let tail = wait(logs.handle.tail(quiet.run));
        assert_eq!(tail.last(), Some(&format!("quiet {n}")));
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("grown by {grown} bytes in a flood");
    assert!(grown < 32 << 20, "{grown} bytes");
    wait(logs.handle.detach(flood));
    logs.end(quiet);
}

#[test]
fn a_new_thread_goes_on_where_a_stopped_one_was() {
    const LINES: usize = 200_000;
    let mut logs = Bench::new(Logs { max_bytes: 1 << 20, keep: 100, ..Logs::default() });
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    let numbers = spawn(&format!("seq 1 {LINES}"), write);
    for _ in 0..20 {
        logs.attach(APP, RunId(1), LogStream::Out, read.try_clone().unwrap());
        wait(logs.handle.tail(RunId(1)));
        logs.restart();
    }
    logs.attach(APP, RunId(1), LogStream::Out, read.try_clone().unwrap());
    wait_for_end(&numbers);
    wait(logs.handle.detach(RunId(1)));
    let lines = texts(&logs.reader().last(2 * LINES).unwrap());
    // The thread ended between two batches, so nothing is written twice.
    assert!(lines.iter().cloned().eq((1..=LINES).map(|n| n.to_string())), "{} lines", lines.len());
}

#[test]
fn a_full_disk_holds_nobody_up_and_the_lost_lines_are_counted() {
    let root = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::small(root.path()) else {
        println!("skipped: no permission to mount a small file system");
        return;
    };
    let disk = root.path().to_path_buf();
    let spec = Logs { out: Some(disk.join("out.log")), max_bytes: 0, ..Logs::default() };
    let logs = Bench::new(spec);
    let mut worker = logs.worker(1);
    for n in 0..100_000 {
        writeln!(worker.out, "line {n:050}").unwrap();
    }
    logs.settle();
    let notice = logs.notices.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(&notice.trouble, LogTrouble::Losing { error } if error.contains("no space")), "{notice:?}");
    let written = std::fs::read_to_string(disk.join("out.log")).unwrap();
    assert!(written.ends_with('\n'), "only whole lines");
    // Somebody makes room.
    File::options().write(true).open(disk.join("out.log")).unwrap().set_len(0).unwrap();
    let LogTrouble::Recovered { lines, bytes } = logs.notices.recv_timeout(PATIENCE).unwrap().trouble else {
        panic!("not recovered");
    };
    writeln!(worker.out, "again").unwrap();
    logs.end(worker);
    let kept = written.lines().filter(|line| line.starts_with("line")).count() as u64;
    assert_eq!(kept + lines, 100_000, "every line is in the file or counted");
    assert_eq!(bytes, lines * 56);
    let after = std::fs::read_to_string(disk.join("out.log")).unwrap();
    assert_eq!(after, format!("[musher] {lines} lines ({bytes} bytes) lost: no space left on device\nagain\n"));
}

#[test]
fn lines_that_were_lost_are_told_of_though_the_supervisor_was_killed_before_there_was_room() {
    let root = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::small(root.path()) else {
        println!("skipped: no permission to mount a small file system");
        return;
    };
    let out = root.path().join("out.log");
    let mut logs = Bench::new(Logs { out: Some(out.clone()), max_bytes: 0, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..20_000 {
        writeln!(worker.out, "line {n:050}").unwrap();
    }
    logs.settle();
    logs.end(worker);
    let kept = std::fs::read_to_string(&out).unwrap().lines().count() as u64;
    assert!(kept < 20_000);
    for _ in 0..2 {
        logs.restart();
        logs.settle();
    }
    File::options().write(true).open(&out).unwrap().set_len(0).unwrap();
    let recovered =
        std::iter::from_fn(|| logs.notices.recv_timeout(PATIENCE).ok()).find_map(|notice| match notice.trouble {
            LogTrouble::Recovered { lines, .. } => Some(lines),
            _ => None,
        });
    assert_eq!(recovered, Some(20_000 - kept), "every line is in the file or counted");
    logs.restart();
    logs.settle();
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("lost: no space")).count(), 1, "told once: {text}");
}

/// A log thread, its home and one app, "web".
struct Bench {
    /// How much was lost: it outlives the thread.
    losses: OwnedFd,
    handle: LogHandle,
    home: Home,
    spec: Logs,
    notices: mpsc::Receiver<LogNotice>,
    _root: TempDir,
}

/// The writing ends of a worker's pipes.
struct Worker {
    run: RunId,
    out: File,
    err: File,
}

impl Bench {
    fn new(spec: Logs) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(&root.path().join("home")).unwrap();
        let losses = memfd::memfd("losses").unwrap();
        let (handle, notices) = start(&home, &losses, &spec);
        Bench { losses, handle, home, spec, notices, _root: root }
    }

    /// Ends the thread as if it were killed between two batches, and starts another.
    fn restart(&mut self) {
        self.handle.stop();
        (self.handle, self.notices) = start(&self.home, &self.losses, &self.spec);
    }

    /// Another way to write.
    fn change(&mut self, spec: Logs) {
        self.handle.open_app(APP, "web", &spec);
        self.spec = spec;
        self.settle();
    }

    fn worker(&self, run: u64) -> Worker {
        self.worker_of(APP, run)
    }

    fn worker_of(&self, app: AppId, run: u64) -> Worker {
        let run = RunId(run);
        let end = |stream| {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
            self.attach(app, run, stream, read);
            File::from(write)
        };
        Worker { run, out: end(LogStream::Out), err: end(LogStream::Err) }
    }

    /// A shell script whose stdout is logged.
    fn attach_script(&self, run: u64, script: &str) -> RunId {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        self.attach(APP, RunId(run), LogStream::Out, read);
        spawn(script, write);
        RunId(run)
    }

    fn attach(&self, app: AppId, run: RunId, stream: LogStream, pipe: OwnedFd) {
        let slot = SlotId(u32::try_from(run.0).unwrap());
        self.handle.attach(Output { app, slot, run, pid: 1000 + slot.0.cast_signed(), stream, pipe });
    }

    /// Everything that was written before is in the files after this.
    fn settle(&self) {
        for run in 0..10 {
            wait(self.handle.tail(RunId(run)));
        }
    }

    fn end(&self, worker: Worker) -> Detached {
        let run = worker.run;
        drop(worker);
        wait(self.handle.detach(run))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.logs().join("web").join(name)
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.file(name)).unwrap()).into_owned()
    }

    fn reader(&self) -> LogReader {
        self.reader_with(LogFilter::default())
    }

    fn reader_with(&self, filter: LogFilter) -> LogReader {
        LogReader::open("web", LogPaths::new(&self.home, "web", &self.spec), filter)
    }
}

fn start(home: &Home, losses: &OwnedFd, spec: &Logs) -> (LogHandle, mpsc::Receiver<LogNotice>) {
    let (sender, notices) = mpsc::sync_channel(1000);
    let handle =
        LogThread::go_on(home, Some(losses.try_clone().unwrap()), move |notice| sender.try_send(notice).unwrap())
            .unwrap();
    handle.open_app(APP, "web", spec);
    (handle, notices)
}

fn spawn(script: &str, out: OwnedFd) -> OwnedFd {
    let spawn = Spawn {
        args: ["sh", "-c", script].map(Into::into).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        fds: vec![(out, 1)],
        ..Spawn::new("/bin/sh")
    };
    spawn.spawn().unwrap().pidfd
}

fn wait_for_end(pidfd: &OwnedFd) {
    let timeout = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut fds = [rustix::event::PollFd::new(pidfd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1), "the process does not end");
}

/// Says only where long lists differ.
fn same(found: &[String], expected: &[String]) {
    let difference = found.iter().zip(expected).position(|(found, expected)| found != expected);
    if let Some(n) = difference {
        panic!("line {n} is {:?}, not {:?}", found[n], expected[n]);
    }
    assert_eq!(found.len(), expected.len());
}

fn drain(reader: &mut LogReader) -> Vec<LogLine> {
    let mut lines = Vec::new();
    loop {
        let batch = reader.next_batch(1000).unwrap();
        if batch.is_empty() {
            return lines;
        }
        lines.extend(batch);
    }
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| line.line.clone()).collect()
}

fn wait<T>(answer: oneshot::Receiver<T>) -> T {
    runtime().block_on(async { tokio::time::timeout(PATIENCE, answer).await }).unwrap().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// A file system of 256 KiB, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn small(path: &Path) -> Option<Mount> {
        use rustix::mount::{MountFlags, mount};
        let options = Some(c"size=256k");
        mount(c"tmpfs", path, c"tmpfs", MountFlags::empty(), options).ok().map(|()| Mount(path.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
