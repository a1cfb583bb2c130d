//! SO_REUSEPORT groups of TCP listeners.
//!
//! The kernel keeps the listening members of a group in an array: a new member is appended when it starts to listen, and
//! when one stops the last moves into its place. [`Members`] is the same array on our side. [`steer`] attaches a program
//! that gives new connections to chosen members only, in turns or evenly by chance. The program belongs to the group, outlives the
//! socket it was attached through, and does not touch what is already queued. It knows members by index: attach it anew
//! after every change of the array. [`leave`] lets a member stop, and if the system allows it the others get its queue.
//!
//! ```
//! use musher_process::net::reuseport::{self, Members};
//! use musher_process::net::{self, tcp};
//!
//! // Two listeners at one port, of which only the second gets new connections.
//! let first = tcp::bind(([127, 0, 0, 1], 0).into(), false, tcp::Membership::Founds)?;
//! let second = tcp::bind(net::local_address(&first)?, false, tcp::Membership::Joins)?;
//! let mut members = Members::default();
//! for (name, socket) in [("first", &first), ("second", &second)] {
//!     net::listen(socket, 511)?;
//!     members.join(name);
//! }
//! let chosen = members.index("second").map(|index| index as u32);
//! reuseport::steer(&first, chosen.as_slice())?;
//! let client = std::net::TcpStream::connect(net::local_address(&first)?)?;
//! let listener = std::net::TcpListener::from(second);
//! listener.set_nonblocking(false)?;
//! assert_eq!(listener.accept()?.1, client.local_addr()?);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::sys::bpf::{Instruction as Bpf, Purpose};
use crate::sys::{self, net::Instruction};

/// The most members that a program can choose among: BPF_MAXINSNS is 4096, and a member takes two instructions.
pub const MAX_STEERED: usize = 2046;

/// The members of a group in the kernel's order, whatever the caller knows them by.
///
/// ```
/// use musher_process::net::reuseport::Members;
///
/// let mut members = Members::default();
/// for worker in [1, 2, 3] {
///     members.join(worker);
/// }
/// members.leave(1);
/// assert_eq!(members.order(), [3, 2]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members<M> {
    order: Vec<M>,
}

impl<M: Copy + PartialEq> Members<M> {
    /// A group whose members are known to have this order.
    ///
    /// ```
    /// use musher_process::net::reuseport::Members;
    /// assert_eq!(Members::from_order(vec!['a', 'b']).index('b'), Some(1));
    /// ```
    pub fn from_order(order: Vec<M>) -> Members<M> {
        Members { order }
    }

    /// The members by index.
    ///
    /// ```
    /// use musher_process::net::reuseport::Members;
    /// assert_eq!(Members::from_order(vec![7, 8]).order(), [7, 8]);
    /// ```
    pub fn order(&self) -> &[M] {
        &self.order
    }

    /// `member` has started to listen: it is the last.
    ///
    /// ```
    /// use musher_process::net::reuseport::Members;
    ///
    /// let mut members = Members::from_order(vec![7]);
    /// members.join(8);
    /// assert_eq!(members.index(8), Some(1));
    /// ```
    pub fn join(&mut self, member: M) {
        self.order.push(member);
    }

    /// `member` has stopped listening: the last one takes its place. One that is no member changes nothing.
    ///
    /// ```
    /// use musher_process::net::reuseport::Members;
    ///
    /// let mut members = Members::from_order(vec![7, 8, 9]);
    /// members.leave(7);
    /// assert_eq!(members.order(), [9, 8]);
    /// ```
    pub fn leave(&mut self, member: M) {
        if let Some(index) = self.index(member) {
            self.order.swap_remove(index);
        }
    }

    /// Where `member` is: its number for [`steer`].
    ///
    /// ```
    /// use musher_process::net::reuseport::Members;
    /// assert_eq!(Members::from_order(vec![7, 8]).index(9), None);
    /// ```
    pub fn index(&self, member: M) -> Option<usize> {
        self.order.iter().position(|other| *other == member)
    }
}

/// Lets others join a socket that was opened to be alone, listening or not: it becomes the first of a group. For the
/// same user only, as the kernel wants it.
///
/// ```
/// use musher_process::net::{reuseport, tcp};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// reuseport::let_join(&listener)?;
/// let second = tcp::bind(listener.local_addr()?, false, tcp::Membership::Joins)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn let_join(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_reuseport(socket, true)?)
}

/// How new connections are dealt out to chosen members, as [`steer`] tells.
///
/// ```
/// use musher_process::net::reuseport::{Dealing, let_join, steer};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let_join(&listener)?;
/// assert_eq!(steer(&listener, &[])?, Dealing::Hash);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealing {
    /// In strict turns.
    Turns,
    /// Evenly by chance. Of 64 connections, one of two members has more than 35 in every third case.
    Chance,
    /// By a hash of the addresses and ports, over all members, chosen or not.
    Hash,
}

