//! Extractors: the arguments a handler can have.
//!
//! | extractor | is | where |
//! |---|---|---|
//! | [`Server`], [`Namespace`] | the server, the namespace | everywhere |
//! | [`State<T>`] | the server's state | everywhere |
//! | [`Socket`] | the socket | all but `on_server_side` |
//! | [`Auth<T>`], [`TryAuth<T>`] | the client's `auth` payload | all but `on_server_side` |
//! | [`Arc<Handshake>`](Handshake) | the request that opened the connection | all but `on_server_side` |
//! | [`Extension<T>`] | what the application attached to the socket | all but `on_server_side` |
//! | [`Transport`], [`ProtocolVersion`] | how the client is connected | all but `on_server_side` |
//! | [`Data<T>`], [`TryData<T>`], [`Args`] | the event's arguments | events, `on_server_side` |
//! | [`Event`] | the event's name | events, `on_server_side` |
//! | [`Ack`], `Option<Ack>` | the acknowledgement that was asked for | events, `on_server_side` |
//! | [`DisconnectReason`] | why the socket went | `on_disconnect` |
//!
//! If one of them cannot be made, because the client sent something else, the handler is not called:
//! the error is logged and counted and goes to the hook of
//! [`ServerBuilder::on_error`](crate::ServerBuilder::on_error). The connection stays. In a
//! middleware the client is refused.
//!
//! Write your own by implementing [`FromContext`].

mod ack;
mod args;

use std::ops::Deref;
use std::sync::Arc;

pub use ack::Ack;
pub use args::{Args, Auth, Data, Event, TryAuth, TryData};
use sedge_engine::{Handshake, Transport};

use crate::error::ExtractError;
use crate::handler::stage::{self, Context, SocketStage, Stage};
use crate::namespace::Namespace;
use crate::reason::DisconnectReason;
use crate::server::Server;
use crate::socket::{ProtocolVersion, Socket};

/// What can be an argument of a handler on the occasion `S`.
///
/// ```
/// use sedge::extract::{Auth, FromContext};
/// use sedge::stage::{Context, SocketStage};
/// use sedge::{ExtractError, Value};
///
/// /// The name the client gave itself.
/// struct Name(String);
///
/// impl<S: SocketStage> FromContext<S> for Name {
///     fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
///         let Auth(auth) = Auth::<Value>::from_context(context)?;
///         let name = auth["name"].as_str().ok_or(ExtractError::Other("no name".into()))?;
///         Ok(Name(name.to_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an extractor on this occasion",
    label = "not an extractor of the stage `{S}`",
    note = "event arguments are taken as `Data(value): Data<T>`, the auth payload as `Auth(value): Auth<T>`; \
            `Data`, `Args`, `Event` and `Ack` exist for events only, `DisconnectReason` for `on_disconnect` only, and \
            in `on_server_side` there is no socket",
    note = "the table in `sedge::extract` lists all extractors"
)]
pub trait FromContext<S: Stage>: Sized {
    /// Makes the argument. Runs before the handler does, on the thread of the socket's shard.
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError>;
}

/// The server's state of type `T`, as given to
/// [`ServerBuilder::state`](crate::ServerBuilder::state).
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

/// What the application attached to the socket; see [`Socket::extensions`]. The handler is not
/// called if there is none: `Option<Extension<T>>` for when there may be none.
#[derive(Debug)]
pub struct Extension<T>(pub Arc<T>);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Extension<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<S: SocketStage> FromContext<S> for Socket {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(context.subject.clone())
    }
}

impl<S: Stage> FromContext<S> for Namespace {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(context.namespace().clone())
    }
}

impl<S: Stage> FromContext<S> for Server {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(context.server())
    }
}

impl<S: SocketStage> FromContext<S> for Arc<Handshake> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Arc::clone(context.subject.handshake()))
    }
}

impl<S: SocketStage> FromContext<S> for ProtocolVersion {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(context.subject.protocol_version())
    }
}

impl<S: SocketStage> FromContext<S> for Transport {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        let gone = || ExtractError::Other("the connection is closed".to_owned());
        context.subject.transport_here().ok_or_else(gone)
    }
}

impl<S: Stage, T: Send + Sync + 'static> FromContext<S> for State<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        let missing = || ExtractError::MissingState(std::any::type_name::<T>());
        context.state().map(State).ok_or_else(missing)
    }
}

impl<S: SocketStage, T: Send + Sync + 'static> FromContext<S> for Extension<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        let missing = || ExtractError::MissingExtension(std::any::type_name::<T>());
        context.subject.extensions().get().map(Extension).ok_or_else(missing)
    }
}

impl<S: SocketStage, T: Send + Sync + 'static> FromContext<S> for Option<Extension<T>> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(context.subject.extensions().get().map(Extension))
    }
}

impl FromContext<stage::Disconnect> for DisconnectReason {
    fn from_context(context: &Context<'_, stage::Disconnect>) -> Result<Self, ExtractError> {
        Ok(context.reason())
    }
}
