//! What the workers of an app share: a small map of keys and values, for programs that ask for it (the Node package's
//! `state`). Pure.
//!
//! Every change has a version, larger than all before it, so that a worker can change a value only if nobody else has
//! meanwhile. A question that is heard twice, because the supervisor was killed between the change and its answer, is
//! answered as before and changes nothing: a worker has one change under way at a time, so the last one of each is
//! remembered. All of it is kept with the listeners, and bounded.

use std::collections::BTreeMap;

use musher_core::ids::RunId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::message::Ask;

/// The longest key, in bytes.
pub(crate) const MAX_KEY: usize = 256;
/// The largest value as JSON, in bytes.
pub(crate) const MAX_VALUE: usize = 64 << 10;
/// The most keys.
pub(crate) const MAX_KEYS: usize = 1024;
/// The most that all keys and values have together, in bytes.
pub(crate) const MAX_SHARED: usize = 256 << 10;

/// The map of one app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shared {
    /// The version of the last change.
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    entries: BTreeMap<String, Entry>,
    /// The last change of each worker.
    #[serde(default)]
    done: Vec<Done>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    value: Value,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Done {
    run: RunId,
    seq: u64,
    version: u64,
}

/// What becomes of a question.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    /// The members of the answer.
    pub(crate) answer: Value,
    /// The members of what those who watch are told.
    pub(crate) change: Option<Value>,
}

impl Shared {
    /// Whether nothing was ever put into it.
    pub(crate) fn is_untouched(&self) -> bool {
        self.revision == 0
    }

    /// Answers a question about the map.
    pub(crate) fn answer(&mut self, run: RunId, seq: u64, ask: Ask) -> Reply {
        match ask {
            Ask::Get { key } => {
                let entry = self.entries.get(&key);
                let version = entry.map_or(0, |entry| entry.version);
                told(json!({ "ok": true, "value": entry.map(|entry| &entry.value), "version": version }))
            }
            Ask::All | Ask::Watch { .. } => {
                told(json!({ "ok": true, "entries": &self.entries, "revision": self.revision }))
            }
            Ask::Put { key, value, only_if } => self.put(run, seq, key, value, only_if),
            Ask::Broadcast { .. } => told(json!({ "ok": true })),
        }
    }

    /// `value`: none to delete the key.
    fn put(&mut self, run: RunId, seq: u64, key: String, value: Option<Value>, only_if: Option<u64>) -> Reply {
        if let Some(done) = self.done.iter().find(|done| done.run == run && done.seq == seq) {
            return told(json!({ "ok": true, "version": done.version }));
        }
        let before = self.entries.get(&key);
        let version = before.map_or(0, |entry| entry.version);
        if only_if.is_some_and(|wanted| wanted != version) {
            return refused("CONFLICT", "somebody else changed it meanwhile");
        }
        if let Some(value) = &value
            && let Err(reason) = self.has_room(&key, value)
        {
            return refused("TOO_LARGE", &reason);
        }
        if value.is_none() && before.is_none() {
            return told(json!({ "ok": true, "version": 0 }));
        }
        self.revision += 1;
        let revision = self.revision;
        let change = json!({ "key": &key, "value": &value, "gone": value.is_none(), "revision": revision });
        match value {
            Some(value) => drop(self.entries.insert(key, Entry { value, version: revision })),
            None => drop(self.entries.remove(&key)),
        }
        self.done.retain(|done| done.run != run);
        self.done.push(Done { run, seq, version: revision });
        Reply { answer: json!({ "ok": true, "version": revision }), change: Some(change) }
    }

    fn has_room(&self, key: &str, value: &Value) -> Result<(), String> {
        let size = |key: &str, value: &Value| key.len() + value.to_string().len();
        let new = size(key, value);
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(format!("a key has 1 to {MAX_KEY} bytes"));
        }
        if new - key.len() > MAX_VALUE {
            return Err(format!("a value has at most {MAX_VALUE} bytes as JSON"));
        }
        if self.entries.len() >= MAX_KEYS && !self.entries.contains_key(key) {
            return Err(format!("an app has at most {MAX_KEYS} keys"));
        }
        let others = self.entries.iter().filter(|(other, _)| *other != key);
        let all: usize = others.map(|(key, entry)| size(key, &entry.value)).sum();
        if all + new > MAX_SHARED {
            return Err(format!("all keys and values of an app have at most {MAX_SHARED} bytes"));
        }
        Ok(())
    }

    /// A worker has ended and asks nothing again.
    pub(crate) fn forget(&mut self, run: RunId) {
        self.done.retain(|done| done.run != run);
    }
}

