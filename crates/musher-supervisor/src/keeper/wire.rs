//! The words between keeper and supervisor.
//!
//! One message is one packet of a SOCK_SEQPACKET socket pair: a kind (u16, little endian) and its fields, at most
//! [`MAX_MESSAGE`] bytes, with at most one file descriptor.
//!
//! # Versions
//!
//! A keeper lives for months and meets newer supervisors. Both sides begin with [`Message::Hello`], which names the
//! range of versions that the sender speaks; the newest common one counts ([`agreed`]). Whatever the version:
//!
//! - the kinds and fields written here never change their meaning;
//! - a kind that the receiver does not know is ignored, and so are bytes after the fields that it knows;
//! - so a newer side may always send more, and learns from the hello whether it is understood.
//!
//! Version 1 is all that is below but what is marked. Version 2 added `upgrade`, `serving`, the second hello of a keeper
//! that became another executable, and the name of the software in a hello. A later version may only add. A supervisor
//! that shares no version with its keeper still gets the whole inventory, because that is part of version 1.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use musher_process::fdpass;
use rustix::net::RecvFlags;

use super::ExitRecord;

/// The largest packet; longer ones are cut by the receiver, which can only hit fields it does not know.
pub(crate) const MAX_MESSAGE: usize = 512;
/// The longest name of a held descriptor, in bytes.
pub const MAX_NAME: usize = 128;

/// The versions that one side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

/// What this executable speaks.
#[cfg(not(feature = "next"))]
pub(crate) const OURS: Versions = Versions { oldest: 1, newest: 2 };
/// What the next one speaks.
#[cfg(feature = "next")]
pub(crate) const OURS: Versions = Versions { oldest: 2, newest: 3 };
/// The first version with upgrades.
pub(crate) const UPGRADES: u16 = 2;

/// The newest version that both speak; none: they share nothing but the frozen words.
pub(crate) fn agreed(a: Versions, b: Versions) -> Option<u16> {
    let newest = a.newest.min(b.newest);
    (newest >= a.oldest.max(b.oldest)).then_some(newest)
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Both: the first packet. `open_files` is the soft limit of open files that workers shall have (0: unknown). From
    /// version 2 on with the version of the software; a keeper that became another executable says it again.
    Hello { versions: Versions, open_files: u64, software: String },
    /// Keeper: one held descriptor, attached.
    Held { name: String },
    /// Keeper: everything held has been told.
    InventoryEnd,
    /// Keeper: a child that was not the supervisor ended.
    Exit(ExitRecord),
    /// Keeper: somebody asked for the end of everything (SIGTERM).
    EndRequested,
    /// Keeper: the answer to a ping.
    Pong { token: u64 },
    /// Supervisor: hold the attached descriptor under this name, in place of what was there.
    Put { name: String },
    /// Supervisor: let go of it.
    Remove { name: String },
    /// Supervisor: this exit has been dealt with.
    ForgetExit { sequence: u64 },
    /// Supervisor: everything has stopped; end when I end.
    Shutdown,
    /// Supervisor: are you there?
    Ping { token: u64 },
    /// Supervisor, version 2: I am about to become the executable that you hold. If that does not say `serving`, go on
    /// with your own.
    Upgrade,
    /// Supervisor, version 2: I have taken over everything and serve.
    Serving,
    /// Keeper: a signal came that is the supervisor's to answer.
    Signalled { signal: i32 },
    /// Supervisor: exit with this code when I have ended everything.
    ExitCode { code: u8 },
}

/// What a packet turned out to be.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message and the descriptor that came with it.
    Message(Message, Option<OwnedFd>),
    /// A packet of a kind we do not know, or one we do not understand. It is to be ignored.
    Ignored { kind: u16 },
    /// The other side is gone.
    End,
}

impl Message {
    fn kind(&self) -> u16 {
        match self {
            Message::Hello { .. } => 1,
            Message::Held { .. } => 2,
            Message::InventoryEnd => 3,
            Message::Exit(_) => 4,
            Message::EndRequested => 5,
            Message::Pong { .. } => 6,
            Message::Put { .. } => 7,
            Message::Remove { .. } => 8,
            Message::ForgetExit { .. } => 9,
            Message::Shutdown => 10,
            Message::Ping { .. } => 11,
            Message::Upgrade => 12,
            Message::Serving => 13,
            Message::Signalled { .. } => 14,
            Message::ExitCode { .. } => 15,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.kind().to_le_bytes().to_vec();
        match self {
            Message::Hello { versions, open_files, software } => {
                bytes.extend(versions.oldest.to_le_bytes());
                bytes.extend(versions.newest.to_le_bytes());
                bytes.extend(open_files.to_le_bytes());
                bytes.extend(u16::try_from(software.len()).unwrap_or(u16::MAX).to_le_bytes());
                bytes.extend(software.as_bytes());
            }
            Message::Held { name } | Message::Put { name } | Message::Remove { name } => {
                bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
                bytes.extend(name.as_bytes());
            }
            Message::Exit(exit) => {
                bytes.extend(exit.sequence.to_le_bytes());
                bytes.extend(exit.pid.to_le_bytes());
                bytes.extend(exit.wait_status.to_le_bytes());
                bytes.extend(exit.time_ms.to_le_bytes());
            }
            Message::Pong { token } | Message::Ping { token } => bytes.extend(token.to_le_bytes()),
            Message::ForgetExit { sequence } => bytes.extend(sequence.to_le_bytes()),
            Message::InventoryEnd | Message::EndRequested | Message::Shutdown | Message::Upgrade | Message::Serving => {
            }
            Message::Signalled { signal } => bytes.extend(signal.to_le_bytes()),
            Message::ExitCode { code } => bytes.extend(u16::from(*code).to_le_bytes()),
        }
        bytes
    }

    /// None: not a kind that we know, or too short for its fields.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
        let mut fields = Fields(bytes);
        Some(match fields.u16()? {
            1 => Message::Hello {
                versions: Versions { oldest: fields.u16()?, newest: fields.u16()? },
                open_files: fields.u64()?,
                software: fields.name().unwrap_or_default(),
            },
            2 => Message::Held { name: fields.name()? },
            3 => Message::InventoryEnd,
            4 => Message::Exit(ExitRecord {
                sequence: fields.u64()?,
                pid: fields.i32()?,
                wait_status: fields.i32()?,
                time_ms: fields.u64()?,
            }),
            5 => Message::EndRequested,
            6 => Message::Pong { token: fields.u64()? },
            7 => Message::Put { name: fields.name()? },
            8 => Message::Remove { name: fields.name()? },
            9 => Message::ForgetExit { sequence: fields.u64()? },
            10 => Message::Shutdown,
            11 => Message::Ping { token: fields.u64()? },
            12 => Message::Upgrade,
            13 => Message::Serving,
            14 => Message::Signalled { signal: fields.i32()? },
            15 => Message::ExitCode { code: u8::try_from(fields.u16()?).ok()? },
            _ => return None,
        })
    }
}

