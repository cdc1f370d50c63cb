//! The opening handshake as far as it is pure (RFC 6455 §4.2): checks on a request's head, and the
//! answer to its key. Which headers a response carries is the HTTP layer's business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use thiserror::Error;

/// The only version there is; the value of `Sec-WebSocket-Version` in a refusal (§4.4).
pub const SUPPORTED_VERSION: &str = "13";

/// Appended to the key before hashing (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is not a WebSocket handshake. The client's fault; answered with 400, except where
/// a variant says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// §4.1: the method is GET.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// §4.1: HTTP/1.1 or later.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    HttpVersion,
    /// §4.2.1: `Upgrade` names "websocket".
    #[error("the Upgrade header does not name websocket")]
    Upgrade,
    /// §4.2.1: `Connection` names "upgrade".
    #[error("the Connection header does not name upgrade")]
    Connection,
    /// §4.4: another version than 13, or none. The refusal carries `Sec-WebSocket-Version` with
    /// [`SUPPORTED_VERSION`].
    #[error("the WebSocket version is not 13")]
    Version,
    /// §4.2.1: `Sec-WebSocket-Key` is the base64 form of 16 bytes.
    #[error("the Sec-WebSocket-Key header is missing or not 16 bytes in base64")]
    Key,
}

/// A valid `Sec-WebSocket-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a>(&'a str);

impl Key<'_> {
    /// The value of `Sec-WebSocket-Accept` that answers this key: 28 characters of base64.
    pub fn accept(&self) -> [u8; 28] {
        accept_key(self.0)
    }
}

/// Checks a request's head against RFC 6455 §4.2.1.
///
/// `upgrade` and `connection` are all values of these headers: an iterator over the header lines, or
/// one `Option`. Lists in them are taken apart; names are compared without regard to case.
pub fn validate<'a>(
    method_is_get: bool,
    http_1_1_or_later: bool,
    upgrade: impl IntoIterator<Item = &'a [u8]>,
    connection: impl IntoIterator<Item = &'a [u8]>,
    version: Option<&[u8]>,
    key: Option<&'a [u8]>,
) -> Result<Key<'a>, HandshakeError> {
    if !method_is_get {
        return Err(HandshakeError::Method);
    }
    if !http_1_1_or_later {
        return Err(HandshakeError::HttpVersion);
    }
    if !names(upgrade, b"websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if !names(connection, b"upgrade") {
        return Err(HandshakeError::Connection);
    }
    if version.map(<[u8]>::trim_ascii) != Some(SUPPORTED_VERSION.as_bytes()) {
        return Err(HandshakeError::Version);
    }
    key.and_then(parse_key).ok_or(HandshakeError::Key)
}

/// The value of `Sec-WebSocket-Accept` for a key (§4.2.2).
pub fn accept_key(key: &str) -> [u8; 28] {
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    // 20 bytes make exactly 28 characters, so this cannot lack room.
    let written = STANDARD.encode_slice(hash, &mut accept);
    debug_assert_eq!(written, Ok(28));
    accept
}

/// Whether one of the comma-separated lists contains `token`, given in lower case.
fn names<'a>(values: impl IntoIterator<Item = &'a [u8]>, token: &[u8]) -> bool {
    values
        .into_iter()
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// 16 bytes are 22 characters and two of padding. The four bits that the last character has too
/// many are ignored: some clients draw characters at random, and the key is only ever hashed as
/// text.
fn parse_key(value: &[u8]) -> Option<Key<'_>> {
    let value = value.trim_ascii();
    let digits = value.strip_suffix(b"==")?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if digits.len() != 22 || !digits.iter().all(is_digit) {
        return None;
    }
    std::str::from_utf8(value).ok().map(Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

    fn check(
        upgrade: &[&'static str],
        connection: &[&'static str],
        version: Option<&str>,
        key: Option<&'static [u8]>,
    ) -> Result<Key<'static>, HandshakeError> {
        let upgrade: Vec<&[u8]> = upgrade.iter().map(|value| value.as_bytes()).collect();
        let connection: Vec<&[u8]> = connection.iter().map(|value| value.as_bytes()).collect();
        validate(true, true, upgrade, connection, version.map(str::as_bytes), key)
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        // RFC 6455 §1.3
        let key = check(&["websocket"], &["Upgrade"], Some("13"), Some(KEY)).unwrap();
        assert_eq!(&key.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn lists_and_case_are_understood() {
        let accepted: [(&[&str], &[&str]); 4] = [
            (&["WebSocket"], &["keep-alive, Upgrade"]),
            (&["h2c, websocket"], &["UPGRADE,close"]),
            (&["h2c", "websocket"], &["keep-alive", " upgrade "]),
            (&["websocket "], &["\tupgrade"]),
        ];
        for (upgrade, connection) in accepted {
            assert!(check(upgrade, connection, Some("13"), Some(KEY)).is_ok());
        }
    }

    #[test]
    fn a_wrong_head_is_refused_by_name() {
        let none: Option<&[u8]> = None;
        let upgrade = Some(&b"websocket"[..]);
        let connection = Some(&b"upgrade"[..]);
        let version = Some(&b"13"[..]);
        let refused = |result: Result<Key<'_>, HandshakeError>| result.unwrap_err();

        let result = validate(false, true, upgrade, connection, version, Some(KEY));
        assert_eq!(refused(result), HandshakeError::Method);
        let result = validate(true, false, upgrade, connection, version, Some(KEY));
        assert_eq!(refused(result), HandshakeError::HttpVersion);
        for value in [none, Some(b""), Some(b"websockets"), Some(b"web socket"), Some(b"h2c")] {
            let result = validate(true, true, value, connection, version, Some(KEY));
            assert_eq!(refused(result), HandshakeError::Upgrade);
            let result = validate(true, true, upgrade, value, version, Some(KEY));
            assert_eq!(refused(result), HandshakeError::Connection);
        }
        for value in [None, Some(""), Some("8"), Some("14"), Some("13, 8"), Some("013")] {
            let result = check(&["websocket"], &["upgrade"], value, Some(KEY));
            assert_eq!(refused(result), HandshakeError::Version);
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        for key in [
            &b""[..],
            b"dGhl",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZWE=",
            b"dGhlIHNhbXBsZSBub25jZWEh",
            b"dGhlIHNhbXBsZSBub25-ZQ==",
            b"dGhlIHNhbXBsZSBub25\xc3\xa9==",
            b"dGhl IHNhbXBsZSBub25jZQ==",
            b"dGhlIHNhbXBsZSBub25jZQ====",
        ] {
            let result = check(&["websocket"], &["upgrade"], Some("13"), Some(key));
            assert_eq!(result.unwrap_err(), HandshakeError::Key, "{key:?}");
        }
        let result = check(&["websocket"], &["upgrade"], Some("13"), None);
        assert_eq!(result.unwrap_err(), HandshakeError::Key);
    }
}
