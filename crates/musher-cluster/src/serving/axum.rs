//! Axum on a listener of this crate: `axum::serve(musher_cluster::listen(…).await?, app)`, or [`serve`], which keeps
//! clients that hold a connection from losing a request at a drain.

use std::future::{Future, IntoFuture, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Extensions, Version};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::listener::{Family, Listener, Tcp};

/// How long clients that keep a connection have to use it once more, when nothing else is said. Who closes at once cuts
/// off a client that is just sending.
const GRACE: Duration = Duration::from_secs(1);

impl<F: Family> axum::serve::Listener for Listener<F>
where
    F::Stream: AsyncRead + AsyncWrite,
{
    type Io = F::Stream;
    type Addr = F::Address;

    async fn accept(&mut self) -> (F::Stream, F::Address) {
        match poll_fn(|context| self.poll_accept(context)).await {
            Some(connection) => connection,
            // It drains: axum stops to ask when its graceful shutdown has begun.
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<F::Address> {
        Ok(Listener::local_addr(self))
    }
}

/// Serves an axum router until this process [drains](crate::draining), and then so that no client loses a request: what
/// comes on kept connections is answered with `Connection: close` for a [grace](Serve::grace) of one second, and only
/// what is idle then is closed. (`axum::serve` with a graceful shutdown closes idle connections at once, also those on
/// which a request is just on its way.) Handlers find the peer as `ConnectInfo<SocketAddr>`.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello\n" }));
/// musher_cluster::serve(musher_cluster::listen("127.0.0.1:8080").await?, app).await
/// # }
/// ```
///
/// # Errors
///
/// None at present; errors of single connections concern only those.
pub fn serve<F: Family>(listener: Listener<F>, router: Router) -> Serve<F> {
    Serve { listener, router, grace: GRACE }
}

/// See [`serve`].
#[must_use = "it serves when it is awaited"]
#[derive(Debug)]
pub struct Serve<F: Family = Tcp> {
    listener: Listener<F>,
    router: Router,
    grace: Duration,
}

impl<F: Family> Serve<F> {
    /// How long kept connections may be used once more when the process drains. Default: one second. When none is left it is
    /// over sooner.
    ///
    /// ```no_run
    /// # async fn example(app: axum::Router) -> std::io::Result<()> {
    /// let listener = musher_cluster::listen("127.0.0.1:8080").await?;
    /// musher_cluster::serve(listener, app).grace(std::time::Duration::from_secs(5)).await
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> Serve<F> {
        self.grace = grace;
        self
    }
}

impl<F: Family> IntoFuture for Serve<F>
where
    F::Stream: AsyncRead + AsyncWrite,
    F::Address: Sync,
{
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Serve { listener, router, grace } = self;
        let leaving = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&leaving);
        let around = middleware::from_fn(move |mut request: Request, next: Next| {
            let leaving = Arc::clone(&told);
            name_peer::<F::Address>(request.extensions_mut());
            async move { for_the_last_time(request, next, &leaving).await }
        });
        let open = Arc::new(watch::Sender::new(0));
        let counting = Counting { listener, open: Arc::clone(&open) };
        let ends = async move {
            crate::draining().await;
            leaving.store(true, Ordering::Relaxed);
            let mut open = open.subscribe();
            // That either is over is all that counts.
            let _ = tokio::time::timeout(grace, open.wait_for(|open: &usize| *open == 0)).await;
        };
        let service = router.layer(around).into_make_service_with_connect_info::<Peer<F::Address>>();
        Box::pin(async move { axum::serve(counting, service).with_graceful_shutdown(ends).await })
    }
}

/// Asks the client to use another connection next time when this worker is leaving.
async fn for_the_last_time(request: Request, next: Next, leaving: &AtomicBool) -> Response {
    let is_http1 = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if is_http1 && leaving.load(Ordering::Relaxed) && response.status().as_u16() != 101 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Handlers ask for the address itself.
fn name_peer<A: Clone + Send + Sync + 'static>(extensions: &mut Extensions) {
    if let Some(ConnectInfo(Peer(address))) = extensions.remove::<ConnectInfo<Peer<A>>>() {
        extensions.insert(ConnectInfo(address));
    }
}

/// The other side of a connection.
#[derive(Clone)]
struct Peer<A>(A);

impl<F: Family> Connected<IncomingStream<'_, Counting<F>>> for Peer<F::Address>
where
    F::Stream: AsyncRead + AsyncWrite,
    F::Address: Sync,
{
    fn connect_info(stream: IncomingStream<'_, Counting<F>>) -> Self {
        Peer(stream.remote_addr().clone())
    }
}

/// Knows how many connections are open.
struct Counting<F: Family> {
    listener: Listener<F>,
    open: Arc<watch::Sender<usize>>,
}

impl<F: Family> axum::serve::Listener for Counting<F>
where
    F::Stream: AsyncRead + AsyncWrite,
{
    type Io = Counted<F::Stream>;
    type Addr = F::Address;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        self.open.send_modify(|open| *open += 1);
        (Counted { stream, open: Arc::clone(&self.open) }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.listener.local_addr())
    }
}

/// An open connection.
struct Counted<S> {
    stream: S,
    open: Arc<watch::Sender<usize>>,
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
