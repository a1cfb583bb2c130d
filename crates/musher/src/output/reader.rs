//! Whoever reads what a command writes.

use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Ends when nobody reads standard output any more: a command that waits for the next line would else wait on for ever
/// (`musher logs -f | head -1`). Without end for a file, which nobody has to read.
pub(crate) async fn reader_gone() {
    let Some(output) = std::io::stdout().as_fd().try_clone_to_owned().ok().and_then(watch) else {
        return std::future::pending().await;
    };
    loop {
        match output.ready(Interest::ERROR).await {
            Ok(ready) if ready.ready().is_error() => return,
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => return std::future::pending().await,
        }
    }
}

fn watch(output: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    #[expect(deprecated, reason = "unsound only for types whose descriptor can change; an OwnedFd's cannot")]
    AsyncFd::with_interest(output, Interest::ERROR).ok()
}
