//! From an address to a target, the same each time and on every balancer that has the same targets.
//!
//! Each hash gives an order of targets for an address; who cannot take the request is passed over,
//! so that only those clients move whose target is away. Only [`ketama`] and [`rendezvous`] also
//! keep the others in place when a target is added or removed.

pub mod ip_hash;
pub mod ketama;
pub mod recipes;
pub mod rendezvous;

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// How addresses are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// As `ip_hash` of nginx does. IPv4 addresses of the same 24-bit network stay together.
    IpHash,
    /// As `hash $remote_addr consistent` of nginx does.
    Consistent,
    /// By rendezvous: the most even one, and with the fewest clients that move.
    Rendezvous,
}

/// The text names no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a hash: ip-hash, consistent or rendezvous")]
pub struct UnknownHash;

impl Hash {
    /// All of them.
    pub const ALL: [Hash; 3] = [Hash::IpHash, Hash::Consistent, Hash::Rendezvous];

    /// The name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Hash::IpHash => "ip-hash",
            Hash::Consistent => "consistent",
            Hash::Rendezvous => "rendezvous",
        }
    }
}

impl FromStr for Hash {
    type Err = UnknownHash;

    fn from_str(text: &str) -> Result<Hash, UnknownHash> {
        Hash::ALL.into_iter().find(|hash| hash.as_str() == text).ok_or(UnknownHash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An address as nginx writes it, on the stack. IPv4-mapped addresses are written as IPv4.
#[derive(Clone, Copy)]
pub struct AddressText {
    bytes: [u8; AddressText::LONGEST],
    len: u8,
}

impl AddressText {
    const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

    /// The text of an address.
    pub fn new(address: IpAddr) -> AddressText {
        let mut text = AddressText { bytes: [0; Self::LONGEST], len: 0 };
        let mut rest = &mut text.bytes[..];
        // It has room for every address, so that writing cannot fail.
        let _ = match address.to_canonical() {
            IpAddr::V6(address) => match embedded_v4(address) {
                Some([a, b, c, d]) => write!(rest, "::{a}.{b}.{c}.{d}"),
                None => write!(rest, "{address}"),
            },
            IpAddr::V4(address) => write!(rest, "{address}"),
        };
        text.len = (Self::LONGEST - rest.len()) as u8;
        text
    }

    /// The text as bytes, which are ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The obsolete addresses with only the last 32 bits set, which nginx writes like IPv4; unless these
/// begin with 16 zero bits and end with 0x00 or 0x01, as in `::1`.
fn embedded_v4(address: Ipv6Addr) -> Option<[u8; 4]> {
    let [0, 0, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    (high != 0 || (c != 0 && d != 1)).then_some([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_nginx_does() {
        for (address, text) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::", "::"),
            ("::1", "::1"),
            ("::102", "::0.0.1.2"),
            ("::2", "::2"),
            ("::1:1", "::0.1.0.1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:DB8:0:1:0:1:0:1", "2001:db8:0:1:0:1:0:1"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(AddressText::new(address.parse().unwrap()).as_str(), text);
        }
    }

    #[test]
    fn names_are_read_back() {
        for hash in Hash::ALL {
            assert_eq!(hash.to_string().parse(), Ok(hash));
        }
        assert_eq!("md5".parse::<Hash>(), Err(UnknownHash));
    }
}
