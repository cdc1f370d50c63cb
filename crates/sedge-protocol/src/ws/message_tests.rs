//! The rules of the message reader, each by the bytes that break it. Every stream is read in one
//! piece, byte by byte and in pieces of a few bytes, and must come out the same.

use super::*;
use crate::ws::Deflater;

const LIMITS: ReadLimits = ReadLimits::new(1000);

/// An [`Incoming`] that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Incoming<'_>> for Seen {
    fn from(incoming: Incoming<'_>) -> Self {
        match incoming {
            Incoming::Text(text) => Self::Text(text.to_owned()),
            Incoming::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Incoming::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Incoming::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Incoming::Close(code, reason) => {
                Self::Close(code.map(CloseCode::get), reason.to_owned())
            }
        }
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// A masked frame with the given first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x00, 0xa5, 0xff];
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=65535 => {
            out.push(0xfe);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0xff);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// The first message of `bytes`.
fn next<'m>(
    reader: &mut MessageReader,
    mut bytes: &'m mut [u8],
    limits: &ReadLimits,
    scratch: &'m mut ReadScratch,
) -> Result<Option<Incoming<'m>>, FrameError> {
    reader.next(&mut bytes, limits, scratch)
}

fn read_in_pieces(
    stream: &[u8],
    size: usize,
    deflate: bool,
    limits: &ReadLimits,
) -> (Vec<Seen>, Option<FrameError>) {
    let (mut reader, mut scratch) = (MessageReader::new(deflate), ReadScratch::default());
    let mut seen = Vec::new();
    for mut piece in stream.to_vec().chunks_mut(size) {
        loop {
            match reader.next(&mut piece, limits, &mut scratch) {
                Ok(Some(message)) => seen.push(message.into()),
                Ok(None) => break,
                Err(error) => {
                    assert!(reader.is_idle(), "a failed reader holds nothing");
                    return (seen, Some(error));
                }
            }
        }
        assert!(piece.is_empty(), "Ok(None) means that the input is used up");
    }
    (seen, None)
}

fn read_with(stream: &[u8], deflate: bool, limits: &ReadLimits) -> (Vec<Seen>, Option<FrameError>) {
    let whole = read_in_pieces(stream, stream.len().max(1), deflate, limits);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(read_in_pieces(stream, size, deflate, limits), whole, "in pieces of {size}");
    }
    whole
}

fn read(frames: &[Vec<u8>]) -> Vec<Seen> {
    let (seen, error) = read_with(&frames.concat(), false, &LIMITS);
    assert_eq!(error, None);
    seen
}

/// What is refused, and with which close code. A text message in front has to come out unharmed.
fn refused(stream: &[u8]) -> (FrameError, u16) {
    let stream = [frame(0x81, b"before"), stream.to_vec()].concat();
    let (seen, error) = read_with(&stream, false, &LIMITS);
    assert_eq!(seen, [text("before")]);
    let error = error.expect("the stream is refused");
    (error, error.close_code().get())
}

#[test]
fn small_messages_borrow_the_input() {
    let mut buffer = [frame(0x81, b"one"), frame(0x82, b"two"), frame(0x89, b"three")].concat();
    let bounds = buffer.as_ptr_range();
    let (mut reader, mut scratch) = (MessageReader::new(true), ReadScratch::default());
    let mut input = &mut buffer[..];
    let mut count = 0;
    while let Some(message) = reader.next(&mut input, &LIMITS, &mut scratch).unwrap() {
        let (Incoming::Text(_) | Incoming::Binary(_) | Incoming::Ping(_)) = message else {
            panic!("unexpected {message:?}");
        };
        let bytes = match message {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(bytes) | Incoming::Ping(bytes) => bytes,
            Incoming::Pong(_) | Incoming::Close(..) => unreachable!(),
        };
        assert!(bounds.contains(&bytes.as_ptr()));
        count += 1;
    }
    assert_eq!(count, 3);
    assert!(reader.is_idle());
}

#[test]
fn an_idle_reader_is_small_and_empty_input_changes_nothing() {
    assert!(size_of::<MessageReader>() <= 16);
    assert_eq!(read(&[]), []);
    let (mut reader, mut scratch) = (MessageReader::new(false), ReadScratch::default());
    assert_eq!(next(&mut reader, &mut [], &LIMITS, &mut scratch), Ok(None));
    assert!(reader.is_idle());
}

