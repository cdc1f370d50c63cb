//! Waiting for the answers of all shards and of other processes.
//!
//! The bookkeeping is `sedge-adapter`'s; this adds the lock, the timer and the waking of whoever
//! waits, and it hears what comes before it is known who was asked: another process may answer while
//! the request is still being handed to the next.

mod acks;
mod responders;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub use acks::BroadcastAck;
pub(crate) use acks::{AckEvent, Acks};
pub use responders::MissingResponder;
pub(crate) use responders::{Origin, Others, Responder, write_list};
use sedge_adapter::limits::ACKS_BEFORE_COUNT_MAX;
use sedge_adapter::{Missing, MissingReason, Outcome, PeerId, Request};
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::IncompleteError;
use crate::hub::Ticket;

/// One answer per shard or process.
pub(crate) type Gather<T> = Inquiry<Request<Responder, T>>;

/// How answers are kept, and when they are complete.
pub(crate) trait Book: Sized {
    /// What responders tell.
    type Event;
    fn begin(expected: Vec<Responder>, deadline: Instant) -> Self;
    fn tell(&mut self, from: Responder, event: Self::Event);
    fn split(&mut self, whole: Responder, parts: impl Iterator<Item = Responder>);
    fn give_up(&mut self, which: impl Fn(Responder) -> bool, reason: MissingReason);
    fn is_done(&self) -> bool;
    /// Time is over.
    fn end(&mut self);
    /// The responders that are missing.
    fn missing(&self) -> Vec<Missing<Responder>>;
}

impl<T> Book for Request<Responder, T> {
    type Event = T;

    fn begin(expected: Vec<Responder>, deadline: Instant) -> Self {
        Request::new(expected, deadline)
    }

    fn tell(&mut self, from: Responder, answer: T) {
        self.on_response(from, answer);
    }

    fn split(&mut self, whole: Responder, parts: impl Iterator<Item = Responder>) {
        Request::split(self, whole, parts);
    }

    fn give_up(&mut self, which: impl Fn(Responder) -> bool, reason: MissingReason) {
        self.give_up_where(which, reason);
    }

    fn is_done(&self) -> bool {
        self.deadline().is_none()
    }

    fn end(&mut self) {
        if let Some(deadline) = self.deadline() {
            self.on_deadline(deadline);
        }
    }

    fn missing(&self) -> Vec<Missing<Responder>> {
        match self.outcome() {
            Some(Outcome::Partial { missing }) => missing,
            _ => Vec::new(),
        }
    }
}

/// Something that was asked, on the side of those who answer.
pub(crate) struct Inquiry<B: Book> {
    state: Mutex<State<B>>,
    deadline: Instant,
    done: AtomicBool,
}

struct State<B: Book> {
    phase: Phase<B>,
    others: Others,
    finished: Option<oneshot::Sender<()>>,
}

/// Where an inquiry stands; it only ever moves on.
enum Phase<B: Book> {
    /// Those who answer are being asked; what they say is kept until it is known who they are.
    Asking(Vec<Early<B::Event>>),
    /// They are waited for.
    Waiting(B),
    /// Nobody waits any more.
    Over,
}

enum Early<E> {
    Told(Origin, E),
    GaveUp(Origin, MissingReason),
    Left(PeerId),
}

