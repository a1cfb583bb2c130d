//! WebSocket clients (RFC 6455): each message is a request that wants its answer.
//!
//! A server that goes away says so by a close frame with code 1001. The client then opens another connection, and sends
//! again what was not answered; the request's latency goes on counting. Any other end is a loss, also between messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::exchange::{Answer, Connection};
use super::{Outcome, Random, Sample, Shared};

/// The RFC's own example, so that the answer to it is known without SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// Close code: the server is about to end.
const GOING_AWAY: u16 = 1001;
/// A server that sends a client away this often for one message does not serve.
const MAX_MOVES: u32 = 5;

struct WebSocket {
    connection: Connection,
}

/// What a server says.
#[derive(Debug)]
enum Heard {
    Text(String),
    GoingAway,
}

impl WebSocket {
    async fn say(&mut self, id: u64) -> Result<Heard, Outcome> {
        self.send(TEXT, id.to_string().as_bytes()).await?;
        self.hear().await
    }

    async fn shake_hands(&mut self, path: &str) -> Result<(), Outcome> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        self.connection.write(request.as_bytes()).await?;
        let head = self.connection.head().await?;
        let accepted = head.starts_with("http/1.1 101 ") && head.contains(ACCEPT);
        if accepted { Ok(()) } else { Err(Outcome::Wrong(format!("no handshake: {head:?}"))) }
    }

    async fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), Outcome> {
        // Clients have to mask; a mask of zeros leaves the payload as it is. Everything sent here is short.
        let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
        let length = length.ok_or_else(|| Outcome::Failed("too long for a control frame".into()))?;
        let mut frame = vec![0x80 | kind, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.connection.write(&frame).await
    }

    /// The next text or end. May be dropped and called again: what was read stays in the buffer.
    async fn hear(&mut self) -> Result<Heard, Outcome> {
        loop {
            match frame(&mut self.connection.buffer)? {
                None => self.connection.fill().await?,
                Some((TEXT, payload)) => return Ok(Heard::Text(String::from_utf8_lossy(&payload).into_owned())),
                Some((PING, payload)) => self.send(PONG, &payload).await?,
                Some((PONG, _)) => {}
                Some((CLOSE, payload)) => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    // The answer to the close; the server may be gone already.
                    let _ = self.send(CLOSE, &payload[..payload.len().min(2)]).await;
                    return match code {
                        Some(GOING_AWAY) => Ok(Heard::GoingAway),
                        code => Err(Outcome::Wrong(format!("closed with code {code:?}"))),
                    };
                }
                Some((kind, _)) => return Err(Outcome::Wrong(format!("a frame of kind {kind}"))),
            }
        }
    }
}

