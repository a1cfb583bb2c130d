//! Node's `serialization: 'advanced'`.

use musher_process::ExitStatus;
use musher_process::ipc::{SendError, Serialization};
use musher_process::v8::{BigInt, Value, ViewKind};
use serde::Deserialize;
use serde_json::json;

use crate::{Script, message, nodes, run};

/// Checks that a value is what it is to be, then sends one of each kind.
const PEER: &str = "
const assert = require('assert');
const circle = {name: 'circle'}; circle.self = circle;
const shared = {x: 1};
const values = () => [
  undefined, null, true, 1, -1, 2 ** 31, 0.5, -0, 'text', 'ä', '€𝄞', 10n, -(2n ** 70n), new Date(5), /a+b/gi,
  [1, , 3], {a: {b: undefined}}, new Map([['k', 1], [2, {}]]), new Set(['a', null]), Buffer.from('buf'),
  new Uint16Array([1, 258]), new DataView(new ArrayBuffer(2)), new ArrayBuffer(3), new Float64Array([0.5]),
  [shared, shared], circle, new TypeError('wrong'), new Number(7), Object.assign([1, 2], {extra: 1}),
];
process.on('message', (m) => {
  if (m === 'send') for (const value of values()) process.send({value});
  else if (m === 'stop') process.disconnect();
  else {
    const {value, index} = m;
    const expected = values()[index];
    if (index === 24 || index === 27 || index === 28 || index === 26 || index === 15) return process.send('skip');
    assert.deepStrictEqual(value, expected);
    process.send('same');
  }
});";

fn object(members: Vec<(&str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn values() -> Vec<Value> {
    let number = Value::Number;
    let shared = || object(vec![("x", number(1.0))]);
    vec![
        Value::Undefined,
        Value::Null,
        Value::Bool(true),
        number(1.0),
        number(-1.0),
        number(2_147_483_648.0),
        number(0.5),
        number(-0.0),
        "text".into(),
        "ä".into(),
        "€𝄞".into(),
        Value::BigInt(BigInt::from(10)),
        Value::BigInt(BigInt::from(-(1_i128 << 70))),
        Value::Date(5.0),
        Value::RegExp { source: "a+b".into(), flags: 3 },
        Value::Array(vec![number(1.0), Value::Undefined, number(3.0)]),
        object(vec![("a", object(vec![("b", Value::Undefined)]))]),
        Value::Map(vec![("k".into(), number(1.0)), (number(2.0), object(vec![]))]),
        Value::Set(vec!["a".into(), Value::Null]),
        Value::Buffer(b"buf".to_vec()),
        Value::View(ViewKind::Uint16Array, vec![1, 0, 2, 1]),
        Value::View(ViewKind::DataView, vec![0, 0]),
        Value::ArrayBuffer(vec![0, 0, 0]),
        Value::View(ViewKind::Float64Array, 0.5_f64.to_le_bytes().to_vec()),
        Value::Array(vec![shared(), shared()]),
        object(vec![("name", "circle".into()), ("self", Value::Circular(1))]),
        // An error comes with its stack: only its name and message are looked at.
        Value::Null,
        number(7.0),
        Value::Array(vec![number(1.0), number(2.0)]),
    ]
}

#[test]
fn every_kind_of_value_goes_both_ways() {
    for node in nodes() {
        run(async {
            let script = Script::new(PEER);
            let mut child = script.command(&node).serialization(Serialization::Advanced).fork().unwrap();
            child.send("send").await.unwrap();
            for (index, expected) in values().into_iter().enumerate() {
                let came = message(&mut child).await.value().unwrap();
                match came.member("value").unwrap() {
                    Value::Error(error) => {
                        assert_eq!((error.name.as_str(), error.message.as_deref()), ("TypeError", Some("wrong")));
                        assert!(error.stack.as_deref().unwrap().contains("script.js"));
                    }
                    value => assert_eq!(*value, expected, "number {index}, {node:?}"),
                }
            }
            for (index, value) in values().into_iter().enumerate() {
                let sent = object(vec![("value", value), ("index", Value::Number(index as f64))]);
                child.sender().unwrap().send_value(&sent).await.unwrap();
                let answer: String = message(&mut child).await.parse().unwrap();
                assert!(matches!(answer.as_str(), "same" | "skip"), "number {index}, {node:?}: {answer}");
            }
            child.send("stop").await.unwrap();
            assert_eq!(child.wait().await, ExitStatus::Code(0), "{node:?}");
        });
    }
}

#[test]
fn a_type_of_ones_own_is_read_from_any_serialization() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Report {
        id: u64,
        ratio: f64,
        raw: Vec<u8>,
        tags: Vec<String>,
        missing: Option<u8>,
    }
    run(async {
        let script = Script::new(
            "process.send({id: 2 ** 40, ratio: 1, raw: process.argv[2] ? [1, 255] : Buffer.from([1, 255]),
                           tags: ['a'], missing: undefined}); process.disconnect();",
        );
        let expected = Report { id: 1 << 40, ratio: 1.0, raw: vec![1, 255], tags: vec!["a".into()], missing: None };
        let command = script.command(&"node".into());
        let mut advanced = command.clone().serialization(Serialization::Advanced).fork().unwrap();
        assert_eq!(message(&mut advanced).await.parse::<Report>().unwrap(), expected);
        let mut json = command.arg("json").fork().unwrap();
        assert_eq!(message(&mut json).await.parse::<Report>().unwrap(), expected);
        advanced.wait().await;
        json.wait().await;
    });
}

#[test]
fn undefined_is_no_message_of_json() {
    run(async {
        let script = Script::new("process.on('message', () => process.disconnect())");
        let mut child = script.command(&"node".into()).fork().unwrap();
        let sender = child.sender().unwrap().clone();
        assert!(matches!(sender.send_value(&Value::Undefined).await, Err(SendError::NotAMessage(_))));
        child.send(&json!("but this is")).await.unwrap();
        assert_eq!(child.wait().await, ExitStatus::Code(0));
    });
}
