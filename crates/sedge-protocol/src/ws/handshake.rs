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
    /// §4.4: another version than 13, none, or several. The refusal carries `Sec-WebSocket-Version` with
    /// [`SUPPORTED_VERSION`].
    #[error("the WebSocket version is not 13, or repeated")]
    Version,
    /// §4.2.1: `Sec-WebSocket-Key` is the base64 form of 16 bytes. §11.3.1: it is there once.
    #[error("the Sec-WebSocket-Key header is missing, repeated or not 16 bytes in base64")]
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

/// Checks the head of a request that asks for a WebSocket against RFC 6455 §4.2.1. That it does is for
/// [`Request::read`](crate::request::Request::read) to say. HTTP/1.0 is not refused: a proxy that speaks it
/// to servers passes an upgrade on all the same.
///
/// `versions` and `keys` are the values of all lines of these headers.
pub fn validate<'a>(
    method_is_get: bool,
    versions: impl IntoIterator<Item = &'a [u8]>,
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Key<'a>, HandshakeError> {
    if !method_is_get {
        return Err(HandshakeError::Method);
    }
    let version = only(versions).map(<[u8]>::trim_ascii);
    if version != Some(SUPPORTED_VERSION.as_bytes()) {
        return Err(HandshakeError::Version);
    }
    only(keys).and_then(parse_key).ok_or(HandshakeError::Key)
}

/// The value, if there is exactly one.
fn only<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let mut values = values.into_iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
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

    fn check<'a>(
        version: Option<&'a str>,
        key: Option<&'a [u8]>,
    ) -> Result<Key<'a>, HandshakeError> {
        validate(true, version.map(str::as_bytes), key)
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        // RFC 6455 §1.3
        let key = check(Some("13"), Some(KEY)).unwrap();
        assert_eq!(&key.accept(), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&accept_key("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_wrong_head_is_refused_by_name() {
        let version = &b"13"[..];
        let method = validate(false, [version], [KEY]);
        assert_eq!(method.unwrap_err(), HandshakeError::Method);
        for value in [None, Some(""), Some("8"), Some("14"), Some("13, 8"), Some("013")] {
            assert_eq!(check(value, Some(KEY)).unwrap_err(), HandshakeError::Version);
        }
        let twice = validate(true, [version, version], [KEY]);
        assert_eq!(twice.unwrap_err(), HandshakeError::Version);
        let twice = validate(true, [version], [KEY, KEY]);
        assert_eq!(twice.unwrap_err(), HandshakeError::Key);
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
            let result = check(Some("13"), Some(key));
            assert_eq!(result.unwrap_err(), HandshakeError::Key, "{key:?}");
        }
        let result = check(Some("13"), None);
        assert_eq!(result.unwrap_err(), HandshakeError::Key);
    }
}
