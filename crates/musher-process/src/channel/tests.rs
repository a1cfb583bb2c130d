use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::{Batch, Bounds, Channel, Fault, Kind, MAX_BATCH, MAX_MESSAGE, READ_BUFFER, SendError, State};
use crate::fdpass;

/// A channel and the worker's end of it.
fn pair() -> (Channel, UnixStream) {
    let (channel, childs) = Channel::pair().unwrap();
    let stream = UnixStream::from(childs);
    stream.set_nonblocking(true).unwrap();
    (channel, stream)
}

fn read(channel: &mut Channel) -> Batch {
    channel.read(&mut vec![0; READ_BUFFER])
}

fn texts(batch: &Batch) -> Vec<&str> {
    batch.messages.iter().map(|message| message.text.as_str()).collect()
}

fn received(stream: &mut UnixStream) -> String {
    let mut buffer = vec![0; 1 << 16];
    let n = stream.read(&mut buffer).unwrap();
    String::from_utf8(buffer[..n].to_vec()).unwrap()
}

/// Reads and consumes until something other than `More` comes.
fn drain(channel: &mut Channel) -> (Vec<String>, State) {
    let mut all = Vec::new();
    loop {
        let batch = read(channel);
        all.extend(batch.messages.into_iter().map(|message| message.text));
        channel.consume();
        match batch.state {
            State::More => {}
            state => return (all, state),
        }
    }
}

#[test]
fn messages_stay_until_they_are_consumed() {
    let (mut channel, mut worker) = pair();
    worker.write_all(b"{\"a\":1}\n\"\xc3\xa4\"\n{\"unfin").unwrap();
    assert_eq!(texts(&read(&mut channel)), ["{\"a\":1}", "\"ä\""]);
    // A reader that died here leaves them to its successor.
    let mut channel = Channel::new(channel.into_socket()).unwrap();
    channel.follow_predecessor(false);
    assert_eq!(texts(&read(&mut channel)), ["{\"a\":1}", "\"ä\""]);
    assert!(read(&mut channel).messages.is_empty());
    channel.consume();
    assert!(matches!(read(&mut channel).state, State::Idle));
    worker.write_all(b"ished\":2}\n").unwrap();
    assert_eq!(drain(&mut channel).0, ["{\"unfinished\":2}"]);
    drop(worker);
    assert!(matches!(read(&mut channel).state, State::Ended));
}

#[test]
fn large_messages_are_gathered_up_to_the_limit() {
    let (mut channel, mut worker) = pair();
    let text = format!("\"{}\"", "ü".repeat((MAX_MESSAGE - 2) / 2));
    let line = format!("{text}\n");
    let mut rest = line.as_bytes();
    let mut all = Vec::new();
    while all.is_empty() {
        while !rest.is_empty()
            && let Ok(n) = worker.write(rest)
        {
            rest = &rest[n..];
        }
        let (messages, state) = drain(&mut channel);
        assert!(matches!(state, State::Idle), "{state:?}");
        all = messages;
    }
    assert_eq!(all, [text]);
}

#[test]
fn bounds_are_the_owners_to_set() {
    let (channel, mut theirs) = pair();
    let mut channel = channel.bounded_by(Bounds { message: 16, queued_bytes: 8, queued_messages: 2 });
    theirs.write_all(b"\"fourteen bytes\"\n\"and one more, it is\"\n").unwrap();
    let batch = read(&mut channel);
    assert_eq!(batch.messages[0].text, "\"fourteen bytes\"");
    assert_eq!(batch.messages[1].kind, Kind::TooLong { bytes: 21 });
    channel.queue("\"one message always fits\"", None).unwrap();
    assert!(matches!(channel.queue("1", None), Err(SendError::Full { messages: 1, .. })));
    channel.flush().unwrap();
    channel.queue("1", None).unwrap();
    channel.queue("2", None).unwrap();
    assert!(matches!(channel.queue("3", None), Err(SendError::Full { messages: 2, bytes: 4 })));
}

