//! permessage-deflate (RFC 7692) with `server_no_context_takeover` and `client_no_context_takeover`.
//!
//! Without context takeover every message is compressed alone. That costs some ratio, but a
//! connection then needs no compressor of its own (hundreds of kilobytes), and a broadcast is
//! compressed once: the same frame is valid for every recipient. For the same reason frames are
//! made with the full window of 2^15 bytes, and an offer that demands a smaller one
//! (`server_max_window_bits` below 15) is declined; that connection stays uncompressed. A
//! window that the *client* announces for itself needs nothing: the full window reads all sizes.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::FrameError;

/// What every compressed message ends with, and what is left out on the wire (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// [`TAIL`] and an empty last block. An inflater that reads this to its end has read whole blocks
/// before; the message was not cut. Without the last block nobody could tell.
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// The window exponent of every compressed frame that is sent.
const WINDOW_BITS: &str = "15";

const RESPONSE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const RESPONSE_WINDOW: &str = "permessage-deflate; server_no_context_takeover; \
    client_no_context_takeover; server_max_window_bits=15";

/// Chooses from the offers in `Sec-WebSocket-Extensions` (several header lines joined by commas)
/// and returns the value to answer with; `None` if no offer can be accepted and the connection
/// stays uncompressed.
///
/// The first acceptable offer wins (RFC 7692 §5). An offer with an unknown or repeated parameter, or
/// with a value that is not allowed, is declined alone (§7.1). `client_no_context_takeover` is
/// demanded whether it was offered or not, as §7.1.1.2 permits.
pub fn negotiate(offers: &str) -> Option<&'static str> {
    split_outside_quotes(offers, ',').find_map(accept)
}

/// The answer to one offer, if it is acceptable.
fn accept(offer: &str) -> Option<&'static str> {
    let mut parts = split_outside_quotes(offer, ';');
    if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
        return None;
    }
    let mut seen = [false; 4];
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim())?)),
            None => (part, None),
        };
        let name = name.to_ascii_lowercase();
        let (index, valid) = match (name.as_str(), value) {
            ("server_no_context_takeover", value) => (0, value.is_none()),
            ("client_no_context_takeover", value) => (1, value.is_none()),
            // A smaller window than that of the shared frames cannot be promised; see above.
            ("server_max_window_bits", value) => (2, value == Some(WINDOW_BITS)),
            ("client_max_window_bits", value) => (3, value.is_none_or(is_window_bits)),
            _ => return None,
        };
        if !valid || std::mem::replace(&mut seen[index], true) {
            return None;
        }
    }
    // §7.1.2.1: a demanded window is accepted by repeating it.
    Some(if seen[2] { RESPONSE_WINDOW } else { RESPONSE })
}

/// 8 to 15 in decimal without leading zeros (RFC 7692 §7.1.2).
fn is_window_bits(value: &str) -> bool {
    matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

/// A value as a token or as a quoted token (RFC 6455 §9.1: the same thing); `None` if it is neither.
fn unquote(value: &str) -> Option<&str> {
    let token = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => value,
    };
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_token.then_some(token)
}

/// The trimmed elements of a list; separators in quoted strings do not count.
fn split_outside_quotes(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .map(str::trim)
}

/// Compresses messages, each alone. Holds about 380 KB; one per thread is enough.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
}

impl Deflater {
    /// A compressor with zlib's `level`, 1 (fast) to 9 (small); other values are brought into range.
    pub fn new(level: u32) -> Self {
        Self { stream: Compress::new(Compression::new(level.clamp(1, 9)), false) }
    }

    /// Appends the payload of a compressed frame (to be sent with RSV1) for `payload` to `out`.
    ///
    /// Returns false, and leaves `out` as it was, if that would be no smaller than `payload`; then
    /// the message is sent as it is, without RSV1 (RFC 7692 §6 allows it for every message).
    pub fn compress(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if self.sync_flushed(payload, out) && out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
            if out.len() - start < payload.len() {
                return true;
            }
        }
        out.truncate(start);
        false
    }

    /// Compresses up to a byte boundary. False if that is not worth sending.
    fn sync_flushed(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        self.stream.reset();
        // With the tail it may be as long as the payload before it is useless. The one byte more
        // has to be left over, else it could not be told whether the flush is complete.
        out.reserve(payload.len() + TAIL.len() + 1);
        let compressed = self.stream.compress_vec(payload, out, FlushCompress::Sync).is_ok();
        compressed && self.stream.total_in() == payload.len() as u64 && out.len() < out.capacity()
    }
}

/// Inflates messages, each alone. Holds about 50 KB; one per thread is enough.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

/// Room made at a time for inflated data.
const INFLATE_STEP: usize = 4096;

impl Inflater {
    /// An inflater for every window size.
    pub fn new() -> Self {
        Self { stream: Decompress::new(false) }
    }

    /// Appends the message in the `payload` of a compressed frame, or of a fragmented message put
    /// together, to `out`, at most `limit` bytes of it.
    ///
    /// Fails with [`FrameError::MessageTooBig`] as soon as there is more, so a small message that
    /// inflates to a huge one costs no more than `limit` bytes (and `out` contains some of it), and
    /// with [`FrameError::InvalidDeflate`].
    pub fn inflate(
        &mut self,
        payload: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.stream.reset(false);
        let start = out.len();
        if let Ended::Stream = self.feed(payload, start, limit, out)? {
            return Ok(());
        }
        // RFC 7692 §7.2.2: the tail that the sender left out.
        match self.feed(&TAIL_AND_END, start, limit, out)? {
            Ended::Stream => Ok(()),
            Ended::Sync => Err(FrameError::InvalidDeflate),
        }
    }

