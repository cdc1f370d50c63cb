//! The engine's own HTTP/1.1, for the requests that clients of the protocol send all the time: polls,
//! handshakes and upgrades, each arriving in one piece on a connection that is kept alive.
//!
//! It is a short cut, not a server: whatever it does not know, and every other path, goes to hyper
//! together with the bytes that have been read, and hyper serves that connection from then on. What it
//! saves are hyper's buffers, its header map and, for a WebSocket, a write: the answer to the
//! handshake leaves together with the first packet.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{Method, StatusCode};
use sedge_protocol::sid::SessionId;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::application::Application;
use crate::config::Config;
use crate::exchange::answers::poll_answer;
use crate::http::answer::Answer;
use crate::http::body::RequestBody;
use crate::http::head::{Head, Layout, RawHead, Scan};
use crate::http::peer::Peer;
use crate::http::query::EngineQuery;
use crate::limits::ONE_WRITE_MAX;
use crate::net::io::Io;
use crate::net::timed_io::TimedIo;
use crate::shard::Shard;
use crate::shard::farewell::LastWords;
use crate::worker::Worker;
use crate::worker::command::Upgraded;

/// How it ended.
pub(crate) enum End {
    /// The client has gone, or the connection broke.
    Gone,
    /// All is answered, and the answer said that the connection is closed.
    Answered(Io),
    /// The next request, of which the connection has all bytes, is not for this module.
    Other(TimedIo),
    /// The connection is a WebSocket.
    Upgraded(Upgraded),
    /// The next request is for a session of another worker of this host; `read` begins with it.
    Foreign { owner: u8, io: TimedIo, read: Bytes },
}

/// What the bytes that were read begin with.
enum Next {
    Request(Head, RequestBody),
    /// A beginning that says nothing yet.
    Partial,
    /// Not for this module.
    Other,
    /// For a session of this sibling.
    Foreign(u8),
    /// Two lengths of one body: whoever stood in front may have believed the other one.
    Contradiction,
}

/// Serves the requests of a connection, as long as they are of the usual kind.
pub(crate) async fn serve<A: Application>(
    worker: &Rc<Worker<A>>,
    mut io: TimedIo,
    peer: Peer,
    read: Bytes,
) -> End {
    let activity = io.activity();
    // What was read and is not part of a request yet. An idle connection holds no buffer.
    let mut unread = Vec::from(read);
    loop {
        let mut next = take_next(worker, &mut unread);
        while let Next::Partial = next {
            match poll_fn(|cx| poll_next(worker, &mut io, &mut unread, cx)).await {
                Ok(read) => next = read,
                Err(_) => return End::Gone,
            }
        }
        let request = match next {
            Next::Request(head, body) => Some((head, body)),
            Next::Contradiction => None,
            Next::Foreign(owner) => return End::Foreign { owner, io, read: unread.into() },
            Next::Other | Next::Partial => {
                io.put_back(unread.into());
                return End::Other(io);
            }
        };
        let _under_way = activity.begin();
        let answer = match request {
            None => Some(bad_request()),
            Some((head, body)) => {
                let sid = io.is_unix().then(|| session_of(&head)).flatten();
                let answering = pin!(Rc::clone(worker).handle(head, body, peer));
                answer_unless_gone(worker, (&mut io, &mut unread), sid, answering).await
            }
        };
        let Some(mut answer) = answer else { return End::Gone };
        if let Some(ticket) = answer.ticket.take() {
            let (io, answer) = (io.into_inner(), encode(&answer).into());
            return End::Upgraded(Upgraded { ticket, io, answer, early: unread.into() });
        }
        // While the server shuts down, it waits for this.
        let _last_words = LastWords::new();
        if write(&mut io, &answer).await.is_err() {
            return End::Gone;
        }
        let mut said = answer.headers.all(&CONNECTION);
        if said.any(|value| value.as_bytes().eq_ignore_ascii_case(b"close")) {
            return End::Answered(io.into_inner());
        }
    }
}

/// Takes the next request out of what was read before.
fn take_next<A: Application>(worker: &Worker<A>, unread: &mut Vec<u8>) -> Next {
    if unread.is_empty() {
        return Next::Partial;
    }
    let sibling_for = |query: &str| worker.sibling_for(query);
    let (next, taken) = parse(&worker.shard.0.config, sibling_for, unread);
    if taken == unread.len() {
        *unread = Vec::new();
    } else {
        unread.drain(..taken);
    }
    next
}

