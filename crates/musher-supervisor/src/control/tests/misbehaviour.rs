//! What peers that misbehave get: an error of theirs, while everybody else is served.

use musher_api::{ApiError, ErrorCode, MAX_BODY};

use super::fake::{Fake, spec};

/// The status and the error of an answer.
#[track_caller]
fn refused(answer: &str) -> (u16, ApiError) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    match (status, serde_json::from_str(body)) {
        (Some(status), Ok(error)) => (status, error),
        _ => panic!("not an error: {answer:?}"),
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_is_refused() {
    let fake = Fake::start();
    for body in [
        "",
        "{",
        "[]",
        "null",
        "\u{0}",
        "{\"request_id\":\"r\"}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":\"explode\"}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":\"stop\",\"forse\":true}",
        "{\"request_id\":\"r\",\"targets\":\"web\",\"action\":\"stop\"}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":{\"scale\":{\"to\":-1}}}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":{\"scale\":{\"to\":1,\"by\":1}}}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":{\"scale\":{\"to\":0}}}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":{\"scale\":{\"to\":1001}}}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":{\"signal\":{\"signal\":0}}}",
        "{\"request_id\":\"r\",\"targets\":[\"web\"],\"action\":{\"signal\":{\"signal\":65}}}",
        "{\"request_id\":\"r\",\"targets\":[],\"action\":\"stop\"}",
        "{\"request_id\":\"r\",\"targets\":[\"\"],\"action\":\"stop\"}",
        "{\"request_id\":\"r\",\"targets\":[\"a\\u001bb\"],\"action\":\"stop\"}",
        "{\"request_id\":\"\",\"targets\":[\"web\"],\"action\":\"stop\"}",
    ] {
        let (status, error) = refused(&fake.request("POST", "/v1/actions", body).await);
        assert_eq!((status, error.code), (400, ErrorCode::BadRequest), "{body}: {error}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&fake.request("POST", "/v1/actions", &deep).await).0, 400);
    fake.client.status().await.unwrap();
}

#[tokio::test]
async fn counts_and_lengths_are_bounded() {
    let fake = Fake::start();
    let act = |targets: &[String], id: &str| {
        serde_json::json!({ "request_id": id, "action": "stop", "targets": targets }).to_string()
    };
    let many: Vec<String> = (0..1001).map(|n| format!("app{n}")).collect();
    assert_eq!(refused(&fake.request("POST", "/v1/actions", &act(&many, "r")).await).0, 400);
    let long = "x".repeat(257);
    assert_eq!(refused(&fake.request("POST", "/v1/actions", &act(&["web".into()], &long)).await).0, 400);
    assert_eq!(refused(&fake.request("GET", &format!("/v1/apps/{long}"), "").await).0, 400);

    let specs: Vec<_> = (0..1001).map(|n| spec(&format!("app{n}"))).collect();
    let body = serde_json::json!({ "request_id": "r", "specs": specs }).to_string();
    assert_eq!(refused(&fake.request("POST", "/v1/apps", &body).await).0, 400);
}

#[tokio::test]
async fn all_faults_of_all_specs_are_told_at_once() {
    let fake = Fake::start();
    let mut first = spec("one");
    first.instances = 100_000;
    first.cwd = "relative".into();
    let second = spec("../two\u{7}");
    let body = serde_json::json!({ "request_id": "r", "specs": [first, second, spec("three"), spec("three")] });
    let (status, error) = refused(&fake.request("POST", "/v1/apps", &body.to_string()).await);
    assert_eq!((status, error.code), (422, ErrorCode::InvalidSpec));
    for word in ["one: instances", "one: cwd", "two", "three: there are two"] {
        assert!(error.message.contains(word), "no {word:?} in {}", error.message);
    }
}

#[tokio::test]
async fn a_query_that_is_not_what_it_should_be_is_refused() {
    let fake = Fake::start();
    for path in [
        "/v1/logs?lines=-1",
        "/v1/logs?lines=100001",
        "/v1/logs?stream=both",
        "/v1/logs?folow=true",
        "/v1/logs?since=yesterday",
        "/v1/logs?target=web,,x",
        "/v1/slots?traget=web",
        "/v1/slots?target=",
        "/v1/events?since=x",
        "/v1/operations/seven",
        "/v1/operations/-7",
        "/v1/operations/7?timeout_ms=soon",
        "/v1/apps/%ff",
        "/v1/apps/%1b%5b2J",
    ] {
        let (status, error) = refused(&fake.request("GET", path, "").await);
        assert_eq!((status, error.code), (400, ErrorCode::BadRequest), "{path}: {error}");
    }
    assert_eq!(refused(&fake.request("GET", "/v1/operations/8", "").await).0, 404);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read_or_when_it_grows() {
    let fake = Fake::start();
    let announced =
        format!("POST /v1/apps HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", MAX_BODY + 1);
    let (status, error) = refused(&fake.raw(announced).await);
    assert_eq!((status, error.code), (413, ErrorCode::TooLarge));

    let mut chunked =
        b"POST /v1/apps HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..9 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.extend(std::iter::repeat_n(b' ', 1 << 20));
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = fake.raw(chunked).await;
    // The server may close while the peer still writes; then the answer is lost, the refusal is not.
    assert!(answer.is_empty() || refused(&answer).0 == 413, "{answer}");
    fake.client.status().await.unwrap();
}

#[tokio::test]
async fn what_is_not_http_is_closed() {
    let fake = Fake::start();
    for bytes in [b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec(), b"hello\r\n\r\n".to_vec(), vec![0; 1 << 20]] {
        let answer = fake.raw(bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let head = format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let answer = fake.raw(head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    fake.client.status().await.unwrap();
}

// Time stands still and jumps to the next deadline when nobody has anything else to do, so these do not wait.

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_finish_its_head_is_cut_off() {
    let fake = Fake::start();
    assert_eq!(fake.slow("GET /v1/status HTTP/1.1\r\nhost:").await, "");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_finish_its_body_is_cut_off() {
    let fake = Fake::start();
    let head = "POST /v1/actions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{";
    let (status, error) = refused(&fake.slow(head).await);
    assert_eq!((status, error.code), (408, ErrorCode::RequestTimeout));
}
