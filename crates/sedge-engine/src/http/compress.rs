//! Content encodings: which one a client accepts, and the compression itself.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderValue;

/// A content encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `br` (RFC 7932). Small, but too slow for what is sent once.
    Brotli,
    /// `gzip` (RFC 1952).
    Gzip,
    /// `deflate`, which in HTTP means the zlib format (RFC 9110 §8.4.1.2).
    Deflate,
}

impl Encoding {
    /// What poll responses can be compressed with, the preferred one first.
    pub(crate) const FOR_POLLS: &[Encoding] = &[Encoding::Gzip, Encoding::Deflate];

    /// What files can be compressed with, the preferred one first.
    pub(crate) const FOR_FILES: &[Encoding] =
        &[Encoding::Brotli, Encoding::Gzip, Encoding::Deflate];

    /// The name used in headers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Encoding::Brotli => "br",
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
        }
    }

    /// The value of the `Content-Encoding` header.
    pub(crate) const fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// Chooses an encoding for a poll response; `None` means none.
pub(crate) fn negotiate(accept_encoding: Option<&str>) -> Option<Encoding> {
    negotiate_among(Encoding::FOR_POLLS, accept_encoding)
}

/// Chooses the encoding with the highest quality (RFC 9110 §12.5.3); among equals the first one
/// offered. `None` if the client accepts none of them, or likes the plain form better.
///
/// A client that refuses the plain form as well gets it nevertheless, as from the official server:
/// it can make more of it than of status 406. Among equals the official server takes what
/// the client names first, which for browsers means gzip even where brotli is offered.
pub(crate) fn negotiate_among(
    offered: &[Encoding],
    accept_encoding: Option<&str>,
) -> Option<Encoding> {
    let accepted = accept_encoding?;
    let mut best: Option<(Encoding, u16)> = None;
    for encoding in offered {
        let quality = quality_of(accepted, encoding.as_str())
            .or_else(|| quality_of(accepted, "*"))
            .unwrap_or(0);
        if quality > best.map_or(0, |(_, q)| q) {
            best = Some((*encoding, quality));
        }
    }
    // The plain form is always acceptable, but preferred only if it is named.
    let plain = quality_of(accepted, "identity").unwrap_or(0);
    best.filter(|(_, quality)| *quality >= plain).map(|(encoding, _)| encoding)
}

/// The quality of one name in an `Accept-Encoding` list, in thousandths; `None` if it is not there.
fn quality_of(list: &str, name: &str) -> Option<u16> {
    list.split(',').find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let found = parts.next()?;
        // RFC 9110 §8.4.1.3: `x-gzip` is the same.
        let same = found.eq_ignore_ascii_case(name)
            || (name == "gzip" && found.eq_ignore_ascii_case("x-gzip"));
        if !same {
            return None;
        }
        let weight = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        Some(weight.map_or(1000, thousandths))
    })
}

/// A weight is `0` to `1` with at most three decimals. One that is none refuses, so that a client
/// never gets what it may not want.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        // The cast saturates and the range is checked, so nothing is lost but the fourth decimal.
        #[expect(clippy::cast_sign_loss, reason = "the range is 0 to 1")]
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 0,
    }
}

/// Compresses a body by gzip or deflate at zlib's `level`, or by brotli, whose effort is fixed. `None` if
/// the result would be no smaller: then the body is better sent as it is.
pub(crate) fn compress(encoding: Encoding, level: u32, body: &[u8]) -> Option<Vec<u8>> {
    let out = Vec::with_capacity(body.len() / 2);
    let level = Compression::new(level.min(9));
    // Writing into a Vec cannot fail; if a compressor did nevertheless, the plain body is right.
    let compressed = match encoding {
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(out, level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(out, level);
            encoder.write_all(body).and_then(|()| encoder.finish())
        }
        Encoding::Brotli => brotli_compress(body, out),
    };
    compressed.ok().filter(|compressed| compressed.len() < body.len())
}

/// Brotli's effort, 0 to 11. Five takes no longer than gzip, a few milliseconds for the client's
/// files, and gives slightly less. Eleven, Node's default, saves another tenth for a hundred times
/// the time (half a second), which a shard cannot wait for.
const BROTLI_QUALITY: i32 = 5;

fn brotli_compress(body: &[u8], mut out: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        size_hint: body.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut &body[..], &mut out, &params)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn polls(header: &str) -> Option<Encoding> {
        negotiate(Some(header))
    }

    fn files(header: &str) -> Option<Encoding> {
        negotiate_among(Encoding::FOR_FILES, Some(header))
    }

    #[test]
    fn browsers_get_the_preferred_encoding() {
        assert_eq!(polls("gzip, deflate, br, zstd"), Some(Encoding::Gzip));
        assert_eq!(files("gzip, deflate, br, zstd"), Some(Encoding::Brotli));
        assert_eq!(polls("deflate"), Some(Encoding::Deflate));
        assert_eq!(polls("GZip"), Some(Encoding::Gzip));
        assert_eq!(polls("x-gzip"), Some(Encoding::Gzip));
        assert_eq!(polls("*"), Some(Encoding::Gzip));
    }

    #[test]
    fn weights_decide() {
        assert_eq!(polls("gzip;q=0.5, deflate;q=0.8"), Some(Encoding::Deflate));
        assert_eq!(polls("gzip;q=0, *"), Some(Encoding::Deflate));
        assert_eq!(polls("gzip; q=0.001"), Some(Encoding::Gzip));
        assert_eq!(polls("deflate ; q = 1.0"), Some(Encoding::Deflate));
        assert_eq!(polls("gzip;q=0.5, identity"), None);
        assert_eq!(polls("gzip;q=0.5, identity;q=0.5"), Some(Encoding::Gzip));
        assert_eq!(polls("gzip, identity;q=0"), Some(Encoding::Gzip));
    }

    #[test]
    fn without_a_common_encoding_the_plain_form_is_sent() {
        assert_eq!(negotiate(None), None);
        for header in ["", "br", "identity", "identity;q=0", "gzip;q=0", "*;q=0", "gzip;q=x", ",;,"]
        {
            assert_eq!(polls(header), None, "{header:?}");
        }
    }

    #[test]
    fn every_format_decodes_to_the_body() {
        let body = "42[\"event\",{\"n\":1}]\u{1e}".repeat(200);
        let gzip = compress(Encoding::Gzip, 6, body.as_bytes()).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, body);
        let deflate = compress(Encoding::Deflate, 6, body.as_bytes()).unwrap();
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(&deflate[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, body);
        let br = compress(Encoding::Brotli, 6, body.as_bytes()).unwrap();
        let mut text = String::new();
        brotli::Decompressor::new(&br[..], 4096).read_to_string(&mut text).unwrap();
        assert_eq!(text, body);
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        for encoding in Encoding::FOR_FILES {
            assert_eq!(compress(*encoding, 6, b"ok"), None);
            assert_eq!(compress(*encoding, 6, b""), None);
        }
    }
}