/// Looks what the bytes begin with, and how many of them are taken with that. `sibling_for` knows whether
/// a query is for a sibling's session.
fn parse(
    config: &Config,
    sibling_for: impl FnOnce(&str) -> Option<u8>,
    bytes: &[u8],
) -> (Next, usize) {
    let local = &config.local;
    let layout = match Layout::scan(bytes) {
        Scan::Head(layout) if layout.len <= local.head_bytes_max => layout,
        Scan::Partial if bytes.len() <= local.head_bytes_max => return (Next::Partial, 0),
        Scan::Head(_) | Scan::Partial | Scan::Other => return (Next::Other, 0),
    };
    let target = layout.target(bytes);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if config.matches(path).is_none() || layout.lines(bytes).count() > local.headers_max {
        return (Next::Other, 0);
    }
    // Whatever the request is like, it is its owner's.
    if let Some(owner) = sibling_for(query) {
        return (Next::Foreign(owner), 0);
    }
    let length = match body_length(&layout, bytes) {
        BodyLength::Known(length) => length,
        BodyLength::Other => return (Next::Other, 0),
        BodyLength::Contradiction => return (Next::Contradiction, bytes.len()),
    };
    // A body that is still on its way is hyper's: it has the deadlines for that.
    let whole = layout.len.checked_add(length);
    let Some(request) = whole.and_then(|whole| bytes.get(..whole)) else {
        return (Next::Other, 0);
    };
    let taken = request.len();
    let request = Bytes::copy_from_slice(request);
    let body = (length > 0).then(|| request.slice(layout.len..));
    let head = Head::Raw(RawHead::new(request, layout));
    (Next::Request(head, RequestBody::Full(body)), taken)
}

enum BodyLength {
    Known(usize),
    /// Something that makes the request hyper's.
    Other,
    Contradiction,
}

/// The length of the body, if the request is of the usual kind (RFC 9112 §6.3).
fn body_length(layout: &Layout, bytes: &[u8]) -> BodyLength {
    if ![Method::GET, Method::POST, Method::OPTIONS].contains(layout.method()) {
        return BodyLength::Other;
    }
    let (mut length, mut encoded, mut other) = (None, false, false);
    for (name, value) in layout.lines(bytes) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            6 if is("expect") => other = true,
            10 if is("connection") => {
                let mut tokens = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                other |= tokens.any(|token| token.eq_ignore_ascii_case(b"close"));
            }
            14 if is("content-length") => {
                other |= length.is_some();
                length = Some(decimal(value));
            }
            17 if is("transfer-encoding") => encoded = true,
            _ => {}
        }
    }
    match (length, encoded) {
        (Some(_), true) => BodyLength::Contradiction,
        (None, false) if !other => BodyLength::Known(0),
        (Some(Some(length)), false) if !other => BodyLength::Known(length),
        _ => BodyLength::Other,
    }
}

/// A number of decimal digits and nothing else.
fn decimal(value: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(value).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Reads what there is, once, and takes the next request out of it.
fn poll_next<A: Application>(
    worker: &Worker<A>,
    io: &mut TimedIo,
    unread: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Next>> {
    poll_read(&worker.shard, io, cx, |read| {
        if !unread.is_empty() {
            unread.extend_from_slice(read);
            return take_next(worker, unread);
        }
        // The usual case: the request is taken right out of the shard's buffer.
        let sibling_for = |query: &str| worker.sibling_for(query);
        let (next, taken) = parse(&worker.shard.0.config, sibling_for, read);
        unread.extend_from_slice(&read[taken..]);
        next
    })
}

/// Reads once, through the shard's buffer. The end of the stream is an error.
fn poll_read<R>(
    shard: &Shard,
    io: &mut TimedIo,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> R,
) -> Poll<io::Result<R>> {
    let mut scratch = shard.take_scratch();
    let mut buffer = ReadBuf::new(&mut scratch.read);
    let polled = Pin::new(io).poll_read(cx, &mut buffer);
    let result = polled.map(|read| match (read, buffer.filled()) {
        (Ok(()), []) => Err(io::ErrorKind::UnexpectedEof.into()),
        (Ok(()), read) => Ok(take(read)),
        (Err(error), _) => Err(error),
    });
    shard.return_scratch(scratch);
    result
}

/// The session that a request names.
fn session_of(head: &Head) -> Option<SessionId> {
    SessionId::parse(EngineQuery::parse(head.query()).sid?.as_bytes())
}

/// Waits for an answer, but no longer than its client does. `None` drops it.
///
/// A sibling that carries this connection and is about to end closes it for writing: it still delivers the
/// answer, which therefore must not wait for long.
async fn answer_unless_gone<A: Application>(
    worker: &Worker<A>,
    (io, unread): (&mut TimedIo, &mut Vec<u8>),
    sid: Option<SessionId>,
    mut answering: Pin<&mut impl Future<Output = Answer>>,
) -> Option<Answer> {
    let mut half_closed = false;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = poll_answer(answering.as_mut(), cx) {
            return Poll::Ready(Some(answer));
        }
        // A client that has sent its next request already is not watched: that request waits in line.
        if unread.is_empty()
            && !half_closed
            && let Poll::Ready(Err(_)) =
                poll_read(&worker.shard, io, cx, |read| unread.extend_from_slice(read))
        {
            half_closed = io.is_half_closed();
            if !half_closed {
                return Poll::Ready(None);
            }
            if let Some(sid) = &sid {
                worker.answer_poll(sid);
            }
        }
        Poll::Pending
    })
    .await
}

