//! Something that was asked of shards and of other processes, on the side of those who answer.
//!
//! The bookkeeping is `sedge-adapter`'s; this adds the lock, and it hears what comes before it is known who
//! was asked: another process may answer while the request is still being handed to the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sedge_adapter::limits::ACKS_BEFORE_COUNT_MAX;
use sedge_adapter::{Missing, MissingReason, Outcome, PeerId, Request};
use tokio::sync::oneshot;

use super::responders::{MissingResponder, Origin, Others, Responder};

/// One answer per shard or process, in one part or several.
pub(crate) type Gather<T> = Inquiry<Request<Responder, T>>;

/// What a responder answers.
pub(crate) enum Answer<T> {
    /// A part; more follow.
    Part(T),
    /// All of it, or the last part.
    Last(T),
}

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
    type Event = Answer<T>;

    fn begin(expected: Vec<Responder>, deadline: Instant) -> Self {
        Request::new(expected, deadline)
    }

    fn tell(&mut self, from: Responder, answer: Answer<T>) {
        match answer {
            Answer::Part(part) => self.on_part(from, part),
            Answer::Last(last) => drop(self.on_response(from, last)),
        }
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
    state: Mutex<Progress<B>>,
    deadline: Instant,
    done: AtomicBool,
}

struct Progress<B: Book> {
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
    /// Begins to ask. The receiver is told when all have answered.
    pub(crate) fn new(timeout: Duration) -> (Arc<Inquiry<B>>, oneshot::Receiver<()>) {
        let (finished, done) = oneshot::channel();
        let phase = Phase::Asking(Vec::new());
        let state = Progress { phase, others: Others::default(), finished: Some(finished) };
        let (state, done_flag) = (Mutex::new(state), AtomicBool::new(false));
        // The bookkeeping wants a moment; the timer that counts is the future's.
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now);
        (Arc::new(Inquiry { state, deadline, done: done_flag }), done)
    }

    /// Who was asked: as many shards of this process, and other processes.
    pub(crate) fn expect(&self, shards: usize, others: Others) {
        let mut state = self.lock();
        let responders = (0..shards).map(Responder::Shard).chain(others.responders());
        let mut book = B::begin(responders.collect(), self.deadline);
        let refused = others.refused.iter().map(|peer| (peer.id, MissingReason::Overloaded));
        let too_long = others.too_long.iter().map(|peer| (peer.id, MissingReason::TooLong));
        for (peer, reason) in refused.chain(too_long) {
            book.give_up(|responder| responder.is_of(peer), reason);
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

    /// Nobody waits any more.
    pub(crate) fn abandon(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Ends the wait: what came, and the names of those who are missing.
    pub(crate) fn end(&self) -> (B, Vec<MissingResponder>) {
        let mut state = self.lock();
        let mut book = match std::mem::replace(&mut state.phase, Phase::Over) {
            Phase::Waiting(book) => book,
            _ => B::begin(Vec::new(), self.deadline),
        };
        book.end();
        let missing = state.others.named(book.missing());
        (book, missing)
    }

    fn hear(&self, early: Early<B::Event>) {
        let mut state = self.lock();
        state.hear(early);
        self.finish_if_done(&mut state);
    }

    fn finish_if_done(&self, state: &mut Progress<B>) {
        if let Phase::Waiting(book) = &state.phase
            && book.is_done()
            && let Some(finished) = state.finished.take()
        {
            self.done.store(true, Ordering::Relaxed);
            let _ = finished.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Gather<T> {
    /// Somebody answers, in one part.
    pub(crate) fn answer(&self, from: Origin, answer: T) {
        self.tell(from, Answer::Last(answer));
    }
}

impl<B: Book> Progress<B> {
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
