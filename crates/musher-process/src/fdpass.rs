//! Bytes and file descriptors over a unix socket (SCM_RIGHTS).
//!
//! Works on stream, datagram and SOCK_SEQPACKET sockets. Received descriptors are always close-on-exec, and never more
//! than asked for: what a peer sends beyond that is closed at once. Framing is the caller's.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The most descriptors that Linux passes in one message (SCM_MAX_FD).
pub const MAX_FDS: usize = 253;

/// Enough for [`MAX_FDS`] descriptors and the sender's credentials.
const CONTROL: usize = rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1));

/// What came with one recvmsg(2).
#[derive(Debug)]
pub struct Received {
    /// Number of bytes in the caller's buffer. 0 is the end of a stream (or an empty datagram).
    pub bytes: usize,
    /// The descriptors, close-on-exec, in the sender's order.
    pub fds: Vec<OwnedFd>,
    /// Bytes of a datagram that did not fit were lost.
    pub bytes_cut: bool,
    /// Descriptors beyond the limit were sent (or there was no room in our table for them); they are closed.
    pub fds_cut: bool,
}

/// Sends `bytes` and `fds` in one message and returns how many bytes went (all, but for a stream socket). At least one
/// byte is needed to carry descriptors over a stream. Never raises SIGPIPE; `EPIPE` is an error like others.
pub fn send_with_fds(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than 253 file descriptors in one message"));
    }
    let mut space = [MaybeUninit::uninit(); CONTROL];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "file descriptors do not fit in one message"));
    }
    let sent = retry(|| rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))?;
    Ok(sent)
}

/// Receives one message into `buffer` with at most `max_fds` descriptors. `flags` may have `PEEK` (the descriptors of a
/// peeked message are duplicates; they come again with the message itself) and `DONTWAIT`.
pub fn recv_with_fds(socket: impl AsFd, buffer: &mut [u8], max_fds: usize, flags: RecvFlags) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); CONTROL];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let result = retry(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    let mut fds_cut = result.flags.contains(ReturnFlags::CTRUNC);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            for fd in received {
                if fds.len() < max_fds {
                    fds.push(fd);
                } else {
                    fds_cut = true;
                    drop(fd);
                }
            }
        }
    }
    let bytes_cut = result.flags.contains(ReturnFlags::TRUNC);
    Ok(Received { bytes: result.bytes.min(buffer.len()), fds, bytes_cut, fds_cut })
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
