//! The head of a request, as the engine looks at it: from another server, or as it came from a
//! connection. The second kind costs a fraction of the first, and most requests are polls, of which
//! hardly any header is ever looked at. What either of them is, [`Request::read`] has said.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Uri};
use sedge_protocol::engine::Version;
use sedge_protocol::request::head::{Invalid, Layout, Limits, Scan};
use sedge_protocol::request::{self, Parameter, Refusal, Request, Upgrade, fields, head};

/// The head of one request.
pub(crate) enum Head {
    /// Parsed by another server.
    Parsed(Box<(Parts, Request)>),
    /// As it was sent over HTTP/1.
    Raw(Box<RawHead>),
}

/// A head as it was sent.
pub(crate) struct RawHead {
    bytes: Bytes,
    layout: Layout,
    method: Method,
}

/// Looks for a head at the beginning of some bytes. A method that is none for other crates is none here.
pub(crate) fn scan(bytes: &[u8], limits: Limits) -> Result<Option<(Layout, Method)>, Invalid> {
    match head::scan(bytes, limits) {
        Scan::Complete(layout) => {
            let method = Method::from_bytes(layout.head(bytes).method().as_bytes());
            method.map(|method| Some((layout, method))).map_err(|_| Invalid::RequestLine)
        }
        Scan::Partial => Ok(None),
        Scan::Invalid(invalid) => Err(invalid),
    }
}

impl RawHead {
    /// The head at the beginning of `bytes`, which were [scanned](scan).
    pub(crate) fn new(bytes: Bytes, (layout, method): (Layout, Method)) -> Box<RawHead> {
        // It is moved often, and larger than a pointer many times over.
        Box::new(RawHead { bytes, layout, method })
    }

    pub(crate) fn request(&self) -> &Request {
        self.layout.request()
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    fn head(&self) -> head::Head<'_> {
        self.layout.head(&self.bytes)
    }

    /// The same head with a target that other crates take for one; `None` if it has one already.
    pub(crate) fn with_escapes(&self) -> Option<Vec<u8>> {
        let Cow::Owned(target) = to_uri(self.head().target()) else { return None };
        let place = self.layout.target();
        let (before, behind) = (self.bytes.get(..place.start)?, self.bytes.get(place.end..)?);
        Some([before, target.as_bytes(), behind].concat())
    }

    fn parse(&self) -> Option<Parts> {
        let head = self.head();
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::try_from(&*to_uri(head.target())).ok()?;
        for (name, value) in head.lines() {
            let name = HeaderName::from_bytes(name).ok()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
        Some(request.into_parts().0)
    }
}

impl Head {
    /// A head that another server has parsed, if that is a request.
    pub(crate) fn parsed(parts: Parts) -> Result<Head, Refusal> {
        let version = match parts.version {
            http::Version::HTTP_09 | http::Version::HTTP_10 => request::Version::Http10,
            http::Version::HTTP_11 => request::Version::Http11,
            _ => request::Version::Later,
        };
        let lines = parts.headers.iter();
        let lines = lines.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let request = Request::read(path_and_query(&parts), version, lines)?;
        Ok(Head::Parsed(Box::new((parts, request))))
    }

    pub(crate) fn method(&self) -> &Method {
        match self {
            Head::Parsed(parsed) => &parsed.0.method,
            Head::Raw(raw) => &raw.method,
        }
    }

    /// What the request is.
    pub(crate) fn request(&self) -> &Request {
        match self {
            Head::Parsed(parsed) => &parsed.1,
            Head::Raw(raw) => raw.layout.request(),
        }
    }

    /// The target that was read.
    fn text(&self) -> &str {
        match self {
            Head::Parsed(parsed) => path_and_query(&parsed.0),
            Head::Raw(raw) => raw.head().target(),
        }
    }

    /// Path and query, as sent.
    pub(crate) fn target(&self) -> &str {
        self.request().target.path_and_query(self.text())
    }

    pub(crate) fn path(&self) -> &str {
        self.request().target.path(self.text())
    }

    /// The transport that the query names.
    pub(crate) fn transport(&self) -> Option<&str> {
        self.request().target.transport(self.text()).value()
    }

    /// The session that the query names.
    pub(crate) fn sid(&self) -> Option<&str> {
        self.request().target.sid(self.text()).value()
    }

    /// The version of the protocol, as the official server reads it: everything but exactly `4` is 3.
    pub(crate) fn version(&self) -> Version {
        match self.request().target.eio(self.text()) {
            Parameter::Once("4") => Version::V4,
            _ => Version::V3,
        }
    }

    /// The parameter `j` of a request for JSONP.
    pub(crate) fn jsonp(&self) -> Option<&str> {
        self.request().target.jsonp(self.text()).value()
    }

    /// Whether the request asks for a WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        self.request().upgrade == Upgrade::WebSocket
    }

