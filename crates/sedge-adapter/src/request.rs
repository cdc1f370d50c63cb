//! The bookkeeping of a request that several shards or nodes answer, in virtual time.
//!
//! [`Request`] is for operations that each responder answers once; [`AckRequest`] for a broadcast
//! whose clients acknowledge. Both are told what happens and say when they are done. Neither
//! reads a clock: whoever owns them keeps the timer and calls `on_deadline`.
//!
//! ```text
//! waiting --last answer------------------------> Complete
//!    |----everybody missing has left-----------> Partial
//!    '----deadline-----------------------------> Partial
//! ```

use std::time::Instant;

use crate::limits::ACKS_BEFORE_COUNT_MAX;

/// How a request ended. What was answered is kept by the request in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// Everybody who was expected has answered in full.
    Complete,
    /// Some have not.
    Partial {
        /// Who, and why; never empty.
        missing: Vec<Missing<R>>,
    },
}

/// A responder that did not answer, or not in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing<R> {
    /// Who did not answer.
    pub responder: R,
    /// Why it is no longer waited for.
    pub reason: MissingReason,
}

/// Why a responder is no longer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingReason {
    /// It left before it had answered. Its sockets are gone with it, so a list of sockets lacks
    /// nothing that still exists; the official server counts this as complete.
    Left,
    /// It stayed silent until the deadline.
    Deadline,
}

/// A request that each responder answers once: fetching sockets, server-side emit with answer.
///
/// `R` names a responder (a shard's number, a node's id), `T` is one answer.
#[derive(Debug)]
pub struct Request<R, T> {
    deadline: Instant,
    waiting: Vec<R>,
    left: Vec<R>,
    answers: Vec<T>,
    done: bool,
}

impl<R: Copy + Eq, T> Request<R, T> {
    /// Begins to wait for `expected`. A request that expects nobody is complete from the start:
    /// see [`outcome`](Self::outcome).
    pub fn new(expected: impl IntoIterator<Item = R>, deadline: Instant) -> Self {
        let waiting = distinct(expected);
        let done = waiting.is_empty();
        Self { deadline, waiting, left: Vec::new(), answers: Vec::new(), done }
    }

    /// Takes an answer. Returns the outcome if this was the last one missing. An answer from
    /// somebody who is not waited for (unknown, answered already, left, too late) is dropped.
    pub fn on_response(&mut self, from: R, answer: T) -> Option<Outcome<R>> {
        if self.done || !remove(&mut self.waiting, from) {
            return None;
        }
        self.answers.push(answer);
        self.finish_if_nobody_waited_for()
    }

    /// Stops waiting for a responder that has left. Returns the outcome if nobody else is missing.
    pub fn on_member_left(&mut self, who: R) -> Option<Outcome<R>> {
        if self.done || !remove(&mut self.waiting, who) {
            return None;
        }
        self.left.push(who);
        self.finish_if_nobody_waited_for()
    }

    /// Stops waiting for everybody if `now` has reached the deadline, and returns the outcome then.
    /// A call that comes early does nothing.
    pub fn on_deadline(&mut self, now: Instant) -> Option<Outcome<R>> {
        if self.done || now < self.deadline {
            return None;
        }
        self.done = true;
        self.outcome()
    }

    /// When to call [`on_deadline`](Self::on_deadline); `None` once done.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.done).then_some(self.deadline)
    }

    /// How it ended; `None` while it is waiting.
    pub fn outcome(&self) -> Option<Outcome<R>> {
        self.done.then(|| outcome(self.left.iter().copied(), self.waiting.iter().copied()))
    }

    /// The answers so far, in the order they came.
    pub fn answers(&self) -> &[T] {
        &self.answers
    }

    /// The answers, in the order they came.
    pub fn into_answers(self) -> Vec<T> {
        self.answers
    }

    fn finish_if_nobody_waited_for(&mut self) -> Option<Outcome<R>> {
        self.done = self.waiting.is_empty();
        self.outcome()
    }
}

/// A broadcast whose clients acknowledge: each responder reports how many clients it reached, and
/// passes on one acknowledgement per client.
///
/// Complete when every responder has reported its count and as many acknowledgements have
/// come from it. Whether the count or the acknowledgements come first does not matter.
#[derive(Debug)]
pub struct AckRequest<R, T> {
    deadline: Instant,
    tallies: Vec<Tally<R>>,
    /// How many tallies are still waited for, so that an acknowledgement need not walk them all.
    open: usize,
    acks: Vec<T>,
    done: bool,
}

#[derive(Debug)]
struct Tally<R> {
    responder: R,
    clients: Option<u32>,
    acks: u32,
    left: bool,
}

