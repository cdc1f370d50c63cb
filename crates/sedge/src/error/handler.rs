//! A handler did not do its work: why, who is to blame, and the error that it returned.

use std::any::Any;
use std::error::Error;
use std::fmt;

use sedge_protocol::socketio::ArgsError;

use super::{AckError, EmitError, ExtractError, JoinRoomError};

/// A handler did not do its work. It is logged, counted, and given to the hook of
/// [`ServerBuilder::on_error`](crate::ServerBuilder::on_error); the socket stays connected.
///
/// Its [source](std::error::Error::source) is what the handler returned, if that was a boxed error (`Box<dyn Error>`,
/// also `Send + Sync`) or one of this crate; errors of other types are found by
/// [`downcast_ref`](Self::downcast_ref).
#[derive(Debug)]
pub struct HandlerError {
    pub(crate) event: Box<str>,
    pub(crate) fault: Fault,
}

/// What kept a handler from doing its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerErrorKind {
    /// It was not called because one of its arguments could not be made: most often the client
    /// sent something else than [`Data`](crate::extract::Data) asked for.
    #[error("the handler was not called: {0}")]
    Extract(#[from] ExtractError),
    /// It returned an error; these are its words.
    #[error("the handler failed: {0}")]
    Failed(String),
    /// It panicked.
    #[error("the handler panicked: {0}")]
    Panicked(String),
}

impl HandlerError {
    /// The event's name; `connect` and `disconnect` for those handlers, and `middleware`.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// What happened.
    pub fn kind(&self) -> &HandlerErrorKind {
        &self.fault.kind
    }

    /// The name of the type of the error that the handler returned, for people to read.
    pub fn type_name(&self) -> Option<&'static str> {
        self.fault.failure.as_ref().map(|failure| failure.type_name)
    }

    /// The error that the handler returned if it is an `E`; of a boxed error, whatever in its chain of sources
    /// is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.fault.failure.as_ref()?.find()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {:?}: {}", self.event, self.fault.kind)
    }
}

impl Error for HandlerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (&self.fault.kind, &self.fault.failure) {
            (HandlerErrorKind::Extract(error), _) => Some(error),
            (_, Some(failure)) => failure.error(),
            _ => None,
        }
    }
}

/// What kept a handler from doing its work, with the error that it returned.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: HandlerErrorKind,
    pub(crate) failure: Option<Failure>,
}

impl From<HandlerErrorKind> for Fault {
    fn from(kind: HandlerErrorKind) -> Self {
        Fault { kind, failure: None }
    }
}

impl From<ExtractError> for Fault {
    fn from(error: ExtractError) -> Self {
        HandlerErrorKind::from(error).into()
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let kind = HandlerErrorKind::Failed(failure.words.clone());
        Fault { kind, failure: Some(failure) }
    }
}

impl Fault {
    /// Whether it is the way of clients rather than a mistake of the server: the client has gone, has asked for
    /// more than it may have, or has sent something else than was asked for.
    pub(crate) fn blame(&self) -> Blame {
        match (&self.kind, &self.failure) {
            (HandlerErrorKind::Extract(ExtractError::Decode(_) | ExtractError::Other(_)), _) => {
                Blame::Client
            }
            (_, Some(failure)) => failure.blame(),
            _ => Blame::Server,
        }
    }
}

/// Who is to blame for what a handler did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Nobody: the client has gone meanwhile.
    Nobody,
    /// What the client has sent.
    Client,
    /// The application, or the server.
    Server,
}

/// The error that a handler has returned.
#[doc(hidden)]
#[derive(Debug)]
pub struct Failure {
    words: String,
    type_name: &'static str,
    error: Box<dyn Any>,
}

