//! What the client, or another process, sent: the arguments of an event, its name, and the auth payload.

use std::fmt;
use std::ops::Deref;

use sedge_protocol::socketio::{self, ArgsError};
use serde::de::DeserializeOwned;

use crate::api::ack::FromAck;
use crate::core::stage::{Context, EventStage, SocketStage};
use crate::error::ExtractError;
use crate::handler::from_context::FromContext;

/// The event's arguments as `T`. A tuple or an array `[T; N]` takes them one by one, `()` takes none, and
/// any other type takes the first: an argument that is an array is a `Vec`, or `([T; N],)`. Surplus
/// arguments are ignored; a missing one is `None` for an `Option`.
///
/// Numbers are JavaScript's: `3.0` is an integer, and `1e400` is infinite. The text `"3"` is no number. Binary
/// arguments decode into `bytes::Bytes` and `Vec<u8>`. If the arguments are of another
/// type the handler is not called; [`TryData`] is for handlers that want to answer to that.
#[derive(Clone, Copy, Debug)]
pub struct Data<T>(pub T);

/// The event's arguments as `T`, or what is wrong with them; see [`Data`].
#[derive(Clone, Debug)]
pub struct TryData<T>(pub Result<T, ArgsError>);

/// The client's `auth` payload as `T`, an empty object if it sent none. Clients of Socket.IO 1
/// and 2 have the query string of their namespace here (`/admin?token=1`), as strings.
#[derive(Clone, Copy, Debug)]
pub struct Auth<T>(pub T);

/// The client's `auth` payload as `T`, or what is wrong with it; see [`Auth`].
#[derive(Clone, Debug)]
pub struct TryAuth<T>(pub Result<T, ArgsError>);

/// The name of the event, for handlers of more than one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub String);

/// The event's arguments as they came, to be decoded later or passed on unread.
///
/// They can be the arguments of another emit; see [`socketio::Args`] for what they offer.
#[derive(Clone, Debug)]
pub struct Args(pub socketio::Args<'static>);

impl Deref for Args {
    type Target = socketio::Args<'static>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl serde::Serialize for Args {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl FromAck for Args {
    fn from_ack(args: socketio::Args<'static>) -> Result<Self, ArgsError> {
        Ok(Args(args))
    }
}

impl Deref for Event {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: EventStage, T: DeserializeOwned> FromContext<S> for Data<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Data(context.args().decode()?))
    }
}

impl<S: EventStage, T: DeserializeOwned> FromContext<S> for TryData<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(TryData(context.args().decode()))
    }
}

impl<S: EventStage> FromContext<S> for Args {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Args(context.args().clone().into_owned()))
    }
}

impl<S: EventStage> FromContext<S> for Event {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Event(context.event().to_owned()))
    }
}

impl<S: SocketStage, T: DeserializeOwned> FromContext<S> for Auth<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Auth(context.subject.auth()?))
    }
}

impl<S: SocketStage, T: DeserializeOwned> FromContext<S> for TryAuth<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(TryAuth(context.subject.auth()))
    }
}
