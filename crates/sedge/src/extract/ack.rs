//! Answering an event: the acknowledgement the client asked for.

use sedge_engine::SendOptions;
use serde::Serialize;

use super::FromContext;
use crate::error::{EmitError, ExtractError};
use crate::handler::stage::{self, Context};
use crate::socket::Socket;

/// The acknowledgement of an event, to be sent at most once; [`Ack::send`] consumes it. Dropping
/// it unsent is fine: the client then runs into its own time limit, if it has one.
///
/// As an argument, `Ack` is always there, whether or not the client asked; `Option<Ack>` is `None` if
/// it did not.
#[derive(Debug)]
pub struct Ack {
    socket: Socket,
    id: Option<u64>,
}

impl Ack {
    /// Whether the client asked for an acknowledgement. If it did not, sending one does nothing.
    pub fn is_expected(&self) -> bool {
        self.id.is_some()
    }

    /// Sends the acknowledgement: a tuple is the list of arguments, `()` is no argument, anything else is one.
    ///
    /// Works at any time and from any thread, also long after the handler has ended.
    pub fn send<T: Serialize + ?Sized>(self, args: &T) -> Result<(), EmitError> {
        let Some(id) = self.id else { return Ok(()) };
        self.socket
            .send_packet(SendOptions::default(), |parser, nsp, out| parser.ack(nsp, id, args, out))
    }
}

impl FromContext<stage::Event> for Ack {
    fn from_context(context: &Context<'_, stage::Event>) -> Result<Self, ExtractError> {
        Ok(Ack { socket: context.socket.clone(), id: context.details.ack })
    }
}

impl FromContext<stage::Event> for Option<Ack> {
    fn from_context(context: &Context<'_, stage::Event>) -> Result<Self, ExtractError> {
        Ack::from_context(context).map(|ack| ack.is_expected().then_some(ack))
    }
}
