//! nginx's `ip_hash`: the first three octets of an IPv4 address or all of an IPv6 address, modulo 6271,
//! spread over the weights. The facts are those of `ngx_http_upstream_ip_hash_module.c`; a test
//! compares the placement with a running nginx.
//!
//! Against nginx, an IPv4 address that came as IPv6 counts as IPv4.

use std::net::IpAddr;

use crate::limits::IP_HASH_TRIES;

/// The hashes of an address: that of the first choice, and of the further ones that nginx goes through
/// when a server is away. Modulo the sum of all weights (also of those who are away) each is a
/// place in the list of servers, in which a server takes as many places as its weight.
pub fn hashes(address: IpAddr) -> impl Iterator<Item = u32> {
    const BEGIN: u32 = 89;

    let (octets, count) = match address.to_canonical() {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            (octets, 3)
        }
        IpAddr::V6(address) => (address.octets(), 16),
    };
    let mut hash = BEGIN;
    (0..IP_HASH_TRIES).map(move |_| {
        let seen = octets.iter().take(count);
        hash = seen.fold(hash, |hash, octet| (hash * 113 + u32::from(*octet)) % 6271);
        hash
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(address: &str) -> u32 {
        hashes(address.parse().unwrap()).next().unwrap()
    }

    #[test]
    fn the_last_octet_does_not_count() {
        assert_eq!(first("192.0.2.1"), first("192.0.2.255"));
        assert_ne!(first("192.0.2.1"), first("192.0.3.1"));
        assert_eq!(first("::ffff:192.0.2.1"), first("192.0.2.9"));
        assert_ne!(first("2001:db8::1"), first("2001:db8::2"));
    }

    /// Step by step: times 113, plus the octet, modulo 6271.
    #[test]
    fn a_known_value() {
        let step = |hash: u32, octet: u32| (hash * 113 + octet) % 6271;
        let once = step(step(step(89, 10), 1), 2);
        assert_eq!(first("10.1.2.3"), once);
        let again = step(step(step(once, 10), 1), 2);
        assert_eq!(hashes("10.1.2.3".parse().unwrap()).nth(1), Some(again));
        assert_eq!(hashes("10.1.2.3".parse().unwrap()).count(), 21);
    }
}
