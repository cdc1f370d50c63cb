//! The message reader on arbitrary bytes that arrive in arbitrary pieces: it never panics, it finds
//! the same messages and the same error as when everything arrives at once, nothing it returns is
//! over the limit, and what it holds does not outlive an incomplete message.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::ws::{FrameError, Incoming, MessageReader, ReadLimits, ReadScratch};

const MESSAGE_MAX: usize = 2000;

#[derive(Arbitrary, Debug)]
struct Case {
    deflate: bool,
    fragments_max: u8,
    /// Lengths of the pieces; the rest of the bytes is the last piece.
    cuts: Vec<u8>,
    frames: Vec<Frame>,
    raw: Vec<u8>,
}

/// A frame that is right in most respects, so that its payload gets read.
#[derive(Arbitrary, Debug)]
struct Frame {
    first: u8,
    mask: [u8; 4],
    payload: Vec<u8>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Failed(FrameError),
}

fn read(case: &Case, pieces: &mut [Vec<u8>]) -> Vec<Seen> {
    let limits =
        ReadLimits { message_max: MESSAGE_MAX, fragments_max: u32::from(case.fragments_max) };
    let mut reader = MessageReader::new(case.deflate);
    let mut scratch = ReadScratch::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = &mut piece[..];
        loop {
            let item = match reader.next(&mut input, &limits, &mut scratch) {
                Ok(None) => break,
                Ok(Some(Incoming::Text(text))) => {
                    assert!(text.len() <= MESSAGE_MAX);
                    Seen::Text(text.to_owned())
                }
                Ok(Some(Incoming::Binary(bytes))) => {
                    assert!(bytes.len() <= MESSAGE_MAX);
                    Seen::Binary(bytes.to_owned())
                }
                Ok(Some(Incoming::Ping(bytes))) => Seen::Ping(bytes.to_owned()),
                Ok(Some(Incoming::Pong(bytes))) => Seen::Pong(bytes.to_owned()),
                Ok(Some(Incoming::Close(code, reason))) => {
                    Seen::Close(code.map(|code| code.get()), reason.to_owned())
                }
                Err(error) => Seen::Failed(error),
            };
            let last = matches!(item, Seen::Close(..) | Seen::Failed(_));
            seen.push(item);
            if last {
                assert!(reader.is_idle());
            }
        }
        assert!(input.is_empty());
    }
    seen
}

fuzz_target!(|case: Case| {
    let mut stream = Vec::new();
    for frame in &case.frames {
        stream.push(frame.first);
        match frame.payload.len() {
            len @ 0..=125 => stream.push(0x80 | len as u8),
            len @ 126..=65535 => {
                stream.push(0x80 | 126);
                stream.extend((len as u16).to_be_bytes());
            }
            len => {
                stream.push(0x80 | 127);
                stream.extend((len as u64).to_be_bytes());
            }
        }
        stream.extend(frame.mask);
        stream.extend(frame.payload.iter().zip(frame.mask.iter().cycle()).map(|(b, m)| b ^ m));
    }
    stream.extend(&case.raw);

    let mut pieces = Vec::new();
    let mut rest = &stream[..];
    for &cut in &case.cuts {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(cut)));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces.push(rest.to_vec());

    let whole = read(&case, &mut [stream]);
    let pieced = read(&case, &mut pieces);
    assert_eq!(whole, pieced);
});
