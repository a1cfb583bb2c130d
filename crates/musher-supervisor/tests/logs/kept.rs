//! What is kept of what was written: files of both outputs and of each slot, packed files, limits.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime};

use flate2::read::MultiGzDecoder;
use musher_api::LogStream;
use musher_core::spec::{LogFormat, Logs};
use musher_supervisor::logs::{LogFilter, LogPaths, LogReader, LogReaders, LogTrouble, Pattern};

use super::{APP, Bench, PATIENCE, drain, same, texts, wait};

/// Waits for what the log thread, or the one that packs, is about to do.
fn until(logs: &Bench, what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        logs.settle();
        std::thread::yield_now();
    }
}

fn unpacked(logs: &Bench, name: &str) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(File::open(logs.file(name)).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// The names of the files in the directory of the app.
fn names(logs: &Bench) -> Vec<String> {
    let entries = std::fs::read_dir(logs.file("")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_of_both_outputs_has_them_in_the_order_of_time() {
    let mut logs = Bench::new(Logs::default());
    let combined = logs.file("all.log");
    logs.change(Logs { combined: Some(combined.clone()), out: Some("/dev/null".into()), ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..5 {
        writeln!(worker.out, "out {n}").unwrap();
        logs.settle();
        writeln!(worker.err, "err {n}").unwrap();
        logs.settle();
    }
    logs.end(worker);
    let expected: Vec<String> = (0..5).flat_map(|n| [format!("out {n}"), format!("err {n}")]).collect();
    assert_eq!(logs.text("all.log").lines().collect::<Vec<_>>(), expected);
    assert_eq!(logs.text("err.log").lines().count(), 5);
    let lines = logs.reader().last(100).unwrap();
    same(&texts(&lines), &expected);
    assert_eq!((lines[0].stream, lines[1].stream), (LogStream::Out, LogStream::Err));
}

#[test]
fn each_slot_can_have_files_of_its_own() {
    let logs = Bench::new(Logs { per_worker: true, ..Logs::default() });
    for n in 1..=3u64 {
        let mut worker = logs.worker(n);
        writeln!(worker.out, "out {n}").unwrap();
        writeln!(worker.err, "err {n}").unwrap();
        logs.end(worker);
    }
    assert_eq!((logs.text("out-2.log"), logs.text("err-3.log")), ("out 2\n".into(), "err 3\n".into()));
    assert!(!logs.file("out.log").exists());
    let readers = LogPaths::all(&logs.home, "web", &logs.spec);
    let readers = readers.into_iter().map(|paths| LogReader::open("web", paths, LogFilter::default()));
    let lines = LogReaders::new(readers.collect()).last(100).unwrap();
    let mut found = texts(&lines);
    found.sort();
    assert_eq!(found, ["err 1", "err 2", "err 3", "out 1", "out 2", "out 3"]);
    wait(logs.handle.clear(APP)).unwrap();
    assert_eq!(logs.text("out-2.log"), "");
}

#[test]
fn times_by_a_pattern_stand_before_each_line_and_are_not_part_of_it() {
    let logs = Bench::new(Logs { date_format: Some("YYYY-MM-DD".into()), ..Logs::default() });
    let mut worker = logs.worker(1);
    writeln!(worker.out, "one\ntwo: 2").unwrap();
    logs.end(worker);
    let text = logs.text("out.log");
    assert!(text.lines().all(|line| line.as_bytes()[4] == b'-' && &line[10..12] == ": "), "{text}");
    assert_eq!(texts(&logs.reader().last(9).unwrap()), ["one", "two: 2"]);
}

#[test]
fn lines_are_found_by_an_expression() {
    let logs = Bench::new(Logs { format: LogFormat::Pm2Json, ..Logs::default() });
    let mut worker = logs.worker(1);
    writeln!(worker.out, "GET / 200\nGET /x 503\nPOST / 500").unwrap();
    logs.end(worker);
    let pattern = Some(Pattern::parse(r"GET .* 5\d\d$").unwrap());
    let found = logs.reader_with(LogFilter { pattern, ..LogFilter::default() }).last(9).unwrap();
    assert_eq!(texts(&found), ["GET /x 503"]);
    assert!(Pattern::parse("(").is_err() && Pattern::parse("(a{1000}){1000}").is_err());
}

#[test]
fn rotated_files_are_packed_and_still_read_line_by_line() {
    const LINES: u64 = 30_000;
    let logs = Bench::new(Logs { max_bytes: 100_000, keep: 100, compress: true, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..LINES {
        writeln!(worker.out, "line {n}").unwrap();
    }
    logs.end(worker);
    let plain = || names(&logs).iter().any(|name| name.starts_with("out.log.") && !name.ends_with(".gz"));
    until(&logs, "all rotated files are packed", || !plain());
    let packed = names(&logs).iter().filter(|name| name.starts_with("out.log.")).count();
    assert!(packed >= 2, "{packed}");
    let mut whole: String = (1..=packed).rev().map(|n| unpacked(&logs, &format!("out.log.{n}.gz"))).collect();
    whole.push_str(&logs.text("out.log"));
    let expected: Vec<String> = (0..LINES).map(|n| format!("line {n}")).collect();
    same(&whole.lines().map(str::to_owned).collect::<Vec<_>>(), &expected);
    same(&texts(&logs.reader().last(2 * LINES as usize).unwrap()), &expected);
    let mut reader = logs.reader();
    let middle = logs.reader().last(LINES as usize - 1000).unwrap()[0].cursor;
    reader.since(middle).unwrap();
    same(&texts(&drain(&mut reader)), &expected[1001..]);
}

#[test]
fn a_packing_that_was_cut_off_is_done_again() {
    let mut logs = Bench::new(Logs { max_bytes: 100_000, keep: 100, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..20_000 {
        writeln!(worker.out, "line {n}").unwrap();
    }
    logs.end(worker);
    // As a kill leaves it: half a packed file without a number; and one that is whole, beside what it was made of.
    std::fs::write(logs.file("out.log.gz.new"), b"\x1f\x8b\x08half").unwrap();
    std::fs::write(logs.file("out.log.1.gz"), b"\x1f\x8b\x08half").unwrap();
    logs.change(Logs { compress: true, ..logs.spec.clone() });
    until(&logs, "packed", || logs.file("out.log.1.gz").exists() && !logs.file("out.log.1").exists());
    assert!(unpacked(&logs, "out.log.1.gz").contains("line "));
    until(&logs, "nothing half is left", || !names(&logs).iter().any(|name| name.ends_with(".new")));
    let expected: Vec<String> = (0..20_000).map(|n| format!("line {n}")).collect();
    same(&texts(&logs.reader().last(50_000).unwrap()), &expected);
}

#[test]
fn all_files_of_an_app_together_keep_to_their_limit() {
    const LIMIT: u64 = 400_000;
    let logs = Bench::new(Logs { max_total_bytes: LIMIT, keep: 1000, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..60_000 {
        writeln!(worker.out, "line {n}, and something that makes it longer").unwrap();
        if n % 5000 == 0 {
            logs.settle();
            let all: u64 =
                names(&logs).iter().map(|name| logs.file(name).metadata().map_or(0, |file| file.len())).sum();
            assert!(all <= LIMIT, "{all} bytes after line {n}");
        }
    }
    logs.end(worker);
    let lines = texts(&logs.reader().last(100_000).unwrap());
    assert!(lines.len() > 1000, "the newest are kept: {}", lines.len());
    assert!(lines.last().unwrap().starts_with("line 59999,"));
}

#[test]
fn old_files_are_rotated_and_deleted() {
    let mut logs = Bench::new(Logs { max_bytes: 50_000, keep: 100, ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..20_000 {
        writeln!(worker.out, "line {n}").unwrap();
    }
    logs.end(worker);
    assert!(logs.file("out.log.2").exists());
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::options().write(true).open(logs.file("out.log.2")).unwrap().set_modified(old).unwrap();
    logs.change(Logs { keep_for: Some(Duration::from_secs(60)), ..logs.spec.clone() });
    assert!(logs.file("out.log.1").exists() && !logs.file("out.log.2").exists());
    // Whatever it is called: what was begun longer ago than this is rotated before the next line.
    logs.change(Logs { keep_for: None, max_age: Some(Duration::from_nanos(1)), ..logs.spec.clone() });
    let before = logs.text("out.log");
    let mut worker = logs.worker(2);
    writeln!(worker.out, "a new day").unwrap();
    logs.end(worker);
    assert_eq!((logs.text("out.log"), logs.text("out.log.1")), ("a new day\n".into(), before));
}

#[test]
fn lines_over_the_limit_are_dropped_and_counted() {
    const LINES: u64 = 50_000;
    let logs = Bench::new(Logs { limit: Some(100), ..Logs::default() });
    let mut worker = logs.worker(1);
    for n in 0..LINES {
        writeln!(worker.out, "line {n}").unwrap();
    }
    logs.end(worker);
    wait(logs.handle.close_app(APP));
    let text = logs.text("out.log");
    let (told, kept): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("[musher]"));
    let dropped: u64 = told.iter().map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(kept.len() as u64 + dropped, LINES, "{told:?}");
    assert!(dropped > 0 && told.iter().all(|line| line.ends_with("lost: over the limit of 100 a second")), "{told:?}");
    assert!(logs.notices.try_recv().is_err(), "what was asked for is no news");
}

#[test]
fn what_was_logged_is_counted() {
    let logs = Bench::new(Logs { err: Some("/dev/full".into()), limit: Some(1_000_000), ..Logs::default() });
    let mut worker = logs.worker(1);
    writeln!(worker.out, "one\ntwo").unwrap();
    writeln!(worker.err, "lost").unwrap();
    logs.end(worker);
    let figures = logs.handle.counters(APP).figures();
    assert_eq!((figures.lines, figures.bytes, figures.lost, figures.dropped), (2, 8, 1, 0));
    assert!(matches!(logs.notices.try_recv().unwrap().trouble, LogTrouble::Losing { .. }));
}
