//! The thread that writes the file.
//!
//! It is told of every change and writes soon: at once after a quiet second, else once a second, and at once when
//! somebody waits for it. What it writes is what the source gives at that moment, so a burst of changes is one write.
//!
//! A disk that is full, read-only or broken is told once, and tried again after a pause that doubles up to a minute;
//! nobody waits for it meanwhile.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::TeamFile;

/// The pause between two writes that nobody waits for.
const INTERVAL: Duration = Duration::from_secs(1);
/// The first pause after a write that failed.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How long anybody waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the file is to say now.
type Source = Box<dyn Fn() -> TeamFile + Send>;
/// A thing for the operator to know.
type Tell = Box<dyn Fn(String) + Send>;

/// Something else than to keep up with the changes.
#[derive(Debug)]
pub(crate) enum Order {
    /// Write this for the last time; changes after it are the end of everything, and mean nothing.
    Last(Box<TeamFile>),
    /// Remove the file: nothing is to come back.
    Forget,
    /// Write this elsewhere.
    Save(Box<TeamFile>, PathBuf, oneshot::Sender<io::Result<usize>>),
}

/// The handle of the thread. Cheap to clone; no call waits for the disk but the two that say so. The thread ends with
/// the process.
#[derive(Clone)]
pub(crate) struct TeamWriter {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The number of the last change that is on the disk, or was tried in vain.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The number of the last change.
    change: u64,
    urgent: bool,
    frozen: bool,
    orders: VecDeque<Order>,
}

impl TeamWriter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub(crate) fn start(path: PathBuf, source: Source, tell: Tell) -> io::Result<TeamWriter> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            settled: watch::Sender::new(0),
        });
        let thread = Thread { shared: Arc::clone(&shared), path, source, tell, last: None, failures: 0, written: 0 };
        std::thread::Builder::new().name("team".into()).spawn(move || thread.run())?;
        Ok(TeamWriter { shared })
    }

    /// Something has changed that belongs into the file.
    pub(crate) fn changed(&self) {
        self.shared.lock().change += 1;
        self.shared.changed.notify_one();
    }

    /// Gives an order.
    pub(crate) fn order(&self, order: Order) {
        let mut state = self.shared.lock();
        state.change += 1;
        state.orders.push_back(order);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Waits until everything that has changed so far is on the disk; no longer than two seconds, and not for a disk
    /// that does not work.
    pub(crate) async fn settle(&self) {
        let change = {
            let mut state = self.shared.lock();
            state.urgent = true;
            state.change
        };
        self.shared.changed.notify_one();
        let mut settled = self.shared.settled.subscribe();
        // It cannot be closed, and time that is over is over.
        let _ = tokio::time::timeout(PATIENCE, settled.wait_for(|settled| *settled >= change)).await;
    }
}

impl std::fmt::Debug for TeamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TeamWriter").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    shared: Arc<Shared>,
    path: PathBuf,
    source: Source,
    tell: Tell,
    /// When it was last tried.
    last: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// The last change that is written.
    written: u64,
}

/// What there is to do.
enum Work {
    Write { change: u64 },
    Obey { change: u64, order: Order },
    Save { file: Box<TeamFile>, path: PathBuf, reply: oneshot::Sender<io::Result<usize>> },
}

impl Thread {
    fn run(mut self) {
        loop {
            let (change, done) = match self.next() {
                Work::Write { change } => (change, (self.source)().write(&self.path).map(|_| ())),
                Work::Obey { change, order } => (change, self.obey(&order)),
                Work::Save { file, path, reply } => {
                    // The asker is told of a failure. One that is gone does not care.
                    drop(reply.send(file.write(&path)));
                    continue;
                }
            };
            self.note(change, done);
            self.shared.settled.send_replace(change);
        }
    }

