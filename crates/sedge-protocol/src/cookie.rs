//! Cookies that an answer sets, in the form the npm package `cookie` gives them in the official server:
//! the one whose value is the session id, and those that balancers route by.

use std::fmt::Write as _;
use std::time::Duration;

use thiserror::Error;

/// A cookie without its value. Where that is the session id, balancers can route by it; nothing else
/// should, since who has the session id has the session.
///
/// The defaults give `io=VALUE; Path=/; HttpOnly; SameSite=Lax`. There is no `Expires`, a fixed
/// date being of no use to a server: [`max_age`](Cookie::max_age) takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    path: Option<String>,
    domain: Option<String>,
    max_age: Option<Duration>,
    http_only: bool,
    secure: bool,
    partitioned: bool,
    same_site: Option<SameSite>,
}

/// With which requests from other sites browsers send the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With navigations only.
    Lax,
    /// With all; the cookie must be [secure](Cookie::secure).
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Cookie::new("io")
    }
}

impl Cookie {
    /// A cookie of this name with the default attributes. The official name is `io`.
    pub fn new(name: impl Into<String>) -> Cookie {
        Cookie {
            name: name.into(),
            path: Some("/".to_owned()),
            domain: None,
            max_age: None,
            http_only: true,
            secure: false,
            partitioned: false,
            same_site: Some(SameSite::Lax),
        }
    }

    /// The path below which browsers send it, default `/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Leaves the path out: browsers then take the directory of the request's path.
    pub fn without_path(mut self) -> Self {
        self.path = None;
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

    /// Whether it is kept apart for each site that embeds the page (CHIPS), default false. It must be
    /// secure.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// See [`SameSite`], default `Lax`. Without it browsers decide.
    pub fn same_site(mut self, same_site: impl Into<Option<SameSite>>) -> Self {
        self.same_site = same_site.into();
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Validates the cookie and puts together everything but its value.
    pub fn compile(&self) -> Result<SetCookie, CookieError> {
        self.validate()?;
        let mut tail = String::new();
        // Writing to a String cannot fail.
        if let Some(age) = self.max_age {
            let _ = write!(tail, "; Max-Age={}", age.as_secs());
        }
        if let Some(domain) = &self.domain {
            let _ = write!(tail, "; Domain={domain}");
        }
        if let Some(path) = &self.path {
            let _ = write!(tail, "; Path={path}");
        }
        let flags = [
            (self.http_only, "; HttpOnly"),
            (self.secure, "; Secure"),
            (self.partitioned, "; Partitioned"),
            (self.same_site == Some(SameSite::Strict), "; SameSite=Strict"),
            (self.same_site == Some(SameSite::Lax), "; SameSite=Lax"),
            (self.same_site == Some(SameSite::None), "; SameSite=None"),
        ];
        for (_, text) in flags.into_iter().filter(|(on, _)| *on) {
            tail.push_str(text);
        }
        Ok(SetCookie { head: format!("{}=", self.name).into(), tail: tail.into() })
    }

    fn validate(&self) -> Result<(), CookieError> {
        // RFC 6265 §4.1.1: the name is a token of HTTP.
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Err(CookieError::Name(self.name.clone()));
        }
        if let Some(path) = &self.path {
            // path-value: any printable ASCII but the semicolon. Browsers ignore a relative path.
            let valid = path.bytes().all(|b| matches!(b, b' '..=b'~') && b != b';');
            if !valid || !path.starts_with('/') {
                return Err(CookieError::Path(path.clone()));
            }
        }
        if let Some(domain) = &self.domain
            && !is_domain(domain)
        {
            return Err(CookieError::Domain(domain.clone()));
        }
        let prefixed = |prefix: &str| {
            self.name.get(..prefix.len()).is_some_and(|name| name.eq_ignore_ascii_case(prefix))
        };
        if !self.secure {
            if self.same_site == Some(SameSite::None) {
                return Err(CookieError::NeedsSecure("SameSite=None"));
            }
            if self.partitioned {
                return Err(CookieError::NeedsSecure("Partitioned"));
            }
            // RFC 6265bis §4.1.3: browsers refuse the prefixed names otherwise.
            if prefixed("__Secure-") || prefixed("__Host-") {
                return Err(CookieError::NeedsSecure(
                    "a name with the prefix __Secure- or __Host-",
                ));
            }
        }
        let at_root = self.path.as_deref() == Some("/") && self.domain.is_none();
        if prefixed("__Host-") && !at_root {
            return Err(CookieError::HostPrefix);
        }
        Ok(())
    }
}

/// A valid cookie that lacks only its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie {
    /// The name and `=`.
    head: Box<str>,
    /// The attributes.
    tail: Box<str>,
}