    /// All header lines: names as sent, in lower case or not, and values.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (parsed, raw) = match self {
            Head::Parsed(parsed) => (Some(&parsed.0.headers), None),
            Head::Raw(raw) => (None, Some(raw.head().lines())),
        };
        let parsed = parsed.into_iter().flatten();
        let parsed = parsed.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        parsed.chain(raw.into_iter().flatten())
    }

    /// The values of all lines of one header, whose name is given in lower case.
    pub(crate) fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        let (parsed, raw) = match self {
            Head::Parsed(parsed) => (Some(parsed.0.headers.get_all(name)), None),
            Head::Raw(raw) => (None, Some(raw.head().values(name))),
        };
        let parsed = parsed.into_iter().flatten().map(HeaderValue::as_bytes);
        parsed.chain(raw.into_iter().flatten())
    }

    /// The value of a header of which the first line counts.
    pub(crate) fn get<'h>(&'h self, name: &'h HeaderName) -> Option<&'h [u8]> {
        self.values(name.as_str()).next()
    }

    /// As [`get`](Self::get), if the value is plain text: printable ASCII and tabs.
    pub(crate) fn text_of<'h>(&'h self, name: &'h HeaderName) -> Option<&'h str> {
        let value = self.get(name)?;
        is_plain(value).then(|| std::str::from_utf8(value).ok())?
    }

    /// The values of all lines of a header as one, of which those count that are plain text.
    pub(crate) fn list<'h>(&'h self, name: &'h HeaderName) -> Option<Cow<'h, str>> {
        let plain = self.values(name.as_str()).filter(|value| is_plain(value));
        match fields::join(name.as_str().as_bytes(), plain)? {
            Cow::Borrowed(text) => std::str::from_utf8(text).ok().map(Cow::Borrowed),
            Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
        }
    }

    /// The form that other crates understand.
    pub(crate) fn parts(&self) -> Cow<'_, Parts> {
        match self {
            Head::Parsed(parsed) => Cow::Borrowed(&parsed.0),
            // Method, target and headers were found well-formed before; the empty request is for what
            // the two parsers see differently, which is nothing we know of.
            Head::Raw(raw) => {
                Cow::Owned(raw.parse().unwrap_or_else(|| http::Request::new(()).into_parts().0))
            }
        }
    }
}

fn path_and_query(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("/", |both| both.as_str())
}

/// A target as other crates take it: characters that the URI type refuses are escaped. Clients send
/// quotes and angle brackets as they are, and servers have always taken them.
fn to_uri(target: &str) -> Cow<'_, str> {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'/' | b'?' | b'&' | b'=' | b'-' | b'_' | b'.' | b'%' | b'~' | b'+')
    };
    // Nearly all consist of characters that mean nothing else anywhere, which is quickly seen.
    if target.bytes().all(plain) || Uri::try_from(target).is_ok() {
        return Cow::Borrowed(target);
    }
    let mut escaped = String::with_capacity(target.len() + 16);
    for byte in target.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    Cow::Owned(escaped)
}

/// Whether a header value is printable ASCII and tabs.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, COOKIE, HOST, ORIGIN};

    const LIMITS: Limits = Limits { bytes_max: 4096, headers_max: 100 };

    fn raw(text: &str) -> Box<RawHead> {
        let scanned = scan(text.as_bytes(), LIMITS).unwrap().expect("a whole head");
        RawHead::new(Bytes::copy_from_slice(text.as_bytes()), scanned)
    }

    #[test]
    fn both_kinds_say_the_same() {
        let raw = Head::Raw(raw(
            "GET /a/?sid=s&EIO=4&transport=polling&j=1 HTTP/1.1\r\nHost: x\r\nAccept: 1\r\naccept:  2 \r\n\r\nbody",
        ));
        let parsed = Head::parsed(raw.parts().into_owned()).unwrap();
        for head in [&raw, &parsed] {
            assert_eq!(head.method(), Method::GET);
            assert_eq!((head.path(), head.target().len()), ("/a/", 37));
            assert_eq!((head.sid(), head.transport()), (Some("s"), Some("polling")));
            assert_eq!((head.jsonp(), head.version()), (Some("1"), Version::V4));
            assert_eq!(head.get(&HOST), Some(&b"x"[..]));
            assert_eq!(head.get(&ORIGIN), None);
            assert_eq!(head.values("accept").collect::<Vec<_>>(), [b"1", b"2"]);
            assert_eq!(head.list(&ACCEPT).as_deref(), Some("1, 2"));
            assert_eq!(head.list(&COOKIE), None);
            assert_eq!(head.lines().count(), 3);
        }
    }

    #[test]
    fn only_plain_text_is_text() {
        let head = Head::Raw(raw("GET / HTTP/1.1\r\nHost: a\r\nOrigin: \u{e9}\r\n\r\n"));
        assert_eq!(head.text_of(&HOST), Some("a"));
        assert_eq!(head.get(&ORIGIN), Some("\u{e9}".as_bytes()));
        assert_eq!(head.text_of(&ORIGIN), None);
        assert_eq!(head.parts().headers[ORIGIN].as_bytes(), "\u{e9}".as_bytes());
    }

    #[test]
    fn unusual_targets_are_the_same_for_everybody() {
        for target in ["/a?b=c%20d+e", "/a?b=c:d,e@f;g!h$i'j(k)l*", "/a?b={c}", "/a?b=[c]"] {
            let head = raw(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(head.with_escapes(), None);
            let head = Head::Raw(head);
            assert_eq!(head.target(), target);
            assert_eq!(head.parts().uri.path_and_query().unwrap().as_str(), target);
        }
    }

    #[test]
    fn what_is_no_uri_elsewhere_is_escaped_there() {
        for (target, escaped) in [
            ("/a?b=\"<c>\"&sid=s", "/a?b=%22%3Cc%3E%22&sid=s"),
            ("/<a>/?b=\\^`|%41", "/%3Ca%3E/?b=%5C%5E%60%7C%41"),
            ("http://x/a?<", "http://x/a?%3C"),
        ] {
            let text = |target| format!("\r\nGET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let head = raw(&text(target));
            assert_eq!(head.with_escapes(), Some(text(escaped).into_bytes()));
            let uri = &head.parse().unwrap().uri;
            assert_eq!(uri.to_string(), escaped);
        }
    }

    #[test]
    fn what_is_no_request_is_none_for_either_kind() {
        assert!(scan(b"GET / HTTP/1.1\r\n\r\n", LIMITS).is_err());
        let parts = http::Request::new(()).into_parts().0;
        assert_eq!(Head::parsed(parts).err(), Some(Refusal::NoHost));
    }
}
