//! The request that opened a session, kept small for the session's whole life.
//!
//! hyper's header values are slices of the connection's read buffer and would pin it, so everything
//! wanted later is copied into one allocation, as the lines of the request head.

use std::net::SocketAddr;
use std::time::SystemTime;

use http::HeaderMap;
use http::request::Parts;

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
    /// Copies what is needed from a request head. Values that are not UTF-8 are kept with
    /// replacement characters. Without `keep_headers` only the URL is kept.
    pub(crate) fn new(
        parts: &Parts,
        address: Option<SocketAddr>,
        secure: bool,
        keep_headers: bool,
    ) -> Handshake {
        let url = parts.uri.path_and_query().map_or("/", |pq| pq.as_str());
        let headers = if keep_headers { Some(&parts.headers) } else { None };
        let size = url.len() + headers.map_or(0, head_size);
        let mut text = String::with_capacity(size);
        text.push_str(url);
        for (name, value) in headers.into_iter().flatten() {
            text.push_str(name.as_str());
            text.push('\0');
            match value.to_str() {
                Ok(value) => text.push_str(value),
                Err(_) => text.push_str(&String::from_utf8_lossy(value.as_bytes())),
            }
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
        crate::http::query::pairs(self.query_string())
            .map(|(k, v)| (crate::http::query::decode(k), crate::http::query::decode(v)))
    }

    /// The first value of one query parameter, decoded.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query().find(|(k, _)| k == name).map(|(_, v)| v)
    }

    /// The headers in order; names in lower case. Empty if the configuration drops headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.text[self.url_len as usize..].lines().filter_map(|line| line.split_once('\0'))
    }

    /// The first value of one header; the name is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The peer's address, where the connection has one and it is known (behind a tower service it
    /// comes from the request's [`PeerAddr`](crate::PeerAddr) extension or axum's `ConnectInfo`).
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

fn head_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum()
}