impl<R> Tally<R> {
    fn is_full(&self) -> bool {
        self.clients.is_some_and(|clients| self.acks >= clients)
    }

    fn is_open(&self) -> bool {
        !self.left && !self.is_full()
    }
}

impl<R: Copy + Eq, T> AckRequest<R, T> {
    /// Begins to wait for `expected`. A request that expects nobody is complete from the start:
    /// see [`outcome`](Self::outcome).
    pub fn new(expected: impl IntoIterator<Item = R>, deadline: Instant) -> Self {
        let tally = |responder| Tally { responder, clients: None, acks: 0, left: false };
        let tallies: Vec<_> = distinct(expected).into_iter().map(tally).collect();
        let open = tallies.len();
        Self { deadline, tallies, open, acks: Vec::new(), done: open == 0 }
    }

    /// Takes a responder's count of clients. Returns the outcome if nothing else is missing. Only
    /// the first count of an expected responder is taken.
    pub fn on_client_count(&mut self, from: R, clients: u32) -> Option<Outcome<R>> {
        let tally = self.open_tally(from)?;
        if tally.clients.is_some() {
            return None;
        }
        tally.clients = Some(clients);
        let closed = tally.is_full();
        self.close(closed)
    }

    /// Takes the acknowledgement of one client. Returns the outcome if it was the last one missing.
    /// More of them than clients were counted are dropped, and so are those of strangers.
    pub fn on_ack(&mut self, from: R, ack: T) -> Option<Outcome<R>> {
        let tally = self.open_tally(from)?;
        if tally.clients.is_none() && tally.acks >= ACKS_BEFORE_COUNT_MAX {
            return None;
        }
        tally.acks += 1;
        let closed = tally.is_full();
        self.acks.push(ack);
        self.close(closed)
    }

    /// Stops waiting for a responder that has left; acknowledgements it passed on stay. Returns the
    /// outcome if nobody else is missing.
    pub fn on_member_left(&mut self, who: R) -> Option<Outcome<R>> {
        self.open_tally(who)?.left = true;
        self.close(true)
    }

    /// Stops waiting for everybody if `now` has reached the deadline, and returns the outcome then.
    /// A call that comes early does nothing.
    pub fn on_deadline(&mut self, now: Instant) -> Option<Outcome<R>> {
        if self.done || now < self.deadline {
            return None;
        }
        self.done = true;
        self.outcome()
    }

    /// When to call [`on_deadline`](Self::on_deadline); `None` once done.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.done).then_some(self.deadline)
    }

    /// How it ended; `None` while it is waiting.
    pub fn outcome(&self) -> Option<Outcome<R>> {
        let of = |left| {
            let missing = move |tally: &&Tally<R>| !tally.is_full() && tally.left == left;
            self.tallies.iter().filter(missing).map(|tally| tally.responder)
        };
        self.done.then(|| outcome(of(true), of(false)))
    }

    /// How many clients the responders have counted so far.
    pub fn clients(&self) -> u64 {
        self.tallies.iter().filter_map(|tally| tally.clients).map(u64::from).sum()
    }

    /// The acknowledgements so far, in the order they came.
    pub fn acks(&self) -> &[T] {
        &self.acks
    }

    /// The acknowledgements, in the order they came.
    pub fn into_acks(self) -> Vec<T> {
        self.acks
    }

    /// The tally of somebody who is still waited for.
    fn open_tally(&mut self, of: R) -> Option<&mut Tally<R>> {
        if self.done {
            return None;
        }
        self.tallies.iter_mut().find(|tally| tally.responder == of && tally.is_open())
    }

    /// Notes whether an open tally has just been closed.
    fn close(&mut self, closed: bool) -> Option<Outcome<R>> {
        self.open -= usize::from(closed);
        self.done = self.open == 0;
        self.outcome()
    }
}

fn outcome<R>(left: impl Iterator<Item = R>, silent: impl Iterator<Item = R>) -> Outcome<R> {
    let missing = |reason| move |responder| Missing { responder, reason };
    let left = left.map(missing(MissingReason::Left));
    let missing: Vec<_> = left.chain(silent.map(missing(MissingReason::Deadline))).collect();
    if missing.is_empty() { Outcome::Complete } else { Outcome::Partial { missing } }
}

/// Shards and nodes are few, so a list searched from the front serves as a set.
fn distinct<R: Copy + Eq>(all: impl IntoIterator<Item = R>) -> Vec<R> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// Whether `one` was in the list, and is not any more.
fn remove<R: Copy + Eq>(list: &mut Vec<R>, one: R) -> bool {
    let position = list.iter().position(|known| *known == one);
    position.map(|index| list.swap_remove(index)).is_some()
}

#[cfg(test)]
mod tests;
