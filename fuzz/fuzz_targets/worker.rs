//! A primary that sends anything to a worker, in pieces and with descriptors, hurts nobody: nothing panics, the worker ends
//! with its channel, and no descriptor is left.

#![no_main]

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use musher_process::fdpass;
use musher_process::ipc::{Channel, Options, Serialization};

/// Less than a socket holds, so that all of it can be written before it is read.
const MAX_INPUT: usize = 60 << 10;
/// What a primary says first, so that the rest comes to a worker that listens.
const ANSWER: &[u8] = b"{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"key\":\"k\",\"errno\":null,\"seq\":0}\n";

// The first byte says which frame, and whether it listens. Then a sequence of writes: a byte that says how many descriptors
// go along, two bytes of length, and the bytes.
fuzz_target!(|input: &[u8]| {
    let [how, script @ ..] = input else { return };
    if script.len() > MAX_INPUT {
        return;
    }
    // What is opened once for all runtimes is no leak.
    static FIRST: std::sync::Once = std::sync::Once::new();
    FIRST.call_once(|| drop(runtime()));
    let before = descriptors();
    let runtime = runtime();
    runtime.block_on(async {
        let advanced = how % 2 == 1;
        let options = Options::default().max_message(16 << 10);
        let options = if advanced { options.serialization(Serialization::Advanced) } else { options };
        let (channel, end) = Channel::pair(options).unwrap();
        let peer = UnixStream::from(end);
        peer.set_nonblocking(true).unwrap();
        if how & 0x80 != 0 && !advanced {
            let _ = fdpass::send_with_fds(&peer, ANSWER, &[]);
        }
        write(&peer, script);
        // Only our direction ends: it may still say what it likes.
        let _ = peer.shutdown(std::net::Shutdown::Write);
        drop(musher_cluster::fuzzing::worker(channel, advanced).await);
    });
    drop(runtime);
    assert_eq!(before, descriptors(), "descriptors are left");
});

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn write(peer: &UnixStream, script: &[u8]) {
    let socket: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
    let mut rest = script;
    while let [how, high, low, bytes @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
        let (piece, behind) = bytes.split_at(length);
        rest = behind;
        if !piece.is_empty() {
            let fds = vec![socket.as_fd(); usize::from(how % 3)];
            let _ = fdpass::send_with_fds(peer, piece, &fds);
        }
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
