use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::*;

/// A keeper that says what it is told to.
struct FakeKeeper(OwnedFd);

impl FakeKeeper {
    fn new() -> (FakeKeeper, OwnedFd) {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (FakeKeeper(ours), theirs)
    }

    fn hello(&self, oldest: u16, newest: u16) {
        let software = String::from("0.0.1");
        self.say(&Message::Hello { versions: Versions { oldest, newest }, open_files: 1024, software });
    }

    fn say(&self, message: &Message) {
        wire::send(&self.0, message, None).unwrap();
    }

    fn raw(&self, bytes: &[u8]) {
        rustix::net::send(&self.0, bytes, rustix::net::SendFlags::empty()).unwrap();
    }

    fn hold(&self, name: &str) {
        let fd = memfd::memfd_with(name, name.as_bytes()).unwrap();
        wire::send(&self.0, &Message::Held { name: name.to_owned() }, Some(fd.as_fd())).unwrap();
    }

    fn hear(&self) -> Message {
        match wire::receive(&self.0).unwrap() {
            Some(Incoming::Message(message, _)) => message,
            other => panic!("{other:?}"),
        }
    }
}

fn exit(sequence: u64) -> ExitRecord {
    ExitRecord { sequence, pid: 42, wait_status: 9, time_ms: 7 }
}

#[test]
fn a_keeper_of_the_same_version_hands_over_everything() {
    let (keeper, socket) = FakeKeeper::new();
    keeper.hello(1, 1);
    keeper.hold("app/1");
    keeper.hold("lock");
    keeper.say(&Message::Exit(exit(0)));
    keeper.say(&Message::InventoryEnd);
    let (link, inventory) = KeeperLink::connect(socket).unwrap();
    assert_eq!(link.version(), Some(1));
    assert_eq!(link.workers_open_files(), Some(1024));
    assert_eq!(link.names(), ["app/1", "lock"]);
    assert_eq!(memfd::read_memfd(inventory.fds["app/1"].as_fd(), 99).unwrap(), b"app/1");
    assert_eq!(inventory.exits, [exit(0)]);
    assert_eq!(link.keeper_software(), "0.0.1");
    assert_eq!(keeper.hear(), our_hello());
}

#[test]
fn an_older_or_newer_keeper_hands_over_everything_too() {
    for (oldest, newest, agreed) in [(0, 0, None), (1, 7, Some(wire::OURS.newest)), (5, 7, None)] {
        let (keeper, socket) = FakeKeeper::new();
        keeper.hello(oldest, newest);
        keeper.raw(&[0xff, 0xff, 1, 2, 3]);
        keeper.raw(&[1]);
        keeper.hold("lock");
        // A known kind with a field that we do not know.
        keeper.raw(&[&Message::Exit(exit(3)).encode()[..], b"cgroup"].concat());
        keeper.raw(&[&Message::InventoryEnd.encode()[..], &[0; 1000]].concat());
        let (link, inventory) = KeeperLink::connect(socket).unwrap();
        assert_eq!(link.version(), agreed);
        assert_eq!(inventory.fds.keys().collect::<Vec<_>>(), ["lock"]);
        assert_eq!(inventory.exits, [exit(3)]);
        keeper.raw(&[0xfe, 0xff]);
        keeper.say(&Message::EndRequested);
        assert_eq!(link.next_event(), Some(KeeperEvent::EndRequested));
        assert_eq!(link.next_event(), None);
    }
}

#[test]
fn what_a_keeper_had_told_before_it_died_is_in_the_mirror() {
    let (keeper, socket) = FakeKeeper::new();
    keeper.hello(1, 1);
    keeper.hold("lock");
    drop(keeper);
    let (link, start) = KeeperLink::receive(socket).unwrap();
    assert!(!start.complete);
    assert_eq!(link.names(), ["lock", super::PARTIAL]);
}

#[test]
fn a_keeper_that_ends_without_a_word_is_an_error() {
    let (keeper, socket) = FakeKeeper::new();
    drop(keeper);
    assert!(KeeperLink::connect(socket).is_err());
}

#[test]
fn without_a_keeper_puts_go_to_the_mirror_and_its_death_is_told() {
    let (keeper, socket) = FakeKeeper::new();
    keeper.say(&Message::InventoryEnd);
    let (link, _) = KeeperLink::connect(socket).unwrap();
    drop(keeper);
    link.put_bytes("app/1", b"state");
    link.put_bytes("app/2", b"state");
    link.remove("app/1");
    assert_eq!(link.names(), ["app/2"]);
    assert!(link.keeper_has_died());
    assert_eq!(link.next_event(), Some(KeeperEvent::Died));
    assert_eq!(link.next_event(), Some(KeeperEvent::Died));
}

#[test]
fn a_put_waits_for_a_keeper_that_is_slow() {
    let (keeper, socket) = FakeKeeper::new();
    keeper.say(&Message::InventoryEnd);
    let (link, _) = KeeperLink::connect(socket).unwrap();
    assert!(matches!(keeper.hear(), Message::Hello { .. }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..5000 {
                link.put_bytes("app/1", &u32::to_le_bytes(n));
            }
            link.shutdown();
        });
        let mut puts = 0;
        loop {
            wait_until(&keeper.0, PollFlags::IN, Instant::now() + PATIENCE).unwrap();
            match keeper.hear() {
                Message::Put { .. } => puts += 1,
                Message::Shutdown => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(puts, 5000);
    });
}

#[tokio::test]
async fn a_watch_tells_what_the_keeper_says_until_it_dies() {
    let (keeper, socket) = FakeKeeper::new();
    keeper.say(&Message::InventoryEnd);
    let (link, _) = KeeperLink::connect(socket).unwrap();
    let mut watch = link.watch().unwrap();
    keeper.say(&Message::Exit(exit(8)));
    keeper.say(&Message::Pong { token: 3 });
    assert_eq!(watch.next().await, KeeperEvent::Exit(exit(8)));
    assert_eq!(watch.next().await, KeeperEvent::Pong(3));
    let later = async {
        tokio::task::yield_now().await;
        drop(keeper);
    };
    let (event, ()) = tokio::join!(watch.next(), later);
    assert_eq!(event, KeeperEvent::Died);
    assert_eq!(watch.next().await, KeeperEvent::Died);
}
