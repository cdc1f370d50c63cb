//! The memory bus keeps what a bus promises.

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::target::Room;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Message(PeerId, Bytes),
    Joined(PeerId),
    Left(PeerId, u64),
}

struct Record(mpsc::Sender<Event>);

impl BusReceiver for Record {
    fn on_message(&self, from: PeerId, message: Bytes) {
        let _ = self.0.send(Event::Message(from, message));
    }

    fn on_joined(&self, peer: Peer) {
        let _ = self.0.send(Event::Joined(peer.id));
    }

    fn on_left(&self, peer: PeerId, lost: u64) {
        let _ = self.0.send(Event::Left(peer, lost));
    }
}

struct Station {
    bus: MemoryBus,
    events: mpsc::Receiver<Event>,
}

impl Station {
    fn new(cluster: &MemoryCluster, name: &str) -> Station {
        let (sender, events) = mpsc::channel();
        let bus = cluster.member(name);
        bus.start(Arc::new(Record(sender)));
        Station { bus, events }
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(DEADLINE).expect("an event before the deadline")
    }
}

fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn rooms(names: &[&str]) -> Vec<Room> {
    names.iter().map(|name| Room::from(*name)).collect()
}

#[test]
fn everybody_hears_of_everybody() {
    let cluster = MemoryCluster::new();
    let one = Station::new(&cluster, "one");
    let two = Station::new(&cluster, "two");
    assert_eq!(one.next(), Event::Joined(two.bus.id()));
    assert_eq!(two.next(), Event::Joined(one.bus.id()));
    assert_eq!(one.bus.peers(), [Peer { id: two.bus.id(), name: "two".into() }]);
    let published = one.bus.publish(Audience::Everybody, &message("hello"));
    assert_eq!(published.reached.as_slice(), [two.bus.id()]);
    assert_eq!(two.next(), Event::Message(one.bus.id(), message("hello")));
    two.bus.close();
    assert_eq!(one.next(), Event::Left(two.bus.id(), 0));
    assert_eq!(one.bus.send(two.bus.id(), message("too late")), Err(SendError::Gone));
    assert_eq!(two.bus.send(one.bus.id(), message("from beyond")), Err(SendError::Gone));
    assert_eq!(two.bus.publish(Audience::Everybody, &message("")), Published::default());
    drop(two.bus);
    assert_eq!(one.bus.peers(), []);
}

#[test]
fn only_those_who_want_it_get_it() {
    let cluster = MemoryCluster::new();
    let [one, two, three] = ["one", "two", "three"].map(|name| Station::new(&cluster, name));
    two.bus.subscribe(Topic::Namespace("/"));
    two.bus.subscribe(Topic::Room("/", "r"));
    two.bus.subscribe(Topic::Room("/", "r"));
    three.bus.subscribe(Topic::Room("/", "s"));
    let reached =
        |audience: Audience<'_>| one.bus.publish(audience, &message("m")).reached.to_vec();
    assert_eq!(reached(Audience::Namespace("/")), [two.bus.id()]);
    assert_eq!(reached(Audience::Namespace("/other")), []);
    assert_eq!(reached(Audience::Rooms("/", &rooms(&["r", "r"]))), [two.bus.id()]);
    assert_eq!(reached(Audience::Rooms("/", &rooms(&["s", "r"]))), [two.bus.id(), three.bus.id()]);
    assert_eq!(reached(Audience::Rooms("/other", &rooms(&["r"]))), []);
    assert_eq!(reached(Audience::Rooms("/", &[])), []);
    two.bus.unsubscribe(Topic::Room("/", "r"));
    assert!(two.bus.wants(Topic::Room("/", "r")), "there is another reason");
    two.bus.unsubscribe(Topic::Room("/", "r"));
    two.bus.unsubscribe(Topic::Room("/", "r"));
    two.bus.unsubscribe(Topic::Room("/", "never"));
    assert_eq!((two.bus.topics(), three.bus.topics()), (1, 1));
    assert_eq!(reached(Audience::Rooms("/", &rooms(&["r"]))), []);
    assert_eq!((two.bus.messages(), three.bus.messages(), one.bus.messages()), (3, 1, 0));
}

