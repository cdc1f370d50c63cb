//! The other end of a connection.

use std::net::SocketAddr;

/// What is known about the connection a request came on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) secure: bool,
}

/// A request extension with the peer's address. The engine's own listeners set it; behind another
/// server it tells the engine the address for [`Handshake::address`](crate::Handshake::address).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);
