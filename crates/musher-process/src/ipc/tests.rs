//! Messages that go many in a call: the same messages in the same order, and on their way when that is said.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::shared::Shared;
use super::{Channel, HIGH_WATER, Handle, Options, Receiver, SendError, Sender, Serialization};

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// More than is gathered: 64 KiB.
const MORE_THAN_GATHERED: usize = 70 << 10;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("not done in time") })
}

/// A channel, and the bare socket of its peer.
fn with_bare_peer() -> (Channel, UnixStream) {
    let (ours, end) = Channel::pair(Options::default()).unwrap();
    let peer = UnixStream::from(end);
    peer.set_nonblocking(true).unwrap();
    (ours, peer)
}

/// What is in the socket now.
fn there(peer: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match peer.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bytes,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_fed_is_sent_by_a_flush_in_one_piece() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        for number in 0..3 {
            channel.sender.feed(&number).await.unwrap();
        }
        assert_eq!(there(&mut peer), b"");
        assert_eq!(channel.sender.queued_bytes(), 6);
        channel.sender.flush().await.unwrap();
        assert_eq!(there(&mut peer), b"0\n1\n2\n");
        assert_eq!(channel.sender.queued_bytes(), 0);
    });
}

#[test]
fn what_is_fed_is_before_what_is_sent_later() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        channel.sender.feed("fed").await.unwrap();
        channel.sender.send("sent").await.unwrap();
        channel.sender.feed("fed").await.unwrap();
        assert!(channel.sender.try_send("tried").unwrap());
        assert_eq!(there(&mut peer), b"\"fed\"\n\"sent\"\n\"fed\"\n\"tried\"\n");
    });
}

#[test]
fn much_that_is_fed_goes_by_itself() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        let text = "x".repeat(1000);
        for _ in 0..MORE_THAN_GATHERED / text.len() {
            channel.sender.feed(&text).await.unwrap();
        }
        let came = there(&mut peer).len();
        assert!(came > MORE_THAN_GATHERED / 2, "{came}");
        // One that is longer than all that is gathered takes the others along.
        channel.sender.feed(&"x".repeat(MORE_THAN_GATHERED)).await.unwrap();
        assert_eq!(channel.sender.queued_bytes(), 0);
    });
}

#[test]
fn what_is_fed_arrives_when_its_sender_is_dropped_or_disconnects() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        let Channel { sender, receiver } = channel;
        sender.feed("dropped").await.unwrap();
        drop(sender);
        assert_eq!(there(&mut peer), b"\"dropped\"\n");
        drop(receiver);

        let (channel, mut peer) = with_bare_peer();
        channel.sender.feed("the last").await.unwrap();
        channel.sender.disconnect();
        assert!(matches!(channel.sender.feed("too late").await, Err(SendError::Closed)));
        assert_eq!(there(&mut peer), b"\"the last\"\n");
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn all_messages_of_a_list_are_on_their_way_also_if_the_list_is_given_up() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        channel.sender.send_all(0..3).await.unwrap();
        assert_eq!(there(&mut peer), b"0\n1\n2\n");
        assert!(matches!(channel.sender.send_all([Good(true), Good(false)]).await, Err(SendError::NotAMessage(_))));
        assert_eq!(there(&mut peer), b"true\n");
    });
}

/// A message, or none.
struct Good(bool);

impl serde::Serialize for Good {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { serializer.serialize_bool(true) } else { Err(serde::ser::Error::custom("no message")) }
    }
}

#[test]
fn feeding_a_peer_that_does_not_read_waits() {
    run(async {
        let (ours, end) = Channel::pair(Options::default()).unwrap();
        let text = "x".repeat(1000);
        let mut fed = 0;
        loop {
            let mut feeding = std::pin::pin!(ours.sender.feed(&text));
            match std::future::poll_fn(|cx| Poll::Ready(feeding.as_mut().poll(cx))).await {
                Poll::Ready(done) => done.unwrap(),
                Poll::Pending => break,
            }
            fed += 1;
        }
        let queued = ours.sender.queued_bytes();
        assert!((HIGH_WATER..3 * HIGH_WATER).contains(&queued), "{queued}");
        // The one that waited was dropped, so it was not sent; and who waits goes on when the peer reads.
        let mut theirs = Channel::from_fd(end, Options::default()).unwrap();
        let last = tokio::spawn(async move { ours.sender.feed("last").await });
        for _ in 0..fed {
            assert_eq!(theirs.recv().await.unwrap().parse::<String>().unwrap(), text);
        }
        last.await.unwrap().unwrap();
        assert_eq!(theirs.recv().await.unwrap().parse::<String>().unwrap(), "last");
    });
}

#[test]
fn what_was_fed_before_the_faster_frame_is_before_it() {
    run(async {
        let (mut channel, mut peer) = with_bare_peer();
        io::Write::write_all(&mut peer, b"{\"cmd\":\"NODE_MUSHER_FAST_FRAME\"}\n\x05\0\0\0\0\"now\"").unwrap();
        channel.sender.feed("a").await.unwrap();
        assert_eq!(channel.recv().await.unwrap().parse::<String>().unwrap(), "now");
        channel.sender.feed("b").await.unwrap();
        channel.sender.flush().await.unwrap();
        assert_eq!(there(&mut peer), b"\"a\"\n{\"cmd\":\"NODE_MUSHER_FAST_FRAME\"}\n\x03\0\0\0\0\"b\"");
    });
}

