//! What an HTTP request is.
//!
//! A request is read in several places: whoever routes it looks at its first bytes, the server reads it
//! from its own connections, or is given it by another HTTP server. If they differed in which session it
//! names, whether it is an upgrade or where its body ends, it would be routed to one place and mean
//! something else there, or a second request could be hidden in it. So all of them ask [`Request::read`],
//! which sees nothing but the method, the target, the version and the header lines.
//!
//! - [`target`]: the path, and the parameters of the query that the protocol has;
//! - [`head`]: heads as bytes, as they come from a connection;
//! - [`body`]: where a body ends;
//! - [`fields`]: what several lines of one header mean;
//! - [`forwarded`]: who the client is when proxies stand in front, by the [`network`]s that are trusted.

pub mod body;
pub mod fields;
pub mod forwarded;
pub mod head;
pub mod network;
pub mod target;

use thiserror::Error;

pub use body::Body;
pub use target::{Parameter, Target};

/// The version of HTTP that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 or later, where other fields take the places of `Host`, `Connection` and
    /// `Transfer-Encoding`.
    Later,
}

/// Whether a request asks for another protocol on its connection: both `Connection` names `upgrade` and
/// `Upgrade` names the protocol. One without the other asks for nothing (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// It does not.
    #[default]
    None,
    /// For WebSocket, perhaps among others.
    WebSocket,
    /// For others only. A server that knows none of them answers as if it had not been asked; HTTP
    /// clients offer `h2c` and `TLS/1.2` with ordinary requests.
    Other,
}

/// What a request is, apart from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query, as places in the target's text.
    pub target: Target,
    /// The version.
    pub version: Version,
    /// Whether it asks for another protocol.
    pub upgrade: Upgrade,
    /// Its body.
    pub body: Body,
    /// The client wants the connection closed after the answer: it says so, or speaks HTTP/1.0 and does
    /// not say the opposite.
    pub close: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Why a request is none that a server may answer otherwise than with 400 (RFC 9112 §3.2, §6.3). The
/// client's fault, or an attempt to have two servers read it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// HTTP/1.1 without `Host`.
    #[error("no Host header")]
    NoHost,
    /// More than one `Host`, or one that is no host.
    #[error("repeated or malformed Host header")]
    Host,
    /// More than one `Content-Length`, or one that is no decimal number.
    #[error("repeated or malformed Content-Length header")]
    ContentLength,
    /// Another `Transfer-Encoding` than `chunked` alone, or one in HTTP/1.0.
    #[error("a Transfer-Encoding other than chunked, or one in HTTP/1.0")]
    TransferEncoding,
    /// Both `Content-Length` and `Transfer-Encoding`.
    #[error("both Content-Length and Transfer-Encoding")]
    TwoLengths,
}

impl Request {
    /// Reads a request from its target, version and header lines: names in any case, values without
    /// white space around them. The target is as sent, in origin, absolute or asterisk form.
    ///
    /// Every line is looked at once, and nothing is allocated.
    #[inline]
    pub fn read<'l>(
        target: &str,
        version: Version,
        lines: impl IntoIterator<Item = (&'l [u8], &'l [u8])>,
    ) -> Result<Request, Refusal> {
        let mut seen = Seen::default();
        for (name, value) in lines {
            seen.line(name, value)?;
        }
        seen.request(target, version)
    }
}

/// What the lines so far say.
#[derive(Default)]
struct Seen {
    has_host: bool,
    length: Option<u64>,
    chunked: bool,
    connection_upgrade: bool,
    upgrade: Upgrade,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Seen {
    #[inline]
    fn line(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        // Most lines are told apart by their length.
        match name.len() {
            4 if is(b"host") => {
                let again = std::mem::replace(&mut self.has_host, true);
                if again || !is_host(value) {
                    return Err(Refusal::Host);
                }
            }
            6 if is(b"expect") => self.expects_continue |= names(value, b"100-continue"),
            7 if is(b"upgrade") => {
                if names(value, b"websocket") {
                    self.upgrade = Upgrade::WebSocket;
                } else if self.upgrade == Upgrade::None && !value.is_empty() {
                    self.upgrade = Upgrade::Other;
                }
            }
            // What nearly all say.
            10 if is(b"connection") && value == b"keep-alive" => self.keep_alive = true,
            10 if is(b"connection") => {
                self.close |= names(value, b"close");
                self.keep_alive |= names(value, b"keep-alive");
                self.connection_upgrade |= names(value, b"upgrade");
            }
            14 if is(b"content-length") => {
                let length = decimal(value).ok_or(Refusal::ContentLength)?;
                if self.length.replace(length).is_some() {
                    return Err(Refusal::ContentLength);
                }
            }
            17 if is(b"transfer-encoding") => {
                let again = std::mem::replace(&mut self.chunked, true);
                if again || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::TransferEncoding);
                }
            }
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn request(self, target: &str, version: Version) -> Result<Request, Refusal> {
        if version == Version::Http11 && !self.has_host {
            return Err(Refusal::NoHost);
        }
        let body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Refusal::TwoLengths),
            (None, true) if version != Version::Http11 => return Err(Refusal::TransferEncoding),
            (None, true) => Body::Chunked,
            (None | Some(0), false) => Body::None,
            (Some(length), false) => Body::Length(length),
        };
        let persistent = match version {
            Version::Http10 => self.keep_alive && !self.close,
            Version::Http11 | Version::Later => !self.close,
        };
        Ok(Request {
            target: Target::read(target),
            version,
            upgrade: match version {
                Version::Http10 | Version::Http11 if self.connection_upgrade => self.upgrade,
                _ => Upgrade::None,
            },
            body,
            close: !persistent,
            expects_continue: self.expects_continue,
        })
    }
}

/// Whether a comma-separated list names a token, which is given in lower case.
fn names(list: &[u8], token: &[u8]) -> bool {
    list.eq_ignore_ascii_case(token)
        || list
            .split(|&byte| byte == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// A host with or without a port, or nothing (RFC 9112 §3.2). Which characters a name may have is left to
/// whoever looks it up; what could make two hosts of it is refused.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| HOST.get(usize::from(*byte)) == Some(&true))
}

/// The bytes of a host and its port: what is visible and separates nothing.
const HOST: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte <= b' ' {
        table[byte as usize] = false;
        byte += 1;
    }
    let wrong = *b"\x7f,/?#@\\\"<>";
    let mut at = 0;
    while at < wrong.len() {
        table[wrong[at] as usize] = false;
        at += 1;
    }
    table
};

/// A number of decimal digits and nothing else.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
