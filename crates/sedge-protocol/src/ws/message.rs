//! From received bytes to whole messages.
//!
//! The common case is a read buffer with several complete, small, unfragmented messages: each is
//! unmasked where it lies and borrowed from the buffer, without a copy or an allocation. Everything
//! else (a frame that is cut by the end of the buffer, fragments, compression) is assembled on the
//! side: in a box that the reader owns while something is incomplete, and at last in the caller's
//! [`ReadScratch`], which one thread shares among its connections.

use super::close::CloseCode;
use super::deflate::Inflater;
use super::frame::{FrameError, Header, MAX_CLIENT_HEADER, Opcode, unmask};
use crate::limits::FRAGMENTS_MAX;

/// What a reader refuses to exceed.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Bytes of one message: the sum over its fragments as they were sent, and after inflating.
    pub message_max: usize,
    /// Frames of one message, control frames in between not counted.
    pub fragments_max: u32,
}

impl ReadLimits {
    /// Limits with [`FRAGMENTS_MAX`] frames.
    pub const fn new(message_max: usize) -> Self {
        Self { message_max, fragments_max: FRAGMENTS_MAX }
    }
}

/// A message from the client, unmasked, inflated and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'m> {
    /// A text message, known to be UTF-8.
    Text(&'m str),
    /// A binary message.
    Binary(&'m [u8]),
    /// A ping; a pong with the same payload answers it.
    Ping(&'m [u8]),
    /// A pong, asked for or not.
    Pong(&'m [u8]),
    /// The client's last word. Whatever follows it is ignored (RFC 6455 §1.4, §5.5.1).
    Close(Option<CloseCode>, &'m str),
}

/// What is left to read of a buffer; a reader moves it forward.
pub type Input<'b> = &'b mut [u8];

/// Room for a message that could not be borrowed from the input. One per thread is enough: each
/// call of [`MessageReader::next`] reuses it.
#[derive(Debug, Default)]
pub struct ReadScratch {
    /// A message put together from pieces.
    assembled: Vec<u8>,
    /// An inflated message.
    inflated: Vec<u8>,
    /// Made when the first compressed message arrives.
    inflater: Option<Inflater>,
}

/// Capacity that a scratch buffer keeps from one message to the next.
const SCRATCH_KEEP: usize = 64 * 1024;

/// Smallest step, in bytes, by which the buffer of an incomplete message grows.
const GROW_MIN: usize = 4096;

/// Reads the messages of one connection.
///
/// It owns memory only while something is incomplete: a cut header, a cut payload, or a message
/// whose last fragment is missing. That memory never exceeds twice what was received, plus
/// 4 KiB, whatever length a header claims.
///
/// After an error or a close frame the reader is finished and swallows all further input.
#[derive(Debug)]
pub struct MessageReader {
    partial: Option<Box<Partial>>,
    deflate: bool,
    finished: bool,
}

impl MessageReader {
    /// A reader at the start of the frame stream. `deflate` says whether permessage-deflate was
    /// agreed on, with `client_no_context_takeover`: each message is inflated alone.
    pub const fn new(deflate: bool) -> Self {
        Self { partial: None, deflate, finished: false }
    }

    /// A reader that has finished: it swallows everything.
    pub const fn finished() -> Self {
        Self { partial: None, deflate: false, finished: true }
    }

    /// Whether an error or a close frame has ended the frame stream.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether nothing incomplete is held, and so no memory.
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// Reads the next message from the front of `input` and moves `input` past it. `Ok(None)`:
    /// `input` is used up; an incomplete rest is kept in the reader.
    ///
    /// Payloads are unmasked in place, so the buffer is not worth keeping afterwards. The message
    /// borrows `input`'s buffer or `scratch`, so it has to be handled before the next call.
    ///
    /// ```
    /// use sedge_protocol::ws::{Incoming, MessageReader, ReadLimits, ReadScratch};
    ///
    /// let (mut reader, mut scratch) = (MessageReader::new(false), ReadScratch::default());
    /// let mut buffer = *b"\x81\x82\0\0\0\0hi\x81\x80\0\0\0\0";
    /// let mut input = &mut buffer[..];
    /// let mut texts = Vec::new();
    /// while let Some(message) = reader.next(&mut input, &ReadLimits::new(1000), &mut scratch)? {
    ///     if let Incoming::Text(text) = message {
    ///         texts.push(text.to_owned());
    ///     }
    /// }
    /// assert_eq!(texts, ["hi", ""]);
    /// # Ok::<_, sedge_protocol::ws::FrameError>(())
    /// ```
    #[inline]
    pub fn next<'m, 'b: 'm>(
        &mut self,
        input: &mut Input<'b>,
        limits: &ReadLimits,
        scratch: &'m mut ReadScratch,
    ) -> Result<Option<Incoming<'m>>, FrameError> {
        if self.finished {
            *input = &mut [];
            return Ok(None);
        }
        let result = self.advance(input, limits, scratch);
        if matches!(result, Err(_) | Ok(Some(Incoming::Close(..)))) {
            self.finished = true;
            self.partial = None;
        }
        result
    }

    fn advance<'m, 'b: 'm>(
        &mut self,
        input: &mut Input<'b>,
        limits: &ReadLimits,
        scratch: &'m mut ReadScratch,
    ) -> Result<Option<Incoming<'m>>, FrameError> {
        loop {
            let (header, payload) = match self.resume(input)? {
                Resumed::Starved => {
                    scratch.trim();
                    return Ok(None);
                }
                Resumed::Control(opcode, payload) => {
                    scratch.assembled = payload;
                    return control(opcode, &scratch.assembled).map(Some);
                }
                Resumed::Data { fin: false } => continue,
                Resumed::Data { fin: true } => return self.finish(limits, scratch).map(Some),
                Resumed::Frame(header) => {
                    self.admit(&header, limits)?;
                    // The limit is a usize, so an admitted length fits one.
                    let Some(payload) = take(input, header.payload_len as usize) else {
                        self.begin_payload(&header);
                        continue;
                    };
                    (header, payload)
                }
            };
            unmask(payload, header.mask, 0);
            if header.opcode.is_control() {
                return control(header.opcode, payload).map(Some);
            }
            if header.fin && header.opcode != Opcode::Continuation {
                let payload: &'m [u8] = payload;
                let payload = if header.rsv1 { scratch.inflate(payload, limits)? } else { payload };
                return data(header.opcode == Opcode::Text, payload).map(Some);
            }
            self.assembly(&header).append(payload, payload.len(), header.fin)?;
            if header.fin {
                return self.finish(limits, scratch).map(Some);
            }
        }
    }
}

