//! The target of a request: its path, and what its query says to the protocol.
//!
//! Names and values are compared as sent, not percent-decoded, which no client of the protocol needs.
//! A parameter that is there twice has no value: the official server takes the last one, others the
//! first, so whoever stands in front may have read another one.

use std::borrow::Cow;

use memchr::memchr;

/// Where the parts of a target are in its text. The text itself is given to whoever asks: it may be a
/// part of a buffer that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    path: Span,
    query: Span,
    parameters: [Span; NAMES.len()],
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parameter<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// Its value as sent, which can be empty.
    Once(&'a str),
    /// It is there more than once, so none of the values is believed.
    Repeated,
}

impl<'a> Parameter<'a> {
    /// The value, if there is exactly one.
    pub fn value(self) -> Option<&'a str> {
        match self {
            Parameter::Once(value) => Some(value),
            Parameter::Absent | Parameter::Repeated => None,
        }
    }
}

/// The parameters that the protocol has.
const NAMES: [&str; 5] = ["transport", "sid", "EIO", "j", "b64"];
const TRANSPORT: usize = 0;
const SID: usize = 1;
const EIO: usize = 2;
const J: usize = 3;
const B64: usize = 4;

/// A part of a text. Heads are far shorter than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    const ABSENT: Span = Span { start: u32::MAX, len: 0 };
    const REPEATED: Span = Span { start: u32::MAX, len: 1 };

    /// The place of `part` in `whole`, of which it is a slice, or empty.
    pub(super) fn new(part: &[u8], whole: &[u8]) -> Span {
        if part.is_empty() {
            return Span { start: 0, len: 0 };
        }
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        Span { start: start as u32, len: part.len() as u32 }
    }

    pub(super) fn of(self, whole: &[u8]) -> &[u8] {
        whole.get(self.range()).unwrap_or_default()
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }

    fn of_text(self, whole: &str) -> &str {
        whole.get(self.range()).unwrap_or_default()
    }
}

impl Target {
    /// Reads a target in one pass.
    #[inline]
    pub(super) fn read(text: &str) -> Target {
        // A fragment is no part of a request, and what stands behind `#` must not be taken for a query.
        let (whole, _) = cut(text, b'#');
        let (path, query) = cut(without_authority(whole), b'?');
        let query = query.unwrap_or_default();
        let mut target = Target {
            path: Span::new(path.as_bytes(), text.as_bytes()),
            query: Span::new(query.as_bytes(), text.as_bytes()),
            parameters: [Span::ABSENT; NAMES.len()],
        };
        let mut rest = (!query.is_empty()).then_some(query);
        while let Some(pieces) = rest {
            let (piece, behind) = cut(pieces, b'&');
            rest = behind;
            if let Some((place, value)) = known(piece)
                && let Some(slot) = target.parameters.get_mut(place)
            {
                *slot = match *slot {
                    Span::ABSENT => Span::new(value.as_bytes(), text.as_bytes()),
                    _ => Span::REPEATED,
                };
            }
        }
        target
    }

    /// The path. `text` is the target that was read, here and below.
    pub fn path<'a>(&self, text: &'a str) -> &'a str {
        match self.path.of_text(text) {
            "" => "/",
            path => path,
        }
    }

    /// The query without its `?`; empty if there is none.
    pub fn query<'a>(&self, text: &'a str) -> &'a str {
        self.query.of_text(text)
    }

    /// The target in origin form: path and query.
    pub fn path_and_query<'a>(&self, text: &'a str) -> &'a str {
        if self.path.len == 0 {
            return "/";
        }
        let end = match self.query.len {
            0 => self.path.start + self.path.len,
            len => self.query.start + len,
        };
        Span { start: self.path.start, len: end - self.path.start }.of_text(text)
    }

    /// `transport`: `polling` or `websocket`.
    pub fn transport<'a>(&self, text: &'a str) -> Parameter<'a> {
        self.parameter(TRANSPORT, text)
    }

    /// `sid`: the session. An empty one counts as absent, as in the official server: such a request asks
    /// for a new session.
    pub fn sid<'a>(&self, text: &'a str) -> Parameter<'a> {
        match self.parameter(SID, text) {
            Parameter::Once("") => Parameter::Absent,
            sid => sid,
        }
    }

    /// `EIO`: the version of the protocol. Clients of version 3 may leave it out.
    pub fn eio<'a>(&self, text: &'a str) -> Parameter<'a> {
        self.parameter(EIO, text)
    }

    /// `j`, which asks for JSONP, also if it is empty.
    pub fn jsonp<'a>(&self, text: &'a str) -> Parameter<'a> {
        self.parameter(J, text)
    }

    /// Whether `b64` has a value, whatever it is: the client cannot read binary.
    pub fn base64(&self) -> bool {
        self.parameters.get(B64).is_some_and(|span| span.start != u32::MAX && span.len > 0)
    }

    /// The first of the protocol's parameters that is there more than once. The request is to be refused,
    /// whichever it is.
    pub fn repeated(&self) -> Option<&'static str> {
        let at = self.parameters.iter().position(|span| *span == Span::REPEATED)?;
        NAMES.get(at).copied()
    }

    fn parameter<'a>(&self, place: usize, text: &'a str) -> Parameter<'a> {
        match self.parameters.get(place) {
            None | Some(&Span::ABSENT) => Parameter::Absent,
            Some(&Span::REPEATED) => Parameter::Repeated,
            Some(span) => Parameter::Once(span.of_text(text)),
        }
    }
}

/// Which of the parameters a piece of a query is, and its value. Without `=` it is empty.
fn known(piece: &str) -> Option<(usize, &str)> {
    let place = match piece.as_bytes().first()? {
        b't' => TRANSPORT,
        b's' => SID,
        b'E' => EIO,
        b'j' => J,
        b'b' => B64,
        _ => return None,
    };
    let rest = piece.strip_prefix(*NAMES.get(place)?)?;
    if rest.is_empty() { Some((place, rest)) } else { Some((place, rest.strip_prefix('=')?)) }
}

/// The target in absolute form (RFC 9112 §3.2.2) without scheme and authority; any other as it is.
fn without_authority(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((scheme, rest)) = target.split_once("://") else { return target };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return target;
    }
    let authority = rest.bytes().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    rest.get(authority..).unwrap_or_default()
}

/// What stands before an ASCII character, and behind it if it is there.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr(at, text.as_bytes()) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

/// The parameters of a query in order, as sent. A parameter without `=` has an empty value; empty pieces
/// (`a&&b`) are left out.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// Decodes a name or value as HTML forms encode them: `+` is a space, `%41` the byte 0x41. What is
/// no escape stays as it is, and what is not UTF-8 becomes U+FFFD, so nothing is ever refused.
pub fn decode(text: &str) -> String {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*first),
        }
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => text.to_owned(),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
