//! Events from process to process, which concern no socket.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sedge_adapter::{MissingReason, Operation, PeerId, Request, RequestId, wire};
use sedge_protocol::socketio::{Args, EncodeError, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gathered::Gathered;
use crate::core::Namespace;
use crate::error::{EmitError, ServerSideEmitError};
use crate::gather::responders::{MissingResponder, Others, Responder};
use crate::hub::requests::{Asker, Ticket};
use crate::limits::REQUEST_TIMEOUT;

/// Names that processes cannot send one another: with these the official server tells itself of
/// sockets and namespaces.
pub(crate) const RESERVED: [&str; 3] = ["connect", "connection", "new_namespace"];

/// One process's answer.
type Answer = (PeerId, Option<Value>);

/// Sends an event to all other processes.
pub(crate) fn emit<T: Serialize + ?Sized>(
    namespace: &Namespace,
    event: &str,
    args: &T,
) -> Result<(), EmitError> {
    let operation = operation(event, args, None)?;
    if let Some(hub) = &namespace.core().hub {
        let message = wire::encode_operation(namespace.name(), &operation);
        let published = hub.publish(namespace.name(), None, &message);
        if !published.too_long.is_empty() {
            return Err(EmitError::TooLong(message.len()));
        }
    }
    Ok(())
}

/// Sends an event to all other processes, which are to answer.
pub(crate) fn emit_with_ack<R, T: Serialize + ?Sized>(
    namespace: &Namespace,
    event: &str,
    args: &T,
) -> ServerSideAck<R> {
    let (answers, mut waiting) = Gathered::begin(REQUEST_TIMEOUT);
    let asker = Asker::ServerSide(Arc::clone(&answers));
    let hub = namespace.core().hub.as_ref();
    let ticket = hub.and_then(|hub| hub.enter(asker).ok());
    let operation = match operation(event, args, ticket.as_ref().map(Ticket::id)) {
        Ok(operation) => operation,
        Err(error) => return ServerSideAck { waiting: Err(error), result: PhantomData },
    };
    let others = match (hub, &ticket) {
        (None, _) => Others::default(),
        (Some(hub), None) => hub.nobody_asked(),
        (Some(hub), Some(_)) => {
            let message = wire::encode_operation(namespace.name(), &operation);
            hub.others(hub.publish(namespace.name(), None, &message))
        }
    };
    answers.expect(0, others.clone());
    waiting.with_ticket(ticket);
    ServerSideAck { waiting: Ok((waiting, others)), result: PhantomData }
}

fn operation<T: Serialize + ?Sized>(
    event: &str,
    args: &T,
    request: Option<RequestId>,
) -> Result<Operation<Infallible, Value>, EmitError> {
    if RESERVED.contains(&event) {
        return Err(EncodeError::ReservedEvent(event.to_owned()).into());
    }
    let args = Args::from_serialize(args)?.to_values().unwrap_or_default();
    Ok(Operation::ServerSideEmit { event: event.into(), args, request })
}

/// A future of the answers of all other processes to a
/// [server-side emit](Namespace::server_side_emit_with_ack), each decoded as `R`: one from each, or an
/// error that has those that came, and who did not answer.
///
/// The event has been sent when this is made. It needs a tokio runtime with its timer enabled.
#[must_use = "to send without waiting for the answers there is `server_side_emit`"]
pub struct ServerSideAck<R> {
    waiting: Result<(Gathered<Request<Responder, Answer>>, Others), EmitError>,
    result: PhantomData<fn() -> R>,
}

impl<R> ServerSideAck<R> {
    /// How long the answers are waited for, from now on:
    /// [`REQUEST_TIMEOUT`] unless this says otherwise.
    pub fn timeout(mut self, after: Duration) -> Self {
        if let Ok((waiting, _)) = &mut self.waiting {
            waiting.wait_for(after);
        }
        self
    }
}

impl<R: DeserializeOwned> Future for ServerSideAck<R> {
    type Output = Result<Vec<R>, ServerSideEmitError<R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (waiting, others) = match &mut self.get_mut().waiting {
            Ok(waiting) => waiting,
            Err(error) => {
                let (responses, missing, emit) = (Vec::new(), Vec::new(), Some(error.clone()));
                return Poll::Ready(Err(ServerSideEmitError { responses, missing, emit }));
            }
        };
        let (request, mut missing) = ready!(waiting.poll_end(cx));
        let mut responses = Vec::new();
        for (peer, value) in request.into_answers() {
            match Args::from_values(value.into_iter().collect()).get(0) {
                Ok(response) => responses.push(response),
                Err(_) => missing.push(MissingResponder {
                    name: others.name(Responder::Process(peer)),
                    reason: MissingReason::Unreadable,
                }),
            }
        }
        Poll::Ready(if missing.is_empty() {
            Ok(responses)
        } else {
            Err(ServerSideEmitError { responses, missing, emit: None })
        })
    }
}

impl<R> fmt::Debug for ServerSideAck<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSideAck").finish_non_exhaustive()
    }
}
