//! Networks in CIDR notation, and addresses in the one form that everything here uses: an IPv4
//! address that came as IPv6 (`::ffff:192.0.2.1`, as a socket for both sees it) is the IPv4 address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::limits::NETWORKS_MAX;

/// An address range, such as `10.0.0.0/8`, `fd00::/8` or a single address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The lowest address.
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// What stands before the slash is no IP address.
    #[error("not an IP address")]
    Address,
    /// What stands behind the slash is no number from 0 to 32 for IPv4 or 128 for IPv6.
    #[error("the prefix length must be a number up to 32 for IPv4 and 128 for IPv6")]
    Prefix,
    /// The address has bits behind the prefix: `10.1.2.3/8` could mean two things.
    #[error("the address has bits set behind the prefix")]
    HostBits,
    /// There are more than [`NETWORKS_MAX`] networks.
    #[error("more than {NETWORKS_MAX} networks")]
    TooMany,
}

impl Network {
    /// The addresses whose first `prefix` bits are those of `base`.
    pub fn new(base: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        let (base, prefix) = match (base, base.to_canonical()) {
            // A prefix of an IPv4-mapped address counts the 96 bits before it.
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) => {
                (v4, prefix.checked_sub(96).ok_or(NetworkError::Prefix)?)
            }
            (_, base) => (base, prefix),
        };
        let (bits, width) = bits(base);
        if prefix > width {
            return Err(NetworkError::Prefix);
        }
        if bits & host_mask(prefix, width) != 0 {
            return Err(NetworkError::HostBits);
        }
        Ok(Self { base, prefix })
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((base, width), (address, other)) = (bits(self.base), bits(address.to_canonical()));
        width == other && (base ^ address) & !host_mask(self.prefix, width) == 0
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The bits behind a prefix that is at most `width`. All bits above the width are set too, which
/// no address has.
fn host_mask(prefix: u8, width: u8) -> u128 {
    u128::MAX.checked_shr(u32::from(prefix) + 128 - u32::from(width)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let prefix = match prefix {
            None => bits(address).1,
            // `+8` and `08` are numbers for the standard library.
            Some("0") => 0,
            Some(digits) if digits.starts_with(|first: char| ('1'..='9').contains(&first)) => {
                digits.parse().map_err(|_| NetworkError::Prefix)?
            }
            Some(_) => return Err(NetworkError::Prefix),
        };
        Network::new(address, prefix)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A list of networks, at most [`NETWORKS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// No network at all.
    pub const NONE: Networks = Networks(Vec::new());

    /// These networks.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Result<Self, NetworkError> {
        let mut list = Vec::new();
        for network in networks {
            if list.len() == NETWORKS_MAX {
                return Err(NetworkError::TooMany);
            }
            list.push(network);
        }
        Ok(Networks(list))
    }

    /// Whether the address lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_end_where_their_prefix_says() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["9.255.255.255", "11.0.0.0", "a00::"][..],
            ),
            ("192.0.2.1", &["192.0.2.1", "::ffff:192.0.2.1"], &["192.0.2.0", "192.0.2.2"]),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::", "::1.2.3.4"]),
            ("::/0", &["::", "ffff::1"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("fd00::/8", &["fd00::1", "fdff:ffff::"], &["fc00::", "fe00::"]),
            ("::1", &["::1"], &["::", "::2", "0.0.0.1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0"]),
        ] {
            let network: Network = network.parse().unwrap();
            for address in inside {
                assert!(network.contains(ip(address)), "{address} in {network}");
            }
            for address in outside {
                assert!(!network.contains(ip(address)), "{address} not in {network}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for (text, error) in [
            ("", NetworkError::Address),
            ("localhost", NetworkError::Address),
            ("10.0.0/8", NetworkError::Address),
            ("10.0.0.0/33", NetworkError::Prefix),
            ("10.0.0.0/", NetworkError::Prefix),
            ("10.0.0.0/+8", NetworkError::Prefix),
            ("10.0.0.0/08", NetworkError::Prefix),
            ("::/129", NetworkError::Prefix),
            ("::/999", NetworkError::Prefix),
            ("::ffff:10.0.0.0/8", NetworkError::Prefix),
            ("10.1.0.0/8", NetworkError::HostBits),
            ("fd00::1/8", NetworkError::HostBits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
        let one: Network = "::1".parse().unwrap();
        assert!(Networks::new(vec![one; NETWORKS_MAX]).is_ok());
        assert_eq!(Networks::new(vec![one; NETWORKS_MAX + 1]), Err(NetworkError::TooMany));
        assert_eq!(one.to_string(), "::1/128");
    }
}
