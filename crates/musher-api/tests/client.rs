//! The client against a supervisor that dies, restarts, is not one, or talks nonsense.

#![expect(clippy::unwrap_used, reason = "these are tests, also where they are functions of their own")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

use musher_api::client::{Client, ClientError};
use musher_api::{Action, ActionRequest, ErrorCode};

/// What one connection is answered with; none: it is closed in the middle of the request.
type Script = Vec<Option<String>>;

/// Serves one connection after the other; gives the bodies that were sent.
fn scripted(socket: &Path, script: Script) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        script
            .into_iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let body = read_request(&stream);
                if let Some(answer) = answer {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
                body
            })
            .collect()
    })
}

fn read_request(stream: &UnixStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn answer(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
}

fn stop() -> ActionRequest {
    ActionRequest { request_id: "one".into(), action: Action::Stop, targets: vec!["web".into()] }
}

#[tokio::test]
async fn a_request_is_made_again_with_the_same_id_when_the_supervisor_dies_under_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let half = Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"operations\"".to_owned());
    let server = scripted(&socket, vec![None, half, answer("200 OK", "{\"operations\":[{\"id\":5,\"app\":\"web\"}]}")]);
    let response = Client::new(&socket).act(&stop()).await.unwrap();
    assert_eq!(response.operations[0].id, 5);
    let bodies = server.join().unwrap();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| body == &bodies[0] && body.contains("\"request_id\":\"one\"")));
}

#[tokio::test]
async fn a_supervisor_that_is_just_starting_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let busy = answer("503 Service Unavailable", "{\"code\":\"unavailable\",\"message\":\"starting\"}");
    let server = scripted(&socket, vec![busy, answer("200 OK", "[]")]);
    assert!(Client::new(&socket).slots(None).await.unwrap().is_empty());
    server.join().unwrap();
}

#[tokio::test]
async fn nothing_there_and_a_stale_socket_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    for socket in [directory.path().join("nothing"), stale, directory.path().join("no/directory")] {
        let begun = std::time::Instant::now();
        let error = Client::new(&socket).status().await.unwrap_err();
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
        assert!(begun.elapsed() < Client::REFUSAL_PATIENCE);
    }
}

#[tokio::test]
async fn a_supervisor_that_is_gone_for_good_is_told_after_a_moment() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let server = scripted(&socket, vec![None]);
    let error = Client::new(&socket).act(&stop()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
    server.join().unwrap();
}

#[tokio::test]
async fn a_path_that_is_too_long_is_an_error_of_the_socket() {
    let error = Client::new(format!("/tmp/{}", "x".repeat(200))).status().await.unwrap_err();
    assert!(matches!(error, ClientError::Socket { .. }), "{error}");
}

#[tokio::test]
async fn refusals_and_nonsense_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let denied = "{\"code\":\"denied\",\"message\":\"not yours\",\"hint\":\"be root\",\"more\":1}";
    let cases = [
        (answer("403 Forbidden", denied), "api"),
        (answer("404 Not Found", "{\"code\":\"unknown_route\",\"message\":\"no such path\"}"), "incompatible"),
        (answer("409 Conflict", "{\"code\":\"of_the_future\",\"message\":\"new\"}"), "other"),
        (answer("502 Bad Gateway", "<html>"), "other"),
        (answer("200 OK", "{\"version\":1}"), "protocol"),
        (Some("SSH-2.0-OpenSSH_9\r\n".into()), "protocol"),
    ];
    for (n, (reply, expected)) in cases.into_iter().enumerate() {
        let socket = directory.path().join(n.to_string());
        let server = scripted(&socket, vec![reply]);
        let error = Client::new(&socket).status().await.unwrap_err();
        let kind = match &error {
            ClientError::Api(error) if error.code == ErrorCode::Other => "other",
            ClientError::Api(_) => "api",
            ClientError::Incompatible { .. } => "incompatible",
            ClientError::Protocol(_) => "protocol",
            _ => "unexpected",
        };
        assert_eq!(kind, expected, "{error:?}");
        server.join().unwrap();
    }
}
