//! What servers on a common bus do for one another, written for any carrier.
//!
//! A carrier's crate runs all of it with three lines. In a test file of its own:
//!
//! ```ignore
//! #[path = "../../sedge/tests/cluster/suite/mod.rs"]
//! mod suite;
//!
//! #[derive(Default)]
//! pub(crate) struct Mine { /* what lives as long as the cluster */ }
//!
//! impl suite::Carrier for Mine {
//!     fn bus(&mut self, name: &str) -> Arc<dyn Bus> { /* a new member */ }
//! }
//!
//! suite::cluster_suite!(crate::Mine);
//! ```
//!
//! and `sedge`, `sedge-adapter`, `sedge-testkit`, `bytes` and `tokio` among its development
//! dependencies. Between server and carrier stands a [`tap`], which counts, refuses and holds back,
//! so that a carrier needs no hooks for it. Faults of processes and connections are tested elsewhere.
#![allow(clippy::unwrap_used, reason = "all of this is tests, as the macro below marks them")]

pub(crate) mod acks;
pub(crate) mod applying;
pub(crate) mod broadcasts;
pub(crate) mod faults;
pub(crate) mod fetching;
pub(crate) mod interest;
pub(crate) mod lengths;
pub(crate) mod parsers;
pub(crate) mod puppet;
pub(crate) mod server_side;
pub(crate) mod tap;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sedge::extract::{Ack, Data};
use sedge::{Bus, BusMetrics, MissingResponder, Server, ServerBuilder, Socket};
use sedge_testkit::{DEADLINE, SioClient, eventually};
use tap::{Refusals, Tap};

/// A carrier under test: each value is a cluster of its own, which ends with it.
pub(crate) trait Carrier: Default {
    /// A new member of the cluster, not started.
    fn bus(&mut self, name: &str) -> Arc<dyn Bus>;
}

/// A time that no test waits for.
pub(crate) const LONG: Duration = Duration::from_hours(1);
/// A time after which a test expects that somebody is not waited for any more.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// What the processes are called.
pub(crate) const NAMES: [&str; 3] = ["one", "two", "three"];

/// One process of a cluster.
pub(crate) struct Node {
    pub(crate) io: Server,
    pub(crate) address: SocketAddr,
    pub(crate) tap: Arc<Tap>,
}

/// Some processes that share a bus.
pub(crate) struct Cluster<C> {
    pub(crate) nodes: Vec<Node>,
    refusals: Arc<Refusals>,
    carrier: C,
    runtime: tokio::runtime::Runtime,
}

impl<C: Carrier> Cluster<C> {
    /// As many processes, each with as many shards.
    pub(crate) fn new(processes: usize, shards: usize) -> Self {
        Self::with(processes, shards, |builder, _| builder)
    }

    /// As many processes with options; the second argument is the number of the process.
    pub(crate) fn with(
        processes: usize,
        shards: usize,
        options: impl Fn(ServerBuilder, usize) -> ServerBuilder,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (nodes, carrier, refusals) = (Vec::new(), C::default(), Arc::default());
        let mut cluster = Cluster { nodes, refusals, carrier, runtime };
        for (index, name) in NAMES[..processes].iter().enumerate() {
            cluster.add(name, |builder| options(builder.shards(shards), index));
        }
        cluster.meet(0);
        cluster
    }

    /// Clusters of all sizes, one after the other.
    pub(crate) fn each(test: impl Fn(Cluster<C>)) {
        Self::each_with(|builder, _| builder, test);
    }

    /// Clusters of all sizes with options.
    pub(crate) fn each_with(
        options: impl Fn(ServerBuilder, usize) -> ServerBuilder,
        test: impl Fn(Cluster<C>),
    ) {
        for processes in 1..=3 {
            for shards in 1..=2 {
                test(Self::with(processes, shards, &options));
            }
        }
    }

