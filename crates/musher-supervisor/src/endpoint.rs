//! Small HTTP endpoints for this machine: on a loopback address or a unix socket, with bounds.
//!
//! It owns the socket and who may ask: connections and times are bounded, and behind a loopback address only requests
//! that name it by an address are answered, so that no page in a browser reads what is here by a name of its own.

mod stalled;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::stalled::Unstalled;
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use musher_api::MAX_PATH;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections may be open.
const CONNECTIONS: usize = 32;
/// How long a peer may take to send the head of a request; also how long an idle connection is kept. Short, as few may be
/// open: whoever scrapes less often connects anew.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take none of what it asked for.
const TAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when the process has no descriptor left for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Address and port.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Place {
    /// `9616`, `127.0.0.1:9616`, `localhost:9616`, `[::1]:9616`, `/run/musher.sock` or `unix:///run/musher.sock`.
    pub fn parse(text: &str) -> Option<Place> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return (path.len() <= MAX_PATH && !path.contains('\0')).then(|| Place::Unix(path.into()));
        }
        if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
            return Some(Place::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        let text = text.replacen("localhost:", "127.0.0.1:", 1);
        text.parse().ok().map(Place::Tcp)
    }

    /// Whether only this machine reaches it.
    pub fn is_private(&self) -> bool {
        match self {
            Place::Tcp(address) => address.ip().is_loopback(),
            Place::Unix(_) => true,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp(address) => address.fmt(f),
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Whether a Host header names this machine by an address or as localhost, and not by a name that a page in a browser
/// may have let point here.
pub fn names_an_address(host: &str) -> bool {
    let host = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |x| x.0);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

/// Opens the socket, a unix socket for its owner only. Gives also where it is: the port may be the kernel's choice.
///
/// # Errors
///
/// When the address is taken, or cannot be had.
pub fn open(place: &Place) -> io::Result<(OwnedFd, Place)> {
    match place {
        Place::Tcp(address) => {
            let listener = StdTcpListener::bind(address)?;
            let place = Place::Tcp(listener.local_addr()?);
            Ok((listener.into(), place))
        }
        Place::Unix(path) => {
            remove_leftover(path)?;
            let listener = StdUnixListener::bind(path)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
            Ok((listener.into(), place.clone()))
        }
    }
}

/// Whether this socket is the one of that place.
pub(crate) fn listens_at(socket: &OwnedFd, place: &Place) -> bool {
    let Ok(address) = rustix::net::getsockname(socket) else { return false };
    match place {
        Place::Tcp(wanted) => SocketAddr::try_from(address).is_ok_and(|address| address == *wanted),
        Place::Unix(path) => rustix::net::SocketAddrUnix::try_from(address)
            .is_ok_and(|address| address.path_bytes() == Some(path.as_os_str().as_encoded_bytes())),
    }
}

/// Removes a socket that nobody listens on.
fn remove_leftover(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if is_listened_on(path)? => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path),
    }
}

/// Whether somebody listens, without waiting for one who does not accept.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // EAGAIN: its queue is full.
    Ok(matches!(connect(&client, &SocketAddrUnix::new(path)?), Ok(()) | Err(rustix::io::Errno::AGAIN)))
}

/// Serves for as long as the task lives.
///
/// # Errors
///
/// When the socket is none that listens. A failing connection is that connection's matter.
pub async fn serve(socket: OwnedFd, place: &Place, app: Router) -> io::Result<()> {
    let only_here = matches!(place, Place::Tcp(_)) && place.is_private();
    let app = if only_here { app.layer(middleware::from_fn(refuse_foreign_names)) } else { app };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    match place {
        Place::Tcp(_) => {
            let listener = StdTcpListener::from(socket);
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(connection(stream, app.clone(), place))),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }
        Place::Unix(_) => {
            let listener = StdUnixListener::from(socket);
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(connection(stream, app.clone(), place))),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }
    }
}

async fn connection<S>(stream: S, app: Router, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(Unstalled::new(stream, TAKE_TIMEOUT)), TowerToHyperService::new(app))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection failed");
    }
}

/// A page in a browser of this machine must not read what is here by a name of its own that points here.
async fn refuse_foreign_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_some_and(|host| !names_an_address(host)) {
        return (StatusCode::FORBIDDEN, "ask by address: http://127.0.0.1:PORT/\n").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::{Place, listens_at, names_an_address, open};

    #[test]
    fn a_socket_is_known_by_where_it_listens() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("metrics.sock");
        let tcp = open(&Place::parse("127.0.0.1:0").unwrap()).unwrap();
        let unix = open(&Place::Unix(path)).unwrap();
        for (socket, place) in [&tcp, &unix] {
            assert!(listens_at(socket, place), "{place}");
        }
        assert!(!listens_at(&tcp.0, &unix.1) && !listens_at(&unix.0, &tcp.1));
        assert!(!listens_at(&unix.0, &Place::Unix(home.path().join("other.sock"))));
        assert!(!listens_at(&tcp.0, &Place::parse("127.0.0.1:1").unwrap()));
    }

    #[test]
    fn a_name_that_may_point_anywhere_is_not_this_machine() {
        for here in ["127.0.0.1:9616", "localhost", "LOCALHOST:1", "[::1]:9615", "[::1]", "192.0.2.7:80"] {
            assert!(names_an_address(here), "{here}");
        }
        for elsewhere in ["evil.example:9616", "localhost.evil.example", "127.0.0.1.evil.example:1", ""] {
            assert!(!names_an_address(elsewhere), "{elsewhere}");
        }
    }
}
