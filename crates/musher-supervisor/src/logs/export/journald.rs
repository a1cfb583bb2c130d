//! Lines as datagrams in journald's native protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use musher_api::{LogLine, LogStream};
use tokio::net::UnixDatagram;

use super::Refused;

/// What is left of a line that does not fit into a datagram.
const CUT: usize = 32 << 10;

/// The way to journald.
#[derive(Debug)]
pub(super) struct Journald {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    /// How many lines of the batch have been sent.
    done: usize,
}

impl Journald {
    pub(super) fn new(path: PathBuf) -> Journald {
        Journald { path, socket: None, done: 0 }
    }

    /// Sends lines; after a failure the same lines have to follow, and those that were taken are not sent again.
    pub(super) async fn take(&mut self, lines: &[LogLine]) -> Result<(), Refused> {
        let sent = self.send(lines).await;
        if sent.is_ok() {
            self.done = 0;
        }
        sent.map_err(|error| {
            // journald was started anew, or is away.
            self.socket = None;
            Refused { why: format!("{}: {error}", self.path.display()), again: Some(None), lost: 0 }
        })
    }

    async fn send(&mut self, lines: &[LogLine]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(&self.path)?;
                socket
            }
        };
        for line in lines.iter().skip(self.done) {
            match socket.send(&datagram(line, &line.line)).await {
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                    let end = (0..=CUT.min(line.line.len())).rev().find(|end| line.line.is_char_boundary(*end));
                    socket.send(&datagram(line, &line.line[..end.unwrap_or(0)])).await?;
                }
                sent => drop(sent?),
            }
            self.done += 1;
        }
        self.socket = Some(socket);
        Ok(())
    }
}

fn datagram(line: &LogLine, message: &str) -> Vec<u8> {
    // What docker and systemd itself give to the two outputs: info and err.
    let (priority, stream) = match line.stream {
        LogStream::Out => (6, "out"),
        LogStream::Err => (3, "err"),
    };
    let LogLine { app, slot, run, pid, .. } = line;
    let mut fields = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        fields,
        "PRIORITY={priority}\nSYSLOG_IDENTIFIER={app}\nSYSLOG_PID={pid}\nMUSHER_APP={app}\nMUSHER_WORKER={slot}\n\
         MUSHER_RUN={run}\nMUSHER_STREAM={stream}\nMUSHER_TIME_MS={}\n",
        line.time_ms
    );
    // With its length in front a value may hold anything.
    let mut bytes = fields.into_bytes();
    bytes.extend_from_slice(b"MESSAGE\n");
    bytes.extend_from_slice(&(message.len() as u64).to_le_bytes());
    bytes.extend_from_slice(message.as_bytes());
    bytes.push(b'\n');
    bytes
}