#[test]
fn of_a_message_that_is_too_long_only_the_size_is_told_and_it_takes_bounded_memory() {
    let (mut channel, mut worker) = pair();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    // The descriptor is on its first part, as Node sends it.
    let mut sent = fdpass::send_with_fds(&worker, &[b'x'; 8192], &[socket.as_fd()]).unwrap();
    while sent < 5 * MAX_MESSAGE {
        while let Ok(n) = worker.write(&[b'x'; 8192]) {
            sent += n;
        }
        let (messages, state) = drain(&mut channel);
        assert!(messages.is_empty() && matches!(state, State::Idle), "{messages:?} {state:?}");
        assert!(channel.gathered.capacity() <= 2 * MAX_MESSAGE);
    }
    assert_eq!(channel.gathered.capacity(), 0);
    worker.write_all(b"\"last\"\n{\"next\":1}\n").unwrap();
    let batch = read(&mut channel);
    assert_eq!(texts(&batch), ["", "{\"next\":1}"]);
    assert_eq!(batch.messages[0].kind, Kind::TooLong { bytes: sent as u64 + 6 });
    channel.consume();
    channel.flush().unwrap();
    assert_eq!(received(&mut worker), "{\"cmd\":\"NODE_HANDLE_ACK\"}\n", "it waits for that");
}

#[test]
fn the_rest_of_a_message_that_a_predecessor_took_along_is_skipped() {
    let (channel, mut worker) = pair();
    let mut channel = Channel::new(channel.into_socket()).unwrap();
    channel.follow_predecessor(false);
    worker.write_all(b"end of it\"}\n{\"next\":1}\nbroken\n").unwrap();
    let (messages, state) = drain(&mut channel);
    assert_eq!(messages, ["{\"next\":1}"]);
    assert!(matches!(state, State::Broken(Fault::NotJson(_))));
}

#[test]
fn a_descriptor_comes_with_its_message_and_is_acknowledged() {
    let (mut channel, mut worker) = pair();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let handle = br#"{"cmd":"NODE_HANDLE","type":"net.Server","msg":{"mine":true}}"#;
    worker.write_all(b"1\n").unwrap();
    fdpass::send_with_fds(&worker, &[&handle[..], b"\n"].concat(), &[socket.as_fd()]).unwrap();
    worker.write_all(b"2\n").unwrap();
    let batch = read(&mut channel);
    assert_eq!(texts(&batch), ["1", "{\"mine\":true}"]);
    assert_eq!(batch.messages[1].kind, Kind::User);
    let got = batch.messages[1].handle.as_ref().unwrap();
    assert_eq!(crate::net::local_address(got).unwrap(), socket.local_addr().unwrap());
    channel.consume();
    channel.flush().unwrap();
    assert_eq!(received(&mut worker), "{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
    assert_eq!(drain(&mut channel).0, ["2"]);

    // A large message: the descriptor is on its first part.
    let large = format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Server\",\"msg\":\"{}\"}}\n", "x".repeat(100_000));
    let sent = fdpass::send_with_fds(&worker, &large.as_bytes()[..30_000], &[socket.as_fd()]).unwrap();
    assert!(matches!(drain(&mut channel).1, State::Idle));
    worker.write_all(&large.as_bytes()[sent..]).unwrap();
    let batch = read(&mut channel);
    assert_eq!(batch.messages.len(), 1);
    assert!(batch.messages[0].handle.is_some());
}

#[test]
fn handles_without_messages_and_messages_without_handles_hurt_only_the_sender() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut channel, mut worker) = pair();
    worker.write_all(b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1}\n").unwrap();
    assert!(drain(&mut channel).0.is_empty());
    channel.flush().unwrap();
    assert_eq!(received(&mut worker), "{\"cmd\":\"NODE_HANDLE_NACK\"}\n");

    fdpass::send_with_fds(&worker, b"{}\n", &[socket.as_fd()]).unwrap();
    assert!(matches!(drain(&mut channel).1, State::Broken(Fault::StrayHandle)));

    let (mut channel, worker) = pair();
    fdpass::send_with_fds(&worker, b"{}\n", &[socket.as_fd(); 253]).unwrap();
    assert!(matches!(drain(&mut channel).1, State::Broken(Fault::TooManyHandles)));
}

#[test]
fn a_batch_is_bounded() {
    let (mut channel, mut worker) = pair();
    worker.write_all("1\n".repeat(MAX_BATCH * 2 + 1).as_bytes()).unwrap();
    assert_eq!(read(&mut channel).messages.len(), MAX_BATCH);
    channel.consume();
    assert_eq!(drain(&mut channel).0.len(), MAX_BATCH + 1);
}

