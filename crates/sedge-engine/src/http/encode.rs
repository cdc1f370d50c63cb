//! The head of an answer as it is written.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::CONTENT_LENGTH;

use super::answer::Answer;
use crate::limits::ONE_WRITE_MAX;

/// The head of an answer.
pub(crate) fn encode(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + answer.body.len().min(ONE_WRITE_MAX));
    let status = answer.status;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    let mut line = |name: &str, value: &[u8]| {
        out.extend_from_slice(b"\r\n");
        put_name(&mut out, name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
    };
    for (name, value) in answer.headers.iter() {
        line(name.as_str(), value.as_bytes());
    }
    let has_body = !matches!(status.as_u16(), 100..=199 | 204 | 304);
    if has_body && !answer.headers.contains(&CONTENT_LENGTH) {
        line(CONTENT_LENGTH.as_str(), itoa::Buffer::new().format(answer.body.len()).as_bytes());
    }
    with_date(|date| line("date", date));
    out.extend_from_slice(b"\r\n\r\n");
    out
}

/// Names of which other letters are large than the first of each word.
const CUSTOMARY: [&str; 8] = [
    "ETag",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "WWW-Authenticate",
    "X-XSS-Protection",
];

/// Appends a header name, which is in small letters, as it is usually written. It makes no difference, but
/// to clients that compare names exactly.
fn put_name(out: &mut Vec<u8>, name: &str) {
    if let Some(b'e' | b's' | b'w' | b'x') = name.as_bytes().first()
        && let Some(known) = CUSTOMARY.iter().find(|known| known.eq_ignore_ascii_case(name))
    {
        return out.extend_from_slice(known.as_bytes());
    }
    let begin = out.len();
    out.extend_from_slice(name.as_bytes());
    let mut is_first = true;
    for byte in out.iter_mut().skip(begin) {
        if is_first {
            byte.make_ascii_uppercase();
        }
        is_first = *byte == b'-';
    }
}

/// The current date in HTTP's form, made anew once a second.
fn with_date<R>(f: impl FnOnce(&[u8]) -> R) -> R {
    thread_local! {
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    DATE.with_borrow_mut(|(made, date)| {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if second != *made || date.is_empty() {
            (*made, *date) = (second, httpdate::fmt_http_date(now));
        }
        f(date.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::{ETAG, SEC_WEBSOCKET_ACCEPT, SET_COOKIE};
    use http::{HeaderName, HeaderValue, StatusCode};

    use super::*;
    use crate::http::answer::no_request;

    #[test]
    fn an_answer_says_how_long_it_is_and_when_it_was_made() {
        let text = |answer: &Answer| String::from_utf8(encode(answer)).unwrap();
        let ok = text(&Answer::new(StatusCode::OK, Bytes::from_static(b"ok")));
        assert!(ok.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: "), "{ok}");
        assert!(ok.ends_with(" GMT\r\n\r\n"), "{ok}");
        let switching = Answer::new(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
        assert!(!text(&switching).contains("Content-Length"));
        let refused = text(&no_request(sedge_protocol::request::Refusal::NoHost.into()));
        assert!(refused.contains("\r\nConnection: close\r\nContent-Length: 0\r\n"), "{refused}");
    }

    #[test]
    fn names_are_written_as_usual() {
        let mut answer = Answer::new(StatusCode::OK, Bytes::new());
        let own = HeaderName::from_static("x-my-header");
        for name in [ETAG, SEC_WEBSOCKET_ACCEPT, SET_COOKIE, own] {
            answer.headers.append(name, HeaderValue::from_static("a"));
        }
        let text = String::from_utf8(encode(&answer)).unwrap();
        let names: Vec<_> = text.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
        let expected =
            ["ETag", "Sec-WebSocket-Accept", "Set-Cookie", "X-My-Header", "Content-Length", "Date"];
        assert_eq!(names, expected);
    }
}
