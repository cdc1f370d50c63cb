//! Session ids that say which node, worker and shard own the session, and public socket ids.
//!
//! A session id is 15 bytes, shown as 20 characters of base64url, the form Node's ids have:
//!
//! ```text
//! byte  0..2   node     big-endian
//!       2      worker
//!       3      shard
//!       4..12  random   64 bits
//!       12..15 MAC      first 24 bits of SipHash-2-4-128 over bytes 0..12
//! ```
//!
//! Why this split of the 88 bits that the owner leaves:
//!
//! - **64 random bits.** Whoever has the id has the session, so it must be beyond guessing even for
//!   somebody who knows the secret: against a million live sessions a hit takes 2^44 requests on
//!   average. Nothing can be tested offline, since no stored value depends on the random bits. The
//!   owner's bytes keep the ids of different shards apart without coordination; within one shard a
//!   new id equals one of a million live ones once in 2^44 ids, and the shard's own table would show
//!   it.
//! - **24 bits of MAC.** They tell garbage from ids of this cluster before anything is routed. A
//!   forged MAC takes 2^23 requests on average and gains one routed request, answered "Session ID
//!   unknown"; a live session stays 64 random bits away. For somebody without the secret both parts
//!   are unknown, 88 bits.
//!
//! The owner is signed, not hidden: whoever has an id can read which shard made it. It is no secret,
//! and an operator can read it as well.

use std::fmt;

use sha2::{Digest as _, Sha256};
use siphasher::sip128::SipHasher24;
use smallvec::SmallVec;

/// Bytes of an id.
pub const ID_BYTES: usize = 15;
/// Characters of an id. Node's sticky balancer, cluster engine and sharded adapter rely on 20.
pub const ID_CHARS: usize = 20;
/// Random bytes that [`SidCodec::encode`] needs.
pub const RANDOM_BYTES: usize = 8;

/// What the MAC covers: owner and random bytes.
const SIGNED_BYTES: usize = 12;
const MAC_BYTES: usize = ID_BYTES - SIGNED_BYTES;

// 15 bytes are exactly 20 characters of 6 bits: every text is canonical, no bits are left over.
const _: () = assert!(ID_BYTES * 8 == ID_CHARS * 6);
const _: () = assert!(SIGNED_BYTES == 4 + RANDOM_BYTES);

/// Where a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The node's tag in the cluster.
    pub node: u16,
    /// The worker process on that node.
    pub worker: u8,
    /// The shard of that worker.
    pub shard: u8,
}

/// An Engine.IO session id. It is a secret of its client; `Debug` shows only the owner's part.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; ID_BYTES]);

/// A public id: of a socket in a namespace, of which others may be told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicId([u8; ID_BYTES]);

/// The text of an id, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdText([u8; ID_CHARS]);

impl SessionId {
    /// Reads exactly 20 characters of `[A-Za-z0-9_-]`. Says nothing about the MAC: see
    /// [`SidCodec::decode`].
    pub fn parse(text: &[u8]) -> Option<Self> {
        decode_text(text).map(Self)
    }

    /// The bytes of the id; the layout is at the top of this module.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// The id as its clients see it.
    pub fn text(&self) -> IdText {
        encode_text(&self.0)
    }
}

impl PublicId {
    /// An id of these random bytes. They must not repeat anywhere in the cluster: take them from
    /// the system's generator or one seeded by it.
    pub const fn from_random(random: [u8; ID_BYTES]) -> Self {
        Self(random)
    }

    /// Reads exactly 20 characters of `[A-Za-z0-9_-]`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        decode_text(text).map(Self)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// The id as clients and other nodes see it.
    pub fn text(&self) -> IdText {
        encode_text(&self.0)
    }
}

impl IdText {
    /// The 20 characters.
    pub fn as_str(&self) -> &str {
        // Always ASCII; the default is unreachable.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The 20 characters as ASCII bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_CHARS] {
        &self.0
    }
}

/// Makes session ids and tells whose they are. It holds the key of the cluster, and the former keys
/// whose ids are still accepted after a change of the secret.
#[derive(Clone)]
pub struct SidCodec {
    current: SipHasher24,
    previous: SmallVec<[SipHasher24; 1]>,
}

