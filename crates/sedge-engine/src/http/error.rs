//! The errors a client is told when a request is refused: the codes of the Engine.IO protocol, with
//! the exact bodies of the official server.

use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

/// Why a request was refused; the number is part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// The `transport` parameter is missing or names none that is enabled.
    TransportUnknown = 0,
    /// The `sid` parameter names no live session.
    SessionIdUnknown = 1,
    /// A session can only be opened with GET.
    BadHandshakeMethod = 2,
    /// The request contradicts its session or itself;
    /// [`ErrorContext`](crate::hooks::ErrorContext) says how.
    BadRequest = 3,
    /// The `allow_request` hook said no.
    Forbidden = 4,
    /// The client speaks version 3 of the protocol and the server does not allow it.
    UnsupportedProtocolVersion = 5,
}

impl ErrorCode {
    /// All codes, for tables of counters.
    pub const ALL: [ErrorCode; 6] = [
        ErrorCode::TransportUnknown,
        ErrorCode::SessionIdUnknown,
        ErrorCode::BadHandshakeMethod,
        ErrorCode::BadRequest,
        ErrorCode::Forbidden,
        ErrorCode::UnsupportedProtocolVersion,
    ];

    /// The official wording.
    pub const fn message(self) -> &'static str {
        match self {
            ErrorCode::TransportUnknown => "Transport unknown",
            ErrorCode::SessionIdUnknown => "Session ID unknown",
            ErrorCode::BadHandshakeMethod => "Bad handshake method",
            ErrorCode::BadRequest => "Bad request",
            ErrorCode::Forbidden => "Forbidden",
            ErrorCode::UnsupportedProtocolVersion => "Unsupported protocol version",
        }
    }

    /// The status of the answer to a polling request. A refused WebSocket handshake is always 400.
    pub const fn http_status(self) -> StatusCode {
        match self {
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of the answer, where no other message takes the place of [`message`](Self::message).
    pub const fn json(self) -> &'static str {
        match self {
            ErrorCode::TransportUnknown => r#"{"code":0,"message":"Transport unknown"}"#,
            ErrorCode::SessionIdUnknown => r#"{"code":1,"message":"Session ID unknown"}"#,
            ErrorCode::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            ErrorCode::BadRequest => r#"{"code":3,"message":"Bad request"}"#,
            ErrorCode::Forbidden => r#"{"code":4,"message":"Forbidden"}"#,
            ErrorCode::UnsupportedProtocolVersion => {
                r#"{"code":5,"message":"Unsupported protocol version"}"#
            }
        }
    }

    /// The answer to a refused polling request. `refusal` is the text of the `allow_request` hook;
    /// an empty one counts as none.
    pub(crate) fn polling_response(self, refusal: Option<&str>) -> Response<Bytes> {
        let body = match refusal {
            Some(text) if !text.is_empty() => Bytes::from(json_with_message(self, text)),
            _ => Bytes::from_static(self.json().as_bytes()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.http_status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The answer to a refused WebSocket handshake, after which the connection is closed. Its body
    /// is the bare message. No browser renders it, `text/html` or not: a page cannot be navigated to
    /// with an `Upgrade` header.
    pub(crate) fn upgrade_response(self, refusal: Option<&str>) -> Response<Bytes> {
        let body = match refusal {
            Some(text) if !text.is_empty() => Bytes::copy_from_slice(text.as_bytes()),
            _ => Bytes::from_static(self.message().as_bytes()),
        };
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        headers.insert(CONTENT_LENGTH, length);
        response
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

fn json_with_message(code: ErrorCode, message: &str) -> String {
    let mut json = String::with_capacity(message.len() + 32);
    json.push_str("{\"code\":");
    json.push((b'0' + code as u8) as char);
    json.push_str(",\"message\":");
    push_json_string(&mut json, message);
    json.push('}');
    json
}

/// Appends a JSON string with the escapes `JSON.stringify` chooses.
fn push_json_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\0'..='\u{1f}' => {
                // Writing to a String cannot fail.
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bodies_are_the_official_ones() {
        for (number, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, number);
            assert_eq!(code.json(), json_with_message(code, code.message()));
            let response = code.polling_response(None);
            assert_eq!(response.body(), code.json());
            assert_eq!(response.headers()["content-type"], "application/json");
            assert_eq!(response.status(), if number == 4 { 403 } else { 400 });
        }
        assert_eq!(
            ErrorCode::SessionIdUnknown.json(),
            r#"{"code":1,"message":"Session ID unknown"}"#
        );
    }

    #[test]
    fn a_refusal_is_quoted_as_json_stringify_does() {
        let refusal = "say \"no\" \\ \n\r\t\u{8}\u{c}\u{1}\u{7f}\u{2028}é😀</script>";
        let response = ErrorCode::Forbidden.polling_response(Some(refusal));
        assert_eq!(response.status(), 403);
        let expected = "{\"code\":4,\"message\":\"say \\\"no\\\" \\\\ \\n\\r\\t\\b\\f\\u0001\u{7f}\u{2028}é😀</script>\"}";
        assert_eq!(response.body(), expected);
        assert_eq!(
            ErrorCode::Forbidden.polling_response(Some("")).body(),
            ErrorCode::Forbidden.json()
        );
    }

    #[test]
    fn a_refused_handshake_is_a_400_that_closes() {
        let response = ErrorCode::Forbidden.upgrade_response(Some("go away"));
        assert_eq!(response.status(), 400);
        assert_eq!(response.body(), "go away");
        assert_eq!(response.headers()["connection"], "close");
        assert_eq!(response.headers()["content-length"], "7");
        assert_eq!(response.headers()["content-type"], "text/html");
        let response = ErrorCode::TransportUnknown.upgrade_response(None);
        assert_eq!(response.body(), "Transport unknown");
    }
}
