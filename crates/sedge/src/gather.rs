//! Waiting for the answers of all shards, and for the acknowledgements of a broadcast.
//!
//! The bookkeeping is `sedge-adapter`'s, with shards as responders; this adds the lock, the
//! timer and the waking of whoever waits.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sedge_adapter::{AckRequest, Request};
use sedge_protocol::socketio::Args;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::{BroadcastAckError, EmitError, IncompleteError};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One answer per shard.
pub(crate) struct Gather<T> {
    state: Mutex<GatherState<T>>,
}

struct GatherState<T> {
    request: Request<usize, T>,
    answered: usize,
    finished: Option<oneshot::Sender<()>>,
}

impl<T> Gather<T> {
    /// Waits for as many shards, for as long at most.
    pub(crate) fn new(shards: usize, timeout: Duration) -> (Arc<Gather<T>>, Gathered<T>) {
        let (finished, done) = oneshot::channel();
        let mut state = GatherState {
            request: Request::new(0..shards, far(timeout)),
            answered: 0,
            finished: Some(finished),
        };
        state.finish_if_done();
        let gather = Arc::new(Gather { state: Mutex::new(state) });
        let deadline = Deadline::after(Some(timeout));
        (Arc::clone(&gather), Gathered { gather, done, deadline, shards })
    }

    /// A shard answers.
    pub(crate) fn answer(&self, shard: usize, answer: T) {
        let mut state = lock(&self.state);
        state.answered += 1;
        state.request.on_response(shard, answer);
        state.finish_if_done();
    }

    /// A shard cannot be asked.
    pub(crate) fn unreachable(&self, shard: usize) {
        let mut state = lock(&self.state);
        state.request.on_member_left(shard);
        state.finish_if_done();
    }
}

impl<T> GatherState<T> {
    fn finish_if_done(&mut self) {
        if self.request.outcome().is_some()
            && let Some(finished) = self.finished.take()
        {
            let _ = finished.send(());
        }
    }
}

/// The future of all answers; those that came, and how many did not, if time runs out.
pub(crate) struct Gathered<T> {
    gather: Arc<Gather<T>>,
    done: oneshot::Receiver<()>,
    deadline: Deadline,
    shards: usize,
}

impl<T: std::fmt::Debug> Future for Gathered<T> {
    type Output = Result<Vec<T>, IncompleteError<Vec<T>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if Pin::new(&mut this.done).poll(cx).is_pending() && this.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let mut state = lock(&this.gather.state);
        let missing = this.shards - state.answered.min(this.shards);
        let none = Request::new(None, Instant::now());
        let answers = std::mem::replace(&mut state.request, none).into_answers();
        Poll::Ready(match missing {
            0 => Ok(answers),
            missing => Err(IncompleteError { partial: answers, missing }),
        })
    }
}

/// The acknowledgements of a broadcast. It ends as soon as nobody is left who could acknowledge.
pub(crate) struct Acks {
    state: Mutex<AcksState>,
    done: AtomicBool,
}

struct AcksState {
    request: AckRequest<usize, Args<'static>>,
    /// Shards that have not counted yet.
    uncounted: usize,
    /// Clients that were disconnected before they acknowledged.
    lost: u64,
    finished: Option<oneshot::Sender<()>>,
}

impl Acks {
    /// Waits for the clients of as many shards, for as long at most.
    pub(crate) fn new<R>(shards: usize, timeout: Duration) -> (Arc<Acks>, BroadcastAck<R>) {
        let (finished, done) = oneshot::channel();
        let state = AcksState {
            request: AckRequest::new(0..shards, far(timeout)),
            uncounted: shards,
            lost: 0,
            finished: Some(finished),
        };
        let acks = Arc::new(Acks { state: Mutex::new(state), done: AtomicBool::new(false) });
        let waiting =
            Waiting { acks: Arc::clone(&acks), done, deadline: Deadline::after(Some(timeout)) };
        (acks, BroadcastAck { waiting: Some(waiting), emit: None, result: PhantomData })
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// A shard has sent the packet to as many clients.
    pub(crate) fn counted(&self, shard: usize, clients: usize) {
        let mut state = lock(&self.state);
        state.uncounted = state.uncounted.saturating_sub(1);
        state.request.on_client_count(shard, clients as u32);
        self.finish_if_done(&mut state);
    }

    /// A shard cannot be asked.
    pub(crate) fn unreachable(&self, shard: usize) {
        let mut state = lock(&self.state);
        state.uncounted = state.uncounted.saturating_sub(1);
        state.request.on_member_left(shard);
        self.finish_if_done(&mut state);
    }

    /// A client has acknowledged.
    pub(crate) fn acknowledged(&self, shard: usize, args: Args<'static>) {
        let mut state = lock(&self.state);
        state.request.on_ack(shard, args);
        self.finish_if_done(&mut state);
    }

    /// A client was disconnected before it acknowledged.
    pub(crate) fn lost(&self) {
        let mut state = lock(&self.state);
        state.lost += 1;
        self.finish_if_done(&mut state);
    }

    fn finish_if_done(&self, state: &mut AcksState) {
        let settled = state.request.acks().len() as u64 + state.lost;
        let nobody_left = state.uncounted == 0 && settled >= state.request.clients();
        if (nobody_left || state.request.outcome().is_some())
            && let Some(finished) = state.finished.take()
        {
            self.done.store(true, Ordering::Relaxed);
            let _ = finished.send(());
        }
    }
}

/// A future of the acknowledgements of a broadcast, each decoded as `R`: all of them, or an error
/// that has those that came in time.
///
/// The event has been sent when this is made. It needs a tokio runtime with its timer enabled.
#[must_use = "to send without waiting for the acknowledgements there is `emit`"]
pub struct BroadcastAck<R> {
    waiting: Option<Waiting>,
    emit: Option<EmitError>,
    result: PhantomData<fn() -> R>,
}

struct Waiting {
    acks: Arc<Acks>,
    done: oneshot::Receiver<()>,
    deadline: Deadline,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.acks.done.store(true, Ordering::Relaxed);
    }
}

