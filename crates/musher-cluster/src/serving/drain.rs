//! When this process is to take nothing new, finish what it has, and end.

use std::future::Future;
use std::pin::Pin;
use std::sync::{LazyLock, Once};
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Whether it has begun.
static DRAIN: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// Completes when this process is to drain: take nothing new, finish what is in flight, and end. See
/// [`draining`](crate::draining).
///
/// It may be made as often as wanted; all complete at the same moment, and those that are made later at once.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut draining = musher_cluster::draining();
/// tokio::select! {
///     () = &mut draining => println!("finish what is in flight, and end"),
///     () = tokio::time::sleep(std::time::Duration::from_millis(1)) => println!("serve on"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct Draining {
    begun: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Draining {
    /// Of this process.
    pub(crate) fn new() -> Draining {
        let mut state = DRAIN.subscribe();
        Draining {
            begun: Box::pin(async move {
                // The sender is a static: it is never gone.
                let _ = state.wait_for(|begun| *begun).await;
            }),
        }
    }
}

impl Future for Draining {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.begun.as_mut().poll(context)
    }
}

impl std::fmt::Debug for Draining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draining").field("begun", &*DRAIN.borrow()).finish()
    }
}

/// It begins, if it has not.
pub(crate) fn begin() {
    let first = DRAIN.send_if_modified(|begun| !std::mem::replace(begun, true));
    if first {
        super::notify("STOPPING=1");
    }
}

/// From now on the stop signals mean the same: they do not end this process any more, but for the second.
pub(crate) fn follow_signals() {
    static FOLLOWED: Once = Once::new();
    if tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    FOLLOWED.call_once(|| {
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            match signal(kind) {
                Ok(signals) => drop(tokio::spawn(follow(signals, kind.as_raw_value()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot wait for the stop signal, which ends this process at once")
                }
            }
        }
    });
}

async fn follow(mut signals: Signal, number: i32) {
    if signals.recv().await.is_some() {
        begin();
    }
    if signals.recv().await.is_some() {
        end(number);
    }
}

#[expect(clippy::disallowed_methods, reason = "who sends the stop signal again does not want to wait for the rest")]
fn end(number: i32) {
    std::process::exit(128 + number);
}
