//! The child's descriptors: what they are to be, and our ends of them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// What a descriptor of the child is: Node's `stdio`. Made from a file, a socket, an [`OwnedFd`], or one of these.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Stdio};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// let log = Stdio::from(std::fs::File::create(&path)?);
/// let mut child = Command::shell("echo out; echo err >&2").stdio([Stdio::Ignore, log.clone(), log]).spawn()?;
/// child.wait().await;
/// assert_eq!(std::fs::read_to_string(&path)?, "out\nerr\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe for 0, 1 and 2; for others the same as [`Ignore`](Stdio::Ignore).
    #[default]
    Default,
    /// A pipe (Node's `overlapped` as well, which differs only on Windows) whose other end is [`Child::stdin`](super::Child::stdin), [`stdout`](super::Child::stdout),
    /// [`stderr`](super::Child::stderr) or, going both ways, [`Child::take_pipe`](super::Child::take_pipe).
    Pipe,
    /// The channel. At most one descriptor is that.
    Ipc,
    /// /dev/null for 0, 1 and 2; others are closed.
    Ignore,
    /// Our descriptor of the same number.
    Inherit,
    /// Our descriptor of this number.
    Number(RawFd),
    /// This file, socket or pipe. Made with `from`; the command keeps it open for further children.
    Fd(Arc<OwnedFd>),
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio::Fd(Arc::new(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        OwnedFd::from(file).into()
    }
}

/// Counts the child's outputs that are not at their end, and wakes who waits for the last.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams {
    state: Mutex<(usize, Option<Waker>)>,
}

impl OpenStreams {
    pub(crate) fn opened(self: &Arc<OpenStreams>) -> StreamIsOpen {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        StreamIsOpen(self.clone())
    }

    /// Ready when all are at their end.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == 0 {
            return Poll::Ready(());
        }
        state.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// One output that is not at its end.
#[derive(Debug)]
pub(crate) struct StreamIsOpen(Arc<OpenStreams>);

impl Drop for StreamIsOpen {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.saturating_sub(1);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

/// The end of the child's standard input that is written to. The child reads the end of its input when this is dropped or
/// shut down.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut child = musher_process::child_process::spawn("cat", [""; 0])?;
/// let mut input = child.stdin.take().ok_or("no pipe")?;
/// input.write_all(b"hello").await?;
/// drop(input);
/// let mut said = String::new();
/// child.stdout.take().ok_or("no pipe")?.read_to_string(&mut said).await?;
/// assert_eq!(said, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChildInput {
    /// `None` after it was shut down: only that closes a pipe.
    pipe: Option<pipe::Sender>,
}

impl ChildInput {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<ChildInput> {
        Ok(ChildInput { pipe: Some(pipe::Sender::from_owned_fd(fd)?) })
    }

    /// For the output of other children, which so write into this one as well as we do. An error if it was shut down. The
    /// child reads the end of its input when all have closed it. It needs /proc.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, spawn};
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let mut sort = spawn("sort", [""; 0])?;
    /// let mut input = sort.stdin.take().ok_or("no pipe")?;
    /// for word in ["b", "a"] {
    ///     Command::new("echo").arg(word).stdout(input.to_stdio()?).spawn()?.wait().await;
    /// }
    /// input.write_all(b"c\n").await?;
    /// drop(input);
    /// assert_eq!(sort.wait_with_output().await?.stdout, b"a\nb\nc\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_stdio(&self) -> io::Result<Stdio> {
        let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        opened_again(pipe, File::options().write(true))
    }

    /// For another child's output, which so goes straight into this one. An error if it was shut down.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, spawn};
    ///
    /// let mut count = spawn("wc", ["-w"])?;
    /// let input = count.stdin.take().ok_or("no pipe")?.into_stdio()?;
    /// let mut echo = Command::new("echo").arg("one two three").stdout(input).spawn()?;
    /// echo.wait().await;
    /// assert_eq!(count.wait_with_output().await?.stdout_text().trim(), "3");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stdio(self) -> io::Result<Stdio> {
        let pipe = self.pipe.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(pipe.into_blocking_fd()?.into())
    }
}

impl AsyncWrite for ChildInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.pipe {
            Some(pipe) => Pin::new(pipe).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe = None;
        Poll::Ready(Ok(()))
    }
}

