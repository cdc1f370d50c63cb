//! Something that was asked, on the side of whoever waits for the answers: the timer and the waking.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sedge_adapter::Request;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::IncompleteError;
use crate::gather::inquiry::{Book, Inquiry};
use crate::gather::responders::{MissingResponder, Responder};
use crate::hub::requests::Ticket;

pub(crate) struct Gathered<B: Book> {
    inquiry: Arc<Inquiry<B>>,
    done: oneshot::Receiver<()>,
    deadline: Deadline,
    /// Its place among what other processes are asked.
    ticket: Option<Ticket>,
}

impl<B: Book> Gathered<B> {
    /// Begins to ask, and waits no longer than this.
    pub(crate) fn begin(timeout: Duration) -> (Arc<Inquiry<B>>, Gathered<B>) {
        let (inquiry, done) = Inquiry::new(timeout);
        let deadline = Deadline::after(Some(timeout));
        (Arc::clone(&inquiry), Gathered { inquiry, done, deadline, ticket: None })
    }

    /// Other processes are asked too.
    pub(crate) fn with_ticket(&mut self, ticket: Option<Ticket>) {
        self.ticket = ticket;
    }

    /// Changes how long is waited, from now on.
    pub(crate) fn wait_for(&mut self, timeout: Duration) {
        self.deadline = Deadline::after(Some(timeout));
    }

    /// Waits for the end: what came, and the names of those who are missing. To be called until it is
    /// ready and not after.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<(B, Vec<MissingResponder>)> {
        let done = Pin::new(&mut self.done).poll(cx).is_ready();
        if !done && self.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.ticket = None;
        Poll::Ready(self.inquiry.end())
    }
}

impl<B: Book> Drop for Gathered<B> {
    fn drop(&mut self) {
        self.inquiry.abandon();
    }
}

impl<T> Gathered<Request<Responder, T>> {
    /// The answers; those that came, if some are missing.
    pub(crate) fn poll_answers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Vec<T>, IncompleteError<Vec<T>>>> {
        self.poll_end(cx).map(|(request, missing)| {
            let answers = request.into_answers();
            if missing.is_empty() {
                Ok(answers)
            } else {
                Err(IncompleteError { partial: answers, missing })
            }
        })
    }
}

#[cfg(test)]
mod tests;