    /// Waits for the next thing to do.
    fn next(&mut self) -> Work {
        let mut state = self.shared.lock();
        loop {
            match state.orders.pop_front() {
                Some(Order::Save(file, path, reply)) => return Work::Save { file, path, reply },
                Some(order) => {
                    state.frozen = true;
                    return Work::Obey { change: state.change, order };
                }
                None => {}
            }
            let due = (state.change > self.written && !state.frozen).then(|| self.due(state.urgent));
            match due {
                None => {
                    // Who waits now waits for what is there already.
                    if std::mem::take(&mut state.urgent) {
                        self.shared.settled.send_replace(state.change);
                    }
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Some(due) if due <= Instant::now() => {
                    state.urgent = false;
                    return Work::Write { change: state.change };
                }
                Some(due) => {
                    if self.failures > 0 && std::mem::take(&mut state.urgent) {
                        self.shared.settled.send_replace(state.change);
                    }
                    let pause = due.saturating_duration_since(Instant::now());
                    let waited = self.shared.changed.wait_timeout(state, pause);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// When the next write is due.
    fn due(&self, urgent: bool) -> Instant {
        let Some(last) = self.last else { return Instant::now() };
        match self.failures {
            0 if urgent => last,
            0 => last + INTERVAL,
            n => last + FIRST_RETRY.saturating_mul(1 << (n - 1).min(8)).min(LONGEST_RETRY),
        }
    }

    fn obey(&self, order: &Order) -> io::Result<()> {
        match order {
            Order::Last(file) => file.write(&self.path).map(|_| ()),
            Order::Forget => TeamFile::remove(&self.path),
            Order::Save(..) => Ok(()),
        }
    }

    fn note(&mut self, change: u64, done: io::Result<()>) {
        self.last = Some(Instant::now());
        let path = self.path.display();
        match done {
            Ok(()) => {
                self.written = change;
                if std::mem::take(&mut self.failures) > 0 {
                    (self.tell)(format!("{path} can be written again: the list of apps is on the disk"));
                }
            }
            Err(error) => {
                if self.failures == 0 {
                    (self.tell)(format!(
                        "{path} cannot be written: {error}; a reboot now would bring back an older list of apps"
                    ));
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        state: Arc<AtomicU64>,
        told: Arc<Mutex<Vec<String>>>,
        writer: TeamWriter,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let state = Arc::new(AtomicU64::new(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (given, heard) = (Arc::clone(&state), Arc::clone(&told));
        let source = move || team(given.load(Ordering::SeqCst));
        let writer = TeamWriter::start(
            directory.path().join("team.list"),
            Box::new(source),
            Box::new(move |text| heard.lock().unwrap().push(text)),
        )
        .unwrap();
        Bench { directory, state, told, writer }
    }

    fn team(n: u64) -> TeamFile {
        TeamFile { boot: n.to_string(), ..TeamFile::default() }
    }

    impl Bench {
        fn path(&self) -> PathBuf {
            self.directory.path().join("team.list")
        }

        fn change(&self, n: u64) {
            self.state.store(n, Ordering::SeqCst);
            self.writer.changed();
        }
    }

    fn says(path: &Path) -> Option<String> {
        TeamFile::read(path).unwrap().map(|file| file.boot)
    }

    #[tokio::test]
    async fn what_was_waited_for_is_on_the_disk() {
        let bench = bench();
        bench.writer.settle().await;
        assert_eq!(says(&bench.path()), None, "nothing has changed");
        for n in 1..20 {
            bench.change(n);
            bench.writer.settle().await;
            assert_eq!(says(&bench.path()), Some(n.to_string()));
        }
    }

    #[tokio::test]
    async fn the_last_word_stays_whatever_changes_afterwards() {
        let bench = bench();
        bench.change(1);
        bench.writer.order(Order::Last(Box::new(team(42))));
        bench.change(2);
        bench.writer.settle().await;
        assert_eq!(says(&bench.path()).as_deref(), Some("42"));
        bench.writer.order(Order::Forget);
        bench.writer.settle().await;
        assert_eq!(says(&bench.path()), None);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_told_once_and_nobody_waits_for_it() {
        let bench = bench();
        let in_the_way = bench.directory.path().join("team.list.new");
        std::fs::create_dir(&in_the_way).unwrap();
        for n in 1..5 {
            bench.change(n);
            bench.writer.settle().await;
        }
        assert_eq!(says(&bench.path()), None);
        assert_eq!(bench.told.lock().unwrap().len(), 1);
        std::fs::remove_dir(in_the_way).unwrap();
        // An order is obeyed at once, and shows that the disk works again.
        bench.writer.order(Order::Last(Box::new(team(9))));
        bench.writer.settle().await;
        assert_eq!(says(&bench.path()).as_deref(), Some("9"));
        assert!(bench.told.lock().unwrap()[1].contains("again"));
    }

    #[tokio::test]
    async fn a_save_goes_elsewhere_and_its_failure_is_the_askers() {
        let bench = bench();
        for (place, works) in [("saved.list", true), ("nowhere/saved.list", false)] {
            let path = bench.directory.path().join(place);
            let (reply, answer) = oneshot::channel();
            bench.writer.order(Order::Save(Box::new(team(3)), path.clone(), reply));
            assert_eq!(answer.await.unwrap().is_ok(), works);
            assert_eq!(says(&path).is_some(), works);
        }
        assert!(bench.told.lock().unwrap().is_empty());
    }
}
