//! Extractors: the arguments a handler can have.
//!
//! | extractor | is | where |
//! |---|---|---|
//! | [`Server`], [`Namespace`] | the server, the namespace | everywhere |
//! | [`State<T>`] | the server's state | everywhere |
//! | [`Socket`] | the socket | all but `on_server_side` |
//! | [`Auth<T>`], [`TryAuth<T>`] | the client's `auth` payload | all but `on_server_side` |
//! | [`Arc<Handshake>`](crate::Handshake) | the request that opened the connection | all but `on_server_side` |
//! | [`Extension<T>`] | what the application attached to the socket | all but `on_server_side` |
//! | [`Transport`], [`ProtocolVersion`] | how the client is connected | all but `on_server_side` |
//! | [`Data<T>`], [`TryData<T>`], [`Args`] | the event's arguments | events, `on_server_side` |
//! | [`Event`] | the event's name | events, `on_server_side` |
//! | [`Ack`], `Option<Ack>` | the acknowledgement that was asked for | events, `on_server_side` |
//! | [`DisconnectReason`] | why the socket went | `on_disconnect` |
//!
//! In `Data<T>`, [`RoomName`] is the name of a room.
//!
//! If one of them cannot be made, because the client sent something else, the handler is not called:
//! the error is logged, counted, and goes to the hook of
//! [`ServerBuilder::on_error`](crate::ServerBuilder::on_error). The connection stays, and a client that has asked for
//! an acknowledgement gets none. In a
//! middleware the client is refused.
//!
//! Write your own by implementing [`FromContext`].
//!
//! [`Server`]: crate::Server
//! [`Namespace`]: crate::Namespace
//! [`Socket`]: crate::Socket
//! [`Transport`]: crate::Transport
//! [`ProtocolVersion`]: crate::ProtocolVersion
//! [`DisconnectReason`]: crate::DisconnectReason

pub(crate) mod ack;
pub(crate) mod args;
pub(crate) mod room;
pub(crate) mod surroundings;

pub use ack::Ack;
pub use args::{Args, Auth, Data, Event, TryAuth, TryData};
pub use room::RoomName;
pub use surroundings::{Extension, State};

pub use crate::handler::from_context::FromContext;