impl Failure {
    /// The alternate form of `Display` is for errors that show their whole chain only then, as those of
    /// `anyhow` and `eyre` do.
    pub(crate) fn new<E: fmt::Display + 'static>(error: E) -> Self {
        let words = format!("{error:#}");
        Failure { words, type_name: std::any::type_name::<E>(), error: Box::new(error) }
    }

    /// The error, as far as it can be known that it is one.
    fn error(&self) -> Option<&(dyn Error + 'static)> {
        if let Some(error) = self.error.downcast_ref::<Box<dyn Error>>() {
            return Some(&**error);
        }
        if let Some(error) = self.error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
            return Some(&**error);
        }
        self.own::<JoinRoomError>()
            .or_else(|| self.own::<EmitError>())
            .or_else(|| self.own::<AckError>())
            .or_else(|| self.own::<ArgsError>())
    }

    fn own<E: Error + 'static>(&self) -> Option<&(dyn Error + 'static)> {
        self.error.downcast_ref::<E>().map(|error| error as _)
    }

    fn find<E: Error + 'static>(&self) -> Option<&E> {
        let chain = std::iter::successors(self.error(), |&error| error.source());
        let mut found = chain.filter_map(|error| error.downcast_ref());
        self.error.downcast_ref().or_else(|| found.next())
    }

    fn blame(&self) -> Blame {
        let (join, ack) = (self.find::<JoinRoomError>(), self.find::<AckError>());
        let emit = match ack {
            Some(AckError::Emit(emit)) => Some(emit),
            _ => self.find::<EmitError>(),
        };
        match (join, emit, ack) {
            (Some(JoinRoomError::NotConnected), ..)
            | (_, Some(EmitError::NotConnected), _)
            | (.., Some(AckError::Disconnected)) => Blame::Nobody,
            (Some(JoinRoomError::Limit(_)), ..)
            | (_, Some(EmitError::TooManyPendingAcks), _)
            | (.., Some(AckError::Timeout | AckError::Decode(_))) => Blame::Client,
            _ if self.find::<ArgsError>().is_some() => Blame::Client,
            _ => Blame::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn failed<E: fmt::Display + 'static>(error: E) -> HandlerError {
        HandlerError { event: "say".into(), fault: Failure::new(error).into() }
    }

    #[test]
    fn it_names_the_event() {
        let kind = HandlerErrorKind::Extract(ExtractError::from(ArgsError::Missing(1)));
        let error = HandlerError { event: "say".into(), fault: kind.into() };
        assert_eq!(
            error.to_string(),
            "event \"say\": the handler was not called: missing argument 1"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no order")]
    struct NoOrder(#[source] io::Error);

    fn no_order() -> NoOrder {
        NoOrder(io::Error::from(io::ErrorKind::TimedOut))
    }

    #[test]
    fn the_error_of_a_handler_is_found_with_its_sources() {
        let errors = [
            failed::<Box<dyn Error>>(no_order().into()),
            failed::<Box<dyn Error + Send + Sync>>(no_order().into()),
        ];
        for error in errors {
            assert_eq!(error.kind(), &HandlerErrorKind::Failed("no order".to_owned()));
            assert!(error.downcast_ref::<NoOrder>().is_some());
            let source = error.source().and_then(Error::source).expect("the source of the source");
            assert_eq!(source.to_string(), io::Error::from(io::ErrorKind::TimedOut).to_string());
            assert!(error.downcast_ref::<io::Error>().is_some());
            assert!(error.downcast_ref::<fmt::Error>().is_none());
        }
        let error = failed(no_order());
        assert!(error.downcast_ref::<NoOrder>().is_some());
        assert!(error.type_name().is_some_and(|name| name.ends_with("NoOrder")));
        let words = failed("only words");
        assert_eq!(words.to_string(), "event \"say\": the handler failed: only words");
        assert!(words.source().is_none());
    }

    #[test]
    fn clients_are_to_blame_for_what_clients_do() {
        let blame = |error: HandlerError| error.fault.blame();
        let boxed = |error| failed::<Box<dyn Error>>(error);
        assert_eq!(blame(failed(JoinRoomError::NotConnected)), Blame::Nobody);
        assert_eq!(blame(boxed(JoinRoomError::NotConnected.into())), Blame::Nobody);
        assert_eq!(blame(boxed(AckError::Emit(EmitError::NotConnected).into())), Blame::Nobody);
        let limit = sedge_adapter::JoinError::TooManyRooms { limit: 1 };
        assert_eq!(blame(failed(JoinRoomError::from(limit))), Blame::Client);
        assert_eq!(blame(boxed(AckError::Timeout.into())), Blame::Client);
        assert_eq!(blame(failed(no_order())), Blame::Server);
        assert_eq!(blame(failed("only words")), Blame::Server);
        assert_eq!(Fault::from(ExtractError::MissingState("u8")).blame(), Blame::Server);
        assert_eq!(Fault::from(ExtractError::from(ArgsError::Missing(1))).blame(), Blame::Client);
    }
}