/// Gives new connections of `socket`'s group only to the members with these indices: in turns if this process may load a
/// program that counts (CAP_BPF, or `kernel.unprivileged_bpf_disabled` is 0; most sandboxes refuse), else by chance.
/// With no indices, or more than [`MAX_STEERED`], the kernel's hash over all members decides.
///
/// ```
/// use musher_process::net::reuseport::{Dealing, steer};
/// use musher_process::net::{self, tcp, tcp::Membership};
///
/// let first = tcp::bind("127.0.0.1:0".parse()?, false, Membership::Founds)?;
/// net::listen(&first, 511)?;
/// let second = tcp::bind(net::local_address(&first)?, false, Membership::Joins)?;
/// net::listen(&second, 511)?;
/// match steer(&first, &[0, 1])? {
///     Dealing::Turns => println!("one after the other"),
///     Dealing::Chance => println!("evenly, by chance"),
///     Dealing::Hash => println!("as the kernel likes"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn steer(socket: impl AsFd, indices: &[u32]) -> io::Result<Dealing> {
    let socket = socket.as_fd();
    if indices.is_empty() || indices.len() > MAX_STEERED {
        return match sys::net::detach_reuseport_program(socket) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(Dealing::Hash),
            result => result.map(|()| Dealing::Hash),
        };
    }
    if indices.len() > 1 && steer_in_turns(socket, indices).is_ok() {
        return Ok(Dealing::Turns);
    }
    sys::net::attach_reuseport_program(socket, &by_chance(indices))?;
    Ok(if indices.len() > 1 { Dealing::Chance } else { Dealing::Turns })
}

/// What becomes of connections that wait at a member that stops listening, as [`leave`] tells.
///
/// ```
/// use musher_process::net::reuseport::{Queue, leave, let_join};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let_join(&listener)?;
/// match leave(&listener)? {
///     Queue::Moved => println!("the others have them"),
///     Queue::Reset => println!("they were reset"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Other members of the group have them.
    Moved,
    /// They were reset, if there were any.
    Reset,
}

/// Stops listening at once, for every process that has the socket. What waits in its queue goes to other members of the
/// group, those of them that listen, by the kernel's hash: if this process may load a program that asks for it (CAP_BPF),
/// or `net.ipv4.tcp_migrate_req` is 1. The program takes the place of that of [`steer`], so steer anew.
///
/// See [`Queue`] for an example.
pub fn leave(socket: impl AsFd) -> io::Result<Queue> {
    let queue = if migrate(socket.as_fd()).is_ok() || migrates_always() { Queue::Moved } else { Queue::Reset };
    super::shutdown(socket)?;
    Ok(queue)
}

/// From now on what waits at a member that stops goes to others.
fn migrate(socket: BorrowedFd<'_>) -> io::Result<()> {
    // `return SK_PASS` without a choice: the kernel's hash decides.
    let pass = [
        Bpf { code: MOVE_VALUE, registers: 0, offset: 0, value: 1 },
        Bpf { code: EXIT, registers: 0, offset: 0, value: 0 },
    ];
    let program = sys::bpf::program(Purpose::Migration, &pass)?;
    sys::bpf::attach_to_reuseport(socket, &program)
}

