//! What an application calls. An emit goes from here into the shards ([`crate::shard`]) and, if it concerns
//! the sockets of other processes, to the hub ([`crate::hub`]).
//!
//! The handles themselves are defined in [`crate::core`]; here are the methods with which something is done
//! to one socket ([`socket`], [`emitter`]), to many ([`namespace`], [`operator`], [`remote`]), or to other
//! processes ([`server_side`]), and the futures of what is answered.

pub(crate) mod ack;
pub(crate) mod broadcast_ack;
pub(crate) mod broadcast_methods;
pub(crate) mod emitter;
mod gathered;
pub(crate) mod namespace;
pub(crate) mod operator;
pub(crate) mod remote;
pub(crate) mod server_side;
pub(crate) mod socket;