async fn write(io: &mut TimedIo, answer: &Answer) -> io::Result<()> {
    let mut bytes = encode(answer);
    let body = &answer.body;
    if body.len() <= ONE_WRITE_MAX {
        bytes.extend_from_slice(body);
        io.write_all(&bytes).await?;
    } else {
        io.write_all(&bytes).await?;
        io.write_all(body).await?;
    }
    io.flush().await
}

/// The head of an answer.
fn encode(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + answer.body.len().min(ONE_WRITE_MAX));
    let status = answer.status;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    let mut line = |name: &str, value: &[u8]| {
        for part in [b"\r\n", name.as_bytes(), b": ", value] {
            out.extend_from_slice(part);
        }
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

fn bad_request() -> Answer {
    let mut answer = Answer::new(StatusCode::BAD_REQUEST, Bytes::new());
    answer.headers.append(CONNECTION, http::HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Next, String) {
        let config = Config::builder().build().unwrap();
        let sibling_for = |query: &str| query.contains("sibling").then_some(7);
        let (next, taken) = parse(&config, sibling_for, text.as_bytes());
        (next, text[taken..].to_owned())
    }

    fn head(lines: &str) -> String {
        format!("POST /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
    }

    #[test]
    fn a_whole_request_is_taken_and_the_next_one_left() {
        let (next, rest) = read(&(head("Content-Length: 3\r\n") + "abcGET"));
        let Next::Request(head, RequestBody::Full(Some(body))) = next else { panic!() };
        assert_eq!((head.method(), head.query()), (&Method::POST, "EIO=4"));
        assert_eq!((&*body, &*rest), (&b"abc"[..], "GET"));
        let (next, rest) = read("GET /socket.io/ HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
        assert!(matches!(next, Next::Request(_, RequestBody::Full(None))) && rest.is_empty());
    }

    #[test]
    fn a_head_is_waited_for_but_not_a_body() {
        let whole = head("Content-Length: 3\r\n");
        for end in 0..whole.len() {
            assert!(matches!(read(&whole[..end]).0, Next::Partial), "{end}");
        }
        for body in ["", "a", "ab"] {
            let (next, rest) = read(&(whole.clone() + body));
            assert!(matches!(next, Next::Other));
            assert_eq!(rest, whole.clone() + body, "hyper gets every byte");
        }
    }

    #[test]
    fn unusual_requests_are_left_to_hyper() {
        for lines in [
            "Connection: close\r\n",
            "Connection: x , Close\r\n",
            "Expect: 100-continue\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length: 18446744073709551615\r\n",
        ] {
            let text = head(lines) + "a";
            let (next, rest) = read(&text);
            assert!(matches!(next, Next::Other) && rest == text, "{lines:?}");
        }
        assert!(matches!(read("HEAD /socket.io/ HTTP/1.1\r\n\r\n").0, Next::Other));
        assert!(matches!(read("GET /other HTTP/1.1\r\n\r\n").0, Next::Other));
    }

    #[test]
    fn two_lengths_are_a_contradiction() {
        let (next, _) = read(&head("Content-Length: 3\r\ntransfer-encoding: chunked\r\n"));
        assert!(matches!(next, Next::Contradiction));
    }

    #[test]
    fn a_head_that_never_ends_is_left_to_hyper() {
        let long = format!("GET /socket.io/ HTTP/1.1\r\na: {}", "b".repeat(20_000));
        assert!(matches!(read(&long).0, Next::Other));
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_when_it_was_made() {
        let text = |answer: &Answer| String::from_utf8(encode(answer)).unwrap();
        let ok = text(&Answer::new(StatusCode::OK, Bytes::from_static(b"ok")));
        assert!(ok.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ndate: "), "{ok}");
        assert!(ok.ends_with(" GMT\r\n\r\n"), "{ok}");
        let switching = Answer::new(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
        assert!(!text(&switching).contains("content-length"));
        let refused = text(&bad_request());
        assert!(refused.contains("\r\nconnection: close\r\ncontent-length: 0\r\n"), "{refused}");
    }
}
