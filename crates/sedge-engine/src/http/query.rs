//! Query strings: the handful of parameters the engine reads from every request, and general
//! decoding for what applications ask of a handshake.

use std::borrow::Cow;

use sedge_protocol::engine::Version;

/// What the engine wants to know from a query string, read in one pass without allocating.
///
/// Values are compared as sent: a percent-encoded name or value simply does not match, which no
/// client of this protocol needs. A repeated `transport` or `sid` is [`REPEATED`], which is no
/// transport's name and no session's id. (The official server takes the last value, so what a proxy
/// in front of it routed by may be another one.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineQuery<'a> {
    /// `transport`; `None` if absent.
    pub(crate) transport: Option<&'a str>,
    /// `sid`. An empty one counts as absent, as in the official server: such a request asks for a
    /// new session.
    pub(crate) sid: Option<&'a str>,
    /// `EIO`.
    pub(crate) eio: Eio<'a>,
    /// `j`, which asks for JSONP; the last one counts.
    pub(crate) jsonp: Option<&'a str>,
    /// Whether `b64` has a value, whatever it is: the client cannot read binary.
    pub(crate) b64: bool,
}

/// Stands for a value that was sent more than once: present, but equal to nothing valid.
pub(crate) const REPEATED: &str = ",";

/// The protocol version a request names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Eio<'a> {
    /// No `EIO` parameter. Clients of version 3 may leave it out.
    #[default]
    Missing,
    /// The value, as sent.
    Once(&'a str),
    /// More than one value, so none of them is believed.
    Repeated,
}

impl<'a> EngineQuery<'a> {
    /// Reads a raw query string (without the `?`).
    pub(crate) fn parse(query: &'a str) -> EngineQuery<'a> {
        let mut parsed = EngineQuery::default();
        for (name, value) in pairs(query) {
            match name {
                "transport" => set_once(&mut parsed.transport, value),
                "sid" => set_once(&mut parsed.sid, value),
                "EIO" => {
                    parsed.eio = match parsed.eio {
                        Eio::Missing => Eio::Once(value),
                        Eio::Once(_) | Eio::Repeated => Eio::Repeated,
                    };
                }
                "j" => parsed.jsonp = Some(value),
                "b64" => parsed.b64 = !value.is_empty(),
                _ => {}
            }
        }
        parsed.sid = parsed.sid.filter(|sid| !sid.is_empty());
        parsed
    }
}

fn set_once<'a>(slot: &mut Option<&'a str>, value: &'a str) {
    *slot = Some(if slot.is_some() { REPEATED } else { value });
}

/// The parameters of a raw query string in order, as sent. A parameter without `=` has an empty
/// value; empty pieces (`a&&b`) are left out.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    Pairs(query).filter(|(name, value)| !(name.is_empty() && value.is_none())).map(
        |(name, value)| {
            // No `=` at all is an empty value.
            (name, value.unwrap_or_default())
        },
    )
}

/// The version as the official server reads it: everything but exactly `4` is 3.
pub(crate) fn requested_version(eio: Eio<'_>) -> Version {
    match eio {
        Eio::Once("4") => Version::V4,
        _ => Version::V3,
    }
}

/// Takes a query apart in a single pass over its bytes; it is read for every request.
struct Pairs<'a>(&'a str);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, Option<&'a str>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut equals = None;
        let mut end = self.0.len();
        for (at, byte) in self.0.bytes().enumerate() {
            match byte {
                b'=' if equals.is_none() => equals = Some(at),
                b'&' => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        // Both separators are ASCII, so these are character boundaries.
        let (piece, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(match equals {
            Some(at) => (&piece[..at], Some(&piece[at + 1..])),
            None => (piece, None),
        })
    }
}

/// Decodes a name or value as HTML forms encode them: `+` is a space, `%41` the byte 0x41. What is
/// no escape stays as it is, and what is not UTF-8 becomes U+FFFD, so nothing is ever refused.
pub(crate) fn decode(text: &str) -> String {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*first),
        }
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => text.to_owned(),
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_query_is_read() {
        let query = EngineQuery::parse("EIO=4&transport=polling&t=abc&sid=0123456789abcdefghij");
        assert_eq!(
            query,
            EngineQuery {
                transport: Some("polling"),
                sid: Some("0123456789abcdefghij"),
                eio: Eio::Once("4"),
                jsonp: None,
                b64: false,
            }
        );
    }

    #[test]
    fn jsonp_and_base64_are_read() {
        let query = EngineQuery::parse("transport=polling&b64=1&j=7");
        assert!(query.b64);
        assert_eq!(query.jsonp, Some("7"));
        assert_eq!(query.eio, Eio::Missing);
        // `!!req._query.b64`: an empty string is false, any other is true.
        assert!(!EngineQuery::parse("b64=").b64);
        assert!(EngineQuery::parse("b64=0").b64);
        // `typeof j === "string"`: an empty one asks for JSONP too.
        assert_eq!(EngineQuery::parse("j=").jsonp, Some(""));
    }

    #[test]
    fn an_empty_sid_asks_for_a_new_session_but_two_sids_are_a_wrong_one() {
        assert_eq!(EngineQuery::parse("sid=").sid, None);
        assert_eq!(EngineQuery::parse("sid").sid, None);
        assert_eq!(EngineQuery::parse("sid=a&sid=a").sid, Some(REPEATED));
        assert_eq!(EngineQuery::parse("sid=&sid=").sid, Some(REPEATED));
    }

    #[test]
    fn a_repeated_transport_or_version_matches_nothing() {
        let query = EngineQuery::parse("EIO=4&EIO=4&EIO=4&transport=polling&transport=polling");
        assert_eq!(query.transport, Some(REPEATED));
        assert_eq!(query.eio, Eio::Repeated);
    }

    #[test]
    fn encoded_values_do_not_match() {
        assert_eq!(EngineQuery::parse("transport=pol%6Cing").transport, Some("pol%6Cing"));
        assert_eq!(EngineQuery::parse("%73id=abc").sid, None);
    }

    #[test]
    fn odd_pieces_are_taken_as_they_come() {
        let all: Vec<_> = pairs("&a&b=&=c&d=e=f&&").collect();
        assert_eq!(all, [("a", ""), ("b", ""), ("", "c"), ("d", "e=f")]);
        assert_eq!(pairs("").count(), 0);
    }

    #[test]
    fn decoding_never_fails() {
        assert_eq!(decode("plain"), "plain");
        assert_eq!(decode("a+b%20c%2B"), "a b c+");
        assert_eq!(decode("%C3%A9%e2%82%ac"), "é€");
        assert_eq!(decode("é"), "é");
        assert_eq!(decode("%"), "%");
        assert_eq!(decode("%4"), "%4");
        assert_eq!(decode("%zz%41"), "%zzA");
        assert_eq!(decode("%%41"), "%A");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
