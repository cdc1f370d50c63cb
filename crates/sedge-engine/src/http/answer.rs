//! The engine's answer to a request: lighter than `http::Response`, whose header map costs more than
//! the rest of a poll.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use sedge_protocol::request::head::Invalid;

use super::body::ResponseBody;
use super::ticket::Ticket;
use crate::application::SessionKey;

/// An answer whose body is there in full.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// What becomes of the connection, if it is upgraded.
    pub(crate) ticket: Option<Ticket>,
    /// The session whose packets it carries.
    pub(crate) delivers: Option<SessionKey>,
}

/// Header lines in the order in which they are sent. They are few, so they are searched from the front.
#[derive(Default)]
pub(crate) struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Answer {
    pub(crate) fn new(status: StatusCode, body: Bytes) -> Answer {
        // Most have a type, a cache rule and up to two more.
        let headers = Headers(Vec::with_capacity(4));
        Answer { status, headers, body, ticket: None, delivers: None }
    }

    /// The form that other crates understand, and what it cannot carry.
    pub(crate) fn into_response(self) -> (Response<ResponseBody>, Option<Ticket>) {
        let mut response = Response::new(ResponseBody::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.into_map();
        (response, self.ticket)
    }
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Answer {
        let (parts, body) = response.into_parts();
        let headers = Headers::from_map(&parts.headers);
        Answer { status: parts.status, headers, body, ticket: None, delivers: None }
    }
}

impl Headers {
    /// Sets a header, in place of all its lines.
    pub(crate) fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.retain(|(known, _)| *known != name);
        self.append(name, value);
    }

    /// Adds a line.
    pub(crate) fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// The values of a header's lines.
    pub(crate) fn all(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        self.all(name).next().is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub(crate) fn from_map(map: &HeaderMap) -> Headers {
        Headers(map.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    pub(crate) fn into_map(self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.0.len());
        for (name, value) in self.0 {
            map.append(name, value);
        }
        map
    }
}

/// The answer while the server is full or shutting down.
pub(crate) fn unavailable() -> Answer {
    let body = Bytes::from_static(b"the server takes no new sessions");
    let mut response = Answer::new(StatusCode::SERVICE_UNAVAILABLE, body);
    let headers = &mut response.headers;
    headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.append(RETRY_AFTER, HeaderValue::from_static("1"));
    // The next try may find another server.
    headers.append(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to what is no request.
pub(crate) fn no_request(reason: Invalid) -> Answer {
    tracing::debug!(%reason, "no request");
    let status = match reason {
        Invalid::TooLong | Invalid::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    let mut answer = Answer::new(status, Bytes::new());
    // Where the next one begins, nobody can say.
    answer.headers.append(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The answer where nobody serves a path.
pub(crate) fn not_found() -> Answer {
    let mut response = Answer::new(StatusCode::NOT_FOUND, Bytes::from_static(b"not found"));
    response.headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{SET_COOKIE, VARY};

    #[test]
    fn a_header_is_replaced_or_added_to() {
        let mut headers = Headers::default();
        for value in ["a", "b"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(value));
            headers.insert(VARY, HeaderValue::from_static(value));
        }
        assert_eq!(headers.all(&SET_COOKIE).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(headers.all(&VARY).collect::<Vec<_>>(), ["b"]);
        let map = headers.into_map();
        assert_eq!((map.len(), map.get_all(SET_COOKIE).iter().count()), (3, 2));
        assert!(Headers::from_map(&map).contains(&VARY));
    }
}
