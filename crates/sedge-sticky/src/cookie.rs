//! Cookies that tie a client to a target: the one of Engine.IO, whose value is the session id, or one
//! that the balancer gives out itself.
//!
//! The value of the latter stands for the target's name without showing it: 16 hexadecimal digits
//! made with the secret. Every balancer with the same secret and names gives the same, before and
//! after a restart. Somebody who copies another's cookie gets to that target, and nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher24;
use thiserror::Error;

use crate::head::{Head, trim};

/// Which cookie is routed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieKey {
    /// One that the servers set, whose value is the session id: usually `io`.
    SessionId {
        /// The cookie's name.
        name: String,
    },
    /// One that the balancer gives out.
    Sticky(StickyCookie),
}

/// A cookie that the balancer gives out. The defaults give
/// `NAME=VALUE; Path=/; HttpOnly; SameSite=Lax`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    name: String,
    path: Option<String>,
    domain: Option<String>,
    max_age: Option<Duration>,
    http_only: bool,
    secure: bool,
    same_site: Option<SameSite>,
}

/// With which requests from other sites browsers send the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With navigations only.
    Lax,
    /// With all; the cookie must be [secure](StickyCookie::secure).
    None,
}

/// Why a cookie cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CookieError {
    /// The name is empty, or has a character that no cookie's name may have.
    #[error("a cookie's name must be of letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    /// The path does not begin with a slash, or has a character that would end it.
    #[error("a cookie's path must begin with / and be printable without ;")]
    Path,
    /// The domain is empty, or has a character that no host name has.
    #[error("a cookie's domain must be of letters, digits, dots and hyphens")]
    Domain,
    /// Browsers refuse it.
    #[error("SameSite=None and names with __Secure- or __Host- need Secure")]
    NeedsSecure,
    /// Browsers refuse it.
    #[error("names with __Host- need Path=/ and no Domain")]
    NeedsHost,
}

impl StickyCookie {
    /// A cookie of this name with the default attributes.
    pub fn new(name: impl Into<String>) -> StickyCookie {
        StickyCookie {
            name: name.into(),
            path: Some("/".to_owned()),
            domain: None,
            max_age: None,
            http_only: true,
            secure: false,
            same_site: Some(SameSite::Lax),
        }
    }

    /// The path below which browsers send it, default `/`. `None` is the directory of the request's
    /// path.
    pub fn path(mut self, path: impl Into<Option<String>>) -> Self {
        self.path = path.into();
        self
    }

    /// The domain whose hosts get it; default none: only the host that set it.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// How long browsers keep it, in whole seconds; default: until the browser ends.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Whether scripts cannot read it, default true.
    pub fn http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// Whether it is sent over TLS only, default false.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// See [`SameSite`], default `Lax`. Without it browsers decide.
    pub fn same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.same_site = same_site.into();
        self
    }

    /// The value of `Set-Cookie` for a target's tag.
    pub(crate) fn text(&self, tag: u64) -> String {
        let mut text = format!("{}={tag:016x}", self.name);
        // Writing to a String cannot fail.
        if let Some(age) = self.max_age {
            let _ = write!(text, "; Max-Age={}", age.as_secs());
        }
        if let Some(domain) = &self.domain {
            let _ = write!(text, "; Domain={domain}");
        }
        if let Some(path) = &self.path {
            let _ = write!(text, "; Path={path}");
        }
        text.push_str(if self.http_only { "; HttpOnly" } else { "" });
        text.push_str(if self.secure { "; Secure" } else { "" });
        text.push_str(match self.same_site {
            None => "",
            Some(SameSite::Strict) => "; SameSite=Strict",
            Some(SameSite::Lax) => "; SameSite=Lax",
            Some(SameSite::None) => "; SameSite=None",
        });
        text
    }

    fn validate(&self) -> Result<(), CookieError> {
        validate_name(&self.name)?;
        let path = |path: &String| {
            path.starts_with('/')
                && path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
        };
        if !self.path.as_ref().is_none_or(path) {
            return Err(CookieError::Path);
        }
        let host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if !self.domain.as_ref().is_none_or(|text| !text.is_empty() && text.bytes().all(host)) {
            return Err(CookieError::Domain);
        }
        let prefixed = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|name| name.eq_ignore_ascii_case(prefix))
        };
        let secure =
            self.same_site == Some(SameSite::None) || prefixed("__Secure-") || prefixed("__Host-");
        if secure && !self.secure {
            return Err(CookieError::NeedsSecure);
        }
        if prefixed("__Host-") && (self.path.as_deref() != Some("/") || self.domain.is_some()) {
            return Err(CookieError::NeedsHost);
        }
        Ok(())
    }
}

