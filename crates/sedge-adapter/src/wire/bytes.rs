//! Numbers, texts and data of the wire form, one by one.

use bytes::Bytes;

use super::WireError;
use crate::limits::WIRE_LIST_GUESS_MAX;

/// Writes fields one behind the other.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(capacity: usize) -> Self {
        Writer(Vec::with_capacity(capacity))
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// LEB128: seven bits a byte, the lowest first; the top bit says that more follow.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Eight bytes, the lowest first.
    pub(super) fn fixed(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(super) fn data(&mut self, data: &[u8]) {
        self.number(data.len() as u64);
        self.0.extend_from_slice(data);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.data(text.as_bytes());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Reads fields one behind the other, as far as there are bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// How many bytes have not been read.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        let (&byte, rest) = self.0.split_first().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid("flag")),
        }
    }

    pub(super) fn number(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::Invalid("number"))
    }

    pub(super) fn count(&mut self) -> Result<u32, WireError> {
        u32::try_from(self.number()?).map_err(|_| WireError::Invalid("count"))
    }

    pub(super) fn short(&mut self) -> Result<u16, WireError> {
        u16::try_from(self.number()?).map_err(|_| WireError::Invalid("shard"))
    }

    pub(super) fn fixed(&mut self) -> Result<u64, WireError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(super) fn data(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.number()?).map_err(|_| WireError::Truncated)?;
        let (data, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(data)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, WireError> {
        str::from_utf8(self.data()?).map_err(|_| WireError::Invalid("text"))
    }

    /// A list behind its count.
    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.number()?;
        // Every element takes a byte at least.
        if count > self.left() as u64 {
            return Err(WireError::Truncated);
        }
        let mut list = Vec::with_capacity((count as usize).min(WIRE_LIST_GUESS_MAX));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(list)
    }
}
