//! The engine's own HTTP/1.1, for the requests that clients of the protocol send all the time: polls,
//! handshakes and upgrades, on connections that are mostly kept alive.
//!
//! It is a short cut, not a server: whatever it does not know, and every other path, goes to hyper
//! together with the bytes that have been read, and the connection comes back once that is answered. What it
//! saves are hyper's buffers, its header map and, for a WebSocket, a write: the answer to the
//! handshake leaves together with the first packet.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::CONNECTION;
use sedge_protocol::request::head::Invalid;
use sedge_protocol::request::{self, Body, Parameter, Upgrade, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::Connection;
use crate::application::{Application, SessionKey};
use crate::config::Config;
use crate::exchange::handling::{Begun, Handled, Later};
use crate::exchange::posting::Posting;
use crate::exchange::siblings::Place;
use crate::http::answer::Answer;
use crate::http::body::{BodyError, RequestBody};
use crate::http::encode::encode;
use crate::http::head::{Head, RawHead, scan};
use crate::limits::ONE_WRITE_MAX;
use crate::net::pace::Pace;
use crate::shard::farewell::LastWords;

/// What the bytes that were read begin with.
pub(super) enum Next {
    Request(Request),
    /// A beginning that says nothing yet.
    Partial,
    /// Not for this module.
    Other,
    /// For a session that lives elsewhere.
    Elsewhere(Place),
    /// No request. What follows cannot be told apart from it.
    Refused(Invalid),
}

/// A request whose head is complete.
pub(super) struct Request {
    head: Head,
    /// What there is of its body.
    body: Bytes,
    /// Bytes of the body that are still to come.
    pub(super) missing: usize,
    /// The client wants the connection closed behind it.
    pub(super) last: bool,
}

/// A request that has been begun.
pub(super) enum Step<A: Application> {
    Answered(Answer),
    Later(Later<A>),
    /// A POST waits for the rest of its body.
    Body(Posting<A>, Bytes),
}

/// An answer being written.
pub(super) struct Writing {
    parts: [Bytes; 2],
    stalled: Option<Pace>,
    delivers: Option<SessionKey>,
    /// While the server shuts down, it waits for this.
    _last_words: LastWords,
}

impl Writing {
    pub(super) fn new(answer: Answer) -> Writing {
        let delivers = answer.delivers;
        let mut head = encode(&answer);
        let mut body = answer.body;
        if body.len() <= ONE_WRITE_MAX {
            head.extend_from_slice(&std::mem::take(&mut body));
        }
        let parts = [Bytes::from(head), body];
        Writing { parts, stalled: None, delivers, _last_words: LastWords::new() }
    }
}

pub(super) fn closes(answer: &Answer) -> bool {
    answer.headers.all(&CONNECTION).any(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

impl<A: Application> Connection<A> {
    /// The next request. The end of the stream is an error, and so is a client that takes too long.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        if !self.unread.is_empty() {
            match self.take_next() {
                Next::Partial => {}
                next => return Poll::Ready(Ok(next)),
            }
        }
        loop {
            match self.poll_read(cx, Connection::take_read) {
                Poll::Ready(Ok(Next::Partial)) => {}
                Poll::Ready(next) => return Poll::Ready(next),
                Poll::Pending => break,
            }
        }
        self.alarm.poll(cx, self.deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Takes the next request out of what has just been read and what was read before.
    fn take_read(&mut self, read: &[u8]) -> Next {
        if !self.unread.is_empty() {
            self.unread.extend_from_slice(read);
            return self.take_next();
        }
        // The usual case: the request is taken right out of the shard's buffer.
        let (next, taken) = self.parse(read);
        self.unread.extend_from_slice(&read[taken..]);
        if let Next::Partial = next {
            self.deadline = Instant::now() + self.local().head_timeout;
        }
        next
    }

    /// Takes the next request out of what was read before.
    fn take_next(&mut self) -> Next {
        let (next, taken) = self.parse(&self.unread);
        if taken == self.unread.len() {
            self.unread = Vec::new();
        } else {
            self.unread.drain(..taken);
        }
        next
    }

    fn parse(&self, bytes: &[u8]) -> (Next, usize) {
        let place = |sid: Parameter<'_>| self.worker.place_of(sid);
        parse(&self.worker.shard.0.config, place, self.can_move(), bytes)
    }

    /// Reads once, through the shard's buffer. The end of the stream is an error.
    fn poll_read<R>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Self, &[u8]) -> R,
    ) -> Poll<io::Result<R>> {
        let mut scratch = self.worker.shard.take_scratch();
        let mut buffer = ReadBuf::new(&mut scratch.read);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let result = polled.map(|read| match (read, buffer.filled()) {
            (Ok(()), []) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(()), read) => Ok(take(self, read)),
            (Err(error), _) => Err(error),
        });
        self.worker.shard.return_scratch(scratch);
        result
    }

    pub(super) fn begin(&mut self, request: Request) -> Step<A> {
        let Request { head, body, missing, .. } = request;
        self.stays = false;
        let whole = RequestBody::Full(Some(body.clone()).filter(|body| !body.is_empty()));
        let handled = match self.worker.begin_safely(head, whole, self.peer) {
            Begun::Post(posting, _) if missing == 0 => posting.finish_safely(Ok(body)),
            Begun::Post(posting, _) => return Step::Body(posting, body),
            Begun::Handled(handled) => handled,
        };
        match handled {
            Handled::Answered(answer) => Step::Answered(answer),
            Handled::Later(later) => Step::Later(later),
        }
    }

    /// Waits for an answer, but no longer than its client does. `None` drops it.
    ///
    /// A sibling that carries this connection and is about to end closes it for writing: it still delivers the
    /// answer, which therefore must not wait for long.
    pub(super) fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        later: &mut Later<A>,
    ) -> Poll<Option<Answer>> {
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut *later).poll(cx) {
                return Poll::Ready(Some(answer));
            }
            // A client that has sent its next request already is not watched: that one waits in line.
            if !self.unread.is_empty() || self.half_closed {
                return Poll::Pending;
            }
            if ready!(self.poll_read(cx, |this, read| this.unread.extend_from_slice(read))).is_err()
            {
                self.half_closed = self.io.is_half_closed();
                match later {
                    Later::Poll(waiting) if self.half_closed => waiting.hurry(),
                    _ if self.half_closed => {}
                    _ => return Poll::Ready(None),
                }
            }
        }
    }

    /// Reads the rest of a body and has the request carried out. Also says whether all of it was read.
    pub(super) async fn read_body(
        &mut self,
        posting: Posting<A>,
        begun: Bytes,
        missing: usize,
    ) -> (Handled<A>, bool) {
        let body = if begun.len().saturating_add(missing) > posting.limit() {
            Err(BodyError::TooLarge)
        } else {
            let mut body = BytesMut::from(begun);
            let (whole, mut pace) = (body.len() + missing, Pace::new());
            let read = poll_fn(|cx| self.poll_body(cx, &mut body, whole, &mut pace)).await;
            read.map(|()| body.freeze())
        };
        let whole = body.is_ok();
        (posting.finish_safely(body), whole)
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut BytesMut,
        whole: usize,
        pace: &mut Pace,
    ) -> Poll<Result<(), BodyError>> {
        while body.len() < whole {
            let read = self.poll_read(cx, |this, read| {
                let (ours, next) = read.split_at(read.len().min(whole - body.len()));
                body.extend_from_slice(ours);
                this.unread.extend_from_slice(next);
                ours.len()
            });
            match read {
                Poll::Ready(Ok(read)) => pace.advance(read),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(BodyError::Broken)),
                Poll::Pending => {
                    let deadline = pace.deadline(self.local().pace());
                    return self.alarm.poll(cx, deadline).map(|()| Err(BodyError::TooSlow));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes an answer. If it carries packets and its client does not take them, their session ends.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        writing: &mut Writing,
    ) -> Poll<io::Result<()>> {
        let Writing { parts, stalled, delivers, .. } = writing;
        let written = match self.poll_write_parts(cx, parts, stalled.as_mut()) {
            Poll::Pending => {
                let limit = self.local().pace();
                let deadline = stalled.get_or_insert_with(Pace::new).deadline(limit);
                ready!(self.alarm.poll(cx, deadline));
                Err(io::ErrorKind::TimedOut.into())
            }
            Poll::Ready(written) => written,
        };
        self.deadline = Instant::now() + self.local().keep_alive_timeout;
        if let (Err(error), Some(key)) = (&written, *delivers) {
            self.worker.get_failed(key, error.kind() == io::ErrorKind::TimedOut);
        }
        Poll::Ready(written)
    }

    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut [Bytes; 2],
        mut stalled: Option<&mut Pace>,
    ) -> Poll<io::Result<()>> {
        for part in parts {
            while !part.is_empty() {
                let written = ready!(Pin::new(&mut self.io).poll_write(cx, part))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                let _ = part.split_to(written);
                if let Some(pace) = &mut stalled {
                    pace.advance(written);
                }
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

/// Looks what the bytes begin with, and how many of them are taken with that. `place` knows where a session
/// lives.
fn parse(
    config: &Config,
    place: impl FnOnce(Parameter<'_>) -> Place,
    can_move: bool,
    bytes: &[u8],
) -> (Next, usize) {
    let scanned = match scan(bytes, super::head_limits(config)) {
        Ok(Some(scanned)) => scanned,
        Ok(None) => return (Next::Partial, 0),
        Err(reason) => return (Next::Refused(reason), bytes.len()),
    };
    let (layout, method) = &scanned;
    let (head, request) = (layout.head(bytes), layout.request());
    if config.matches(head.path()).is_none() {
        return (Next::Other, 0);
    }
    // Whatever the request is like, it is its owner's. What cannot move to another shard is sent there.
    let place = place(head.sid());
    match place {
        Place::Here => {}
        Place::Shard(_) if !can_move => {}
        Place::Shard(_) | Place::Sibling(_) => return (Next::Elsewhere(place), 0),
    }
    let length = match request.body {
        Body::None => Some(0),
        Body::Length(length) => usize::try_from(length).ok(),
        Body::Chunked => None,
    };
    let Some(length) = length.filter(|_| is_usual(request, method, head.target())) else {
        return (Next::Other, 0);
    };
    let there = bytes.len() - layout.len();
    let missing = length.saturating_sub(there);
    // A body that is still on its way is waited for only if it is one of this shard's sessions.
    if missing > 0 && (*method != Method::POST || place != Place::Here) {
        return (Next::Other, 0);
    }
    let (begin, taken) = (layout.len(), layout.len() + length.min(there));
    let last = request.close && request.upgrade != Upgrade::WebSocket;
    let bytes = Bytes::copy_from_slice(&bytes[..taken]);
    let body = bytes.slice(begin..);
    let head = Head::Raw(RawHead::new(bytes, scanned));
    (Next::Request(Request { head, body, missing, last }), taken)
}

/// Whether a request is of the kind that clients and proxies send all the time.
fn is_usual(request: &request::Request, method: &Method, target: &str) -> bool {
    // HTTP/1.0 has to be told that a connection stays open.
    let is_simple = request.version == Version::Http11 || request.close;
    [Method::GET, Method::POST, Method::OPTIONS].contains(method)
        && target.starts_with('/')
        && !request.expects_continue
        && (is_simple || request.upgrade == Upgrade::WebSocket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Next, String) {
        let config = Config::builder().build().unwrap();
        let place = |sid: Parameter<'_>| match sid {
            Parameter::Once("sibling") => Place::Sibling(7),
            Parameter::Once("shard") => Place::Shard(1),
            _ => Place::Here,
        };
        let can_move = !text.contains("stays");
        let (next, taken) = parse(&config, place, can_move, text.as_bytes());
        (next, text[taken..].to_owned())
    }

    fn head(lines: &str) -> String {
        format!("POST /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
    }

    #[test]
    fn a_whole_request_is_taken_and_the_next_one_left() {
        let (next, rest) = read(&(head("Content-Length: 3\r\n") + "abcGET"));
        let Next::Request(Request { head, body, missing: 0, last: false }) = next else { panic!() };
        assert_eq!((head.method(), head.target()), (&Method::POST, "/socket.io/?EIO=4"));
        assert_eq!((&*body, &*rest), (&b"abc"[..], "GET"));
        let (next, rest) =
            read("GET /socket.io/ HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n");
        let Next::Request(Request { body, missing: 0, last: false, .. }) = next else { panic!() };
        assert!(body.is_empty() && rest.is_empty());
    }

    #[test]
    fn a_head_is_waited_for_and_then_a_body() {
        let whole = head("Content-Length: 3\r\n");
        for end in 0..whole.len() {
            assert!(matches!(read(&whole[..end]).0, Next::Partial), "{end}");
        }
        for body in ["", "a", "ab"] {
            let (next, rest) = read(&(whole.clone() + body));
            let Next::Request(Request { body: begun, missing, .. }) = next else { panic!() };
            assert_eq!((&*begun, missing, &*rest), (body.as_bytes(), 3 - body.len(), ""));
        }
        let (next, _) = read(&head("Content-Length: 18446744073709551615\r\n"));
        let Next::Request(Request { missing, .. }) = next else { panic!() };
        assert_eq!(missing, usize::MAX, "nothing is allocated");
        let (next, rest) =
            read("GET /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na");
        assert!(matches!(next, Next::Other) && rest.ends_with('a'), "hyper gets every byte");
    }

    #[test]
    fn a_request_is_read_where_its_session_lives() {
        let text = |sid: &str, more: &str| {
            format!(
                "POST /socket.io/?sid={sid} HTTP/1.1\r\nHost: {more}\r\nContent-Length: 1\r\n\r\n"
            )
        };
        for (sid, place) in [("sibling", Place::Sibling(7)), ("shard", Place::Shard(1))] {
            assert!(matches!(read(&text(sid, "x")).0, Next::Elsewhere(found) if found == place));
        }
        // A connection that cannot move: what is complete is sent over.
        assert!(matches!(read(&text("shard", "stays")).0, Next::Other));
        let (next, _) = read(&(text("shard", "stays") + "a"));
        assert!(matches!(next, Next::Request(Request { missing: 0, .. })));
    }

    #[test]
    fn a_client_may_ask_for_the_end_of_the_connection() {
        for line in ["Connection: close", "Connection: x , Close"] {
            let (next, _) = read(&head(&format!("{line}\r\nContent-Length: 0\r\n")));
            assert!(matches!(next, Next::Request(Request { last: true, .. })), "{line}");
        }
        let (next, _) = read("GET /socket.io/ HTTP/1.0\r\n\r\n");
        assert!(matches!(next, Next::Request(Request { last: true, .. })));
    }

    #[test]
    fn unusual_requests_are_left_to_hyper() {
        for lines in ["Expect: 100-continue\r\n", "Transfer-Encoding: chunked\r\n"] {
            let text = head(lines) + "a";
            let (next, rest) = read(&text);
            assert!(matches!(next, Next::Other) && rest == text, "{lines:?}");
        }
        for line in [
            "HEAD /socket.io/ HTTP/1.1",
            "GET /other HTTP/1.1",
            "GET /socket.io/ HTTP/1.0\r\nConnection: keep-alive",
            "GET http://x/socket.io/ HTTP/1.1",
            "OPTIONS * HTTP/1.1",
        ] {
            let text = format!("{line}\r\nHost: x\r\n\r\n");
            assert!(matches!(read(&text).0, Next::Other), "{line}");
        }
    }

    #[test]
    fn an_upgrade_is_never_left_to_hyper() {
        let lines = "Host: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n";
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            let text = format!("GET /socket.io/?sid=\"<>\" {version}\r\n{lines}\r\n\u{1}");
            let (next, rest) = read(&text);
            let Next::Request(Request { head, body, .. }) = next else { panic!("{version}") };
            assert!(body.is_empty(), "{version}");
            assert_eq!((head.is_upgrade(), head.sid(), &*rest), (true, Some("\"<>\""), "\u{1}"));
        }
    }

    #[test]
    fn what_is_no_request_is_nobodys() {
        for text in [
            head("Content-Length: 3\r\ntransfer-encoding: chunked\r\n"),
            head("Content-Length: 1\r\nContent-Length: 1\r\n"),
            head("Content-Length: +1\r\n"),
            head("Host: y\r\n"),
            head("").replace("Host: x\r\n", ""),
            head("").replace("\r\n", "\n"),
            head("").replace("/socket.io", "/other").replace("Host: x\r\n", ""),
            "\u{16}\u{3}\u{1}".to_owned(),
        ] {
            assert!(matches!(read(&text).0, Next::Refused(_)), "{text:?}");
        }
        let long = format!("GET /socket.io/ HTTP/1.1\r\na: {}", "b".repeat(20_000));
        assert!(matches!(read(&long).0, Next::Refused(Invalid::TooLong)));
    }
}
