//! Messages between processes: arbitrary bytes never do harm, and what can be read is written in one
//! form only, which reads the same again.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sedge_adapter::wire::{Incoming, decode, encode_operation, encode_response};

fn encode(incoming: &Incoming<'_>) -> Bytes {
    match incoming {
        Incoming::Operation { namespace, operation } => encode_operation(namespace, operation),
        Incoming::Response(response) => encode_response(response),
    }
}

fuzz_target!(|message: &[u8]| {
    let Ok(incoming) = decode(message) else { return };
    let written = encode(&incoming);
    let again = decode(&written).expect("what was written can be read");
    // Not the values: NaN is not equal to itself.
    assert_eq!(encode(&again), written);
});
