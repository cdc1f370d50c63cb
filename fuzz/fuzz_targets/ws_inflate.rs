//! Inflating arbitrary bytes never panics and never yields more than the limit; what the deflater
//! makes is inflated to what it was made from; offers of any form are answered or declined.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::ws::{Deflater, FrameError, Inflater, negotiate};

#[derive(Arbitrary, Debug)]
struct Case {
    compressed: Vec<u8>,
    limit: u16,
    plain: Vec<u8>,
    repeat: u8,
    level: u8,
    offers: String,
}

fuzz_target!(|case: Case| {
    let limit = usize::from(case.limit);
    let mut inflater = Inflater::new();

    let mut out = Vec::new();
    let result = inflater.inflate(&case.compressed, limit, &mut out);
    match result {
        Ok(()) => assert!(out.len() <= limit),
        Err(FrameError::MessageTooBig) => assert!(out.len() == limit + 1),
        Err(error) => assert_eq!(error, FrameError::InvalidDeflate),
    }
    // The verdict does not depend on what the inflater read before.
    let mut again = Vec::new();
    assert_eq!(inflater.inflate(&case.compressed, limit, &mut again), result);
    assert_eq!(again, out);

    let plain = case.plain.repeat(1 + usize::from(case.repeat % 32));
    let mut deflater = Deflater::new(u32::from(case.level));
    let mut frame = b"before".to_vec();
    if deflater.compress(&plain, &mut frame) {
        let payload = &frame[6..];
        assert!(payload.len() < plain.len());
        let mut back = Vec::new();
        assert_eq!(inflater.inflate(payload, plain.len(), &mut back), Ok(()));
        assert_eq!(back, plain);
        let short = inflater.inflate(payload, plain.len() - 1, &mut Vec::new());
        assert_eq!(short, Err(FrameError::MessageTooBig));
    } else {
        assert_eq!(frame, b"before");
    }

    if let Some(answer) = negotiate(&case.offers) {
        assert!(answer.starts_with("permessage-deflate; server_no_context_takeover;"));
    }
});
