//! What can be done with a namespace: handlers added, events sent.

use sedge_adapter::Target;
use sedge_protocol::socketio::is_reserved_event;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::broadcast_methods::broadcast_methods;
use super::operator::BroadcastOperator;
use super::server_side::{self, ServerSideAck};
use crate::core::Namespace;
use crate::core::stage::{self, Registration};
use crate::error::EmitError;
use crate::handler::Handler;
use crate::handler::listener::erase;
use crate::shard::local::LocalShard;

impl Namespace {
    /// Adds a middleware: it examines every client that asks to join, and may refuse it by returning
    /// an error. Middlewares run one after the other, in the order in which they were added; the
    /// socket connects when the last one has let it pass.
    ///
    /// The socket is there but not yet connected: it can be given
    /// [data](crate::Socket::set_data), [extensions](crate::Socket::extensions), handlers and
    /// [rooms](crate::Socket::join), which it is in when it connects, while emitting fails.
    pub fn middleware<T: 'static>(&self, handler: impl Handler<stage::Middleware, T>) -> &Self {
        self.register(Registration::Middleware(erase(handler)))
    }

    /// Adds a handler for sockets that have connected.
    pub fn on_connect<T: 'static>(&self, handler: impl Handler<stage::Connect, T>) -> &Self {
        self.register(Registration::Connect(erase(handler)))
    }

    /// Adds a handler for an event of every socket. All handlers of an event are called, in the order
    /// in which they were added, those of the namespace before those of the [socket](crate::Socket::on).
    ///
    /// # Panics
    ///
    /// If the name is reserved (`connect`, `connect_error`, `disconnect`, `disconnecting`,
    /// `newListener`, `removeListener`): no client can send such an event. (`connection` and `error` are not:
    /// they are what a client sends by these names, and a warning says so.)
    pub fn on<T: 'static>(&self, event: &str, handler: impl Handler<stage::Event, T>) -> &Self {
        assert_listenable(event);
        self.register(Registration::Event(event.into(), erase(handler)))
    }

    /// Adds a handler for every event, called before those of the event itself.
    pub fn on_any<T: 'static>(&self, handler: impl Handler<stage::Event, T>) -> &Self {
        self.register(Registration::AnyEvent(erase(handler)))
    }

    /// Adds a handler for events that have no handler of their own.
    pub fn on_fallback<T: 'static>(&self, handler: impl Handler<stage::Event, T>) -> &Self {
        self.register(Registration::Fallback(erase(handler)))
    }

    /// Adds a handler for sockets that have been disconnected. The socket is in no room any more;
    /// [`Socket::rooms`](crate::Socket::rooms) tells which ones it was in.
    pub fn on_disconnect<T: 'static>(&self, handler: impl Handler<stage::Disconnect, T>) -> &Self {
        self.register(Registration::Disconnect(erase(handler)))
    }

    /// Adds a handler for an event that another process of the cluster sends by
    /// [`server_side_emit`](Self::server_side_emit). There is no socket; what the other process sent is
    /// extracted as everywhere ([`Data`](crate::extract::Data)), and answered by
    /// [`Ack`](crate::extract::Ack) if it wants an answer.
    ///
    /// It is called once per event in this process, on one of its shards. The events of one other process
    /// start in the order in which they were sent. A panic ends that call only; like an error it is logged
    /// and counted.
    ///
    /// ```
    /// # use sedge::{Server, extract::{Ack, Data}};
    /// # async fn f(io: Server) -> Result<(), Box<dyn std::error::Error>> {
    /// io.on_server_side("reload", async |Data(topic): Data<String>| println!("reload {topic}"));
    /// io.on_server_side("how many", async |io: Server, ack: Ack| ack.send(&io.socket_count()));
    ///
    /// io.server_side_emit("reload", "prices")?;
    /// let counts: Vec<u64> = io.server_side_emit_with_ack("how many", &()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the name is one that cannot be sent: `connect`, `connection` or `new_namespace`.
    pub fn on_server_side<T: 'static>(
        &self,
        event: &str,
        handler: impl Handler<stage::ServerSide, T>,
    ) -> &Self {
        assert!(!server_side::RESERVED.contains(&event), "{event:?} is a reserved event name");
        self.register(Registration::ServerSide(event.into(), erase(handler)))
    }

    /// Sends an event to all other processes that share the [bus](crate::ServerBuilder::bus), whose
    /// handlers were added by [`on_server_side`](Self::on_server_side) to the namespace of this name. The
    /// arguments are given as in [`Socket::emit`](crate::Socket::emit). It never waits; without a bus it does
    /// nothing.
    ///
    /// The names `connect`, `connection` and `new_namespace` are refused, and so is an event that is longer than
    /// the bus takes. Otherwise it may be lost as [others](crate::BroadcastOperator::emit) that go to another
    /// process.
    pub fn server_side_emit<T: Serialize + ?Sized>(
        &self,
        event: &str,
        args: &T,
    ) -> Result<(), EmitError> {
        server_side::emit(self, event, args)
    }

    /// Sends an event as [`server_side_emit`](Self::server_side_emit) does, and returns a future of one
    /// answer from every other process, of whose arguments the first counts. It ends when all have
    /// answered or left. A process without a handler says so at once, and is missing in the answers.
    ///
    /// The event is sent by the call itself.
    pub fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> ServerSideAck<R> {
        server_side::emit_with_ack(self, event, args)
    }

    fn register(&self, registration: Registration) -> &Self {
        if LocalShard::of(self.core(), |_| ()).is_some() && self.shared().first_within_handler() {
            sedge_log::warn_seen!(
                "a handler of the namespace {:?} was added within a handler: it is called for all sockets, and as \
                 often as it was added. Handlers of one socket are added by Socket::on",
                self.name()
            );
        }
        self.shared().register(registration);
        self
    }

    broadcast_methods!(|namespace: &Namespace| BroadcastOperator::new(
        namespace.clone(),
        Target::everyone()
    ));
}

/// Refuses names that no client can send, and doubts those that are meant for something else.
pub(crate) fn assert_listenable(event: &str) {
    let instead = match event {
        "connect" => "sockets that connect are told to on_connect",
        "connection" => {
            "sockets that connect are told to on_connect; this one is called when a client sends it"
        }
        "disconnect" => "the end of a socket is told to on_disconnect",
        "disconnecting" => {
            "on_disconnect is told of it, and Socket::rooms tells then which rooms it was in"
        }
        "connect_error" => "a client is refused by a middleware, and only the client hears of it",
        "error" => {
            "errors of handlers are told to ServerBuilder::on_error; this one is called when a client sends it"
        }
        "newListener" | "removeListener" => "nobody is told of handlers",
        _ => return,
    };
    assert!(!is_reserved_event(event), "{event:?} is a reserved event name: {instead}");
    sedge_log::warn_seen!("a handler was added for an event named {event:?}: {instead}");
}
