//! The bookkeeping of a request that several shards or nodes answer, in virtual time.
//!
//! [`Request`] is for operations that each responder answers once; [`AckRequest`] for a broadcast
//! whose clients acknowledge. Both are told what happens and say when they are done. Neither
//! reads a clock: whoever owns them keeps the timer and calls `on_deadline`.
//!
//! ```text
//! waiting --last answer------------------------> Complete
//!    |----everybody missing was given up-------> Partial
//!    '----deadline-----------------------------> Partial
//! ```

use std::fmt;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissingReason {
    /// It left before it had answered. Its sockets are gone with it, so a list of sockets lacks
    /// nothing that still exists; the official server counts this as complete.
    Left,
    /// It stayed silent until the deadline.
    Deadline,
    /// It could not be asked: the queue to it is full, or so much is asked already that there is no
    /// room for one more request.
    Overloaded,
    /// It has no listener for the event.
    NoListener,
    /// Its listener ended without an answer: it failed, panicked, or does not answer.
    NoAnswer,
    /// It answered with something else than was asked for.
    Unreadable,
    /// What it is asked, or a part of its answer, is longer than the bus takes.
    TooLong,
}

impl fmt::Display for MissingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "it has left",
            Self::Deadline => "it did not answer in time",
            Self::Overloaded => "it has too much to do",
            Self::NoListener => "it has no listener",
            Self::NoAnswer => "its listener ended without an answer",
            Self::Unreadable => "its answer cannot be read",
            Self::TooLong => "the message is too long for the bus",
        })
    }
}

/// A request that each responder answers once: fetching sockets, server-side emit with answer. An answer
/// may come in several parts.
///
/// `R` names a responder (a shard's number, a node's id), `T` is one answer or a part of one.
#[derive(Debug)]
pub struct Request<R, T> {
    deadline: Instant,
    waiting: Vec<R>,
    given_up: Vec<Missing<R>>,
    answers: Vec<T>,
    done: bool,
}

impl<R: Copy + Eq, T> Request<R, T> {
    /// Begins to wait for `expected`. A request that expects nobody is complete from the start:
    /// see [`outcome`](Self::outcome).
    pub fn new(expected: impl IntoIterator<Item = R>, deadline: Instant) -> Self {
        let waiting = distinct(expected);
        let done = waiting.is_empty();
        Self { deadline, waiting, given_up: Vec::new(), answers: Vec::new(), done }
    }

    /// Whether an answer of this responder is waited for.
    pub fn is_waiting_for(&self, who: R) -> bool {
        !self.done && self.waiting.contains(&who)
    }

