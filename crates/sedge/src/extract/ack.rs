//! Answering an event: the acknowledgement that was asked for.

use std::fmt;
use std::sync::Arc;

use sedge_engine::SendOptions;
use sedge_protocol::socketio::{Args, Value};
use serde::Serialize;

use crate::core::socket::Socket;
use crate::core::stage::{AnswerTo, Context, EventStage};
use crate::error::{EmitError, ExtractError};
use crate::handler::from_context::FromContext;
use crate::hub::answers::ServerSideAnswer;

/// The acknowledgement of an event, to be sent at most once; [`Ack::send`] consumes it. Dropping
/// it unsent is fine: a client then runs into its own time limit, if it has one, and another process
/// is told that there is no answer.
///
/// As an argument, `Ack` is always there, whether or not it was asked for; `Option<Ack>` is `None` if
/// it was not.
#[derive(Debug)]
pub struct Ack(To);

/// Whom it goes to.
enum To {
    Nobody,
    Client(Socket, u64),
    Process(Arc<ServerSideAnswer>),
}

impl Ack {
    fn new(to: AnswerTo<'_>) -> Ack {
        Ack(match to {
            AnswerTo::Nobody => To::Nobody,
            AnswerTo::Client(socket, id) => To::Client(socket.clone(), id),
            AnswerTo::Process(answer) => To::Process(Arc::clone(answer)),
        })
    }

    /// Whether an acknowledgement was asked for. If not, sending one does nothing.
    pub fn is_expected(&self) -> bool {
        !matches!(self.0, To::Nobody)
    }

    /// Sends the acknowledgement, the arguments as in [`Socket::emit`]: a tuple or an array is the list, anything
    /// else is one. Another process gets the first argument only. If an event has several handlers, it gets the answer
    /// that comes first.
    ///
    /// Works at any time and from any thread, also long after the handler has ended.
    pub fn send<T: Serialize + ?Sized>(self, args: &T) -> Result<(), EmitError> {
        match self.0 {
            To::Nobody => Ok(()),
            To::Client(socket, id) => socket
                .send_packet(SendOptions::default(), |parser, nsp, out| {
                    parser.ack(nsp, id, args, out)
                }),
            To::Process(answer) => {
                let args = Args::from_serialize(args)?;
                let first = if args.is_empty() { None } else { args.get::<Value>(0).ok() };
                answer.give(first);
                Ok(())
            }
        }
    }
}

impl<S: EventStage> FromContext<S> for Ack {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Ack::new(S::incoming(context).answer_to))
    }
}

impl<S: EventStage> FromContext<S> for Option<Ack> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, ExtractError> {
        Ok(Some(Ack::new(S::incoming(context).answer_to)).filter(Ack::is_expected))
    }
}

impl fmt::Debug for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            To::Nobody => f.write_str("nobody"),
            To::Client(socket, id) => write!(f, "{} ({id})", socket.id()),
            To::Process(_) => f.write_str("another process"),
        }
    }
}