impl<R> BroadcastAck<R> {
    /// Nothing was sent.
    pub(crate) fn failed(error: EmitError) -> Self {
        BroadcastAck { waiting: None, emit: Some(error), result: PhantomData }
    }

    /// Some shards could not be reached.
    pub(crate) fn with_error(mut self, error: Option<EmitError>) -> Self {
        self.emit = error;
        self
    }
}

impl<R: DeserializeOwned> Future for BroadcastAck<R> {
    type Output = Result<Vec<R>, BroadcastAckError<R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut result = BroadcastAckError {
            responses: Vec::new(),
            missing: 0,
            unreadable: 0,
            emit: this.emit.clone(),
        };
        let Some(waiting) = &mut this.waiting else { return Poll::Ready(Err(result)) };
        let done = Pin::new(&mut waiting.done).poll(cx).is_ready();
        if !done && waiting.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let mut state = lock(&waiting.acks.state);
        let none = AckRequest::new(None, Instant::now());
        let request = std::mem::replace(&mut state.request, none);
        let uncounted = state.uncounted;
        drop(state);
        let clients = request.clients() as usize;
        let acks = request.into_acks();
        result.missing = clients.saturating_sub(acks.len());
        for ack in acks {
            // Only the first argument counts, as in the official server.
            match ack.get(0) {
                Ok(response) => result.responses.push(response),
                Err(_) => result.unreadable += 1,
            }
        }
        let complete = result.missing + result.unreadable + uncounted == 0 && result.emit.is_none();
        Poll::Ready(if complete { Ok(result.responses) } else { Err(result) })
    }
}

/// The adapter's bookkeeping wants a moment; the timer that counts is the future's.
fn far(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sedge_protocol::socketio::Value;

    const SECOND: Duration = Duration::from_secs(1);

    fn args(value: impl Into<Value>) -> Args<'static> {
        Args::from_values(vec![value.into()])
    }

    #[tokio::test]
    async fn all_shards_have_answered() {
        let (gather, gathered) = Gather::new(2, SECOND);
        gather.answer(0, "a");
        gather.answer(1, "b");
        assert_eq!(gathered.await, Ok(vec!["a", "b"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_shard_is_counted_as_missing() {
        let (gather, gathered) = Gather::new(2, SECOND);
        gather.answer(1, "b");
        let error = gathered.await.unwrap_err();
        assert_eq!((error.partial, error.missing), (vec!["b"], 1));
    }

    #[tokio::test]
    async fn a_shard_that_cannot_be_asked_is_not_waited_for() {
        let (gather, gathered) = Gather::new(2, SECOND);
        gather.answer(1, "b");
        gather.unreachable(0);
        assert_eq!(gathered.await.unwrap_err().missing, 1);
    }

    #[tokio::test]
    async fn every_client_has_acknowledged() {
        let (acks, waiting) = Acks::new::<i64>(2, SECOND);
        acks.counted(0, 1);
        acks.acknowledged(0, args(1));
        acks.counted(1, 0);
        assert!(acks.is_done());
        assert_eq!(waiting.await, Ok(vec![1]));
    }

    #[tokio::test]
    async fn nobody_was_asked() {
        let (acks, waiting) = Acks::new::<i64>(1, SECOND);
        acks.counted(0, 0);
        assert_eq!(waiting.await, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_missing_and_not_waited_for() {
        let (acks, waiting) = Acks::new::<i64>(1, SECOND);
        acks.counted(0, 2);
        acks.lost();
        acks.acknowledged(0, args(1));
        let error = waiting.await.unwrap_err();
        assert_eq!((error.responses, error.missing), (vec![1], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_out_with_what_came() {
        let (acks, waiting) = Acks::new::<i64>(1, SECOND);
        acks.counted(0, 3);
        acks.acknowledged(0, args(1));
        acks.acknowledged(0, args("no number"));
        let error = waiting.await.unwrap_err();
        assert_eq!((error.responses, error.missing, error.unreadable), (vec![1], 1, 1));
        assert!(acks.is_done());
    }

    #[tokio::test]
    async fn what_was_never_sent_fails_at_once() {
        let error = BroadcastAck::<i64>::failed(EmitError::NotConnected).await.unwrap_err();
        assert_eq!(error.emit, Some(EmitError::NotConnected));
    }
}
