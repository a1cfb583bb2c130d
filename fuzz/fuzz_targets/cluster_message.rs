//! Any text in a cluster message is understood or ignored, and its key and answers are sane.

#![no_main]

use libfuzzer_sys::fuzz_target;
use musher_cluster::message::{self, Request};

fuzz_target!(|text: &str| {
    for cmd in [message::CLUSTER, message::MUSHER, "NODE_OTHER"] {
        match Request::parse(cmd, text) {
            Request::QueryServer { query, .. } => {
                assert!(query.identity.answers(&query.identity));
                let _ = query.identity.key();
                assert!(query.backlog != Some(0));
            }
            Request::Listening(identity) => assert!(identity.answers(&identity)),
            _ => {}
        }
    }
});