/// Takes a whole frame out of `buffer`.
fn frame(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, Outcome> {
    let &[first, second, ..] = buffer.as_slice() else { return Ok(None) };
    if first & 0x80 == 0 || second & 0x80 != 0 {
        return Err(Outcome::Wrong("a fragmented or masked frame".into()));
    }
    let (head, length) = match second {
        126 => match buffer.get(2..4) {
            Some(&[high, low]) => (4, usize::from(u16::from_be_bytes([high, low]))),
            _ => return Ok(None),
        },
        127 => return Err(Outcome::Wrong("a frame of more than 64 KiB".into())),
        short => (2, usize::from(short)),
    };
    if buffer.len() < head + length {
        return Ok(None);
    }
    let payload = buffer[head..head + length].to_vec();
    buffer.drain(..head + length);
    Ok(Some((first & 0x0F, payload)))
}

/// A client that keeps its WebSocket for as long as the server does.
pub(super) async fn client(shared: Arc<Shared>, think: Duration, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut kept: Option<WebSocket> = None;
    shared.pause_until(Instant::now() + random.exponential(think)).await;
    while !shared.stopping() {
        kept = message(&shared, kept).await;
        let pause = shared.pause_until(Instant::now() + random.exponential(think));
        let Some(socket) = &mut kept else {
            pause.await;
            continue;
        };
        let (local_port, opened) = (socket.connection.local_port, Some(socket.connection.opened));
        let ended = tokio::select! {
            () = pause => continue,
            heard = socket.hear() => heard,
        };
        kept = None;
        let outcome = match ended {
            Ok(Heard::GoingAway) => {
                shared.idle_closed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Ok(Heard::Text(text)) => Outcome::Wrong(format!("nobody asked for {text:?}")),
            Err(outcome) => outcome,
        };
        let planned = Instant::now();
        shared.record(Sample { id: shared.next_id(), planned, latency: Duration::ZERO, local_port, opened, outcome });
    }
}

/// Sends one message and waits for its answer, on another connection when the server goes away.
async fn message(shared: &Shared, mut kept: Option<WebSocket>) -> Option<WebSocket> {
    let (id, planned) = (shared.next_id(), Instant::now());
    let (mut local_port, mut opened) = (None, None);
    let exchange = async {
        for _ in 0..MAX_MOVES {
            let (mut socket, fresh) = match kept.take() {
                Some(socket) => (socket, false),
                None => (WebSocket { connection: Connection::open(&shared.plan.target).await? }, true),
            };
            (local_port, opened) = (socket.connection.local_port, Some(socket.connection.opened));
            if fresh {
                socket.shake_hands(&shared.plan.path).await?;
            }
            match socket.say(id).await? {
                Heard::Text(text) => return Ok((socket, Answer::to(id, &text, true)?)),
                Heard::GoingAway => {
                    shared.idle_closed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Err(Outcome::Wrong(format!("sent away {MAX_MOVES} times")))
    };
    let (socket, outcome) = match tokio::time::timeout(shared.plan.timeout, exchange).await {
        Ok(Ok((socket, answer))) => (Some(socket), answer.outcome()),
        Ok(Err(outcome)) => (None, outcome),
        Err(_) => (None, Outcome::Timeout),
    };
    shared.record(Sample { id, planned, latency: planned.elapsed(), local_port, opened, outcome });
    socket
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::load::{Load, Plan, Report, Shape};

    /// What becomes of a client whose first message is met by `first`; all later ones are answered.
    fn met_by(first: fn(&mut TcpStream)) -> Report {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut first = Some(first);
            // Ends with the client.
            while let Ok((mut stream, _)) = listener.accept() {
                let mut bytes = [0; 4096];
                let _ = stream.read(&mut bytes).unwrap();
                let accepted =
                    "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                stream.write_all(accepted.as_bytes()).unwrap();
                while let Ok(7..) = stream.read(&mut bytes)
                    && bytes[0] == 0x81
                {
                    if let Some(first) = first.take() {
                        first(&mut stream);
                        break;
                    }
                    let id = String::from_utf8_lossy(&bytes[6..6 + usize::from(bytes[1] & 0x7F)]).into_owned();
                    let text = format!("id={id} pid=1\n");
                    let length = u8::try_from(text.len()).unwrap();
                    stream.write_all(&[&[0x81, length], text.as_bytes()].concat()).unwrap();
                }
            }
        });
        let load = Load::start(Plan::new(port, Shape::WebSocket { connections: 1, think: Duration::from_millis(1) }));
        assert!(load.wait_answered(3, Duration::from_secs(10)));
        load.finish()
    }

    #[test]
    fn a_message_to_a_server_that_goes_away_is_sent_again_and_is_no_loss() {
        let report = met_by(|stream| stream.write_all(&[0x88, 2, 0x03, 0xE9]).unwrap());
        assert!(report.lost().is_empty() && report.idle_closed == 1, "{report}");
    }

    #[test]
    fn any_other_end_is_a_loss() {
        let lost = |report: Report| report.lost().iter().map(|sample| sample.outcome.clone()).collect::<Vec<_>>();
        assert_eq!(lost(met_by(|_| ())), [Outcome::Eof]);
        assert!(matches!(
            lost(met_by(|stream| stream.write_all(&[0x88, 2, 3, 0xE8]).unwrap()))[..],
            [Outcome::Wrong(_)]
        ));
    }

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        let mut buffer = vec![0x81, 3, b'a', b'b'];
        assert_eq!(frame(&mut buffer), Ok(None));
        buffer.extend([b'c', 0x88, 2, 3, 0xE9]);
        assert_eq!(frame(&mut buffer), Ok(Some((TEXT, b"abc".to_vec()))));
        assert_eq!(frame(&mut buffer), Ok(Some((CLOSE, GOING_AWAY.to_be_bytes().to_vec()))));
        assert_eq!(frame(&mut buffer), Ok(None));
        let mut long = vec![0x81, 126, 1, 0];
        long.extend([b'x'; 256]);
        assert_eq!(frame(&mut long), Ok(Some((TEXT, vec![b'x'; 256]))));
        assert!(frame(&mut vec![0x01, 0]).is_err());
    }
}
