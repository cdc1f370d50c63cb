//! Events from process to process.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sedge::extract::{Ack, Args, Data, Event, State, TryData};
use sedge::{EmitError, Namespace, Server};
use sedge_testkit::DEADLINE;

use super::{Carrier, Cluster, LONG, NAMES, SHORT, words};

/// What the handlers of all processes tell.
fn notes() -> (SyncSender<String>, Receiver<String>) {
    sync_channel(10_000)
}

fn next(notes: &Receiver<String>) -> String {
    notes.recv_timeout(DEADLINE).expect("a note before the deadline")
}

/// So many notes, sorted.
fn sorted(notes: &Receiver<String>, count: usize) -> Vec<String> {
    let mut all: Vec<_> = (0..count).map(|_| next(notes)).collect();
    all.sort();
    all
}

pub(crate) fn all_other_processes_hear_it<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        let (note, notes) = notes();
        for (name, node) in NAMES.iter().zip(&cluster.nodes) {
            let note = note.clone();
            let heard = async move |Data((a, b)): Data<(u32, String)>, ack: Option<Ack>| {
                assert!(ack.is_none());
                note.send(format!("{name} {a} {b}")).unwrap();
            };
            node.io.on_server_side("event", heard);
        }
        for (n, node) in cluster.nodes.iter().enumerate() {
            node.io.server_side_emit("event", &(1, "x")).unwrap();
            node.io.server_side_emit("nobody listens", &()).unwrap();
            let others = NAMES[..cluster.nodes.len()].iter().enumerate().filter(|(at, _)| *at != n);
            let mut expected: Vec<_> = others.map(|(_, name)| format!("{name} 1 x")).collect();
            expected.sort();
            assert_eq!(sorted(&notes, cluster.nodes.len() - 1), expected);
        }
        assert!(notes.try_recv().is_err(), "nobody hears himself, and nobody twice");
    });
}

pub(crate) fn one_answer_from_each<C: Carrier>() {
    Cluster::<C>::each(|cluster| {
        for (n, node) in cluster.nodes.iter().enumerate() {
            node.io.on_server_side("double", async move |Data(x): Data<u64>, ack: Ack| {
                assert!(ack.is_expected());
                tokio::task::yield_now().await;
                ack.send(&(x * 2 + n as u64, "surplus"))
            });
            // The first answer counts.
            node.io.on_server_side("double", async |ack: Ack| ack.send("of a second handler"));
            node.io.on_server_side("nothing", async |ack: Ack| ack.send(&()));
        }
        for (n, node) in cluster.nodes.iter().enumerate() {
            let others = (0..cluster.nodes.len()).filter(|other| *other != n);
            let nothing = node.io.server_side_emit_with_ack::<()>("nothing", &());
            assert_eq!(cluster.wait(nothing).map(|all| all.len()), Ok(others.clone().count()));
            let asked = node.io.server_side_emit_with_ack::<sedge::Value>("double", &21);
            let answers = cluster.wait(asked).unwrap();
            assert_eq!(answers.len(), others.count());
            assert!(answers.iter().all(|answer| answer.as_str() == Some("of a second handler")));
        }
    });
}

pub(crate) fn without_listeners<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    cluster.nodes[1].io.on_server_side("known", async |ack: Ack| ack.send(&1));
    let io = &cluster.nodes[0].io;
    // Without a limit of its own the wait would be longer than the test's deadline.
    let error = cluster.wait(io.server_side_emit_with_ack::<u32>("known", &()).timeout(LONG));
    let error = error.unwrap_err();
    assert_eq!((error.responses, error.emit), (vec![1], None));
    assert_eq!(words(&error.missing), ["three (it has no listener)"]);
    // The namespace is not there at all.
    let other = io.of("/other").unwrap();
    let error = cluster.wait(other.server_side_emit_with_ack::<u32>("known", &()).timeout(LONG));
    let missing = ["three (it has no listener)", "two (it has no listener)"];
    assert_eq!(words(&error.unwrap_err().missing), missing);
}

pub(crate) fn order_is_kept_by_sender<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 2);
    let (note, notes) = notes();
    let heard = async move |event: Event, Data((from, n)): Data<(usize, u32)>| {
        note.send(format!("{event} {from} {n:03}")).unwrap();
    };
    cluster.nodes[2].io.on_server_side("n", heard.clone());
    cluster.nodes[2].io.on_server_side("m", heard);
    for n in 0..200 {
        for (from, node) in cluster.nodes.iter().enumerate() {
            node.io.server_side_emit(if n % 2 == 0 { "n" } else { "m" }, &(from, n)).unwrap();
        }
    }
    let all: Vec<_> = (0..400).map(|_| next(&notes)).collect();
    for from in 0..2 {
        let of = |note: &&String| note[2..].starts_with(&from.to_string());
        let numbers: Vec<_> = all.iter().filter(of).map(|note| note[4..].to_owned()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!(numbers.len(), 200);
    }
}

