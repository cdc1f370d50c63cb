//! Answers in every order, and none.

use std::sync::Arc;

use super::*;
use crate::api::broadcast_ack::BroadcastAck;
use crate::gather::acks::{AckEvent, Acks};
use crate::gather::inquiry::{Answer, Gather};
use crate::gather::responders::{Origin, Others};
use sedge_adapter::{MissingReason, Part, Peer, PeerId};
use sedge_protocol::socketio::{Args, Value};

const SECOND: Duration = Duration::from_secs(1);
const TWO: PeerId = PeerId(2);
const THREE: PeerId = PeerId(3);

fn args(value: impl Into<Value>) -> Args<'static> {
    Args::from_values(vec![value.into()])
}

fn others(reached: &[PeerId], refused: &[PeerId]) -> Others {
    let peer = |id: &PeerId| Peer { id: *id, name: format!("worker {}", id.0).into() };
    Others {
        reached: reached.iter().map(peer).collect(),
        refused: refused.iter().map(peer).collect(),
        ..Others::default()
    }
}

fn shard_of(peer: PeerId, shard: u16, of: u16) -> Origin {
    Origin::Peer(peer, Part { shard, of })
}

async fn end<T>(mut gathered: Gathered<Request<Responder, T>>) -> (Vec<T>, Vec<String>) {
    match std::future::poll_fn(|cx| gathered.poll_answers(cx)).await {
        Ok(answers) => (answers, Vec::new()),
        Err(error) => (error.partial, error.missing.iter().map(ToString::to_string).collect()),
    }
}

fn asked(
    shards: usize,
    others: Others,
) -> (Arc<Gather<&'static str>>, Gathered<Request<Responder, &'static str>>) {
    let (gather, gathered) = Gathered::begin(SECOND);
    gather.expect(shards, others);
    (gather, gathered)
}