fn told(answer: Value) -> Reply {
    Reply { answer, change: None }
}

fn refused(code: &str, message: &str) -> Reply {
    told(json!({ "ok": false, "code": code, "message": message }))
}

#[cfg(test)]
mod tests {
    use musher_core::ids::RunId;
    use serde_json::{Value, json};

    use super::{MAX_KEYS, MAX_SHARED, MAX_VALUE, Shared};
    use crate::message::Ask;

    const ONE: RunId = RunId(1);
    const TWO: RunId = RunId(2);

    fn put(key: &str, value: impl Into<Value>, only_if: Option<u64>) -> Ask {
        Ask::Put { key: key.into(), value: Some(value.into()), only_if }
    }

    fn get(shared: &mut Shared, key: &str) -> Value {
        shared.answer(ONE, 0, Ask::Get { key: key.into() }).answer["value"].clone()
    }

    #[test]
    fn a_value_is_changed_only_if_nobody_else_has() {
        let mut shared = Shared::default();
        let first = shared.answer(ONE, 1, put("n", 1, Some(0)));
        assert_eq!(first.answer, json!({ "ok": true, "version": 1 }));
        assert_eq!(first.change, Some(json!({ "key": "n", "value": 1, "gone": false, "revision": 1 })));
        assert_eq!(shared.answer(TWO, 1, put("n", 7, Some(0))).answer["code"], "CONFLICT");
        assert_eq!(shared.answer(TWO, 2, put("n", 7, Some(1))).answer["version"], 2);
        let gone = shared.answer(ONE, 2, Ask::Put { key: "n".into(), value: None, only_if: Some(2) });
        assert_eq!(gone.change.unwrap()["gone"], true);
        assert_eq!(get(&mut shared, "n"), Value::Null);
        assert_eq!(shared.answer(TWO, 3, put("n", 1, Some(2))).answer["code"], "CONFLICT", "of the one that is gone");
    }

    #[test]
    fn what_is_heard_twice_changes_nothing_also_after_a_restore() {
        let mut shared = Shared::default();
        shared.answer(ONE, 5, put("n", 1, Some(0)));
        let mut shared: Shared = serde_json::from_slice(&serde_json::to_vec(&shared).unwrap()).unwrap();
        let again = shared.answer(ONE, 5, put("n", 1, Some(0)));
        assert_eq!((again.answer["version"].clone(), again.change), (json!(1), None));
        shared.forget(ONE);
        assert_eq!(shared.answer(ONE, 5, put("n", 1, Some(0))).answer["code"], "CONFLICT");
    }

    #[test]
    fn everything_is_bounded() {
        let mut shared = Shared::default();
        let mut seq = 0;
        let mut code = |shared: &mut Shared, ask: Ask| {
            seq += 1;
            shared.answer(ONE, seq, ask).answer["code"].clone()
        };
        assert_eq!(code(&mut shared, put(&"k".repeat(300), 1, None)), "TOO_LARGE");
        assert_eq!(code(&mut shared, put("", 1, None)), "TOO_LARGE");
        assert_eq!(code(&mut shared, put("k", "v".repeat(MAX_VALUE), None)), "TOO_LARGE");
        let half = "v".repeat(MAX_VALUE - 100);
        for n in 0..MAX_SHARED / MAX_VALUE {
            assert_eq!(code(&mut shared, put(&n.to_string(), half.as_str(), None)), Value::Null);
        }
        assert_eq!(code(&mut shared, put("more", half.as_str(), None)), "TOO_LARGE");
        assert_eq!(code(&mut shared, put("0", half.as_str(), None)), Value::Null, "in place of the one before");
        let mut shared = Shared::default();
        for n in 0..MAX_KEYS {
            assert_eq!(code(&mut shared, put(&n.to_string(), 1, None)), Value::Null);
        }
        assert_eq!(code(&mut shared, put("more", 1, None)), "TOO_LARGE");
    }
}
