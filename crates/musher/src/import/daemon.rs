//! PM2's daemon, spoken to by its own protocol: frames of AMP on a unix socket.
//!
//! A frame is a byte (version 1 and the number of arguments), then each argument with its length before it, 32 bits, big end
//! first. `j:` stands before JSON, `s:` before text. A call is `{type, method, args}` and an id, its answer `{args}` or
//! `{error}` and the same id.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take: a stop waits for the process.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest argument that is read.
const MAX_ARGUMENT: u32 = 64 << 20;
const ID: &str = "s:1:1";

/// A connection to a daemon that runs.
pub(crate) struct Daemon {
    stream: UnixStream,
}

impl Daemon {
    /// The daemon of this home, if one answers.
    pub(super) fn connect(home: &Path) -> Option<Daemon> {
        let stream = UnixStream::connect(home.join("rpc.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Daemon { stream })
    }

    /// The records of all processes, as `pm2 jlist` prints them.
    pub(super) fn list(&mut self) -> Result<Vec<Value>, String> {
        match self.call("getMonitorData", json!({}))? {
            Value::Array(records) => Ok(records),
            _ => Err("PM2 answers something that is no list".into()),
        }
    }

    /// Stops a process and keeps it in the list there.
    pub(crate) fn stop(&mut self, id: u64) -> Result<(), String> {
        self.call("stopProcessId", id.into()).map(drop)
    }

    /// Starts one that was stopped.
    pub(crate) fn start(&mut self, id: u64) -> Result<(), String> {
        self.call("startProcessId", id.into()).map(drop)
    }

    fn call(&mut self, method: &str, argument: Value) -> Result<Value, String> {
        let asked = json!({ "type": "call", "method": method, "args": [argument] });
        let mut frame = vec![1 << 4 | 2];
        for part in [format!("j:{asked}"), ID.to_owned()] {
            let length = u32::try_from(part.len()).map_err(|_| "the question is too long".to_owned())?;
            frame.extend(length.to_be_bytes());
            frame.extend(part.into_bytes());
        }
        let broken = |error: std::io::Error| format!("PM2 does not answer {method}: {error}");
        self.stream.write_all(&frame).map_err(broken)?;
        let answer = self.answer().map_err(broken)?;
        let mut answer: Value =
            serde_json::from_slice(&answer).map_err(|error| format!("PM2 answers no JSON: {error}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(format!("PM2 refuses {method}: {error}")),
            None => Ok(answer["args"].get_mut(0).map(Value::take).unwrap_or_default()),
        }
    }

    /// The JSON of the next frame.
    fn answer(&mut self) -> std::io::Result<Vec<u8>> {
        let mut head = [0];
        self.stream.read_exact(&mut head)?;
        let mut json = Vec::new();
        for _ in 0..head[0] & 15 {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length > MAX_ARGUMENT {
                return Err(std::io::Error::other("the answer is too long"));
            }
            let mut part = Vec::new();
            (&self.stream).take(length.into()).read_to_end(&mut part)?;
            if let Some(rest) = part.strip_prefix(b"j:") {
                json = rest.to_vec();
            }
        }
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::Daemon;

    #[test]
    fn calls_and_answers_are_frames() {
        let home = tempfile::tempdir().unwrap();
        assert!(Daemon::connect(home.path()).is_none());
        let listener = UnixListener::bind(home.path().join("rpc.sock")).unwrap();
        let frame = |parts: &[&str]| {
            let mut frame = vec![0x10 | u8::try_from(parts.len()).unwrap()];
            for part in parts {
                frame.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
                frame.extend(part.bytes());
            }
            frame
        };
        let list = frame(&[r#"j:{"type":"call","method":"getMonitorData","args":[{}]}"#, "s:1:1"]).len();
        let stop = frame(&[r#"j:{"type":"call","method":"stopProcessId","args":[7]}"#, "s:1:1"]).len();
        let answers = [
            (list, frame(&[r#"j:{"args":[[{"pid":1}]]}"#, "s:1:1"])),
            (stop, frame(&[r#"j:{"error":"7 : id unknown","stack":""}"#, "s:1:1"])),
        ];
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for (asked, answer) in answers {
                stream.read_exact(&mut vec![0; asked]).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        let mut daemon = Daemon::connect(home.path()).unwrap();
        assert_eq!(daemon.list().unwrap()[0]["pid"], 1);
        assert_eq!(daemon.stop(7).unwrap_err(), "PM2 refuses stopProcessId: 7 : id unknown");
        server.join().unwrap();
        assert!(daemon.start(7).is_err(), "it is gone");
    }
}