#[test]
fn every_kind_of_message_arrives() {
    let long = "x".repeat(126);
    assert_eq!(
        read(&[
            frame(0x81, "Grüße".as_bytes()),
            frame(0x82, &[0, 255]),
            frame(0x81, b""),
            frame(0x81, long.as_bytes()),
            frame(0x89, b"ping"),
            frame(0x8a, &[7; 125]),
            frame(0x88, b"\x03\xe8bye"),
        ]),
        [
            text("Grüße"),
            Seen::Binary(vec![0, 255]),
            text(""),
            text(&long),
            Seen::Ping(b"ping".to_vec()),
            Seen::Pong(vec![7; 125]),
            Seen::Close(Some(1000), "bye".to_owned()),
        ]
    );
    assert_eq!(read(&[frame(0x88, b"")]), [Seen::Close(None, String::new())]);
}

#[test]
fn lengths_of_all_three_forms_are_read() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 200_001] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let stream = frame(0x82, &payload);
        let limits = ReadLimits::new(len);
        let (whole, error) = read_in_pieces(&stream, stream.len(), false, &limits);
        assert_eq!(error, None);
        assert!(whole == [Seen::Binary(payload)], "{len} bytes");
        for size in [5, 4096] {
            assert!(read_in_pieces(&stream, size, false, &limits).0 == whole, "{len} bytes cut");
        }
    }
}

#[test]
fn fragments_are_joined_and_control_frames_may_come_between() {
    // RFC 6455 §5.4. The cut goes through a character.
    assert_eq!(
        read(&[
            frame(0x01, b"a\xc3"),
            frame(0x89, b"1"),
            frame(0x00, b""),
            frame(0x8a, b"2"),
            frame(0x80, b"\xa9b"),
            frame(0x02, &[1]),
            frame(0x80, &[2]),
        ]),
        [
            Seen::Ping(b"1".to_vec()),
            Seen::Pong(b"2".to_vec()),
            text("aéb"),
            Seen::Binary(vec![1, 2])
        ]
    );
}

#[test]
fn nothing_is_kept_after_a_message_and_nothing_is_read_after_the_end() {
    let (mut reader, mut scratch) = (MessageReader::new(false), ReadScratch::default());
    let mut stream = frame(0x81, b"hello");
    let (first, second) = stream.split_at_mut(8);
    assert_eq!(next(&mut reader, first, &LIMITS, &mut scratch), Ok(None));
    assert!(!reader.is_idle());
    let message = next(&mut reader, second, &LIMITS, &mut scratch);
    assert_eq!(message, Ok(Some(Incoming::Text("hello"))));
    assert!(reader.is_idle());

    // RFC 6455 §1.4: data after a close frame is discarded. RFC 6455 §7.1.7: so it is after a
    // failure.
    assert_eq!(
        read(&[frame(0x88, b""), frame(0x81, b"late"), vec![0xff; 9]]),
        [Seen::Close(None, String::new())]
    );
    let mut bad = [0x81, 0x01, b'x', 0x81];
    assert_eq!(next(&mut reader, &mut bad, &LIMITS, &mut scratch), Err(FrameError::Unmasked));
    let mut good = frame(0x81, b"late");
    assert_eq!(next(&mut reader, &mut good, &LIMITS, &mut scratch), Ok(None));
}