    fn add(&mut self, name: &str, options: impl FnOnce(ServerBuilder) -> ServerBuilder) {
        let tap = Tap::new(name, self.carrier.bus(name), Arc::clone(&self.refusals));
        let bus: Arc<dyn Bus> = Arc::clone(&tap) as Arc<dyn Bus>;
        let io = options(Server::builder()).bus(bus).build().expect("valid options");
        add_handlers(&io);
        let local = "127.0.0.1:0".parse().expect("an address");
        let listening = self.runtime.block_on(io.listen(local)).expect("a free port");
        self.nodes.push(Node { io, address: listening.local_addr(), tap });
    }

    /// A member of the bus that is no server; it stands behind the servers.
    pub(crate) fn puppet(&mut self, name: &str) -> puppet::Puppet {
        let puppet = puppet::Puppet::new(self.carrier.bus(name));
        self.meet(1);
        puppet
    }

    /// Waits until all know one another, and as many others besides.
    fn meet(&self, strangers: u64) {
        let others = self.nodes.len() as u64 - 1 + strangers;
        let met = eventually(DEADLINE, || self.nodes.iter().all(|node| node.bus().peers == others));
        assert!(met, "all processes know one another");
    }

    /// Waits for a future, within the deadline.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        let limited = async { tokio::time::timeout(DEADLINE, future).await };
        self.runtime.block_on(limited).expect("it ends before the deadline")
    }

    /// The process at a place; beyond the last one, the first again.
    pub(crate) fn node(&self, place: usize) -> &Node {
        &self.nodes[place % self.nodes.len()]
    }

    /// A client for each list of rooms, spread over the processes in turn.
    pub(crate) fn clients<const N: usize>(&self, rooms: [&[&str]; N]) -> [Client; N] {
        let mut place = 0;
        rooms.map(|rooms| {
            place += 1;
            self.node(place - 1).client(rooms)
        })
    }

    /// Makes what others have for a process be refused, or not any more.
    pub(crate) fn refuse(&self, name: &str, refuse: bool) {
        self.refusals.set(name, refuse);
    }
}

/// What all tests have handlers for.
fn add_handlers(io: &Server) {
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.join(room).expect("within the limits");
        ack.send(&())
    });
    io.on("leave", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        socket.leave(room).expect("a queue that is not full");
        ack.send(&())
    });
    io.on("ping", async |ack: Ack| ack.send("pong"));
    io.on("to", async |socket: Socket, Data((room, text)): Data<(String, String)>| {
        socket.to(room).emit("said", &text)
    });
    io.on("others", async |socket: Socket, Data(text): Data<String>| {
        socket.broadcast().emit("said", &text)
    });
}

impl Node {
    /// A client that has joined rooms.
    pub(crate) fn client(&self, rooms: &[&str]) -> Client {
        let (client, id) = SioClient::connect(self.address);
        let mut client = Client { client, id };
        for room in rooms {
            client.join(room);
        }
        client
    }

    /// The counters of the bus.
    pub(crate) fn bus(&self) -> BusMetrics {
        self.io.metrics().bus.expect("it has one")
    }

    /// Waits until a counter of the bus is what it has to be.
    pub(crate) fn eventually(&self, condition: impl Fn(BusMetrics) -> bool) {
        assert!(eventually(DEADLINE, || condition(self.bus())), "{:?}", self.bus());
    }
}

impl<C> Drop for Cluster<C> {
    /// Whoever has left everything wants nothing more, and nobody waits for what was asked.
    fn drop(&mut self) {
        for node in &self.nodes {
            self.runtime.block_on(node.io.close(Duration::from_secs(1)));
        }
        if std::thread::panicking() {
            return;
        }
        for node in &self.nodes {
            assert_eq!(node.tap.topics(), [""; 0], "all is unsubscribed");
            assert_eq!(node.bus().requests, 0, "no request is left behind");
        }
    }
}

/// A client of a server, and its socket's id.
pub(crate) struct Client {
    pub(crate) client: SioClient,
    pub(crate) id: String,
}

