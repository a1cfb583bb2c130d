//! What the supervisor remembers of its events, asked for over its socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::{Home, wait_for};

/// The stream has no end: what is remembered comes at once, so a pause is the end of that.
const PAUSE: Duration = Duration::from_millis(200);

/// All events that this supervisor remembers.
pub(crate) fn events(home: &Home) -> Vec<Value> {
    let mut stream = UnixStream::connect(home.path().join("control.sock")).unwrap();
    stream.write_all(b"GET /v1/events?since=1 HTTP/1.1\r\nHost: musher\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(PAUSE)).unwrap();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 65_536]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().filter_map(|line| serde_json::from_str(line.trim().strip_prefix("data:")?).ok()).collect()
}

/// Waits for an event of this kind that says this.
#[track_caller]
pub(crate) fn wait_event(home: &Home, kind: &str, words: &str) -> Value {
    let is_it = |event: &Value| event["kind"] == kind && event.to_string().contains(words);
    wait_for(&format!("an event {kind:?} that says {words:?}"), || events(home).into_iter().find(is_it))
}
