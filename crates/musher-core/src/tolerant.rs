//! Reads what another version wrote, as far as it is understood.
//!
//! A record of a neighbouring version may have members and words that this one does not know. Members are left out. A
//! word that is not known takes along what cannot be understood without it, and no more: the smallest part around it
//! that may be absent, an element of a list, an entry of a map or a member with a default. What was left out is told, so that
//! somebody can say so.
//!
//! What is not such a record at all is refused: then nothing would be left of it.

use serde::de::DeserializeOwned;
use serde_json::{Error, Value};
use serde_path_to_error::{Path, Segment, Track};

/// The most parts that are left out of one document. Each costs a look at all of it.
const MOST: usize = 4096;

/// What was understood of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Understood<T> {
    /// It.
    pub value: T,
    /// Where something was left out, with the reason.
    pub left_out: Vec<String>,
}

/// Reads a JSON document.
///
/// # Errors
///
/// When it is no JSON, or so much of it is not understood that nothing remains. The error is about the first place.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Understood<T>, Error> {
    // Nearly always there is nothing to be left out.
    let first = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(Understood { value, left_out: Vec::new() }),
        Err(error) => error,
    };
    let mut document: Value = serde_json::from_slice(bytes)?;
    let mut left_out = Vec::new();
    while left_out.len() < MOST {
        let mut track = Track::new();
        match T::deserialize(serde_path_to_error::Deserializer::new(&document, &mut track)) {
            Ok(value) => return Ok(Understood { value, left_out }),
            Err(error) => {
                let path = track.path();
                if !leave_out(&mut document, &path, &error) {
                    break;
                }
                left_out.push(format!("{path}: {error}"));
            }
        }
    }
    Err(first)
}

/// Takes out what the error is about. False: that would be everything.
fn leave_out(document: &mut Value, path: &Path, error: &Error) -> bool {
    let steps: Vec<String> = path.iter().filter_map(step).collect();
    // How far the steps lead: a variant without content has no value of its own.
    let mut depth = 0;
    let mut at = &*document;
    while let Some(next) = steps.get(depth).and_then(|step| child(at, step)) {
        at = next;
        depth += 1;
    }
    if let Some(unknown) = unknown_member(at, error) {
        return follow(document, &steps[..depth]).is_some_and(|at| remove(at, &unknown));
    }
    let Some((last, parents)) = steps[..depth].split_last() else { return false };
    follow(document, parents).is_some_and(|parent| remove(parent, last))
}

fn step(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    }
}

fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn follow<'a>(document: &'a mut Value, steps: &[String]) -> Option<&'a mut Value> {
    steps.iter().try_fold(document, |value, step| match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(elements) => elements.get_mut(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn remove(parent: &mut Value, step: &str) -> bool {
    match (parent, step.parse::<usize>()) {
        (Value::Object(members), _) => members.remove(step).is_some(),
        (Value::Array(elements), Ok(index)) if index < elements.len() => {
            elements.remove(index);
            true
        }
        _ => false,
    }
}

/// The member that the error is about, where unknown members are refused. Its words are serde's own, the same for all
/// types; a test would tell if they changed.
fn unknown_member(value: &Value, error: &Error) -> Option<String> {
    let error = error.to_string();
    let members = value.as_object()?.keys();
    members.into_iter().find(|key| error.starts_with(&format!("unknown field `{key}`"))).cloned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Word {
        #[default]
        Plain,
        Full {
            inner: Inner,
        },
        Pair(Inner, u32),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Inner {
        A,
        B { n: u32 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "code", rename_all = "kebab-case")]
    enum Tagged {
        Known { n: u32 },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        id: u32,
        #[serde(default)]
        word: Word,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        map: BTreeMap<u32, Inner>,
        #[serde(default)]
        results: Vec<Result<(), Tagged>>,
        #[serde(default)]
        nested: Option<Box<Document>>,
    }

    fn understood(text: &str, left_out: usize) -> Document {
        let read = read::<Document>(text.as_bytes()).unwrap();
        assert_eq!(read.left_out.len(), left_out, "{:?}", read.left_out);
        read.value
    }

    #[test]
    fn what_is_understood_is_read_as_ever() {
        let document = understood(r#"{"id":1,"word":{"full":{"inner":"a"}},"map":{"3":{"b":{"n":4}}}}"#, 0);
        assert_eq!(document.word, Word::Full { inner: Inner::A });
        assert_eq!(document.map[&3], Inner::B { n: 4 });
    }

    #[test]
    fn an_unknown_word_takes_along_no_more_than_it_must() {
        for word in [
            r#""later""#,
            r#"{"later":1}"#,
            r#"{"full":{"inner":"later"}}"#,
            r#"{"full":{"inner":{"later":{}}}}"#,
            r#"{"full":{"later":1}}"#,
            r#"{"pair":["later",1]}"#,
        ] {
            let read = read::<Document>(format!(r#"{{"id":1,"word":{word},"list":["a"]}}"#).as_bytes()).unwrap();
            assert_eq!((read.value.word, read.value.list), (Word::Plain, vec![Inner::A]), "{word}");
            assert!(!read.left_out.is_empty(), "{word}");
        }
        let document = understood(r#"{"id":1,"list":["a","later","a"],"map":{"1":"later","2":"a"}}"#, 2);
        assert_eq!(document.list, [Inner::A, Inner::A]);
        assert_eq!(document.map.keys().copied().collect::<Vec<u32>>(), [2]);
    }

    #[test]
    fn an_unknown_word_in_a_tagged_type_takes_along_its_element() {
        let text = r#"{"id":1,"results":[{"Ok":null},{"Err":{"code":"later"}},{"Err":{"code":"known","n":1}}]}"#;
        let document = read::<Document>(text.as_bytes()).unwrap().value;
        assert_eq!(document.results, [Ok(()), Err(Tagged::Known { n: 1 })]);
    }

    #[test]
    fn unknown_members_are_left_out_wherever_they_are() {
        let document = understood(r#"{"id":1,"later":{"a":[1]},"nested":{"id":2,"later":true,"more":0}}"#, 3);
        assert_eq!((document.id, document.nested.unwrap().id), (1, 2));
    }

    #[test]
    fn what_lacks_something_needed_is_left_out_as_a_whole_and_at_last_refused() {
        assert_eq!(understood(r#"{"id":1,"nested":{"word":"plain"}}"#, 1).nested, None);
        for text in ["", "{", "[]", "7", "{}", r#"{"id":"later"}"#, r#"{"word":"later"}"#] {
            read::<Document>(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn a_hostile_document_ends_in_an_error() {
        let many = vec!["\"later\""; MOST + 1].join(",");
        read::<Document>(format!(r#"{{"id":1,"list":[{many}]}}"#).as_bytes()).unwrap_err();
    }
}