impl SidCodec {
    /// A codec for the cluster's secret, which can have any length; every node must have the same.
    ///
    /// The MAC key is the first 16 bytes of SHA-256 over the text `sedge session id v1`, a zero byte
    /// and the secret. That does not make a short secret a strong one.
    pub fn new(secret: &[u8]) -> Self {
        Self { current: keyed(secret), previous: SmallVec::new() }
    }

    /// Also accepts ids made under a former secret. New ids are made under the current one. Each
    /// former secret adds one MAC to the decoding of ids that are not current.
    pub fn with_previous(mut self, secret: &[u8]) -> Self {
        self.previous.push(keyed(secret));
        self
    }

    /// Makes an id. `random` must be unpredictable: from the system's generator or a
    /// cryptographic one seeded by it.
    pub fn encode(&self, owner: Owner, random: [u8; RANDOM_BYTES]) -> SessionId {
        let mut id = [0; ID_BYTES];
        id[..2].copy_from_slice(&owner.node.to_be_bytes());
        id[2] = owner.worker;
        id[3] = owner.shard;
        id[4..SIGNED_BYTES].copy_from_slice(&random);
        let mac = mac(&self.current, &id);
        id[SIGNED_BYTES..].copy_from_slice(&mac);
        SessionId(id)
    }

    /// Who owns the session, or `None` if this cluster did not make the id. The comparison takes
    /// the same time wherever a wrong MAC differs.
    pub fn decode(&self, id: &SessionId) -> Option<Owner> {
        let bytes = &id.0;
        let valid =
            verify(&self.current, bytes) || self.previous.iter().any(|key| verify(key, bytes));
        valid.then(|| Owner {
            node: u16::from_be_bytes([bytes[0], bytes[1]]),
            worker: bytes[2],
            shard: bytes[3],
        })
    }
}

fn verify(key: &SipHasher24, id: &[u8; ID_BYTES]) -> bool {
    let mac = mac(key, id);
    let differing = mac.iter().zip(&id[SIGNED_BYTES..]).fold(0, |bits, (a, b)| bits | (a ^ b));
    differing == 0
}

fn keyed(secret: &[u8]) -> SipHasher24 {
    let digest =
        Sha256::new().chain_update(b"sedge session id v1\0").chain_update(secret).finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    SipHasher24::new_with_key(&key)
}

fn mac(key: &SipHasher24, id: &[u8; ID_BYTES]) -> [u8; MAC_BYTES] {
    let [first, second, third, ..] = key.hash(&id[..SIGNED_BYTES]).as_bytes();
    [first, second, third]
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The value of each character, and a value with the top bit set for all others.
const VALUES: [u8; 256] = {
    let mut values = [0x80; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// All 120 bits pass through one integer: the length is fixed, so there is nothing to carry between
/// groups, and a bad character is found once at the end.
fn decode_text(text: &[u8]) -> Option<[u8; ID_BYTES]> {
    let text: &[u8; ID_CHARS] = text.try_into().ok()?;
    let mut bits: u128 = 0;
    let mut invalid = 0;
    for &character in text {
        let value = VALUES[usize::from(character)];
        invalid |= value;
        bits = bits << 6 | u128::from(value & 0x3f);
    }
    let [_, id @ ..] = bits.to_be_bytes();
    (invalid & 0x80 == 0).then_some(id)
}

fn encode_text(id: &[u8; ID_BYTES]) -> IdText {
    let mut bytes = [0; 16];
    bytes[1..].copy_from_slice(id);
    let bits = u128::from_be_bytes(bytes);
    IdText(std::array::from_fn(|index| {
        let value = (bits >> (6 * (ID_CHARS - 1 - index))) & 0x3f;
        ALPHABET[value as usize]
    }))
}

impl std::ops::Deref for IdText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for IdText {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may be a session id's, which does not belong into logs.
        f.write_str("IdText(..)")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.text(), f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n0, n1, worker, shard, ..] = self.0;
        write!(f, "SessionId({}/{worker}/{shard}/..)", u16::from_be_bytes([n0, n1]))
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.text(), f)
    }
}

impl fmt::Debug for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicId({self})")
    }
}

