//! Users: who asks what next, and since when they wait.

use std::time::{Duration, Instant};

use super::prepared::Ready;
use crate::http::cookies::Jar;

/// The longest pause of a user that cannot connect: 1 ms, doubled that often.
const MOST_DOUBLINGS: u8 = 7;

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Open loop: it waits for a request that is due.
    Free,
    /// A pause between two requests.
    Pausing,
    /// Its request waits for the connection.
    Dialling,
    /// Its request is sent.
    Asking,
    /// It has failed, and is about to go on.
    Failed,
    /// Nothing more to do.
    Done,
}

/// A way that a redirect has led to.
#[derive(Debug)]
pub(super) struct Detour {
    pub(super) request: Ready,
    pub(super) hops: u8,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) doing: Doing,
    /// Place in the list.
    pub(super) next: usize,
    /// The request that it is at.
    pub(super) request: usize,
    /// How many it has left.
    pub(super) left: u64,
    pub(super) phase: usize,
    pub(super) planned: Instant,
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
    pub(super) detour: Option<Box<Detour>>,
    pub(super) jar: Option<Box<Jar>>,
    /// Connections in a row that failed.
    unlucky: u8,
}

impl User {
    pub(super) fn new(next: usize, left: u64, now: Instant) -> User {
        User {
            doing: Doing::Free,
            next,
            request: 0,
            left,
            phase: 0,
            planned: now,
            begun: now,
            deadline: now,
            detour: None,
            jar: None,
            unlucky: 0,
        }
    }

    /// Whether a request of it is under way.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.doing, Doing::Dialling | Doing::Asking)
    }

    /// A server that is not there must not be asked as fast as this machine can: how long to wait.
    pub(super) fn pause_after_failure(&mut self) -> Duration {
        let pause = Duration::from_millis(1 << self.unlucky);
        self.unlucky = (self.unlucky + 1).min(MOST_DOUBLINGS);
        pause
    }

    /// An answer came.
    pub(super) fn is_lucky(&mut self) {
        self.unlucky = 0;
    }
}
