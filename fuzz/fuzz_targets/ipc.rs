//! A peer that sends anything over a channel, in each of the frames, in pieces and with descriptors, hurts nobody: nothing
//! panics, the channel ends with it, and no descriptor is left.

#![no_main]

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use musher_process::fdpass;
use musher_process::ipc::{Channel, Handle, Message, Options, Order, Received, Serialization};

/// Less than a socket holds, so that all of it can be written before it is read.
const MAX_INPUT: usize = 60 << 10;

// The first byte says which frame. Then a sequence of writes: a byte that says how many descriptors go along, two bytes of
// length, and the bytes.
fuzz_target!(|input: &[u8]| {
    let [frame, script @ ..] = input else { return };
    if script.len() > MAX_INPUT {
        return;
    }
    // What tokio opens once for all runtimes is no leak.
    static FIRST: std::sync::Once = std::sync::Once::new();
    FIRST.call_once(|| drop(runtime()));
    let before = descriptors();
    let runtime = runtime();
    let within = runtime.block_on(async {
        let options = Options::default().max_message(16 << 10);
        let options = match frame % 3 {
            1 => options.serialization(Serialization::Advanced),
            _ => options,
        };
        let (channel, end) = Channel::pair(options).unwrap();
        let peer = UnixStream::from(end);
        peer.set_nonblocking(true).unwrap();
        if frame % 3 == 2 {
            let _ = fdpass::send_with_fds(&peer, b"{\"cmd\":\"NODE_MUSHER_FAST_FRAME\"}\n", &[]);
        }
        // So that there is something that it may confirm, refuse or count.
        if frame & 0x80 != 0 {
            let listener = Handle::from(TcpListener::bind("127.0.0.1:0").unwrap());
            for order in [Order::Queued, Order::Pipelined, Order::Queued] {
                let message = serde_json::json!({"cmd": "NODE_X"});
                let _ = channel.sender.send_internal(&message, Some(&listener.clone().with_key("k")), order);
            }
        }
        write(&peer, script);
        drop(peer);
        read(channel).await;
        tokio::task::yield_now().await;
        descriptors()
    });
    drop(runtime);
    let after = descriptors();
    assert_eq!(before, after, "descriptors are left ({within} within)");
});

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn write(peer: &UnixStream, script: &[u8]) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap().into();
    let sockets: [std::os::fd::OwnedFd; 2] = [socket, File::open("/dev/null").unwrap().into()];
    let mut rest = script;
    while let [how, high, low, bytes @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
        let (piece, behind) = bytes.split_at(length);
        rest = behind;
        if !piece.is_empty() {
            let fds = vec![sockets[usize::from(how >> 7)].as_fd(); usize::from(how % 4)];
            let _ = fdpass::send_with_fds(peer, piece, &fds);
        }
    }
}

async fn read(mut channel: Channel) {
    let mut held = Vec::new();
    while let Some(received) = channel.receiver.recv_any().await {
        let Message { handle, .. } = match &received {
            Received::Message(message) | Received::Internal(musher_process::ipc::Internal { message, .. }) => {
                let _ = (message.text(), message.parse::<serde_json::Value>());
                if let Ok(value) = message.value() {
                    let _ = channel.sender.send_value(&value).await;
                    let _ = channel.sender.feed(&message.text().unwrap_or_default()).await;
                }
                message
            }
        };
        if let Some(handle) = handle.clone() {
            let _ = handle.clone().into_tcp_stream();
            match handle.into_tcp_listener() {
                Ok(listener) => held.push(Handle::from(listener)),
                Err(wrong) => held.push(wrong.handle),
            }
        }
    }
    let _ = channel.receiver.fault();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