#[test]
fn what_was_sent_before_the_end_is_read_after_it() {
    let (mut channel, mut worker) = pair();
    channel.queue("\"never read\"", None).unwrap();
    channel.flush().unwrap();
    worker.write_all(b"\"last words\"\n").unwrap();
    drop(worker);
    assert_eq!(drain(&mut channel).0, ["\"last words\""]);
    // Being told of the end (EPOLLRDHUP), the caller reads on.
    assert!(matches!(drain(&mut channel).1, State::Ended));
    channel.queue("1", None).unwrap();
    assert!(matches!(channel.flush(), Err(SendError::Closed)));
}

#[test]
fn a_descriptor_is_sent_once_whatever_the_socket_takes() {
    let (mut channel, mut worker) = pair();
    let handle: Arc<OwnedFd> = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap().into());
    let large = "y".repeat(600_000);
    channel.queue(&format!("\"{large}\""), Some(Arc::clone(&handle))).unwrap();
    channel.queue("\"after\"", None).unwrap();
    assert!(!channel.peer_has_unread());
    let (mut bytes, mut handles) = (Vec::new(), 0);
    while channel.wants_write() {
        channel.flush().unwrap();
        assert!(channel.peer_has_unread());
        let mut buffer = vec![0; 1 << 16];
        while let Ok(got) = fdpass::recv_with_fds(&worker, &mut buffer, 8, rustix::net::RecvFlags::DONTWAIT)
            .map(|got| (got.bytes, got.fds))
        {
            bytes.extend_from_slice(&buffer[..got.0]);
            handles += got.1.len();
        }
    }
    assert_eq!(handles, 1);
    assert_eq!(bytes, format!("\"{large}\"\n\"after\"\n").as_bytes());
    assert!(!channel.peer_has_unread());
    assert_eq!(worker.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_peer_that_does_not_read_fills_a_bounded_queue() {
    let (mut channel, _worker) = pair();
    let text = format!("\"{}\"", "z".repeat(10_000));
    let mut queued = 0;
    let error = loop {
        match channel.queue(&text, None) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
        channel.flush().unwrap();
    };
    assert!(matches!(error, SendError::Full { .. }));
    assert!((300..600).contains(&queued), "{queued}");
    assert!(matches!(channel.queue("1\n2", None), Err(SendError::LineBreak)));
}

#[test]
fn v8s_format_is_spoken_whole_in_pieces_with_handles_and_beyond_the_limit() {
    use crate::v8::Value;
    let (ours, theirs) = Channel::pair().unwrap();
    let (mut ours, mut theirs) = (ours.advanced(), Channel::new(theirs).unwrap().advanced());
    let date = Value::Object(vec![("when".into(), Value::Date(0.0))]);
    theirs.queue_value(&date).unwrap();
    theirs.queue(r#"{"a":1}"#, None).unwrap();
    let socket = Arc::new(OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()));
    theirs
        .queue_internal(r#"{"cmd":"NODE_HANDLE","type":"dgram.Native","msg":{"cmd":"NODE_CLUSTER"}}"#, Some(socket))
        .unwrap();
    theirs.queue(&format!("\"{}\"", "x".repeat(MAX_MESSAGE - 100)), None).unwrap();
    theirs.queue(&format!("\"{}\"", "y".repeat(2 * MAX_MESSAGE)), None).unwrap();
    theirs.queue("3", None).unwrap();
    let mut found = Vec::new();
    let mut buffer = vec![0; READ_BUFFER];
    while found.len() < 6 {
        theirs.flush().unwrap();
        let batch = ours.read(&mut buffer);
        assert!(!matches!(batch.state, State::Broken(_) | State::Ended), "{:?}", batch.state);
        found.extend(batch.messages);
        ours.consume();
    }
    assert_eq!(found[0].v8, Some(date));
    assert_eq!(found[0].text, r#"{"when":"1970-01-01T00:00:00.000Z"}"#);
    assert_eq!((found[1].text.as_str(), &found[1].kind), (r#"{"a":1}"#, &Kind::User));
    assert_eq!(found[2].kind, Kind::Internal { cmd: "NODE_CLUSTER".into() });
    assert!(found[2].handle.is_some());
    assert_eq!(found[3].text.len(), MAX_MESSAGE - 98);
    assert!(matches!(found[4].kind, Kind::TooLong { bytes } if bytes > 2 * MAX_MESSAGE as u64));
    assert_eq!(found[5].text, "3");
    // What is not V8's is the peer's fault.
    rustix::io::write(&theirs, b"\0\0\0\x02xx").unwrap();
    assert!(matches!(ours.read(&mut buffer).state, State::Broken(Fault::NotV8(_))));
}