impl fmt::Debug for SidCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SidCodec").field("previous", &self.previous.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"correct horse battery staple";

    const OWNER: Owner = Owner { node: 0x1234, worker: 5, shard: 6 };

    fn id(text: &str) -> SessionId {
        SessionId::parse(text.as_bytes()).unwrap()
    }

    /// The vectors come from an independent implementation; nodes of all versions must agree.
    #[test]
    fn known_vectors() {
        let zero = Owner { node: 0, worker: 0, shard: 0 };
        let last = Owner { node: u16::MAX, worker: u8::MAX, shard: u8::MAX };
        for (secret, owner, random, text) in [
            (&b""[..], zero, [0; 8], "AAAAAAAAAAAAAAAAcWLc"),
            (SECRET, OWNER, [1, 2, 3, 4, 5, 6, 7, 8], "EjQFBgECAwQFBgcIUw0d"),
            (SECRET, last, [0xff; 8], "________________twxL"),
        ] {
            let codec = SidCodec::new(secret);
            let made = codec.encode(owner, random);
            assert_eq!(made.to_string(), text);
            assert_eq!(made, id(text));
            assert_eq!(codec.decode(&id(text)), Some(owner));
        }
    }

    #[test]
    fn a_change_of_any_bit_is_noticed() {
        let codec = SidCodec::new(SECRET).with_previous(b"older");
        let made = codec.encode(OWNER, [7; 8]);
        for bit in 0..ID_BYTES * 8 {
            let mut tampered = made;
            tampered.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(codec.decode(&tampered), None, "bit {bit}");
        }
    }

    #[test]
    fn another_cluster_does_not_accept_the_id() {
        let made = SidCodec::new(SECRET).encode(OWNER, [7; 8]);
        for other in [&b""[..], b"correct horse battery stapl", b"correct horse battery staple\0"] {
            assert_eq!(SidCodec::new(other).decode(&made), None);
        }
    }

    #[test]
    fn former_secrets_are_accepted_and_never_used_for_new_ids() {
        let old = SidCodec::new(b"old");
        let older = SidCodec::new(b"older");
        let codec = SidCodec::new(b"new").with_previous(b"old").with_previous(b"older");
        assert_eq!(codec.decode(&old.encode(OWNER, [1; 8])), Some(OWNER));
        assert_eq!(codec.decode(&older.encode(OWNER, [2; 8])), Some(OWNER));
        let made = codec.encode(OWNER, [3; 8]);
        assert_eq!(SidCodec::new(b"new").decode(&made), Some(OWNER));
        assert_eq!(old.decode(&made), None);
    }

    #[test]
    fn only_twenty_characters_of_the_alphabet_are_an_id() {
        let valid = "EjQFBgECAwQFBgcIUw0d";
        for text in ["", "EjQFBgECAwQFBgcIUw0", "EjQFBgECAwQFBgcIUw0dA", "EjQFBgECAwQFBgcIUw0=="] {
            assert_eq!(SessionId::parse(text.as_bytes()), None, "{text}");
            assert_eq!(PublicId::parse(text.as_bytes()), None, "{text}");
        }
        for position in 0..ID_CHARS {
            for byte in 0..=u8::MAX {
                let mut text: [u8; ID_CHARS] = valid.as_bytes().try_into().unwrap();
                text[position] = byte;
                let allowed = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                let parsed = SessionId::parse(&text);
                assert_eq!(parsed.is_some(), allowed, "byte {byte} at {position}");
                // Every text has one meaning and every id one text.
                if let Some(parsed) = parsed {
                    assert_eq!(parsed.text().as_bytes(), &text);
                }
            }
        }
    }

    #[test]
    fn public_ids_round_trip() {
        let bytes = [0xfb, 0xef, 0xbe, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xff];
        let public = PublicId::from_random(bytes);
        assert_eq!(public.as_bytes(), &bytes);
        assert_eq!(public.text().as_str(), "----AwQFBgcICQoLDA3_");
        assert_eq!(PublicId::parse(public.text().as_bytes()), Some(public));
    }

    #[test]
    fn logs_do_not_show_session_ids() {
        let codec = SidCodec::new(SECRET);
        let made = codec.encode(OWNER, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(format!("{made:?}"), "SessionId(4660/5/6/..)");
        assert_eq!(format!("{:?}", made.text()), "IdText(..)");
        assert_eq!(format!("{codec:?}"), "SidCodec { previous: 0, .. }");
    }
}
