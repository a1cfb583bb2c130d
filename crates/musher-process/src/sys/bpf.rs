//! Programs for the kernel's BPF machine (bpf(2)), as far as choosing a member of a SO_REUSEPORT group needs them.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction (`struct bpf_insn` of linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Destination in the low four bits, source in the high ones.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) value: i32,
}

/// `BPF_MAP_CREATE` of `union bpf_attr`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct MapUpdate {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// Commands of linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const PROGRAM_LOAD: libc::c_int = 5;
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `BPF_PROG_TYPE_SOCKET_FILTER`: it gives the index of a member for a new connection.
    Choice,
    /// `BPF_PROG_TYPE_SK_REUSEPORT` with `BPF_SK_REUSEPORT_SELECT_OR_MIGRATE`: while it is attached, what waits at a member
    /// that stops listening goes to others.
    Migration,
}

/// An array of numbers that a program can use.
pub(crate) fn array(values: &[u32]) -> io::Result<OwnedFd> {
    let entries = u32::try_from(values.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let create = MapCreate { map_type: ARRAY, key_size: 4, value_size: 4, max_entries: entries, map_flags: 0 };
    // SAFETY: MAP_CREATE only reads the attributes, and its result is a descriptor that nobody else has.
    let map = unsafe { OwnedFd::from_raw_fd(call(MAP_CREATE, &create)?) };
    for (key, value) in (0u32..).zip(values) {
        let update = MapUpdate {
            map: map.as_raw_fd().cast_unsigned(),
            reserved: 0,
            key: (&raw const key).addr() as u64,
            value: std::ptr::from_ref(value).addr() as u64,
            flags: 0,
        };
        // SAFETY: key and value point to four bytes each, as the map was made for, which live until the call returns.
        unsafe { call(MAP_UPDATE, &update)? };
    }
    Ok(map)
}

/// Has the kernel check a program and take it.
pub(crate) fn program(purpose: Purpose, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let (program_type, expected_attach_type) = match purpose {
        Purpose::Choice => (1, 0),
        Purpose::Migration => (21, 40),
    };
    let load = ProgramLoad {
        program_type,
        instruction_count: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        expected_attach_type,
    };
    // SAFETY: the instructions and the license live until the call returns; the result is a descriptor that nobody else
    // has.
    unsafe { Ok(OwnedFd::from_raw_fd(call(PROGRAM_LOAD, &load)?)) }
}

/// Attaches a program to the SO_REUSEPORT group of a socket.
pub(crate) fn attach_to_reuseport(socket: BorrowedFd<'_>, program: &OwnedFd) -> io::Result<()> {
    let program: libc::c_int = program.as_raw_fd();
    // SAFETY: the option takes an int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_EBPF,
            (&raw const program).cast(),
            libc::socklen_t::try_from(mem::size_of::<libc::c_int>()).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// bpf(2).
///
/// # Safety
///
/// `attributes` is what the command takes, and its pointers are valid until the call returns.
unsafe fn call<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads `size` bytes from `attributes`; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), mem::size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { libc::c_int::try_from(result).map_err(io::Error::other) }
}
