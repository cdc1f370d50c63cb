//! The PROXY protocol, versions 1 and 2: a header in front of a connection by which a balancer that
//! only copies bytes says who the client is.
//!
//! Its specification (haproxy.org, `proxy-protocol.txt`) forbids guessing: a listener either
//! expects the header or treats it as data. Only connections from trusted balancers may be read
//! by [`parse`], or clients could choose their address.
//!
//! Only the source is read. The crates for the protocol (`ppp`, `proxy-header`) also write headers and
//! read extensions; they would do, and the part that routing needs is no more code than their use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The beginning of a header: look again when there is more.
    Partial,
    /// A whole header, which is the first `len` bytes.
    Complete {
        /// Where the client is; `None` if the header does not say: for the balancer's own
        /// connections (health checks), for Unix sockets and unknown protocols. The connection's own
        /// peer is to be used then.
        source: Option<SocketAddr>,
        /// The header's length in bytes.
        len: usize,
    },
    /// No header that more bytes could complete.
    Invalid(Invalid),
}

/// Why bytes are no PROXY header. The connection is to be closed: whoever was told to send one sent
/// something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// It begins like neither version.
    #[error("no PROXY header where one is required")]
    Absent,
    /// A header of version 1 that is malformed or too long.
    #[error("malformed PROXY header")]
    Line,
    /// A header of version 2 with an unknown version, command or family, or too short for its
    /// addresses.
    #[error("malformed binary PROXY header")]
    Binary,
    /// A header of version 2 that claims more than [`PROXY_V2_BYTES_MAX`] bytes.
    #[error("PROXY header of more than {PROXY_V2_BYTES_MAX} bytes")]
    TooLong,
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family, and the length of the rest.
const V2_FIXED: usize = V2_SIGNATURE.len() + 4;

/// Reads the header at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> State {
    if begins(bytes, V2_SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, V1_SIGNATURE) {
        line(bytes)
    } else {
        State::Invalid(Invalid::Absent)
    }
}

/// Whether the bytes begin with the signature, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(a, b)| a == b)
}

