//! Who the client is when proxies stand in front: the header lines that proxies add, and whom to
//! believe.
//!
//! Each proxy appends the address it was reached from, so the list is to be read from the right,
//! and only as far as those who wrote it are trusted: the client is the first hop from the right
//! that is not a trusted proxy. What stands further left is whatever that client sent. A reader that
//! took the left end would let every client choose its address; one that ignores the list gives all
//! clients behind a proxy the same one.

use std::net::{IpAddr, Ipv6Addr};

use super::network::Networks;

/// Where the addresses of the hops are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// Nowhere: the client is whoever has the connection.
    #[default]
    None,
    /// In `X-Forwarded-For`, and the protocol in `X-Forwarded-Proto`.
    XForwardedFor,
    /// In `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which proxies are believed, and where they write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Who is believed when it says for whom it speaks.
    pub trusted: Networks,
    /// Whether a peer without an address (of a Unix socket) is believed.
    pub trust_unix: bool,
    /// Where it says so.
    pub header: Header,
}

/// What a trusted proxy says of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its port, where proxies write it; 0 elsewhere.
    pub port: u16,
    /// Whether it has an encrypted connection.
    pub secure: Option<bool>,
}

impl Proxies {
    /// Whether this peer is believed; `None` is one without an address.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.trust_unix, |peer| self.trusted.contains(peer))
    }

    /// The client of a request that this peer has passed on: the first untrusted hop from the right. Nothing
    /// is known of it if the peer is not believed, or says nothing. `values` gives the values of all lines of
    /// a header, whose name is in lower case.
    ///
    /// If all hops are trusted, it is the leftmost one. A hop without an address (`unknown`, a hidden
    /// name, nonsense) ends what can be believed: then it is the hop to the right of it.
    pub fn client<'l, I: Iterator<Item = &'l [u8]>>(
        &self,
        values: impl Fn(&'static str) -> I,
        peer: Option<IpAddr>,
    ) -> Client {
        if self.header == Header::None || !self.trusts(peer) {
            return Client::default();
        }
        let mut hops = Hops::new(&self.trusted);
        match self.header {
            Header::None => {}
            Header::XForwardedFor => {
                items(values("x-forwarded-for")).for_each(|hop| hops.meet(address(hop), None));
                // Each proxy appends to both lists, or one of them says it for all.
                let protos = items(values("x-forwarded-proto")).count();
                let at = if protos == hops.count { hops.at } else { protos.saturating_sub(1) };
                hops.secure = items(values("x-forwarded-proto")).nth(at).and_then(is_secure);
            }
            Header::Forwarded => {
                for element in values("forwarded").flat_map(|line| Elements(Some(line))) {
                    let (hop, secure) = forwarded_for(element);
                    hops.meet(hop, secure);
                }
            }
        }
        hops.client()
    }
}

/// The items of plain lists.
fn items<'l>(lines: impl Iterator<Item = &'l [u8]>) -> impl Iterator<Item = &'l [u8]> {
    lines.flat_map(|line| line.split(|&byte| byte == b',')).map(trim)
}

/// The hops of a list, from the left, so that quoted commas can be told from others: what is found first
/// is replaced by what stands further right and is as good.
struct Hops<'t> {
    trusted: &'t Networks,
    found: Option<(IpAddr, u16)>,
    secure: Option<bool>,
    /// Which hop that is, and how many there are.
    at: usize,
    count: usize,
}

impl<'t> Hops<'t> {
    fn new(trusted: &'t Networks) -> Hops<'t> {
        Hops { trusted, found: None, secure: None, at: 0, count: 0 }
    }

    fn meet(&mut self, hop: Option<(IpAddr, u16)>, secure: Option<bool>) {
        let better = match hop {
            None => true,
            Some((address, _)) => self.found.is_none() || !self.trusted.contains(address),
        };
        if better {
            (self.found, self.secure, self.at) = (hop, secure, self.count);
        }
        self.count += 1;
    }

    fn client(&self) -> Client {
        let (address, port) = self.found.unzip();
        Client { address, port: port.unwrap_or_default(), secure: self.secure }
    }
}

fn is_secure(proto: &[u8]) -> Option<bool> {
    let is = |names: [&str; 2]| names.iter().any(|n| proto.eq_ignore_ascii_case(n.as_bytes()));
    if is(["https", "wss"]) {
        return Some(true);
    }
    is(["http", "ws"]).then_some(false)
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<(IpAddr, u16)> {
    /// The longest address with brackets and a port.
    const LONGEST: usize = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535".len();

    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST)?;
    let (found, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port = if port.is_empty() { 0 } else { read_port(port.strip_prefix(':')?)? };
        (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), port)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        (address, 0)
    } else {
        let (address, port) = text.split_once(':')?;
        (IpAddr::V4(address.parse().ok()?), read_port(port)?)
    };
    Some((found.to_canonical(), port))
}