#[test]
fn a_flush_that_waits_takes_along_what_is_fed_meanwhile() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        let handle = Handle::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        channel.sender.send_handle_keeping("take it", &handle).await.unwrap();
        let sender = channel.sender.clone();
        let flushed = tokio::spawn(async move { sender.flush().await });
        tokio::task::yield_now().await;
        channel.sender.feed("meanwhile").await.unwrap();
        assert!(!flushed.is_finished());
        io::Write::write_all(&mut peer, b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n").unwrap();
        flushed.await.unwrap().unwrap();
        assert!(there(&mut peer).ends_with(b"\"meanwhile\"\n"));
    });
}

#[test]
fn what_is_fed_to_a_peer_that_is_gone_is_refused_and_not_kept() {
    run(async {
        let (channel, peer) = with_bare_peer();
        drop(peer);
        channel.sender.feed("lost").await.unwrap();
        assert!(matches!(channel.sender.flush().await, Err(SendError::Closed)));
        while channel.sender.feed(&"x".repeat(1000)).await.is_ok() {}
        assert_eq!(channel.sender.queued_bytes(), 0);
        drop(channel);
        // Nothing goes on turning in the only thread.
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn a_flush_fails_when_the_peer_ends_before_it_has_read() {
    run(async {
        let (Channel { sender, mut receiver, .. }, peer) = with_bare_peer();
        while sender.try_send(&"x".repeat(1000)).unwrap() {}
        let flushed = tokio::spawn(async move { sender.flush().await });
        tokio::task::yield_now().await;
        assert!(!flushed.is_finished());
        drop(peer);
        while receiver.recv().await.is_some() {}
        assert!(matches!(flushed.await.unwrap(), Err(SendError::Closed)));
    });
}

#[test]
fn an_answer_that_nobody_will_read_is_not_kept() {
    run(async {
        let (mut channel, peer) = with_bare_peer();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let line = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Server\",\"msg\":1}\n";
        crate::fdpass::send_with_fds(peer.as_fd(), line, &[listener.as_fd()]).unwrap();
        drop(peer);
        // It finds out that nobody reads.
        let _ = channel.sender.send("x").await;
        assert!(channel.receiver.recv().await.is_some());
        assert_eq!(channel.sender.queued_bytes(), 0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn what_was_fed_before_a_disconnect_can_be_waited_for() {
    run(async {
        let (channel, mut peer) = with_bare_peer();
        channel.sender.feed("the last").await.unwrap();
        channel.sender.disconnect();
        channel.sender.flush().await.unwrap();
        assert_eq!(there(&mut peer), b"\"the last\"\n");
    });
}

/// A way to send a message.
#[derive(Clone, Copy, Debug)]
enum How {
    Send,
    TrySend,
    Feed,
    WithHandle,
    FeedAndFlush,
    FromClone,
}

fn hows() -> impl Strategy<Value = Vec<(How, usize)>> {
    let how = prop_oneof![
        1 => Just(How::Send),
        1 => Just(How::TrySend),
        8 => Just(How::Feed),
        1 => Just(How::WithHandle),
        1 => Just(How::FeedAndFlush),
        1 => Just(How::FromClone),
    ];
    let size = prop_oneof![8 => 0_usize..200, 2 => 10_000_usize..30_000, 1 => 60_000_usize..200_000];
    prop::collection::vec((how, size), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_arrive_in_order_however_they_are_sent(messages in hows(), advanced: bool, fast: bool) {
        run(async {
            let serialization = if advanced { Serialization::Advanced } else { Serialization::Json };
            let options = Options::default().serialization(serialization);
            let (ours, end) = Channel::pair(options.clone()).unwrap();
            let shared = Shared::new(end, &options).unwrap();
            if fast && !advanced {
                // As a child does; the parent goes on in fast frames when it hears of it, and when it can.
                shared.switch_to_fast_frames();
            }
            let mut theirs = Channel { sender: Sender::new(shared.clone()), receiver: Receiver::new(shared) };
            let sending = messages.clone();
            let Channel { sender, mut receiver } = ours;
            let sent = tokio::spawn(async move {
                for (number, (how, size)) in sending.iter().enumerate() {
                    let message = json!([number, "x".repeat(*size)]);
                    match how {
                        How::Send => sender.send(&message).await.unwrap(),
                        How::TrySend => drop(sender.try_send(&message).unwrap()),
                        How::Feed => sender.feed(&message).await.unwrap(),
                        How::WithHandle => {
                            let handle = Handle::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
                            sender.send_handle(&message, handle).await.unwrap();
                        }
                        How::FeedAndFlush => {
                            sender.feed(&message).await.unwrap();
                            sender.flush().await.unwrap();
                        }
                        How::FromClone => sender.clone().feed(&message).await.unwrap(),
                    }
                }
            });
            // Reads what the peer says of handles, until it has closed its end.
            let reading = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
            for (number, (how, size)) in messages.iter().enumerate() {
                let message = theirs.recv().await.expect("a message");
                assert_eq!(message.parse::<(usize, String)>().unwrap(), (number, "x".repeat(*size)));
                assert_eq!(message.handle.is_some(), matches!(how, How::WithHandle));
            }
            sent.await.unwrap();
            drop(theirs);
            reading.await.unwrap();
        });
    }
}
