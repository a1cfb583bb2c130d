//! Runs a program to its end and gives what it said: Node's `exec` and `execFile`.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::child::Child;
use super::command::Command;
use super::encoding::Encoding;
use super::signal::Signal;
use super::stdio::{ChildInput, ChildOutput, Stdio};
use crate::ExitStatus;
use crate::spawn::SpawnError;

/// The most bytes of each output, if nothing else is said. Node's own limit.
const MAX_BUFFER: usize = 1 << 20;
/// What a pipe holds.
const READ_AT_ONCE: usize = 64 << 10;

/// What a program said that ended with code 0.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Encoding};
///
/// let output = Command::shell("echo one; echo two >&2").output().await?;
/// assert_eq!((output.stdout.as_slice(), output.stderr_text().as_str()), (&b"one\n"[..], "two\n"));
/// let output = Command::new("echo").encoding(Encoding::Hex).output().await?;
/// assert_eq!(output.stdout_text(), "0a");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    encoding: Encoding,
    /// The texts of outputs that were cut.
    cut: [Option<String>; 2],
}

impl Output {
    /// Its standard output as text, in the command's [`encoding`](Command::encoding). If there was too much of it, its
    /// first [`max_buffer`](Command::max_buffer) characters, counted as in Node, where `stdout` has as many bytes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let output = musher_process::child_process::exec("echo hello").await?;
    /// assert_eq!(output.stdout_text(), "hello\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stdout_text(&self) -> String {
        self.text(Stream::Stdout)
    }

    /// The same of its standard error.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let output = musher_process::child_process::exec("echo hello >&2").await?;
    /// assert_eq!((output.stdout_text(), output.stderr_text()), (String::new(), "hello\n".to_owned()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stderr_text(&self) -> String {
        self.text(Stream::Stderr)
    }

    fn text(&self, stream: Stream) -> String {
        let bytes = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        self.cut[stream as usize].clone().unwrap_or_else(|| self.encoding.decode(bytes))
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
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Reason, exec, exec_file};
///
/// let error = exec("exit 3").await.unwrap_err();
/// assert!(matches!(error.reason, Reason::Failed(status) if status.to_string() == "exit code 3"));
/// let error = exec_file("no-such-program", [""; 0]).await.unwrap_err();
/// assert!(matches!(error.reason, Reason::NotStarted(error) if error.code() == Some("ENOENT")));
/// # Ok(())
/// # }
/// ```
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
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Reason, Stream};
///
/// let error = Command::shell("echo too long >&2").max_buffer(3).output().await.unwrap_err();
/// assert!(matches!(error.reason, Reason::TooMuch { stream: Stream::Stderr, .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl ExecError {
    /// The exit code, if it ended with one: Node's `error.code` where that is a number.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let error = musher_process::child_process::exec("exit 3").await.unwrap_err();
    /// assert_eq!(error.code(), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.status()? {
            ExitStatus::Code(code) => Some(code),
            ExitStatus::Signal { .. } | ExitStatus::Unknown => None,
        }
    }

    /// The signal that ended it, if one did: Node's `error.signal`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Signal, exec};
    ///
    /// let error = exec("kill -9 $$").await.unwrap_err();
    /// assert_eq!((error.code(), error.signal()), (None, Some(Signal::KILL)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        match self.status()? {
            ExitStatus::Signal { signal, .. } => Signal::from_raw(signal),
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
    /// [`max_buffer`](Command::max_buffer). If the future is dropped, the program is killed. To have it and to be able to
    /// signal it, see [`Child::wait_with_output`].
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
            command = command.stdin(if self.collect.input.is_some() { Stdio::Pipe } else { Stdio::Ignore });
        }
        match command.spawn() {
            Ok(child) => child.wait_with_output().await,
            Err(error) => {
                let output = Output { encoding: self.collect.encoding, ..Output::default() };
                Err(ExecError { reason: Reason::NotStarted(error), command: self.line(), output, killed: false })
            }
        }
    }
}

