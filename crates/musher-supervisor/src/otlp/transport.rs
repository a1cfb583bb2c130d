//! One connection to a receiver, kept open between requests, and one try at a time.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Endpoint;

/// How much of an answer is read: why something was refused.
const ANSWER: usize = 64 << 10;
/// How much of that is told.
const TOLD: usize = 300;

/// The way to one endpoint. It needs a runtime with time and the network.
#[derive(Debug)]
pub struct Transport {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failed {
    /// In words, without secrets.
    pub why: String,
    /// Whether the same may work later. If not, it is to be let go.
    pub again: bool,
    /// When the receiver wants to be asked again.
    pub after: Option<Duration>,
}

impl Transport {
    /// The way to `endpoint`; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When TLS has nobody to trust.
    pub fn new(endpoint: Endpoint) -> Result<Transport, String> {
        let tls = if endpoint.secure { Some(trusting(&endpoint)?) } else { None };
        Ok(Transport { endpoint, tls, connection: None })
    }

    /// Sends one body of JSON.
    ///
    /// # Errors
    ///
    /// Why not, and whether to try again.
    pub async fn post(&mut self, body: Bytes) -> Result<(), Failed> {
        let answered = match tokio::time::timeout(self.endpoint.timeout, self.try_post(body)).await {
            Ok(answered) => answered,
            Err(_) => Err(later(format!("no answer within {:?}", self.endpoint.timeout))),
        };
        if answered.is_err() {
            self.connection = None;
        }
        answered.map_err(|failed| Failed { why: format!("{}: {}", self.endpoint, failed.why), ..failed })
    }

    async fn try_post(&mut self, body: Bytes) -> Result<(), Failed> {
        let request = self.request(body)?;
        // A receiver may close a connection that nobody has used for a while: then another one is made.
        let open = match self.connection.take() {
            Some(mut open) => open.ready().await.ok().map(|()| open),
            None => None,
        };
        let mut connection = match open {
            Some(open) => open,
            None => self.connect().await?,
        };
        let answer = connection.send_request(request).await.map_err(|error| later(error.to_string()))?;
        let status = answer.status();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let words = Limited::new(answer.into_body(), ANSWER).collect().await;
        if status.is_success() {
            if words.is_ok() {
                self.connection = Some(connection);
            }
            return Ok(());
        }
        let words = words.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        let words: String = words.chars().filter(|c| !c.is_control()).take(TOLD).collect();
        // The four of the specification.
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        let why = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
        Err(Failed { why, again, after: after.map(Duration::from_secs) })
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
        let Endpoint { host, port, path, headers, .. } = &self.endpoint;
        let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::post(path.as_str())
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("musher/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let refused = |error: hyper::http::Error| Failed { why: error.to_string(), again: false, after: None };
        request.body(Full::new(body)).map_err(refused)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failed> {
        let failed = |error: std::io::Error| later(format!("cannot connect: {error}"));
        let Endpoint { host, port, .. } = &self.endpoint;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        let Some(tls) = &self.tls else { return spoken(TokioIo::new(stream)).await };
        let name = ServerName::try_from(host.clone()).map_err(|error| later(error.to_string()))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(failed)?;
        spoken(TokioIo::new(stream)).await
    }
}

async fn spoken<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failed>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(stream).await.map_err(|error| later(error.to_string()))?;
    // It ends with its sender, or with the receiver's.
    tokio::spawn(connection);
    Ok(sender)
}

fn later(why: String) -> Failed {
    Failed { why, again: true, after: None }
}

fn trusting(endpoint: &Endpoint) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match &endpoint.authorities {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => {
            let failed = |error| format!("{}: {error}", path.display());
            CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?
        }
    };
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err("there are no certificates to trust: name some by OTEL_EXPORTER_OTLP_CERTIFICATE".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::Signal;
    use super::*;

    /// Answers each request on its connections with the next of `answers`, and gives back what it got.
    async fn receiver(answers: &'static [&'static str]) -> (Transport, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut got, mut answers) = (Vec::new(), answers.iter().peekable());
            while answers.peek().is_some() {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = Vec::new();
                while let Ok(count) = stream.read_buf(&mut seen).await {
                    if count == 0 {
                        break;
                    }
                    if !seen.ends_with(b"}") {
                        continue;
                    }
                    got.push(String::from_utf8(std::mem::take(&mut seen)).unwrap());
                    let answer = answers.next().unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if answer.contains("close") || answers.peek().is_none() {
                        break;
                    }
                }
            }
            got
        });
        (Transport::new(Endpoint::of(&base, Signal::Logs).unwrap()).unwrap(), served)
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    const LAST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 7\r\nconnection: close\r\n\r\n";
    const WRONG: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\nconnection: close\r\n\r\nno body";

    #[tokio::test]
    async fn bodies_arrive_over_connections_that_may_end() {
        let (mut transport, served) = receiver(&[FINE, LAST, FINE]).await;
        for n in 0..3 {
            transport.post(format!("{{\"n\":{n}}}").into()).await.unwrap();
        }
        let got = served.await.unwrap();
        assert!(got[0].starts_with("POST /v1/logs HTTP/1.1\r\n"), "{}", got[0]);
        assert!(got[0].contains("content-type: application/json\r\n"), "{}", got[0]);
        assert!(got.iter().enumerate().all(|(n, got)| got.ends_with(&format!("{{\"n\":{n}}}"))), "{got:?}");
    }

    #[tokio::test]
    async fn a_failure_says_whether_to_come_again() {
        let (mut transport, served) = receiver(&[BUSY, WRONG]).await;
        let busy = transport.post("{}".into()).await.unwrap_err();
        assert_eq!((busy.again, busy.after), (true, Some(Duration::from_secs(7))), "{busy}");
        let wrong = transport.post("{}".into()).await.unwrap_err();
        assert!(!wrong.again && wrong.why.ends_with("400 Bad Request: no body"), "{wrong}");
        served.await.unwrap();
        let gone = transport.post("{}".into()).await.unwrap_err();
        assert!(gone.again && gone.why.contains("cannot connect"), "{gone}");
    }
}