/// What is held of a message that has not arrived completely.
#[derive(Debug, Default)]
struct Partial {
    stage: Stage,
    /// The data message in progress; control frames may come in between.
    message: Option<Assembly>,
}

/// Where in a frame the input ended.
#[derive(Debug, Default)]
enum Stage {
    /// Between two frames of a message.
    #[default]
    Between,
    /// In a header, of which `len` bytes are here.
    Header { bytes: [u8; MAX_CLIENT_HEADER], len: usize },
    /// In the payload of a data frame; what has arrived stands in the [`Assembly`].
    Data { fin: bool, mask: [u8; 4], received: usize, remaining: usize },
    /// In the payload of a control frame.
    Control { opcode: Opcode, mask: [u8; 4], payload: Vec<u8>, remaining: usize },
}

/// The next thing found at the front of the input.
enum Resumed {
    /// The input is used up.
    Starved,
    /// A header; its payload has not been looked at.
    Frame(Header),
    /// The rest of a data frame's payload. It has been added to the [`Assembly`].
    Data { fin: bool },
    /// The rest of a control frame.
    Control(Opcode, Vec<u8>),
}

impl MessageReader {
    /// Goes on where the last input ended: completes a header or a payload, or reads a header.
    #[inline]
    fn resume(&mut self, input: &mut Input<'_>) -> Result<Resumed, FrameError> {
        match self.partial.as_deref_mut() {
            None | Some(Partial { stage: Stage::Between, .. }) => {
                let Some(header) = Header::parse(input, self.deflate)? else {
                    self.stash_header(input);
                    return Ok(Resumed::Starved);
                };
                take(input, header.len);
                Ok(Resumed::Frame(header))
            }
            Some(partial) => {
                let resumed = partial.resume(input, self.deflate)?;
                self.release();
                Ok(resumed)
            }
        }
    }

    /// Keeps the beginning of a header.
    fn stash_header(&mut self, input: &mut Input<'_>) {
        let beginning = std::mem::take(input);
        if !beginning.is_empty() {
            let mut bytes = [0; MAX_CLIENT_HEADER];
            let len = fill(&mut bytes, 0, beginning);
            self.partial.get_or_insert_default().stage = Stage::Header { bytes, len };
        }
    }

