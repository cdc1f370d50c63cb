//! Waiting for the acknowledgements of a broadcast.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sedge_adapter::AckRequest;
use sedge_protocol::socketio::Args;
use serde::de::DeserializeOwned;

use super::gathered::Gathered;
use crate::error::{BroadcastAckError, EmitError};
use crate::gather::responders::{MissingResponder, Responder};

/// A future of the acknowledgements of a broadcast, each decoded as `R`: all of them, or an error
/// that has those that came in time.
///
/// The event has been sent when this is made. It needs a tokio runtime with its timer enabled.
#[must_use = "to send without waiting for the acknowledgements there is `emit`"]
pub struct BroadcastAck<R> {
    waiting: Option<Gathered<AckRequest<Responder, Args<'static>>>>,
    emit: Option<EmitError>,
    result: PhantomData<fn() -> R>,
}

/// What came of a broadcast, before it is decoded.
pub(crate) struct RawAcks {
    pub(crate) acks: Vec<Args<'static>>,
    /// Clients that did not acknowledge.
    pub(crate) missing: usize,
    /// How many of those will not acknowledge any more.
    pub(crate) lost: usize,
    pub(crate) missing_responders: Vec<MissingResponder>,
    pub(crate) emit: Option<EmitError>,
}

impl<R> BroadcastAck<R> {
    /// The acknowledgements that were asked for.
    pub(crate) fn new(waiting: Gathered<AckRequest<Responder, Args<'static>>>) -> Self {
        BroadcastAck { waiting: Some(waiting), emit: None, result: PhantomData }
    }

    /// Nothing was sent.
    pub(crate) fn failed(error: EmitError) -> Self {
        BroadcastAck { waiting: None, emit: Some(error), result: PhantomData }
    }

    /// Some shards could not be reached.
    pub(crate) fn with_error(mut self, error: Option<EmitError>) -> Self {
        self.emit = error;
        self
    }

    pub(crate) fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<RawAcks> {
        let emit = self.emit.clone();
        let Some(waiting) = &mut self.waiting else {
            let (acks, missing_responders) = (Vec::new(), Vec::new());
            return Poll::Ready(RawAcks { acks, missing: 0, lost: 0, missing_responders, emit });
        };
        let (request, missing_responders) = ready!(waiting.poll_end(cx));
        let (clients, lost) = (request.clients() as usize, request.lost() as usize);
        let acks = request.into_acks();
        let missing = clients.saturating_sub(acks.len());
        Poll::Ready(RawAcks { acks, missing, lost, missing_responders, emit })
    }
}

impl<R: DeserializeOwned> Future for BroadcastAck<R> {
    type Output = Result<Vec<R>, BroadcastAckError<R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let raw = ready!(self.get_mut().poll_raw(cx));
        let RawAcks { acks, missing, missing_responders, emit, .. } = raw;
        let mut responses = Vec::with_capacity(acks.len());
        let mut unreadable = 0;
        for ack in acks {
            // Only the first argument counts, as in the official server.
            match ack.get(0) {
                Ok(response) => responses.push(response),
                Err(_) => unreadable += 1,
            }
        }
        let heard_all = missing_responders.is_empty() && emit.is_none();
        Poll::Ready(if missing + unreadable == 0 && heard_all {
            Ok(responses)
        } else {
            Err(BroadcastAckError { responses, missing, missing_responders, unreadable, emit })
        })
    }
}

impl<R> fmt::Debug for BroadcastAck<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastAck").finish_non_exhaustive()
    }
}
