//! What workers say: the driver publishes it, whoever listens reads it.
//!
//! Kept only while somebody reads, or may come back to a new supervisor, and bounded by number and size: a reader that is too slow loses the oldest and is told
//! how many those were. Publishing never waits, so no reader holds up a worker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use musher_api::{MAX_KEPT_MESSAGE_BYTES, MAX_KEPT_MESSAGES, WorkerMessage};
use tokio::sync::watch;

use crate::clock::since_1970;

/// For so long a new supervisor keeps what is said, for those who listened to the one before it.
const COMING_BACK: Duration = Duration::from_secs(5);

/// The messages of one supervisor; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Kept {
    ring: VecDeque<(Arc<WorkerMessage>, usize)>,
    bytes: usize,
}

/// A reader of the messages.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    newest: watch::Receiver<u64>,
    seen: u64,
}

impl Default for Shared {
    fn default() -> Shared {
        // As the numbers of events: those of a later supervisor are larger, and JavaScript counts them exactly.
        let start = u64::try_from(since_1970().as_micros()).unwrap_or(0);
        Shared { kept: Mutex::default(), newest: watch::Sender::new(start), begun: Instant::now() }
    }
}

impl Messages {
    /// Tells every reader, with its number. `size`: of the message, in bytes.
    pub fn publish(&self, message: WorkerMessage, size: usize) {
        let mut kept = self.shared.kept();
        if self.shared.newest.receiver_count() == 0 && self.shared.begun.elapsed() > COMING_BACK {
            *kept = Kept::default();
            return;
        }
        let number = *self.shared.newest.borrow() + 1;
        kept.ring.push_back((Arc::new(WorkerMessage { seq: number, ..message }), size));
        kept.bytes += size;
        // The newest is kept whatever its size, which is bounded by the channel that it came over.
        while kept.ring.len() > 1 && (kept.ring.len() > MAX_KEPT_MESSAGES || kept.bytes > MAX_KEPT_MESSAGE_BYTES) {
            let dropped = kept.ring.pop_front().map_or(0, |(_, size)| size);
            kept.bytes = kept.bytes.saturating_sub(dropped);
        }
        // Still under the lock, so that two publishers cannot take the same number.
        self.shared.newest.send_replace(number);
    }

    /// A reader of everything from now on, or of what is kept after the message `since`.
    pub fn listen(&self, since: Option<u64>) -> Listener {
        let newest = self.shared.newest.subscribe();
        let now = *newest.borrow();
        let oldest = self.shared.kept().ring.front().map_or(now, |(message, _)| message.seq - 1);
        // How many came between two supervisors nobody knows.
        let seen = since.map_or(now, |since| since.max(oldest).min(now));
        Listener { shared: Arc::clone(&self.shared), newest, seen }
    }
}

impl Listener {
    /// The next messages, at least one, each with how many were lost right before it. None when there will be none.
    pub async fn next(&mut self) -> Option<Vec<(Arc<WorkerMessage>, u64)>> {
        loop {
            self.newest.borrow_and_update();
            let messages = self.take();
            if !messages.is_empty() {
                return Some(messages);
            }
            self.newest.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Vec<(Arc<WorkerMessage>, u64)> {
        let kept = self.shared.kept();
        let seen = self.seen;
        let mut messages = Vec::new();
        for (message, _) in kept.ring.iter().filter(|(message, _)| message.seq > seen) {
            messages.push((Arc::clone(message), message.seq - self.seen - 1));
            self.seen = message.seq;
        }
        messages
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use musher_api::{MAX_KEPT_MESSAGES, WorkerMessage};

    use super::Messages;

    fn message(text: &str) -> WorkerMessage {
        WorkerMessage {
            seq: 0,
            time_ms: 0,
            app: "web".into(),
            app_id: 1,
            slot: 0,
            run: 1,
            pid: None,
            message: text.into(),
            lost: 0,
        }
    }

    #[tokio::test]
    async fn every_reader_hears_what_comes_after_it_in_order() {
        let messages = Messages::default();
        messages.publish(message("before"), 10);
        let mut first = messages.listen(None);
        messages.publish(message("a"), 10);
        let mut second = messages.listen(None);
        messages.publish(message("b"), 10);
        let heard = |got: Vec<(std::sync::Arc<WorkerMessage>, u64)>| {
            got.iter().map(|(m, lost)| (m.message.as_str().unwrap().to_owned(), *lost)).collect::<Vec<_>>()
        };
        assert_eq!(heard(first.next().await.unwrap()), [("a".to_owned(), 0), ("b".to_owned(), 0)]);
        assert_eq!(heard(second.next().await.unwrap()), [("b".to_owned(), 0)]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_it_lost_and_memory_is_bounded() {
        let messages = Messages::default();
        let mut slow = messages.listen(None);
        for n in 0..MAX_KEPT_MESSAGES + 5 {
            messages.publish(message(&n.to_string()), 10);
        }
        let got = slow.next().await.unwrap();
        assert_eq!((got.len(), got[0].1, got[1].1), (MAX_KEPT_MESSAGES, 5, 0));
        for _ in 0..10 {
            messages.publish(message("large"), 1 << 20);
        }
        let got = slow.next().await.unwrap();
        assert_eq!((got.len(), got[0].1), (4, 6), "4 MiB are kept");
    }

    #[tokio::test]
    async fn a_reader_of_the_supervisor_before_gets_what_came_since() {
        let messages = Messages::default();
        messages.publish(message("a"), 10);
        let mut back = messages.listen(Some(1));
        let got = back.next().await.unwrap();
        assert_eq!((got.len(), got[0].1), (1, 0));
        messages.publish(message("b"), 10);
        let first = got[0].0.seq;
        assert_eq!(messages.listen(Some(first)).next().await.unwrap()[0].0.seq, first + 1);
    }

    #[tokio::test]
    async fn nothing_is_kept_when_nobody_listens() {
        let mut messages = Messages::default();
        let shared = std::sync::Arc::get_mut(&mut messages.shared).unwrap();
        shared.begun = shared.begun.checked_sub(super::COMING_BACK * 2).unwrap();
        let reader = messages.listen(None);
        messages.publish(message("a"), 10);
        assert_eq!(messages.shared.kept().ring.len(), 1);
        drop(reader);
        messages.publish(message("b"), 10);
        assert!(messages.shared.kept().ring.is_empty());
    }
}
