use proptest::prelude::*;

use super::*;

/// What Node itself wrote, for a channel: `node` and the value that it means.
#[test]
fn what_node_writes_is_read() {
    let online = b"\xff\x0f\x6f\x22\x03cmd\x22\x0cNODE_CLUSTER\x22\x03act\x22\x06online\x22\x03seq\x49\x00\x7b\x03";
    let expected = Value::Object(vec![
        ("cmd".into(), "NODE_CLUSTER".into()),
        ("act".into(), "online".into()),
        ("seq".into(), Value::Number(0.0)),
    ]);
    assert_eq!(decode(online).unwrap(), expected);
    assert_eq!(encode(&expected), online);
}

#[test]
fn an_object_that_occurs_twice_is_two_equal_values() {
    // [a, a, {b: a}] with a = {}
    let bytes = b"\xff\x0fA\x03o{\x00^\x01o\"\x01b^\x01{\x01$\x00\x03";
    let empty = || Value::Object(vec![]);
    assert_eq!(
        decode(bytes).unwrap(),
        Value::Array(vec![empty(), empty(), Value::Object(vec![("b".into(), empty())])])
    );
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn an_object_that_contains_itself_comes_and_goes_whole() {
    let itself = b"\xff\x0fo\"\x01a^\x00{\x01";
    assert_eq!(decode(itself).unwrap(), object([("a", Value::Circular(1))]));
    assert_eq!(encode(&object([("a", Value::Circular(1))])), itself);
    // The numbers of objects count dates and buffers, too.
    let within = Value::Array(vec![
        Value::Date(0.0),
        Value::Buffer(vec![1]),
        Value::Map(vec![("up".into(), Value::Circular(2)), ("own".into(), Value::Circular(1))]),
    ]);
    assert_eq!(decode(&encode(&within)).unwrap(), within);
    assert_eq!(encode(&Value::Circular(1)), encode(&Value::Undefined), "it contains nothing");
    assert_eq!(encode(&object([("a", Value::Circular(0))])), encode(&object([("a", Value::Undefined)])));
}

#[test]
fn an_object_that_contains_itself_and_occurs_twice_ends() {
    // [a, a] with a = {a}
    let twice = decode(b"\xff\x0fA\x02o\"\x01a^\x01{\x01^\x01$\x00\x02").unwrap();
    let a = || object([("a", Value::Circular(1))]);
    assert_eq!(twice, Value::Array(vec![a(), a()]));
    // [a, a.b] with a = {b: {a}}
    let each = decode(b"\xff\x0fA\x02o\"\x01bo\"\x01a^\x01{\x01{\x01^\x02$\x00\x02").unwrap();
    let around = || object([("b", object([("a", Value::Circular(2))]))]);
    assert_eq!(each, Value::Array(vec![around(), object([("a", around())])]));
    let node = encode(&each);
    assert_eq!(decode(&node).unwrap(), each);
}

#[test]
fn references_to_references_do_not_grow_without_bound() {
    // Each array has the one before twice: 2^40 values from 400 bytes.
    let mut bytes = b"\xff\x0f".to_vec();
    for _ in 0..40 {
        bytes.extend_from_slice(b"A\x02");
    }
    bytes.extend_from_slice(b"o{\x00");
    for level in (1..=40).rev() {
        bytes.extend_from_slice(&[b'^', level, b'$', 0, 2]);
    }
    assert_eq!(decode(&bytes), Err(DecodeError::TooMany));
}

#[test]
fn depth_and_lengths_are_bounded() {
    let deep = [b"\xff\x0f".to_vec(), b"A\x01".repeat(100_000)].concat();
    assert_eq!(decode(&deep), Err(DecodeError::TooDeep));
    assert_eq!(decode(b"\xff\x0fA\xff\xff\xff\xff\x0f"), Err(DecodeError::Cut));
    assert_eq!(decode(b"\xff\x0fB\xff\xff\xff\xff\x0f"), Err(DecodeError::Cut));
    let sparse = b"\xff\x0fa\xff\xff\xff\xff\x0fI\x02T@\x01\xff\xff\xff\xff\x0f";
    assert_eq!(decode(sparse).unwrap(), Value::Object(vec![("1".into(), Value::Bool(true))]));
    assert_eq!(decode(b"\xff\x11T"), Err(DecodeError::Version(17)));
    assert_eq!(decode(b"\xff\x0fm\x01"), Err(DecodeError::Unknown('m')));
}

#[test]
fn dates_as_javascript_writes_them() {
    let text = |time| Value::Date(time).to_json(Buffers::Objects).unwrap();
    assert_eq!(text(1_700_000_000_123.0), "2023-11-14T22:13:20.123Z");
    assert_eq!(text(-1.0), "1969-12-31T23:59:59.999Z");
    assert_eq!(text(951_782_400_000.0), "2000-02-29T00:00:00.000Z");
    assert_eq!(text(8.64e15), "+275760-09-13T00:00:00.000Z");
    assert_eq!(text(f64::NAN), serde_json::Value::Null);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Undefined),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|number| Value::Number(f64::from(number))),
        prop::num::f64::NORMAL.prop_map(Value::Number),
        any::<i128>()
            .prop_filter("has no magnitude", |number| *number != i128::MIN)
            .prop_map(|n| Value::BigInt(n.into())),
        "\\PC{0,12}".prop_map(Value::String),
        prop::num::f64::NORMAL.prop_map(Value::Date),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Buffer),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::ArrayBuffer),
        prop::collection::vec(any::<u8>(), 8).prop_map(|bytes| Value::View(ViewKind::Float64Array, bytes)),
        ("\\PC{0,5}", 0_u32..64).prop_map(|(source, flags)| Value::RegExp { source, flags }),
        "\\PC{0,9}".prop_map(|message| {
            let name = "TypeError".to_owned();
            Value::Error(Box::new(ErrorValue { name, message: Some(message), stack: None, cause: Some(Value::Null) }))
        }),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Set),
            prop::collection::vec(("\\PC{0,6}", inner.clone()), 0..6).prop_map(Value::Object),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in values()) {
        prop_assert_eq!(decode(&encode(&value)).unwrap(), value);
    }

    #[test]
    fn any_bytes_are_handled(mut bytes in prop::collection::vec(any::<u8>(), 0..200), header: bool) {
        if header {
            bytes.splice(0..0, [0xff, 15]);
        }
        if let Ok(value) = decode(&bytes) {
            let _ = value.to_json(Buffers::Arrays);
        }
    }

    #[test]
    fn a_damaged_message_is_handled(value in values(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encode(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(value) = decode(&bytes) {
            let _ = encode(&value);
        }
    }
}
