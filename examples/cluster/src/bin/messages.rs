//! A worker without a server: it sends back what its primary sends, messages and sockets, until it is told to leave. The
//! primary may be one in Rust or Node's.
//!
//! `cluster-primary 1 target/debug/cluster-messages`, then `broadcast {"any":"thing"}`

use anyhow::{Context, Result};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let worker = musher_cluster::own_worker()?.context("nobody is the primary of this process")?;
    let mut messages = worker.messages();
    let own = worker.clone();
    worker.on_internal(move |message| {
        // The primary may be gone.
        let _ = own.send(json!({"internal": message.value}));
    });
    worker.send("ready")?;
    while let Some(message) = messages.next().await {
        match message.handle {
            Some(socket) => worker.send_handle(json!({"back": socket.kind().name()}), socket).await?,
            None if message.value == "leave" => worker.disconnect().await,
            None => worker.send(json!({"echo": message.value}))?,
        }
    }
    Ok(())
}
