//! HTTP as values: heads, bodies and answers, and the headers the engine understands. Nothing here knows
//! a session or a connection.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod client_files;
pub(crate) mod compress;
pub(crate) mod cors;
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod head;
pub(crate) mod peer;
pub(crate) mod ticket;
