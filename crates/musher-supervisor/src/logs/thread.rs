//! The thread: pipes, commands, and who gets its turn.
//!
//! Pipes are watched edge-triggered; one that has something joins the queue of those that are ready, and each gets one
//! batch at a time, so that a flood in one does not silence the others. A pipe with a line that has no end yet is looked
//! at again after a while (see [`Taken::Rest`]); that is the only thing here that is done without an event.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use musher_api::LogStream;
use musher_core::ids::RunId;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};

use super::app::{Apps, RETRY, Writer};
use super::losses::Losses;
use super::tail::Tail;
use super::tap::{Scratch, Taken};
use super::{Command, Commands, Detached, LogHandle, LogNotice, Output, Owner, Queue};
use crate::home::Home;

/// The bell's number among the epoll events; taps count from 1.
const BELL: u64 = 0;
/// How soon a pipe with a rest is looked at again; then after twice the time, and so on.
const LOOK_AGAIN_FIRST: Duration = Duration::from_millis(1);
/// The longest such pause.
const LOOK_AGAIN_LAST: Duration = Duration::from_millis(500);
/// Batches between two looks at the bell, so that commands are heard in a flood.
const TURNS: usize = 32;

/// The log thread; its life is that of its [`LogHandle`]s.
pub struct LogThread {
    queue: Arc<Queue>,
    epoll: OwnedFd,
    scratch: Scratch,
    apps: Apps,
    taps: HashMap<u64, Tap>,
    by_run: HashMap<RunId, Vec<u64>>,
    ready: VecDeque<u64>,
    /// Pipes with a rest, by when to look at them again.
    looks: BTreeSet<(Instant, u64)>,
    next_key: u64,
}

/// One pipe.
struct Tap {
    writer: Writer,
    pipe: OwnedFd,
    tail: Tail,
    queued: bool,
    /// The bytes of a line without its end that were seen in the pipe.
    rest: u64,
    /// How long to wait before they are looked at again.
    pause: Duration,
    /// When that is.
    look: Option<Instant>,
}

impl LogThread {
    /// Starts the thread. `notify` is called by it and must not wait.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors or no thread.
    pub fn start(home: &Home, notify: impl FnMut(LogNotice) + Send + 'static) -> io::Result<LogHandle> {
        LogThread::go_on(home, None, notify)
    }

