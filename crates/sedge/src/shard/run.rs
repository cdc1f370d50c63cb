//! Running handlers, the way Node does: up to its first `.await` a handler runs on the spot, in the
//! order of the events; only if it has to wait does it become a task.
//!
//! A panic in user code ends that call and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use sedge_engine::{SessionKey, panics};
use sedge_protocol::socketio::Event;

use super::local::LocalShard;
use super::waiting::{Waiting, WaitingEvent};
use crate::core::socket::Socket;
use crate::core::stage::{Context, HandlerFuture, LocalListener, Middleware, Stage, Subject};
use crate::error::{ConnectError, ExtractError, Failure, Fault, HandlerError, HandlerErrorKind};
use crate::limits::EVENTS_PER_TURN;

/// How a call has begun.
enum Started<F, T> {
    Done(T),
    Waiting(F),
}

impl LocalShard {
    /// Calls a handler.
    pub(super) fn run<S: Stage<Outcome = Result<(), Failure>>>(
        self: &Rc<Self>,
        listener: &dyn LocalListener<S>,
        context: &Context<'_, S>,
        event: &str,
    ) {
        let start = || -> Result<_, Fault> {
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
            Ok(Err(fault)) => self.report(context.subject, event, fault),
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

    /// Lets a handler that waits go on as a task. Its end lets events be handled that wait for that.
    fn detach<S: Stage<Outcome = Result<(), Failure>>>(
        self: &Rc<Self>,
        future: HandlerFuture<S>,
        subject: &S::Subject,
        event: &str,
    ) {
        let session = subject.socket().map(Socket::session);
        match session {
            Some(session) => {
                self.with_client(session, |client| client.in_flight += 1);
            }
            None => self.server_side_in_flight.set(self.server_side_in_flight.get() + 1),
        }
        let counts = session.map_or(CountsAs::ServerSide, CountsAs::Connection);
        let flight = Flight { shard: Rc::clone(self), counts };
        self.add_in_flight(1);
        let (subject, event) = (subject.clone(), Box::<str>::from(event));
        self.handler_waits(async move {
            let outcome = Guarded(future).await;
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => flight.shard.report(&subject, &event, failure),
                Err(panicked) => flight.shard.report(&subject, &event, panicked),
            }
            let shard = Rc::clone(&flight.shard);
            drop((flight, subject));
            if let Some(session) = session {
                shard.work_off(session).await;
            }
        });
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
    pub(super) fn report(&self, subject: &impl Subject, event: &str, fault: impl Into<Fault>) {
        self.metrics.handler_errors.add(1);
        let error = HandlerError { event: event.into(), fault: fault.into() };
        // The error is the user's own, and so is the hook.
        let reported = panics::catch(move || {
            let hook = self.core.options.on_error.as_ref().zip(subject.socket());
            let id = subject.socket().map(|socket| socket.id().as_str());
            let namespace = subject.namespace().name();
            self.core.complaints.handler(namespace, id, &error, hook.is_some());
            if let Some((hook, socket)) = hook
                && panics::catch(|| hook(socket, &error)).is_err()
            {
                sedge_log::error_rarely!(event, "the hook for errors of handlers panicked");
            }
        });
        if reported.is_err() {
            sedge_log::error_rarely!(event, "the error of a handler panicked");
        }
    }
}

/// Events wait while their connection has as many handlers under way as it may. Acknowledgements, heartbeats
/// and the end of a socket are taken as they come, so that a handler that asks its own client gets the
/// answer, whatever else the client has sent before. What waits is bounded by bytes; only beyond them is the
/// connection not read, until there is room again.
impl LocalShard {
    /// Has an event wait if it has to. Returns whether it does.
    pub(super) fn wait(&self, socket: &Socket, event: &Event<'_>, ack: Option<u64>) -> bool {
        let (session, limits) = (socket.session(), &self.core.options.limits);
        let has_to_wait = self.with_client(session, |client| {
            client.waiting.is_some() || client.in_flight as usize >= limits.handlers_in_flight
        });
        if has_to_wait != Some(true) {
            return false;
        }
        let event = WaitingEvent::new(socket, event, ack);
        let hold = self.with_client(session, |client| {
            client.waiting.get_or_insert_default().push(event, limits.events_waiting_bytes)
        });
        let Some(hold) = hold else { return true };
        self.metrics.events_waiting.add(1);
        if hold {
            sedge_log::warn_rarely!(
                socket = %socket.id(),
                "a client sends faster than its handlers finish, and is not read meanwhile"
            );
            self.engine.hold(session);
        }
        true
    }

    /// Handles what waits, as far as the limit of handlers under way allows. Called when one has ended.
    async fn work_off(self: &Rc<Self>, session: SessionKey) {
        let begun = self.with_client(session, |client| {
            let waiting = client.waiting.as_mut()?;
            (!std::mem::replace(&mut waiting.worked_off, true)).then_some(())
        });
        if begun.flatten().is_none() {
            return;
        }
        // Handlers that can end at the same time end first.
        tokio::task::yield_now().await;
        let mut turn = 0;
        while let Some(event) = self.next_waiting(session) {
            self.metrics.events_waiting.sub(1);
            let WaitingEvent { socket, name, args, ack, .. } = event;
            match self.target(&socket) {
                Some(target) => self.handle(&target, &Event { name: &name, args }, ack),
                None => self.metrics.events_dropped.add(1),
            }
            turn += 1;
            if turn == EVENTS_PER_TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes out the next event, if one more handler may begin.
    fn next_waiting(&self, session: SessionKey) -> Option<WaitingEvent> {
        let limits = &self.core.options.limits;
        let (next, emptied) = self.with_client(session, |client| {
            let free = (client.in_flight as usize) < limits.handlers_in_flight;
            let waiting = client.waiting.as_mut()?;
            let next = if free { waiting.pop(limits.events_waiting_bytes) } else { None };
            waiting.worked_off = next.is_some();
            let empty = next.is_none() && waiting.len() == 0;
            Some((next, if empty { client.waiting.take() } else { None }))
        })??;
        drop(emptied);
        let (event, release) = next?;
        if release {
            self.engine.release(session);
        }
        Some(event)
    }

    /// A connection has ended: its events are not handled any more, as in the official server.
    pub(super) fn drop_waiting(&self, waiting: Option<Box<Waiting>>) {
        let count = waiting.map_or(0, |waiting| waiting.len() as u64);
        self.metrics.events_waiting.sub(count);
        self.metrics.events_dropped.add(count);
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
    /// The events of its connection wait while there are too many.
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
            shard.with_client(session, |client| {
                client.in_flight = client.in_flight.saturating_sub(1);
            });
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
