//! One request on one connection.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::error::{Attempt, ClientError};
use crate::routes::Method;
use crate::{ApiError, ErrorCode};

/// The largest answer that is not a stream.
const MAX_ANSWER: usize = 256 << 20;

/// Connects, asks, and gives the response when its status is a success.
pub(super) async fn ask(
    socket: &Path,
    method: Method,
    path_and_query: &str,
    body: Bytes,
) -> Result<Response<Incoming>, Attempt> {
    let stream = UnixStream::connect(socket).await.map_err(|error| not_connected(socket, error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| Attempt::Broken(error.to_string()))?;
    // Ends when the response's body has been read or dropped.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(match method {
            Method::Get => hyper::Method::GET,
            Method::Post => hyper::Method::POST,
        })
        .uri(path_and_query)
        .header(hyper::header::HOST, "localhost")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Attempt::Final(ClientError::Protocol(error.to_string())))?;
    let response = sender.send_request(request).await.map_err(|error| {
        if error.is_parse() {
            Attempt::Final(ClientError::Protocol(error.to_string()))
        } else {
            Attempt::Broken(error.to_string())
        }
    })?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let body = read(response).await?;
    let error = serde_json::from_slice(&body)
        .unwrap_or_else(|_| ApiError::new(ErrorCode::Other, format!("{status}: {}", String::from_utf8_lossy(&body))));
    Err(match error.code {
        ErrorCode::Unavailable => Attempt::Broken(error.message),
        ErrorCode::UnknownRoute => Attempt::Final(ClientError::Incompatible { message: error.message }),
        _ => Attempt::Final(ClientError::Api(error)),
    })
}

/// The whole body.
pub(super) async fn read(response: Response<Incoming>) -> Result<Bytes, Attempt> {
    match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Attempt::Final(ClientError::Protocol(format!("it is larger than {MAX_ANSWER} bytes"))))
        }
        Err(error) => Err(Attempt::Broken(error.to_string())),
    }
}

fn not_connected(socket: &Path, error: io::Error) -> Attempt {
    let socket = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => Attempt::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {
            Attempt::Broken(error.to_string())
        }
        io::ErrorKind::PermissionDenied => Attempt::Final(ClientError::Denied { socket, source: error }),
        _ => Attempt::Final(ClientError::Socket { socket, source: error }),
    }
}