    /// Inflates all of `input`.
    fn feed(
        &mut self,
        mut input: &[u8],
        start: usize,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Ended, FrameError> {
        loop {
            let held = out.len() - start;
            if out.capacity() == out.len() {
                // Room for one byte over the limit shows whether the limit is passed.
                let step = held.max(INFLATE_STEP).min((limit - held).saturating_add(1));
                out.reserve_exact(step);
            }
            let before = self.stream.total_in();
            let status = self
                .stream
                .decompress_vec(input, out, FlushDecompress::Sync)
                .map_err(|_| FrameError::InvalidDeflate)?;
            if out.len() - start > limit {
                return Err(FrameError::MessageTooBig);
            }
            let used = (self.stream.total_in() - before) as usize;
            input = input.get(used..).unwrap_or_default();
            match status {
                // RFC 7692 §7.2.3.4: a sender may close the stream; what then is left is the
                // first byte of an empty block.
                Status::StreamEnd if matches!(input, [] | [0]) => return Ok(Ended::Stream),
                Status::Ok | Status::BufError if out.len() == out.capacity() => {}
                Status::Ok | Status::BufError if input.is_empty() => return Ok(Ended::Sync),
                Status::Ok => {}
                // Data behind the end, or no progress although there was input and room.
                Status::StreamEnd | Status::BufError => return Err(FrameError::InvalidDeflate),
            }
        }
    }
}

/// How the compressed data of a message ended.
enum Ended {
    /// At a flush, as usual.
    Sync,
    /// With the last block of the stream.
    Stream,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(payload: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::new();
        Inflater::new().inflate(payload, limit, &mut out).map(|()| out)
    }

    #[test]
    fn the_usual_offers_are_accepted() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=\"8\"",
            "Permessage-Deflate;Server_No_Context_Takeover ; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            "other; a=\"b, c; d\", permessage-deflate",
        ] {
            assert_eq!(negotiate(offer), Some(RESPONSE), "{offer}");
        }
        assert_eq!(
            negotiate("permessage-deflate; server_max_window_bits=15; client_max_window_bits"),
            Some(RESPONSE_WINDOW)
        );
    }

    #[test]
    fn other_offers_are_declined() {
        for offer in [
            "",
            ",",
            "deflate",
            "permessage-deflate2",
            "permessage-bzip2",
            // RFC 7692 §7.1: an unknown parameter, a repeated one, a value that is not allowed.
            "permessage-deflate; unknown",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits=\"\"",
            "permessage-deflate; client_max_window_bits=\"9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate;",
            // A window that a shared frame cannot promise.
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=8",
            "other; a=\"permessage-deflate, permessage-deflate\"",
        ] {
            assert_eq!(negotiate(offer), None, "{offer}");
        }
    }

    #[test]
    fn what_is_compressed_inflates_and_every_message_stands_alone() {
        let mut deflater = Deflater::new(6);
        let texts = ["a".repeat(10), "sedge ".repeat(1000), "0123456789".repeat(30_000)];
        for text in texts.iter().chain(&texts) {
            let mut out = b"kept".to_vec();
            assert!(deflater.compress(text.as_bytes(), &mut out));
            assert!(out.starts_with(b"kept") && !out.ends_with(&TAIL));
            let inflated = inflate(&out[4..], text.len());
            assert!(inflated.as_deref() == Ok(text.as_bytes()));
        }
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut deflater = Deflater::new(9);
        // A xorshift sequence has nothing to compress.
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..70_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        for payload in [&b""[..], b"a", b"2probe", &noise] {
            let mut out = b"kept".to_vec();
            assert!(!deflater.compress(payload, &mut out));
            assert_eq!(out, b"kept");
        }
        let mut out = Vec::new();
        assert!(deflater.compress(&[b'x'; 500], &mut out), "it goes on after a refusal");
        assert_eq!(inflate(&out, 500), Ok(vec![b'x'; 500]));
    }

    #[test]
    fn the_examples_of_the_standard_inflate() {
        // RFC 7692 §7.2.3: one block, a block without compression, two blocks, a final block.
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        ] {
            assert_eq!(inflate(payload, 5), Ok(b"Hello".to_vec()), "{payload:x?}");
            assert_eq!(inflate(payload, 4), Err(FrameError::MessageTooBig));
        }
        // §7.2.3.6: an empty message.
        assert_eq!(inflate(&[0x00], 0), Ok(vec![]));
        assert_eq!(inflate(&[0x02, 0x00], 0), Ok(vec![]));
    }

    #[test]
    fn damaged_data_is_refused() {
        for payload in [
            &[0xff; 10][..],
            // Cut inside of a block: the tail does not complete it.
            &[0xf2, 0x48, 0xcd],
            // Something behind the final block.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00],
            // A reference to before the start of the message.
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
        ] {
            assert_eq!(inflate(payload, 1000), Err(FrameError::InvalidDeflate), "{payload:x?}");
        }
    }
}
