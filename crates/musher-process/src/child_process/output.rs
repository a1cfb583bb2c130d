//! Runs a program to its end and gives what it said: Node's `exec` and `execFile`.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::child::Child;
use super::command::Command;
use super::encoding::Encoding;
use super::event::Event;
use super::stdio::{ChildInput, ChildOutput, Stdio};
use crate::ExitStatus;
use crate::spawn::SpawnError;

/// The most bytes of each output, if nothing else is said. Node's own limit.
pub(super) const MAX_BUFFER: usize = 1 << 20;

/// What a program said that ended with code 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    encoding: Encoding,
}

impl Output {
    /// Its standard output as text, in the command's [`encoding`](Command::encoding).
    #[must_use]
    pub fn stdout_text(&self) -> String {
        self.encoding.decode(&self.stdout)
    }

    /// Its standard error as text, in the command's [`encoding`](Command::encoding).
    #[must_use]
    pub fn stderr_text(&self) -> String {
        self.encoding.decode(&self.stderr)
    }
}

/// A program did not end with code 0, or was not started. What it said until then is kept.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Reason, Stream, exec};
///
/// let error = exec("echo so far; exit 3").await.unwrap_err();
/// assert_eq!((error.code(), error.output.stdout_text().as_str()), (Some(3), "so far\n"));
///
/// let error = Command::new("yes").max_buffer(10).output().await.unwrap_err();
/// assert!(error.killed && matches!(error.reason, Reason::TooMuch { stream: Stream::Stdout, .. }));
/// assert_eq!(error.output.stdout, b"y\ny\ny\ny\ny\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ExecError {
    /// What went wrong.
    pub reason: Reason,
    /// The program and its arguments.
    pub command: String,
    /// What it said until then.
    pub output: Output,
    /// It was killed because of a limit.
    pub killed: bool,
}

/// Why there is no output of a program that ended well.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It could not be started.
    NotStarted(SpawnError),
    /// It ended otherwise than with code 0.
    Failed(ExitStatus),
    /// It ran longer than its [`timeout`](Command::timeout), and was killed.
    TimedOut(ExitStatus),
    /// It said more than [`max_buffer`](Command::max_buffer) allows, and was killed.
    TooMuch {
        /// Where.
        stream: Stream,
        /// How it ended.
        status: ExitStatus,
    },
    /// Its output could not be read.
    NotRead(io::Error),
}

/// One of a program's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl ExecError {
    /// The exit code, if it ended with one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.status()? {
            ExitStatus::Code(code) => Some(code),
            ExitStatus::Signal { .. } | ExitStatus::Unknown => None,
        }
    }

    /// The signal that ended it, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<super::Signal> {
        match self.status()? {
            ExitStatus::Signal { signal, .. } => super::Signal::from_raw(signal),
            ExitStatus::Code(_) | ExitStatus::Unknown => None,
        }
    }

    fn status(&self) -> Option<ExitStatus> {
        match &self.reason {
            Reason::Failed(status) | Reason::TimedOut(status) | Reason::TooMuch { status, .. } => Some(*status),
            Reason::NotStarted(_) | Reason::NotRead(_) => None,
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = &self.command;
        match &self.reason {
            Reason::NotStarted(error) => write!(f, "{command}: {error}")?,
            Reason::Failed(status) => write!(f, "{command} failed: {status}")?,
            Reason::TimedOut(status) => write!(f, "{command} ran too long and was killed: {status}")?,
            Reason::TooMuch { stream, .. } => {
                let stream = match stream {
                    Stream::Stdout => "standard output",
                    Stream::Stderr => "standard error",
                };
                write!(f, "{command} said more on {stream} than max_buffer allows, and was killed")?;
            }
            Reason::NotRead(error) => write!(f, "{command}: its output cannot be read: {error}")?,
        }
        let said = self.output.stderr_text();
        if said.trim().is_empty() { Ok(()) } else { write!(f, "\n{}", said.trim_end()) }
    }
}

impl std::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::NotStarted(error) => Some(error),
            Reason::NotRead(error) => Some(error),
            Reason::Failed(_) | Reason::TimedOut(_) | Reason::TooMuch { .. } => None,
        }
    }
}

