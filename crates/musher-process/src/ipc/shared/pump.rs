//! The task that waits for the socket when nobody else does.

use std::sync::Arc;

use super::{Looked, Shared, size};

/// Waits for the socket in the name of what was sent, until nothing more is to be done.
pub(super) async fn pump(shared: Arc<Shared>) {
    loop {
        let (write, read) = {
            let mut state = shared.lock();
            let waits = state.pump_waits();
            state.pump = Some(waits).filter(|waits| *waits != (false, false));
            if state.pump.is_none() {
                return;
            }
            waits
        };
        tokio::select! {
            ready = shared.io.writable(), if write => {
                let Ok(mut guard) = ready else { return };
                let mut state = shared.lock();
                state.out.writable();
                shared.flush(&mut state);
                if state.out.has_ready() {
                    guard.clear_ready();
                }
            }
            ready = shared.io.readable(), if read => {
                let Ok(mut guard) = ready else { return };
                if read_ahead(&shared) != Looked::MayBeMore {
                    guard.clear_ready();
                }
            }
            () = shared.nudge.notified() => {}
        }
    }
}

/// Reads for a receiver that may come later.
fn read_ahead(shared: &Shared) -> Looked {
    let mut state = shared.lock();
    let more = shared.look(&mut state);
    while let Some(received) = state.decode(shared) {
        state.inbox_bytes += size(&received);
        state.inbox.push_back(received);
    }
    if !state.inbox.is_empty()
        && let Some(waker) = state.receiver.take()
    {
        waker.wake();
    }
    more
}