impl Child {
    /// Waits until it has ended, and gives what it said: what [`Command::output`] does, of a child that was started
    /// before. So it can be signalled meanwhile, by its [`handle`](Child::handle), and can have any standard input: a pipe
    /// that was not taken out gets the [`input`](Command::input) and is closed. Outputs that were taken out are not waited
    /// for. Messages are thrown away.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Signal};
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let mut child = Command::new("cat").spawn()?;
    /// let (mut input, handle) = (child.stdin.take().ok_or("no pipe")?, child.handle());
    /// let output = tokio::spawn(child.wait_with_output());
    /// input.write_all(b"typed").await?;
    /// handle.kill(Signal::TERM)?;
    /// let error = output.await?.unwrap_err();
    /// assert_eq!(error.signal(), Some(Signal::TERM));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_with_output(mut self) -> Result<Output, ExecError> {
        let collect = self.collect.clone();
        let mut stdout = Kept::new(self.stdout.take(), collect.max_buffer);
        let mut stderr = Kept::new(self.stderr.take(), collect.max_buffer);
        let input = feed(self.stdin.take(), collect.input.unwrap_or_default());
        let late = self.too_late();
        let (too_much, unread) = {
            let reading = read_both(&mut stdout, &mut stderr, &mut self);
            tokio::pin!(reading, input, late);
            tokio::select! {
                result = &mut reading => result,
                () = &mut late => (None, None),
                never = &mut input => match never {},
            }
        };
        if too_much.is_some() {
            let _ = self.kill(collect.kill_signal);
        }
        // Whoever else holds the pipes open is not waited for.
        (stdout.pipe, stderr.pipe) = (None, None);
        let status = self.wait().await;
        let ((stdout, out_text), (stderr, err_text)) = (stdout.kept(collect.encoding), stderr.kept(collect.encoding));
        let output = Output { stdout, stderr, encoding: collect.encoding, cut: [out_text, err_text] };
        let reason = match (too_much, unread) {
            (Some(stream), _) => Reason::TooMuch { stream, status },
            (None, Some(error)) => Reason::NotRead(error),
            (None, None) if self.timed_out() => Reason::TimedOut(status),
            (None, None) if status.is_success() => return Ok(output),
            (None, None) => Reason::Failed(status),
        };
        Err(ExecError { reason, command: collect.line, output, killed: self.killed() })
    }
}

/// What a [`Command`] says of its output.
#[derive(Clone, Debug)]
pub(super) struct Collect {
    pub(super) input: Option<Vec<u8>>,
    pub(super) max_buffer: usize,
    pub(super) encoding: Encoding,
    pub(super) kill_signal: Signal,
    /// The program and its arguments, for people.
    pub(super) line: String,
}

impl Default for Collect {
    fn default() -> Collect {
        let (encoding, kill_signal) = (Encoding::default(), Signal::TERM);
        Collect { input: None, max_buffer: MAX_BUFFER, encoding, kill_signal, line: String::new() }
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
    /// All that was read: up to the limit, and what the last reading brought beyond it.
    bytes: Vec<u8>,
    most: usize,
}

impl Kept {
    fn new(pipe: Option<ChildOutput>, most: usize) -> Kept {
        Kept { pipe, bytes: Vec::new(), most }
    }

    /// Reads to the end; `false`: beyond the limit.
    async fn fill(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(true) };
        loop {
            self.bytes.reserve(READ_AT_ONCE);
            let read = pipe.take(READ_AT_ONCE as u64).read_buf(&mut self.bytes).await?;
            if self.bytes.len() > self.most {
                return Ok(false);
            }
            if read == 0 {
                return Ok(true);
            }
        }
    }

    /// As many bytes as are allowed, and if there were more, as many characters. Node counts the bytes, but cuts the text.
    fn kept(mut self, encoding: Encoding) -> (Vec<u8>, Option<String>) {
        let text = (self.bytes.len() > self.most).then(|| encoding.decode_at_most(&self.bytes, self.most));
        self.bytes.truncate(self.most);
        (self.bytes, text)
    }
}

/// Reads both outputs to their ends, or until one is too long.
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
                events_ended = event.is_none();
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
