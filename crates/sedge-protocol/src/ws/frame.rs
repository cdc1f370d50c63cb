//! One WebSocket frame: its header, its mask, and the frames a server sends (RFC 6455 §5.2, §5.3).

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::close::CloseCode;
use crate::limits::{CONTROL_MAX, REASON_MAX};

/// Longest header of a frame that a server sends: two bytes and a 64-bit length, never a mask.
pub const MAX_HEADER: usize = 10;

/// Longest header of a frame that a client sends: [`MAX_HEADER`] and the mask.
pub(super) const MAX_CLIENT_HEADER: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;

/// What a frame carries (RFC 6455 §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next piece of a fragmented message.
    Continuation = 0,
    /// A text message or its first piece.
    Text = 1,
    /// A binary message or its first piece.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// A question that a pong answers.
    Ping = 9,
    /// The answer to a ping, or a sign of life.
    Pong = 10,
}

impl Opcode {
    fn from_wire(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: short, never fragmented, allowed between fragments (RFC 6455 §5.5).
    pub fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// How a client broke the protocol. Always the client's fault; the connection ends with
/// [`close_code`](Self::close_code) and nothing more is read from it (RFC 6455 §7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// RFC 6455 §5.1: every frame of a client is masked.
    #[error("a client frame is not masked")]
    Unmasked,
    /// RFC 6455 §5.2, RFC 7692 §6: RSV1 marks a compressed message on its first frame, if that was
    /// negotiated; the other two mean nothing.
    #[error("a reserved bit is set that no extension explains")]
    ReservedBits,
    /// RFC 6455 §5.2: opcodes 3 to 7 and 11 to 15 are reserved.
    #[error("opcode {0} is not defined")]
    UnknownOpcode(u8),
    /// RFC 6455 §5.5: a control frame has at most 125 bytes.
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// RFC 6455 §5.5: a control frame is not fragmented.
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// RFC 6455 §5.2: the length takes the fewest bytes that hold it.
    #[error("a length is not encoded in the shortest form")]
    LengthNotMinimal,
    /// RFC 6455 §5.2: the top bit of a 64-bit length is zero.
    #[error("a 64-bit length has its top bit set")]
    LengthTopBit,
    /// RFC 6455 §5.4: a continuation needs a message that was begun.
    #[error("a continuation frame arrived outside of a message")]
    UnexpectedContinuation,
    /// RFC 6455 §5.4: a message ends before the next one starts.
    #[error("a new message began inside a fragmented one")]
    ExpectedContinuation,
    /// The message, as sent or inflated, is over [`ReadLimits::message_max`](super::ReadLimits).
    #[error("the message is larger than the limit")]
    MessageTooBig,
    /// The message has more frames than [`ReadLimits::fragments_max`](super::ReadLimits).
    #[error("the message has too many fragments")]
    TooManyFragments,
    /// RFC 6455 §8.1: text, and the reason of a close frame, is UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// RFC 7692 §7.2.2: the payload is not a DEFLATE stream that ends where the message ends.
    #[error("compressed data is damaged")]
    InvalidDeflate,
    /// RFC 6455 §5.5.1: a close payload is empty or starts with a two-byte code.
    #[error("a close frame has a payload of one byte")]
    CloseTooShort,
    /// RFC 6455 §7.4: the code must not stand in a close frame.
    #[error("close code {0} must not be sent")]
    InvalidCloseCode(u16),
}

impl FrameError {
    /// The code to close the connection with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::TooManyFragments => CloseCode::POLICY,
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// Writes the header of a final, unmasked frame to the front of `out` and returns its length:
/// 2, 4 or 10.
pub fn encode_header(
    opcode: Opcode,
    rsv1: bool,
    payload_len: usize,
    out: &mut [u8; MAX_HEADER],
) -> usize {
    out[0] = FIN | if rsv1 { RSV1 } else { 0 } | opcode as u8;
    if payload_len <= CONTROL_MAX {
        out[1] = payload_len as u8;
        2
    } else if let Ok(short) = u16::try_from(payload_len) {
        out[1] = 126;
        out[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        out[1] = 127;
        out[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
        10
    }
}

/// Appends a final, unmasked frame whose payload is `parts` one after the other. `rsv1` says that
/// they are compressed.
pub fn put_frame(out: &mut impl BufMut, opcode: Opcode, rsv1: bool, parts: &[&[u8]]) {
    let payload_len = parts.iter().map(|part| part.len()).sum();
    let mut header = [0; MAX_HEADER];
    let header_len = encode_header(opcode, rsv1, payload_len, &mut header);
    out.put_slice(&header[..header_len]);
    for part in parts {
        out.put_slice(part);
    }
}

/// Takes one complete frame of [`put_frame`] apart: opcode, RSV1, payload. `None` if the bytes are
/// not exactly one final unmasked frame.
pub fn split(frame: &[u8]) -> Option<(Opcode, bool, &[u8])> {
    let (&[first, second], rest) = frame.split_first_chunk()?;
    if first & (FIN | RSV2_RSV3) != FIN {
        return None;
    }
    let opcode = Opcode::from_wire(first & 0x0f)?;
    let (len, payload) = match second {
        126 => rest
            .split_first_chunk()
            .map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
        len => (u64::from(len), rest), // a mask bit makes it 128 or more and fails below
    };
    (payload.len() as u64 == len && second & MASKED == 0).then_some((
        opcode,
        first & RSV1 != 0,
        payload,
    ))
}

/// The header of a client's frame, checked by every rule that one header alone can break.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    pub(super) rsv1: bool,
    pub(super) mask: [u8; 4],
    pub(super) payload_len: u64,
    /// Bytes that this header takes.
    pub(super) len: usize,
}

impl Header {
    /// Reads a header from the front of `input`; `None` if it is not all there yet. What the first
    /// two bytes already prove wrong is refused without waiting for the rest.
    #[inline]
    pub(super) fn parse(input: &[u8], deflate: bool) -> Result<Option<Self>, FrameError> {
        let Some((&[first, second], rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let rsv1 = first & RSV1 != 0;
        let Some(opcode) = Opcode::from_wire(first & 0x0f) else {
            return Err(FrameError::UnknownOpcode(first & 0x0f));
        };
        if first & RSV2_RSV3 != 0 {
            return Err(FrameError::ReservedBits);
        }
        if rsv1 && !(deflate && matches!(opcode, Opcode::Text | Opcode::Binary)) {
            return Err(FrameError::ReservedBits);
        }
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short_len = second & !MASKED;
        if opcode.is_control() {
            if !fin {
                return Err(FrameError::ControlFragmented);
            }
            if usize::from(short_len) > CONTROL_MAX {
                return Err(FrameError::ControlTooLong);
            }
        }
        let (payload_len, rest) = match short_len {
            126 => {
                let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let len = u16::from_be_bytes(*bytes);
                if usize::from(len) <= CONTROL_MAX {
                    return Err(FrameError::LengthNotMinimal);
                }
                (u64::from(len), rest)
            }
            127 => {
                let Some((bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let len = u64::from_be_bytes(*bytes);
                if len >> 63 != 0 {
                    return Err(FrameError::LengthTopBit);
                }
                if u16::try_from(len).is_ok() {
                    return Err(FrameError::LengthNotMinimal);
                }
                (len, rest)
            }
            len => (u64::from(len), rest),
        };
        let Some((&mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let len = input.len() - rest.len();
        Ok(Some(Self { opcode, fin, rsv1, mask, payload_len, len }))
    }
}

/// Removes the mask from a payload, or from a later part of one (RFC 6455 §5.3): `offset` is the
/// position of `payload[0]` in the frame's payload.
#[inline]
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4], offset: usize) {
    let word = u32::from_ne_bytes(mask);
    // Turning the word by whole bytes lines the mask up with the first byte here.
    let turn = 8 * (offset % 4) as u32;
    let word = if cfg!(target_endian = "little") {
        word.rotate_right(turn)
    } else {
        word.rotate_left(turn)
    };
    let wide = u128::from(word) * 0x0000_0001_0000_0001_0000_0001_0000_0001;

    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// A complete close frame to send. Without a code it has no payload, and the reason is dropped
/// because it could not be told from a code. A reason over [`REASON_MAX`] bytes is cut at a
/// character boundary.
pub fn close_frame(code: Option<CloseCode>, reason: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(MAX_HEADER + 2 + reason.len().min(REASON_MAX));
    match code {
        None => put_frame(&mut out, Opcode::Close, false, &[]),
        Some(code) => {
            let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
            let parts = [&code.get().to_be_bytes()[..], reason.as_bytes()];
            put_frame(&mut out, Opcode::Close, false, &parts);
        }
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_match_the_wire() {
        assert_eq!(&close_frame(None, "dropped")[..], [0x88, 0]);
        assert_eq!(&close_frame(Some(CloseCode::NORMAL), "")[..], [0x88, 2, 3, 0xe8]);
        assert_eq!(
            &close_frame(Some(CloseCode::TOO_BIG), "big")[..],
            [0x88, 5, 3, 0xf1, b'b', b'i', b'g']
        );
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close_frame(Some(CloseCode::POLICY), &"é".repeat(100));
        assert_eq!(frame[1], 124, "122 bytes of whole characters and the code");
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close_frame(Some(CloseCode::POLICY), &"x".repeat(500)).len(), 127);
    }

    #[test]
    fn headers_have_the_shortest_form() {
        let cases: [(usize, &[u8]); 6] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (1 << 32, &[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
        ];
        for (payload_len, expected) in cases {
            let mut out = [0xaa; MAX_HEADER];
            let len = encode_header(Opcode::Text, false, payload_len, &mut out);
            assert_eq!(&out[..len], expected);
        }
        let mut out = [0; MAX_HEADER];
        encode_header(Opcode::Binary, true, 0, &mut out);
        assert_eq!(out[0], 0xc2);
    }

    #[test]
    fn what_is_put_can_be_split() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; len];
            let mut frame = Vec::new();
            put_frame(
                &mut frame,
                Opcode::Binary,
                true,
                &[&payload[..len / 2], &payload[len / 2..]],
            );
            assert_eq!(split(&frame), Some((Opcode::Binary, true, &payload[..])));
            frame.push(0);
            assert_eq!(split(&frame), None, "more than a frame");
            assert_eq!(split(&frame[..=len]), None, "less than a frame");
        }
    }

    #[test]
    fn only_final_unmasked_frames_split() {
        assert_eq!(split(b"\x81\x02hi"), Some((Opcode::Text, false, &b"hi"[..])));
        for bytes in [
            &b""[..],
            b"\x81",
            b"\x01\x02hi",
            b"\xa1\x02hi",
            b"\x83\x02hi",
            b"\x81\x82\0\0\0\0hi",
            b"\x81\x80\0\0\0\0",
            b"\x81\xfe\x00\x80",
        ] {
            assert_eq!(split(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn unmasking_equals_its_definition_at_every_length_and_offset() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..100_u8 {
            for offset in 0..9 {
                let masked: Vec<u8> = (0..len).map(|i| i ^ 0x55).collect();
                let expected: Vec<u8> =
                    masked.iter().enumerate().map(|(i, b)| b ^ mask[(i + offset) % 4]).collect();
                let mut payload = masked;
                unmask(&mut payload, mask, offset);
                assert_eq!(payload, expected, "{len} bytes at {offset}");
            }
        }
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 6455 §5.7: a masked "Hello".
        let mut frame = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let header = Header::parse(&frame, false).unwrap().unwrap();
        assert_eq!((header.opcode, header.fin, header.len), (Opcode::Text, true, 6));
        unmask(&mut frame[6..], header.mask, 0);
        assert_eq!(&frame[6..], b"Hello");
        // The unmasked one is what a server sends.
        let mut out = Vec::new();
        put_frame(&mut out, Opcode::Text, false, &[b"Hello"]);
        assert_eq!(out, [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }
}
