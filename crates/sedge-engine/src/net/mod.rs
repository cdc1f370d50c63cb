//! Byte streams under connections, and how they move to another thread or process. Nothing here knows
//! what the bytes mean.

pub(crate) mod io;
pub(crate) mod pace;
pub(crate) mod passed;
pub(crate) mod timed_io;
