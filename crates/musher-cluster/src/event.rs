//! What the cluster tells the supervisor.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use musher_core::ids::{AppId, RunId};
use musher_core::vitals::Pulse;
use musher_process::v8;
use serde_json::Value;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::handle::Passed;
use crate::message::Identity;

/// Where events go. Bounded; when it is full the cluster keeps events and stops reading the workers they come from.
pub type EventSink = Sender<ClusterEvent>;

/// Something that happened to a worker or app. Events of one worker come in order, each at least once: a supervisor that
/// adopts a worker hears `Online`, `Listening` and `Ready` again.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterEvent {
    /// The worker's Node is up.
    Online {
        /// Which.
        run: RunId,
    },
    /// A server of the worker listens.
    Listening {
        /// Which.
        run: RunId,
        /// `127.0.0.1:8080`, `[::]:8080`, `udp://127.0.0.1:53` or the path of a unix socket.
        address: String,
        /// In the words of the worker, with the port that it got.
        told: Box<Identity>,
    },
    /// The worker sent the message `'ready'`.
    Ready {
        /// Which.
        run: RunId,
    },
    /// The worker sent any other message.
    Message {
        /// Which.
        run: RunId,
        /// The message.
        value: Value,
        /// The same whole, of a worker that speaks V8's format.
        v8: Option<Box<v8::Value>>,
        /// The socket that came with it.
        handle: Option<Passed>,
    },
    /// The worker sent a message for a runtime that is not the cluster's: an object whose `cmd` begins with `NODE_`.
    Internal {
        /// Which.
        run: RunId,
        /// The message.
        value: Value,
        /// The socket that came with it.
        handle: Option<Passed>,
    },
    /// The worker tells that it leaves the cluster of its own will.
    Leaving {
        /// Which.
        run: RunId,
    },
    /// The worker sent a message so long that it was dropped.
    TooLong {
        /// Which.
        run: RunId,
        /// The size of the message.
        bytes: u64,
    },
    /// The worker's channel has ended: it disconnected, exits, or is dead.
    Disconnected {
        /// Which.
        run: RunId,
    },
    /// The worker was asked to drain and has: its channel has ended, or it has none of the means to be asked.
    Drained {
        /// Which.
        run: RunId,
    },
    /// The worker broke the protocol of its channel. Nothing more is read from it; it should be killed.
    Violation {
        /// Which.
        run: RunId,
        /// What it did: `sent a line that is not JSON: ...`.
        reason: String,
    },
    /// An exception that nobody caught ends the worker. A supervisor that adopts it hears so too, without the stack.
    Uncaught {
        /// Which.
        run: RunId,
        /// What was thrown, and where; at most 64 KiB of whatever the worker says.
        stack: String,
        /// Whether it finishes what it has before: it gets no connections any more, and `Drained` follows.
        drains: bool,
    },
    /// The worker closed connections that were not done when the limit of its drain was reached.
    Cut {
        /// Which.
        run: RunId,
        /// How many.
        count: u32,
    },
    /// How the worker is, as it was asked by [`Cluster::watch`](crate::Cluster::watch).
    Pulse {
        /// Which.
        run: RunId,
        /// By its own word.
        pulse: Box<Pulse>,
    },
    /// The worker's event loop has not turned for at least the time that [`Cluster::watch`](crate::Cluster::watch) was
    /// given. Told again for as long as it lasts.
    Stuck {
        /// Which.
        run: RunId,
        /// That time.
        after: Duration,
    },
    /// The worker could not be given the address it wants to listen on. It was told so.
    BindFailed {
        /// Which.
        run: RunId,
        /// What it asked for.
        address: String,
        /// The error number of Linux: 98 is EADDRINUSE, 13 EACCES.
        errno: i32,
    },
    /// An address is closed and its port free: its last worker closed it and lives on.
    Freed {
        /// Whose.
        app: AppId,
        /// Which, as `Listening` told it.
        address: String,
    },
    /// All listeners of the app are closed and their ports free.
    Closed {
        /// Which.
        app: AppId,
    },
}

impl ClusterEvent {
    fn run(&self) -> Option<RunId> {
        match self {
            ClusterEvent::Online { run }
            | ClusterEvent::Listening { run, .. }
            | ClusterEvent::Ready { run }
            | ClusterEvent::Message { run, .. }
            | ClusterEvent::Internal { run, .. }
            | ClusterEvent::Leaving { run }
            | ClusterEvent::TooLong { run, .. }
            | ClusterEvent::Disconnected { run }
            | ClusterEvent::Drained { run }
            | ClusterEvent::Violation { run, .. }
            | ClusterEvent::Uncaught { run, .. }
            | ClusterEvent::Cut { run, .. }
            | ClusterEvent::Pulse { run, .. }
            | ClusterEvent::Stuck { run, .. }
            | ClusterEvent::BindFailed { run, .. } => Some(*run),
            ClusterEvent::Freed { .. } | ClusterEvent::Closed { .. } => None,
        }
    }
}

/// Events on their way to the sink.
#[derive(Debug)]
pub(crate) struct Outbox {
    sink: EventSink,
    kept: VecDeque<ClusterEvent>,
    of_run: HashMap<RunId, usize>,
}

impl Outbox {
    pub(crate) fn new(sink: EventSink) -> Outbox {
        Outbox { sink, kept: VecDeque::new(), of_run: HashMap::new() }
    }

    pub(crate) fn push(&mut self, event: ClusterEvent) {
        if let Some(run) = event.run() {
            *self.of_run.entry(run).or_default() += 1;
        }
        self.kept.push_back(event);
    }

    /// Hands over as much as the sink takes. Whether nothing is left. A sink that is gone takes everything.
    pub(crate) fn deliver(&mut self) -> bool {
        while let Some(event) = self.kept.pop_front() {
            let run = event.run();
            match self.sink.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {
                    if let Some(run) = run
                        && let Some(count) = self.of_run.get_mut(&run)
                    {
                        *count -= 1;
                        if *count == 0 {
                            self.of_run.remove(&run);
                        }
                    }
                }
                Err(TrySendError::Full(event)) => {
                    self.kept.push_front(event);
                    return false;
                }
            }
        }
        true
    }

    /// Whether events of this worker are kept: its messages stay in its channel so long.
    pub(crate) fn keeps(&self, run: RunId) -> bool {
        self.of_run.contains_key(&run)
    }
}

#[cfg(test)]
mod tests {
    use musher_core::ids::RunId;

    use super::{ClusterEvent, Outbox};

    #[test]
    fn a_full_sink_keeps_events_in_order() {
        let (sink, mut received) = tokio::sync::mpsc::channel(1);
        let mut outbox = Outbox::new(sink);
        let (loud, quiet) = (RunId(1), RunId(2));
        for n in 0..=16 {
            outbox.push(ClusterEvent::Message { run: loud, value: n.into(), v8: None, handle: None });
        }
        outbox.push(ClusterEvent::Ready { run: quiet });
        assert!(!outbox.deliver());
        assert!(outbox.keeps(loud));
        assert!(outbox.keeps(quiet));
        for n in 0..=16 {
            assert_eq!(
                received.try_recv().unwrap(),
                ClusterEvent::Message { run: loud, value: n.into(), v8: None, handle: None }
            );
            outbox.deliver();
        }
        assert!(!outbox.keeps(loud));
        assert_eq!(received.try_recv().unwrap(), ClusterEvent::Ready { run: quiet });
        drop(received);
        outbox.push(ClusterEvent::Ready { run: quiet });
        assert!(outbox.deliver());
    }
}
