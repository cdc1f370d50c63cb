//! The message reader and tungstenite, as servers without extensions, read the same bytes: the same
//! messages in the same order, and both refuse or both accept what follows.
//!
//! The differences that are accepted; in all but 1014 the reader is the stricter or the earlier:
//!
//! 1. Length encodings. Tungstenite accepts a length in a longer form than needed, that of a control
//!    frame among them, and a 64-bit length with the top bit set; RFC 6455 §5.2 forbids both.
//! 2. Close codes. On a code that must not be sent, tungstenite reports a close frame with code
//!    1002 and the reason "Protocol violation"; the reader fails with the same code. For
//!    tungstenite 1014 is such a code; the reader takes it, since IANA has registered it.
//! 3. Time. The reader refuses a frame by its first two bytes, an oversized one by its header, and
//!    text at its first wrong byte; tungstenite wants the whole header or the whole frame first. So
//!    where tungstenite waits for more, it is given bytes until it must decide.
//!
//! The reason of a refusal is not compared.

#![no_main]

use std::io::{self, Read, Write};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::ws::{FrameError, Incoming, MessageReader, ReadLimits, ReadScratch};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

const MESSAGE_MAX: usize = 3000;

#[derive(Arbitrary, Debug)]
struct Case {
    frames: Vec<Frame>,
    raw: Vec<u8>,
    /// Bytes per read of the reader.
    step: u8,
}

#[derive(Arbitrary, Debug)]
struct Frame {
    fin: bool,
    kind: Kind,
    mask: [u8; 4],
    payload: Payload,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// Anything that fits into the first byte.
    Wild(u8),
}

#[derive(Arbitrary, Debug)]
enum Payload {
    Text(String),
    Bytes(Vec<u8>),
    Close(u16, String),
    Long(u8, u16),
}

#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

#[derive(Debug, PartialEq)]
enum End {
    /// Everything was read, or a close frame.
    Open,
    Refused(Option<FrameError>),
}

/// Reads from memory; what is written is thrown away.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(out)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stream_of(case: &Case) -> Vec<u8> {
    let mut stream = Vec::new();
    for frame in &case.frames {
        let payload = match &frame.payload {
            Payload::Text(text) => text.clone().into_bytes(),
            Payload::Bytes(bytes) => bytes.clone(),
            Payload::Close(code, reason) => [&code.to_be_bytes()[..], reason.as_bytes()].concat(),
            Payload::Long(byte, len) => vec![*byte; usize::from(len % 4000)],
        };
        let opcode = match frame.kind {
            Kind::Continuation => 0,
            Kind::Text => 1,
            Kind::Binary => 2,
            Kind::Close => 8,
            Kind::Ping => 9,
            Kind::Pong => 10,
            Kind::Wild(first) => first & 0x7f,
        };
        stream.push(opcode | if frame.fin { 0x80 } else { 0 });
        match payload.len() {
            len @ 0..=125 => stream.push(0x80 | len as u8),
            len => {
                stream.push(0x80 | 126);
                stream.extend((len as u16).to_be_bytes());
            }
        }
        stream.extend(frame.mask);
        stream.extend(payload.iter().zip(frame.mask.iter().cycle()).map(|(b, m)| b ^ m));
    }
    stream.extend(&case.raw);
    stream
}

fn ours(stream: &[u8], step: usize) -> (Vec<Seen>, End) {
    let mut reader = MessageReader::new(false);
    let mut scratch = ReadScratch::default();
    let mut seen = Vec::new();
    for piece in stream.to_vec().chunks_mut(step) {
        let mut input = piece;
        loop {
            match reader.next(&mut input, &ReadLimits::new(MESSAGE_MAX), &mut scratch) {
                Ok(None) => break,
                Ok(Some(Incoming::Text(text))) => seen.push(Seen::Text(text.to_owned())),
                Ok(Some(Incoming::Binary(bytes))) => seen.push(Seen::Binary(bytes.to_owned())),
                Ok(Some(Incoming::Ping(bytes))) => seen.push(Seen::Ping(bytes.to_owned())),
                Ok(Some(Incoming::Pong(bytes))) => seen.push(Seen::Pong(bytes.to_owned())),
                Ok(Some(Incoming::Close(code, reason))) => {
                    seen.push(Seen::Close(code.map(|code| code.get()), reason.to_owned()));
                    return (seen, End::Open);
                }
                Err(error) => return (seen, End::Refused(Some(error))),
            }
        }
    }
    (seen, End::Open)
}

fn theirs(stream: &[u8]) -> (Vec<Seen>, End) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut wire = Wire(stream);
    let mut seen = Vec::new();
    loop {
        match context.read(&mut wire) {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(frame)) => {
                let (code, reason) = match frame {
                    Some(frame) => (Some(u16::from(frame.code)), frame.reason.to_string()),
                    None => (None, String::new()),
                };
                seen.push(Seen::Close(code, reason));
                return (seen, End::Open);
            }
            Ok(Message::Frame(_)) => unreachable!("a reader never returns a raw frame"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, End::Open);
            }
            Err(_) => return (seen, End::Refused(None)),
        }
    }
}

fuzz_target!(|case: Case| {
    let mut stream = stream_of(&case);
    let (our_messages, our_end) = ours(&stream, usize::from(case.step).max(1));
    let (mut their_messages, mut their_end) = theirs(&stream);

    // Difference 1: what follows such a frame is not comparable, what came before it is.
    let length_refused = matches!(
        our_end,
        End::Refused(Some(
            FrameError::LengthNotMinimal | FrameError::LengthTopBit | FrameError::ControlTooLong
        ))
    );
    if length_refused {
        their_messages.truncate(our_messages.len());
        assert_eq!(our_messages, their_messages);
        return;
    }
    // Difference 2.
    let violation = Seen::Close(Some(1002), "Protocol violation".to_owned());
    if their_messages.last() == Some(&violation) && our_messages.last() != Some(&violation) {
        their_messages.pop();
        match (&our_end, our_messages.split_last()) {
            (End::Refused(Some(FrameError::InvalidCloseCode(_))), _) => {
                assert_eq!(our_messages, their_messages);
            }
            (End::Open, Some((Seen::Close(Some(1014), _), before))) => {
                assert_eq!(before, their_messages);
            }
            other => panic!("tungstenite alone objects to a close code: {other:?}"),
        }
        return;
    }
    // Difference 3: give tungstenite the rest of the frame, whatever it is.
    if matches!((&our_end, &their_end), (End::Refused(_), End::Open)) {
        stream.resize(stream.len() + 2 * MESSAGE_MAX, 0);
        (their_messages, their_end) = theirs(&stream);
    }
    assert_eq!(
        matches!(our_end, End::Refused(_)),
        matches!(their_end, End::Refused(_)),
        "ours {our_end:?} after {our_messages:?}, theirs {their_end:?} after {their_messages:?}"
    );
    assert_eq!(our_messages, their_messages);
});
