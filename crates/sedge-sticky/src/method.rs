//! How a target is chosen for a session that nothing ties to one.
//!
//! Weights are a property of the targets and apply to every method, so there is no method of
//! that name: *weighted* is round robin over targets of different weight. It is the smooth form
//! that nginx introduced: weights 5, 1, 1 give `a a b a c a a`, never five in a row, which for
//! handshakes would be a burst of five.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::target::{Entry, Purpose, Table, TargetId};

/// How new sessions are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// To the target with the fewest sessions for its weight, what was assigned included; among equal
    /// ones in turn.
    #[default]
    LeastConnection,
    /// In turn, each as often as its weight says.
    RoundRobin,
    /// At random, each as often as its weight says.
    Random,
    /// To the one of two random targets that has less. Nearly as even as
    /// [`LeastConnection`](Method::LeastConnection), and balancers that know different loads do not
    /// all run to the same target.
    TwoChoices,
}

/// The text names no method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a method: least-connection, round-robin, weighted, random or two-choices")]
pub struct UnknownMethod;

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] =
        [Method::LeastConnection, Method::RoundRobin, Method::Random, Method::TwoChoices];

    /// The name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::LeastConnection => "least-connection",
            Method::RoundRobin => "round-robin",
            Method::Random => "random",
            Method::TwoChoices => "two-choices",
        }
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Method, UnknownMethod> {
        match text {
            "weighted" => Ok(Method::RoundRobin),
            _ => Method::ALL.into_iter().find(|m| m.as_str() == text).ok_or(UnknownMethod),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Chooses a target; `None` if none takes this. `turn` is where the last search for the least
/// ended. All 64 bits of `random` must be random.
pub(crate) fn pick(
    method: Method,
    table: &mut Table,
    purpose: Purpose,
    turn: &mut usize,
    random: u64,
) -> Option<TargetId> {
    match method {
        Method::LeastConnection => least(table, purpose, turn),
        Method::RoundRobin => in_turn(table, purpose),
        Method::Random => draw(table, purpose, None, random).map(|entry| entry.id),
        Method::TwoChoices => better_of_two(table, purpose, random),
    }
}

fn least(table: &Table, purpose: Purpose, turn: &mut usize) -> Option<TargetId> {
    let count = table.slot_count();
    let begin = *turn;
    let slots = (0..count).map(|offset| (begin + 1 + offset) % count);
    let entries = slots.filter_map(|slot| table.at(slot)).filter(|entry| entry.takes(purpose));
    // Of equal ones the first counted from where the last choice was.
    let id = entries.reduce(|best, entry| if entry.is_freer_than(best) { entry } else { best })?.id;
    *turn = id.slot();
    Some(id)
}

fn in_turn(table: &mut Table, purpose: Purpose) -> Option<TargetId> {
    let mut sum = 0;
    let mut best: Option<(i64, TargetId)> = None;
    for entry in table.iter_mut().filter(|entry| entry.takes(purpose)) {
        let weight = i64::from(entry.weight);
        entry.owed += weight;
        sum += weight;
        if best.is_none_or(|(owed, _)| entry.owed > owed) {
            best = Some((entry.owed, entry.id));
        }
    }
    let (_, id) = best?;
    table.get_mut(id)?.owed -= sum;
    Some(id)
}

/// A random target, by weight, but not this one.
fn draw(table: &Table, purpose: Purpose, but: Option<TargetId>, random: u64) -> Option<&Entry> {
    let candidates = || table.iter().filter(|entry| entry.takes(purpose) && Some(entry.id) != but);
    let sum: u64 = candidates().map(|entry| u64::from(entry.weight)).sum();
    // The fraction `random / 2^64` of the sum.
    let mut rest = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
    candidates().find(|entry| match rest.checked_sub(u64::from(entry.weight)) {
        Some(less) => {
            rest = less;
            false
        }
        None => true,
    })
}

fn better_of_two(table: &Table, purpose: Purpose, random: u64) -> Option<TargetId> {
    let first = draw(table, purpose, None, random)?;
    // The lower half decides next; the sum of the weights is far below 2^32.
    let second = draw(table, purpose, Some(first.id), random << 32);
    Some(second.filter(|second| second.is_freer_than(first)).unwrap_or(first).id)
}