/// Whether `name` can be a name: 1 to 128 bytes of printable ASCII without spaces.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Sends one packet. `WouldBlock` when there is no room in the socket, `ResourceBusy` when too many descriptors are in
/// flight; they land as the receiver reads.
pub(crate) fn send(socket: impl AsFd, message: &Message, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    match fdpass::send_with_fds(socket, &message.encode(), fd.as_slice()) {
        Ok(_) => Ok(()),
        // unix(7)
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::TOOMANYREFS.raw_os_error()) => {
            Err(io::ErrorKind::ResourceBusy.into())
        }
        Err(error) => Err(error),
    }
}

/// Takes one packet without waiting. None: there is none now.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Incoming>> {
    let mut buffer = [0; MAX_MESSAGE];
    let mut received = match fdpass::recv_with_fds(socket, &mut buffer, 1, RecvFlags::DONTWAIT) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Some(Incoming::End)),
        Err(error) => return Err(error),
    };
    if received.bytes == 0 {
        return Ok(Some(Incoming::End));
    }
    let bytes = &buffer[..received.bytes];
    let kind = Fields(bytes).u16().unwrap_or(0);
    Ok(Some(match Message::decode(bytes) {
        Some(message) => Incoming::Message(message, received.fds.pop()),
        None => Incoming::Ignored { kind },
    }))
}

/// Reads fields from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<String> {
        let length = self.u16()?;
        let name = std::str::from_utf8(self.0.get(..usize::from(length))?).ok()?;
        is_name(name).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_message() -> Vec<Message> {
        let name = String::from("run/7/pidfd");
        vec![
            Message::Hello { versions: Versions { oldest: 1, newest: 9 }, open_files: 1024, software: "1.2.3".into() },
            Message::Held { name: name.clone() },
            Message::InventoryEnd,
            Message::Exit(ExitRecord { sequence: 3, pid: 77, wait_status: 9, time_ms: 123_456 }),
            Message::EndRequested,
            Message::Pong { token: 5 },
            Message::Put { name: name.clone() },
            Message::Remove { name },
            Message::ForgetExit { sequence: 8 },
            Message::Shutdown,
            Message::Ping { token: u64::MAX },
            Message::Upgrade,
            Message::Serving,
        ]
    }

    #[test]
    fn every_message_survives_its_bytes_also_with_unknown_fields_behind_it() {
        for message in every_message() {
            let mut bytes = message.encode();
            assert!(bytes.len() <= MAX_MESSAGE);
            assert_eq!(Message::decode(&bytes).as_ref(), Some(&message));
            bytes.extend(b"a field of version 2");
            assert_eq!(Message::decode(&bytes), Some(message));
        }
    }

    #[test]
    fn no_cut_or_foreign_packet_is_taken_for_a_message() {
        for message in every_message() {
            let bytes = message.encode();
            // The name of the software may be missing: version 1 had none.
            let optional = if let Message::Hello { software, .. } = &message { software.len() + 2 } else { 0 };
            for length in 0..bytes.len() - optional {
                assert_eq!(Message::decode(&bytes[..length]), None, "{message:?} cut to {length}");
            }
        }
        assert_eq!(Message::decode(&[0, 0]), None);
        assert_eq!(Message::decode(&[200, 1, 4, 4, 4]), None);
    }

    #[test]
    fn a_hello_of_version_1_has_no_name_of_the_software() {
        let versions = Versions { oldest: 1, newest: 1 };
        let hello = Message::Hello { versions, open_files: 7, software: String::new() };
        let bytes = hello.encode();
        assert_eq!(Message::decode(&bytes[..14]), Some(hello));
    }

    #[test]
    fn names_are_bounded_printable_and_without_spaces() {
        for good in ["lock", "run/18446744073709551615/channel", &"n".repeat(128)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a b", "a\nb", "\u{e4}", &"n".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_newest_common_version_counts() {
        let speaks = |oldest, newest| Versions { oldest, newest };
        assert_eq!(agreed(speaks(1, 1), speaks(1, 4)), Some(1));
        assert_eq!(agreed(speaks(1, 3), speaks(2, 4)), Some(3));
        assert_eq!(agreed(speaks(1, 1), speaks(2, 4)), None);
    }
}
