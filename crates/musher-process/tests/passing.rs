//! Descriptors over sockets, and memory files.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use musher_process::fdpass::{MAX_FDS, recv_with_fds, send_with_fds};
use musher_process::memfd::{memfd_with, read_memfd};
use proptest::prelude::*;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

fn pair(kind: SocketType) -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

#[test]
fn bytes_and_descriptors_arrive_in_order_and_close_on_exec() {
    for kind in [SocketType::STREAM, SocketType::SEQPACKET, SocketType::DGRAM] {
        let (a, b) = pair(kind).unwrap();
        let files: Vec<OwnedFd> = (0..MAX_FDS).map(|n| memfd_with("n", n.to_string().as_bytes()).unwrap()).collect();
        let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        for count in [0, 1, 2, 3, MAX_FDS] {
            assert_eq!(send_with_fds(&a, b"hello", &borrowed[..count]).unwrap(), 5);
            let mut buffer = [0; 16];
            let received = recv_with_fds(&b, &mut buffer, MAX_FDS, RecvFlags::empty()).unwrap();
            assert_eq!((received.bytes, &buffer[..5]), (5, b"hello".as_slice()));
            assert_eq!((received.fds.len(), received.bytes_cut, received.fds_cut), (count, false, false));
            for (n, fd) in received.fds.iter().enumerate() {
                assert_eq!(read_memfd(fd.as_fd(), 10).unwrap(), n.to_string().as_bytes());
                assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
            }
        }
        let too_many = vec![a.as_fd(); MAX_FDS + 1];
        assert!(send_with_fds(&a, b"x", &too_many).is_err());
    }
}

#[test]
fn descriptors_beyond_the_limit_are_closed() {
    for limit in 0..4 {
        let (a, b) = pair(SocketType::SEQPACKET).unwrap();
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        send_with_fds(&a, b"x", &[writing.as_fd(); 6]).unwrap();
        drop(writing);
        let received = recv_with_fds(&b, &mut [0; 4], limit, RecvFlags::empty()).unwrap();
        assert_eq!((received.fds.len(), received.fds_cut), (limit, true));
        drop(received);
        // The end comes only when no copy is left.
        assert_eq!(File::from(reading).read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn a_peeked_message_comes_again() {
    let (a, b) = pair(SocketType::STREAM).unwrap();
    let file = memfd_with("file", b"content").unwrap();
    send_with_fds(&a, b"message", &[file.as_fd()]).unwrap();
    for flags in [RecvFlags::PEEK, RecvFlags::PEEK, RecvFlags::empty()] {
        let mut buffer = [0; 32];
        let received = recv_with_fds(&b, &mut buffer, 4, flags).unwrap();
        assert_eq!(&buffer[..received.bytes], b"message");
        assert_eq!(read_memfd(received.fds[0].as_fd(), 100).unwrap(), b"content");
    }
    let error = recv_with_fds(&b, &mut [0; 1], 4, RecvFlags::DONTWAIT).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(a);
    assert_eq!(recv_with_fds(&b, &mut [0; 1], 4, RecvFlags::empty()).unwrap().bytes, 0);
}

#[test]
fn a_datagram_that_does_not_fit_is_told() {
    let (a, b) = pair(SocketType::SEQPACKET).unwrap();
    send_with_fds(&a, &[7; 100], &[]).unwrap();
    let received = recv_with_fds(&b, &mut [0; 10], 0, RecvFlags::empty()).unwrap();
    assert_eq!((received.bytes, received.bytes_cut), (10, true));
}

#[test]
fn a_closed_peer_is_an_error_and_no_signal() {
    let (a, b) = UnixStream::pair().unwrap();
    drop(b);
    assert_eq!(send_with_fds(&a, b"x", &[]).unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_memory_file_never_changes() {
    let fd = memfd_with("name", b"content").unwrap();
    let mut file = File::from(fd.try_clone().unwrap());
    assert!(file.write_all(b"x").is_err());
    assert!(file.set_len(0).is_err() && file.set_len(100).is_err());
    assert!(rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::FUTURE_WRITE).is_err());
    assert_eq!(read_memfd(fd.as_fd(), 7).unwrap(), b"content");
    assert_eq!(read_memfd(fd.as_fd(), 7).unwrap(), b"content", "whatever its position is");
    assert_eq!(read_memfd(fd.as_fd(), 6).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(read_memfd(memfd_with("", b"").unwrap().as_fd(), 0).unwrap(), b"");
}

#[test]
fn other_descriptors_are_no_memory_files() {
    let (socket, _other) = UnixStream::pair().unwrap();
    let (pipe, _writing) = rustix::pipe::pipe().unwrap();
    for fd in [OwnedFd::from(socket), pipe] {
        assert_eq!(read_memfd(fd.as_fd(), 100).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
}

proptest! {
    #[test]
    fn what_is_kept_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        let fd = memfd_with("kept", &bytes)?;
        prop_assert_eq!(read_memfd(fd.as_fd(), bytes.len())?, bytes);
    }
}
