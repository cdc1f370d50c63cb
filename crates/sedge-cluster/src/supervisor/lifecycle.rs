//! The states of a worker's process, as a function of what happens to it and of time.
//!
//! ```text
//!            ready                heartbeats missed
//! Starting --------> Ready <----------------------> Suspect
//!    |                 |         answers again         |
//!    | too late        | told to end, or closed        | missed too many
//!    |                 | its channel                   |
//!    |                 v                               |
//!    |              Draining (from Suspect as well)    |
//!    |                 | too late, or missed too many  |
//!    v                 v                               v
//! Killed <--------------------------------------------(also when told to end at once)
//! ```
//!
//! The process can end in any state; that is the end of this one's story.

use std::time::{Duration, Instant};

use crate::limits::{EXIT_TIMEOUT, HEARTBEATS_MISSED_SUSPECT};
use crate::wire::command::WorkerState;

/// What is known of a worker's process while it lives.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: State,
    missed_max: u64,
    ready_since: Option<Instant>,
    /// It was told to end.
    ordered: bool,
}

#[derive(Debug)]
enum State {
    Starting { until: Instant },
    Ready(Pulse),
    Suspect(Pulse),
    Draining { until: Instant, overdue: &'static str, pulse: Pulse },
    Killed { why: String },
}

/// Heartbeats sent, and the last one answered.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    sent: u64,
    answered: u64,
}

/// What happens to a worker.
#[derive(Debug)]
pub(crate) enum Event {
    /// It says that it is ready.
    Ready,
    /// It has answered this heartbeat, and with it all before.
    Answered(u64),
    /// The time of the next heartbeat has come.
    BeatDue,
    /// It is told to close its clients and end within this time.
    Drain(Duration),
    /// It is told to end at once.
    Stop,
    /// It cannot be worked with.
    Unusable(String),
    /// It has closed its channel: its process is about to end.
    ChannelClosed,
    /// [`Lifecycle::deadline`] has come.
    DeadlinePassed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// Give it connections.
    Open,
    /// Send the heartbeat of this number.
    Beat(u64),
    /// The same; it has become suspect.
    Suspect(u64),
    /// It answers again.
    Trust,
    /// Tell it to close its clients.
    Drain,
    /// Kill its process.
    Kill,
}

impl Pulse {
    fn missed(self) -> u64 {
        self.sent - self.answered
    }

    fn beat(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }
}

impl Lifecycle {
    /// Of a process that was just started. It must be ready within `start_timeout`, and is killed if it
    /// leaves `missed_max` heartbeats without an answer.
    pub(crate) fn new(now: Instant, start_timeout: Duration, missed_max: u32) -> Lifecycle {
        Lifecycle {
            state: State::Starting { until: now + start_timeout },
            missed_max: missed_max.into(),
            ready_since: None,
            ordered: false,
        }
    }

    /// The state, as others see it.
    pub(crate) fn state(&self) -> WorkerState {
        match self.state {
            State::Starting { .. } => WorkerState::Starting,
            State::Ready(_) => WorkerState::Ready,
            State::Suspect(_) => WorkerState::Suspect,
            State::Draining { .. } => WorkerState::Draining,
            State::Killed { .. } => WorkerState::Killed,
        }
    }

