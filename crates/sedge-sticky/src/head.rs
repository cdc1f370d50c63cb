//! The head of an HTTP/1.1 request, as far as routing needs it.
//!
//! Whoever peeks at a connection sees its first bytes again and again, more of them each time.
//! [`parse`] is therefore a function of all bytes so far, and says the same however they
//! arrived. It copies and allocates nothing: a [`Head`] borrows, and looks for header lines when it
//! is asked for them.
//!
//! The session id is read from the query of the request target and nowhere else. A balancer that
//! looks for `sid=` anywhere in the head can be led astray by a cookie or a `Referer`.

use std::mem::MaybeUninit;

use memchr::memchr;
use thiserror::Error;

use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// The beginning of a head: look again when there is more.
    Partial,
    /// A whole head, which is the first `len` bytes.
    Complete {
        /// What it says.
        head: Head<'a>,
        /// Its length in bytes, with the empty line that ends it.
        len: usize,
    },
    /// No head that more bytes could complete.
    Invalid(Invalid),
    /// The head is longer than the limit.
    TooLong,
}

/// Why bytes are no request head. All of these are the client's fault; the server behind answers
/// 400, or 431 for [`TooManyHeaders`](Invalid::TooManyHeaders).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// A TLS handshake: the head is encrypted, and only the address can be routed by.
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
    /// More than [`HEADERS_MAX`] header lines.
    #[error("more than {HEADERS_MAX} header lines")]
    TooManyHeaders,
}

/// A request head.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    method: &'a str,
    target: &'a str,
    parameters: Parameters<'a>,
    /// The header lines, each with its line ending.
    lines: &'a [u8],
}

/// A parameter of the query, as sent (not percent-decoded, as in the server).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parameter<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// Its value, which can be empty.
    Once(&'a str),
    /// It is there more than once, so none of the values is believed: whoever comes next might
    /// take another one.
    Repeated,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters<'a> {
    sid: Parameter<'a>,
    eio: Parameter<'a>,
    transport: Parameter<'a>,
}

/// Reads the head at the start of `bytes`, of at most [`HEAD_BYTES_MAX`] bytes.
pub fn parse(bytes: &[u8]) -> State<'_> {
    parse_within(bytes, HEAD_BYTES_MAX)
}

/// Reads the head at the start of `bytes`, of at most `bytes_max` bytes. Bytes behind the head are
/// not looked at.
pub fn parse_within(bytes: &[u8], bytes_max: usize) -> State<'_> {
    /// The type of the first TLS record of a connection.
    const TLS_HANDSHAKE: u8 = 22;

    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return State::Invalid(Invalid::Tls);
    }
    // Later bytes must not change what the first ones were found to be.
    let window = bytes.get(..bytes_max).unwrap_or(bytes);
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(window, &mut headers) {
        Ok(httparse::Status::Complete(len)) => match (request.method, request.path) {
            (Some(method), Some(target)) => {
                let lines = lines(window.get(..len).unwrap_or(window), method, target);
                State::Complete {
                    head: Head { method, target, parameters: read(target), lines },
                    len,
                }
            }
            _ => State::Invalid(Invalid::RequestLine),
        },
        Ok(httparse::Status::Partial) if bytes.len() >= bytes_max => State::TooLong,
        Ok(httparse::Status::Partial) => State::Partial,
        Err(error) => State::Invalid(error.into()),
    }
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

/// The part of a valid head behind the request line, which is `METHOD TARGET HTTP/1.x`.
fn lines<'a>(head: &'a [u8], method: &str, target: &str) -> &'a [u8] {
    // Empty lines before the request line are allowed.
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
    let line = begin + method.len() + target.len() + " ".len() + " HTTP/1.1".len();
    match head.get(line..).unwrap_or_default() {
        [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
        _ => &[],
    }
}

