//! The other end of a connection.

use std::net::SocketAddr;

use sedge_protocol::request::forwarded::Proxies;

use super::head::Head;

/// What is known about the connection a request came on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    /// It has no address because it is on a Unix socket.
    pub(crate) unix: bool,
    pub(crate) secure: bool,
}

impl Peer {
    /// Who speaks: the client that the request's head names, if a trusted proxy has sent it.
    pub(crate) fn client(self, head: &Head, proxies: &Proxies) -> Peer {
        if self.address.is_none() && !self.unix {
            return self;
        }
        let client = proxies.client(|name| head.values(name), self.address.map(|peer| peer.ip()));
        let named = client.address.map(|ip| SocketAddr::new(ip, client.port));
        Peer {
            address: named.or(self.address),
            secure: client.secure.unwrap_or(self.secure),
            ..self
        }
    }
}

/// A request extension with the peer's address. The engine's own listeners set it; behind another
/// server it tells the engine the address for [`Handshake::address`](crate::Handshake::address).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);