impl Client {
    pub(crate) fn join(&mut self, room: &str) {
        self.client.expect_nothing_but(&format!(r#"21["join","{room}"]"#), "31[]");
    }

    pub(crate) fn leave(&mut self, room: &str) {
        self.client.expect_nothing_but(&format!(r#"21["leave","{room}"]"#), "31[]");
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, packet: &str) {
        self.client.expect(packet);
    }

    /// Nothing was sent: the next packet is the answer to its own question.
    #[track_caller]
    pub(crate) fn nothing(&mut self) {
        self.client.expect_nothing_but(r#"29["ping"]"#, r#"39["pong"]"#);
    }

    /// Expects an event that asks for an acknowledgement, and returns the id.
    #[track_caller]
    pub(crate) fn asked(&mut self, rest: &str) -> u32 {
        let packet = self.client.receive();
        let id = packet.strip_prefix('2').and_then(|packet| packet.strip_suffix(rest));
        let id = id.unwrap_or_else(|| panic!("{packet}"));
        id.parse().unwrap_or_else(|_| panic!("{packet}"))
    }

    /// Acknowledges with JSON text of the arguments.
    pub(crate) fn acknowledge(&mut self, id: u32, args: &str) {
        self.client.send(&format!("3{id}{args}"));
    }
}

/// Who is missing and why, in words.
pub(crate) fn words(missing: &[MissingResponder]) -> Vec<String> {
    missing.iter().map(ToString::to_string).collect()
}

/// Makes a test of each case of the suite, for a carrier named from the root of the crate.
macro_rules! cluster_suite {
    ($carrier:ty) => {
        crate::suite::cases! { $carrier;
            broadcasts: all_sockets_of_all_processes, rooms_span_processes, sockets_are_rooms_everywhere,
                only_this_process, sockets_leave_out_themselves, order_is_kept, attachments_cross,
                flags_hold_everywhere, namespaces_do_not_hear_each_other, old_clients_have_their_ids;
            interest: a_room_is_sent_to_its_members_processes, a_room_crosses_once_for_all_members,
                who_has_left_is_not_sent_to, whole_namespaces, rooms_end_with_their_last_member,
                joining_takes_effect_at_once;
            acks: everybody_acknowledges, processes_ask_one_socket_at_once, silent_clients_are_missing,
                nobody_is_waited_for_in_vain, a_process_that_leaves_is_named,
                a_process_that_is_late_is_named, a_process_that_refuses_is_named,
                a_question_may_be_forgotten;
            fetching: sockets_of_all_processes_are_found, remote_sockets_can_be_acted_on,
                remote_sockets_acknowledge, a_partial_list_names_who_is_missing,
                what_sockets_carry_crosses;
            lengths: a_long_list_comes_in_parts, a_socket_too_long_is_left_out_and_told, whoever_emits_too_much_is_told,
                answers_that_are_too_long_end_the_wait;
            applying: sockets_join_and_leave, sockets_are_disconnected, who_does_not_answer_is_named;
            server_side: all_other_processes_hear_it, one_answer_from_each, without_listeners,
                order_is_kept_by_sender, failures_end_one_call, names_and_types, whoever_leaves;
            parsers: msgpack, custom, custom_parsers_may_fail;
            faults: a_process_that_does_not_read, a_shard_that_is_busy, too_many_requests, too_many_server_side_handlers,
                garbage_is_counted, answers_nobody_waits_for, several_shards_of_a_stranger,
                strangers_ask_too, another_namespace_is_no_one_s;
        }
    };
}

macro_rules! cases {
    ($carrier:ty; $($module:ident: $($case:ident),+;)+) => {$(
        mod $module {
            $(
                #[test]
                fn $case() {
                    crate::suite::$module::$case::<$carrier>();
                }
            )+
        }
    )+};
}

pub(crate) use {cases, cluster_suite};
