//! Whether a process serves.

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use musher_process::Spawn;
use musher_process::stat::tree_listens;
use support::{Running, program};

/// Whether a process that has only this socket listens.
fn listens(socket: OwnedFd) -> bool {
    let mut spawn: Spawn = program("/bin/sleep", &["1000"]);
    spawn.fds = vec![(socket, 3)];
    let running = Running::start(spawn);
    tree_listens(&[running.child.pid])
}

#[test]
fn only_a_listening_socket_counts() -> std::io::Result<()> {
    let directory = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let connection = TcpStream::connect(listener.local_addr()?)?;
    assert!(listens(listener.into()));
    assert!(!listens(connection.into()));
    assert!(!listens(UdpSocket::bind("127.0.0.1:0")?.into()));
    assert!(!listens(support::null()));
    assert!(listens(UnixListener::bind(directory.path().join("socket"))?.into()));
    assert!(!listens(std::os::unix::net::UnixStream::pair()?.0.into()));
    if let Ok(listener) = TcpListener::bind("[::1]:0") {
        assert!(listens(listener.into()));
    }
    assert!(!tree_listens(&[]));
    Ok(())
}
