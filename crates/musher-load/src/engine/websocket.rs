//! WebSocket on the event loop: the handshake is a request of ours, tungstenite makes and reads the frames in memory.

use std::io::{self, Read, Write};

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::http::{Answer, base64_of};
use crate::random::Random;

/// The longest message that is taken.
const LONGEST: usize = 16 << 20;

/// What tungstenite takes for a socket.
#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.taken..];
        if rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = rest.len().min(buffer.len());
        buffer[..size].copy_from_slice(&rest[..size]);
        self.taken += size;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
        Ok(size)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A WebSocket connection.
#[derive(Debug)]
pub(super) struct Messages {
    key: String,
    socket: WebSocket<Pipe>,
    awaiting: bool,
}

impl Messages {
    pub(super) fn new(random: &mut Random) -> Messages {
        let key = [random.next().to_ne_bytes(), random.next().to_ne_bytes()].concat();
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let config = config.read_buffer_size(4096).write_buffer_size(0);
        Messages {
            key: base64_of(&key),
            socket: WebSocket::from_raw_socket(Pipe::default(), Role::Client, Some(config)),
            awaiting: false,
        }
    }

    /// The lines that ask for the upgrade.
    pub(super) fn upgrade(&self, head: &str) -> Vec<u8> {
        let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let kept: Vec<&str> = kept.collect();
        format!(
            "{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
            kept.join("\r\n"),
            self.key
        )
        .into_bytes()
    }

    /// Whether the answer agrees.
    pub(super) fn agrees(&self, answer: &Answer) -> Result<(), String> {
        if answer.status != 101 {
            return Err(format!("the server answered {} instead of upgrading to WebSocket", answer.status));
        }
        let shown = answer.extras.as_deref().map(|extras| String::from_utf8_lossy(&extras.shown)).unwrap_or_default();
        let accept = shown.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-accept").then(|| value.trim().to_owned())
        });
        if accept.as_deref() == Some(derive_accept_key(self.key.as_bytes()).as_str()) {
            Ok(())
        } else {
            Err("the server's Sec-WebSocket-Accept is not the answer to our key".into())
        }
    }

    /// Sends a message; bytes that are no text go as a binary one.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), String> {
        let message = match std::str::from_utf8(message) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(message.to_vec()),
        };
        self.awaiting = true;
        self.socket.send(message).map_err(|error| error.to_string())
    }

    /// Bytes have come.
    pub(super) fn input(&mut self, bytes: &[u8]) {
        self.socket.get_mut().input.extend_from_slice(bytes);
    }

    /// What is to be sent.
    pub(super) fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.socket.get_mut().output)
    }

    /// The next message that answers one of ours; its bytes. Pings are answered on the way.
    pub(super) fn next(&mut self, expect: Option<&str>) -> Result<Option<u64>, Unexpected> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    if let Some(size) = self.arrived(text.as_bytes(), expect)? {
                        return Ok(Some(size));
                    }
                }
                Ok(Message::Binary(bytes)) => {
                    if let Some(size) = self.arrived(&bytes, expect)? {
                        return Ok(Some(size));
                    }
                }
                Ok(Message::Close(frame)) => {
                    let why = frame.map_or(String::new(), |frame| format!(" with {}", u16::from(frame.code)));
                    return Err(Unexpected::Closed(format!("the server closed the WebSocket{why}")));
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Unexpected::Closed(error.to_string())),
            }
        }
    }

    fn arrived(&mut self, bytes: &[u8], expect: Option<&str>) -> Result<Option<u64>, Unexpected> {
        // A server may also talk by itself; that answers nobody.
        if !std::mem::take(&mut self.awaiting) {
            return Ok(None);
        }
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        match expect {
            Some(text) if !contains(bytes, text.as_bytes()) => Err(Unexpected::Message(shown())),
            _ => Ok(Some(bytes.len() as u64)),
        }
    }
}

/// What came instead of the message that was awaited.
#[derive(Debug)]
pub(super) enum Unexpected {
    /// Another one; its begin.
    Message(String),
    /// The end.
    Closed(String),
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}
