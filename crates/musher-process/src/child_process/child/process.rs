//! The process of a child: signalled and reaped through its pidfd, whoever asks first.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::child_process::signal::Signal;
use crate::exit::{self, ExitStatus};
use crate::pid::Pid;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) pidfd: AsyncFd<OwnedFd>,
    pub(super) status: Mutex<Option<ExitStatus>>,
    pub(super) killed: AtomicBool,
    pub(super) timed_out: AtomicBool,
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
}

/// Why a child was not signalled.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{KillError, Signal, spawn};
///
/// let mut child = spawn("true", [""; 0])?;
/// child.wait().await;
/// match child.kill(Signal::TERM) {
///     Err(KillError::Ended) => println!("it was faster"),
///     result => result?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KillError {
    /// It has ended. Its number may belong to another process, which was not touched.
    #[error("the child has ended")]
    Ended,
    /// The system refused.
    #[error("cannot signal the child: {0}")]
    System(#[from] io::Error),
}

impl Process {
    pub(super) fn kill(&self, signal: Signal) -> Result<(), KillError> {
        // A child that was not reaped yet takes signals, and does nothing with them.
        if self.take_status().is_some() || exit::has_ended(self.pidfd.get_ref().as_fd())? {
            return Err(KillError::Ended);
        }
        match exit::signal(self.pidfd.get_ref().as_fd(), signal.as_raw()) {
            Ok(()) => {
                self.killed.fetch_or(signal != Signal::CHECK, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(KillError::Ended),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn take_status(&self) -> Option<ExitStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps it, if it has ended.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.is_none() {
            *status = exit::reap(self.pidfd.get_ref().as_fd()).unwrap_or(Some(ExitStatus::Unknown));
        }
        *status
    }

    pub(super) fn poll_exit(&self, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        loop {
            if let Some(status) = self.take_status() {
                return Poll::Ready(status);
            }
            let mut guard = match self.pidfd.poll_read_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(_)) => return Poll::Ready(ExitStatus::Unknown),
            };
            match self.reap() {
                Some(status) => return Poll::Ready(status),
                None => guard.clear_ready(),
            }
        }
    }

    pub(super) async fn exited(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.take_status() {
                return status;
            }
            let Ok(mut guard) = self.pidfd.readable().await else { return ExitStatus::Unknown };
            match self.reap() {
                Some(status) => return status,
                None => guard.clear_ready(),
            }
        }
    }

    pub(super) async fn limit(self: Arc<Process>, end: Instant, signal: Signal) {
        if tokio::time::timeout_at(end, self.exited()).await.is_err() {
            self.expire(signal);
        }
    }

    /// It ran for too long. One that has ended meanwhile did not.
    pub(super) fn expire(&self, signal: Signal) {
        // Before, so that whoever sees the end knows the reason.
        if !self.timed_out.swap(true, Ordering::Relaxed) && self.kill(signal).is_err() {
            self.timed_out.store(false, Ordering::Relaxed);
        }
    }
}
