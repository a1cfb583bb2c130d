//! A function for each kind of event, for those who like it Node's way.

use std::fmt;

use tokio::task::JoinHandle;

use super::child::{Child, ChildHandle};
use super::event::{ChildError, Event};
use crate::ExitStatus;
use crate::ipc::{Internal, Message};

/// Functions that are called for events of a child: [`Child::listen`].
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
    pub fn new() -> Listeners {
        Listeners::default()
    }

    /// When it runs.
    pub fn on_spawn(mut self, listener: impl FnMut() + Send + 'static) -> Listeners {
        self.spawn = Some(Box::new(listener));
        self
    }

    /// When it sent a message.
    pub fn on_message(mut self, listener: impl FnMut(Message) + Send + 'static) -> Listeners {
        self.message = Some(Box::new(listener));
        self
    }

    /// When its runtime sent a message.
    pub fn on_internal(mut self, listener: impl FnMut(Internal) + Send + 'static) -> Listeners {
        self.internal = Some(Box::new(listener));
        self
    }

    /// When the channel is closed.
    pub fn on_disconnect(mut self, listener: impl FnMut() + Send + 'static) -> Listeners {
        self.disconnect = Some(Box::new(listener));
        self
    }

    /// When something went wrong.
    pub fn on_error(mut self, listener: impl FnMut(ChildError) + Send + 'static) -> Listeners {
        self.error = Some(Box::new(listener));
        self
    }

    /// When it has ended.
    pub fn on_exit(mut self, listener: impl FnMut(ExitStatus) + Send + 'static) -> Listeners {
        self.exit = Some(Box::new(listener));
        self
    }

    /// When it has ended, and so have its outputs.
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