    /// When [`Event::DeadlinePassed`] is to be told, if the state has not changed by then.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { until } | State::Draining { until, .. } => Some(until),
            State::Ready(_) | State::Suspect(_) | State::Killed { .. } => None,
        }
    }

    /// Since when it has served, if it ever has.
    pub(crate) fn ready_since(&self) -> Option<Instant> {
        self.ready_since
    }

    /// Whether it was told to end.
    pub(crate) fn was_told_to_end(&self) -> bool {
        self.ordered
    }

    /// Why it was killed, if it was.
    pub(crate) fn killed(&self) -> Option<&str> {
        match &self.state {
            State::Killed { why } => Some(why),
            _ => None,
        }
    }

    /// Something has happened.
    pub(crate) fn handle(&mut self, now: Instant, event: Event) -> Action {
        match (&mut self.state, event) {
            (State::Killed { .. }, _) => Action::Nothing,
            (_, Event::Unusable(why)) => self.kill(why),
            (_, Event::Stop) => {
                self.ordered = true;
                self.kill("was told to end at once".to_owned())
            }
            (State::Starting { .. }, Event::Ready) => {
                self.ready_since = Some(now);
                self.state = State::Ready(Pulse::default());
                Action::Open
            }
            (State::Starting { .. }, Event::Drain(_)) => {
                self.ordered = true;
                self.kill("was still starting when it was told to end".to_owned())
            }
            (
                State::Ready(pulse) | State::Suspect(pulse) | State::Draining { pulse, .. },
                Event::Drain(within),
            ) => {
                let pulse = *pulse;
                self.ordered = true;
                self.state =
                    State::Draining { until: now + within, overdue: "did not end in time", pulse };
                Action::Drain
            }
            (State::Ready(pulse) | State::Suspect(pulse), Event::ChannelClosed) => {
                let (pulse, overdue) = (*pulse, "closed its channel and did not end");
                self.state = State::Draining { until: now + EXIT_TIMEOUT, overdue, pulse };
                Action::Nothing
            }
            (
                State::Ready(pulse) | State::Suspect(pulse) | State::Draining { pulse, .. },
                Event::Answered(number),
            ) => {
                pulse.answered = pulse.answered.max(number.min(pulse.sent));
                self.trust()
            }
            (
                State::Ready(pulse) | State::Suspect(pulse) | State::Draining { pulse, .. },
                Event::BeatDue,
            ) => {
                let missed = pulse.missed();
                if missed >= self.missed_max {
                    return self.kill(format!("hung: {missed} heartbeats were not answered"));
                }
                let number = pulse.beat();
                self.suspect(missed, number)
            }
            (State::Starting { until }, Event::DeadlinePassed) if *until <= now => {
                self.kill("was not ready in time".to_owned())
            }
            (State::Draining { until, overdue, .. }, Event::DeadlinePassed) if *until <= now => {
                let overdue = (*overdue).to_owned();
                self.kill(overdue)
            }
            _ => Action::Nothing,
        }
    }

    fn trust(&mut self) -> Action {
        let State::Suspect(pulse) = self.state else { return Action::Nothing };
        self.state = State::Ready(pulse);
        Action::Trust
    }

    fn suspect(&mut self, missed: u64, number: u64) -> Action {
        match self.state {
            State::Ready(pulse) if missed >= HEARTBEATS_MISSED_SUSPECT.into() => {
                self.state = State::Suspect(pulse);
                Action::Suspect(number)
            }
            _ => Action::Beat(number),
        }
    }

    fn kill(&mut self, why: String) -> Action {
        self.state = State::Killed { why };
        Action::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(30);
    const SECOND: Duration = Duration::from_secs(1);

    fn starting() -> (Instant, Lifecycle) {
        let now = Instant::now();
        (now, Lifecycle::new(now, START, 10))
    }

    fn ready() -> (Instant, Lifecycle) {
        let (now, mut life) = starting();
        assert_eq!(life.handle(now, Event::Ready), Action::Open);
        (now, life)
    }

    #[test]
    fn a_worker_has_its_time_to_start_and_no_more() {
        let (now, mut life) = starting();
        assert_eq!((life.state(), life.deadline()), (WorkerState::Starting, Some(now + START)));
        assert_eq!(life.handle(now, Event::BeatDue), Action::Nothing);
        assert_eq!(life.handle(now + 29 * SECOND, Event::DeadlinePassed), Action::Nothing);
        assert_eq!(life.handle(now + START, Event::DeadlinePassed), Action::Kill);
        assert_eq!(life.killed(), Some("was not ready in time"));
        // What it says before it is gone changes nothing.
        assert_eq!(life.handle(now + START, Event::Ready), Action::Nothing);
        assert_eq!((life.state(), life.ready_since()), (WorkerState::Killed, None));
    }

    #[test]
    fn one_that_answers_is_trusted_for_ever() {
        let (mut now, mut life) = ready();
        for number in 1..=1000 {
            now += SECOND;
            assert_eq!(life.handle(now, Event::BeatDue), Action::Beat(number));
            assert_eq!(life.handle(now, Event::Answered(number)), Action::Nothing);
        }
        assert_eq!((life.state(), life.deadline()), (WorkerState::Ready, None));
    }

    #[test]
    fn one_that_misses_heartbeats_is_suspected_comes_back_or_is_killed() {
        let (now, mut life) = ready();
        let beats = |life: &mut Lifecycle, count| -> Vec<Action> {
            (0..count).map(|_| life.handle(now, Event::BeatDue)).collect()
        };
        let (three, fourth) = ([1, 2, 3].map(Action::Beat), Action::Suspect(4));
        assert_eq!(beats(&mut life, 4), [&three[..], &[fourth]].concat());
        assert_eq!(life.state(), WorkerState::Suspect);
        // An answer to an old one counts as well: it lives. One that was never sent answers nothing.
        assert_eq!(life.handle(now, Event::Answered(1)), Action::Trust);
        assert_eq!(life.handle(now, Event::BeatDue), Action::Suspect(5));
        assert_eq!(life.handle(now, Event::Answered(99)), Action::Trust);
        assert_eq!(beats(&mut life, 10).last(), Some(&Action::Beat(15)));
        assert_eq!(life.handle(now, Event::BeatDue), Action::Kill);
        assert_eq!(life.killed(), Some("hung: 10 heartbeats were not answered"));
        assert!(!life.was_told_to_end());
    }

    #[test]
    fn draining_has_an_end_and_a_pulse() {
        let (now, mut life) = ready();
        assert_eq!(life.handle(now, Event::Drain(8 * SECOND)), Action::Drain);
        assert_eq!(life.handle(now, Event::BeatDue), Action::Beat(1));
        assert_eq!(life.handle(now, Event::Answered(1)), Action::Nothing);
        assert_eq!(life.handle(now, Event::ChannelClosed), Action::Nothing);
        assert_eq!(life.deadline(), Some(now + 8 * SECOND));
        // A second order can only be told again, with another deadline.
        assert_eq!(life.handle(now, Event::Drain(SECOND)), Action::Drain);
        assert_eq!(life.handle(now + SECOND, Event::DeadlinePassed), Action::Kill);
        assert_eq!(life.killed(), Some("did not end in time"));
        assert!(life.was_told_to_end());
        // One that hangs meanwhile is not waited for.
        let (now, mut life) = ready();
        life.handle(now, Event::Drain(Duration::from_hours(1)));
        let last = (0..11).map(|_| life.handle(now, Event::BeatDue)).last();
        assert_eq!(last, Some(Action::Kill));
    }

    #[test]
    fn one_that_closes_its_channel_must_end() {
        let (now, mut life) = ready();
        assert_eq!(life.handle(now, Event::ChannelClosed), Action::Nothing);
        assert_eq!(life.state(), WorkerState::Draining);
        assert!(!life.was_told_to_end());
        assert_eq!(life.handle(now + EXIT_TIMEOUT, Event::DeadlinePassed), Action::Kill);
        assert_eq!(life.killed(), Some("closed its channel and did not end"));
    }

    #[test]
    fn one_that_cannot_be_worked_with_or_is_not_ready_is_killed_at_once() {
        let (now, mut life) = starting();
        let unusable = Event::Unusable("speaks another language".to_owned());
        assert_eq!(life.handle(now, unusable), Action::Kill);
        let (now, mut life) = starting();
        assert_eq!(life.handle(now, Event::Drain(SECOND)), Action::Kill);
        assert!(life.was_told_to_end());
        let (now, mut life) = ready();
        assert_eq!(life.handle(now, Event::Stop), Action::Kill);
        assert_eq!(life.killed(), Some("was told to end at once"));
        assert_eq!(life.handle(now, Event::Stop), Action::Nothing, "once is enough");
    }
}
