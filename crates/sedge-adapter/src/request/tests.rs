//! Requests in virtual time: every way in which they end, and everything that must not end them.

use std::time::Duration;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Some origin; the tests only add to it.
#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
fn origin() -> Instant {
    Instant::now()
}

fn partial(missing: &[(u8, MissingReason)]) -> Outcome<u8> {
    let missing = missing.iter().map(|&(responder, reason)| Missing { responder, reason });
    Outcome::Partial { missing: missing.collect() }
}

const COMPLETE: Option<Outcome<u8>> = Some(Outcome::Complete);

#[test]
fn a_request_is_complete_with_its_last_answer() {
    let mut request = Request::new([1, 2, 3], origin() + TIMEOUT);
    assert_eq!(request.on_response(2, "two"), None);
    assert_eq!(request.on_response(1, "one"), None);
    assert_eq!(request.outcome(), None);
    assert_eq!(request.on_response(3, "three"), COMPLETE);
    assert_eq!(request.outcome(), COMPLETE);
    assert_eq!(request.into_answers(), ["two", "one", "three"]);
}

#[test]
fn an_answer_in_parts_ends_with_its_last_one() {
    let mut request = Request::new([1, 2], origin() + TIMEOUT);
    request.on_part(1, "a");
    request.on_part(9, "of a stranger");
    assert_eq!(request.on_response(2, "two"), None);
    request.on_part(2, "after the last");
    request.on_part(1, "b");
    assert_eq!(request.on_response(1, "c"), COMPLETE);
    assert_eq!(request.into_answers(), ["a", "two", "b", "c"]);
}

#[test]
fn parts_stay_when_the_rest_is_missing() {
    let mut request = Request::new([1], origin() + TIMEOUT);
    request.on_part(1, "a");
    let missing = partial(&[(1, MissingReason::TooLong)]);
    assert_eq!(request.give_up(1, MissingReason::TooLong), Some(missing));
    assert_eq!(request.into_answers(), ["a"]);
}

#[test]
fn who_is_not_waited_for_does_not_count() {
    let mut request = Request::new([1, 2, 2], origin() + TIMEOUT);
    assert_eq!(request.on_response(9, "stranger"), None);
    assert_eq!(request.on_member_left(9), None);
    assert_eq!(request.on_response(1, "one"), None);
    assert_eq!(request.on_response(1, "again"), None);
    assert_eq!(request.on_member_left(1), None, "it has answered already");
    assert_eq!(request.on_response(2, "two"), COMPLETE, "named twice, expected once");
    assert_eq!(request.answers(), ["one", "two"]);
}

#[test]
fn a_deadline_names_the_silent_and_keeps_the_answers() {
    let start = origin();
    let mut request = Request::new([1, 2, 3], start + TIMEOUT);
    assert_eq!(request.deadline(), Some(start + TIMEOUT));
    request.on_response(2, "two");
    assert_eq!(request.on_deadline(start + TIMEOUT * 999 / 1000), None);
    let silent = [(1, MissingReason::Deadline), (3, MissingReason::Deadline)];
    assert_eq!(request.on_deadline(start + TIMEOUT), Some(partial(&silent)));
    assert_eq!(request.deadline(), None);
    assert_eq!(request.on_response(1, "late"), None);
    assert_eq!(request.on_member_left(3), None);
    assert_eq!(request.on_deadline(start + TIMEOUT * 2), None, "an outcome is said once");
    assert_eq!(request.outcome(), Some(partial(&silent)));
    assert_eq!(request.answers(), ["two"]);
}

#[test]
fn nobody_waits_for_who_has_left() {
    let start = origin();
    let mut request = Request::new([1, 2], start + TIMEOUT);
    assert_eq!(request.on_member_left(1), None);
    assert_eq!(request.on_response(1, "from beyond"), None);
    assert_eq!(request.on_response(2, "two"), Some(partial(&[(1, MissingReason::Left)])));

    let mut request: Request<u8, ()> = Request::new([1, 2], start + TIMEOUT);
    request.on_member_left(1);
    let missing = [(1, MissingReason::Left), (2, MissingReason::Deadline)];
    assert_eq!(request.on_deadline(start + TIMEOUT), Some(partial(&missing)));
}