impl SetCookie {
    /// The value of the `Set-Cookie` header. The cookie's value must be of letters, digits, `-` and `_`, as
    /// session ids are; `None` if it has other characters.
    pub fn with(&self, value: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        value.bytes().all(plain).then(|| [&*self.head, value, &*self.tail].concat())
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Labels of letters, digits and inner hyphens, at most 63 bytes each, after an optional dot.
fn is_domain(domain: &str) -> bool {
    domain.strip_prefix('.').unwrap_or(domain).split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// What is wrong with a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The name is not a token of HTTP.
    #[error("the name {0:?} must consist of letters, digits and any of !#$%&'*+-.^_`|~")]
    Name(String),
    /// The path is not one.
    #[error("the path {0:?} must begin with '/' and have no control characters and no ';'")]
    Path(String),
    /// The domain is not one.
    #[error("the domain {0:?} must be labels of letters, digits and inner hyphens")]
    Domain(String),
    /// Browsers refuse the cookie if it is not secure.
    #[error("{0} needs `secure(true)`, or browsers refuse the cookie")]
    NeedsSecure(&'static str),
    /// Browsers refuse a `__Host-` cookie that is wider than its host.
    #[error("a name with the prefix __Host- needs the path \"/\" and no domain")]
    HostPrefix,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "AAECAwQFBgcICQoLDA0-_w";

    fn header(cookie: &Cookie) -> String {
        cookie.compile().unwrap().with(SID).unwrap()
    }

    /// The expected texts are what the npm package `cookie` 0.7.2 printed for the same options.
    #[test]
    fn the_format_is_that_of_the_npm_package() {
        let sid = SID;
        assert_eq!(header(&Cookie::default()), format!("io={sid}; Path=/; HttpOnly; SameSite=Lax"));
        let all = Cookie::new("my.io")
            .path("/a b")
            .domain("Example.com")
            .max_age(Duration::from_millis(86_400_999))
            .secure(true)
            .partitioned(true)
            .same_site(SameSite::None);
        assert_eq!(
            header(&all),
            format!(
                "my.io={sid}; Max-Age=86400; Domain=Example.com; Path=/a b; HttpOnly; Secure; \
                 Partitioned; SameSite=None"
            )
        );
        let bare = Cookie::new("io").without_path().http_only(false).same_site(None);
        assert_eq!(header(&bare), format!("io={sid}"));
        let strict = Cookie::new("io").max_age(Duration::ZERO).same_site(SameSite::Strict);
        assert_eq!(
            header(&strict),
            format!("io={sid}; Max-Age=0; Path=/; HttpOnly; SameSite=Strict")
        );
    }

    #[test]
    fn what_browsers_would_refuse_is_an_error() {
        let error = |cookie: Cookie| cookie.compile().unwrap_err();
        for name in ["", "a b", "a=b", "a;b", "é", "a\n"] {
            assert_eq!(error(Cookie::new(name)), CookieError::Name(name.to_owned()));
        }
        for path in ["", "relative", "/a;b", "/\n", "/é"] {
            assert_eq!(error(Cookie::new("io").path(path)), CookieError::Path(path.to_owned()));
        }
        for domain in ["", "a..b", "-a.b", "a_b", "a.b;", "."] {
            let cookie = Cookie::new("io").domain(domain);
            assert_eq!(error(cookie), CookieError::Domain(domain.to_owned()));
        }
        assert!(Cookie::new("io").domain(".a-b.example").compile().is_ok());
        let none = Cookie::new("io").same_site(SameSite::None);
        assert_eq!(error(none), CookieError::NeedsSecure("SameSite=None"));
        let partitioned = Cookie::new("io").partitioned(true);
        assert_eq!(error(partitioned), CookieError::NeedsSecure("Partitioned"));
        assert!(matches!(error(Cookie::new("__Host-io")), CookieError::NeedsSecure(_)));
        let wide = Cookie::new("__Host-io").secure(true).domain("example.com");
        assert_eq!(error(wide), CookieError::HostPrefix);
        let wide = Cookie::new("__host-io").secure(true).path("/chat");
        assert_eq!(error(wide), CookieError::HostPrefix);
        assert!(Cookie::new("__Host-io").secure(true).compile().is_ok());
    }

    #[test]
    fn a_value_cannot_break_out_of_the_header() {
        let cookie = Cookie::default().compile().unwrap();
        for value in ["a\r\nb", "a;b", "a b", "\u{e9}"] {
            assert_eq!(cookie.with(value), None);
        }
    }
}
