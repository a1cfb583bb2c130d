//! Events of the past, from memory and from the disk, as one stream.

use std::path::Path;
use std::time::Duration;

use musher_api::client::EventStream;
use musher_api::{EventKind, EventsQuery};
use tokio::time::timeout;

use super::fake::{Fake, PATIENCE};
use crate::control::{Events, News};

/// An earlier supervisor of this home, which told these.
fn earlier(home: &Path, details: &[&str]) -> u64 {
    let events = Events::of_home(home);
    let mut last = 0;
    for detail in details {
        last = events.publish(News::new(EventKind::Added, *detail).of_app("web", 1)).seq;
    }
    events.settle(PATIENCE);
    last
}

/// The details until the stream ends.
async fn all(mut stream: EventStream) -> Vec<String> {
    let mut details = Vec::new();
    while let Some(event) = timeout(PATIENCE, stream.next()).await.unwrap().unwrap() {
        details.push(event.detail);
    }
    details
}

fn past() -> EventsQuery {
    EventsQuery { from_ms: Some(0), follow: Some(false), ..EventsQuery::default() }
}

#[tokio::test]
async fn what_earlier_supervisors_told_comes_before_what_this_one_does() {
    let home = tempfile::tempdir().unwrap();
    earlier(home.path(), &["1", "2"]);
    let last = earlier(home.path(), &["3"]);
    let fake = Fake::of_home(home.path());
    fake.events.publish(News::new(EventKind::Online, "4").of_app("api", 2));
    let ask = async |query: EventsQuery| all(fake.client.events_of(&query).await.unwrap()).await;
    assert_eq!(ask(past()).await, ["1", "2", "3", "4"]);
    assert_eq!(ask(EventsQuery { lines: Some(2), ..past() }).await, ["3", "4"]);
    assert_eq!(ask(EventsQuery { target: Some("web".into()), lines: Some(2), ..past() }).await, ["2", "3"]);
    assert_eq!(ask(EventsQuery { target: Some("2".into()), ..past() }).await, ["4"]);
    assert_eq!(ask(EventsQuery { kind: Some("online".into()), ..past() }).await, ["4"]);
    assert_eq!(ask(EventsQuery { since: Some(last), ..past() }).await, ["4"]);
    assert_eq!(ask(EventsQuery { until_ms: Some(1), ..past() }).await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_reader_of_an_earlier_supervisor_misses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let seen = earlier(home.path(), &["1"]);
    earlier(home.path(), &["2"]);
    let fake = Fake::of_home(home.path());
    fake.events.publish(News::new(EventKind::Added, "3"));
    let mut stream = fake.client.events(Some(seen)).await.unwrap();
    for detail in ["2", "3"] {
        assert_eq!(stream.next().await.unwrap().unwrap().detail, detail, "and no word of events that are missing");
    }
    fake.events.publish(News::new(EventKind::Added, "4"));
    assert_eq!(timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap().detail, "4");
}

#[tokio::test]
async fn what_does_not_fit_into_memory_any_more_comes_from_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let fake = Fake::of_home(home.path());
    for n in 0..3000 {
        fake.events.publish(News::new(EventKind::Added, n.to_string()));
        if n % 1000 == 0 {
            fake.events.settle(Duration::from_secs(10));
        }
    }
    fake.events.settle(PATIENCE);
    let found = all(fake.client.events_of(&past()).await.unwrap()).await;
    assert_eq!(found, (0..3000).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let fake = Fake::start();
    for wrong in ["kind=nonsense", "lines=10001", "from_ms=-1", "unknown=1"] {
        let answer = fake.request("GET", &format!("/v1/events?{wrong}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong}: {answer}");
    }
}
