//! Messages of the other side, given to whoever wants them.
//!
//! A handler gets every message, in order, in the task that reads the channel; a stream is a bounded copy that says when
//! its reader was too slow. What comes before anybody wants it waits, within bounds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use musher_process::ipc::Handle;
use musher_process::v8;

/// Messages that wait before anybody wants them, and that a reader may be behind.
const KEPT: usize = 1024;

/// A message.
///
/// Its value is any JSON value: compare it, or read it with `serde_json::from_value`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo '{\"visits\":3}' >&3"]))?;
/// let message = cluster.fork()?.messages().next().await.ok_or("no message")?;
/// assert_eq!(message.value["visits"], 3);
/// assert!(message.handle.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// What was sent.
    pub value: Value,
    /// The same whole, as a value of JavaScript, over a channel with [`Serialization::Advanced`](crate::Serialization):
    /// dates, maps, buffers and so on.
    pub v8: Option<v8::Value>,
    /// The handle that came with it.
    pub handle: Option<Handle>,
}

type Handler = Arc<dyn Fn(Message) + Send + Sync>;

/// Who wants messages.
#[derive(Default)]
pub(crate) struct Hearing(Mutex<Ears>);

#[derive(Default)]
struct Ears {
    handlers: Vec<Handler>,
    streams: Option<broadcast::Sender<Message>>,
    early: VecDeque<Message>,
    ended: bool,
}

/// Messages in order. Ends with the channel.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_cluster::{Settings, setup_primary};
/// let cluster = setup_primary(Settings::program("sh").args(["-c", "echo 1 >&3; echo 2 >&3"]))?;
/// let mut messages = cluster.fork()?.messages();
/// assert_eq!(messages.next().await.map(|message| message.value), Some(1.into()));
/// assert_eq!(messages.next().await.map(|message| message.value), Some(2.into()));
/// assert!(messages.next().await.is_none(), "its channel has ended");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Messages {
    early: VecDeque<Message>,
    receiver: broadcast::Receiver<Message>,
}

impl Hearing {
    fn with<T>(&self, act: impl FnOnce(&mut Ears) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A message came.
    pub(crate) fn hear(&self, message: Message) {
        let handlers = self.with(|ears| {
            if ears.handlers.is_empty() && ears.streams.is_none() {
                if ears.early.len() == KEPT {
                    ears.early.pop_front();
                }
                ears.early.push_back(message.clone());
            }
            if let Some(streams) = &ears.streams {
                // Nobody reads any more.
                let _ = streams.send(message.clone());
            }
            ears.handlers.clone()
        });
        for handler in handlers {
            handler(message.clone());
        }
    }

    /// A message came that is of no use later.
    pub(crate) fn hear_now(&self, message: Message) {
        let handlers = self.with(|ears| ears.handlers.clone());
        for handler in handlers {
            handler(message.clone());
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.with(|ears| {
            ears.ended = true;
            ears.streams = None;
        });
    }

    pub(crate) fn on(&self, handler: Handler) {
        let early = self.with(|ears| {
            ears.handlers.push(Arc::clone(&handler));
            std::mem::take(&mut ears.early)
        });
        for message in early {
            handler(message);
        }
    }

    pub(crate) fn stream(&self) -> Messages {
        self.with(|ears| {
            let early = std::mem::take(&mut ears.early);
            let receiver = match &ears.streams {
                Some(streams) => streams.subscribe(),
                None => {
                    let (sender, receiver) = broadcast::channel(KEPT);
                    ears.streams = Some(sender).filter(|_| !ears.ended);
                    receiver
                }
            };
            Messages { early, receiver }
        })
    }
}

impl std::fmt::Debug for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.with(|ears| f.debug_struct("Hearing").field("handlers", &ears.handlers.len()).finish_non_exhaustive())
    }
}

impl Messages {
    /// The next message; none after the channel's end. A reader that is more than 1024 messages behind loses the oldest,
    /// which is logged: use a handler where none may be lost.
    ///
    /// It may be dropped before it is ready (in `select!`): no message is lost by that. See the example of [`Messages`].
    pub async fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.early.pop_front() {
            return Some(message);
        }
        loop {
            match self.receiver.recv().await {
                Ok(message) => return Some(message),
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "messages were not read in time"),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::{Hearing, KEPT, Message};

    fn said(value: serde_json::Value) -> Message {
        Message { value, v8: None, handle: None }
    }

    #[tokio::test]
    async fn what_comes_early_waits_and_the_end_is_seen() {
        let hearing = Hearing::default();
        hearing.hear(said(json!(1)));
        let mut stream = hearing.stream();
        hearing.hear(said(json!(2)));
        hearing.end();
        assert_eq!(stream.next().await.unwrap().value, json!(1));
        assert_eq!(stream.next().await.unwrap().value, json!(2));
        assert!(stream.next().await.is_none());
        assert!(hearing.stream().next().await.is_none());
    }

    #[test]
    fn a_handler_misses_nothing_and_what_nobody_wants_is_bounded() {
        let hearing = Hearing::default();
        for n in 0..2 * KEPT {
            hearing.hear(said(json!(n)));
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        hearing.on(Arc::new(move |message| into.lock().unwrap().push(message.value)));
        hearing.hear(said(json!("last")));
        let heard = heard.lock().unwrap();
        assert_eq!((heard.len(), &heard[0], heard.last().unwrap()), (KEPT + 1, &json!(KEPT), &json!("last")));
    }
}