    /// Waits for `parts` instead of `whole`, if that was waited for: a process has said of how many
    /// shards it consists, each of which answers. Without parts nothing changes.
    pub fn split(&mut self, whole: R, parts: impl IntoIterator<Item = R>) {
        let mut parts = parts.into_iter().peekable();
        if self.done || parts.peek().is_none() || !remove(&mut self.waiting, whole) {
            return;
        }
        self.waiting = distinct(self.waiting.drain(..).chain(parts));
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

    /// Takes a part of an answer, whose responder is waited for until its last part is
    /// [the answer](Self::on_response). It is kept, whatever becomes of the others.
    pub fn on_part(&mut self, from: R, part: T) {
        if self.is_waiting_for(from) {
            self.answers.push(part);
        }
    }

    /// Stops waiting for a responder. Returns the outcome if nobody else is missing.
    pub fn give_up(&mut self, who: R, reason: MissingReason) -> Option<Outcome<R>> {
        self.give_up_where(|known| known == who, reason)
    }

    /// Stops waiting for all responders of which `which` is true. Returns the outcome if nobody else
    /// is missing.
    pub fn give_up_where(
        &mut self,
        which: impl Fn(R) -> bool,
        reason: MissingReason,
    ) -> Option<Outcome<R>> {
        if self.done || !self.waiting.iter().any(|responder| which(*responder)) {
            return None;
        }
        let given_up = self.waiting.iter().copied().filter(|responder| which(*responder));
        self.given_up.extend(given_up.map(|responder| Missing { responder, reason }));
        self.waiting.retain(|responder| !which(*responder));
        self.finish_if_nobody_waited_for()
    }

    /// Stops waiting for a responder that has left. Returns the outcome if nobody else is missing.
    pub fn on_member_left(&mut self, who: R) -> Option<Outcome<R>> {
        self.give_up(who, MissingReason::Left)
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
        let given_up = self.given_up.iter().copied();
        self.done.then(|| outcome(given_up, self.waiting.iter().copied()))
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
/// come from it as clients are left that can acknowledge. Whether the count or the acknowledgements
/// come first does not matter.
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
    /// Clients that will not acknowledge any more.
    lost: u32,
    given_up: Option<MissingReason>,
}

impl<R> Tally<R> {
    fn new(responder: R) -> Self {
        Tally { responder, clients: None, acks: 0, lost: 0, given_up: None }
    }

    /// How many clients have been heard of.
    fn settled(&self) -> u32 {
        self.acks.saturating_add(self.lost)
    }

    fn is_full(&self) -> bool {
        self.clients.is_some_and(|clients| self.settled() >= clients)
    }

    fn is_open(&self) -> bool {
        self.given_up.is_none() && !self.is_full()
    }

    /// Whether it may tell of one more client.
    fn has_room(&self) -> bool {
        self.clients.is_some() || self.settled() < ACKS_BEFORE_COUNT_MAX
    }
}

impl<R: Copy + Eq, T> AckRequest<R, T> {
    /// Begins to wait for `expected`. A request that expects nobody is complete from the start:
    /// see [`outcome`](Self::outcome).
    pub fn new(expected: impl IntoIterator<Item = R>, deadline: Instant) -> Self {
        let tallies: Vec<_> = distinct(expected).into_iter().map(Tally::new).collect();
        let open = tallies.len();
        Self { deadline, tallies, open, acks: Vec::new(), done: open == 0 }
    }

    /// Whether something of this responder is waited for.
    pub fn is_waiting_for(&self, who: R) -> bool {
        !self.done && self.tallies.iter().any(|tally| tally.responder == who && tally.is_open())
    }

    /// Waits for `parts` instead of `whole`, if that was waited for: a process has said of how many
    /// shards it consists, each of which counts its own clients. Without parts nothing changes.
    pub fn split(&mut self, whole: R, parts: impl IntoIterator<Item = R>) {
        let mut parts = parts.into_iter().peekable();
        if parts.peek().is_none() || !self.is_waiting_for(whole) {
            return;
        }
        self.tallies.retain(|tally| tally.responder != whole);
        self.open -= 1;
        for part in parts {
            if self.tallies.iter().all(|tally| tally.responder != part) {
                self.tallies.push(Tally::new(part));
                self.open += 1;
            }
        }
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
        let tally = self.open_tally(from).filter(|tally| tally.has_room())?;
        tally.acks += 1;
        let closed = tally.is_full();
        self.acks.push(ack);
        self.close(closed)
    }

    /// Some of a responder's clients will not acknowledge: they have been disconnected, or could not
    /// be asked. Returns the outcome if nothing else is missing.
    pub fn on_clients_lost(&mut self, from: R, clients: u32) -> Option<Outcome<R>> {
        let tally = self.open_tally(from)?;
        let most = tally.clients.unwrap_or(ACKS_BEFORE_COUNT_MAX).saturating_sub(tally.acks);
        tally.lost = tally.lost.saturating_add(clients).min(most);
        let closed = tally.is_full();
        self.close(closed)
    }

    /// Stops waiting for a responder; acknowledgements it passed on stay. Returns the outcome if
    /// nobody else is missing.
    pub fn give_up(&mut self, who: R, reason: MissingReason) -> Option<Outcome<R>> {
        self.give_up_where(|known| known == who, reason)
    }

    /// Stops waiting for all responders of which `which` is true; acknowledgements they passed on
    /// stay. Returns the outcome if nobody else is missing.
    pub fn give_up_where(
        &mut self,
        which: impl Fn(R) -> bool,
        reason: MissingReason,
    ) -> Option<Outcome<R>> {
        if self.done {
            return None;
        }
        let mut given_up = 0;
        for tally in self.tallies.iter_mut().filter(|tally| tally.is_open()) {
            if which(tally.responder) {
                tally.given_up = Some(reason);
                given_up += 1;
            }
        }
        self.open -= given_up;
        if given_up == 0 {
            return None;
        }
        self.done = self.open == 0;
        self.outcome()
    }

    /// Stops waiting for a responder that has left; acknowledgements it passed on stay. Returns the
    /// outcome if nobody else is missing.
    pub fn on_member_left(&mut self, who: R) -> Option<Outcome<R>> {
        self.give_up(who, MissingReason::Left)
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
        let missing = || self.tallies.iter().filter(|tally| !tally.is_full());
        let given_up = missing().filter_map(Tally::missing);
        let silent = missing().filter(|tally| tally.given_up.is_none());
        self.done.then(|| outcome(given_up, silent.map(|tally| tally.responder)))
    }

    /// The responders that are missing themselves, not only some of their clients: those that were
    /// given up, and those that have not said how many clients they reached.
    pub fn unheard(&self) -> impl Iterator<Item = Missing<R>> + '_ {
        self.tallies.iter().filter_map(|tally| match tally.clients {
            None => {
                let reason = tally.given_up.unwrap_or(MissingReason::Deadline);
                Some(Missing { responder: tally.responder, reason })
            }
            Some(_) => tally.missing(),
        })
    }

    /// How many clients the responders have counted so far.
    pub fn clients(&self) -> u64 {
        self.tallies.iter().filter_map(|tally| tally.clients).map(u64::from).sum()
    }

    /// How many clients will not acknowledge any more.
    pub fn lost(&self) -> u64 {
        self.tallies.iter().map(|tally| u64::from(tally.lost)).sum()
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

impl<R: Copy> Tally<R> {
    /// Set if it was given up.
    fn missing(&self) -> Option<Missing<R>> {
        self.given_up.map(|reason| Missing { responder: self.responder, reason })
    }
}

fn outcome<R>(
    given_up: impl Iterator<Item = Missing<R>>,
    silent: impl Iterator<Item = R>,
) -> Outcome<R> {
    let silent = silent.map(|responder| Missing { responder, reason: MissingReason::Deadline });
    let missing: Vec<_> = given_up.chain(silent).collect();
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