pub(crate) fn failures_end_one_call<C: Carrier>() {
    let cluster = Cluster::<C>::new(2, 1);
    let two = &cluster.nodes[1].io;
    two.on_server_side("panics", async |ack: Ack| assert!(!ack.is_expected(), "on purpose"));
    two.on_server_side("fails", async |_: Ack| Err("on purpose"));
    two.on_server_side("panics later", async |ack: Ack| {
        tokio::task::yield_now().await;
        assert!(!ack.is_expected(), "on purpose");
    });
    two.on_server_side("wants a number", async |_: Data<u32>, ack: Ack| ack.send(&1));
    two.on_server_side("takes no ack", async || {});
    two.on_server_side("well", async |ack: Ack| ack.send(&1));
    let io = &cluster.nodes[0].io;
    for event in ["panics", "fails", "panics later", "wants a number", "takes no ack"] {
        let asked = io.server_side_emit_with_ack::<u32>(event, "text").timeout(LONG);
        let error = cluster.wait(asked).unwrap_err();
        assert_eq!(
            words(&error.missing),
            ["two (its listener ended without an answer)"],
            "{event}"
        );
    }
    assert_eq!(two.metrics().total.handler_errors, 4);
    assert_eq!(cluster.wait(io.server_side_emit_with_ack::<u32>("well", &())), Ok(vec![1]));
    let text = cluster.wait(io.server_side_emit_with_ack::<String>("well", &())).unwrap_err();
    assert_eq!(words(&text.missing), ["two (its answer cannot be read)"]);
}

pub(crate) fn names_and_types<C: Carrier>() {
    let cluster = Cluster::<C>::with(2, 2, sedge::ServerBuilder::state);
    let (note, notes) = notes();
    let chat = cluster.nodes[1].io.of("/chat").unwrap();
    chat.on_server_side(
        "all",
        async move |io: Server,
                    nsp: Namespace,
                    State(n): State<usize>,
                    event: Event,
                    args: Args,
                    TryData(number): TryData<u32>| {
            let sockets = io.socket_count();
            let args = args.len();
            note.send(format!("{} {n} {event} {args} {} {sockets}", nsp.name(), number.is_err()))
                .unwrap();
        },
    );
    let io = &cluster.nodes[0].io;
    let chat = io.of("/chat").unwrap();
    let data = bytes::Bytes::from_static(b"abc");
    chat.server_side_emit("all", &(&data, 1.5, Some("x"))).unwrap();
    assert_eq!(next(&notes), "/chat 1 all 3 true 0");
    for name in ["connect", "connection", "new_namespace"] {
        let words = format!("\"{name}\" is a reserved event name");
        assert_eq!(io.server_side_emit(name, &()).unwrap_err().to_string(), words);
        let error = cluster.wait(io.server_side_emit_with_ack::<()>(name, &())).unwrap_err();
        assert!(matches!(error.emit, Some(EmitError::Encode(_))), "{error}");
        let listen = || drop(io.on_server_side(name, async || {}).clone());
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(listen)).is_err());
    }
}

pub(crate) fn whoever_leaves<C: Carrier>() {
    let cluster = Cluster::<C>::new(3, 1);
    let (note, notes) = notes();
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    for node in &cluster.nodes {
        let (note, kept) = (note.clone(), Arc::clone(&kept));
        node.io.on_server_side("question", async move |ack: Ack| {
            kept.lock().unwrap().push(ack);
            note.send(String::new()).unwrap();
        });
    }
    let io = &cluster.nodes[0].io;
    let asked = io.server_side_emit_with_ack::<u32>("question", &()).timeout(LONG);
    sorted(&notes, 2);
    sedge::Bus::close(&*cluster.nodes[1].tap);
    for ack in kept.lock().unwrap().drain(..) {
        // Long after the handler has ended, on any thread.
        ack.send(&5).unwrap();
    }
    let error = cluster.wait(asked).unwrap_err();
    assert_eq!(
        (error.responses, words(&error.missing)),
        (vec![5], vec!["two (it has left)".into()])
    );
    let asked = io.server_side_emit_with_ack::<u32>("question", &()).timeout(SHORT);
    sorted(&notes, 1);
    let error = cluster.wait(asked).unwrap_err();
    assert_eq!(words(&error.missing), ["three (it did not answer in time)"]);
    let held = kept.lock().unwrap().pop().unwrap();
    held.send(&6).unwrap();
    cluster.nodes[0].eventually(|bus| bus.answers_dropped == 1);
}
