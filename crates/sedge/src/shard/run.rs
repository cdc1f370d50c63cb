//! Running handlers, the way Node does: up to its first `.await` a handler runs on the spot, in the
//! order of the events; only if it has to wait does it become a task.
//!
//! A panic in user code ends that call and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use sedge_engine::{SessionKey, panics};

use super::local::LocalShard;
use crate::core::socket::Socket;
use crate::core::stage::{Context, HandlerFuture, LocalListener, Middleware, Stage, Subject};
use crate::error::{ConnectError, ExtractError, HandlerError, HandlerErrorKind};

/// How a call has begun.
enum Started<F, T> {
    Done(T),
    Waiting(F),
}

impl LocalShard {
    /// Calls a handler.
    pub(super) fn run<S: Stage<Outcome = Result<(), HandlerErrorKind>>>(
        self: &Rc<Self>,
        listener: &dyn LocalListener<S>,
        context: &Context<'_, S>,
        event: &str,
    ) {
        let start = || -> Result<_, HandlerErrorKind> {
            let mut future = listener.call(context)?;
            // A future that is polled without a waker has to be polled again: the task does that.
            match future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => Ok(Started::Done(outcome?)),
                Poll::Pending => Ok(Started::Waiting(future)),
            }
        };
        match panics::catch(start) {
            Ok(Ok(Started::Done(()))) => {}
            Ok(Ok(Started::Waiting(future))) => self.detach::<S>(future, context.subject, event),
            Ok(Err(kind)) => self.report(context.subject, event, kind),
            Err(words) => self.report(context.subject, event, HandlerErrorKind::Panicked(words)),
        }
    }

    /// Calls a middleware. Its failures refuse the client too.
    pub(super) async fn run_middleware(
        self: &Rc<Self>,
        listener: &dyn LocalListener<Middleware>,
        context: &Context<'_, Middleware>,
    ) -> Result<(), ConnectError> {
        let called = panics::catch(|| listener.call(context));
        let kind = match called {
            Ok(Ok(future)) => match Guarded(future).await {
                Ok(verdict) => return verdict,
                Err(kind) => kind,
            },
            Ok(Err(error)) => error.into(),
            Err(words) => HandlerErrorKind::Panicked(words),
        };
        // The client may know what is wrong with what it sent, and nothing else.
        let words = match &kind {
            HandlerErrorKind::Extract(ExtractError::Decode(error)) => error.to_string(),
            _ => "internal error".to_owned(),
        };
        self.report(context.subject, "middleware", kind);
        Err(ConnectError::new(words))
    }

    /// Lets a handler that waits go on as a task. If its connection has too many of those, it is not
    /// read any further until one has ended.
    fn detach<S: Stage<Outcome = Result<(), HandlerErrorKind>>>(
        self: &Rc<Self>,
        future: HandlerFuture<S>,
        subject: &S::Subject,
        event: &str,
    ) {
        let session = subject.socket().map(Socket::session);
        match session {
            Some(session) => self.count_against(session),
            None => self.server_side_in_flight.set(self.server_side_in_flight.get() + 1),
        }
        let counts = session.map_or(CountsAs::ServerSide, CountsAs::Connection);
        let flight = Flight { shard: Rc::clone(self), counts };
        self.add_in_flight(1);
        let (subject, event) = (subject.clone(), Box::<str>::from(event));
        self.engine.spawn(async move {
            let outcome = Guarded(future).await;
            if let Err(kind) = outcome.and_then(|outcome| outcome) {
                flight.shard.report(&subject, &event, kind);
            }
            drop(flight);
        });
    }

    /// One more handler of a connection is under way.
    fn count_against(&self, session: SessionKey) {
        let max = self.core.options.limits.handlers_in_flight;
        let hold = self.with_client(session, |client| {
            client.in_flight += 1;
            let hold = !client.held && client.in_flight as usize >= max;
            client.held |= hold;
            hold
        });
        if hold == Some(true) {
            self.engine.hold(session);
        }
    }

    /// Counts a middleware as under way for as long as the result lives.
    pub(super) fn take_off(self: &Rc<Self>) -> Flight {
        self.add_in_flight(1);
        Flight { shard: Rc::clone(self), counts: CountsAs::Middleware }
    }

    fn add_in_flight(&self, count: usize) {
        self.in_flight.set(self.in_flight.get() + count);
        self.metrics.handlers_in_flight.add(count as u64);
    }

    /// A handler did not do its work.
    pub(super) fn report(&self, subject: &impl Subject, event: &str, kind: HandlerErrorKind) {
        self.metrics.handler_errors.add(1);
        let (namespace, socket) = (subject.namespace().name(), subject.socket());
        let id = socket.map(|socket| socket.id().as_str());
        let error = HandlerError { event: event.into(), kind };
        if matches!(error.kind, HandlerErrorKind::Extract(_)) {
            tracing::debug!(namespace, socket = id, event, kind = %error.kind, "handler not called");
        } else {
            tracing::error!(namespace, socket = id, event, kind = %error.kind, "handler error");
        }
        let (Some(hook), Some(socket)) = (&self.core.options.on_error, socket) else { return };
        if panics::catch(|| hook(socket, &error)).is_err() {
            tracing::error!(event, "the hook for errors of handlers panicked");
        }
    }
}

/// A handler or middleware under way. Dropping it says that it has ended.
pub(super) struct Flight {
    shard: Rc<LocalShard>,
    counts: CountsAs,
}

/// What a handler under way is limited by.
#[derive(Clone, Copy)]
enum CountsAs {
    /// Its connection is not read while there are too many.
    Connection(SessionKey),
    /// A connection has one at a time for each namespace.
    Middleware,
    /// What other processes send is refused while there are too many.
    ServerSide,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let shard = &self.shard;
        shard.in_flight.set(shard.in_flight.get().saturating_sub(1));
        shard.metrics.handlers_in_flight.sub(1);
        if let CountsAs::ServerSide = self.counts {
            shard.server_side_in_flight.set(shard.server_side_in_flight.get().saturating_sub(1));
        }
        if let CountsAs::Connection(session) = self.counts {
            let max = shard.core.options.limits.handlers_in_flight;
            let release = shard.with_client(session, |client| {
                client.in_flight = client.in_flight.saturating_sub(1);
                let release = client.held && (client.in_flight as usize) < max;
                client.held &= !release;
                release
            });
            if release == Some(true) {
                shard.engine.release(session);
            }
        }
        if shard.in_flight.get() == 0
            && let Some(done) = shard.drained.borrow_mut().take()
        {
            let _ = done.send(());
        }
    }
}

/// A future of user code: a panic in it becomes an error.
struct Guarded<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Future for Guarded<T> {
    type Output = Result<T, HandlerErrorKind>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let polled = panics::poll(self.0.as_mut(), cx);
        polled.map(|ended| ended.map_err(HandlerErrorKind::Panicked))
    }
}
