//! The engine's own HTTP/1.1, for the requests that clients of the protocol send all the time: polls,
//! handshakes and upgrades, each arriving in one piece on a connection that is kept alive.
//!
//! It is a short cut, not a server: whatever it does not know, and every other path, goes to hyper
//! together with the bytes that have been read, and hyper serves that connection from then on. What it
//! saves are hyper's buffers, its header map and, for a WebSocket, a write: the answer to the
//! handshake leaves together with the first packet.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Method;
use http::header::CONNECTION;
use sedge_protocol::request::head::Invalid;
use sedge_protocol::request::{Body, Parameter, Request, Upgrade, Version};
use sedge_protocol::sid::SessionId;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::application::Application;
use crate::config::Config;
use crate::exchange::answers::poll_answer;
use crate::http::answer::{Answer, no_request};
use crate::http::body::RequestBody;
use crate::http::encode::encode;
use crate::http::head::{Head, RawHead, scan};
use crate::http::peer::Peer;
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
    /// The next request, with which `read` begins, is not for this module.
    Other { io: TimedIo, read: Bytes },
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
    /// No request. What follows cannot be told apart from it.
    Refused(Invalid),
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
            Next::Request(head, body) => Ok((head, body)),
            Next::Refused(reason) => Err(reason),
            Next::Foreign(owner) => return End::Foreign { owner, io, read: unread.into() },
            Next::Other | Next::Partial => {
                return End::Other { io, read: unread.into() };
            }
        };
        let _under_way = activity.begin();
        let answer = match request {
            Err(reason) => Some(no_request(reason)),
            Ok((head, body)) => {
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
    let sibling_for = |sid: Parameter<'_>| worker.sibling_for(sid);
    let (next, taken) = parse(&worker.shard.0.config, sibling_for, unread);
    if taken == unread.len() {
        *unread = Vec::new();
    } else {
        unread.drain(..taken);
    }
    next
}

/// Looks what the bytes begin with, and how many of them are taken with that. `sibling_for` knows whether
/// a session is a sibling's.
fn parse(
    config: &Config,
    sibling_for: impl FnOnce(Parameter<'_>) -> Option<u8>,
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
    // Whatever the request is like, it is its owner's.
    if let Some(owner) = sibling_for(head.sid()) {
        return (Next::Foreign(owner), 0);
    }
    let length = match request.body {
        Body::None => Some(0),
        Body::Length(length) => usize::try_from(length).ok(),
        Body::Chunked => None,
    };
    // A body that is still on its way is hyper's: it has the deadlines for that.
    let whole = length.and_then(|length| layout.len().checked_add(length));
    let whole = whole.and_then(|whole| bytes.get(..whole));
    let Some(whole) = whole.filter(|_| is_usual(request, method, head.target())) else {
        return (Next::Other, 0);
    };
    let (taken, begin) = (whole.len(), layout.len());
    let bytes = Bytes::copy_from_slice(whole);
    let body = (taken > begin).then(|| bytes.slice(begin..));
    let head = Head::Raw(RawHead::new(bytes, scanned));
    (Next::Request(head, RequestBody::Full(body)), taken)
}

/// Whether a request is of the kind that clients send all the time, after which the connection stays
/// open, or becomes a WebSocket.
fn is_usual(request: &Request, method: &Method, target: &str) -> bool {
    let stays = request.version == Version::Http11 && !request.close;
    [Method::GET, Method::POST, Method::OPTIONS].contains(method)
        && target.starts_with('/')
        && !request.expects_continue
        && (stays || request.upgrade == Upgrade::WebSocket)
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
        let sibling_for = |sid: Parameter<'_>| worker.sibling_for(sid);
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
    SessionId::parse(head.sid()?.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Next, String) {
        let config = Config::builder().build().unwrap();
        let sibling_for = |sid: Parameter<'_>| (sid == Parameter::Once("sibling")).then_some(7);
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
        assert_eq!((head.method(), head.target()), (&Method::POST, "/socket.io/?EIO=4"));
        assert_eq!((&*body, &*rest), (&b"abc"[..], "GET"));
        let (next, rest) =
            read("GET /socket.io/ HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n");
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
            "Content-Length: 18446744073709551615\r\n",
        ] {
            let text = head(lines) + "a";
            let (next, rest) = read(&text);
            assert!(matches!(next, Next::Other) && rest == text, "{lines:?}");
        }
        for line in [
            "HEAD /socket.io/ HTTP/1.1",
            "GET /other HTTP/1.1",
            "GET /socket.io/ HTTP/1.0",
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
            let Next::Request(head, RequestBody::Full(None)) = next else { panic!("{version}") };
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
