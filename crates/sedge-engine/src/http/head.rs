//! The head of a request, as the engine looks at it: from a server's parser, or as it came from the
//! connection with the places of its parts. The second kind costs a fraction of the first, and most
//! requests are polls, of which hardly any header is ever looked at.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::limits::LINES_MAX;

/// The head of one request.
pub(crate) enum Head {
    /// Parsed by a server.
    Parsed(Box<Parts>),
    /// Read by [`native`](crate::native).
    Raw(RawHead),
}

/// A head as it was sent: HTTP/1.1, its target a path.
pub(crate) struct RawHead {
    bytes: Bytes,
    layout: Layout,
}

/// Where the parts of a head are.
pub(crate) struct Layout {
    /// Bytes of the head, the empty line included.
    pub(crate) len: usize,
    method: Method,
    target: Span,
    /// Names and values of the header lines.
    lines: Box<[(Span, Span)]>,
}

/// A part of a head. Heads are far shorter than 4 GiB:
/// [`HEAD_BYTES_MAX`](crate::limits::HEAD_BYTES_MAX).
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(part: &[u8], whole: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr()) as u32;
        Span { start, end: start.wrapping_add(part.len() as u32) }
    }

    fn of(self, whole: &[u8]) -> &[u8] {
        whole.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// What stands at the beginning of some bytes.
pub(crate) enum Scan {
    /// A whole head.
    Head(Layout),
    /// The beginning of one.
    Partial,
    /// Something else, or a head that is not for this module.
    Other,
}

impl Layout {
    /// Looks for a head of HTTP/1.1 whose target is a path.
    pub(crate) fn scan(bytes: &[u8]) -> Scan {
        let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
        let mut request = httparse::Request::new(&mut []);
        let len = match request.parse_with_uninit_headers(bytes, &mut lines) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Scan::Partial,
            Err(_) => return Scan::Other,
        };
        let (Some(method), Some(target), Some(1)) = (request.method, request.path, request.version)
        else {
            return Scan::Other;
        };
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { return Scan::Other };
        if !target.starts_with('/') || !is_uri(target) {
            return Scan::Other;
        }
        let span = |part: &[u8]| Span::new(part, bytes);
        Scan::Head(Layout {
            len,
            method,
            target: span(target.as_bytes()),
            lines: request
                .headers
                .iter()
                .map(|line| (span(line.name.as_bytes()), span(line.value)))
                .collect(),
        })
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// The target in `bytes`, which were scanned.
    pub(crate) fn target<'b>(&self, bytes: &'b [u8]) -> &'b str {
        std::str::from_utf8(self.target.of(bytes)).unwrap_or_default()
    }

    /// The header lines in `bytes`, which were scanned.
    pub(crate) fn lines<'b>(&self, bytes: &'b [u8]) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        self.lines.iter().map(|(name, value)| (name.of(bytes), value.of(bytes)))
    }
}

impl RawHead {
    /// The head at the beginning of `bytes`, which were scanned.
    pub(crate) fn new(bytes: Bytes, layout: Layout) -> RawHead {
        RawHead { bytes, layout }
    }

    fn parse(&self) -> Option<Parts> {
        let mut request = Request::new(());
        *request.method_mut() = self.layout.method.clone();
        *request.uri_mut() = Uri::try_from(self.layout.target(&self.bytes)).ok()?;
        for (name, value) in self.layout.lines(&self.bytes) {
            let name = HeaderName::from_bytes(name).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request.into_parts().0)
    }
}

impl Head {
    pub(crate) fn parsed(parts: Parts) -> Head {
        Head::Parsed(Box::new(parts))
    }

    pub(crate) fn method(&self) -> &Method {
        match self {
            Head::Parsed(parts) => &parts.method,
            Head::Raw(raw) => &raw.layout.method,
        }
    }

    /// Whether the request is of HTTP/1.1 or later.
    pub(crate) fn is_http_1_1(&self) -> bool {
        match self {
            Head::Parsed(parts) => parts.version >= http::Version::HTTP_11,
            Head::Raw(_) => true,
        }
    }

    /// Path and query, as sent.
    pub(crate) fn target(&self) -> &str {
        match self {
            Head::Parsed(parts) => parts.uri.path_and_query().map_or("/", |both| both.as_str()),
            Head::Raw(raw) => raw.layout.target(&raw.bytes),
        }
    }