#[test]
fn unmasked_frames_are_refused() {
    // RFC 6455 §5.1
    assert_eq!(refused(b"\x81\x02hi"), (FrameError::Unmasked, 1002));
    assert_eq!(refused(b"\x81\x00"), (FrameError::Unmasked, 1002));
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    // RFC 6455 §5.2; RSV1 needs an extension.
    for first in [0xc1, 0xa1, 0x91, 0xf2, 0xc0, 0xc9] {
        assert_eq!(refused(&frame(first, b"")), (FrameError::ReservedBits, 1002));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(refused(&frame(0x80 | opcode, b"")), (FrameError::UnknownOpcode(opcode), 1002));
    }
    // RFC 7692 §6: with the extension RSV1 stands on the first frame of a data message, no other.
    for first in [0xc9, 0xc0, 0xe1, 0xd1] {
        let (_, error) = read_with(&frame(first, b""), true, &LIMITS);
        assert_eq!(error, Some(FrameError::ReservedBits));
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    // RFC 6455 §5.5; refused by the header alone.
    for opcode in [8, 9, 10] {
        assert_eq!(refused(&[opcode, 0x80]), (FrameError::ControlFragmented, 1002));
        assert_eq!(refused(&[0x80 | opcode, 0xfe]), (FrameError::ControlTooLong, 1002));
        assert_eq!(refused(&[0x80 | opcode, 0xff]), (FrameError::ControlTooLong, 1002));
    }
}

#[test]
fn lengths_take_their_shortest_form() {
    // RFC 6455 §5.2
    let short = [0x82, 0xfe, 0, 125];
    assert_eq!(refused(&short), (FrameError::LengthNotMinimal, 1002));
    let long = [0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    assert_eq!(refused(&long), (FrameError::LengthNotMinimal, 1002));
    let top_bit = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refused(&top_bit), (FrameError::LengthTopBit, 1002));
}

#[test]
fn the_size_limit_holds_for_a_frame_and_for_the_sum_of_fragments() {
    assert_eq!(read(&[frame(0x82, &[1; 1000])]), [Seen::Binary(vec![1; 1000])]);
    assert_eq!(refused(&frame(0x82, &[1; 1001])), (FrameError::MessageTooBig, 1009));
    let exact = [frame(0x02, &[1; 600]), frame(0x80, &[1; 400])];
    assert_eq!(read(&exact), [Seen::Binary(vec![1; 1000])]);
    let over = [frame(0x02, &[1; 600]), frame(0x80, &[1; 401])].concat();
    assert_eq!(refused(&over), (FrameError::MessageTooBig, 1009));
    // By its header, before a byte of payload: 2^62 bytes.
    let claim = [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(refused(&claim), (FrameError::MessageTooBig, 1009));
}

#[test]
fn fragments_have_an_order() {
    // RFC 6455 §5.4
    assert_eq!(refused(&frame(0x80, b"")), (FrameError::UnexpectedContinuation, 1002));
    assert_eq!(refused(&frame(0x00, b"")), (FrameError::UnexpectedContinuation, 1002));
    for second in [0x81, 0x01, 0x82] {
        let stream = [frame(0x01, b"a"), frame(second, b"b")].concat();
        assert_eq!(refused(&stream), (FrameError::ExpectedContinuation, 1002));
    }
    let closed = [frame(0x01, b""), frame(0x80, b""), frame(0x80, b"")].concat();
    let (seen, error) = read_with(&closed, false, &LIMITS);
    assert_eq!((seen, error), (vec![text("")], Some(FrameError::UnexpectedContinuation)));
}

#[test]
fn a_message_has_a_limited_number_of_fragments() {
    let limits = ReadLimits { fragments_max: 3, ..LIMITS };
    let three = [frame(0x01, b"a"), frame(0x00, b"b"), frame(0x80, b"c")].concat();
    assert_eq!(read_with(&three.repeat(2), false, &limits).0, [text("abc"), text("abc")]);
    let four = [frame(0x01, b""), frame(0x00, b""), frame(0x00, b""), frame(0x80, b"")].concat();
    assert_eq!(read_with(&four, false, &limits), (vec![], Some(FrameError::TooManyFragments)));
    assert_eq!(FrameError::TooManyFragments.close_code().get(), 1008);
    assert_eq!(LIMITS.fragments_max, 16_384);
}

#[test]
fn text_is_utf8() {
    // RFC 6455 §8.1: a lone byte, an overlong form, a surrogate, a cut character, over U+10FFFF.
    for bad in [&b"a\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xc3", b"\xf4\x90\x80\x80"] {
        assert_eq!(refused(&frame(0x81, bad)), (FrameError::InvalidUtf8, 1007));
        let cut = [frame(0x01, b"ok"), frame(0x80, bad)].concat();
        assert_eq!(refused(&cut), (FrameError::InvalidUtf8, 1007));
        assert_eq!(read(&[frame(0x82, bad)]), [Seen::Binary(bad.to_vec())]);
    }
    // Refused at once, although the message and the frame go on.
    let begun = [frame(0x01, b"\xce\xba"), frame(0x00, b"\xff ....")].concat();
    assert_eq!(refused(&begun), (FrameError::InvalidUtf8, 1007));
    assert_eq!(refused(&begun[..begun.len() - 4]), (FrameError::InvalidUtf8, 1007));
}

#[test]
fn close_payloads_are_checked() {
    // RFC 6455 §5.5.1, §7.4
    assert_eq!(refused(&frame(0x88, b"\x03")), (FrameError::CloseTooShort, 1002));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        let (error, close) = refused(&frame(0x88, &code.to_be_bytes()));
        assert_eq!((error, close), (FrameError::InvalidCloseCode(code), 1002));
    }
    assert_eq!(refused(&frame(0x88, b"\x03\xe8\xff")), (FrameError::InvalidUtf8, 1007));
    assert_eq!(read(&[frame(0x88, b"\x0f\xa0")]), [Seen::Close(Some(4000), String::new())]);
}

#[test]
fn memory_follows_what_was_received_not_what_was_claimed() {
    let payload = vec![b'x'; 900_000];
    let mut stream = frame(0x81, &payload);
    let limits = ReadLimits::new(1_000_000);
    let (mut reader, mut scratch) = (MessageReader::new(false), ReadScratch::default());
    let mut received = 0;
    for mut piece in stream.chunks_mut(65_536) {
        received += piece.len();
        if let Some(message) = reader.next(&mut piece, &limits, &mut scratch).unwrap() {
            assert!(message == Incoming::Text(std::str::from_utf8(&payload).unwrap()));
            assert!(reader.is_idle());
            return;
        }
        let partial = reader.partial.as_ref().unwrap();
        let held = partial.message.as_ref().unwrap().bytes.capacity();
        assert!(held <= 2 * received + GROW_MIN, "{held} held for {received}");
    }
    panic!("the message did not arrive");
}

#[test]
fn many_cut_fragments_do_not_grow_the_buffer_each_time() {
    let (mut reader, mut scratch) = (MessageReader::new(false), ReadScratch::default());
    let limits = ReadLimits::new(1_000_000);
    let mut growths = 0;
    let mut capacity = 0;
    for i in 0..10_000 {
        let mut fragment = frame(if i == 0 { 0x02 } else { 0x00 }, &[0; 60]);
        for mut piece in fragment.chunks_mut(40) {
            assert_eq!(reader.next(&mut piece, &limits, &mut scratch), Ok(None));
            let message = reader.partial.as_ref().unwrap().message.as_ref().unwrap();
            growths += usize::from(message.bytes.capacity() != capacity);
            capacity = message.bytes.capacity();
        }
    }
    assert!(growths < 20, "{growths} growths");
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(Deflater::new(6).compress(payload, &mut out));
    out
}

#[test]
fn compressed_messages_are_inflated() {
    let long = "sedge ".repeat(100);
    let payload = deflated(long.as_bytes());
    let (front, back) = payload.split_at(5);
    let stream = [
        frame(0xc1, &payload),
        frame(0x81, b"plain"),
        frame(0x41, front),
        frame(0x89, b"!"),
        frame(0x80, back),
        frame(0xc2, &payload),
    ]
    .concat();
    let expected = [
        text(&long),
        text("plain"),
        Seen::Ping(b"!".to_vec()),
        text(&long),
        Seen::Binary(long.clone().into_bytes()),
    ];
    assert_eq!(read_with(&stream, true, &LIMITS), (expected.to_vec(), None));
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let payload = deflated(&vec![0; 10_000_000]);
    assert!(payload.len() < 20_000);
    let limits = ReadLimits::new(20_000);
    let (mut reader, mut scratch) = (MessageReader::new(true), ReadScratch::default());
    let mut stream = frame(0xc2, &payload);
    let error = next(&mut reader, &mut stream, &limits, &mut scratch).unwrap_err();
    assert_eq!((error, error.close_code().get()), (FrameError::MessageTooBig, 1009));
    assert!(scratch.inflated.capacity() <= 20_001);
}

#[test]
fn damaged_compression_and_text_are_refused() {
    let (_, error) = read_with(&frame(0xc1, &[0xff; 20]), true, &LIMITS);
    assert_eq!(error, Some(FrameError::InvalidDeflate));
    assert_eq!(FrameError::InvalidDeflate.close_code().get(), 1007);
    let (_, error) = read_with(&frame(0xc1, &deflated(&[0xff; 100])), true, &LIMITS);
    assert_eq!(error, Some(FrameError::InvalidUtf8));
}
