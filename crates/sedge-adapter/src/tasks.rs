//! The one thread of this crate: of the bus in memory.

use std::{io, thread};

/// Hands a member of the bus in memory what others send it, until the member is dropped.
pub(crate) fn member(name: &str, hand_over: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(format!("bus-{name}")).spawn(hand_over).map(drop)
}
