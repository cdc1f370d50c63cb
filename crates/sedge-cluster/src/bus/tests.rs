//! Buses of several workers in one process, over real sockets.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use sedge_testkit::{DEADLINE, eventually};

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Joined(PeerId),
    Left(PeerId),
    Message(PeerId, Bytes),
}

/// Notes what it is told, and can be made to hold the bus's thread.
#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    /// Messages that those who have left did not get.
    lost: AtomicU64,
    held: Mutex<()>,
}

impl Notes {
    fn note(&self, seen: Seen) {
        let _free = self.held.lock().unwrap();
        self.seen.lock().unwrap().push(seen);
    }

    #[track_caller]
    fn expect(&self, what: &Seen) {
        assert!(self.comes(what), "{what:?} not in {:?}", self.seen.lock().unwrap());
    }

    fn comes(&self, what: &Seen) -> bool {
        eventually(DEADLINE, || self.seen.lock().unwrap().contains(what))
    }

    fn messages(&self) -> Vec<(PeerId, Bytes)> {
        let seen = self.seen.lock().unwrap();
        let messages = seen.iter().filter_map(|seen| match seen {
            Seen::Message(from, message) => Some((*from, message.clone())),
            _ => None,
        });
        messages.collect()
    }
}

impl BusReceiver for Notes {
    fn on_message(&self, from: PeerId, message: Bytes) {
        self.note(Seen::Message(from, message));
    }

    fn on_joined(&self, peer: Peer) {
        self.note(Seen::Joined(peer.id));
    }

    fn on_left(&self, peer: PeerId, lost: u64) {
        self.lost.fetch_add(lost, Ordering::SeqCst);
        self.note(Seen::Left(peer));
    }
}

struct Host {
    directory: tempdir::Directory,
    table: Arc<SharedTable>,
    settings: BusSettings,
}

/// Folders that are gone after the test.
mod tempdir {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    static NEXT: AtomicU32 = AtomicU32::new(0);

    pub(super) struct Directory(PathBuf);

