//! Any text in a cluster message is understood or ignored, and its key and answers are sane. What a preload says is bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use musher_cluster::message::{self, MAX_STACK, Request};

fuzz_target!(|text: &str| {
    for cmd in [message::CLUSTER, message::MUSHER, "NODE_OTHER"] {
        match Request::parse(cmd, text) {
            Request::QueryServer { query, .. } => {
                assert!(query.identity.answers(&query.identity));
                let _ = query.identity.key();
                assert!(query.backlog != Some(0));
            }
            Request::Listening { identity, .. } => assert!(identity.answers(&identity)),
            Request::Uncaught { stack, .. } => assert!(stack.len() <= MAX_STACK),
            Request::Pulse(pulse) => {
                assert!(pulse.busy_permille <= 1000);
                let all = pulse.latencies.quantile(1.0);
                assert_eq!(all.is_some(), pulse.latencies.count() > 0);
                assert!(pulse.latencies.quantile(0.5) <= all);
                assert_eq!(pulse.since(&pulse).requests, 0);
            }
            Request::Online
            | Request::Close { .. }
            | Request::ExitedAfterDisconnect { .. }
            | Request::Ack { .. }
            | Request::Hello
            | Request::Cut { .. }
            | Request::Team { .. }
            | Request::Other => {}
        }
    }
});
