//! How a connection travels to a worker: one message of a fixed head with the connection's descriptor,
//! followed by bytes that were already read from it. What does not fit into one message follows
//! in further ones that are nothing but bytes.
//!
//! ```text
//! byte   0      version, 1
//!        1      flags: 1 TLS was taken off in front, 2 a Unix socket, 4 an IPv4 peer, 8 an IPv6 peer
//!        2..4   which listener accepted it
//!        4..8   bytes already read, in this and the following messages
//!        8..10  the peer's port
//!       10..26  the peer's address; an IPv4 one takes the first four bytes
//!       26..30  IPv6 flow information
//!       30..34  IPv6 scope
//! ```
//!
//! Numbers are big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::limits::PASSED_BYTES_MAX;

/// Bytes of the fixed head.
pub(crate) const HEAD_BYTES: usize = 34;

const VERSION: u8 = 1;
const SECURE: u8 = 1;
const UNIX: u8 = 2;
const V4: u8 = 4;
const V6: u8 = 8;

/// All about a connection that is not the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PassHead {
    pub(crate) unix: bool,
    pub(crate) secure: bool,
    pub(crate) listener: u16,
    pub(crate) peer: Option<SocketAddr>,
    /// Bytes already read from it.
    pub(crate) read: u32,
}

impl PassHead {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = VERSION;
        bytes[1] = if self.secure { SECURE } else { 0 } | if self.unix { UNIX } else { 0 };
        bytes[2..4].copy_from_slice(&self.listener.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.read.to_be_bytes());
        let Some(peer) = self.peer else { return bytes };
        bytes[8..10].copy_from_slice(&peer.port().to_be_bytes());
        match peer {
            SocketAddr::V4(peer) => {
                bytes[1] |= V4;
                bytes[10..14].copy_from_slice(&peer.ip().octets());
            }
            SocketAddr::V6(peer) => {
                bytes[1] |= V6;
                bytes[10..26].copy_from_slice(&peer.ip().octets());
                bytes[26..30].copy_from_slice(&peer.flowinfo().to_be_bytes());
                bytes[30..34].copy_from_slice(&peer.scope_id().to_be_bytes());
            }
        }
        bytes
    }

    /// The head of a message and the bytes behind it; `None` if it is no such message.
    pub(crate) fn decode(message: &[u8]) -> Option<(PassHead, &[u8])> {
        let (head, rest) = message.split_first_chunk::<HEAD_BYTES>()?;
        let &[version, flags, l0, l1, r0, r1, r2, r3, p0, p1, ref address @ ..] = head;
        if version != VERSION {
            return None;
        }
        let port = u16::from_be_bytes([p0, p1]);
        let (ip, numbers) = address.split_first_chunk::<16>()?;
        let peer = match flags & (V4 | V6) {
            0 => None,
            V4 => {
                let [a, b, c, d, ..] = *ip;
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port))
            }
            V6 => {
                let &[f0, f1, f2, f3, s0, s1, s2, s3] = numbers else { return None };
                let flow = u32::from_be_bytes([f0, f1, f2, f3]);
                let scope = u32::from_be_bytes([s0, s1, s2, s3]);
                Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, flow, scope).into())
            }
            _ => return None,
        };
        let read = u32::from_be_bytes([r0, r1, r2, r3]);
        if read as usize > PASSED_BYTES_MAX || rest.len() > read as usize {
            return None;
        }
        let head = PassHead {
            unix: flags & UNIX != 0,
            secure: flags & SECURE != 0,
            listener: u16::from_be_bytes([l0, l1]),
            peer,
            read,
        };
        Some((head, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_as_it_was_written() {
        let peers = ["127.0.0.1:80", "[2001:db8::7]:65535"].map(|text| Some(text.parse().unwrap()));
        let scoped: SocketAddr = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 2, 3).into();
        for peer in peers.into_iter().chain([Some(scoped), None]) {
            let head =
                PassHead { unix: peer.is_none(), secure: true, listener: 258, peer, read: 3 };
            let message = [&head.encode()[..], b"GET"].concat();
            assert_eq!(PassHead::decode(&message), Some((head, &b"GET"[..])));
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let head = PassHead { unix: false, secure: false, listener: 0, peer: None, read: 0 };
        let good = head.encode();
        assert!(PassHead::decode(&good[..HEAD_BYTES - 1]).is_none());
        let mut version = good;
        version[0] = 9;
        assert!(PassHead::decode(&version).is_none());
        let mut both = good;
        both[1] = V4 | V6;
        assert!(PassHead::decode(&both).is_none());
        let mut huge = good;
        huge[4] = 0xff;
        assert!(PassHead::decode(&huge).is_none());
        let more = [&good[..], b"x"].concat();
        assert!(PassHead::decode(&more).is_none(), "bytes that were not announced");
    }
}
