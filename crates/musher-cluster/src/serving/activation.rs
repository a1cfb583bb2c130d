//! Sockets that this process was started with (sd_listen_fds(3)): by systemd, musher, or anybody who does the same.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use musher_process::inherit::take_inherited;
use musher_process::net::{self, Kind, unix};

use super::environment::{Environment, FIRST_SOCKET};

/// A socket, until somebody wants it.
#[derive(Debug)]
struct Given {
    name: String,
    socket: Option<OwnedFd>,
}

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// The one bound to this address, else the first of TCP.
    Tcp(std::net::SocketAddr),
    /// The one bound to this address, else the first of UDP.
    Udp(std::net::SocketAddr),
    /// The one with this path, else the first unix socket.
    Unix(&'a std::path::Path),
    /// The one at this descriptor.
    Fd(i32),
}

fn given(environment: &Environment) -> &'static Mutex<Vec<Given>> {
    static GIVEN: OnceLock<Mutex<Vec<Given>>> = OnceLock::new();
    GIVEN.get_or_init(|| {
        let take = |(number, name): (i32, &String)| match take_inherited(number) {
            Ok(socket) => Some(Given { name: name.clone(), socket: Some(socket) }),
            Err(error) => {
                tracing::warn!(number, %error, "LISTEN_FDS names a descriptor that is not there");
                None
            }
        };
        Mutex::new((FIRST_SOCKET..).zip(&environment.sockets).filter_map(take).collect())
    })
}

/// Takes one that nobody has taken.
pub(crate) fn take(environment: &Environment, which: Which<'_>) -> Option<OwnedFd> {
    if environment.sockets.is_empty() {
        return None;
    }
    let mut all = given(environment).lock().unwrap_or_else(PoisonError::into_inner);
    let at = match which {
        Which::Fd(number) => usize::try_from(number - FIRST_SOCKET).ok()?,
        Which::Tcp(address) => {
            find(&all, Kind::Tcp, |socket| net::local_address(socket).is_ok_and(|at| at == address))?
        }
        Which::Udp(address) => {
            find(&all, Kind::Udp, |socket| net::local_address(socket).is_ok_and(|at| at == address))?
        }
        Which::Unix(path) => find(&all, Kind::Unix, |socket| unix::path_of(socket).is_some_and(|bound| bound == path))?,
    };
    let found = all.get_mut(at)?;
    tracing::debug!(name = found.name, "a socket that was given is used");
    found.socket.take()
}

/// The first that matches, else the first of this kind.
fn find(all: &[Given], kind: Kind, matches: impl Fn(&OwnedFd) -> bool) -> Option<usize> {
    let of_kind = || {
        let sockets = all.iter().enumerate().filter_map(|(at, given)| Some((at, given.socket.as_ref()?)));
        sockets.filter(|(_, socket)| net::kind(socket).is_ok_and(|found| found == kind))
    };
    of_kind().find(|(_, socket)| matches(socket)).or_else(|| of_kind().next()).map(|(at, _)| at)
}

/// Copies of all that nobody has taken, in order: a primary gives them to its workers.
pub(crate) fn copies(environment: &Environment) -> io::Result<Vec<OwnedFd>> {
    if environment.sockets.is_empty() {
        return Ok(Vec::new());
    }
    let all = given(environment).lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().filter_map(|given| given.socket.as_ref()).map(OwnedFd::try_clone).collect()
}
