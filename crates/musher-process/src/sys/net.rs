//! Socket options and requests that rustix does not offer: TCP_INFO, reuseport programs, the send queue of a socket.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction of a classic BPF program (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) value: u32,
}

/// The first 28 bytes of `struct tcp_info` (linux/tcp.h): all that is asked for, as the rest costs the kernel time.
#[repr(C)]
struct TcpInfoHead {
    state: u8,
    rest: [u8; 7],
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
}

/// State, length of the accept queue and backlog of a listening TCP socket.
pub(crate) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<(u8, u32, u32)> {
    let mut head = MaybeUninit::<TcpInfoHead>::zeroed();
    let mut length = libc::socklen_t::try_from(mem::size_of::<TcpInfoHead>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `head`; every bit pattern is a valid TcpInfoHead and the
    // whole of it was zeroed before.
    let head = unsafe {
        let result = libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            head.as_mut_ptr().cast(),
            &raw mut length,
        );
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        head.assume_init()
    };
    Ok((head.state, head.unacked, head.sacked))
}

/// Attaches a program that chooses the member of a SO_REUSEPORT group for a new connection.
pub(crate) fn attach_reuseport_program(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// Attaches a program that says how much of each packet a socket gets: 0 for none.
pub(crate) fn attach_filter(socket: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_FILTER, program)
}

fn attach(socket: BorrowedFd<'_>, option: libc::c_int, program: &[Instruction]) -> io::Result<()> {
    let mut filters: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter { code: i.code, jt: i.jump_true, jf: i.jump_false, k: i.value })
        .collect();
    let len = u16::try_from(filters.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
    // SAFETY: `program` points to `len` instructions that live until the call returns; the kernel copies and checks them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            libc::socklen_t::try_from(mem::size_of::<libc::sock_fprog>()).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Removes the program of a SO_REUSEPORT group; `ENOENT` when there is none.
pub(crate) fn detach_reuseport_program(socket: BorrowedFd<'_>) -> io::Result<()> {
    /// asm-generic/socket.h; not in libc.
    const SO_DETACH_REUSEPORT_BPF: libc::c_int = 68;
    // The value is not looked at.
    set_option(socket, SO_DETACH_REUSEPORT_BPF, 0)
}

/// Lets a socket take packets of one network interface only. There need not be one of this index.
pub(crate) fn bind_to_interface(socket: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    /// asm-generic/socket.h; not in libc for all targets.
    const SO_BINDTOIFINDEX: libc::c_int = 62;
    set_option(socket, SO_BINDTOIFINDEX, index)
}

fn set_option(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the options that it is called with take an int, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            libc::socklen_t::try_from(mem::size_of::<libc::c_int>()).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes (with the kernel's overhead) that were sent over a unix stream socket and not yet read by the peer.
pub(crate) fn unread_by_peer(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut value) };
    if result == 0 { Ok(u32::try_from(value).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}