    /// Applies the rules that connect a frame with the message it belongs to, and the limits,
    /// before a byte of its payload is kept.
    #[inline]
    fn admit(&self, header: &Header, limits: &ReadLimits) -> Result<(), FrameError> {
        if header.opcode.is_control() {
            return Ok(()); // at most 125 bytes, allowed between fragments (RFC 6455 §5.5)
        }
        let message = self.partial.as_deref().and_then(|partial| partial.message.as_ref());
        let held = match (header.opcode, message) {
            // RFC 6455 §5.4: fragments of different messages do not mix.
            (Opcode::Continuation, None) => return Err(FrameError::UnexpectedContinuation),
            (Opcode::Continuation, Some(message)) if message.fragments >= limits.fragments_max => {
                return Err(FrameError::TooManyFragments);
            }
            (Opcode::Continuation, Some(message)) => message.bytes.len(),
            (_, Some(_)) => return Err(FrameError::ExpectedContinuation),
            (_, None) => 0,
        };
        if header.payload_len > limits.message_max.saturating_sub(held) as u64 {
            return Err(FrameError::MessageTooBig);
        }
        Ok(())
    }

    /// The message that an admitted data frame belongs to, begun if it is the first.
    fn assembly(&mut self, header: &Header) -> &mut Assembly {
        let partial = self.partial.get_or_insert_default();
        let message = partial.message.get_or_insert_with(|| Assembly {
            text: header.opcode == Opcode::Text,
            deflated: header.rsv1,
            fragments: 0,
            bytes: Vec::new(),
            checked: 0,
        });
        message.fragments += 1;
        message
    }

    /// Prepares for a payload of which not everything is here.
    fn begin_payload(&mut self, header: &Header) {
        let Header { opcode, fin, mask, .. } = *header;
        let remaining = header.payload_len as usize;
        let stage = if opcode.is_control() {
            Stage::Control { opcode, mask, payload: Vec::with_capacity(remaining), remaining }
        } else {
            self.assembly(header);
            Stage::Data { fin, mask, received: 0, remaining }
        };
        self.partial.get_or_insert_default().stage = stage;
    }

    /// Hands out the message whose last fragment has arrived.
    fn finish<'m>(
        &mut self,
        limits: &ReadLimits,
        scratch: &'m mut ReadScratch,
    ) -> Result<Incoming<'m>, FrameError> {
        let message = self.partial.take().and_then(|partial| partial.message);
        let Assembly { text, deflated, bytes, .. } = message.unwrap_or_default();
        if deflated {
            return data(text, scratch.inflate(&bytes, limits)?);
        }
        scratch.assembled = bytes;
        data(text, &scratch.assembled)
    }

    /// Gives the box back when nothing is left in it.
    fn release(&mut self) {
        if matches!(self.partial.as_deref(), Some(Partial { stage: Stage::Between, message: None }))
        {
            self.partial = None;
        }
    }
}

impl Partial {
    /// Completes the header or the payload in which the last input ended.
    fn resume(&mut self, input: &mut Input<'_>, deflate: bool) -> Result<Resumed, FrameError> {
        match &mut self.stage {
            Stage::Between => Ok(Resumed::Starved), // the reader handles this one itself
            Stage::Header { bytes, len } => {
                let had = *len;
                *len = fill(bytes, had, input);
                let Some(header) = Header::parse(&bytes[..*len], deflate)? else {
                    *input = &mut [];
                    return Ok(Resumed::Starved);
                };
                // The bytes of before were no header, so it ends in this input.
                take(input, header.len.saturating_sub(had));
                self.stage = Stage::Between;
                Ok(Resumed::Frame(header))
            }
            Stage::Data { fin, mask, received, remaining } => {
                let chunk = take_up_to(input, *remaining);
                unmask(chunk, *mask, *received);
                if let Some(message) = &mut self.message {
                    message.append(chunk, *remaining, *fin)?;
                }
                *received += chunk.len();
                *remaining -= chunk.len();
                if *remaining > 0 {
                    return Ok(Resumed::Starved);
                }
                let fin = *fin;
                self.stage = Stage::Between;
                Ok(Resumed::Data { fin })
            }
            Stage::Control { opcode, mask, payload, remaining } => {
                let chunk = take_up_to(input, *remaining);
                unmask(chunk, *mask, payload.len());
                payload.extend_from_slice(chunk);
                *remaining -= chunk.len();
                if *remaining > 0 {
                    return Ok(Resumed::Starved);
                }
                let resumed = Resumed::Control(*opcode, std::mem::take(payload));
                self.stage = Stage::Between;
                Ok(resumed)
            }
        }
    }
}

