//! ^C ends the run and not the report: the first asks, the second cuts.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use musher_load::engine::Control;
use musher_process::exit::parse_signal;
use musher_process::inherit::{block_signals, next_signal};
use rustix::event::{PollFd, PollFlags, poll};

use crate::failure::Failure;

/// What the signals are for at the moment.
#[derive(Debug, Default)]
struct Now {
    control: Option<Control>,
    /// How many came.
    count: u32,
}

/// Watches for SIGINT and SIGTERM until the process ends.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    now: Arc<Mutex<Now>>,
}

impl Signals {
    /// To be called before other threads are started: they must not be hit.
    pub(super) fn watch() -> Result<Signals, Failure> {
        let numbers: Vec<i32> = ["INT", "TERM"].into_iter().filter_map(parse_signal).collect();
        let cannot = |error: std::io::Error| Failure::environment(format!("cannot watch for signals: {error}"));
        let fd = block_signals(&numbers).map_err(cannot)?;
        let signals = Signals { now: Arc::default() };
        let watcher = signals.clone();
        let thread = std::thread::Builder::new().name("signals".into()).stack_size(64 * 1024);
        thread.spawn(move || watcher.wait(&fd)).map_err(cannot)?;
        Ok(signals)
    }

    /// What is to be ended by the next one.
    pub(super) fn direct(&self, control: &Control) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.count > 0 {
            control.stop("interrupted");
        }
        now.control = Some(control.clone());
    }

    /// Whether one came.
    pub(super) fn came(&self) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).count > 0
    }

    fn wait(&self, fd: &OwnedFd) {
        loop {
            // Until the process ends.
            let _ = poll(&mut [PollFd::new(fd, PollFlags::IN)], None);
            while let Ok(Some(_)) = next_signal(fd.as_fd()) {
                let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
                now.count += 1;
                match (&now.control, now.count) {
                    (Some(control), 1) => control.stop("interrupted"),
                    (Some(control), _) => control.cut(),
                    (None, _) => {}
                }
            }
        }
    }
}
