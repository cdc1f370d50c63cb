//! Where a handler is called: the socket and its connection, the namespace, the server, and what the
//! application keeps with them.

use std::ops::Deref;
use std::sync::Arc;

use sedge_engine::{Handshake, Transport};
use sedge_protocol::engine::Version as ProtocolVersion;

use crate::core::Namespace;
use crate::core::socket::Socket;
use crate::core::stage::{self, Context, SocketStage, Stage};
use crate::error::ExtractError;
use crate::handler::from_context::FromContext;
use crate::reason::DisconnectReason;
use crate::server::Server;

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
