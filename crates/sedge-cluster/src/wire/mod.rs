//! The wire forms of this crate, each in a module: what supervisor and workers tell one another
//! ([`control`]), how a connection travels ([`passing`]), what is asked of a running supervisor
//! ([`command`]), and the frames of the bus ([`bus`]).

pub(crate) mod bus;
pub(crate) mod command;
pub(crate) mod control;
pub(crate) mod passing;
