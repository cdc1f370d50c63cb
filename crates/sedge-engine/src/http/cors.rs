//! Cross-origin resource sharing, with the rules of the npm package `cors` that the official server
//! uses, precomputed as header values.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_LENGTH, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue};
use thiserror::Error;

use super::answer::Headers;
use super::head::Head;

/// What pages of other origins may do.
///
/// ```
/// use sedge_engine::Cors;
/// let cors = Cors::origins(["https://example.com", "https://admin.example.com"]).credentials(true);
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    origin: CorsOrigin,
    methods: Vec<String>,
    allowed_headers: Option<Vec<String>>,
    exposed_headers: Vec<String>,
    credentials: bool,
    max_age: Option<Duration>,
}

/// The origins that are allowed.
#[derive(Clone)]
pub enum CorsOrigin {
    /// Every origin, as `*`.
    Any,
    /// The origin of the request, whatever it is (`origin: true`). Together with credentials every
    /// page of the web can then act as the user.
    Mirror,
    /// One origin, which is always named in responses, whoever asks (`origin: "…"`).
    Fixed(String),
    /// The request's origin if it is one of these (`origin: ["…"]`).
    List(Vec<String>),
    /// The request's origin if the function says so, as the regular expressions and functions of the
    /// official option do.
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl fmt::Debug for CorsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CorsOrigin::Any => f.write_str("Any"),
            CorsOrigin::Mirror => f.write_str("Mirror"),
            CorsOrigin::Fixed(origin) => f.debug_tuple("Fixed").field(origin).finish(),
            CorsOrigin::List(origins) => f.debug_tuple("List").field(origins).finish(),
            CorsOrigin::Predicate(_) => f.write_str("Predicate"),
        }
    }
}

impl Cors {
    /// Rules for these origins: the methods GET, HEAD, PUT, PATCH, POST and DELETE, whatever headers
    /// the request asks for, and no credentials.
    pub fn new(origin: CorsOrigin) -> Cors {
        Cors {
            origin,
            methods: ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"].map(String::from).to_vec(),
            allowed_headers: None,
            exposed_headers: Vec::new(),
            credentials: false,
            max_age: None,
        }
    }

    /// Every origin is allowed, without credentials (`origin: "*"`).
    pub fn any() -> Cors {
        Cors::new(CorsOrigin::Any)
    }

    /// Every origin is allowed and named back (`origin: true`); see [`CorsOrigin::Mirror`].
    pub fn mirror() -> Cors {
        Cors::new(CorsOrigin::Mirror)
    }

    /// One origin is allowed, such as `https://example.com` (`origin: "…"`). `*` means any.
    pub fn origin(origin: impl Into<String>) -> Cors {
        let origin = origin.into();
        Cors::new(if origin == "*" { CorsOrigin::Any } else { CorsOrigin::Fixed(origin) })
    }

    /// Several origins are allowed (`origin: ["…", …]`).
    pub fn origins(origins: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        Cors::new(CorsOrigin::List(origins.into_iter().map(Into::into).collect()))
    }

    /// The origins are allowed for which the function returns true.
    pub fn matching(predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> Cors {
        Cors::new(CorsOrigin::Predicate(Arc::new(predicate)))
    }

    /// The methods a preflight allows (`methods`).
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.methods = methods.into_iter().map(Into::into).collect();
        self
    }

    /// The request headers a preflight allows (`allowedHeaders`); default: those it asks for.
    pub fn allowed_headers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allowed_headers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The response headers that scripts may read (`exposedHeaders`), default none.
    pub fn exposed_headers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.exposed_headers = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether requests may carry cookies (`credentials`), default false. Not together with
    /// [`any`](Cors::any).
    pub fn credentials(mut self, credentials: bool) -> Self {
        self.credentials = credentials;
        self
    }

    /// How long browsers may remember a preflight, in whole seconds (`maxAge`); default: as they
    /// like, mostly 5 s.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Validates the rules and precomputes the header values.
    pub(crate) fn compile(&self) -> Result<CorsPolicy, CorsError> {
        let origin = match &self.origin {
            CorsOrigin::Any if self.credentials => return Err(CorsError::CredentialsForAny),
            CorsOrigin::Any => AllowOrigin::Any,
            CorsOrigin::Mirror => AllowOrigin::Mirror,
            CorsOrigin::Fixed(origin) => AllowOrigin::Fixed(origin_value(origin)?),
            CorsOrigin::List(origins) if origins.is_empty() => return Err(CorsError::NoOrigin),
            CorsOrigin::List(origins) => {
                let values: Result<_, _> = origins.iter().map(|o| origin_value(o)).collect();
                AllowOrigin::List(values?)
            }
            CorsOrigin::Predicate(predicate) => AllowOrigin::Predicate(Arc::clone(predicate)),
        };
        // The package sends the methods even if there are none, which no browser can use.
        let methods = token_list(&self.methods)?.ok_or(CorsError::NoMethod)?;
        let allowed_headers = match &self.allowed_headers {
            None => AllowHeaders::Mirror,
            Some(names) => AllowHeaders::Fixed(token_list(names)?),
        };
        Ok(CorsPolicy {
            origin,
            methods,
            allowed_headers,
            exposed_headers: token_list(&self.exposed_headers)?,
            credentials: self.credentials,
            max_age: self.max_age.map(|age| HeaderValue::from(age.as_secs())),
        })
    }
}