/// The end of the child's standard output or standard error that is read from, an [`AsyncRead`].
///
/// The child's `close` event waits until this was read to its end, or dropped. A child that says more than 64 KiB
/// waits until somebody reads.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::{AsyncBufReadExt, BufReader};
///
/// let mut child = musher_process::child_process::spawn("printf", ["one\\ntwo\\n"])?;
/// let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
/// assert_eq!(lines.next_line().await?.as_deref(), Some("one"));
/// assert_eq!(lines.next_line().await?.as_deref(), Some("two"));
/// assert_eq!(lines.next_line().await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChildOutput {
    pipe: pipe::Receiver,
    open: Option<StreamIsOpen>,
}

impl ChildOutput {
    pub(crate) fn new(fd: OwnedFd, open: StreamIsOpen) -> io::Result<ChildOutput> {
        Ok(ChildOutput { pipe: pipe::Receiver::from_owned_fd(fd)?, open: Some(open) })
    }

    /// For another child's input: one program's output goes straight into the other.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, spawn};
    ///
    /// let mut echo = spawn("echo", ["one two three"])?;
    /// let words = echo.stdout.take().ok_or("no pipe")?.into_stdio()?;
    /// let count = Command::new("wc").arg("-w").stdin(words).output().await?;
    /// assert_eq!(count.stdout_text().trim(), "3");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stdio(self) -> io::Result<Stdio> {
        Ok(self.pipe.into_blocking_fd()?.into())
    }

    /// For the input of another child, and to read what that one leaves. Two that read at the same time take bytes away from
    /// each other. It needs /proc.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, spawn};
    /// use tokio::io::AsyncReadExt;
    ///
    /// let mut lines = spawn("printf", ["one\ntwo\n"])?;
    /// let mut output = lines.stdout.take().ok_or("no pipe")?;
    /// let first = Command::shell("read line; echo $line").stdin(output.to_stdio()?).output().await?;
    /// let mut rest = String::new();
    /// output.read_to_string(&mut rest).await?;
    /// assert_eq!((first.stdout_text().as_str(), rest.as_str()), ("one\n", "two\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn to_stdio(&self) -> io::Result<Stdio> {
        opened_again(&self.pipe, File::options().read(true))
    }

    /// Reads on to the end, for nobody.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

/// A pipe for a child. What it is told of waiting must not hold for our end: so it is not a duplicate.
fn opened_again(pipe: &impl AsFd, options: &std::fs::OpenOptions) -> io::Result<Stdio> {
    Ok(options.open(format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd()))?.into())
}

impl AsyncRead for ChildOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.pipe).poll_read(cx, buffer));
        if result.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0) {
            self.open = None;
        }
        Poll::Ready(result)
    }
}

impl AsFd for ChildOutput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Our end of another descriptor of the child, 3 or above, that was asked for as [`Stdio::Pipe`]. It goes both ways.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Command, Stdio};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut child = Command::shell("read line <&5; echo \"$line too\" >&5").fd(5, Stdio::Pipe).spawn()?;
/// let mut pipe = child.take_pipe(5).ok_or("no pipe")?;
/// pipe.write_all(b"you\n").await?;
/// let mut said = String::new();
/// pipe.read_to_string(&mut said).await?;
/// assert_eq!(said, "you too\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChildPipe {
    socket: UnixStream,
    open: Option<StreamIsOpen>,
}

impl ChildPipe {
    pub(crate) fn new(fd: OwnedFd, open: StreamIsOpen) -> io::Result<ChildPipe> {
        crate::net::set_nonblocking(&fd)?;
        Ok(ChildPipe { socket: UnixStream::from_std(fd.into())?, open: Some(open) })
    }

    /// For another child: the two have a pipe between them that goes both ways.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Stdio};
    ///
    /// let mut asks = Command::shell("echo who >&3; read answer <&3; echo $answer").fd(3, Stdio::Pipe).spawn()?;
    /// let pipe = asks.take_pipe(3).ok_or("no pipe")?.into_stdio()?;
    /// let mut answers = Command::shell("read question <&3; echo \"$question? me\" >&3").fd(3, pipe).spawn()?;
    /// answers.wait().await;
    /// assert_eq!(asks.wait_with_output().await?.stdout_text(), "who? me\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_stdio(self) -> io::Result<Stdio> {
        let socket = self.socket.into_std()?;
        socket.set_nonblocking(false)?;
        Ok(OwnedFd::from(socket).into())
    }
}

impl AsFd for ChildPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for ChildPipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if result.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0) {
            self.open = None;
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for ChildPipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
