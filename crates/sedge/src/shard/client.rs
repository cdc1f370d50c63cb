//! A connection, as its shard knows it.

use std::num::NonZeroU32;
use std::sync::Arc;

use sedge_adapter::MemberId;
use sedge_engine::{Handshake, SessionKey};
use sedge_protocol::engine::Version;
use sedge_protocol::socketio::Decoder;
use smallvec::SmallVec;

use super::waiting::Waiting;

/// A connection.
pub(super) struct Client {
    pub(super) session: SessionKey,
    pub(super) handshake: Arc<Handshake>,
    pub(super) decoder: Decoder,
    /// The namespaces joined or asked for; nearly always one.
    pub(super) joined: SmallVec<[Joined; 1]>,
    /// Tells this client from others that had the same slot, for timers.
    pub(super) serial: u32,
    /// Handlers of its sockets that wait at an `.await`.
    pub(super) in_flight: u32,
    /// Events that wait because there are too many of those; nearly always none.
    pub(super) waiting: Option<Box<Waiting>>,
    pub(super) version: Version,
    /// Whether it has ever joined a namespace.
    pub(super) settled: bool,
}

/// A namespace of a connection.
#[derive(Clone, Copy)]
pub(super) struct Joined {
    pub(super) namespace: u32,
    /// `None` while the middlewares examine it.
    pub(super) member: Option<MemberIndex>,
}

/// A member's number; one value is spared so that "none" needs no room of its own.
#[derive(Clone, Copy)]
pub(super) struct MemberIndex(NonZeroU32);

impl MemberIndex {
    pub(super) fn new(member: MemberId) -> Option<Self> {
        NonZeroU32::new(member.0.wrapping_add(1)).map(MemberIndex)
    }

    pub(super) fn get(self) -> MemberId {
        MemberId(self.0.get() - 1)
    }
}

impl Client {
    pub(super) fn session(&self) -> SessionKey {
        self.session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_small() {
        assert!(size_of::<Option<Client>>() <= 72, "{}", size_of::<Option<Client>>());
    }
}