impl Command {
    /// Runs it to its end and gives what it said. Everything but exit code 0 is an error, which keeps what was said.
    ///
    /// Its standard input is empty, or what was given as [`input`](Command::input); its outputs are kept up to
    /// [`max_buffer`](Command::max_buffer). If the future is dropped, the program is killed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Reason};
    /// use std::time::Duration;
    ///
    /// assert_eq!(Command::new("tr").args(["a-z", "A-Z"]).input("hello").output().await?.stdout, b"HELLO");
    ///
    /// let error = Command::new("sleep").arg("1000").timeout(Duration::from_millis(50)).output().await.unwrap_err();
    /// assert!(matches!(error.reason, Reason::TimedOut(_)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn output(&self) -> Result<Output, ExecError> {
        let mut command = self.clone().kill_on_drop(true);
        if !command.says(0) {
            command = command.stdin(if self.input.is_some() { Stdio::Pipe } else { Stdio::Ignore });
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Err(self.failed(Reason::NotStarted(error), Output::default(), false)),
        };
        let mut stdout = Kept::new(child.stdout.take(), self.max_buffer);
        let mut stderr = Kept::new(child.stderr.take(), self.max_buffer);
        let input = feed(child.stdin.take(), self.input.clone().unwrap_or_default());
        let (too_much, unread) = {
            let reading = read_both(&mut stdout, &mut stderr, &mut child);
            tokio::pin!(reading, input);
            tokio::select! {
                result = &mut reading => result,
                never = &mut input => match never {},
            }
        };
        if too_much.is_some() {
            let _ = child.kill(self.kill_signal);
        }
        // Whoever else holds the pipes open is not waited for.
        (stdout.pipe, stderr.pipe) = (None, None);
        let status = child.wait().await;
        let output = Output { stdout: stdout.bytes, stderr: stderr.bytes, encoding: self.encoding };
        let reason = match (too_much, unread) {
            (Some(stream), _) => Reason::TooMuch { stream, status },
            (None, Some(error)) => Reason::NotRead(error),
            (None, None) if child.timed_out() => Reason::TimedOut(status),
            (None, None) if status.is_success() => return Ok(output),
            (None, None) => Reason::Failed(status),
        };
        Err(self.failed(reason, output, child.killed()))
    }

    fn failed(&self, reason: Reason, mut output: Output, killed: bool) -> ExecError {
        output.encoding = self.encoding;
        ExecError { reason, command: self.line(), output, killed }
    }
}

/// Writes the input, and closes it. Never ends: its end means nothing, and neither does a child that does not want it.
async fn feed(stdin: Option<ChildInput>, input: Vec<u8>) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(&input).await;
    }
    std::future::pending().await
}

/// What is kept of an output.
struct Kept {
    pipe: Option<ChildOutput>,
    bytes: Vec<u8>,
    most: usize,
}

impl Kept {
    fn new(pipe: Option<ChildOutput>, most: usize) -> Kept {
        Kept { pipe, bytes: Vec::new(), most }
    }

    /// Reads to the end; `false`: to the limit, and there is more.
    async fn fill(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(true) };
        let room = u64::try_from(self.most - self.bytes.len().min(self.most)).unwrap_or(u64::MAX);
        pipe.take(room).read_to_end(&mut self.bytes).await?;
        if self.bytes.len() < self.most {
            return Ok(true);
        }
        let mut more = [0];
        Ok(pipe.read(&mut more).await? == 0)
    }
}

/// Reads both outputs to their ends, or until one is too long or the child was killed for its time.
async fn read_both(stdout: &mut Kept, stderr: &mut Kept, child: &mut Child) -> (Option<Stream>, Option<io::Error>) {
    let (mut out_ended, mut err_ended) = (false, false);
    let mut events_ended = false;
    loop {
        if out_ended && err_ended {
            return (None, None);
        }
        let (result, stream) = tokio::select! {
            result = stdout.fill(), if !out_ended => (result, Stream::Stdout),
            result = stderr.fill(), if !err_ended => (result, Stream::Stderr),
            event = child.next_event(), if !events_ended => {
                match event {
                    Some(Event::Exit(_)) if child.timed_out() => return (None, None),
                    Some(_) => {}
                    None => events_ended = true,
                }
                continue;
            }
        };
        match (result, stream) {
            (Ok(true), Stream::Stdout) => out_ended = true,
            (Ok(true), Stream::Stderr) => err_ended = true,
            (Ok(false), stream) => return (Some(stream), None),
            (Err(error), _) => return (None, Some(error)),
        }
    }
}