/// The origin as browsers would send it: anything else would silently match nothing.
fn origin_value(origin: &str) -> Result<HeaderValue, CorsError> {
    let invalid = || CorsError::Origin(origin.to_owned());
    let host = match origin.split_once("://") {
        _ if origin == "null" => "",
        Some((scheme, host)) if !scheme.is_empty() => host,
        _ => return Err(invalid()),
    };
    let plain = origin.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
    if !plain || host.contains(['/', '?', '#', '*', ',']) {
        return Err(invalid());
    }
    HeaderValue::from_str(origin).map_err(|_| invalid())
}

/// The names separated by commas, as the package joins them; `None` if there are none.
fn token_list(names: &[String]) -> Result<Option<HeaderValue>, CorsError> {
    for name in names {
        // Header names, methods and `*` are all tokens of HTTP.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err(CorsError::Name(name.clone()));
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_str(&names.join(",")).map(Some).map_err(|_| CorsError::Name(names.join(",")))
}

/// What is wrong with CORS rules.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CorsError {
    /// Browsers refuse `*` for requests with credentials.
    #[error(
        "credentials need named origins: browsers refuse the answer `*` to a request with cookies \
         (the official server silently sends both); use `Cors::origins`, `matching` or `mirror`"
    )]
    CredentialsForAny,
    /// No origin is allowed.
    #[error("the list of origins is empty, so no page could connect; leave CORS out instead")]
    NoOrigin,
    /// No method is allowed.
    #[error("the list of methods is empty, so no page could send anything")]
    NoMethod,
    /// No browser sends such an origin.
    #[error(
        "{0:?} is not an origin: it must look like `https://example.com` or `http://localhost:8080`, in \
         lower case, without a path, a slash at the end or wildcards (use `Cors::any` or \
         `Cors::matching` for those), or be `null`"
    )]
    Origin(String),
    /// A header or method name that is none.
    #[error("{0:?} is not the name of a header or method")]
    Name(String),
}

/// Valid rules.
#[derive(Clone)]
pub(crate) struct CorsPolicy {
    origin: AllowOrigin,
    methods: HeaderValue,
    allowed_headers: AllowHeaders,
    exposed_headers: Option<HeaderValue>,
    credentials: bool,
    max_age: Option<HeaderValue>,
}

#[derive(Clone)]
enum AllowOrigin {
    Any,
    Mirror,
    Fixed(HeaderValue),
    List(Box<[HeaderValue]>),
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

#[derive(Clone)]
enum AllowHeaders {
    Mirror,
    Fixed(Option<HeaderValue>),
}

impl fmt::Debug for CorsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorsPolicy")
            .field("methods", &self.methods)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl CorsPolicy {
    /// The headers of the answer to an OPTIONS request, which has the status 204 and no body. It is
    /// given before anything else about the request is looked at.
    pub(crate) fn preflight(&self, request: &Head) -> Headers {
        let mut response = Headers::default();
        self.apply(request.get(&ORIGIN), &mut response);
        response.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        let allowed = match &self.allowed_headers {
            AllowHeaders::Fixed(names) => names.clone(),
            AllowHeaders::Mirror => {
                add_vary(&mut response, "Access-Control-Request-Headers");
                let names = request.list(&ACCESS_CONTROL_REQUEST_HEADERS);
                names
                    .filter(|names| !names.is_empty())
                    .and_then(|names| HeaderValue::from_str(&names).ok())
            }
        };
        insert(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, allowed.as_ref());
        insert(&mut response, ACCESS_CONTROL_MAX_AGE, self.max_age.as_ref());
        // Some browsers wait for a body without it, says the package.
        response.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        response
    }

    /// Adds what every other response needs, errors included. `origin` is the request's.
    pub(crate) fn apply(&self, origin: Option<&[u8]>, response: &mut Headers) {
        let asking = origin.filter(|origin| !origin.is_empty());
        let asking = asking.and_then(|origin| HeaderValue::from_bytes(origin).ok());
        let asking = asking.as_ref();
        let allowed = match &self.origin {
            AllowOrigin::Any => Some(&ANY),
            AllowOrigin::Mirror => asking,
            AllowOrigin::Fixed(origin) => Some(origin),
            AllowOrigin::List(origins) => asking.filter(|asking| origins.contains(asking)),
            AllowOrigin::Predicate(allows) => {
                asking.filter(|asking| asking.to_str().is_ok_and(|origin| allows(origin)))
            }
        };
        insert(response, ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if !matches!(self.origin, AllowOrigin::Any) {
            add_vary(response, "Origin");
        }
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        insert(response, ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed_headers.as_ref());
    }
}

static ANY: HeaderValue = HeaderValue::from_static("*");

fn insert(headers: &mut Headers, name: HeaderName, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value.clone());
    }
}

/// Says that a response depends on a request header: the name joins those in `Vary`, unless it is
/// there or the response depends on everything (`*`) already.
pub(crate) fn add_vary(headers: &mut Headers, field: &'static str) {
    let named = |value: &HeaderValue| {
        value.to_str().is_ok_and(|names| {
            names.split(',').map(str::trim).any(|n| n == "*" || n.eq_ignore_ascii_case(field))
        })
    };
    if headers.all(&VARY).any(named) {
        return;
    }
    let joined = headers
        .all(&VARY)
        .next()
        .and_then(|value| value.to_str().ok())
        .filter(|_| headers.all(&VARY).count() == 1)
        .and_then(|names| HeaderValue::from_str(&format!("{names}, {field}")).ok());
    match joined {
        Some(value) => {
            headers.insert(VARY, value);
        }
        // None yet, or several lines, among which one more does no harm.
        None => {
            headers.append(VARY, HeaderValue::from_static(field));
        }
    }
}

#[cfg(test)]
mod tests;
