//! The files as a kill, a full disk and a user leave them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use musher_api::{Event, EventFilter, EventKind, rfc3339};

use super::writer::EventWriter;
use super::{FILE_EVENTS, FILES, Wanted, directory, files, read};

const PATIENCE: Duration = Duration::from_secs(10);

fn event(seq: u64, app: &str) -> Arc<Event> {
    let time_ms = 1_700_000_000_000 + seq;
    let value = serde_json::json!({
        "seq": seq, "time_ms": time_ms, "time": rfc3339(time_ms), "kind": EventKind::Online, "app": app, "app_id": 1,
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn writer(home: &Path) -> (EventWriter, u64) {
    EventWriter::start(directory(home), Box::new(|_| {})).unwrap()
}

fn write(home: &Path, seqs: impl Iterator<Item = u64>) {
    let (writer, _) = writer(home);
    for seq in seqs {
        writer.push(event(seq, if seq % 2 == 0 { "even" } else { "odd" }));
        if seq % 1000 == 0 {
            writer.settle(PATIENCE);
        }
    }
    writer.settle(PATIENCE);
}

fn seqs(home: &Path, wanted: &Wanted) -> Vec<u64> {
    let mut found = Vec::new();
    read(home, wanted, &mut |event| {
        found.push(event.seq);
        true
    })
    .unwrap();
    found
}

#[test]
fn what_was_written_is_read_and_chosen_from() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(seqs(home.path(), &Wanted::default()), [] as [u64; 0], "nothing yet is no error");
    write(home.path(), 1..=10);
    assert_eq!(seqs(home.path(), &Wanted::default()), (1..=10).collect::<Vec<u64>>());
    assert_eq!(seqs(home.path(), &Wanted { after: 3, before: Some(6), ..Wanted::default() }), [4, 5]);
    assert_eq!(seqs(home.path(), &Wanted { last: Some(2), ..Wanted::default() }), [9, 10]);
    let filter = EventFilter { targets: Some(["odd".to_owned()].into()), ..EventFilter::default() };
    assert_eq!(seqs(home.path(), &Wanted { filter, last: Some(3), ..Wanted::default() }), [5, 7, 9]);
    let filter = EventFilter { from_ms: 1_700_000_000_009, ..EventFilter::default() };
    assert_eq!(seqs(home.path(), &Wanted { filter, ..Wanted::default() }), [9, 10]);
}

#[test]
fn the_next_supervisor_goes_on_behind_a_torn_line() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), 1..=3);
    let (_, path) = files(&directory(home.path())).unwrap().pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let mut torn = whole.clone();
    torn.extend_from_slice(br#"{"seq":4,"time_ms":17000"#);
    fs::write(&path, &torn).unwrap();
    assert_eq!(seqs(home.path(), &Wanted::default()), [1, 2, 3], "a reader skips it");
    let (writer, newest) = writer(home.path());
    assert_eq!(newest, 3);
    assert_eq!(fs::read(&path).unwrap(), whole);
    writer.push(event(5, "web"));
    writer.settle(PATIENCE);
    assert_eq!(seqs(home.path(), &Wanted::default()), [1, 2, 3, 5]);
}

#[test]
fn what_a_power_cut_leaves_is_skipped() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), 1..=2);
    let (_, path) = files(&directory(home.path())).unwrap().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"\0\0\0\0\n\xff garbage\n");
    fs::write(&path, &bytes).unwrap();
    write(home.path(), 3..=3);
    assert_eq!(seqs(home.path(), &Wanted::default()), [1, 2, 3]);
}

#[test]
fn the_oldest_file_goes_when_there_are_too_many() {
    let home = tempfile::tempdir().unwrap();
    let all = FILE_EVENTS * (FILES as u64 + 1);
    write(home.path(), 1..=all + 1);
    let found = files(&directory(home.path())).unwrap();
    assert_eq!(found.len(), FILES);
    let kept = seqs(home.path(), &Wanted::default());
    assert_eq!((kept.first(), kept.last()), (Some(&found[0].0), Some(&(all + 1))));
    assert!(kept.len() as u64 <= FILE_EVENTS * FILES as u64 && kept.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn events_go_on_when_their_directory_is_deleted() {
    let home = tempfile::tempdir().unwrap();
    let (writer, _) = writer(home.path());
    writer.push(event(1, "web"));
    writer.settle(PATIENCE);
    fs::remove_dir_all(directory(home.path())).unwrap();
    writer.push(event(2, "web"));
    writer.settle(PATIENCE);
    assert_eq!(seqs(home.path(), &Wanted::default()), [2]);
}

#[test]
fn a_disk_that_refuses_is_told_once_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    // What has the name of the directory is none.
    fs::write(directory(home.path()), "").unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let tell = Box::new(move |text| heard.lock().unwrap().push(text));
    let (writer, newest) = EventWriter::start(directory(home.path()), tell).unwrap();
    assert_eq!(newest, 0);
    writer.push(event(1, "web"));
    writer.push(event(2, "web"));
    // It does not wait for what does not come.
    writer.settle(PATIENCE);
    fs::remove_file(directory(home.path())).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while told.lock().unwrap().len() < 2 {
        assert!(std::time::Instant::now() < deadline, "{:?}", told.lock().unwrap());
        std::thread::yield_now();
    }
    let told = told.lock().unwrap();
    assert!(told[0].contains("cannot be written") && told[1].contains("again"), "{told:?}");
    assert_eq!(seqs(home.path(), &Wanted::default()), [1, 2]);
}

#[test]
fn a_very_long_event_goes_without_its_story() {
    let home = tempfile::tempdir().unwrap();
    let (writer, _) = writer(home.path());
    let death = musher_api::Death { stderr: vec!["x".repeat(100_000)], ..musher_api::Death::default() };
    writer.push(Arc::new(Event { death: Some(Box::new(death)), ..(*event(1, "web")).clone() }));
    writer.push(event(2, "web"));
    writer.settle(PATIENCE);
    let mut found = Vec::new();
    read(home.path(), &Wanted::default(), &mut |event| {
        found.push(event.death.is_some());
        true
    })
    .unwrap();
    assert_eq!(found, [false, false]);
}
