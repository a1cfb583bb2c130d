//! A datagram with the credentials of its sender.
//!
//! rustix has this, but its pid type cannot hold the 0 that the kernel gives for a sender outside of our pid namespace.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What came.
pub(crate) struct Datagram {
    pub(crate) bytes: usize,
    /// It was longer than the buffer.
    pub(crate) cut: bool,
    /// pid (0: not in our namespace) and uid.
    pub(crate) sender: Option<(i32, u32)>,
}

/// Room for the credentials and the most descriptors of one message; aligned as `cmsghdr` has to be.
#[repr(C, align(8))]
struct Control([u8; 1200]);

/// Receives one datagram without waiting. Descriptors that come with it are closed.
pub(crate) fn recv(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut control = Control([0; 1200]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid `msghdr` (null pointers with lengths of zero).
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = ptr::from_mut(&mut part);
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the header points to live buffers of the lengths that it says.
    let bytes = unsafe { libc::recvmsg(socket.as_raw_fd(), ptr::from_mut(&mut header), flags) };
    if bytes < 0 {
        return Err(io::Error::last_os_error());
    }
    let sender = read_control(&header);
    Ok(Datagram {
        bytes: bytes.cast_unsigned().min(buffer.len()),
        cut: header.msg_flags & libc::MSG_TRUNC != 0,
        sender,
    })
}

/// The sender; closes descriptors.
fn read_control(header: &libc::msghdr) -> Option<(i32, u32)> {
    let mut sender = None;
    // SAFETY: the header was filled by the kernel; its control buffer is alive and aligned.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, so a complete header within the control buffer.
        let message = unsafe { &*next };
        // SAFETY: as above; the data follows the header.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: only computes a length.
        let length = (message.cmsg_len as usize).saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                // SAFETY: long enough, and every bit pattern is a valid `ucred`.
                let credentials = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                sender = Some((credentials.pid, credentials.uid));
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..length / size_of::<RawFd>() {
                    // SAFETY: within the data; the kernel has made this descriptor for us and nobody else knows it.
                    drop(unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(index).read_unaligned()) });
                }
            }
            _ => {}
        }
        // SAFETY: `next` is a header within the control buffer.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    sender
}
