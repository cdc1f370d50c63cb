//! What becomes of a connection whose WebSocket handshake has been answered.

use std::sync::Arc;

use sedge_protocol::engine::Version;

use crate::application::SessionKey;
use crate::handshake::Handshake;

/// What becomes of a connection after the 101 response.
pub(crate) struct Ticket {
    pub(crate) shard: usize,
    pub(crate) purpose: Purpose,
}

pub(crate) enum Purpose {
    /// A new session.
    Open { version: Version, base64: bool, deflate: bool, handshake: Arc<Handshake> },
    /// A probe of this session.
    Probe { key: SessionKey, ticket: u32 },
    /// Nothing: the session is upgrading or upgraded already. The official server accepts the
    /// handshake and closes the WebSocket, and clients rely on that.
    Refuse,
    /// A WebSocket of a sibling, which has answered the handshake.
    Tunnel(hyper::upgrade::Upgraded),
}

impl Ticket {
    pub(crate) fn tunnel(shard: usize, to: hyper::upgrade::Upgraded) -> Ticket {
        Ticket { shard, purpose: Purpose::Tunnel(to) }
    }
}
