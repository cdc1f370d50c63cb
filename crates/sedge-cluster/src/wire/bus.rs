//! The bytes of the bus between two workers.
//!
//! The worker that connects begins with a hello, the other one answers with its own:
//!
//! ```text
//! byte 0..4    "sdgb"
//!      4       version, 1
//!      5       0 a link is wanted, 1 only that the other one connects here
//!      6       index of the worker
//!      7       bytes of the name
//!      8..10   row in the table of interest
//!     10..18   id of the process on the bus
//!     18..     name
//! ```
//!
//! After that both send frames: the length of a message in four bytes, and the message. Numbers are
//! big-endian.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits::BUS_NAME_BYTES_MAX;

/// Bytes of a hello without the name.
pub(crate) const HELLO_BYTES: usize = 18;
/// Bytes in front of each message.
pub(crate) const PREFIX_BYTES: usize = 4;

const MAGIC: [u8; 4] = *b"sdgb";
const VERSION: u8 = 1;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Only wakes the other side, which is to connect.
    pub(crate) only_wakes: bool,
    pub(crate) index: u8,
    pub(crate) row: u16,
    pub(crate) id: u64,
    pub(crate) name: String,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut end = self.name.len().min(BUS_NAME_BYTES_MAX);
        while !self.name.is_char_boundary(end) {
            end -= 1;
        }
        let name = &self.name.as_bytes()[..end];
        let mut bytes = Vec::with_capacity(HELLO_BYTES + name.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.only_wakes.into(), self.index, name.len() as u8]);
        bytes.extend_from_slice(&self.row.to_be_bytes());
        bytes.extend_from_slice(&self.id.to_be_bytes());
        bytes.extend_from_slice(name);
        bytes
    }

    /// How many bytes of name follow a hello's fixed part; `None` if this is no hello.
    pub(crate) fn name_bytes(fixed: &[u8; HELLO_BYTES]) -> Option<usize> {
        let known = fixed.starts_with(&MAGIC) && fixed[4] == VERSION && fixed[5] <= 1;
        let len = usize::from(fixed[7]);
        (known && len <= BUS_NAME_BYTES_MAX).then_some(len)
    }

    /// A hello of its fixed part and its name.
    pub(crate) fn decode(fixed: &[u8; HELLO_BYTES], name: &[u8]) -> Option<Hello> {
        Self::name_bytes(fixed)?;
        let &[_, _, _, _, _, wakes, index, _, r0, r1, ref id @ ..] = fixed;
        Some(Hello {
            only_wakes: wakes != 0,
            index,
            row: u16::from_be_bytes([r0, r1]),
            id: u64::from_be_bytes(*id),
            name: std::str::from_utf8(name).ok()?.to_owned(),
        })
    }
}

/// A frame announces more bytes than a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer announces a message of {0} bytes, more than are allowed")]
pub(crate) struct TooLong(pub(crate) usize);

/// Takes the first message out of what was read, or says with `None` that it is not there yet.
pub(crate) fn next_frame(read: &mut BytesMut, max: usize) -> Result<Option<Bytes>, TooLong> {
    let Some(prefix) = read.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let len = u32::from_be_bytes(*prefix) as usize;
    if len > max {
        return Err(TooLong(len));
    }
    if read.len() < PREFIX_BYTES + len {
        return Ok(None);
    }
    read.advance(PREFIX_BYTES);
    Ok(Some(read.split_to(len).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_reads_as_it_was_written() {
        let hello = Hello {
            only_wakes: true,
            index: 7,
            row: 300,
            id: 0x0123_4567_89ab_cdef,
            name: "worker 7".to_owned(),
        };
        let bytes = hello.encode();
        let (fixed, name) = bytes.split_first_chunk().unwrap();
        assert_eq!(Hello::name_bytes(fixed), Some(8));
        assert_eq!(Hello::decode(fixed, name), Some(hello.clone()));
        let mut other = *fixed;
        other[4] = 2;
        assert_eq!(Hello::decode(&other, name), None);
        let long = Hello { name: "ü".repeat(40), ..hello };
        let bytes = long.encode();
        let (fixed, name) = bytes.split_first_chunk().unwrap();
        assert_eq!(Hello::decode(fixed, name).unwrap().name, "ü".repeat(32));
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let messages = [&b"first"[..], b"", b"third one"];
        let mut stream = Vec::new();
        for message in messages {
            stream.extend_from_slice(&(message.len() as u32).to_be_bytes());
            stream.extend_from_slice(message);
        }
        for piece in 1..stream.len() {
            let (mut read, mut found) = (BytesMut::new(), Vec::new());
            for part in stream.chunks(piece) {
                read.extend_from_slice(part);
                while let Some(message) = next_frame(&mut read, 9).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages);
            assert!(read.is_empty());
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_there() {
        let mut read = BytesMut::from(&[0, 0, 0, 10][..]);
        assert_eq!(next_frame(&mut read, 9), Err(TooLong(10)));
    }
}
