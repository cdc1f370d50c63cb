//! A server with a well-behaved client on the same thread, and what has to hold when the others have
//! gone.

use std::ops::Deref;

use sedge::extract::Ack;
use sedge::{DisconnectReason, Server, ServerBuilder, Socket};
use sedge_testkit::{DEADLINE, SioClient, eventually};

use crate::common::{Fixture, Notes, notes};

/// A server with one shard, and a bystander in the root namespace.
pub(crate) struct Stage {
    server: Fixture,
    bystander: SioClient,
    reasons: Notes<(String, String)>,
}

impl Deref for Stage {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.server
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Self::builder())
    }

    pub(crate) fn builder() -> ServerBuilder {
        Server::builder().shards(1)
    }

    pub(crate) fn with(builder: ServerBuilder) -> Self {
        Self::with_namespaces(builder, &[])
    }

    /// A server with these namespaces besides the root.
    pub(crate) fn with_namespaces(builder: ServerBuilder, names: &[&str]) -> Self {
        let server = Fixture::with(builder);
        let (note, reasons) = notes();
        for name in [&["/"], names].concat() {
            let note = note.clone();
            let namespace = server.io.of(name).expect("a valid name");
            namespace.on("well?", async |ack: Ack| ack.send("well"));
            namespace.on_disconnect(async move |socket: Socket, reason: DisconnectReason| {
                // A test may not listen, and there may be more than it listens to.
                let _ = note.try_send((socket.id().to_string(), reason.to_string()));
            });
        }
        let (bystander, _) = server.client();
        Stage { server, bystander, reasons }
    }

    /// The bystander is served, and has been sent nothing it did not ask for.
    #[track_caller]
    pub(crate) fn all_is_well(&mut self) {
        ask(&mut self.bystander);
    }

    /// A client of the bystander's kind.
    pub(crate) fn bystander(&mut self) -> &mut SioClient {
        &mut self.bystander
    }

    /// Expects that the socket with this id ends next, and why.
    #[track_caller]
    pub(crate) fn expect_reason(&self, id: &str, reason: &str) {
        assert_eq!(self.reasons.next(), (id.to_owned(), reason.to_owned()));
    }

    /// Whose socket ends next, and why.
    pub(crate) fn next_reason(&self) -> (String, String) {
        self.reasons.next()
    }

    /// Everybody but the bystander has gone: nothing is left of them. Then the bystander goes.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.all_is_well();
        let mut found = Vec::new();
        let clean = eventually(DEADLINE, || {
            found = gauges(&self.server.io);
            found == [("sockets", 1), ("sessions_websocket", 1), ("connections_websocket", 1)]
        });
        assert!(clean, "only the bystander should be left: {found:?}");
        self.all_is_well();
        self.bystander.close();
        Self::nothing_is_left(&self.server.io);
    }

    /// Everybody has gone, the bystander too.
    #[track_caller]
    pub(crate) fn finish_alone(self) {
        let Stage { server, bystander, .. } = self;
        bystander.abort();
        Self::nothing_is_left(&server.io);
    }

    #[track_caller]
    fn nothing_is_left(io: &Server) {
        let mut found = Vec::new();
        let clean = eventually(DEADLINE, || {
            found = gauges(io);
            found.is_empty()
        });
        assert!(clean, "something is left: {found:?}");
    }
}

/// A connected client is served, and nothing was sent to it that it has not seen.
#[track_caller]
pub(crate) fn ask(client: &mut SioClient) {
    client.expect_nothing_but(r#"2987654["well?"]"#, r#"3987654["well"]"#);
}

/// The gauges that are not zero.
fn gauges(io: &Server) -> Vec<(&'static str, u64)> {
    let metrics = io.metrics();
    let sockets = metrics.total;
    let mut engine = metrics.engine[0].clone();
    for shard in &metrics.engine[1..] {
        engine.merge(shard);
    }
    let all = [
        ("sockets", sockets.sockets),
        ("handlers_in_flight", sockets.handlers_in_flight),
        ("events_waiting", sockets.events_waiting),
        ("sessions_polling", engine.sessions_polling),
        ("sessions_websocket", engine.sessions_websocket),
        ("connections_http", engine.connections_http),
        ("connections_websocket", engine.connections_websocket),
        ("probes", engine.probes),
        ("polls_waiting", engine.polls_waiting),
        ("outbox_bytes", engine.outbox_bytes),
    ];
    all.into_iter().filter(|(_, value)| *value > 0).collect()
}
