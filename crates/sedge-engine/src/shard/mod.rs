//! A shard: one thread that owns a slice of the connections.
//!
//! [`State`](state::State) holds the shard's sessions behind one `RefCell` that is never borrowed while the
//! application runs. [`Shard`] is the application's handle on it. Nothing here knows HTTP, or who listens.

pub(crate) mod conn;
pub(crate) mod env;
mod excess;
pub(crate) mod farewell;
pub(crate) mod frames;
pub(crate) mod handle;
pub(crate) mod metrics;
pub(crate) mod outbox;
pub(crate) mod random;
mod slots;
mod slow;
pub(crate) mod state;
pub(crate) mod wheel;

pub use handle::Shard;