#[tokio::test]
async fn all_shards_have_answered() {
    let (gather, gathered) = asked(2, Others::default());
    gather.answer(Origin::Shard(0), "a");
    gather.answer(Origin::Shard(1), "b");
    assert_eq!(end(gathered).await, (vec!["a", "b"], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_shard_is_named() {
    let (gather, gathered) = asked(2, Others::default());
    gather.answer(Origin::Shard(1), "b");
    let missing = vec!["shard 0 of this process (it did not answer in time)".to_owned()];
    assert_eq!(end(gathered).await, (vec!["b"], missing));
}

#[tokio::test]
async fn who_cannot_be_asked_is_not_waited_for() {
    let (gather, gathered) = asked(2, others(&[], &[THREE]));
    gather.answer(Origin::Shard(1), "b");
    gather.give_up(Origin::Shard(0), MissingReason::Overloaded);
    let missing = ["shard 0 of this process", "worker 3"];
    let missing = missing.map(|name| format!("{name} (it has too much to do)")).to_vec();
    assert_eq!(end(gathered).await, (vec!["b"], missing));
}

#[tokio::test]
async fn a_process_answers_with_all_its_shards() {
    let (gather, gathered) = asked(0, others(&[TWO, THREE], &[]));
    gather.answer(shard_of(TWO, 1, 2), "2.1");
    gather.answer(shard_of(TWO, 1, 2), "again");
    gather.answer(shard_of(THREE, 0, 1), "3");
    gather.answer(shard_of(PeerId(9), 0, 1), "stranger");
    assert!(!gather.is_done());
    gather.answer(shard_of(TWO, 0, 2), "2.0");
    assert!(gather.is_done());
    assert_eq!(end(gathered).await, (vec!["2.1", "3", "2.0"], vec![]));
}

#[tokio::test]
async fn a_process_that_leaves_is_missing_with_what_it_has_not_answered() {
    let (gather, gathered) = asked(0, others(&[TWO, THREE], &[]));
    gather.answer(shard_of(TWO, 1, 2), "2.1");
    gather.left(THREE);
    gather.left(TWO);
    let missing = ["shard 0 of worker 2", "worker 3"];
    let missing = missing.map(|name| format!("{name} (it has left)")).to_vec();
    assert_eq!(end(gathered).await, (vec!["2.1"], missing));
}

#[tokio::test]
async fn what_comes_before_everybody_was_asked_counts() {
    let (gather, gathered) = Gathered::begin(SECOND);
    gather.answer(shard_of(TWO, 0, 1), "2");
    gather.answer(shard_of(PeerId(9), 0, 1), "stranger");
    gather.left(THREE);
    gather.expect(0, others(&[TWO, THREE], &[]));
    assert!(gather.is_done());
    assert_eq!(end(gathered).await, (vec!["2"], vec!["worker 3 (it has left)".to_owned()]));
}

#[tokio::test]
async fn nobody_waits_for_what_nobody_wants() {
    let (gather, gathered) = asked(1, Others::default());
    drop(gathered);
    assert!(gather.is_done());
    gather.answer(Origin::Shard(0), "late");
}

fn asked_acks(shards: usize, others: Others) -> (Arc<Acks>, BroadcastAck<i64>) {
    let (acks, gathered) = Gathered::begin(SECOND);
    acks.expect(shards, others);
    (acks, BroadcastAck::new(gathered))
}

#[tokio::test]
async fn every_client_has_acknowledged() {
    let (acks, waiting) = asked_acks(2, others(&[TWO], &[]));
    acks.tell(Origin::Shard(0), AckEvent::Counted(1));
    acks.tell(Origin::Shard(0), AckEvent::Acknowledged(args(1)));
    acks.tell(Origin::Shard(1), AckEvent::Counted(0));
    acks.tell(shard_of(TWO, 0, 2), AckEvent::Counted(1));
    acks.tell(shard_of(TWO, 1, 2), AckEvent::Counted(0));
    assert!(!acks.is_done());
    acks.tell(shard_of(TWO, 0, 2), AckEvent::Acknowledged(args(2)));
    assert!(acks.is_done());
    assert_eq!(waiting.await, Ok(vec![1, 2]));
}

#[tokio::test]
async fn nobody_was_asked() {
    let (acks, waiting) = asked_acks(1, Others::default());
    acks.tell(Origin::Shard(0), AckEvent::Counted(0));
    assert_eq!(waiting.await, Ok(vec![]));
}

#[tokio::test]
async fn a_client_that_leaves_is_missing_and_not_waited_for() {
    let (acks, waiting) = asked_acks(1, Others::default());
    acks.tell(Origin::Shard(0), AckEvent::Counted(2));
    acks.tell(Origin::Shard(0), AckEvent::Lost(1));
    acks.tell(Origin::Shard(0), AckEvent::Acknowledged(args(1)));
    let error = waiting.await.unwrap_err();
    assert_eq!((error.responses, error.missing), (vec![1], 1));
    assert!(error.missing_responders.is_empty(), "its shard is not missing");
}

#[tokio::test(start_paused = true)]
async fn time_runs_out_with_what_came() {
    let (acks, waiting) = asked_acks(2, others(&[TWO], &[THREE]));
    acks.tell(Origin::Shard(0), AckEvent::Counted(3));
    acks.tell(Origin::Shard(0), AckEvent::Acknowledged(args(1)));
    acks.tell(Origin::Shard(0), AckEvent::Acknowledged(args("no number")));
    acks.tell(Origin::Shard(1), AckEvent::Counted(0));
    let error = waiting.await.unwrap_err();
    assert_eq!((error.responses, error.missing, error.unreadable), (vec![1], 1, 1));
    let missing: Vec<_> = error.missing_responders.iter().map(|m| (&*m.name, m.reason)).collect();
    let expected = [("worker 2", MissingReason::Deadline), ("worker 3", MissingReason::Overloaded)];
    assert_eq!(missing, expected);
    assert!(acks.is_done());
}

#[tokio::test]
async fn what_was_never_sent_fails_at_once() {
    use crate::error::EmitError;
    let error = BroadcastAck::<i64>::failed(EmitError::NotConnected).await.unwrap_err();
    assert_eq!(error.emit, Some(EmitError::NotConnected));
}

#[tokio::test]
async fn an_answer_may_come_in_parts() {
    let (gather, gathered) = Gathered::begin(SECOND);
    gather.expect(1, others(&[TWO], &[]));
    gather.tell(shard_of(TWO, 0, 1), Answer::Part("2.a"));
    gather.answer(Origin::Shard(0), "0");
    gather.tell(shard_of(TWO, 0, 1), Answer::Part("2.b"));
    assert!(!gather.is_done());
    gather.answer(shard_of(TWO, 0, 1), "2.c");
    assert_eq!(end(gathered).await, (vec!["2.a", "0", "2.b", "2.c"], vec![]));
}

#[tokio::test]
async fn who_cannot_be_asked_for_the_length_of_it_is_named() {
    let (gather, gathered) = Gathered::begin(SECOND);
    let too_long = [Peer { id: TWO, name: "worker 2".into() }].into_iter().collect();
    gather.expect(1, Others { too_long, ..Others::default() });
    gather.answer(Origin::Shard(0), "0");
    let words = vec!["worker 2 (the message is too long for the bus)".to_owned()];
    assert_eq!(end(gathered).await, (vec!["0"], words));
}
