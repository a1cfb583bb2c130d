//! SO_REUSEPORT groups of TCP listeners.
//!
//! The kernel keeps the listening members of a group in an array: a new member is appended when it starts to listen, and
//! when one stops the last moves into its place. [`Members`] is the same array on our side. [`steer`] attaches a program
//! that gives new connections to chosen members only, evenly by chance. The program belongs to the group, outlives the
//! socket it was attached through, and does not touch what is already queued. It knows members by index: attach it anew
//! after every change of the array.

use std::io;
use std::os::fd::AsFd;

use crate::sys::{self, net::Instruction};

/// The most members that a program can choose among: BPF_MAXINSNS is 4096, and a member takes two instructions.
pub const MAX_STEERED: usize = 2046;

/// The members of a group in the kernel's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members<M> {
    order: Vec<M>,
}

impl<M: Copy + PartialEq> Members<M> {
    /// A group whose members are known to have this order.
    pub fn from_order(order: Vec<M>) -> Members<M> {
        Members { order }
    }

    /// The members by index.
    pub fn order(&self) -> &[M] {
        &self.order
    }

    /// `member` has started to listen.
    pub fn join(&mut self, member: M) {
        self.order.push(member);
    }

    /// `member` has stopped listening.
    pub fn leave(&mut self, member: M) {
        if let Some(index) = self.index(member) {
            self.order.swap_remove(index);
        }
    }

    /// Where `member` is.
    pub fn index(&self, member: M) -> Option<usize> {
        self.order.iter().position(|other| *other == member)
    }
}

/// Lets others join a socket that was opened to be alone, listening or not: it becomes the first of a group.
pub fn let_join(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_reuseport(socket, true)?)
}

/// Gives new connections of `socket`'s group only to the members with these indices. None, or more than
/// [`MAX_STEERED`]: the kernel's hash over all members decides.
pub fn steer(socket: impl AsFd, indices: &[u32]) -> io::Result<()> {
    if indices.is_empty() || indices.len() > MAX_STEERED {
        return match sys::net::detach_reuseport_program(socket.as_fd()) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(()),
            result => result,
        };
    }
    sys::net::attach_reuseport_program(socket.as_fd(), &program(indices))
}

/// `ret indices[random() % indices.len()]`.
fn program(indices: &[u32]) -> Vec<Instruction> {
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
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::os::fd::OwnedFd;

    use super::{MAX_STEERED, Members, steer};
    use crate::net::{self, tcp};

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
        steer(&sockets[0], &[1, 3]).unwrap();
        let _clients = connect(address, 60);
        let depths = queued(&sockets);
        assert_eq!(depths[0] + depths[2] + depths[4], 0, "{depths:?}");
        assert_eq!(depths[1] + depths[3], 60);
        assert!(depths[1] > 5 && depths[3] > 5, "{depths:?}");

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
