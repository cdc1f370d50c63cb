//! Where the body of a request ends (RFC 9112 §6 and §7.1).
//!
//! Whoever hands the bytes of a connection on has to know where the next head begins, without reading
//! the bodies between them.

use thiserror::Error;

use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILERS_BYTES_MAX};

/// The body that a head announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// None, or an empty one.
    #[default]
    None,
    /// This many bytes, more than zero.
    Length(u64),
    /// In chunks, up to one of length zero.
    Chunked,
}

/// The chunks of a body are malformed, or their lines too long: nobody can tell where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed chunks")]
pub struct Malformed;

/// How much of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes.
    Bytes(u64),
    /// The line with a chunk's size: the value so far, and how many bytes of the line were seen.
    Size {
        value: u64,
        seen: usize,
    },
    /// Its extension, which means nothing to us.
    Extension {
        value: u64,
        seen: usize,
    },
    /// The line feed that ends it.
    SizeEnd {
        value: u64,
    },
    /// The chunk itself, then the end of its line.
    Chunk(u64),
    ChunkReturn,
    ChunkEnd,
    /// Lines behind the last chunk, up to an empty one: bytes of this line, and of all.
    Trailer {
        line: usize,
        seen: usize,
    },
    TrailerEnd {
        line: usize,
        seen: usize,
    },
    /// The body has ended.
    Done,
}

impl Rest {
    /// All of a body.
    pub fn new(body: Body) -> Rest {
        Rest(match body {
            Body::None | Body::Length(0) => State::Done,
            Body::Length(length) => State::Bytes(length),
            Body::Chunked => State::Size { value: 0, seen: 0 },
        })
    }

    /// Whether nothing is missing.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Takes the bytes that have come next, and returns how many of them are the body's.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            taken += match &mut self.0 {
                State::Done => break,
                State::Bytes(left) => {
                    let n = take(left, rest);
                    if *left == 0 {
                        self.0 = State::Done;
                    }
                    n
                }
                State::Chunk(left) => {
                    let n = take(left, rest);
                    if *left == 0 {
                        self.0 = State::ChunkReturn;
                    }
                    n
                }
                _ => {
                    self.0 = rest.first().and_then(|&byte| self.0.byte(byte)).ok_or(Malformed)?;
                    1
                }
            };
        }
        Ok(taken)
    }
}

/// Counts off as many of the bytes as are missing.
fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= n as u64;
    n
}

impl State {
    /// The state behind the next byte of the framing; `None` if it may not stand there.
    fn byte(self, byte: u8) -> Option<State> {
        Some(match (self, byte) {
            (State::Size { value, seen }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                let value = value.checked_mul(16)?.checked_add(u64::from(digit))?;
                State::Size { value, seen: counted(seen)? }
            }
            (State::Size { value, seen: seen @ 1.. }, b';' | b' ' | b'\t') => {
                State::Extension { value, seen }
            }
            (State::Size { value, seen: 1.. } | State::Extension { value, .. }, b'\r') => {
                State::SizeEnd { value }
            }
            (State::Extension { value, seen }, byte) if byte != b'\n' => {
                State::Extension { value, seen: counted(seen)? }
            }
            (State::SizeEnd { value: 0 }, b'\n') => State::Trailer { line: 0, seen: 0 },
            (State::SizeEnd { value }, b'\n') => State::Chunk(value),
            (State::ChunkReturn, b'\r') => State::ChunkEnd,
            (State::ChunkEnd, b'\n') => State::Size { value: 0, seen: 0 },
            (State::Trailer { line, seen }, b'\r') => State::TrailerEnd { line, seen },
            (State::Trailer { line, seen }, byte) if byte != b'\n' && seen < TRAILERS_BYTES_MAX => {
                State::Trailer { line: line + 1, seen: seen + 1 }
            }
            (State::TrailerEnd { line: 0, .. }, b'\n') => State::Done,
            (State::TrailerEnd { seen, .. }, b'\n') => State::Trailer { line: 0, seen },
            _ => return None,
        })
    }
}

fn counted(seen: usize) -> Option<usize> {
    (seen < CHUNK_LINE_BYTES_MAX).then_some(seen + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of the text is the body, if it ends there, however it arrives.
    #[track_caller]
    fn end(body: Body, text: &str) -> Result<Option<usize>, Malformed> {
        let whole = |size: usize| {
            let (mut rest, mut taken) = (Rest::new(body), 0);
            for piece in text.as_bytes().chunks(size) {
                let n = rest.take(piece)?;
                taken += n;
                if n < piece.len() {
                    break;
                }
            }
            Ok(rest.is_done().then_some(taken))
        };
        let at_once = whole(usize::MAX);
        for size in 1..5 {
            assert_eq!(whole(size), at_once, "in pieces of {size}: {text:?}");
        }
        at_once
    }

    #[test]
    fn lengths_are_counted() {
        assert_eq!(end(Body::None, "GET"), Ok(Some(0)));
        assert_eq!(end(Body::Length(3), "abcGET"), Ok(Some(3)));
        assert_eq!(end(Body::Length(7), "abcGET"), Ok(None));
        assert_eq!(end(Body::Length(u64::MAX), "abcGET"), Ok(None));
    }

    #[test]
    fn chunks_end_with_an_empty_one() {
        for whole in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "003;a=\"b\"\r\nabc\r\n00\r\n\r\n",
            "3 \t;x\r\nabc\r\n0;last\r\nA: b\r\nC: d\r\n\r\n",
            "A\r\n0\r\n\r\n12345\r\nb\r\n0\r\n\r\nxxxxxx\r\n0\r\n\r\n",
        ] {
            assert_eq!(
                end(Body::Chunked, &format!("{whole}GET / HTTP/1.1")),
                Ok(Some(whole.len()))
            );
            assert_eq!(end(Body::Chunked, &whole[..whole.len() - 1]), Ok(None), "{whole:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let long = "x".repeat(CHUNK_LINE_BYTES_MAX);
        let trailers = "x".repeat(TRAILERS_BYTES_MAX + 1);
        for wrong in [
            "\r\n",
            "x\r\n",
            ";\r\n",
            " 3\r\nabc\r\n",
            "-3\r\n",
            "0x3\r\n",
            "3\nabc\r\n",
            "3\rabc",
            "3;a\nabc",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "10000000000000000\r\n",
            &format!("3;{long}"),
            &format!("0\r\n{trailers}"),
        ] {
            assert_eq!(end(Body::Chunked, wrong), Err(Malformed), "{wrong:?}");
        }
    }
}