/// Whether whoever administrates the system has asked for it.
fn migrates_always() -> bool {
    std::fs::read("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|value| value.first() == Some(&b'1'))
}

/// Codes of linux/bpf.h and linux/bpf_common.h: class, size or operation, mode or source.
const MOVE_VALUE: u8 = 0xb7;
const EXIT: u8 = 0x95;

/// Deals new connections out in turns, by a counter in the kernel.
fn steer_in_turns(socket: BorrowedFd<'_>, indices: &[u32]) -> io::Result<()> {
    // Whoever steers often does not always begin with the first.
    let mut start = [0; 4];
    let _ = rustix::rand::getrandom(&mut start, rustix::rand::GetRandomFlags::NONBLOCK);
    let mut values = vec![u32::from_ne_bytes(start)];
    values.extend_from_slice(indices);
    let array = sys::bpf::array(&values)?;
    let program = sys::bpf::program(Purpose::Choice, &in_turns(&array, indices.len())?)?;
    sys::bpf::attach_to_reuseport(socket, &program)
}

/// `return array[1 + array[0]++ % count]`. An index that is out of range leaves the choice to the kernel's hash.
fn in_turns(array: &OwnedFd, count: usize) -> io::Result<Vec<Bpf>> {
    /// Codes of linux/bpf.h and linux/bpf_common.h: class, size or operation, mode or source.
    const MOVE: u8 = 0xbf;
    const ADD_VALUE: u8 = 0x07;
    const ADD_VALUE_32: u8 = 0x04;
    const MODULO_VALUE_32: u8 = 0x94;
    const STORE_VALUE_32: u8 = 0x62;
    const STORE_32: u8 = 0x63;
    const LOAD_32: u8 = 0x61;
    const LOAD_VALUE_64: u8 = 0x18;
    const ATOMIC_32: u8 = 0xc3;
    const JUMP_EQUAL: u8 = 0x15;
    const CALL: u8 = 0x85;
    /// BPF_PSEUDO_MAP_FD: the value is a descriptor of a map.
    const MAP: u8 = 1;
    /// BPF_FUNC_map_lookup_elem.
    const LOOK_UP: i32 = 1;
    /// BPF_ADD | BPF_FETCH.
    const FETCH_ADD: i32 = 0x01;
    /// Registers: the result, arguments, the frame.
    const R0: u8 = 0;
    const R1: u8 = 1;
    const R2: u8 = 2;
    const FRAME: u8 = 10;
    /// Where in the frame the key is.
    const KEY: i16 = -4;

    let count = i32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
    let code = |code, to: u8, from: u8, offset, value| Bpf { code, registers: from << 4 | to, offset, value };
    let look_up = [
        code(MOVE, R2, FRAME, 0, 0),
        code(ADD_VALUE, R2, 0, 0, KEY.into()),
        code(LOAD_VALUE_64, R1, MAP, 0, array.as_raw_fd()),
        code(0, 0, 0, 0, 0),
        code(CALL, 0, 0, 0, LOOK_UP),
    ];
    let mut program = vec![code(STORE_VALUE_32, FRAME, 0, KEY, 0)];
    program.extend(look_up);
    // To the last two instructions, which are never reached: the verifier wants to know what would happen.
    program.push(code(JUMP_EQUAL, R0, 0, 13, 0));
    program.extend([
        code(MOVE_VALUE, R1, 0, 0, 1),
        code(ATOMIC_32, R0, R1, 0, FETCH_ADD),
        code(MODULO_VALUE_32, R1, 0, 0, count),
        code(ADD_VALUE_32, R1, 0, 0, 1),
        code(STORE_32, FRAME, R1, KEY, 0),
    ]);
    program.extend(look_up);
    program.extend([
        code(JUMP_EQUAL, R0, 0, 2, 0),
        code(LOAD_32, R0, R0, 0, 0),
        code(EXIT, 0, 0, 0, 0),
        code(MOVE_VALUE, R0, 0, 0, -1),
        code(EXIT, 0, 0, 0, 0),
    ]);
    Ok(program)
}

/// `return indices[random() % indices.len()]`, in the classic machine, which needs no permission.
fn by_chance(indices: &[u32]) -> Vec<Instruction> {
    /// Codes of linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_MOD|BPF_K, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    /// and BPF_RET|BPF_A.
    const LOAD: u16 = 0x20;
    const MODULO: u16 = 0x94;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const RETURN_A: u16 = 0x16;
    /// SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h.
    const RANDOM: u32 = (-0x1000_i32 + 56).cast_unsigned();

    let plain = |code, value| Instruction { code, jump_true: 0, jump_false: 0, value };
    let Some((last, others)) = indices.split_last() else { return Vec::new() };
    if others.is_empty() {
        return vec![plain(RETURN, *last)];
    }
    let count = u32::try_from(indices.len()).unwrap_or(u32::MAX);
    let mut program = vec![plain(LOAD, RANDOM), plain(MODULO, count)];
    if (0..count).eq(indices.iter().copied()) {
        program.push(plain(RETURN_A, 0));
        return program;
    }
    for (draw, index) in (0..).zip(others) {
        program.push(Instruction { code: JUMP_EQUAL, jump_true: 0, jump_false: 1, value: draw });
        program.push(plain(RETURN, *index));
    }
    program.push(plain(RETURN, *last));
    program
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};

    use super::{Dealing, MAX_STEERED, Members, Queue, by_chance, leave, steer};
    use crate::net::{self, tcp};
    use crate::sys;

    fn group(size: usize) -> (Vec<OwnedFd>, SocketAddr) {
        let founder = tcp::bind((Ipv4Addr::LOCALHOST, 0).into(), false, tcp::Membership::Founds).unwrap();
        net::listen(&founder, 4096).unwrap();
        let address = net::local_address(&founder).unwrap();
        let mut sockets = vec![founder];
        for _ in 1..size {
            let socket = tcp::bind(address, false, tcp::Membership::Joins).unwrap();
            net::listen(&socket, 4096).unwrap();
            sockets.push(socket);
        }
        (sockets, address)
    }

    fn queued(sockets: &[OwnedFd]) -> Vec<u32> {
        sockets.iter().map(|socket| tcp::listen_state(socket).unwrap().queued).collect()
    }

    fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
    }

    #[test]
    fn only_chosen_members_get_connections_and_the_array_is_mirrored() {
        let (mut sockets, address) = group(5);
        let mut members = Members::from_order(vec![0, 1, 2, 3, 4]);
        let dealing = steer(&sockets[0], &[1, 3]).unwrap();
        let _clients = connect(address, 60);
        let depths = queued(&sockets);
        assert_eq!(depths[0] + depths[2] + depths[4], 0, "{depths:?}");
        assert_eq!(depths[1] + depths[3], 60);
        match dealing {
            Dealing::Turns => assert_eq!(depths[1], 30),
            Dealing::Chance | Dealing::Hash => assert!(depths[1] > 5 && depths[3] > 5, "{depths:?}"),
        }

        // The last member moves into the hole that the first leaves.
        members.leave(0);
        assert_eq!(members.order(), [4, 1, 2, 3]);
        net::shutdown(&sockets[0]).unwrap();
        let index = u32::try_from(members.index(4).unwrap()).unwrap();
        steer(&sockets[2], &[index]).unwrap();
        let _more = connect(address, 10);
        assert_eq!(queued(&sockets)[4], 10);

        members.join(9);
        let late = tcp::bind(address, false, tcp::Membership::Joins).unwrap();
        net::listen(&late, 4096).unwrap();
        sockets.push(late);
        steer(&sockets[2], &[u32::try_from(members.index(9).unwrap()).unwrap()]).unwrap();
        let _last = connect(address, 10);
        assert_eq!(queued(&sockets)[5], 10);
    }

    /// Whether this process has CAP_BPF.
    fn may_load_programs() -> bool {
        const CAP_BPF: u32 = 39;
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        u64::from_str_radix(effective, 16).unwrap() >> CAP_BPF & 1 == 1
    }

    #[test]
    fn what_waits_at_a_member_that_leaves_goes_to_the_others() {
        let (sockets, address) = group(3);
        steer(&sockets[0], &[1]).unwrap();
        let mut clients = connect(address, 20);
        assert_eq!(queued(&sockets), [0, 20, 0]);
        let queue = leave(&sockets[1]).unwrap();
        assert!(queue == Queue::Moved || !may_load_programs());
        let depths = queued(&sockets);
        assert_eq!(depths[0] + depths[2], if queue == Queue::Moved { 20 } else { 0 }, "{depths:?}");
        // It was the middle one of three: the last is in its place.
        steer(&sockets[0], &[1]).unwrap();
        let _more = connect(address, 5);
        assert_eq!(queued(&sockets)[2], depths[2] + 5);
        let mut answered = 0;
        for listener in [&sockets[0], &sockets[2]] {
            while let Some(connection) = net::accept(listener).unwrap() {
                answered += rustix::io::write(&connection, b"x").unwrap();
            }
        }
        let served = clients.iter_mut().map(|client| client.read_exact(&mut [0])).filter(Result::is_ok).count();
        assert_eq!(answered, 5 + served);
        assert_eq!(served, if queue == Queue::Moved { 20 } else { 0 });
    }

    #[test]
    fn whoever_may_count_in_the_kernel_deals_in_turns() {
        let may = may_load_programs();
        let (sockets, address) = group(3);
        let dealing = steer(&sockets[0], &[2, 0]).unwrap();
        assert!(dealing == Dealing::Turns || !may, "{dealing:?}");
        for round in 1..=20 {
            let _clients = connect(address, 2);
            if dealing == Dealing::Turns {
                assert_eq!(queued(&sockets), [round, 0, round]);
            }
        }
    }

    #[test]
    fn whoever_may_not_count_deals_by_chance() {
        let (sockets, address) = group(3);
        sys::net::attach_reuseport_program(sockets[0].as_fd(), &by_chance(&[2, 0])).unwrap();
        let _clients = connect(address, 60);
        let depths = queued(&sockets);
        assert!(depths[0] > 5 && depths[1] == 0 && depths[2] > 5, "{depths:?}");
    }

    #[test]
    fn without_a_choice_the_kernel_spreads_over_all() {
        let (sockets, address) = group(2);
        steer(&sockets[0], &[]).unwrap();
        steer(&sockets[0], &[0]).unwrap();
        steer(&sockets[0], &[]).unwrap();
        let _clients = connect(address, 60);
        assert!(queued(&sockets).iter().all(|depth| *depth > 5));
    }

    #[test]
    fn the_largest_program_is_accepted() {
        let (sockets, address) = group(2);
        let indices: Vec<u32> = (0..MAX_STEERED).map(|_| 1).collect();
        steer(&sockets[0], &indices).unwrap();
        let _clients = connect(address, 8);
        assert_eq!(queued(&sockets), [0, 8]);
    }
}