#[test]
fn a_request_to_nobody_is_complete_at_once() {
    let deadline = origin() + TIMEOUT;
    let mut request: Request<u8, ()> = Request::new([], deadline);
    assert_eq!((request.outcome(), request.deadline()), (COMPLETE, None));
    assert_eq!(request.on_deadline(deadline), None);
    let mut acks: AckRequest<u8, ()> = AckRequest::new([], deadline);
    assert_eq!((acks.outcome(), acks.deadline()), (COMPLETE, None));
    assert_eq!(acks.on_deadline(deadline), None);
}

#[test]
fn acks_are_complete_when_they_equal_the_counts() {
    let mut acks = AckRequest::new([1, 2, 3], origin() + TIMEOUT);
    assert_eq!(acks.on_client_count(1, 2), None);
    assert_eq!(acks.on_ack(1, "a"), None);
    assert_eq!(acks.on_client_count(2, 0), None);
    assert_eq!(acks.on_ack(1, "b"), None, "the third has not counted yet");
    assert_eq!(acks.on_client_count(3, 1), None);
    assert_eq!(acks.clients(), 3);
    assert_eq!(acks.on_ack(3, "c"), COMPLETE);
    assert_eq!(acks.into_acks(), ["a", "b", "c"]);
}

#[test]
fn an_ack_may_overtake_its_count() {
    let mut acks = AckRequest::new([1, 2], origin() + TIMEOUT);
    assert_eq!(acks.on_ack(1, "early"), None);
    assert_eq!(acks.on_client_count(2, 0), None);
    assert_eq!(acks.on_client_count(1, 1), COMPLETE);
}

#[test]
fn a_broadcast_that_reaches_no_client_is_complete() {
    let mut acks: AckRequest<u8, ()> = AckRequest::new([1, 2], origin() + TIMEOUT);
    assert_eq!(acks.on_client_count(1, 0), None);
    assert_eq!(acks.on_client_count(2, 0), COMPLETE);
}

#[test]
fn surplus_acks_do_not_stand_in_for_missing_ones() {
    let mut acks = AckRequest::new([1, 2], origin() + TIMEOUT);
    acks.on_client_count(1, 1);
    acks.on_client_count(2, 1);
    assert_eq!(acks.on_client_count(1, 0), None, "a count is given once");
    assert_eq!(acks.on_ack(1, "a"), None);
    assert_eq!(acks.on_ack(1, "surplus"), None);
    assert_eq!(acks.on_ack(9, "stranger"), None);
    assert_eq!(acks.on_ack(2, "b"), COMPLETE);
    assert_eq!(acks.on_ack(2, "late"), None);
    assert_eq!(acks.acks(), ["a", "b"]);
}

#[test]
fn acks_missing_at_the_deadline_are_named_by_responder() {
    let start = origin();
    let mut acks = AckRequest::new([1, 2, 3, 4], start + TIMEOUT);
    acks.on_client_count(1, 1);
    acks.on_ack(1, "a");
    acks.on_client_count(2, 2);
    acks.on_ack(2, "b");
    acks.on_client_count(4, 1);
    assert_eq!(acks.on_member_left(4), None);
    assert_eq!(acks.on_ack(4, "from beyond"), None);
    assert_eq!(acks.on_deadline(start), None);
    let missing =
        [(4, MissingReason::Left), (2, MissingReason::Deadline), (3, MissingReason::Deadline)];
    assert_eq!(acks.on_deadline(start + TIMEOUT), Some(partial(&missing)));
    assert_eq!(acks.on_deadline(start + TIMEOUT), None);
    assert_eq!(acks.on_client_count(3, 0), None);
    assert_eq!(acks.outcome(), Some(partial(&missing)));
    assert_eq!(acks.acks(), ["a", "b"]);
}

#[test]
fn acks_end_when_the_last_one_missing_leaves() {
    let mut acks = AckRequest::new([1, 2], origin() + TIMEOUT);
    acks.on_client_count(1, 1);
    acks.on_ack(1, "a");
    assert_eq!(acks.on_member_left(1), None, "all of it is here");
    assert_eq!(acks.on_ack(2, "b"), None);
    assert_eq!(acks.on_member_left(2), Some(partial(&[(2, MissingReason::Left)])));
    assert_eq!(acks.acks(), ["a", "b"], "what it passed on stays");
}

