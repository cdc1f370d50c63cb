//! GETs of the polling transport: they open sessions and wait for packets.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use sedge_protocol::engine::session::{Input, Refused};
use sedge_protocol::engine::{Version, jsonp};
use sedge_protocol::sid::SessionId;
use tokio::sync::oneshot;

use super::answers::{Exchange, Facts};
use super::handling::{Handled, Later};
use crate::application::{Application, SessionKey, Transport};
use crate::handshake::Handshake;
use crate::hooks::ErrorContext;
use crate::http::answer::Answer;
use crate::http::compress::{self, Encoding};
use crate::http::cors::add_vary;
use crate::limits::ONE_WRITE_MAX;
use crate::shard::conn::{Conn, PollAnswer};
use crate::shard::metrics::Unwritten;
use crate::worker::Worker;

/// A GET that waits for packets: what its answer needs of its request and its session. A server has one of
/// these for each of its polling clients, so it keeps neither the request's head nor a buffer.
pub(crate) struct Waiting<A: Application> {
    /// `None` once it is answered. Dropped before that, the client has gone: then the session ends.
    worker: Option<Rc<Worker<A>>>,
    key: SessionKey,
    answer: oneshot::Receiver<PollAnswer>,
    kept: Kept,
}

/// What is kept of a request while it waits.
struct Kept {
    sid: SessionId,
    encoding: Option<Encoding>,
    looks_for_scripts: bool,
    origin: Option<Box<[u8]>>,
    jsonp: Option<Box<str>>,
    /// All of it, where there are hooks that want to see it.
    exchange: Option<Box<Exchange>>,
}

impl Kept {
    fn facts(&self) -> Facts<'_> {
        Facts {
            origin: self.origin.as_deref(),
            looks_for_scripts: self.looks_for_scripts,
            exchange: self.exchange.as_deref(),
        }
    }
}

impl<A: Application> Waiting<A> {
    fn build(
        &self,
        worker: &Worker<A>,
        answer: Result<PollAnswer, oneshot::error::RecvError>,
    ) -> Answer {
        let facts = self.kept.facts();
        let Ok(answer) = answer else {
            // The session has ended without a last word.
            let sid = self.kept.sid.text().as_str().to_owned();
            return worker.refuse_late(facts, ErrorContext::SessionIdUnknown(sid));
        };
        let encoding = self.kept.encoding;
        let form = Form { jsonp: self.kept.jsonp.as_deref(), encoding: &|| encoding };
        worker.poll_response(self.key, facts, &form, answer, None)
    }
}

impl<A: Application> Waiting<A> {
    /// Has it answered now: whoever carries it ends.
    pub(crate) fn hurry(&self) {
        if let Some(worker) = &self.worker {
            let now = worker.shard.now();
            worker
                .shard
                .with_state(|state, env| state.input(env, now, self.key, Input::GetHurried));
        }
    }
}

impl<A: Application> Future for Waiting<A> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        let Some(worker) = self.worker.clone() else { return Poll::Pending };
        let response = self.build(&worker, answer);
        // Only now: if a hook has panicked, the client does not get what it waited for.
        self.worker = None;
        Poll::Ready(response)
    }
}

impl<A: Application> Drop for Waiting<A> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.answer.close();
            worker.get_failed(self.key, false);
        }
    }
}

/// The form in which a client wants the answer to its poll.
struct Form<'a> {
    /// The `j` parameter.
    jsonp: Option<&'a str>,
    /// Asked only of an answer that is worth compressing.
    encoding: &'a dyn Fn() -> Option<Encoding>,
}

impl<A: Application> Worker<A> {
    /// Opens a session. In version 4 the response carries the OPEN packet and whatever the application
    /// sends at once; in version 3 OPEN alone, since clients of that age read nothing behind it.
    pub(super) fn open_polling(
        self: &Rc<Self>,
        exchange: Exchange,
        handshake: Arc<Handshake>,
    ) -> Handled<A> {
        let sid = self.shard.new_sid();
        let open = self.open_frame(&sid, Transport::Polling);
        let alone = (exchange.version == Version::V3).then(|| Conn::single(Version::V3, &open));
        let open = alone.is_none().then_some(open);
        let now = self.shard.now();
        let (version, base64) = (exchange.version, exchange.base64);
        let key = self
            .shard
            .with_state(|state, env| state.open_polling(env, now, sid, version, base64, open));
        self.opened(key, handshake);
        match alone {
            Some(answer) => {
                self.shard.0.metrics.bytes_out.add(answer.payload.body.len() as u64);
                self.answer_at_once(key, &exchange, answer, Some(&sid)).into()
            }
            None => self.get(key, sid, exchange, true),
        }
    }