impl<B: Book> Inquiry<B> {
    /// Begins to ask, and waits no longer than this.
    pub(crate) fn new(timeout: Duration) -> (Arc<Inquiry<B>>, Gathered<B>) {
        let (finished, done) = oneshot::channel();
        let phase = Phase::Asking(Vec::new());
        let state = State { phase, others: Others::default(), finished: Some(finished) };
        let (state, done_flag) = (Mutex::new(state), AtomicBool::new(false));
        // The bookkeeping wants a moment; the timer that counts is the future's.
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now);
        let inquiry = Arc::new(Inquiry { state, deadline, done: done_flag });
        let deadline = Deadline::after(Some(timeout));
        (Arc::clone(&inquiry), Gathered { inquiry, done, deadline, ticket: None })
    }

    /// Who was asked: as many shards of this process, and other processes.
    pub(crate) fn expect(&self, shards: usize, others: Others) {
        let mut state = self.lock();
        let responders = (0..shards).map(Responder::Shard).chain(others.responders());
        let mut book = B::begin(responders.collect(), self.deadline);
        for peer in &others.refused {
            book.give_up(|responder| responder.is_of(peer.id), MissingReason::Overloaded);
        }
        state.others = others;
        match std::mem::replace(&mut state.phase, Phase::Waiting(book)) {
            Phase::Asking(early) => {
                for early in early {
                    state.hear(early);
                }
            }
            other => state.phase = other,
        }
        self.finish_if_done(&mut state);
    }

    /// Somebody answers.
    pub(crate) fn tell(&self, from: Origin, event: B::Event) {
        self.hear(Early::Told(from, event));
    }

    /// Somebody cannot be asked, or says that there will be no answer.
    pub(crate) fn give_up(&self, who: Origin, reason: MissingReason) {
        self.hear(Early::GaveUp(who, reason));
    }

    /// Another process has left.
    pub(crate) fn left(&self, peer: PeerId) {
        self.hear(Early::Left(peer));
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    fn hear(&self, early: Early<B::Event>) {
        let mut state = self.lock();
        state.hear(early);
        self.finish_if_done(&mut state);
    }

    fn finish_if_done(&self, state: &mut State<B>) {
        if let Phase::Waiting(book) = &state.phase
            && book.is_done()
            && let Some(finished) = state.finished.take()
        {
            self.done.store(true, Ordering::Relaxed);
            let _ = finished.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Book> State<B> {
    fn hear(&mut self, early: Early<B::Event>) {
        let book = match &mut self.phase {
            Phase::Asking(all) => {
                // Only a confused process answers so much before the question has been put to all.
                if all.len() < ACKS_BEFORE_COUNT_MAX as usize {
                    all.push(early);
                }
                return;
            }
            Phase::Waiting(book) => book,
            Phase::Over => return,
        };
        match early {
            Early::Told(from, event) => {
                let from = responder(book, from);
                book.tell(from, event);
            }
            Early::GaveUp(who, reason) => {
                let who = responder(book, who);
                book.give_up(|responder| responder == who, reason);
            }
            Early::Left(peer) => {
                book.give_up(|responder| responder.is_of(peer), MissingReason::Left);
            }
        }
    }
}

/// Who is heard. A process that is first heard to have several shards is split up.
fn responder(book: &mut impl Book, origin: Origin) -> Responder {
    match origin {
        Origin::Shard(shard) => Responder::Shard(shard),
        Origin::Peer(peer, part) if part.of == 1 => Responder::Process(peer),
        Origin::Peer(peer, part) => {
            book.split(Responder::Process(peer), Responder::parts(peer, part.of));
            Responder::ShardOf(peer, part.shard)
        }
    }
}

/// Something that was asked, on the side of whoever waits for the answers.
pub(crate) struct Gathered<B: Book> {
    inquiry: Arc<Inquiry<B>>,
    done: oneshot::Receiver<()>,
    deadline: Deadline,
    /// Its place among what other processes are asked.
    ticket: Option<Ticket>,
}

impl<B: Book> Gathered<B> {
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
        let mut state = self.inquiry.lock();
        let mut book = match std::mem::replace(&mut state.phase, Phase::Over) {
            Phase::Waiting(book) => book,
            _ => B::begin(Vec::new(), self.inquiry.deadline),
        };
        book.end();
        let missing = state.others.named(book.missing());
        Poll::Ready((book, missing))
    }
}

impl<B: Book> Drop for Gathered<B> {
    fn drop(&mut self) {
        self.inquiry.done.store(true, Ordering::Relaxed);
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