/// Reads the parameters of the target in one pass, as the server does: it splits at `&` and at the
/// first `=`, and decodes nothing.
fn read(target: &str) -> Parameters<'_> {
    let mut parameters = Parameters::default();
    let mut rest = Some(query(target));
    while let Some(text) = rest {
        let (piece, behind) = cut(text, b'&');
        rest = behind;
        if let Some(value) = value_of(piece, "sid") {
            parameters.sid.meet(value);
        } else if let Some(value) = value_of(piece, "EIO") {
            parameters.eio.meet(value);
        } else if let Some(value) = value_of(piece, "transport") {
            parameters.transport.meet(value);
        }
    }
    parameters
}

/// The value if the parameter has this name. Without `=` it is empty.
fn value_of<'a>(piece: &'a str, name: &str) -> Option<&'a str> {
    let rest = piece.strip_prefix(name)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('=') }
}

/// The query without the `?`, and without a fragment, which a target should not have.
fn query(target: &str) -> &str {
    let (target, _) = cut(target, b'#');
    cut(target, b'?').1.unwrap_or_default()
}

/// What stands before an ASCII character, and behind it if it is there.
fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match memchr(at, text.as_bytes()) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    }
}

impl<'a> Parameter<'a> {
    fn meet(&mut self, value: &'a str) {
        *self = match self {
            Parameter::Absent => Parameter::Once(value),
            Parameter::Once(_) | Parameter::Repeated => Parameter::Repeated,
        };
    }

    /// The value, if there is exactly one.
    pub fn value(self) -> Option<&'a str> {
        match self {
            Parameter::Once(value) => Some(value),
            Parameter::Absent | Parameter::Repeated => None,
        }
    }
}

impl<'a> Head<'a> {
    /// The method, such as `GET`.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The request target, usually path and query.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The target up to the query.
    pub fn path(&self) -> &'a str {
        cut(cut(self.target, b'#').0, b'?').0
    }

    /// The target behind the first `?`, which is left out.
    pub fn query(&self) -> &'a str {
        query(self.target)
    }

    /// The parameter `sid`. An empty value counts as absent, as in the server: such a request asks
    /// for a new session.
    pub fn sid(&self) -> Parameter<'a> {
        match self.parameters.sid {
            Parameter::Once("") => Parameter::Absent,
            sid => sid,
        }
    }

    /// The parameter `EIO`: the version of the protocol.
    pub fn eio(&self) -> Parameter<'a> {
        self.parameters.eio
    }

    /// The parameter `transport`: `polling` or `websocket`.
    pub fn transport(&self) -> Parameter<'a> {
        self.parameters.transport
    }

    /// Whether the request asks for WebSocket, by its `Upgrade` header.
    pub fn is_websocket_upgrade(&self) -> bool {
        self.values("upgrade").any(|value| {
            value
                .split(|&byte| byte == b',')
                .any(|name| trim(name).eq_ignore_ascii_case(b"websocket"))
        })
    }

    /// The value of the first `Host` line.
    pub fn host(&self) -> Option<&'a [u8]> {
        self.values("host").next()
    }

    /// The values of all header lines of this name, in their order, without the white space around
    /// them. Upper and lower case are the same.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = name.as_bytes();
        let mut rest = self.lines;
        let lines = std::iter::from_fn(move || {
            let end = memchr(b'\n', rest)?;
            let (line, behind) = rest.split_at_checked(end + 1)?;
            rest = behind;
            Some(line)
        });
        lines.filter_map(move |line| {
            let (head, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            head.eq_ignore_ascii_case(name).then(|| trim(value))
        })
    }
}

/// Without white space at both ends, which the line's carriage return counts as.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

