//! HTTP/2 on the event loop: h2 reads and writes memory, and is polled when bytes have come or a request is to go. It has
//! no runtime and no waker: whatever happens, happens in [`Streams::drive`].

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Connection, ResponseFuture, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::prepared::Ready;
use crate::http::Answer;

/// Flow control's windows: large, so that the server is never waited for on our behalf.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

#[derive(Debug, Default)]
struct Wires {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    ended: bool,
}

/// What h2 takes for a socket.
#[derive(Clone, Debug, Default)]
struct Pipe {
    wires: Arc<Mutex<Wires>>,
}

impl Pipe {
    fn with<T>(&self, act: impl FnOnce(&mut Wires) -> T) -> T {
        act(&mut self.wires.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|wires| {
            let rest = &wires.input[wires.taken..];
            if rest.is_empty() {
                return if wires.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let size = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..size]);
            wires.taken += size;
            if wires.taken == wires.input.len() {
                wires.input.clear();
                wires.taken = 0;
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|wires| wires.output.extend_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A request under way.
#[derive(Debug)]
struct Stream {
    user: usize,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    answer: Answer,
}

/// A connection with its requests.
pub(super) struct Streams {
    pipe: Pipe,
    connection: Connection<Pipe, Bytes>,
    sender: SendRequest<Bytes>,
    /// Users whose requests wait for the server's limit.
    queue: Vec<(usize, http::Request<()>, Bytes)>,
    streams: Vec<Stream>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

/// What became of a user's request.
pub(super) type Ended = (usize, Result<Answer, String>);

impl Streams {
    /// A new connection: the preface is ready to be sent.
    pub(super) fn new() -> Result<Streams, String> {
        let pipe = Pipe::default();
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .max_header_list_size(64 * 1024);
        let mut handshake = pin!(builder.handshake::<_, Bytes>(pipe.clone()));
        match handshake.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok((sender, connection))) => {
                Ok(Streams { pipe, connection, sender, queue: Vec::new(), streams: Vec::new() })
            }
            Poll::Ready(Err(error)) => Err(error.to_string()),
            Poll::Pending => Err("the HTTP/2 preface could not be written".into()),
        }
    }

    /// Gives a user's request on its way.
    pub(super) fn ask(&mut self, user: usize, request: &Ready, headers: &str) -> Result<(), String> {
        let head = http_head(request, headers)?;
        self.queue.push((user, head, Bytes::copy_from_slice(&request.body)));
        Ok(())
    }

    /// A user does not wait any more.
    pub(super) fn forget(&mut self, user: usize) {
        self.queue.retain(|(other, _, _)| *other != user);
        self.streams.retain(|stream| stream.user != user);
    }

    /// Bytes have come.
    pub(super) fn input(&mut self, bytes: &[u8]) {
        self.pipe.with(|wires| wires.input.extend_from_slice(bytes));
    }

    /// The other side has ended the connection.
    pub(super) fn end(&mut self) {
        self.pipe.with(|wires| wires.ended = true);
    }

    /// What is to be sent.
    pub(super) fn output(&mut self) -> Vec<u8> {
        self.pipe.with(|wires| std::mem::take(&mut wires.output))
    }

    /// Lets everything happen that can. An error is the connection's: nobody gets an answer over it any more.
    pub(super) fn drive(&mut self, ended: &mut Vec<Ended>) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        self.send_queued(&mut context)?;
        let connection = Pin::new(&mut self.connection).poll(&mut context);
        let before = ended.len();
        self.streams.retain_mut(|stream| match stream.poll(&mut context) {
            Poll::Ready(result) => {
                ended.push((stream.user, result));
                false
            }
            Poll::Pending => true,
        });
        if let Poll::Ready(result) = connection {
            return Err(result
                .err()
                .map_or_else(|| "the server ended the connection".into(), |error| error.to_string()));
        }
        // What was released or reset in the meantime has to go out; and a stream that ended makes room for another.
        if ended.len() > before || !self.queue.is_empty() {
            self.send_queued(&mut context)?;
        }
        match Pin::new(&mut self.connection).poll(&mut context) {
            Poll::Ready(Err(error)) => Err(error.to_string()),
            Poll::Ready(Ok(())) => Err("the server ended the connection".into()),
            Poll::Pending => Ok(()),
        }
    }

    fn send_queued(&mut self, context: &mut Context<'_>) -> Result<(), String> {
        while !self.queue.is_empty() {
            match self.sender.poll_ready(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => return Err(error.to_string()),
                Poll::Ready(Ok(())) => {}
            }
            let (user, head, body) = self.queue.remove(0);
            let (response, mut sending) =
                self.sender.send_request(head, body.is_empty()).map_err(|error| error.to_string())?;
            if !body.is_empty() {
                sending.send_data(body, true).map_err(|error| error.to_string())?;
            }
            self.streams.push(Stream { user, response: Some(response), body: None, answer: Answer::default() });
        }
        Ok(())
    }
}

impl Stream {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, String>> {
        if let Some(response) = &mut self.response {
            match Pin::new(response).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                Poll::Ready(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    self.answer.status = head.status.as_u16();
                    self.answer.head_bytes =
                        head.headers.iter().map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64).sum();
                    self.response = None;
                    self.body = Some(body);
                }
            }
        }
        let Some(body) = &mut self.body else { return Poll::Pending };
        loop {
            match body.poll_data(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(std::mem::take(&mut self.answer))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.to_string())),
                Poll::Ready(Some(Ok(data))) => {
                    self.answer.body_bytes += data.len() as u64;
                    // Of a stream that is gone there is nothing to release.
                    let _ = body.flow_control().release_capacity(data.len());
                }
            }
        }
    }
}

/// The request's head as HTTP/2 has it: without what only concerns a connection (RFC 9113, 8.2.2).
fn http_head(request: &Ready, lines: &str) -> Result<http::Request<()>, String> {
    let mut words = lines.lines().next().unwrap_or_default().split(' ');
    let method = words.next().unwrap_or("GET");
    let mut head = http::Request::builder().method(method).uri(request.url.to_string()).version(http::Version::HTTP_2);
    for line in lines.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "host" | "connection" | "keep-alive" | "transfer-encoding" | "upgrade") {
            head = head.header(name, value.trim());
        }
    }
    head.body(()).map_err(|error| error.to_string())
}
