//! The request that opened a session, kept small for the session's whole life.
//!
//! hyper's header values are slices of the connection's read buffer and would pin it, so everything
//! wanted later is copied into one allocation, as the lines of the request head.

use std::net::SocketAddr;
use std::time::SystemTime;

use sedge_protocol::request::fields;
use sedge_protocol::request::target::{decode, pairs};

use crate::http::head::Head;

/// The head of the handshake request and what is known about the connection it came on.
#[derive(Debug)]
pub struct Handshake {
    /// The request target, then `name\0value\n` for each header. A header value cannot contain a
    /// line feed or NUL byte, so the separators are safe.
    text: Box<str>,
    url_len: u32,
    address: Option<SocketAddr>,
    issued: SystemTime,
    secure: bool,
}

impl Handshake {
    /// Copies what is needed from a request head. Several lines of one header become one value, or the
    /// first one counts, as [`fields`] says. Values that are not UTF-8 are kept with replacement characters.
    /// Without `keep_headers` only the URL is kept.
    pub(crate) fn new(
        head: &Head,
        address: Option<SocketAddr>,
        secure: bool,
        keep_headers: bool,
    ) -> Handshake {
        let url = head.target();
        let lines = || head.lines().take(if keep_headers { usize::MAX } else { 0 });
        let size: usize = lines().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = String::with_capacity(url.len() + size);
        text.push_str(url);
        for (at, (name, value)) in lines().enumerate() {
            let same = |line: &(&[u8], &[u8])| line.0.eq_ignore_ascii_case(name);
            if lines().take(at).any(|line| same(&line)) {
                continue;
            }
            // Names are ASCII, or a parser would have refused the head.
            text.extend(name.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            text.push('\0');
            let values =
                std::iter::once(value).chain(lines().skip(at + 1).filter(same).map(|line| line.1));
            let joined = fields::join(name, values).unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(&joined));
            text.push('\n');
        }
        Handshake {
            url_len: url.len() as u32,
            text: text.into_boxed_str(),
            address,
            issued: SystemTime::now(),
            secure,
        }
    }

    /// The request target: path and query as sent.
    pub fn url(&self) -> &str {
        &self.text[..self.url_len as usize]
    }

    /// The raw query string, empty if there is none.
    pub fn query_string(&self) -> &str {
        self.url().split_once('?').map_or("", |(_, query)| query)
    }

    /// The query parameters in order, percent-decoded, `+` read as a space.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> + '_ {
        pairs(self.query_string()).map(|(k, v)| (decode(k), decode(v)))
    }

    /// The value of one query parameter, decoded; the last one if it is repeated, as in the official server.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query().filter(|(k, _)| k == name).last().map(|(_, v)| v)
    }

    /// The headers in order, each once; names in lower case. Empty if the configuration drops headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.text[self.url_len as usize..].lines().filter_map(|line| line.split_once('\0'))
    }

    /// The value of one header, with those of all its lines if it is a list; the name is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The peer's address, where the connection has one and it is known (behind a tower service it
    /// comes from the request's [`PeerAddr`](crate::PeerAddr) extension).
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// When the session was opened.
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// Whether the connection is encrypted as far as this process can tell.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Whether the request came from another origin, that is: it has an `Origin` header.
    pub fn xdomain(&self) -> bool {
        self.header("origin").is_some()
    }
}