    /// `opens` says that the answer is that of the handshake.
    pub(super) fn get(
        self: &Rc<Self>,
        key: SessionKey,
        sid: SessionId,
        exchange: Exchange,
        opens: bool,
    ) -> Handled<A> {
        let mut answer = match self.begin_get(key, &exchange) {
            Ok(answer) => answer,
            Err(refused) => return self.refuse_session(&exchange, refused).into(),
        };
        match answer.try_recv() {
            Ok(answer) => {
                let opened = opens.then_some(&sid);
                self.answer_at_once(key, &exchange, answer, opened).into()
            }
            Err(oneshot::error::TryRecvError::Closed) => {
                self.refuse_session(&exchange, Refused::Ended).into()
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                let kept = self.keep(sid, exchange);
                let worker = Some(Rc::clone(self));
                Handled::Later(Later::Poll(Waiting { worker, key, answer, kept }))
            }
        }
    }

    fn begin_get(
        &self,
        key: SessionKey,
        exchange: &Exchange,
    ) -> Result<oneshot::Receiver<PollAnswer>, Refused> {
        let now = exchange.now;
        let base64 = exchange.base64 || exchange.jsonp.is_some();
        self.shard.with_state(|state, env| {
            state.try_input(env, now, key, Input::Get)?;
            let receiver = state.wait(env, key, base64).ok_or(Refused::Ended)?;
            state.flush(env, now, key);
            state.fire_due(env, now, key);
            Ok(receiver)
        })
    }

    fn keep(&self, sid: SessionId, exchange: Exchange) -> Kept {
        let local = &self.shard.0.config.local;
        let facts = exchange.facts();
        let looks_for_scripts = facts.looks_for_scripts;
        let origin = local.cors.as_ref().and(facts.origin).map(Into::into);
        let compresses = local.http_compression.is_some();
        let encoding = compresses.then(|| accepted_encoding(&exchange)).flatten();
        let jsonp = exchange.jsonp.as_deref().map(Into::into);
        let wanted = local.hooks.see_requests().then(|| Box::new(exchange));
        Kept { sid, encoding, looks_for_scripts, origin, jsonp, exchange: wanted }
    }

    /// If a hook panics, the client does not get what was for it, and its session ends.
    fn answer_at_once(
        &self,
        key: SessionKey,
        exchange: &Exchange,
        answer: PollAnswer,
        opened: Option<&SessionId>,
    ) -> Answer {
        let undelivered = Undelivered { worker: self, key };
        let encoding = || accepted_encoding(exchange);
        let form = Form { jsonp: exchange.jsonp.as_deref(), encoding: &encoding };
        let response = self.poll_response(key, exchange.facts(), &form, answer, opened);
        std::mem::forget(undelivered);
        response
    }

    fn poll_response(
        &self,
        key: SessionKey,
        facts: Facts<'_>,
        form: &Form<'_>,
        answer: PollAnswer,
        opened: Option<&SessionId>,
    ) -> Answer {
        let PollAnswer { payload, compressible } = answer;
        let (mut body, content_type) = match form.jsonp {
            Some(number) => (jsonp::encode_response(number, &payload.body), jsonp::CONTENT_TYPE),
            None => (payload.body, payload.content_type),
        };
        let mut encoding = None;
        if let Some(compression) = &self.shard.0.config.local.http_compression
            && compressible
            && body.len() >= compression.threshold
            && let Some(wanted) = (form.encoding)()
            && let Some(compressed) = compress::compress(wanted, compression.level, &body)
        {
            body = compressed;
            encoding = Some(wanted);
        }
        let body = if body.len() > ONE_WRITE_MAX {
            Bytes::from_owner(Unwritten::new(body, &self.shard.0.metrics))
        } else {
            Bytes::from(body)
        };
        let mut response = Answer::new(StatusCode::OK, body);
        response.delivers = Some(key);
        let headers = &mut response.headers;
        headers.append(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding.header_value());
            add_vary(headers, "Accept-Encoding");
        }
        self.finish(facts, &mut response, opened);
        response
    }

    /// The client of a GET, or of its answer, has gone, or reads it too slowly: the session ends, since what
    /// was for it is lost.
    pub(crate) fn get_failed(&self, key: SessionKey, too_slow: bool) {
        let now = self.shard.now();
        self.shard.with_state(|state, env| {
            state.abort_get(env, key);
            if too_slow {
                state.too_slow(env, key);
            }
            state.input(env, now, key, Input::GetAborted);
        });
    }
}

fn accepted_encoding(exchange: &Exchange) -> Option<Encoding> {
    compress::negotiate(exchange.head.list(&ACCEPT_ENCODING).as_deref())
}

/// An answer that is being made.
struct Undelivered<'a, A: Application> {
    worker: &'a Worker<A>,
    key: SessionKey,
}

impl<A: Application> Drop for Undelivered<'_, A> {
    fn drop(&mut self) {
        self.worker.get_failed(self.key, false);
    }
}
