//! What well-behaved clients get.

use std::time::Duration;

use musher_api::client::{ClientError, request_id};
use musher_api::{
    Action, ActionRequest, EventKind, LogQuery, OperationRef, REDACTED, ROUTES, SendRequest, ShutdownRequest,
    StartRequest,
};
use tokio::time::timeout;

use super::fake::{Fake, PATIENCE, line, operation, spec};
use crate::control::News;

#[tokio::test]
async fn every_call_of_the_client_is_answered() {
    let fake = Fake::start();
    let client = &fake.client;
    assert_eq!(client.status().await.unwrap().supervisor.pid, 2);
    assert_eq!(client.slots(None).await.unwrap().len(), 1);
    assert_eq!(client.slots(Some("web")).await.unwrap()[0].pid, Some(99));
    assert_eq!(client.apps().await.unwrap()[0].app, "web");
    let request = StartRequest { request_id: request_id(), specs: vec![spec("web")], dry_run: false, force: false };
    assert_eq!(client.start(&request).await.unwrap().plan[0].app, "web");
    let request =
        ActionRequest { request_id: request_id(), action: Action::Scale { to: 3 }, targets: vec!["web".into()] };
    assert_eq!(client.act(&request).await.unwrap().operations[0].id, 7);
    assert_eq!(client.operation(7).await.unwrap().progress.total, 2);
    let request = SendRequest { request_id: request_id(), target: "web".into(), slot: None, message: "hi".into() };
    assert_eq!(client.send(&request).await.unwrap().workers, 2);
    let request = ShutdownRequest { request_id: request_id(), keeps_list: false };
    assert_eq!(client.shutdown(&request).await.unwrap().keeper_pid, 1);
}

#[tokio::test]
async fn every_route_of_the_table_is_served_and_nothing_else() {
    let fake = Fake::start();
    for route in ROUTES {
        let method = format!("{:?}", route.method).to_uppercase();
        let path = route.path.replace("{target}", "web").replace("{id}", "7");
        if matches!(route.call, musher_api::Call::Events | musher_api::Call::Messages) {
            continue; // does not end; has tests of its own
        }
        let answer = fake.request(&method, &path, "").await;
        let refused = ["\"code\":\"unknown_route\"", "\"code\":\"method_not_allowed\""];
        assert!(!refused.iter().any(|code| answer.contains(code)), "{path}");
        let other = fake.request("DELETE", &path, "").await;
        assert!(other.starts_with("HTTP/1.1 405") && other.contains("method_not_allowed"), "{path}: {other}");
    }
    for path in ["/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1/statuss", "/v1/apps/web/env", "/../etc/passwd"] {
        let answer = fake.request("GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("unknown_route"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn values_of_the_environment_are_hidden_unless_asked_for() {
    let fake = Fake::start();
    let hidden = fake.client.app("web", false).await.unwrap();
    assert_eq!((hidden.spec.env["TOKEN"].as_str(), hidden.spec.base_env["PATH"].as_str()), (REDACTED, REDACTED));
    let answer = fake.request("GET", "/v1/apps/web", "").await;
    assert!(!answer.contains("secret"), "{answer}");
    assert_eq!(fake.client.app("web", true).await.unwrap().spec.env["TOKEN"], "secret");
}

#[tokio::test]
async fn an_unknown_app_is_not_found() {
    let fake = Fake::start();
    let Err(ClientError::Api(error)) = fake.client.app("no/body?x=1", false).await else { panic!() };
    assert_eq!(error.code, musher_api::ErrorCode::NotFound);
    assert!(error.message.contains("no/body?x=1"), "the name arrives as it was typed: {error}");
    let query = LogQuery { target: Some("nobody".into()), ..LogQuery::default() };
    assert!(matches!(fake.client.logs(&query).await, Err(ClientError::Api(_))));
}

#[tokio::test]
async fn a_poll_waits_for_a_change_and_no_longer_than_asked() {
    let fake = Fake::start();
    // Nothing changes: the time runs out.
    let path = "/v1/operations/7?after=1&timeout_ms=30";
    assert!(fake.request("GET", path, "").await.contains("\"revision\":1"));
    // A change ends the wait long before its time; `wait` sees every state until the end.
    let waiting = tokio::spawn({
        let client = fake.client.clone();
        async move {
            let mut seen = Vec::new();
            let begun = OperationRef { id: 7, app: "web".into() };
            let end = client.wait(&begun, |now| seen.push(now.revision)).await.unwrap();
            (end, seen)
        }
    });
    timeout(PATIENCE, async {
        // The poll holds a receiver; so the change cannot come before it.
        while fake.operation.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    fake.operation.send_replace(operation(2, true));
    let (end, seen) = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(end.done && end.ok);
    assert_eq!(seen.last(), Some(&2));
}

#[tokio::test]
async fn events_come_as_they_happen_and_from_where_a_reader_was() {
    let fake = Fake::start();
    let mut stream = fake.client.events(None).await.unwrap();
    fake.events.publish(News::new(EventKind::Online, "first\nline").of_app("web", 0).of_slot(1).of_run(3, Some(99)));
    let first = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((first.kind, first.detail.as_str(), first.pid), (EventKind::Online, "first\nline", Some(99)));
    assert_eq!(stream.last_id(), Some(first.seq));
    drop(stream);

    fake.events.publish(News::new(EventKind::Exited, "second"));
    let mut again = fake.client.events(Some(first.seq)).await.unwrap();
    let second = timeout(PATIENCE, again.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(second.detail, "second");
}

#[tokio::test]
async fn log_lines_arrive_whole_and_the_query_reaches_the_logs() {
    let fake = Fake::start();
    let query = LogQuery {
        target: Some("web,0".into()),
        lines: Some(3),
        follow: false,
        stream: Some(musher_api::LogStream::Err),
        text: Some("a b&c".into()),
        pattern: Some("^a.*[+&]".into()),
        since: Some(musher_api::Cursor(u64::MAX)),
    };
    let mut lines = fake.client.logs(&query).await.unwrap();
    for n in 1..=3 {
        assert_eq!(lines.next().await.unwrap(), Some(line(n)));
    }
    assert_eq!(lines.next().await.unwrap(), None);
    assert_eq!(fake.logs.asked.lock().unwrap()[0], query);
}

#[tokio::test]
async fn a_reader_that_goes_away_closes_its_log_stream() {
    let fake = Fake::start();
    let mut lines = fake.client.logs(&LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
    lines.next().await.unwrap();
    let sink = fake.logs.open.lock().unwrap().pop().unwrap();
    assert!(!sink.is_closed());
    drop(lines);
    timeout(PATIENCE, sink.closed()).await.unwrap();
}

#[tokio::test]
async fn sixty_four_streams_may_be_open_and_no_more() {
    let fake = Fake::start();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(fake.client.events(None).await.unwrap());
    }
    let Err(ClientError::Api(error)) = fake.client.events(None).await else { panic!() };
    assert_eq!(error.code, musher_api::ErrorCode::TooMany);
    fake.client.status().await.unwrap();
    open.clear();
    timeout(Duration::from_secs(10), async { while fake.client.events(None).await.is_err() {} }).await.unwrap();
}