fn line(bytes: &[u8]) -> State {
    let window = bytes.get(..PROXY_V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return match window.len() {
            PROXY_V1_BYTES_MAX => State::Invalid(Invalid::Line),
            _ => State::Partial,
        };
    };
    let text = window[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    match text.and_then(|line| line_source(line.get(V1_SIGNATURE.len()..)?)) {
        Some(said) => State::Complete { source: said.source(), len: end + 1 },
        None => State::Invalid(Invalid::Line),
    }
}

/// What a well-formed header says.
enum Said {
    Source(SocketAddr),
    Nothing,
}

impl Said {
    fn source(self) -> Option<SocketAddr> {
        match self {
            Said::Source(source) => Some(source),
            Said::Nothing => None,
        }
    }
}

/// What the words behind `PROXY ` say, if they are well formed.
fn line_source(text: &str) -> Option<Said> {
    let mut words = text.split(' ');
    let family = words.next()?;
    // Whatever follows is to be ignored.
    if family == "UNKNOWN" {
        return Some(Said::Nothing);
    }
    let (source, target) = (words.next()?, words.next()?);
    let (port, _) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let address = match family {
        "TCP4" => {
            target.parse::<Ipv4Addr>().ok()?;
            IpAddr::V4(source.parse().ok()?)
        }
        "TCP6" => {
            target.parse::<Ipv6Addr>().ok()?;
            IpAddr::V6(source.parse().ok()?)
        }
        _ => return None,
    };
    Some(Said::Source(SocketAddr::new(address.to_canonical(), port)))
}

fn port(text: &str) -> Option<u16> {
    // The standard library would take `+80`.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn binary(bytes: &[u8]) -> State {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;

    // Said as soon as it is known, so that nothing waits for the rest of what is refused.
    let command = bytes.get(V2_SIGNATURE.len()).copied();
    if command.is_some_and(|command| !matches!(command, LOCAL | PROXY)) {
        return State::Invalid(Invalid::Binary);
    }
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED) else { return State::Partial };
    let (family, length) = match fixed {
        [.., family, high, low] => (*family, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => return State::Partial,
    };
    if V2_FIXED + length > PROXY_V2_BYTES_MAX {
        return State::Invalid(Invalid::TooLong);
    }
    let Some(body) = rest.get(..length) else { return State::Partial };
    let source = match (command, family) {
        (Some(LOCAL), _) => Some(Said::Nothing),
        (_, family) => binary_source(family, body),
    };
    match source {
        Some(said) => State::Complete { source: said.source(), len: V2_FIXED + length },
        None => State::Invalid(Invalid::Binary),
    }
}

/// What an address family and transport and the bytes for it say, if they are valid. What follows the addresses are extensions, which say nothing about routing.
fn binary_source(family: u8, body: &[u8]) -> Option<Said> {
    const UNSPECIFIED: u8 = 0;
    const INET: u8 = 1;
    const INET6: u8 = 2;
    const UNIX: u8 = 3;
    /// Two paths of 108 bytes.
    const UNIX_BYTES: usize = 216;

    // Unspecified, stream or datagram.
    if family & 0x0f > 2 {
        return None;
    }
    match family >> 4 {
        UNSPECIFIED => Some(Said::Nothing),
        INET => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *body.first_chunk::<12>()?;
            let port = u16::from_be_bytes([high, low]);
            Some(Said::Source(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)))
        }
        INET6 => {
            let addresses = body.first_chunk::<36>()?;
            let source = IpAddr::V6(Ipv6Addr::from(*addresses.first_chunk::<16>()?));
            let [high, low, _, _] = *addresses.last_chunk::<4>()?;
            Some(Said::Source(SocketAddr::new(
                source.to_canonical(),
                u16::from_be_bytes([high, low]),
            )))
        }
        UNIX => (body.len() >= UNIX_BYTES).then_some(Said::Nothing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(source: Option<&str>, len: usize) -> State {
        State::Complete { source: source.map(|text| text.parse().unwrap()), len }
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family][..], &length, body].concat()
    }

    /// Whole, in two parts cut anywhere, and with more behind it, the result is the same.
    #[track_caller]
    fn check(bytes: &[u8], expected: State) {
        for end in 0..bytes.len() {
            let part = parse(&bytes[..end]);
            assert!(part == State::Partial || part == expected, "{end}: {part:?}");
        }
        assert_eq!(parse(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
        if matches!(expected, State::Complete { .. }) {
            assert_eq!(parse(&[bytes, b"GET / HTTP/1.1\r\n"].concat()), expected);
        }
    }

    #[test]
    fn version_1() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n", Some("192.0.2.1:1234")),
            ("PROXY TCP6 2001:db8::1 ::1 1234 80\r\n", Some("[2001:db8::1]:1234")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n", Some("192.0.2.1:0")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            check(line.as_bytes(), complete(source, line.len()));
        }
    }

    #[test]
    fn malformed_lines() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1234\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1234 80 5\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1234 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 80\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY \r\n",
            "PROXY \0\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), State::Invalid(Invalid::Line), "{line}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        check(endless.as_bytes(), State::Invalid(Invalid::Line));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), State::Invalid(Invalid::Absent));
        assert_eq!(parse(b"proxy "), State::Invalid(Invalid::Absent));
        assert_eq!(parse(b""), State::Partial);
    }

    #[test]
    fn version_2() {
        let inet = [192, 0, 2, 1, 10, 0, 0, 1, 4, 210, 0, 80];
        check(&v2(0x21, 0x11, &inet), complete(Some("192.0.2.1:1234"), 28));
        check(&v2(0x21, 0x12, &inet), complete(Some("192.0.2.1:1234"), 28));
        let with_extensions = [&inet[..], &[1, 0, 2, b'h', b'2']].concat();
        check(&v2(0x21, 0x11, &with_extensions), complete(Some("192.0.2.1:1234"), 33));
        let mut inet6 = [0; 36];
        inet6[..2].copy_from_slice(&[0x20, 1]);
        inet6[15] = 1;
        inet6[33] = 9;
        check(&v2(0x21, 0x21, &inet6), complete(Some("[2001::1]:9"), 52));
        // The balancer's own connection, whatever follows; unknown and Unix.
        check(&v2(0x20, 0x11, &inet), complete(None, 28));
        check(&v2(0x20, 0xff, &[]), complete(None, 16));
        check(&v2(0x21, 0x00, &[]), complete(None, 16));
        check(&v2(0x21, 0x31, &[0; 216]), complete(None, 232));
    }

    #[test]
    fn malformed_binary_headers() {
        for (command, family, body) in [
            (0x31, 0x11, &[0; 12][..]),
            (0x22, 0x11, &[0; 12]),
            (0x21, 0x41, &[0; 12]),
            (0x21, 0x13, &[0; 12]),
            (0x21, 0x11, &[0; 11]),
            (0x21, 0x21, &[0; 35]),
            (0x21, 0x31, &[0; 215]),
        ] {
            check(&v2(command, family, body), State::Invalid(Invalid::Binary));
        }
        // A claim is refused before anything waits for it.
        let claim = [V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff][..]].concat();
        assert_eq!(parse(&claim), State::Invalid(Invalid::TooLong));
        let longest = v2(0x21, 0x11, &[0; PROXY_V2_BYTES_MAX - V2_FIXED]);
        check(&longest, complete(Some("0.0.0.0:0"), PROXY_V2_BYTES_MAX));
    }
}
