//! Session ids: reading arbitrary bytes never panics, text and bytes correspond one to one, and an
//! id is accepted exactly if one of the codec's keys would make the same id again.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::sid::{Owner, PublicId, SessionId, SidCodec};

#[derive(Arbitrary, Debug)]
struct Case {
    secret: Vec<u8>,
    previous: Option<Vec<u8>>,
    node: u16,
    worker: u8,
    shard: u8,
    random: [u8; 8],
    /// Bits that are flipped in the id.
    tamper: [u8; 15],
    text: Vec<u8>,
}

fuzz_target!(|case: Case| {
    let mut codec = SidCodec::new(&case.secret);
    let mut keys = vec![codec.clone()];
    if let Some(previous) = &case.previous {
        codec = codec.with_previous(previous);
        keys.push(SidCodec::new(previous));
    }

    let owner = Owner { node: case.node, worker: case.worker, shard: case.shard };
    let id = codec.encode(owner, case.random);
    assert_eq!(codec.decode(&id), Some(owner));
    if let Some(former) = keys.last() {
        assert_eq!(codec.decode(&former.encode(owner, case.random)), Some(owner));
    }

    let mut bytes = *id.as_bytes();
    for (byte, flipped) in bytes.iter_mut().zip(case.tamper) {
        *byte ^= flipped;
    }
    // A public id gives any bytes their text, which is read as a session id.
    let tampered = PublicId::from_random(bytes).text();
    accepted_iff_reproducible(&codec, &keys, tampered.as_bytes());
    accepted_iff_reproducible(&codec, &keys, &case.text);
});

fn accepted_iff_reproducible(codec: &SidCodec, keys: &[SidCodec], text: &[u8]) {
    let well_formed = text.len() == 20
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    assert_eq!(PublicId::parse(text).is_some(), well_formed);
    assert_eq!(SessionId::parse(text).is_some(), well_formed);
    let Some(id) = SessionId::parse(text) else { return };
    assert_eq!(id.text().as_bytes(), text);

    let [n0, n1, worker, shard, random @ .., _, _, _] = *id.as_bytes();
    let owner = Owner { node: u16::from_be_bytes([n0, n1]), worker, shard };
    let reproducible = keys.iter().any(|key| key.encode(owner, random) == id);
    assert_eq!(codec.decode(&id), reproducible.then_some(owner));
}