    impl Directory {
        pub(super) fn new() -> Directory {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("sedge-bus-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Directory(path)
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

const SETTINGS: BusSettings = BusSettings {
    message_bytes_max: 1_000_000,
    queue_bytes_max: 2_000_000,
    stall_timeout_ms: 10_000,
};

impl Host {
    fn new(settings: BusSettings) -> Host {
        let table = Arc::new(SharedTable::create(4).unwrap());
        Host { directory: tempdir::Directory::new(), table, settings }
    }

    fn bus(&self, index: u8) -> (UnixBus, Arc<Notes>) {
        let directory = self.directory.path().to_owned();
        let place = BusPlace { index, workers: 4, row: index.into(), directory };
        let bus = UnixBus::new(place, self.settings, Arc::clone(&self.table)).unwrap();
        let notes = Arc::new(Notes::default());
        bus.start(Arc::clone(&notes) as Arc<dyn BusReceiver>);
        (bus, notes)
    }

    /// Buses that all know one another.
    fn buses(&self, count: u8) -> Vec<(UnixBus, Arc<Notes>)> {
        let buses: Vec<_> = (0..count).map(|index| self.bus(index)).collect();
        let others = usize::from(count) - 1;
        let complete = || buses.iter().all(|(bus, _)| bus.peers().len() == others);
        assert!(eventually(DEADLINE, complete));
        buses
    }
}

#[test]
fn everybody_joins_and_hears_everybody_in_order() {
    let host = Host::new(SETTINGS);
    let buses = host.buses(3);
    for (bus, _) in &buses {
        for number in 0..1000_u32 {
            let published = bus.publish(Audience::Everybody, &Bytes::from(number.to_string()));
            assert_eq!((published.reached.len(), published.refused.len()), (2, 0));
        }
    }
    for (own, notes) in &buses {
        assert!(eventually(DEADLINE, || notes.messages().len() == 2000));
        let mut next = BTreeMap::new();
        for (from, message) in notes.messages() {
            let number = next.entry(from).or_insert(0);
            assert_eq!(message, number.to_string());
            *number += 1;
        }
        assert_eq!(next.len(), 2);
        assert!(!next.contains_key(&own.id()));
    }
}

#[test]
fn who_has_left_is_known_at_once_and_a_successor_is_another_peer() {
    let host = Host::new(SETTINGS);
    let mut buses = host.buses(3);
    let (middle, _) = buses.remove(1);
    let gone = middle.id();
    middle.close();
    for (bus, notes) in &buses {
        notes.expect(&Seen::Left(gone));
        assert_eq!(bus.peers().len(), 1);
        assert_eq!(bus.send(gone, Bytes::new()), Err(SendError::Gone));
    }
    let (successor, notes) = host.bus(1);
    assert_ne!(successor.id(), gone);
    for (bus, others) in &buses {
        others.expect(&Seen::Joined(successor.id()));
        notes.expect(&Seen::Joined(bus.id()));
        bus.send(successor.id(), Bytes::from_static(b"welcome")).unwrap();
        notes.expect(&Seen::Message(bus.id(), Bytes::from_static(b"welcome")));
    }
}

#[test]
fn a_message_goes_only_where_it_is_wanted() {
    let host = Host::new(SETTINGS);
    let buses = host.buses(3);
    let [(first, _), (second, second_notes), (third, third_notes)] = &buses[..] else { panic!() };
    second.subscribe(Topic::Room("/", "blue"));
    third.subscribe(Topic::Namespace("/"));
    let message = Bytes::from_static(b"to the blue room");
    let rooms = ["red".into(), "blue".into()];
    let published = first.publish(Audience::Rooms("/", &rooms), &message);
    assert_eq!(published.reached[..], [second.id()]);
    let published = first.publish(Audience::Namespace("/"), &message);
    assert_eq!(published.reached[..], [third.id()]);
    second_notes.expect(&Seen::Message(first.id(), message.clone()));
    third_notes.expect(&Seen::Message(first.id(), message.clone()));
    second.unsubscribe(Topic::Room("/", "blue"));
    assert_eq!(first.publish(Audience::Rooms("/", &rooms), &message), Published::default());
    assert_eq!((second_notes.messages().len(), third_notes.messages().len()), (1, 1));
}

#[test]
fn a_large_message_arrives_whole_and_a_larger_one_is_refused() {
    let host = Host::new(SETTINGS);
    let buses = host.buses(2);
    let [(first, _), (second, notes)] = &buses[..] else { panic!() };
    let large: Bytes = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(first.publish(Audience::Everybody, &large).reached[..], [second.id()]);
    notes.expect(&Seen::Message(first.id(), large));
    let larger = Bytes::from(vec![0; 1_000_001]);
    let published = first.publish(Audience::Everybody, &larger);
    assert_eq!((&published.too_long[..], published.refused.len()), (&[second.id()][..], 0));
    assert_eq!(first.send(second.id(), larger), Err(SendError::TooLong));
    assert_eq!(first.message_bytes_max(), 1_000_000);
}

#[test]
fn a_peer_that_stops_reading_is_refused_then_cut_off_and_comes_back() {
    let settings = BusSettings { stall_timeout_ms: 300, ..SETTINGS };
    let host = Host::new(settings);
    let buses = host.buses(3);
    let [(first, notes), (stuck, stuck_notes), (third, third_notes)] = &buses[..] else { panic!() };
    let held = stuck_notes.held.lock().unwrap();
    let message = Bytes::from(vec![7; 10_000]);
    let publish = || first.publish(Audience::Everybody, &message);
    let reached = (0..1000).take_while(|_| !publish().refused.contains(&stuck.id())).count();
    assert!(reached < 1000, "its queue has a bound");
    assert!(first.backlog(stuck.id()) > 1_900_000 && first.backlog(PeerId(0)) == 0);
    notes.expect(&Seen::Left(stuck.id()));
    // What its socket has taken is not known to be lost; the rest is.
    let lost = notes.lost.load(Ordering::SeqCst);
    assert!((1..=reached as u64).contains(&lost), "{lost} of {reached}");
    let published = first.publish(Audience::Everybody, &Bytes::from_static(b"the rest goes on"));
    assert_eq!(published.reached[..], [third.id()]);
    third_notes.expect(&Seen::Message(first.id(), Bytes::from_static(b"the rest goes on")));
    drop(held);
    // It sees the cut as well, and both join one another again.
    stuck_notes.expect(&Seen::Left(first.id()));
    let joins = |notes: &Notes, id| {
        let seen = notes.seen.lock().unwrap();
        seen.iter().filter(|seen| **seen == Seen::Joined(id)).count()
    };
    assert!(eventually(DEADLINE, || joins(notes, stuck.id()) == 2));
    assert!(eventually(DEADLINE, || joins(stuck_notes, first.id()) == 2));
    first.send(stuck.id(), Bytes::from_static(b"again")).unwrap();
    stuck_notes.expect(&Seen::Message(first.id(), Bytes::from_static(b"again")));
    // Between its leaving and its coming back nothing came.
    let seen = stuck_notes.seen.lock().unwrap();
    let left = seen.iter().position(|seen| *seen == Seen::Left(first.id())).unwrap();
    assert_eq!(seen[left + 1], Seen::Joined(first.id()));
}

#[test]
fn whoever_breaks_the_rules_is_not_let_in() {
    let host = Host::new(SETTINGS);
    let buses = host.buses(2);
    let (first, notes) = &buses[0];
    let path = first.shared.path_of(0);
    for nonsense in [&b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], b"", b"sdgb\x09"] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(nonsense).unwrap();
    }
    // A worker with the number of another one that says nothing more stays outside.
    let mut silent = UnixStream::connect(&path).unwrap();
    let hello = Hello { only_wakes: false, index: 2, row: 2, id: 5, name: String::new() };
    silent.write_all(&hello.encode()).unwrap();
    // One that is let in and announces too much is cut off.
    let mut liar = UnixStream::connect(&path).unwrap();
    let hello = Hello { id: 6, index: 3, ..hello };
    liar.write_all(&[&hello.encode()[..], &[1], &[0xff; 4]].concat()).unwrap();
    notes.expect(&Seen::Joined(PeerId(6)));
    notes.expect(&Seen::Left(PeerId(6)));
    assert_eq!(first.peers().len(), 1);
    assert!(!notes.seen.lock().unwrap().contains(&Seen::Joined(PeerId(5))));
}

#[test]
fn what_was_taken_before_closing_is_handed_over() {
    let host = Host::new(SETTINGS);
    let buses = host.buses(2);
    let [(first, first_notes), (_, notes)] = &buses[..] else { panic!() };
    for number in 0..100_u32 {
        first.publish(Audience::Everybody, &Bytes::from(number.to_string()));
    }
    first.close();
    notes.expect(&Seen::Left(first.id()));
    assert_eq!(notes.messages().len(), 100);
    assert!(eventually(DEADLINE, || first_notes.seen.lock().unwrap().len() == 2));
    assert_eq!(first_notes.lost.load(Ordering::SeqCst), 0);
}

#[test]
fn a_receiver_that_panics_keeps_the_bus() {
    struct Panics(Arc<Notes>);
    impl BusReceiver for Panics {
        fn on_message(&self, from: PeerId, message: Bytes) {
            assert_ne!(message, "panic");
            self.0.on_message(from, message);
        }
        fn on_joined(&self, peer: Peer) {
            self.0.on_joined(peer);
        }
        fn on_left(&self, peer: PeerId, lost: u64) {
            self.0.on_left(peer, lost);
        }
    }
    let host = Host::new(SETTINGS);
    let (first, first_notes) = host.bus(0);
    let place =
        BusPlace { index: 1, workers: 2, row: 1, directory: first.shared.directory.clone() };
    let second = UnixBus::new(place, SETTINGS, Arc::clone(&host.table)).unwrap();
    let notes = Arc::new(Notes::default());
    second.start(Arc::new(Panics(Arc::clone(&notes))));
    first_notes.expect(&Seen::Joined(second.id()));
    for text in ["panic", "and on"] {
        first.publish(Audience::Everybody, &Bytes::from_static(text.as_bytes()));
    }
    notes.expect(&Seen::Message(first.id(), Bytes::from_static(b"and on")));
    assert_eq!(notes.messages().len(), 1);
}

#[test]
fn several_workers_can_be_in_one_process() {
    let directory = tempdir::Directory::new();
    let buses = UnixBus::in_one_process(directory.path(), 3).unwrap();
    let notes: Vec<_> = buses.iter().map(|_| Arc::new(Notes::default())).collect();
    for (bus, notes) in buses.iter().zip(&notes) {
        bus.start(Arc::clone(notes) as Arc<dyn BusReceiver>);
    }
    assert!(eventually(DEADLINE, || buses.iter().all(|bus| bus.peers().len() == 2)));
    buses[2].subscribe(Topic::Namespace("/chat"));
    let message = Bytes::from_static(b"hello");
    buses[0].publish(Audience::Namespace("/chat"), &message);
    notes[2].expect(&Seen::Message(buses[0].id(), message));
    assert!(notes[1].messages().is_empty());
}
