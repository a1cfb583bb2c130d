//! Any bytes are a value of JavaScript or none, and a value that was read is written so that it is read as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use musher_process::v8::{Buffers, decode, encode};

fuzz_target!(|input: &[u8]| {
    let bytes = [&[0xff, 15], input].concat();
    let _ = decode(input);
    if let Ok(value) = decode(&bytes) {
        let _ = (value.to_json(Buffers::Arrays), value.to_json(Buffers::Objects));
        // Not the values: NaN is not equal to itself.
        let written = encode(&value);
        let again = decode(&written).unwrap();
        assert_eq!(encode(&again), written);
    }
});
