//! A worker that sends anything over its channel, in pieces and with descriptors, hurts nobody: the reader never panics,
//! holds a bounded number of descriptors and bytes, and sees every message at least once whoever reads.

#![no_main]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use libfuzzer_sys::fuzz_target;
use musher_process::channel::{Channel, MAX_BATCH, MAX_MESSAGE, READ_BUFFER, State};
use musher_process::fdpass;

// The input is a sequence of writes: a byte that says how many descriptors go along (and whether the reader looks and
// dies before it goes on), two bytes of length, and the bytes.
fuzz_target!(|input: &[u8]| {
    let (channel, childs) = Channel::pair().unwrap();
    let worker = UnixStream::from(childs);
    worker.set_nonblocking(true).unwrap();
    let null = File::open("/dev/null").unwrap();
    let mut channel = channel;
    let mut buffer = vec![0; READ_BUFFER];
    let mut rest = input;
    // What is large, or has a descriptor, is gathered in the memory of the reader.
    let mut gathers = input.len() > READ_BUFFER / 4;
    while let [how, high, low, bytes @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(bytes.len());
        let (piece, behind) = bytes.split_at(length);
        rest = behind;
        if !piece.is_empty() {
            let fds = vec![null.as_fd(); usize::from(how % 4)];
            gathers |= !fds.is_empty();
            let _ = fdpass::send_with_fds(&worker, piece, &fds);
        }
        if how & 0x80 != 0 {
            // Somebody else goes on, before or after the messages were consumed.
            let seen = channel.read(&mut buffer).messages.len();
            let mut successor = Channel::new(channel.into_socket()).unwrap();
            successor.follow_predecessor(false);
            assert!(gathers || seen == 0 || !successor.read(&mut buffer).messages.is_empty());
            channel = successor;
        }
        for _ in 0..64 {
            let batch = channel.read(&mut buffer);
            assert!(batch.messages.len() <= MAX_BATCH);
            assert!(batch.messages.iter().all(|message| message.text.len() <= MAX_MESSAGE));
            channel.consume();
            match batch.state {
                State::More => {}
                State::Idle => break,
                State::Ended | State::Broken(_) => return,
            }
        }
        let _ = channel.flush();
    }
});
