//! The events: what the driver publishes and subscribers read.
//!
//! A ring of the newest events is kept, so that a subscriber that was cut off can go on behind the last one it saw; what
//! is older, or of an earlier supervisor, is on the disk ([`crate::event_log`]). Publishing never waits: a subscriber that
//! is too slow loses the oldest events and is told so by a `lagged` event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use musher_api::{Death, Event, EventKind, OperationKind, rfc3339};
use tokio::sync::watch;

use crate::clock::since_1970;
use crate::event_log::EventWriter;

use super::messages::Messages;

/// How many events are remembered.
const REMEMBERED: usize = 1024;

/// What happened, as the driver tells it. Time and sequence are added by [`Events::publish`].
#[derive(Clone, Debug)]
pub struct News {
    /// What kind of thing.
    pub kind: EventKind,
    /// Name and id of the app.
    pub app: Option<(String, u32)>,
    /// Slot of the app.
    pub slot: Option<u32>,
    /// Run of the slot.
    pub run: Option<u64>,
    /// Process id of the run.
    pub pid: Option<u32>,
    /// In words.
    pub detail: String,
    /// How a worker ended.
    pub death: Option<Box<Death>>,
    /// What kind of operation ended, and whether it ended well.
    pub ended: Option<(OperationKind, bool)>,
}

/// The events of one supervisor; cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
    messages: Messages,
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<VecDeque<Arc<Event>>>,
    newest: watch::Sender<u64>,
    /// How many there were of each kind.
    counts: Mutex<BTreeMap<EventKind, u64>>,
    /// Writes them to the disk.
    writer: OnceLock<EventWriter>,
}

/// A reader of the events.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
    seen: u64,
}

impl News {
    /// News of musher itself.
    pub fn new(kind: EventKind, detail: impl Into<String>) -> News {
        News { kind, app: None, slot: None, run: None, pid: None, detail: detail.into(), death: None, ended: None }
    }

    /// The same, of an app.
    #[must_use]
    pub fn of_app(mut self, name: impl Into<String>, id: u32) -> News {
        self.app = Some((name.into(), id));
        self
    }

    /// The same, of a slot.
    #[must_use]
    pub fn of_slot(mut self, slot: u32) -> News {
        self.slot = Some(slot);
        self
    }

    /// The same, of a run.
    #[must_use]
    pub fn of_run(mut self, run: u64, pid: Option<u32>) -> News {
        self.run = Some(run);
        self.pid = pid;
        self
    }

    /// The same, with the story of a death.
    #[must_use]
    pub fn with_death(mut self, death: Option<Death>) -> News {
        self.death = death.map(Box::new);
        self
    }

    /// The same, of an operation that ended.
    #[must_use]
    pub fn of_operation(mut self, kind: OperationKind, ok: bool) -> News {
        self.ended = Some((kind, ok));
        self
    }
}

impl Default for Events {
    fn default() -> Events {
        Events::new()
    }
}

impl Events {
    /// No events yet.
    pub fn new() -> Events {
        Events::after(0)
    }

    /// No events yet, but for those of earlier supervisors up to this number.
    fn after(newest: u64) -> Events {
        // Sequence numbers start at the time in microseconds, so that a later supervisor's are larger, also when nothing
        // is on the disk. They stay below 2^53, the largest whole number of JavaScript, until the year 2255.
        let start = u64::try_from(since_1970().as_micros()).unwrap_or(0).max(newest);
        let shared = Shared {
            ring: Mutex::default(),
            newest: watch::Sender::new(start),
            counts: Mutex::default(),
            writer: OnceLock::new(),
        };
        Events { shared: Arc::new(shared), messages: Messages::default() }
    }

    /// Those of a home, which go to its disk.
    pub(crate) fn of_home(home: &std::path::Path) -> Events {
        // What the writer has to say is an event itself.
        let told: Arc<OnceLock<Events>> = Arc::default();
        let of_thread = Arc::clone(&told);
        let tell = move |detail: String| {
            tracing::warn!("{detail}");
            of_thread.get().map(|events| events.publish(News::new(EventKind::Other, detail)));
        };
        match EventWriter::start(crate::event_log::directory(home), Box::new(tell)) {
            Ok((writer, newest)) => {
                let events = Events::after(newest);
                // Nobody else can have set either of them.
                let _ = events.shared.writer.set(writer);
                let _ = told.set(events.clone());
                events
            }
            Err(error) => {
                tracing::error!(%error, "no thread for the events: they are kept in memory only");
                Events::new()
            }
        }
    }

    /// Waits until the disk has everything, so long at most: before this process ends or becomes another one.
    pub(crate) fn settle(&self, patience: Duration) {
        if let Some(writer) = self.shared.writer.get() {
            writer.settle(patience);
        }
    }

