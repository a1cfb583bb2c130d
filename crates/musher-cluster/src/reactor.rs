//! What the thread waits for: descriptors and deadlines.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use musher_core::ids::{AppId, RunId, SlotId};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

/// A registration. Never used twice, so that what comes late for one that is gone meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(u64);

/// What became possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Another thread has a command.
    Commands,
    /// A worker's channel has something to read, or room, or has ended.
    Channel { run: RunId, hung_up: bool },
    /// A connection waits at the socket of a slot.
    Slot { app: AppId, group: u32, slot: SlotId },
    /// A connection waits at the one socket of a group.
    Single { app: AppId, group: u32 },
}

/// A deadline. Whether it still matters is decided when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Look at the queues of watched slots.
    Tick,
    /// Offer what waits again.
    Settle { app: AppId, group: u32 },
    /// A retired slot has lingered long enough.
    Linger { app: AppId, group: u32, slot: SlotId },
    /// Nobody has used a group for a while.
    Unused { app: AppId, group: u32 },
    /// A worker is watched over.
    Vitals { run: RunId },
    /// Look for connections that nobody takes.
    Keep,
    /// The sink of events, or a channel, may have room.
    Retry,
}

#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    sources: BTreeMap<Token, Source>,
    next: u64,
    timers: BTreeMap<(Instant, u64), Timer>,
}

/// What a wait has found. It stays in the thread that waits.
pub(crate) struct Found {
    events: Vec<Event>,
    pub(crate) sources: Vec<Source>,
}

/// Most events taken at once; the rest comes with the next call.
const BATCH: usize = 256;
/// Reading, as often as something is new.
pub(crate) const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
/// Reading and writing, as often as something is new.
pub(crate) const READ_WRITE: EventFlags = READ.union(EventFlags::OUT);
/// Tells once.
pub(crate) const ONCE: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);
/// Tells once for each new connection, at least.
pub(crate) const EDGE: EventFlags = EventFlags::IN.union(EventFlags::ET);
/// Tells nothing, until changed.
pub(crate) const NEVER: EventFlags = EventFlags::ONESHOT;

impl Default for Found {
    fn default() -> Self {
        Found { events: Vec::with_capacity(BATCH), sources: Vec::with_capacity(BATCH) }
    }
}

impl Reactor {
    /// A reactor and the descriptor that other threads wake it by.
    pub(crate) fn new() -> io::Result<(Reactor, OwnedFd)> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut reactor = Reactor { epoll, sources: BTreeMap::new(), next: 0, timers: BTreeMap::new() };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        reactor.add(&wake, Source::Commands, EventFlags::IN | EventFlags::ET)?;
        Ok((reactor, wake))
    }

    pub(crate) fn add(&mut self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<Token> {
        self.next += 1;
        let token = Token(self.next);
        epoll::add(&self.epoll, fd, EventData::new_u64(token.0), flags)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Changes what is told. An edge that is already there is told anew.
    pub(crate) fn set(&self, fd: impl AsFd, token: Token, flags: EventFlags) {
        if let Err(error) = epoll::modify(&self.epoll, fd, EventData::new_u64(token.0), flags) {
            tracing::error!(%error, "cannot watch a socket");
        }
    }

    /// To be called before `fd` is closed: a copy elsewhere would keep it registered.
    pub(crate) fn remove(&mut self, fd: impl AsFd, token: Token) {
        self.sources.remove(&token);
        let _ = epoll::delete(&self.epoll, fd);
    }

    pub(crate) fn at(&mut self, when: Instant, timer: Timer) {
        self.next += 1;
        self.timers.insert((when, self.next), timer);
    }

    /// The timers that are due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Timer> {
        let later = self.timers.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.timers, later).into_values().collect()
    }

    /// Waits for something to happen, or for the next deadline, or not at all.
    pub(crate) fn wait(&mut self, at_once: bool, found: &mut Found) -> io::Result<()> {
        let until = self.timers.first_key_value().map(|((when, _), _)| when.saturating_duration_since(Instant::now()));
        let timeout = if at_once { Some(Duration::ZERO) } else { until };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        found.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut found.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        found.sources.clear();
        for event in &found.events {
            let flags = event.flags;
            match self.sources.get(&Token(event.data.u64())).copied() {
                Some(Source::Channel { run, .. }) => {
                    let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                    found.sources.push(Source::Channel { run, hung_up });
                }
                Some(source) => found.sources.push(source),
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Found, Reactor, Source, Timer};

    #[test]
    fn it_wakes_for_descriptors_and_deadlines() {
        let (mut reactor, wake) = Reactor::new().unwrap();
        let mut found = Found::default();
        let soon = Instant::now() + Duration::from_millis(5);
        reactor.at(soon, Timer::Tick);
        reactor.at(soon + Duration::from_secs(3600), Timer::Retry);
        reactor.wait(false, &mut found).unwrap();
        assert!(found.sources.is_empty());
        assert!(Instant::now() >= soon);
        assert_eq!(reactor.due(Instant::now()), [Timer::Tick]);
        rustix::io::write(&wake, &1u64.to_ne_bytes()).unwrap();
        reactor.wait(false, &mut found).unwrap();
        assert_eq!(found.sources, [Source::Commands]);
        reactor.wait(true, &mut found).unwrap();
        assert!(found.sources.is_empty());
    }
}