    /// The same; `losses` is a memory file in which is kept how many lines were lost, and may be from the thread before.
    ///
    /// # Errors
    ///
    /// When the system has no descriptors or no thread.
    pub fn go_on(
        home: &Home,
        losses: Option<OwnedFd>,
        notify: impl FnMut(LogNotice) + Send + 'static,
    ) -> io::Result<LogHandle> {
        let losses = losses.map(Losses::open).transpose()?;
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &bell, EventData::new_u64(BELL), EventFlags::IN)?;
        let queue = Arc::new(Queue {
            commands: Mutex::new(Commands::default()),
            bell,
            watches: Mutex::default(),
            counters: Mutex::default(),
        });
        let thread = LogThread {
            queue: Arc::clone(&queue),
            epoll,
            scratch: Scratch::new()?,
            apps: Apps::new(home.clone(), losses, Arc::clone(&queue), Box::new(notify)),
            taps: HashMap::new(),
            by_run: HashMap::new(),
            ready: VecDeque::new(),
            looks: BTreeSet::new(),
            next_key: BELL + 1,
        };
        let thread = std::thread::Builder::new().name("musher-logs".into()).spawn(move || {
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| thread.run()));
            if !matches!(ended, Ok(Ok(()))) {
                // Without it every worker that writes stands still. The keeper starts a new supervisor at once.
                tracing::error!("the log thread cannot go on");
                std::process::abort();
            }
        })?;
        Ok(LogHandle { owner: Arc::new(Owner { queue, thread: Mutex::new(Some(thread)) }) })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            self.wait(&mut events)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    BELL => self.hush(),
                    key => self.enqueue(key),
                }
            }
            self.look_at_rests();
            for app in self.apps.order.overdue(Instant::now()) {
                self.apps.tidy(app);
            }
            let Some(commands) = self.queue.take() else { break };
            for command in commands {
                self.obey(command);
            }
            for _ in 0..TURNS {
                let Some(key) = self.ready.pop_front() else { break };
                self.turn(key);
            }
            if self.apps.has_lost() {
                self.apps.retry_all_lost();
            }
            self.flush();
        }
        self.flush();
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) -> io::Result<()> {
        let look = self.looks.first().map(|(due, _)| *due);
        let next = [look, self.apps.order.next()].into_iter().flatten().min();
        let look_again = next.map(|due| due.saturating_duration_since(Instant::now()));
        let patience = if !self.ready.is_empty() {
            Some(Duration::ZERO)
        } else if self.apps.has_lost() {
            Some(look_again.unwrap_or(RETRY).min(RETRY))
        } else {
            look_again
        };
        let timeout = patience.map(|patience| Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hush(&self) {
        let _ = rustix::io::read(&self.queue.bell, &mut [0u8; 8]);
    }

    fn enqueue(&mut self, key: u64) {
        if let Some(tap) = self.taps.get_mut(&key)
            && !tap.queued
        {
            tap.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Gives a turn to pipes whose rest has changed without an event.
    fn look_at_rests(&mut self) {
        let now = Instant::now();
        while let Some((due, key)) = self.looks.first().copied()
            && due <= now
        {
            self.looks.pop_first();
            let Some(tap) = self.taps.get_mut(&key) else { continue };
            tap.look = None;
            if rustix::io::ioctl_fionread(&tap.pipe).is_ok_and(|bytes| bytes == tap.rest) {
                tap.pause = (tap.pause * 2).min(LOOK_AGAIN_LAST);
                self.schedule_look(key);
            } else {
                self.enqueue(key);
            }
        }
    }

    fn schedule_look(&mut self, key: u64) {
        let Some(tap) = self.taps.get_mut(&key) else { return };
        let due = Instant::now() + tap.pause;
        if let Some(before) = tap.look.replace(due) {
            self.looks.remove(&(before, key));
        }
        self.looks.insert((due, key));
    }

    /// One batch from one pipe.
    fn turn(&mut self, key: u64) {
        let Some(tap) = self.taps.get_mut(&key) else { return };
        tap.queued = false;
        match tap.take(&mut self.scratch, &mut self.apps, false) {
            Ok(Taken::Rest(0)) => {}
            Ok(Taken::Rest(rest)) => {
                tap.rest = rest;
                tap.pause = LOOK_AGAIN_FIRST;
                self.schedule_look(key);
            }
            Ok(Taken::Some) => self.enqueue(key),
            // Nothing will come; the tail is still of use until the run is detached.
            Ok(Taken::End) => {
                let _ = epoll::delete(&self.epoll, &tap.pipe);
            }
            Err(error) => {
                tracing::error!(run = %tap.writer.run, %error, "a worker's output cannot be read");
                let _ = epoll::delete(&self.epoll, &tap.pipe);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // Nobody waits for an answer any more: not an error.
        match command {
            Command::OpenApp { app, name, logs } => self.apps.open(app, &name, logs),
            Command::Packed(done) => self.apps.packed(done),
            Command::Attach(output) => self.attach(output),
            Command::Detach { run, reply } => {
                let detached = self.detach(run);
                self.flush();
                let _ = reply.send(detached);
            }
            Command::Tail { run, reply } => {
                self.drain(run);
                let _ = reply.send(self.stderr_tail(run));
            }
            Command::Reopen { reply } => {
                self.flush();
                self.apps.reopen();
                let _ = reply.send(());
            }
            Command::Clear { app, reply } => {
                let _ = reply.send(self.apps.clear(app));
            }
            Command::CloseApp { app, reply } => {
                self.flush();
                self.apps.close(app);
                let _ = reply.send(());
            }
        }
    }

    fn attach(&mut self, output: Output) {
        let Output { app, slot, run, pid, stream, pipe } = output;
        let key = self.next_key;
        self.next_key += 1;
        let flags = EventFlags::IN | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, &pipe, EventData::new_u64(key), flags) {
            tracing::error!(%run, %error, "a worker's output cannot be watched");
        }
        let writer = Writer { app, slot, run, pid, stream };
        self.taps.insert(
            key,
            Tap { writer, pipe, tail: Tail::default(), queued: false, rest: 0, pause: LOOK_AGAIN_FIRST, look: None },
        );
        self.by_run.entry(run).or_default().push(key);
        // What a predecessor left in the pipe makes no edge.
        self.enqueue(key);
    }

    fn detach(&mut self, run: RunId) -> Detached {
        self.drain(run);
        for key in self.by_run.get(&run).into_iter().flatten() {
            if let Some(tap) = self.taps.get_mut(key) {
                // A last line without its end.
                let _ = tap.take(&mut self.scratch, &mut self.apps, true);
            }
        }
        let detached = Detached { stderr_tail: self.stderr_tail(run) };
        for key in self.by_run.remove(&run).unwrap_or_default() {
            // Closing the pipe takes it out of the epoll set, but for a duplicate that the keeper has.
            if let Some(tap) = self.taps.remove(&key) {
                let _ = epoll::delete(&self.epoll, &tap.pipe);
            }
        }
        detached
    }

    /// Writes what is in the pipes of a run now. A process that goes on writing cannot prolong it.
    fn drain(&mut self, run: RunId) {
        for key in self.by_run.get(&run).into_iter().flatten() {
            let Some(tap) = self.taps.get_mut(key) else { continue };
            let mut left = rustix::io::ioctl_fionread(&tap.pipe).unwrap_or(0);
            while left > 0 {
                match tap.take_counted(&mut self.scratch, &mut self.apps) {
                    Some(count) if count > 0 => left = left.saturating_sub(count),
                    _ => break,
                }
            }
        }
    }

    fn stderr_tail(&self, run: RunId) -> Vec<String> {
        let taps = self.by_run.get(&run).into_iter().flatten().filter_map(|key| self.taps.get(key));
        taps.filter(|tap| tap.writer.stream == LogStream::Err).flat_map(|tap| tap.tail.lines()).collect()
    }

    fn flush(&mut self) {
        let queue = &self.queue;
        self.apps.flush(|app, cursor| {
            if let Some(watch) = queue.watches.lock().unwrap_or_else(PoisonError::into_inner).get(&app) {
                watch.send_replace(cursor);
            }
        });
    }
}

impl Tap {
    fn take(&mut self, scratch: &mut Scratch, apps: &mut Apps, last: bool) -> io::Result<Taken> {
        let Tap { writer, pipe, tail, .. } = self;
        scratch.take(pipe.as_fd(), last, |lines| {
            if writer.stream == LogStream::Err {
                tail.push(lines);
            }
            apps.write(*writer, lines);
        })
    }

    /// How many bytes were taken; none: the pipe cannot be read.
    fn take_counted(&mut self, scratch: &mut Scratch, apps: &mut Apps) -> Option<u64> {
        let mut count = 0;
        let Tap { writer, pipe, tail, .. } = self;
        let taken = scratch.take(pipe.as_fd(), false, |lines| {
            count = lines.len() as u64;
            if writer.stream == LogStream::Err {
                tail.push(lines);
            }
            apps.write(*writer, lines);
        });
        taken.ok().map(|_| count)
    }
}
