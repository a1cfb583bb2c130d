//! Whether a process serves.

#[expect(dead_code, reason = "each test uses a part of it")]
mod support;

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use musher_process::Spawn;
use musher_process::stat::{tcp_addresses, tree_listens};
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

#[test]
fn the_addresses_of_a_tree_are_those_that_it_listens_on() -> std::io::Result<()> {
    let mut sockets = vec![TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("0.0.0.0:0")?];
    sockets.extend(TcpListener::bind("[::1]:0"));
    let mut expected: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    expected.sort();
    let connection = TcpStream::connect(expected[0])?;
    let mut spawn: Spawn = program("/bin/sleep", &["1000"]);
    let fds = sockets.into_iter().map(OwnedFd::from).chain([connection.into()]);
    spawn.fds = fds.zip(3..).collect();
    let running = Running::start(spawn);
    let mut found = tcp_addresses(&[running.child.pid]);
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(tcp_addresses(&[]), []);
    Ok(())
}