#[test]
fn one_sender_s_messages_keep_their_order() {
    let cluster = MemoryCluster::new();
    let [one, two] = ["one", "two"].map(|name| Station::new(&cluster, name));
    two.next();
    let text = |n: usize| Bytes::from(n.to_string());
    for n in 0..1000 {
        if n % 2 == 0 {
            one.bus.publish(Audience::Everybody, &text(n));
        } else {
            one.bus.send(two.bus.id(), text(n)).unwrap();
        }
    }
    for n in 0..1000 {
        assert_eq!(two.next(), Event::Message(one.bus.id(), text(n)));
    }
}

#[test]
fn a_full_queue_refuses() {
    let cluster = MemoryCluster::with_queue_max(2);
    let [one, two, three] = ["one", "two", "three"].map(|name| Station::new(&cluster, name));
    // Who has joined stands in the queues too, until it has been told.
    for station in [&two, &three] {
        assert!(matches!((station.next(), station.next()), (Event::Joined(_), Event::Joined(_))));
    }
    two.bus.hold(true);
    three.bus.refuse(true);
    let publish = || one.bus.publish(Audience::Everybody, &message("m"));
    for _ in 0..2 {
        assert_eq!(publish().refused.as_slice(), [three.bus.id()]);
    }
    assert_eq!(publish().refused.as_slice(), [two.bus.id(), three.bus.id()]);
    assert_eq!(one.bus.send(two.bus.id(), message("m")), Err(SendError::Full));
    two.bus.hold(false);
    three.bus.refuse(false);
    assert_eq!(two.next(), Event::Message(one.bus.id(), message("m")));
    assert_eq!(two.next(), Event::Message(one.bus.id(), message("m")));
    assert!(publish().refused.is_empty());
}

#[test]
fn what_is_too_long_is_nobody_s() {
    let cluster = MemoryCluster::with_limits(8, 4);
    let [one, two] = ["one", "two"].map(|name| Station::new(&cluster, name));
    assert_eq!(one.bus.message_bytes_max(), 4);
    two.next();
    let publish = |text| one.bus.publish(Audience::Everybody, &message(text));
    let published = publish("12345");
    assert_eq!(published.too_long.as_slice(), [two.bus.id()]);
    assert!(published.reached.is_empty() && published.refused.is_empty());
    assert_eq!(one.bus.send(two.bus.id(), message("12345")), Err(SendError::TooLong));
    assert_eq!(one.bus.send(PeerId(77), message("12345")), Err(SendError::Gone));
    let nobody = one.bus.publish(Audience::Namespace("/"), &message("12345"));
    assert_eq!(nobody, Published::default(), "nobody was meant");
    two.bus.hold(true);
    assert_eq!(publish("1234").reached.as_slice(), [two.bus.id()]);
    assert_eq!((one.bus.backlog(two.bus.id()), two.bus.backlog(one.bus.id())), (4, 0));
    two.bus.hold(false);
    assert_eq!(two.next(), Event::Message(one.bus.id(), message("1234")));
}

#[test]
fn who_is_cut_off_is_gone_for_both_sides() {
    let cluster = MemoryCluster::new();
    let [one, two] = ["one", "two"].map(|name| Station::new(&cluster, name));
    assert!(matches!((one.next(), two.next()), (Event::Joined(_), Event::Joined(_))));
    two.bus.hold(true);
    one.bus.publish(Audience::Everybody, &message("lost"));
    two.bus.cut_off();
    two.bus.cut_off();
    assert_eq!(one.next(), Event::Left(two.bus.id(), 1), "what waited for it is counted");
    assert_eq!(two.next(), Event::Left(one.bus.id(), 0));
    assert_eq!(one.bus.publish(Audience::Everybody, &message("m")), Published::default());
    assert!(two.events.recv_timeout(DEADLINE).is_err(), "its thread has ended");
}
