//! Sockets that came over a channel under a key, counted while they are open.
//!
//! Node's `server.getConnections` and `server.close` ask the processes to which a server's connections went.

use std::collections::HashMap;
use std::fmt;
use std::sync::Weak;

use super::shared::Shared;

/// The most keys that a peer may use at a time. What comes under others is not counted.
pub(crate) const MAX_KEYS: usize = 1024;

/// How many are open under each key, and who wants to know when none is.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    keys: HashMap<String, Key>,
}

#[derive(Debug, Default)]
struct Key {
    open: u32,
    tell: bool,
}

/// A socket that is open. Dropped with it.
pub(crate) struct Open {
    shared: Weak<Shared>,
    key: String,
}

impl Sockets {
    /// One more, if there is room for its key.
    pub(crate) fn opened(&mut self, key: &str, shared: &Weak<Shared>) -> Option<Open> {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            return None;
        }
        self.keys.entry(key.to_owned()).or_default().open += 1;
        Some(Open { shared: shared.clone(), key: key.to_owned() })
    }

    pub(crate) fn count(&self, key: &str) -> u32 {
        self.keys.get(key).map_or(0, |key| key.open)
    }

    /// Somebody wants to know when none is open. True: none is.
    pub(crate) fn tell_when_closed(&mut self, key: &str) -> bool {
        match self.keys.get_mut(key) {
            Some(key) => {
                key.tell = true;
                false
            }
            None => true,
        }
    }

    /// One less. True: it was the last, and somebody wants to know.
    pub(crate) fn closed(&mut self, key: &str) -> bool {
        let Some(entry) = self.keys.get_mut(key) else { return false };
        entry.open = entry.open.saturating_sub(1);
        let (none, tell) = (entry.open == 0, entry.tell);
        if none {
            self.keys.remove(key);
        }
        none && tell
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.socket_closed(&self.key);
        }
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Open({:?})", self.key)
    }
}
