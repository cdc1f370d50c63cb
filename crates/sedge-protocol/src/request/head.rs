//! The head of an HTTP/1 request as bytes.
//!
//! Whoever looks at a connection sees its first bytes again and again, more of them each time.
//! [`scan`] is therefore a function of all bytes so far, and says the same however they arrived. It
//! copies and allocates nothing: a [`Layout`] knows where the parts are, and a [`Head`] is a layout
//! together with the bytes.

use std::mem::MaybeUninit;

use httparse::Header;
use memchr::memchr;
use thiserror::Error;

use super::target::{Parameter, Span};
use super::{Refusal, Request, Version};
use crate::limits::HEADERS_ON_STACK;

/// How much a head may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, with the empty line at its end.
    pub bytes_max: usize,
    /// Header lines. Up to [`HEADERS_ON_STACK`] of them take no allocation.
    pub headers_max: usize,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The beginning of a head: look again when there is more.
    Partial,
    /// A whole head, with which the bytes begin.
    Complete(Layout),
    /// No head that more bytes could complete.
    Invalid(Invalid),
}

/// Why bytes are no request head. All of these are the client's fault: 431 for
/// [`TooLong`](Invalid::TooLong) and [`TooManyHeaders`](Invalid::TooManyHeaders), 400 for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// A TLS handshake: the head is encrypted.
    #[error("TLS where plain HTTP was expected")]
    Tls,
    /// The request line has another form than `METHOD TARGET HTTP/1.x`.
    #[error("malformed request line")]
    RequestLine,
    /// What stands for the version is neither HTTP/1.0 nor HTTP/1.1: the preface of HTTP/2, or a PROXY
    /// header that nobody expects.
    #[error("HTTP version not supported")]
    Version,
    /// A header line is malformed.
    #[error("malformed header line")]
    Header,
    /// A line ends with a bare line feed: others take it for a part of the line.
    #[error("a line ends without a carriage return")]
    LineEnding,
    /// More header lines than allowed.
    #[error("too many header lines")]
    TooManyHeaders,
    /// More bytes than allowed.
    #[error("request head too long")]
    TooLong,
    /// It is a head, and no request may have it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Where the parts of a head are in its bytes, and what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    len: u32,
    method: Span,
    target: Span,
    /// The header lines, each with its line ending.
    lines: Span,
    request: Request,
}

/// A head: its layout with its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// Looks for a head at the beginning of some bytes. Bytes behind it are not looked at.
pub fn scan(bytes: &[u8], limits: Limits) -> Scan {
    /// The type of the first TLS record of a connection.
    const TLS_HANDSHAKE: u8 = 22;

    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return Scan::Invalid(Invalid::Tls);
    }
    // Later bytes must not change what the first ones were found to be.
    let window = bytes.get(..limits.bytes_max).unwrap_or(bytes);
    let parsed = if limits.headers_max <= HEADERS_ON_STACK {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_ON_STACK];
        parse(window, headers.get_mut(..limits.headers_max).unwrap_or_default())
    } else {
        parse(window, &mut vec![MaybeUninit::uninit(); limits.headers_max])
    };
    match parsed {
        Ok(Some(layout)) => Scan::Complete(layout),
        Ok(None) if bytes.len() >= limits.bytes_max => Scan::Invalid(Invalid::TooLong),
        Ok(None) => Scan::Partial,
        Err(invalid) => Scan::Invalid(invalid),
    }
}

#[inline]
fn parse<'b>(
    bytes: &'b [u8],
    headers: &mut [MaybeUninit<Header<'b>>],
) -> Result<Option<Layout>, Invalid> {
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(bytes, headers)? {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => return Ok(None),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Invalid::RequestLine);
    };
    let head = bytes.get(..len).unwrap_or(bytes);
    let version = match request.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    // What stands before the first name is the request line.
    let end = len.saturating_sub(b"\r\n".len());
    let begin = request.headers.first().map_or(end, |first| offset(first.name.as_bytes(), head));
    let ends_well = |at: usize| head.get(..at).is_some_and(|before| before.ends_with(b"\r\n"));
    let mut starts = request.headers.iter().map(|line| offset(line.name.as_bytes(), head));
    if !(starts.all(ends_well) && ends_well(end) && ends_well(len)) {
        return Err(Invalid::LineEnding);
    }
    let lines = request.headers.iter().map(|line| (line.name.as_bytes(), line.value));
    Ok(Some(Layout {
        len: len as u32,
        method: Span::new(method.as_bytes(), head),
        target: Span::new(target.as_bytes(), head),
        lines: Span::new(head.get(begin..end).unwrap_or_default(), head),
        request: Request::read(target, version, lines)?,
    }))
}

/// Where `part` begins in `whole`, of which it is a slice.
fn offset(part: &[u8], whole: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

impl From<httparse::Error> for Invalid {
    fn from(error: httparse::Error) -> Self {
        use httparse::Error;
        match error {
            Error::HeaderName | Error::HeaderValue => Invalid::Header,
            Error::Version => Invalid::Version,
            Error::TooManyHeaders => Invalid::TooManyHeaders,
            // A line that ends where it may not can be any; it is said of the first.
            Error::NewLine | Error::Token | Error::Status => Invalid::RequestLine,
        }
    }
}

impl Layout {
    /// Bytes of the head, with the empty line that ends it. Never zero.
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// What the head says.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Where the target is.
    pub fn target(&self) -> std::ops::Range<usize> {
        self.target.range()
    }

    /// The head in the bytes that were scanned, or in a copy of its [`len`](Self::len) bytes.
    pub fn head(self, bytes: &[u8]) -> Head<'_> {
        // Two heads are the same whatever comes behind them.
        Head { bytes: bytes.get(..self.len()).unwrap_or(bytes), layout: self }
    }
}

impl<'a> Head<'a> {
    /// What the head says.
    pub fn request(&self) -> &Request {
        &self.layout.request
    }

    /// The method, such as `GET`.
    pub fn method(&self) -> &'a str {
        text(self.layout.method.of(self.bytes))
    }

    /// The request target, usually path and query, as sent.
    pub fn target(&self) -> &'a str {
        text(self.layout.target.of(self.bytes))
    }

    /// The path.
    pub fn path(&self) -> &'a str {
        self.layout.request.target.path(self.target())
    }

    /// The query without its `?`.
    pub fn query(&self) -> &'a str {
        self.layout.request.target.query(self.target())
    }

    /// The parameter `sid`; see [`Target::sid`](super::Target::sid).
    pub fn sid(&self) -> Parameter<'a> {
        self.layout.request.target.sid(self.target())
    }

    /// All header lines in their order: name as sent, and value without the white space around it.
    pub fn lines(&self) -> Lines<'a> {
        Lines(self.layout.lines.of(self.bytes))
    }

    /// The values of all header lines of this name, in their order. Upper and lower case are the same.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = name.as_bytes();
        let mut lines = self.lines();
        let lines = std::iter::from_fn(move || lines.next_line());
        lines.filter_map(move |line| {
            let (head, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
        })
    }
}

/// httparse has seen that it is one.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The header lines of a head.
#[derive(Clone, Debug)]
pub struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    /// The next line with its ending.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.0)?;
        let (line, behind) = self.0.split_at_checked(end + 1)?;
        self.0 = behind;
        Some(line)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.next_line()?;
        let colon = memchr(b':', line)?;
        Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
    }
}

impl std::fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The query and the header lines hold secrets of the client.
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