    pub(crate) fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// The query string without its `?`; empty if there is none.
    pub(crate) fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    /// All header lines: names as sent, in lower case or not, and values.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (parsed, raw) = match self {
            Head::Parsed(parts) => (Some(&parts.headers), None),
            Head::Raw(raw) => (None, Some(raw.layout.lines(&raw.bytes))),
        };
        let parsed = parsed.into_iter().flatten();
        let parsed = parsed.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        parsed.chain(raw.into_iter().flatten())
    }

    /// The values of all lines of one header.
    pub(crate) fn all(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let wanted = name.as_str().as_bytes();
        let (parsed, raw) = match self {
            Head::Parsed(parts) => (Some(parts.headers.get_all(name)), None),
            Head::Raw(raw) => (None, Some(raw.layout.lines(&raw.bytes))),
        };
        let parsed = parsed.into_iter().flatten().map(HeaderValue::as_bytes);
        let raw = raw.into_iter().flatten();
        let raw = raw.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        parsed.chain(raw.map(|(_, value)| value))
    }

    /// As [`all`](Self::all), by a name in lower case.
    pub(crate) fn values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.lines()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of a header, the first one if it is repeated.
    pub(crate) fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// As [`get`](Self::get), if the value is plain text: printable ASCII and tabs.
    pub(crate) fn text(&self, name: &HeaderName) -> Option<&str> {
        let value = self.get(name)?;
        is_plain(value).then(|| std::str::from_utf8(value).ok())?
    }

    /// The form that other crates understand.
    pub(crate) fn parts(&self) -> Cow<'_, Parts> {
        match self {
            Head::Parsed(parts) => Cow::Borrowed(parts),
            // Method, target and headers were found well-formed before; the empty request is for what
            // the two parsers see differently, which is nothing we know of.
            Head::Raw(raw) => {
                Cow::Owned(raw.parse().unwrap_or_else(|| Request::new(()).into_parts().0))
            }
        }
    }
}

/// Whether other crates take a target for the same one. Nearly all consist of characters that mean
/// nothing else anywhere, which is quickly seen.
fn is_uri(target: &str) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'?' | b'&' | b'=' | b'-' | b'_' | b'.' | b'%' | b'~' | b'+')
    };
    target.bytes().all(plain)
        || Uri::try_from(target)
            .is_ok_and(|uri| uri.path_and_query().is_some_and(|both| both.as_str() == target))
}

/// Whether a header value is printable ASCII and tabs.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, HOST, ORIGIN};

    fn raw(text: &str) -> Head {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let Scan::Head(layout) = Layout::scan(&bytes) else { panic!("no head: {text:?}") };
        Head::Raw(RawHead::new(bytes, layout))
    }

    #[test]
    fn both_kinds_say_the_same() {
        let raw = raw("GET /a/?b=c HTTP/1.1\r\nHost: x\r\nAccept: 1\r\naccept:  2 \r\n\r\nbody");
        let parsed = Head::parsed(raw.parts().into_owned());
        for head in [&raw, &parsed] {
            assert_eq!(head.method(), Method::GET);
            assert_eq!((head.target(), head.path(), head.query()), ("/a/?b=c", "/a/", "b=c"));
            assert_eq!(head.get(&HOST), Some(&b"x"[..]));
            assert_eq!(head.get(&ORIGIN), None);
            assert_eq!(head.all(&ACCEPT).collect::<Vec<_>>(), [b"1", b"2"]);
            assert_eq!(head.lines().count(), 3);
            assert!(head.is_http_1_1());
        }
    }

    #[test]
    fn only_plain_text_is_text() {
        let head = raw("GET / HTTP/1.1\r\nHost: a\tb\r\nOrigin: \u{e9}\r\n\r\n");
        assert_eq!(head.text(&HOST), Some("a\tb"));
        assert_eq!(head.get(&ORIGIN), Some("\u{e9}".as_bytes()));
        assert_eq!(head.text(&ORIGIN), None);
        assert_eq!(head.parts().headers[ORIGIN].as_bytes(), "\u{e9}".as_bytes());
    }

    #[test]
    fn unusual_targets_are_the_same_for_everybody() {
        for target in ["/a?b=c%20d+e", "/a?b=c:d,e@f;g!h$i'j(k)l*", "/a?b={c}", "/a?b=[c]"] {
            let head = raw(&format!("GET {target} HTTP/1.1\r\n\r\n"));
            assert_eq!(head.target(), target);
            assert_eq!(head.parts().uri.path_and_query().unwrap().as_str(), target);
        }
    }

    #[test]
    fn a_head_is_whole_only_with_its_last_byte() {
        let text = "POST /a HTTP/1.1\r\nHost: x\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(Layout::scan(&text.as_bytes()[..end]), Scan::Partial), "{end}");
        }
        let Scan::Head(layout) = Layout::scan(text.as_bytes()) else { panic!() };
        assert_eq!(layout.len, text.len());
    }

    #[test]
    fn what_is_not_plain_http_1_1_is_for_hyper() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(LINES_MAX + 1));
        for text in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET /a?b=<c> HTTP/1.1\r\n\r\n",
            "\x16\x03\x01",
            "GET / HTTP/1.1\r\na b: c\r\n\r\n",
            &many,
        ] {
            assert!(matches!(Layout::scan(text.as_bytes()), Scan::Other), "{text:?}");
        }
    }
}
