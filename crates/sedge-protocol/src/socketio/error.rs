//! What can go wrong with a Socket.IO packet: the peer's faults ([`ParseError`]), a handler that
//! asks for other arguments than were sent ([`ArgsError`]), and values that cannot be sent
//! ([`EncodeError`]).

use std::fmt::Display;

/// A packet of the peer breaks the protocol. It is always the peer's fault, and what follows is
/// always the same: the whole connection is closed with the reason "parse error".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The first character is no packet type (`0` to `6`), or msgpack's `type` is none of 0 to 4.
    #[error("unknown packet type")]
    UnknownType,
    /// The count of attachments of a binary packet is missing, zero or not a number, or a
    /// placeholder names an attachment that does not exist.
    #[error("illegal attachments")]
    IllegalAttachments,
    /// A packet announces more attachments than [`super::DecodeLimits::attachments_max`].
    #[error("too many attachments")]
    TooManyAttachments,
    /// The attachments of a packet exceed [`super::DecodeLimits::attachment_bytes_max`] together.
    #[error("attachments too large")]
    AttachmentsTooLarge,
    /// A text message arrived where only binary ones are allowed: attachments are awaited, or the
    /// parser is msgpack.
    #[error("text message where binary data is expected")]
    UnexpectedText,
    /// A binary message arrived although no packet waits for attachments.
    #[error("binary message that belongs to no packet")]
    UnexpectedBinary,
    /// The namespace is longer than [`super::DecodeLimits::nsp_len_max`].
    #[error("namespace too long")]
    NamespaceTooLong,
    /// The namespace is not a string that starts with `/`.
    #[error("invalid namespace")]
    InvalidNamespace,
    /// In msgpack, the type or the id is not a whole number.
    #[error("invalid packet id")]
    InvalidId,
    /// The payload is malformed, or not of the form that the packet's type demands.
    #[error("invalid payload")]
    InvalidPayload,
    /// An event carries one of the names in [`super::RESERVED_EVENTS`].
    #[error("reserved event name")]
    ReservedEvent,
    /// Arrays and maps in msgpack are nested deeper than [`super::DEPTH_MAX`]. (JSON is not limited
    /// before it is decoded; with attachments, too deep is an invalid payload.)
    #[error("payload nested too deeply")]
    TooDeep,
    /// The message is longer than 2^32 - 1 bytes.
    #[error("message too long")]
    TooLong,
    /// A custom parser refused the message, in its own words.
    #[error("{0}")]
    Custom(String),
}

/// The arguments of a packet are not what the handler asked for. The packet itself was fine, so
/// nothing follows for the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// The peer sent fewer arguments. Counted from 1.
    #[error("missing argument {0}")]
    Missing(usize),
    /// An argument has another type than was asked for.
    #[error("argument {argument}: {message}")]
    Invalid {
        /// Which argument, counted from 1.
        argument: usize,
        /// What was expected and what was found.
        message: String,
    },
    /// The payload of a CONNECT or `CONNECT_ERROR` packet has another type than was asked for.
    #[error("payload: {0}")]
    Payload(String),
    /// The requested type refused the arguments as a whole.
    #[error("{0}")]
    Refused(String),
}

impl ArgsError {
    /// Gives an error of one argument the number of that argument (`index` counts from 0).
    pub(super) fn of_argument(index: usize, error: impl Display) -> Self {
        Self::Invalid { argument: index + 1, message: error.to_string() }
    }
}

impl serde::de::Error for ArgsError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Refused(message.to_string())
    }
}

/// A value that cannot be sent. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// One of [`super::RESERVED_EVENTS`]: the receiving parser would close the connection.
    #[error("\"{0}\" is a reserved event name")]
    ReservedEvent(String),
    /// The value's `Serialize` failed, or it has no form in the encoding (a map whose keys are
    /// not strings, numbers or booleans in JSON).
    #[error("cannot be serialized: {0}")]
    Serialize(String),
    /// A tuple announced another number of elements than it wrote.
    #[error("a tuple of {announced} wrote {written} elements")]
    ArgumentCount {
        /// What `serialize_tuple` was told.
        announced: usize,
        /// How many elements followed.
        written: usize,
    },
    /// More arguments than msgpack can count, 2^32 - 1.
    #[error("too many arguments")]
    TooManyArguments,
    /// A custom parser refused the packet, in its own words.
    #[error("{0}")]
    Custom(String),
}

impl serde::ser::Error for EncodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Serialize(message.to_string())
    }
}
