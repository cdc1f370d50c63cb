//! Cookies that tie a client to a target: the one of Engine.IO, whose value is the session id, or one
//! that the balancer gives out itself.
//!
//! The value of the latter stands for the target's name without showing it: 16 hexadecimal digits
//! made with the secret. Every balancer with the same secret and names gives the same, before and
//! after a restart. Somebody who copies another's cookie gets to that target, and nothing else.

use sedge_protocol::cookie::{Cookie, CookieError, SetCookie};
use sedge_protocol::request::head::Head;
use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher24;

/// Which cookie is routed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieKey {
    /// One that the servers set, whose value is the session id: usually `io`.
    SessionId {
        /// The cookie's name.
        name: String,
    },
    /// One that the balancer gives out.
    Sticky(Cookie),
}

impl CookieKey {
    /// Validates the cookie. The answer gives it out, if that is the balancer's business.
    pub(crate) fn compile(&self) -> Result<Option<SetCookie>, CookieError> {
        match self {
            CookieKey::SessionId { name } => Cookie::new(name).secure(true).compile().map(|_| None),
            CookieKey::Sticky(cookie) => cookie.compile().map(Some),
        }
    }

    fn name(&self) -> &str {
        match self {
            CookieKey::SessionId { name } => name,
            CookieKey::Sticky(cookie) => cookie.name(),
        }
    }

    /// The values of this cookie that a request brings; with several paths there can be more than one.
    pub(crate) fn values<'a>(&self, head: &Head<'a>) -> impl Iterator<Item = &'a [u8]> {
        let name = self.name().as_bytes();
        head.values("cookie").flat_map(|line| line.split(|&byte| byte == b';')).filter_map(
            move |pair| {
                let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
                Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
            },
        )
    }
}

/// Makes the values of sticky cookies.
#[derive(Clone)]
pub(crate) struct Tags(SipHasher24);

impl Tags {
    /// With the first 16 bytes of SHA-256 over the text `sedge sticky cookie v1`, a zero byte and the
    /// secret.
    pub(crate) fn new(secret: &[u8]) -> Tags {
        let digest =
            Sha256::new().chain_update(b"sedge sticky cookie v1\0").chain_update(secret).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Tags(SipHasher24::new_with_key(&key))
    }

    /// What stands for a target's name.
    pub(crate) fn tag(&self, name: &str) -> u64 {
        self.0.hash(name.as_bytes())
    }
}

impl std::fmt::Debug for Tags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tags(..)")
    }
}

/// The tag in a cookie's value.
pub(crate) fn read_tag(value: &[u8]) -> Option<u64> {
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if value.len() != 16 || !value.iter().all(lower) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sedge_protocol::request::head::{Limits, Scan, scan};

    #[test]
    fn the_cookie_is_found_among_others() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\nCookie: xio=1; io=2;io = 3\r\nX-Cookie: io=4\r\ncookie:io=\"5\"; IO=6; io\r\n\r\n";
        let limits = Limits { bytes_max: 1000, headers_max: 10 };
        let Scan::Complete(layout) = scan(text.as_bytes(), limits) else { panic!() };
        let head = layout.head(text.as_bytes());
        let key = CookieKey::SessionId { name: "io".into() };
        assert_eq!(key.values(&head).collect::<Vec<_>>(), [b"2", b"5"]);
    }

    #[test]
    fn tags_depend_on_the_secret_and_hide_the_name() {
        let tags = Tags::new(b"secret");
        assert_eq!(tags.tag("10.0.0.1:80"), Tags::new(b"secret").tag("10.0.0.1:80"));
        assert_ne!(tags.tag("10.0.0.1:80"), tags.tag("10.0.0.2:80"));
        assert_ne!(tags.tag("10.0.0.1:80"), Tags::new(b"other").tag("10.0.0.1:80"));
        let tag = tags.tag("x");
        assert_eq!(read_tag(format!("{tag:016x}").as_bytes()), Some(tag));
        for wrong in ["", "0", "+00000000000000a", "00000000000000aB", "00000000000000000"] {
            assert_eq!(read_tag(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