/// A data message in pieces.
#[derive(Debug, Default)]
struct Assembly {
    text: bool,
    deflated: bool,
    fragments: u32,
    /// The payload so far, unmasked; compressed if `deflated`.
    bytes: Vec<u8>,
    /// How much of an uncompressed text has been found to be whole UTF-8 characters.
    checked: usize,
}

impl Assembly {
    /// Adds the next bytes of a frame of which `remaining` bytes, these included, were missing;
    /// `fin` marks the last frame.
    fn append(&mut self, chunk: &[u8], remaining: usize, fin: bool) -> Result<(), FrameError> {
        self.grow(chunk.len(), remaining, fin);
        self.bytes.extend_from_slice(chunk);
        if self.text && !self.deflated { self.check_utf8() } else { Ok(()) }
    }

    /// Makes room for `more` bytes. Growth is geometric, so that a message is copied a constant
    /// number of times however it was cut, and at most doubles what has been received, so that a
    /// claimed length costs nothing. Only the last frame says where the message ends.
    fn grow(&mut self, more: usize, remaining: usize, fin: bool) {
        let held = self.bytes.len();
        if self.bytes.capacity() - held >= more {
            return;
        }
        let double = 2 * (held + more);
        let target = if fin { (held + remaining).min(double.max(GROW_MIN)) } else { double };
        self.bytes.reserve_exact(target - held);
    }

    /// Refuses text at its first wrong byte (RFC 6455 §8.1). A character may be cut by the end of
    /// what is here; the check at the end of the message sees to it that it is completed.
    fn check_utf8(&mut self) -> Result<(), FrameError> {
        match simdutf8::compat::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(FrameError::InvalidUtf8),
        }
        Ok(())
    }
}

impl ReadScratch {
    /// Returns the memory of an unusually large message.
    fn trim(&mut self) {
        for buffer in [&mut self.assembled, &mut self.inflated] {
            if buffer.capacity() > SCRATCH_KEEP {
                *buffer = Vec::new();
            }
        }
    }

    fn inflate(&mut self, payload: &[u8], limits: &ReadLimits) -> Result<&[u8], FrameError> {
        self.inflated.clear();
        let inflater = self.inflater.get_or_insert_default();
        inflater.inflate(payload, limits.message_max, &mut self.inflated)?;
        Ok(&self.inflated)
    }
}

/// Removes the first `len` bytes from `input`; `None`, and `input` untouched, if there are fewer.
#[inline]
fn take<'b>(input: &mut Input<'b>, len: usize) -> Option<Input<'b>> {
    if len > input.len() {
        return None;
    }
    Some(take_up_to(input, len))
}

/// Removes the first `len` bytes from `input`, or all if there are fewer.
fn take_up_to<'b>(input: &mut Input<'b>, len: usize) -> &'b mut [u8] {
    let len = len.min(input.len());
    let (front, rest) = std::mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

/// Copies as much of `from` as fits behind the first `len` bytes of a header's room; returns how
/// many stand there now.
fn fill(bytes: &mut [u8; MAX_CLIENT_HEADER], len: usize, from: &[u8]) -> usize {
    let free = bytes.get_mut(len..).unwrap_or_default();
    let count = from.len().min(free.len());
    free[..count].copy_from_slice(&from[..count]);
    len + count
}

#[inline]
fn data(text: bool, payload: &[u8]) -> Result<Incoming<'_>, FrameError> {
    if !text {
        return Ok(Incoming::Binary(payload));
    }
    match simdutf8::basic::from_utf8(payload) {
        Ok(text) => Ok(Incoming::Text(text)),
        Err(_) => Err(FrameError::InvalidUtf8), // RFC 6455 §8.1
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Incoming<'_>, FrameError> {
    match opcode {
        Opcode::Ping => Ok(Incoming::Ping(payload)),
        Opcode::Pong => Ok(Incoming::Pong(payload)),
        _ => close(payload),
    }
}

/// RFC 6455 §5.5.1: nothing, or a code and a reason in UTF-8.
fn close(payload: &[u8]) -> Result<Incoming<'_>, FrameError> {
    if payload.is_empty() {
        return Ok(Incoming::Close(None, ""));
    }
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return Err(FrameError::CloseTooShort);
    };
    let code = u16::from_be_bytes(code);
    let Some(code) = CloseCode::new(code) else {
        return Err(FrameError::InvalidCloseCode(code));
    };
    match simdutf8::basic::from_utf8(reason) {
        Ok(reason) => Ok(Incoming::Close(Some(code), reason)),
        Err(_) => Err(FrameError::InvalidUtf8),
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