    /// How many there were of each kind.
    pub(crate) fn counts(&self) -> BTreeMap<EventKind, u64> {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the oldest event that is remembered; that of the next one, if none is.
    pub(crate) fn oldest(&self) -> u64 {
        let ring = self.shared.ring();
        ring.front().map_or_else(|| *self.shared.newest.borrow() + 1, |event| event.seq)
    }

    /// Tells every subscriber.
    pub fn publish(&self, news: News) -> Arc<Event> {
        let time_ms = u64::try_from(since_1970().as_millis()).unwrap_or(0);
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(news.kind).or_default() += 1;
        let mut ring = self.shared.ring();
        let seq = *self.shared.newest.borrow() + 1;
        let (app, app_id) = news.app.unzip();
        let (operation, ok) = news.ended.unzip();
        let event = Arc::new(Event {
            seq,
            time_ms,
            time: rfc3339(time_ms),
            kind: news.kind,
            app,
            app_id,
            slot: news.slot,
            run: news.run,
            pid: news.pid,
            detail: news.detail,
            death: news.death,
            operation,
            ok,
        });
        if ring.len() == REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(Arc::clone(&event));
        if let Some(writer) = self.shared.writer.get() {
            writer.push(Arc::clone(&event));
        }
        // Still under the lock, so that two publishers cannot take the same number.
        self.shared.newest.send_replace(seq);
        drop(ring);
        event
    }

    /// What workers say, in full: too much to be remembered among the events.
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// A reader of everything from now on, or of what is remembered after the event `since`.
    pub fn subscribe(&self, since: Option<u64>) -> Subscription {
        let newest = self.shared.newest.subscribe();
        let seen = since.unwrap_or(*newest.borrow());
        Subscription { shared: Arc::clone(&self.shared), newest, seen }
    }
}

impl Subscription {
    /// The number of the last event that was given, or behind which this one began.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next events: all that there are, at least one. None when the supervisor's events have ended.
    pub async fn next(&mut self) -> Option<Vec<Arc<Event>>> {
        loop {
            self.newest.borrow_and_update();
            let events = self.take();
            if !events.is_empty() {
                return Some(events);
            }
            self.newest.changed().await.ok()?;
        }
    }

    /// The next events that are there already.
    pub(crate) fn take(&mut self) -> Vec<Arc<Event>> {
        let ring = self.shared.ring();
        let Some(oldest) = ring.front().map(|event| event.seq) else { return Vec::new() };
        let mut events: Vec<_> = ring.iter().filter(|event| event.seq > self.seen).map(Arc::clone).collect();
        drop(ring);
        // Sequence numbers of one supervisor are dense, so a hole between what was seen and the oldest is a loss. After
        // a number of an earlier supervisor nobody can know: it is told as a loss too.
        if oldest > self.seen + 1 && !events.is_empty() {
            let now = u64::try_from(since_1970().as_millis()).unwrap_or(0);
            let what = "events are missing here: they came faster than they were read, or a new supervisor took over";
            events.insert(0, Arc::new(lagged(oldest - 1, now, what.to_owned())));
        }
        if let Some(last) = events.last() {
            self.seen = last.seq;
        }
        events
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands in the place of events that are missing.
pub(crate) fn lagged(seq: u64, time_ms: u64, detail: String) -> Event {
    Event {
        seq,
        time_ms,
        time: rfc3339(time_ms),
        kind: EventKind::Lagged,
        app: None,
        app_id: None,
        slot: None,
        run: None,
        pid: None,
        detail,
        death: None,
        operation: None,
        ok: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Events, News, REMEMBERED};
    use musher_api::EventKind;

    #[tokio::test]
    async fn a_subscriber_sees_what_comes_after_it() {
        let events = Events::new();
        events.publish(News::new(EventKind::Added, "before"));
        let mut subscription = events.subscribe(None);
        events.publish(News::new(EventKind::Added, "after"));
        let seen = subscription.next().await.unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].detail, "after");
    }

    #[tokio::test]
    async fn a_subscriber_that_comes_back_gets_what_it_missed() {
        let events = Events::new();
        let first = events.publish(News::new(EventKind::Added, "1"));
        events.publish(News::new(EventKind::Added, "2"));
        let seen = events.subscribe(Some(first.seq)).next().await.unwrap();
        assert_eq!(seen.iter().map(|e| e.detail.as_str()).collect::<Vec<_>>(), ["2"]);
    }

    #[tokio::test]
    async fn a_subscriber_that_is_too_slow_is_told() {
        let events = Events::new();
        let mut subscription = events.subscribe(None);
        for n in 0..REMEMBERED + 10 {
            events.publish(News::new(EventKind::Added, n.to_string()));
        }
        let seen = subscription.next().await.unwrap();
        assert_eq!(seen.len(), REMEMBERED + 1);
        assert_eq!(seen[0].kind, EventKind::Lagged);
        assert_eq!(seen[1].detail, "10");
        assert!(seen[0].seq < seen[1].seq);
    }

    #[tokio::test]
    async fn a_subscriber_of_an_earlier_supervisor_is_told() {
        let events = Events::new();
        events.publish(News::new(EventKind::SupervisorStarted, ""));
        let seen = events.subscribe(Some(1)).next().await.unwrap();
        assert_eq!(seen[0].kind, EventKind::Lagged);
        assert_eq!(seen.len(), 2);
    }
}
