//! A child's way to whoever forked it.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use super::shared::Shared;
use super::{Channel, Options, Receiver, Sender, Serialization};
use crate::inherit;

/// The number of the child's end, as Node tells it.
pub(crate) const FD_VARIABLE: &str = "NODE_CHANNEL_FD";
/// How messages are written, as Node tells it.
pub(crate) const MODE_VARIABLE: &str = "NODE_CHANNEL_SERIALIZATION_MODE";
/// The inode of the socket over which the parent understands fast frames. Node passes variables that it does not know on
/// to its own children, whose channel is another one.
pub(crate) const FAST_FRAME_VARIABLE: &str = "MUSHER_CHANNEL_FAST_FRAMES";

/// The channel to the parent of this process: `process.send` and `process.on('message')` of a Node child. `None`: it was
/// started without one. Each process has only one, and whoever asks first gets it.
///
/// Works under every parent that speaks Node's protocol: Node's `child_process.fork` with `execPath`, its `cluster`, this
/// library's [`fork`](crate::child_process::fork), and the musher daemon. Fails outside a tokio runtime.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// match musher_process::ipc::parent()? {
///     Some(channel) => drop(channel.sender.send("ready").await),
///     None => println!("nobody forked me"),
/// }
/// # Ok(())
/// # }
/// ```
pub fn parent() -> io::Result<Option<Channel>> {
    let Some(number) = env::var_os(FD_VARIABLE) else { return Ok(None) };
    let number = number.to_str().and_then(|text| text.parse::<RawFd>().ok());
    let number = number.ok_or_else(|| invalid(format!("{FD_VARIABLE} is not the number of a descriptor")))?;
    let serialization = match env::var(MODE_VARIABLE).as_deref() {
        Ok("advanced") => Serialization::Advanced,
        Ok("json") | Err(env::VarError::NotPresent) => Serialization::Json,
        Ok(_) | Err(_) => return Err(invalid(format!("{MODE_VARIABLE} is neither json nor advanced"))),
    };
    // Before the descriptor is taken, which happens once.
    tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    let socket = inherit::take_inherited(number)?;
    let fast = serialization == Serialization::Json && understands_fast_frames(&socket);
    let shared = Shared::new(socket, &Options::default().serialization(serialization))?;
    if fast {
        shared.switch_to_fast_frames();
    }
    Ok(Some(Channel { sender: Sender::new(shared.clone()), receiver: Receiver::new(shared) }))
}

fn understands_fast_frames(socket: &OwnedFd) -> bool {
    let told = env::var(FAST_FRAME_VARIABLE).ok().and_then(|text| text.parse::<u64>().ok());
    told.is_some() && told == inode(socket).ok()
}

/// The number by which the system knows a socket.
pub(crate) fn inode(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