#[test]
fn acks_without_a_count_are_bounded() {
    let mut acks = AckRequest::new([1], origin() + TIMEOUT);
    for _ in 0..ACKS_BEFORE_COUNT_MAX + 10 {
        assert_eq!(acks.on_ack(1, ()), None);
    }
    assert_eq!(acks.acks().len(), ACKS_BEFORE_COUNT_MAX as usize);
}

#[test]
fn a_whole_is_split_into_its_parts() {
    let start = origin();
    let mut request = Request::new([1, 2], start + TIMEOUT);
    request.split(1, [10, 11, 10]);
    request.split(9, [90]);
    request.split(2, []);
    assert!(request.is_waiting_for(2) && request.is_waiting_for(10) && !request.is_waiting_for(1));
    assert_eq!(request.on_response(1, "whole"), None);
    assert_eq!(request.on_response(10, "ten"), None);
    request.split(10, [2, 100]);
    assert_eq!(request.on_response(2, "two"), None);
    assert_eq!(
        request.on_deadline(start + TIMEOUT),
        Some(partial(&[(11, MissingReason::Deadline)]))
    );
    assert_eq!(request.answers(), ["ten", "two"]);

    let mut acks = AckRequest::new([1, 2], start + TIMEOUT);
    acks.split(1, [10, 11]);
    acks.split(2, []);
    acks.on_client_count(10, 1);
    acks.on_client_count(11, 0);
    assert_eq!(acks.on_client_count(1, 0), None);
    acks.on_client_count(2, 0);
    assert_eq!(acks.on_ack(10, "a"), COMPLETE);
}

#[test]
fn those_of_one_place_are_given_up_together() {
    let mut request = Request::new([1, 10, 11], origin() + TIMEOUT);
    assert_eq!(request.give_up_where(|who| who > 90, MissingReason::Left), None);
    assert_eq!(request.give_up_where(|who| who >= 10, MissingReason::Left), None);
    let left = [(10, MissingReason::Left), (11, MissingReason::Left)];
    assert_eq!(request.on_response(1, ()), Some(partial(&left)));

    let mut acks = AckRequest::new([1, 10, 11], origin() + TIMEOUT);
    acks.on_client_count(10, 1);
    acks.on_ack(10, ());
    assert_eq!(acks.give_up_where(|who| who >= 10, MissingReason::Left), None);
    let outcome = acks.give_up(1, MissingReason::Overloaded);
    let missing = [(1, MissingReason::Overloaded), (11, MissingReason::Left)];
    assert_eq!(outcome, Some(partial(&missing)), "what is complete does not miss anything");
}

#[test]
fn clients_that_are_lost_are_not_waited_for() {
    let mut acks = AckRequest::new([1, 2], origin() + TIMEOUT);
    assert_eq!(acks.on_clients_lost(1, 1), None, "before it was counted");
    assert_eq!(acks.on_client_count(1, 2), None);
    assert_eq!(acks.on_client_count(2, 1), None);
    assert_eq!(acks.on_ack(1, "a"), None);
    assert_eq!(acks.on_clients_lost(1, 9), None, "more than there are");
    assert_eq!(acks.on_clients_lost(2, 9), COMPLETE, "not more than were counted");
    assert_eq!((acks.clients(), acks.lost(), acks.acks()), (3, 2, &["a"][..]));
    assert_eq!(acks.unheard().count(), 0);
}

#[test]
fn who_has_not_counted_is_unheard() {
    let start = origin();
    let mut acks: AckRequest<u8, ()> = AckRequest::new([1, 2, 3, 4], start + TIMEOUT);
    acks.on_client_count(1, 5);
    acks.on_client_count(2, 5);
    acks.give_up(2, MissingReason::Left);
    acks.give_up(3, MissingReason::Overloaded);
    acks.on_deadline(start + TIMEOUT);
    let unheard: Vec<_> =
        acks.unheard().map(|missing| (missing.responder, missing.reason)).collect();
    let expected =
        [(2, MissingReason::Left), (3, MissingReason::Overloaded), (4, MissingReason::Deadline)];
    assert_eq!(unheard, expected);
}
