//! A child that speaks Node's channel: under Node, under Rust, with JSON or V8's format.
//!
//! It says `ready`, then back whatever it is told. Asked for `{"do": …}` it does that instead: `count` and `close` with the
//! connection that came, `listen` on a new port and send the listener, `leave` by closing the channel, `exit` with a code.
//! The tests use it as the other end, and `bench/` for its figures.
//!
//! ```console
//! $ node -e "const c = require('child_process').fork('x', {execPath: 'target/debug/examples/channel_peer'});
//!            c.on('message', (m) => { console.log(m); c.disconnect(); })"
//! ready
//! ```

use std::net::TcpListener;

use musher_process::ipc::{self, Channel, Handle, Message, Sender};
use musher_process::v8::Value;
use serde_json::{Value as Json, json};

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Channel { sender, mut receiver } = ipc::parent()?.ok_or("this program is to be forked")?;
    sender.send("ready").await?;
    // Connections that came, until they are to be closed.
    let mut held = Vec::new();
    while let Some(mut message) = receiver.recv().await {
        let handle = message.handle.take();
        let order = message.parse::<Json>().ok().and_then(|order| order.get("do")?.as_str().map(str::to_owned));
        match (order.as_deref(), handle) {
            (Some("hold"), Some(handle)) => {
                held.push(handle.into_tcp_stream()?);
                sender.send(&json!({"held": held.len()})).await?;
            }
            (Some("close"), _) => {
                held.clear();
                sender.send("closed").await?;
            }
            (Some("listen"), _) => listen(&sender).await?,
            (Some("leave"), _) => sender.disconnect(),
            (Some("silence"), _) => sender.send_value(&Value::Undefined).await?,
            (_, Some(handle)) => back_with(&sender, &message, handle).await?,
            (_, None) => sender.send_value(&message.value()?).await?,
        }
    }
    Ok(())
}

/// Sends a new listener, and keeps it no longer than until the peer has it.
async fn listen(sender: &Sender) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    sender.send_handle(&json!({"port": port}), listener.into()).await?;
    Ok(())
}

/// Says what came with a message, and sends it back.
async fn back_with(sender: &Sender, message: &Message, handle: Handle) -> Result<(), Box<dyn std::error::Error>> {
    let said = json!({"kind": handle.kind().name(), "said": message.parse::<Json>()?});
    sender.send_handle(&said, handle).await?;
    Ok(())
}
