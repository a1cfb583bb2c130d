//! Child processes and channels with real Node at the other end, in both directions. Needs `node` on the PATH; more
//! versions are tried when `MUSHER_TEST_NODES` names their executables, separated by colons.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends at what it does not expect")]

mod advanced;
#[path = "../../examples/channel_peer.rs"]
mod channel_peer;
mod handles;
mod messages;
mod node_parent;
mod order;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use musher_process::child_process::{Child, Command, Event};
use musher_process::ipc::Message;

/// How long anything may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Every Node that is here.
fn nodes() -> Vec<OsString> {
    let listed = std::env::var_os("MUSHER_TEST_NODES").unwrap_or_default();
    let mut nodes: Vec<OsString> =
        std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).map(Into::into).collect();
    if nodes.is_empty() {
        nodes.push("node".into());
    }
    nodes
}

/// Runs a test that may take no longer than the deadline.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("not done in time") });
}

/// A JavaScript file in a directory that lives as long as this.
struct Script(tempfile::TempDir);

impl Script {
    fn new(text: &str) -> Script {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("script.js"), text).unwrap();
        Script(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("script.js")
    }

    /// To be forked in this Node.
    fn command(&self, node: &OsString) -> Command {
        Command::new(self.path()).exec_path(node).kill_on_drop(true)
    }
}

/// The next message of a child, which must not end before.
async fn message(child: &mut Child) -> Message {
    while let Some(event) = child.next_event().await {
        match event {
            Event::Message(message) => return message,
            Event::Exit(status) => panic!("the child ended: {status}"),
            Event::Error(error) => panic!("{error}"),
            _ => {}
        }
    }
    panic!("the child ended");
}

/// The program `examples/channel_peer.rs`, which is within this one: the arguments that make it that.
const PEER_ARGS: [&str; 4] = ["a_child_in_rust", "--exact", "--ignored", "--nocapture"];

fn peer() -> PathBuf {
    std::env::current_exe().unwrap()
}

#[test]
#[ignore = "this is the child that other tests fork"]
fn a_child_in_rust() {
    channel_peer::main().unwrap();
}
