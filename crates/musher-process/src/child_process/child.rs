//! A child that was started.

mod handle;
mod process;
mod reach;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::runtime::Handle as Runtime;
use tokio::time::Instant;

pub use self::handle::ChildHandle;
pub use self::process::KillError;
use self::process::Process;
use super::command::Command;
use super::event::{ChildError, Event, Events};
use super::output::Collect;
use super::signal::Signal;
use super::stdio::{ChildInput, ChildOutput, ChildPipe, OpenStreams};
use crate::exit::ExitStatus;
use crate::ipc::{Channel, Receiver, Sender};
use crate::sys;

/// A child that was started by a [`Command`].
///
/// - its streams: [`stdin`](Child::stdin), [`stdout`](Child::stdout), [`stderr`](Child::stderr),
///   [`take_pipe`](Child::take_pipe);
/// - what happens to it: [`next_event`](Child::next_event), [`events`](Child::events), [`listen`](Child::listen),
///   [`wait`](Child::wait);
/// - messages: [`send`](Child::send), [`send_handle`](Child::send_handle), [`disconnect`](Child::disconnect);
/// - everything that other tasks may do as well: [`handle`](Child::handle).
///
/// Dropping it does not end the child, unless that was [asked for](Command::kill_on_drop). When the child ends later it is
/// reaped, as long as the runtime lives.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::Command;
/// use tokio::io::AsyncWriteExt;
///
/// let mut child = Command::shell("read name; echo hello $name").spawn()?;
/// let mut stdin = child.stdin.take().ok_or("no pipe")?;
/// stdin.write_all(b"you\n").await?;
/// assert_eq!(child.wait_with_output().await?.stdout, b"hello you\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Child {
    /// Its standard input, if it is a pipe. Drop it to end the input.
    pub stdin: Option<ChildInput>,
    /// Its standard output, if it is a pipe.
    pub stdout: Option<ChildOutput>,
    /// Its standard error, if it is a pipe.
    pub stderr: Option<ChildOutput>,
    pipes: BTreeMap<i32, ChildPipe>,
    handle: ChildHandle,
    receiver: Option<Receiver>,
    open: Arc<OpenStreams>,
    stage: Stage,
    /// Handles that were given up, and told.
    given_up: u64,
    kill_on_drop: Option<Signal>,
    /// When it has run for too long, and how that is ended.
    limit: Option<(Instant, Signal)>,
    pub(super) collect: Collect,
    /// What the child says is read to its end, for nobody.
    discards: bool,
}

/// How far the events have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Running,
    Exited(ExitStatus),
    Closed,
}

/// Our ends of a child's descriptors.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) stdin: Option<ChildInput>,
    pub(super) stdout: Option<ChildOutput>,
    pub(super) stderr: Option<ChildOutput>,
    pub(super) pipes: BTreeMap<i32, ChildPipe>,
    pub(super) channel: Option<Channel>,
    pub(super) open: Arc<OpenStreams>,
}

impl Child {
    pub(super) fn new(
        child: crate::Child,
        streams: Streams,
        program: OsString,
        args: Vec<OsString>,
        command: &Command,
    ) -> io::Result<Child> {
        let process = Arc::new(Process {
            pid: child.pid,
            pidfd: sys::reactor::watch(child.pidfd, Interest::READABLE)?,
            status: Mutex::new(None),
            killed: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            program,
            args,
        });
        let signal = command.collect.kill_signal;
        let limit = command.timeout.and_then(|limit| Some((Instant::now().checked_add(limit)?, signal)));
        if let Some((end, signal)) = limit {
            tokio::spawn(process.clone().limit(end, signal));
        }
        let (sender, receiver) = match streams.channel {
            Some(channel) => (Some(channel.sender), Some(channel.receiver)),
            None => (None, None),
        };
        Ok(Child {
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            pipes: streams.pipes,
            handle: ChildHandle { process, sender },
            receiver,
            open: streams.open,
            stage: Stage::New,
            given_up: 0,
            kill_on_drop: command.kill_on_drop.then_some(signal),
            limit,
            collect: Collect { line: command.line(), ..command.collect.clone() },
            discards: false,
        })
    }

