//! A function for each kind of event, for those who like it Node's way.

use std::fmt;

use tokio::task::JoinHandle;

use super::child::{Child, ChildHandle};
use super::event::{ChildError, Event};
use crate::ExitStatus;
use crate::ipc::{Internal, Message};

/// Functions that are called for events of a child, one for each kind: [`Child::listen`]. A second one for the same
/// kind takes the place of the first. They run one at a time, in the task that drives the child: none may block.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use musher_process::child_process::{Listeners, spawn};
///
/// let listeners = Listeners::new()
///     .on_spawn(|| println!("it runs"))
///     .on_exit(|status| println!("it ended: {status}"));
/// let (child, task) = spawn("true", [""; 0])?.listen(listeners);
/// task.await?;
/// assert!(child.exit_status().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use]
pub struct Listeners {
    spawn: Option<Box<dyn FnMut() + Send>>,
    message: Option<Box<dyn FnMut(Message) + Send>>,
    internal: Option<Box<dyn FnMut(Internal) + Send>>,
    disconnect: Option<Box<dyn FnMut() + Send>>,
    error: Option<Box<dyn FnMut(ChildError) + Send>>,
    exit: Option<Box<dyn FnMut(ExitStatus) + Send>>,
    close: Option<Box<dyn FnMut(ExitStatus) + Send>>,
}

impl Listeners {
    /// None yet.
    ///
    /// ```
    /// use musher_process::child_process::Listeners;
    /// let nothing_is_told = Listeners::new();
    /// ```
    pub fn new() -> Listeners {
        Listeners::default()
    }

    /// When it runs: first of all, [`Event::Spawn`].
    ///
    /// ```
    /// # use musher_process::child_process::Listeners;
    /// let listeners = Listeners::new().on_spawn(|| println!("started"));
    /// ```
    pub fn on_spawn(mut self, listener: impl FnMut() + Send + 'static) -> Listeners {
        self.spawn = Some(Box::new(listener));
        self
    }

    /// When it sent a message, in the order of sending: [`Event::Message`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Command, Listeners};
    ///
    /// let (tell, mut told) = tokio::sync::mpsc::channel(1);
    /// let listeners = Listeners::new().on_message(move |message| tell.try_send(message.text()).unwrap());
    /// let (_child, task) = Command::shell("echo '{\"ready\":true}' >&3").ipc().spawn()?.listen(listeners);
    /// task.await?;
    /// assert_eq!(told.recv().await.ok_or("no message")??, r#"{"ready":true}"#);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_message(mut self, listener: impl FnMut(Message) + Send + 'static) -> Listeners {
        self.message = Some(Box::new(listener));
        self
    }

    /// When its runtime sent a message, as `cluster` does: Node's `internalMessage`, [`Event::Internal`].
    ///
    /// ```
    /// # use musher_process::child_process::Listeners;
    /// let listeners = Listeners::new().on_internal(|internal| println!("{}", internal.cmd));
    /// ```
    pub fn on_internal(mut self, listener: impl FnMut(Internal) + Send + 'static) -> Listeners {
        self.internal = Some(Box::new(listener));
        self
    }

    /// When the channel is closed, by either end: [`Event::Disconnect`].
    ///
    /// ```
    /// # use musher_process::child_process::Listeners;
    /// let listeners = Listeners::new().on_disconnect(|| println!("no more messages"));
    /// ```
    pub fn on_disconnect(mut self, listener: impl FnMut() + Send + 'static) -> Listeners {
        self.disconnect = Some(Box::new(listener));
        self
    }

    /// When something went wrong that is nobody's call's result: [`Event::Error`].
    ///
    /// ```
    /// # use musher_process::child_process::Listeners;
    /// let listeners = Listeners::new().on_error(|error| eprintln!("{error}"));
    /// ```
    pub fn on_error(mut self, listener: impl FnMut(ChildError) + Send + 'static) -> Listeners {
        self.error = Some(Box::new(listener));
        self
    }

    /// When it has ended: [`Event::Exit`].
    ///
    /// ```
    /// # use musher_process::child_process::Listeners;
    /// let listeners = Listeners::new().on_exit(|status| println!("{status}"));
    /// ```
    pub fn on_exit(mut self, listener: impl FnMut(ExitStatus) + Send + 'static) -> Listeners {
        self.exit = Some(Box::new(listener));
        self
    }

    /// When it has ended, and so have its outputs: last of all, [`Event::Close`].
    ///
    /// ```
    /// # use musher_process::child_process::Listeners;
    /// let listeners = Listeners::new().on_close(|status| println!("nothing more comes: {status}"));
    /// ```
    pub fn on_close(mut self, listener: impl FnMut(ExitStatus) + Send + 'static) -> Listeners {
        self.close = Some(Box::new(listener));
        self
    }

    fn call(&mut self, event: Event) {
        fn with<T>(listener: &mut Option<Box<dyn FnMut(T) + Send>>, what: T) {
            if let Some(listener) = listener {
                listener(what);
            }
        }
        fn without(listener: &mut Option<Box<dyn FnMut() + Send>>) {
            if let Some(listener) = listener {
                listener();
            }
        }
        match event {
            Event::Spawn => without(&mut self.spawn),
            Event::Message(message) => with(&mut self.message, message),
            Event::Internal(internal) => with(&mut self.internal, internal),
            Event::Disconnect => without(&mut self.disconnect),
            Event::Error(error) => with(&mut self.error, error),
            Event::Exit(status) => with(&mut self.exit, status),
            Event::Close(status) => with(&mut self.close, status),
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listeners")
    }
}

impl Child {
    /// Calls a function for each event, in a task of its own that ends with the child. Take the streams out before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use musher_process::child_process::{Listeners, spawn};
    ///
    /// let (told, exited) = tokio::sync::oneshot::channel();
    /// let mut told = Some(told);
    /// let (_child, task) = spawn("true", [""; 0])?.listen(Listeners::new().on_exit(move |status| {
    ///     let _ = told.take().map(|told| told.send(status));
    /// }));
    /// assert!(exited.await?.is_success());
    /// task.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(mut self, mut listeners: Listeners) -> (ChildHandle, JoinHandle<()>) {
        let handle = self.handle();
        let task = tokio::spawn(async move {
            while let Some(event) = self.next_event().await {
                listeners.call(event);
            }
        });
        (handle, task)
    }
}