fn validate_name(name: &str) -> Result<(), CookieError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) { Err(CookieError::Name) } else { Ok(()) }
}

impl CookieKey {
    pub(crate) fn validate(&self) -> Result<(), CookieError> {
        match self {
            CookieKey::SessionId { name } => validate_name(name),
            CookieKey::Sticky(cookie) => cookie.validate(),
        }
    }

    fn name(&self) -> &str {
        match self {
            CookieKey::SessionId { name } => name,
            CookieKey::Sticky(cookie) => &cookie.name,
        }
    }

    /// The values of this cookie that a request brings; with several paths there can be more than one.
    pub(crate) fn values<'a>(&self, head: &Head<'a>) -> impl Iterator<Item = &'a [u8]> {
        let name = self.name().as_bytes();
        head.values("cookie").flat_map(|line| line.split(|&byte| byte == b';')).filter_map(
            move |pair| {
                let value = trim(pair).strip_prefix(name)?.strip_prefix(b"=")?;
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
    use crate::head::{State, parse};

    #[test]
    fn all_attributes_are_written() {
        let cookie = StickyCookie::new("node");
        assert_eq!(cookie.text(0xab), "node=00000000000000ab; Path=/; HttpOnly; SameSite=Lax");
        let cookie = cookie
            .path("/chat".to_owned())
            .domain("example.com")
            .max_age(Duration::from_millis(90_500))
            .http_only(false)
            .secure(true)
            .same_site(SameSite::None);
        assert_eq!(
            cookie.text(u64::MAX),
            "node=ffffffffffffffff; Max-Age=90; Domain=example.com; Path=/chat; Secure; SameSite=None"
        );
        let bare = StickyCookie::new("n").path(None).same_site(None).http_only(false);
        assert_eq!(bare.text(1), "n=0000000000000001");
    }

    #[test]
    fn what_browsers_would_refuse_is_refused() {
        let cookie = StickyCookie::new;
        for (wrong, error) in [
            (cookie(""), CookieError::Name),
            (cookie("a b"), CookieError::Name),
            (cookie("a;b"), CookieError::Name),
            (cookie("a").path("x".to_owned()), CookieError::Path),
            (cookie("a").path("/;Secure".to_owned()), CookieError::Path),
            (cookie("a").path("/\r\n".to_owned()), CookieError::Path),
            (cookie("a").domain(""), CookieError::Domain),
            (cookie("a").domain("a;b"), CookieError::Domain),
            (cookie("a").same_site(SameSite::None), CookieError::NeedsSecure),
            (cookie("__Secure-a"), CookieError::NeedsSecure),
            (cookie("__host-a").secure(true).domain("a.b"), CookieError::NeedsHost),
        ] {
            assert_eq!(CookieKey::Sticky(wrong.clone()).validate(), Err(error), "{wrong:?}");
        }
        assert_eq!(CookieKey::Sticky(cookie("__Host-a").secure(true)).validate(), Ok(()));
        assert_eq!(CookieKey::SessionId { name: "i=o".into() }.validate(), Err(CookieError::Name));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let text = "GET / HTTP/1.1\r\nCookie: xio=1; io=2;io = 3\r\nX-Cookie: io=4\r\ncookie:io=\"5\"; IO=6; io\r\n\r\n";
        let State::Complete { head, .. } = parse(text.as_bytes()) else { panic!() };
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