    /// What happens next; `None` after [`Event::Close`]. Dropping the future loses nothing.
    ///
    /// Outputs that were not taken out of the child when it exits are read to their end and thrown away, as Node does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ExitStatus;
    /// use musher_process::child_process::{Event, spawn};
    ///
    /// let mut child = spawn("true", [""; 0])?;
    /// let success = ExitStatus::Code(0);
    /// assert!(matches!(child.next_event().await, Some(Event::Spawn)));
    /// assert!(matches!(child.next_event().await, Some(Event::Exit(status)) if status == success));
    /// assert!(matches!(child.next_event().await, Some(Event::Close(status)) if status == success));
    /// assert!(child.next_event().await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_event(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The same as a stream.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::spawn;
    /// use tokio_stream::StreamExt;
    ///
    /// let mut child = spawn("true", [""; 0])?;
    /// assert_eq!(child.events().collect::<Vec<_>>().await.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&mut self) -> Events<'_> {
        Events { child: self }
    }

    /// The same as [`next_event`](Child::next_event), to be polled: for futures and streams of your own.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Event, spawn};
    /// use std::future::poll_fn;
    ///
    /// let mut child = spawn("true", [""; 0])?;
    /// assert!(matches!(poll_fn(|cx| child.poll_event(cx)).await, Some(Event::Spawn)));
    /// # child.wait().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.stage == Stage::New {
            self.stage = Stage::Running;
            return Poll::Ready(Some(Event::Spawn));
        }
        if self.stage == Stage::Closed {
            return Poll::Ready(None);
        }
        if self.discards {
            self.drain(cx);
        }
        if let Poll::Ready(event) = self.poll_channel(cx, false) {
            return Poll::Ready(Some(event));
        }
        if self.stage == Stage::Running {
            let Poll::Ready(status) = self.handle.process.poll_exit(cx) else { return Poll::Pending };
            // Its descriptors are closed before it is known to have ended: what it sent, and the end, are there.
            if let Poll::Ready(event) = self.poll_channel(cx, true) {
                return Poll::Ready(Some(event));
            }
            self.stage = Stage::Exited(status);
            self.stdin = None;
            return Poll::Ready(Some(Event::Exit(status)));
        }
        self.drain(cx);
        self.pipes.clear();
        match (self.stage, self.open.poll_closed(cx)) {
            (Stage::Exited(status), Poll::Ready(())) if self.receiver.is_none() => {
                self.stage = Stage::Closed;
                Poll::Ready(Some(Event::Close(status)))
            }
            _ => Poll::Pending,
        }
    }

    fn poll_channel(&mut self, cx: &mut Context<'_>, last: bool) -> Poll<Event> {
        use crate::ipc::Received;
        let Some(receiver) = &mut self.receiver else { return Poll::Pending };
        let given_up = self.handle.sender.as_ref().map_or(0, Sender::handles_given_up);
        if given_up > self.given_up {
            self.given_up += 1;
            return Poll::Ready(Event::Error(ChildError::HandleNotReceived));
        }
        let received = if last { receiver.poll_recv_last(cx) } else { receiver.poll_recv_any(cx) };
        let Poll::Ready(received) = received else { return Poll::Pending };
        Poll::Ready(match received {
            Some(Received::Message(message)) => Event::Message(message),
            Some(Received::Internal(internal)) => Event::Internal(internal),
            None => match receiver.take_fault() {
                Some(fault) => Event::Error(ChildError::Channel(fault)),
                None => {
                    self.receiver = None;
                    Event::Disconnect
                }
            },
        })
    }

    /// Reads outputs that nobody took, for nobody.
    fn drain(&mut self, cx: &mut Context<'_>) {
        for output in [&mut self.stdout, &mut self.stderr] {
            if output.as_mut().is_some_and(|output| output.poll_drain(cx).is_ready()) {
                *output = None;
            }
        }
    }

    /// Waits until the child has ended. Its input is closed first, unless it was taken out. Outputs that were not taken
    /// out are read and thrown away, so that the child is not held up; and so are its messages.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::ExitStatus;
    /// use musher_process::child_process::Command;
    ///
    /// assert_eq!(Command::shell("exit 3").spawn()?.wait().await, ExitStatus::Code(3));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait(&mut self) -> ExitStatus {
        self.stdin = None;
        self.discards = true;
        // Of what is told once, nobody hears twice.
        if let Stage::Exited(status) = self.stage {
            return status;
        }
        while let Some(event) = self.next_event().await {
            if let Event::Exit(status) = event {
                return status;
            }
        }
        self.handle.exit_status().unwrap_or(ExitStatus::Unknown)
    }

    /// Our end of a descriptor of the child that is a [`Stdio::Pipe`](super::Stdio::Pipe), by its number there: 3 or
    /// above. `None` if it is something else, or was taken already.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Stdio};
    ///
    /// let mut child = Command::new("true").fd(3, Stdio::Pipe).spawn()?;
    /// assert!(child.take_pipe(3).is_some());
    /// assert!(child.take_pipe(3).is_none());
    /// # child.wait().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_pipe(&mut self, number: i32) -> Option<ChildPipe> {
        self.pipes.remove(&number)
    }

    /// What other tasks may have of it. The channel stays open as long as there is one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Signal, spawn};
    ///
    /// let mut child = spawn("sleep", ["1000"])?;
    /// let handle = child.handle();
    /// tokio::spawn(async move { handle.kill(Signal::TERM) });
    /// assert_eq!(child.wait().await.to_string(), "signal 15 (SIGTERM)");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handle(&self) -> ChildHandle {
        self.handle.clone()
    }

    /// Ends the child when it has run for too long. Returns when the time is over, also that of a child which has ended and
    /// left its outputs to others.
    pub(super) fn too_late(&self) -> impl Future<Output = ()> + use<> {
        let (process, limit) = (self.handle.process.clone(), self.limit);
        async move {
            match limit {
                Some((end, signal)) => {
                    tokio::time::sleep_until(end).await;
                    process.expire(signal);
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Lets it go on by itself. See [`Command::detached`]; a child with pipes or a channel notices that nobody is there.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Stdio};
    ///
    /// Command::new("true").detached(true).stdio_all(Stdio::Ignore).spawn()?.unref();
    /// # Ok(())
    /// # }
    /// ```
    pub fn unref(mut self) {
        self.kill_on_drop = None;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.handle.exit_status().is_some() {
            return;
        }
        if let Some(signal) = self.kill_on_drop {
            let _ = self.kill(signal);
        }
        if let Ok(runtime) = Runtime::try_current() {
            let process = self.handle.process.clone();
            runtime.spawn(async move {
                process.exited().await;
            });
        }
    }
}