/// A port, or 0 for the hidden name that RFC 7239 allows in its place.
fn read_port(text: &str) -> Option<u16> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if let Some(hidden) = text.strip_prefix('_') {
        return (!hidden.is_empty() && hidden.bytes().all(word)).then_some(0);
    }
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or_default())
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

/// The address in the `for` of one element, and what its `proto` says.
fn forwarded_for(element: &[u8]) -> (Option<(IpAddr, u16)>, Option<bool>) {
    let mut rest = Some(element);
    let (mut hop, mut proto, mut twice) = (None, None, false);
    while let Some(text) = rest {
        let (pair, behind) = split_unquoted(text, b';');
        rest = behind;
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (trim(&pair[..equals]), trim(&pair[equals + 1..]));
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        let value = bare.unwrap_or(value);
        if name.eq_ignore_ascii_case(b"for") {
            // A second one would leave the choice to whoever reads it.
            twice |= hop.replace(value).is_some();
        } else if name.eq_ignore_ascii_case(b"proto") {
            proto = Some(value);
        }
    }
    (hop.filter(|_| !twice).and_then(address), proto.and_then(is_secure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::head::{Limits, Scan, scan};
    use crate::request::network::Network;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusted() -> Networks {
        let networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"];
        Networks::new(networks.map(|text| text.parse::<Network>().unwrap())).unwrap()
    }

    fn client(lines: &str, header: Header, peer: &str) -> Client {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let proxies = Proxies { trusted: trusted(), trust_unix: false, header };
        let limits = Limits { bytes_max: 4096, headers_max: 10 };
        let Scan::Complete(layout) = scan(text.as_bytes(), limits) else { panic!("{text}") };
        let head = layout.head(text.as_bytes());
        proxies.client(|name| head.values(name), peer.parse().ok())
    }

    fn found(lines: &str, header: Header, peer: &str) -> String {
        client(lines, header, peer).address.unwrap_or(ip(peer).to_canonical()).to_string()
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
        let lines = "X-Forwarded-For: 198.51.100.7\r\nAccept: x\r\nx-forwarded-for: 192.0.2.1\r\nX-FORWARDED-FOR: 10.0.0.3\r\n";
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

    #[test]
    fn the_protocol_is_the_clients() {
        for (lines, secure) in [
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n", Some(true)),
            ("X-Forwarded-Proto: HTTP\r\n", Some(false)),
            ("X-Forwarded-Proto: gopher\r\n", None),
            // One for each hop, of which the leftmost are whatever the client sent.
            (
                "X-Forwarded-For: 9.9.9.9, 192.0.2.1, 10.0.0.2\r\nX-Forwarded-Proto: http, https, http\r\n",
                Some(true),
            ),
            (
                "X-Forwarded-For: 9.9.9.9, 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
                Some(false),
            ),
            // Not one for each: the nearest proxy's.
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http, https\r\n", Some(true)),
        ] {
            assert_eq!(client(lines, Header::XForwardedFor, "10.0.0.1").secure, secure, "{lines}");
            assert_eq!(client(lines, Header::XForwardedFor, "192.0.2.9").secure, None);
        }
        for (list, secure) in [
            ("for=192.0.2.1;proto=https, for=10.0.0.2;proto=http", Some(true)),
            ("for=9.9.9.9;proto=https, for=192.0.2.1;proto=\"http\"", Some(false)),
            ("for=192.0.2.1", None),
            ("proto=https", Some(true)),
        ] {
            let lines = format!("Forwarded: {list}\r\n");
            assert_eq!(client(&lines, Header::Forwarded, "10.0.0.1").secure, secure, "{list}");
        }
    }

    #[test]
    fn a_port_is_kept_where_it_is_written() {
        for (hop, port) in [("192.0.2.1:1234", 1234), ("[2001:db8::1]:80", 80), ("192.0.2.1", 0)] {
            let lines = format!("X-Forwarded-For: {hop}\r\n");
            assert_eq!(client(&lines, Header::XForwardedFor, "10.0.0.1").port, port, "{hop}");
        }
    }
}
