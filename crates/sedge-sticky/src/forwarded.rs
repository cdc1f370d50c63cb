//! Who the client is when proxies stand in front: the header lines that proxies add, and whom to
//! believe.
//!
//! Each proxy appends the address it was reached from, so the list is to be read from the right,
//! and only as far as those who wrote it are trusted: the client is the first hop from the right
//! that is not a trusted proxy. What stands further left is whatever that client sent. A balancer that
//! took the left end would let every client choose its address; one that ignores the list gives all
//! clients behind a proxy the same one.

use std::net::{IpAddr, Ipv6Addr};

use crate::head::{Head, trim};
use crate::network::Networks;

/// Where the addresses of the hops are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// Nowhere: the client is whoever has the connection.
    #[default]
    None,
    /// In `X-Forwarded-For`.
    XForwardedFor,
    /// In `Forwarded` (RFC 7239).
    Forwarded,
}

/// The client of a request that a trusted proxy has passed on: the first untrusted hop from the
/// right.
///
/// If all hops are trusted, it is the leftmost one. A hop without an address (`unknown`, a hidden
/// name, nonsense) ends what can be believed: then it is the hop to the right of it. If that is
/// nobody, it is the proxy itself, `None` if that came over a Unix socket.
pub fn client(
    head: &Head<'_>,
    proxy: Option<IpAddr>,
    header: Header,
    trusted: &Networks,
) -> Option<IpAddr> {
    // From the left, so that quoted commas can be told from others: what is found first is
    // replaced by what stands further right and is as good.
    let mut answer = None;
    let mut meet = |hop: Option<IpAddr>| match hop {
        None => answer = None,
        Some(hop) if answer.is_none() || !trusted.contains(hop) => answer = Some(hop),
        Some(_) => {}
    };
    match header {
        Header::None => {}
        Header::XForwardedFor => {
            for line in head.values("x-forwarded-for") {
                line.split(|&byte| byte == b',').map(trim).for_each(|hop| meet(address(hop)));
            }
        }
        Header::Forwarded => {
            for line in head.values("forwarded") {
                Elements(Some(line)).for_each(|element| meet(forwarded_for(element)));
            }
        }
    }
    answer.or(proxy)
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    /// The longest address with brackets and a port.
    const LONGEST: usize = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535".len();

    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST)?;
    let found = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
            return None;
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (address, port) = text.split_once(':')?;
        if !is_port(port) {
            return None;
        }
        IpAddr::V4(address.parse().ok()?)
    };
    Some(found.to_canonical())
}

/// A port, or the hidden name that RFC 7239 allows in its place.
fn is_port(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(word),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The elements of a `Forwarded` value: split at commas that are in no quotes.
struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let (element, rest) = split_unquoted(text, b',');
        self.0 = rest;
        Some(element)
    }
}

/// What stands before the first such byte outside of quotes, and behind it if there is one.
fn split_unquoted(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// The address in the `for` of one element.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut rest = Some(element);
    let mut found = None;
    while let Some(text) = rest {
        let (pair, behind) = split_unquoted(text, b';');
        rest = behind;
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (trim(&pair[..equals]), trim(&pair[equals + 1..]));
        if name.eq_ignore_ascii_case(b"for") {
            // A second one would leave the choice to whoever reads it.
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    let value = found?;
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    address(bare.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;
    use crate::router::{Config, Opening, Router};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusted() -> Networks {
        let networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"];
        Networks::new(networks.map(|text| text.parse::<Network>().unwrap())).unwrap()
    }

    fn found(lines: &str, header: Header, peer: &str) -> String {
        let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let config = Config { forwarded: header, trusted: trusted(), ..Config::default() };
        let router = Router::new(config).unwrap();
        let Opening::Request(request) = router.read(text.as_bytes(), Some(ip(peer))) else {
            panic!("{text}")
        };
        router.client(&request).unwrap().to_string()
    }

    #[test]
    fn the_client_is_the_first_untrusted_hop_from_the_right() {
        for (list, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("198.51.100.7, 192.0.2.1", "192.0.2.1"),
            ("198.51.100.7, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("10.0.0.9,\t10.0.0.2", "10.0.0.9"),
            ("192.0.2.1:1234, 10.0.0.2:80", "192.0.2.1"),
            ("2001:db8::1, fd00::2", "2001:db8::1"),
            ("[2001:db8::1]:80, [fd00::2]", "2001:db8::1"),
            ("::ffff:192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1"),
            // What cannot be read ends what can be believed.
            ("192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"),
            ("192.0.2.1, 10.0.0.2, ", "10.0.0.1"),
            ("192.0.2.1, 1.2.3", "10.0.0.1"),
            ("192.0.2.1:port", "10.0.0.1"),
            ("[2001:db8::1", "10.0.0.1"),
            ("[192.0.2.1]", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            let lines = format!("X-Forwarded-For: {list}\r\n");
            assert_eq!(found(&lines, Header::XForwardedFor, "10.0.0.1"), client, "{list}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = "X-Forwarded-For: 198.51.100.7\r\nHost: x\r\nx-forwarded-for: 192.0.2.1\r\nX-FORWARDED-FOR: 10.0.0.3\r\n";
        assert_eq!(found(lines, Header::XForwardedFor, "10.0.0.1"), "192.0.2.1");
    }

    #[test]
    fn whoever_is_not_trusted_speaks_for_nobody() {
        let lines = "X-Forwarded-For: 198.51.100.7\r\nForwarded: for=198.51.100.7\r\n";
        for header in [Header::None, Header::XForwardedFor, Header::Forwarded] {
            assert_eq!(found(lines, header, "192.0.2.9"), "192.0.2.9");
            assert_eq!(found(lines, header, "::ffff:192.0.2.9"), "192.0.2.9");
        }
        assert_eq!(found(lines, Header::None, "10.0.0.1"), "10.0.0.1");
        assert_eq!(found(lines, Header::Forwarded, "::ffff:10.0.0.1"), "198.51.100.7");
        assert_eq!(found("", Header::XForwardedFor, "10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn forwarded_elements_have_many_forms() {
        for (list, client) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:1234\";proto=https;by=10.0.0.2", "192.0.2.1"),
            ("proto=https; for=\"[2001:db8::1]:80\"", "2001:db8::1"),
            ("for=198.51.100.7, for=192.0.2.1;by=\"a,b;for=9.9.9.9\" , for=10.0.0.2", "192.0.2.1"),
            ("for=192.0.2.1;ext=\"a\\\",b\", for=10.0.0.2", "192.0.2.1"),
            ("for=\"[2001:db8::1]:_port\"", "2001:db8::1"),
            ("for=192.0.2.1, for=unknown", "10.0.0.1"),
            ("for=192.0.2.1, for=_hidden, for=10.0.0.3", "10.0.0.3"),
            ("for=192.0.2.1, proto=http", "10.0.0.1"),
            ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
            // An open quote hides all that follows.
            ("for=192.0.2.1, for=\"10.0.0.2", "10.0.0.1"),
        ] {
            let lines = format!("Forwarded: {list}\r\n");
            assert_eq!(found(&lines, Header::Forwarded, "10.0.0.1"), client, "{list}");
        }
    }
}