impl std::fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The query and the header lines hold secrets of the client.
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "GET /socket.io/?EIO=4&transport=polling&t=PxQ&sid=EjQFBgECAwQFBgcIUw0d HTTP/1.1\r\n\
        Host: chat.example.com\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept: */*\r\nReferer: https://chat.example.com/?sid=AAAAAAAAAAAAAAAAAAAA\r\n\
        Cookie: sid=BBBBBBBBBBBBBBBBBBBB; io=CCCCCCCCCCCCCCCCCCCC\r\nX-Empty:\r\n\r\n";

    fn head(text: &str) -> Head<'_> {
        match parse(text.as_bytes()) {
            State::Complete { head, len } => {
                assert_eq!(len, text.len());
                head
            }
            other => panic!("{other:?} for {text}"),
        }
    }

    fn sid(target: &str) -> Parameter<'_> {
        let parameters = read(target);
        Head { method: "GET", target, parameters, lines: b"" }.sid()
    }

    #[test]
    fn what_routing_needs_is_read() {
        let head = head(BROWSER);
        assert_eq!((head.method(), head.path()), ("GET", "/socket.io/"));
        assert_eq!(head.query(), "EIO=4&transport=polling&t=PxQ&sid=EjQFBgECAwQFBgcIUw0d");
        assert_eq!(head.sid(), Parameter::Once("EjQFBgECAwQFBgcIUw0d"));
        assert_eq!((head.eio().value(), head.transport().value()), (Some("4"), Some("polling")));
        assert_eq!(head.host(), Some(&b"chat.example.com"[..]));
        assert_eq!(head.values("x-empty").collect::<Vec<_>>(), [b""]);
        assert_eq!(head.values("cookie").count(), 1);
        assert_eq!(head.values("cooki").count(), 0);
        assert!(!head.is_websocket_upgrade());
    }

    #[test]
    fn a_session_id_stands_only_in_the_query() {
        let elsewhere = "GET /sid=AAAAAAAAAAAAAAAAAAAA/ HTTP/1.1\r\nReferer: /?sid=AAAAAAAAAAAAAAAAAAAA\r\n\
            Cookie: sid=AAAAAAAAAAAAAAAAAAAA\r\nX: ?sid=AAAAAAAAAAAAAAAAAAAA\r\n\r\n";
        assert_eq!(head(elsewhere).sid(), Parameter::Absent);
        for (target, expected) in [
            ("/?sid=a", Parameter::Once("a")),
            ("http://host:80/x?b=1&sid=a#sid=b", Parameter::Once("a")),
            ("/?sid=a?sid=b", Parameter::Once("a?sid=b")),
            ("/?sid=a=b", Parameter::Once("a=b")),
            ("/?sid", Parameter::Absent),
            ("/?sid=", Parameter::Absent),
            ("/#?sid=a", Parameter::Absent),
            ("/?xsid=a&sidx=b&SID=c&s%69d=d", Parameter::Absent),
            ("*", Parameter::Absent),
            // Whoever comes next might take the other one.
            ("/?sid=a&sid=a", Parameter::Repeated),
            ("/?sid=a&x=1&sid", Parameter::Repeated),
            ("/?sid=&sid=a", Parameter::Repeated),
            ("/?sid=a&sid=b&sid=c", Parameter::Repeated),
        ] {
            assert_eq!(sid(target), expected, "{target}");
        }
    }

    #[test]
    fn heads_cut_anywhere_are_read_alike() {
        for text in [
            BROWSER.to_owned(),
            BROWSER.replace("\r\n", "\n"),
            format!("\r\n\r\n{BROWSER}"),
            "OPTIONS * HTTP/1.0\r\n\r\n".to_owned(),
            BROWSER.replace("Accept", "Upgrade: h2c, WebSocket\r\nAccept"),
        ] {
            let whole = parse(text.as_bytes());
            assert!(matches!(whole, State::Complete { .. }), "{text}");
            for end in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..end]), State::Partial, "{end} of {text}");
            }
            // The body, or the next request.
            for behind in ["x", "GET / HTTP/1.1\r\n", "\r\n", "\0"] {
                assert_eq!(parse(format!("{text}{behind}").as_bytes()), whole);
            }
        }
    }

    #[test]
    fn upgrades() {
        for (lines, upgrade) in [
            ("Upgrade: websocket\r\n", true),
            ("upgrade:h2c , WebSocket\r\n", true),
            ("Upgrade: h2c\r\nUpgrade: websocket\r\n", true),
            ("Upgrade: websockets\r\n", false),
            ("X-Upgrade: websocket\r\n", false),
        ] {
            let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
            assert_eq!(head(&text).is_websocket_upgrade(), upgrade, "{lines}");
        }
    }

    /// Once bytes are found to be no head, no more of them change that, and none of their beginnings was
    /// found to be one.
    #[track_caller]
    fn refused(bytes: &[u8], expected: State<'_>) {
        assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
        for end in 0..bytes.len() {
            let part = parse(&bytes[..end]);
            assert!(part == State::Partial || part == expected, "{end}: {part:?}");
        }
        for behind in [&b"\r\n\r\n"[..], BROWSER.as_bytes(), &vec![0; 20_000]] {
            assert_eq!(parse(&[bytes, behind].concat()), expected);
        }
    }

    #[test]
    fn garbage_is_named() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
        for (bytes, reason) in [
            (&hello[..], Invalid::Tls),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Invalid::Version),
            (b"GET / HTTP/3.0\r\n\r\n", Invalid::Version),
            (b"\0", Invalid::RequestLine),
            (b"GET \0 HTTP/1.1\r\n", Invalid::RequestLine),
            (b"GET /\r\n\r\n", Invalid::RequestLine),
            (b" GET / HTTP/1.1\r\n", Invalid::RequestLine),
            (b"GET / HTTP/1.1\r\nA b: c\r\n", Invalid::Header),
            (b"GET / HTTP/1.1\r\n: c\r\n", Invalid::Header),
            (b"GET / HTTP/1.1\r\na: \0\r\n", Invalid::Header),
            (b"GET / HTTP/1.1\r\na: b\r\n c\r\n", Invalid::Header),
            (b"GET / HTTP/1.1\r\na : b\r\n", Invalid::Header),
        ] {
            refused(bytes, State::Invalid(reason));
        }
    }

    #[test]
    fn heads_have_a_longest_size() {
        let line = "GET / HTTP/1.1\r\n";
        for (filler, expected) in [(HEAD_BYTES_MAX, true), (HEAD_BYTES_MAX + 1, false)] {
            let rest = filler - line.len() - "a: \r\n\r\n".len();
            let text = format!("{line}a: {}\r\n\r\n", "x".repeat(rest));
            assert_eq!(text.len(), filler);
            let state = parse(text.as_bytes());
            assert_eq!(matches!(state, State::Complete { .. }), expected);
            assert_eq!(state == State::TooLong, !expected);
        }
        let endless = format!("GET /{}", "x".repeat(HEAD_BYTES_MAX * 2));
        assert_eq!(parse(endless.as_bytes()), State::TooLong);
        assert_eq!(parse(&endless.as_bytes()[..HEAD_BYTES_MAX - 1]), State::Partial);
        assert_eq!(parse_within(b"GET / HTTP/1.1\r\n\r\n", 17), State::TooLong);
        assert_eq!(parse_within(b"", 0), State::TooLong);
    }

    #[test]
    fn many_header_lines() {
        let text = |lines: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(lines));
        assert!(matches!(parse(text(HEADERS_MAX).as_bytes()), State::Complete { .. }));
        let more = text(HEADERS_MAX + 1);
        assert_eq!(parse(more.as_bytes()), State::Invalid(Invalid::TooManyHeaders));
    }

    #[test]
    fn logs_do_not_show_secrets() {
        let shown = format!("{:?}", parse(BROWSER.as_bytes()));
        assert!(!shown.contains("EjQFB") && !shown.contains("CCCC"), "{shown}");
    }
}
