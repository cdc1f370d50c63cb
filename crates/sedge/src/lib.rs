//! A Socket.IO server for Rust: namespaces, rooms, typed handlers, acknowledgements and broadcasts.
//! The official clients, from Socket.IO 1 to 4, connect to it as they are.
//!
//! ```no_run
//! use sedge::extract::{Ack, Data};
//! use sedge::{DisconnectReason, Server, Socket};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let io = Server::new()?;
//!
//! io.on_connect(async |socket: Socket| {
//!     println!("{} connected", socket.id());
//!     socket.join("lobby")
//! });
//! io.on("say", async |socket: Socket, Data(text): Data<String>, ack: Ack| {
//!     socket.to("lobby").emit("said", &(socket.id(), text))?;
//!     ack.send("delivered")
//! });
//! io.on_disconnect(async |socket: Socket, reason: DisconnectReason| {
//!     println!("{} left: {reason}", socket.id());
//! });
//!
//! let listening = io.listen("127.0.0.1:3000".parse()?).await?;
//! println!("listening on http://{}", listening.local_addr());
//! tokio::signal::ctrl_c().await?;
//! io.close(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! - [`Server`]: options ([`ServerBuilder`]), namespaces ([`Server::of`]), listening, or serving beside
//!   an axum application ([`Server::layer`]);
//! - [`Namespace`]: middlewares and handlers; broadcasts to its sockets;
//! - [`Socket`]: one client in one namespace: emitting, rooms, disconnecting;
//! - [`BroadcastOperator`]: many sockets at once, chosen by rooms;
//! - [`ServerBuilder::bus`]: several processes as one server;
//! - [`extract`]: what handlers can have as arguments;
//! - [`limits`]: every bound, with its reason.
//!
//! # How handlers run
//!
//! The server's connections are spread over *shards*, each of them a thread. A socket's handlers run
//! on its shard, so they need not be `Send` between their `.await`s, and they must not block: work
//! that takes long belongs on [`tokio::task::spawn_blocking`] or another runtime.
//!
//! Events of one socket start in the order in which they came. The part of a handler before its
//! first `.await` runs at once and undisturbed; after that, handlers interleave, as in Node. A
//! handler that never waits costs no task. If it panics or returns an error, that is logged, counted,
//! and given to [`ServerBuilder::on_error`]; the socket stays connected.
//!
//! # What an argument list is
//!
//! A Socket.IO event has a list of arguments. Where arguments are sent (`emit`, [`Ack::send`]) or taken
//! ([`Data`], `emit_with_ack`), a tuple or an array `[T; N]` is that list, `()` is the empty one, and any other
//! type is a single argument. A `Vec` is one argument (an array), as is a struct (an object).
//! Binary data (`bytes::Bytes`) travels as binary.
//!
//! [`Ack::send`]: extract::Ack::send
//! [`Data`]: extract::Data

mod api;
mod core;
mod deadline;
mod error;
pub mod extract;
mod gather;
mod handler;
mod hub;
mod id;
pub mod limits;
mod metrics;
mod prometheus;
mod reason;
mod server;
mod shard;

pub use crate::core::extensions::Extensions;
pub use crate::core::socket::Socket;
pub use crate::core::{Namespace, stage};
pub use api::ack::{AckFuture, FromAck};
pub use api::broadcast_ack::BroadcastAck;
pub use api::emitter::SocketEmitter;
pub use api::operator::{Applied, BroadcastOperator};
pub use api::remote::{FetchSockets, RemoteAck, RemoteSocket};
pub use api::server_side::ServerSideAck;
pub use error::{
    AckError, BroadcastAckError, BuildError, ConnectError, EmitError, ExtractError, HandlerError,
    HandlerErrorKind, IncompleteError, JoinRoomError, NamespaceError, Overloaded,
    ServerSideEmitError,
};
pub use gather::responders::MissingResponder;
pub use handler::{Handler, HandlerOutput};
pub use id::SocketId;
pub use metrics::{BusMetrics, ServerMetrics, SocketMetrics};
pub use prometheus::PROMETHEUS_CONTENT_TYPE;
pub use reason::DisconnectReason;
pub use server::Server;
pub use server::builder::ServerBuilder;
pub use server::service::{SocketLayer, SocketService};
pub use server::worker::ServerInlet;

pub use sedge_adapter::memory;
pub use sedge_adapter::{Bus, IntoRooms, JoinError, MissingReason, Room};
pub use sedge_engine::config::{HttpCompression, PerMessageDeflate};
pub use sedge_engine::hooks::{ConnectionError, ErrorCode, RequestInfo};
pub use sedge_engine::{
    CloseReason, ConfigError, Cookie, Cors, CorsOrigin, Handshake, ListenOptions, Listening,
    Metrics as EngineMetrics, NotFound, NotPassed, Passed, PassedStream, Passing, PeerAddr,
    ResponseBody, SameSite, ShardFailure, Siblings, StartError, Transport,
};
pub use sedge_protocol::engine::Version as ProtocolVersion;
pub use sedge_protocol::request::forwarded::{Header as ForwardedHeader, Proxies};
pub use sedge_protocol::request::network::{Network, NetworkError, Networks};
pub use sedge_protocol::socketio::ArgList;
pub use sedge_protocol::socketio::{
    ArgsError, CustomDecoder, CustomParser, EncodeError, Message, MessageRef, Number, PacketKind,
    ParseError, Parser, Value, ValuePacket,
};
