//! Reading msgpack: the heads of values one by one, whole values skipped without recursion, and
//! what notepack's extensions mean.

use smallvec::SmallVec;

use super::date::iso_8601;
use super::error::ParseError;
use crate::limits::DEPTH_MAX;

/// The start of a msgpack value, and its content unless it is a container.
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    /// Below zero.
    Int(i64),
    Float(f64),
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Array(usize),
    Map(usize),
    Ext(Ext<'a>),
}

/// An extension. Whether its marker fixes the length matters: notepack 2 tells `undefined` and
/// dates from an `ArrayBuffer` of the same length by that.
pub(super) struct Ext<'a> {
    kind: i8,
    fixed: bool,
    data: &'a [u8],
}

impl Head<'_> {
    /// Nil, or notepack 2's `undefined`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Head::Nil | Head::Ext(Ext { kind: 0, fixed: true, data: [_] }))
    }
}

/// An open container while a value is skipped.
struct Open {
    /// Values still to come; a map has two per entry.
    remaining: usize,
    map: bool,
}

/// Reads msgpack from a slice, never believing a length it claims.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) pos: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.pos == self.bytes.len()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.pos.checked_add(len)?;
        let taken = self.bytes.get(self.pos..end)?;
        self.pos = end;
        Some(taken)
    }

    /// A big-endian number of up to eight bytes.
    fn uint(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn len(&mut self, len: usize) -> Option<usize> {
        usize::try_from(self.uint(len)?).ok()
    }

    fn int(&mut self, len: usize) -> Option<Head<'a>> {
        let shift = 64 - 8 * len as u32;
        // Moves the sign to the top and back.
        let number = (self.uint(len)? << shift).cast_signed() >> shift;
        Some(u64::try_from(number).map_or(Head::Int(number), Head::Uint))
    }

    fn ext(&mut self, len: usize, fixed: bool) -> Option<Head<'a>> {
        let kind = (self.uint(1)? as u8).cast_signed();
        Some(Head::Ext(Ext { kind, fixed, data: self.take(len)? }))
    }

    /// The next head; `None` at the end of the bytes or at the one byte msgpack never uses.
    pub(super) fn head(&mut self) -> Option<Head<'a>> {
        let marker = self.uint(1)? as u8;
        Some(match marker {
            0x00..=0x7f => Head::Uint(marker.into()),
            0x80..=0x8f => Head::Map((marker & 0x0f).into()),
            0x90..=0x9f => Head::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Head::Str(self.take((marker & 0x1f).into())?),
            0xc0 => Head::Nil,
            0xc1 => return None,
            0xc2 | 0xc3 => Head::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let len = self.len(1 << (marker - 0xc4))?;
                Head::Bin(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.len(1 << (marker - 0xc7))?;
                self.ext(len, false)?
            }
            0xca => Head::Float(f32::from_bits(self.uint(4)? as u32).into()),
            0xcb => Head::Float(f64::from_bits(self.uint(8)?)),
            0xcc..=0xcf => Head::Uint(self.uint(1 << (marker - 0xcc))?),
            0xd0..=0xd3 => self.int(1 << (marker - 0xd0))?,
            0xd4..=0xd8 => self.ext(1 << (marker - 0xd4), true)?,
            0xd9..=0xdb => {
                let len = self.len(1 << (marker - 0xd9))?;
                Head::Str(self.take(len)?)
            }
            0xdc | 0xdd => Head::Array(self.len(2 << (marker - 0xdc))?),
            0xde | 0xdf => Head::Map(self.len(2 << (marker - 0xde))?),
            0xe0..=0xff => Head::Int(marker.cast_signed().into()),
        })
    }

    /// Skips one value and checks that it is well-formed and not too deep.
    pub(super) fn skip(&mut self) -> Result<(), ParseError> {
        let mut stack: SmallVec<[Open; 8]> = SmallVec::new();
        loop {
            let head = self.head().ok_or(ParseError::InvalidPayload)?;
            let mut is_key = false;
            if let Some(open) = stack.last_mut() {
                is_key = open.map && open.remaining % 2 == 0;
                open.remaining -= 1;
            }
            match head {
                Head::Array(_) | Head::Map(_) | Head::Bin(_) | Head::Ext(..) if is_key => {
                    return Err(ParseError::InvalidPayload);
                }
                Head::Array(remaining) => self.open(&mut stack, remaining, false)?,
                Head::Map(entries) => self.open(&mut stack, entries.saturating_mul(2), true)?,
                _ => {}
            }
            while stack.last().is_some_and(|open| open.remaining == 0) {
                stack.pop();
            }
            if stack.is_empty() {
                return Ok(());
            }
        }
    }

    fn open(
        &self,
        stack: &mut SmallVec<[Open; 8]>,
        remaining: usize,
        map: bool,
    ) -> Result<(), ParseError> {
        if stack.len() == DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        // Every value takes a byte at least.
        if remaining > self.bytes.len() - self.pos {
            return Err(ParseError::InvalidPayload);
        }
        stack.push(Open { remaining, map });
        Ok(())
    }
}

/// What an extension means to notepack, with dates as JSON shows them.
pub(super) enum Meaning<'a> {
    /// `undefined`, or a date out of range.
    Nothing,
    Date(String),
    Binary(&'a [u8]),
    /// notepack gives such an array of its type and data.
    Unknown(i8, &'a [u8]),
}

impl<'a> Ext<'a> {
    pub(super) fn meaning(&self) -> Meaning<'a> {
        let data = self.data;
        let uint = |bytes: &[u8]| bytes.iter().fold(0, |n: u64, byte| n << 8 | u64::from(*byte));
        let date = |ms: f64| iso_8601(ms).map_or(Meaning::Nothing, Meaning::Date);
        match (self.kind, self.fixed, data.len()) {
            (-1, true, 4) => date(uint(data) as f64 * 1e3),
            (-1, true, 8) => {
                // 30 bits of nanoseconds, 34 bits of seconds.
                let both = uint(data);
                let (seconds, nanos) = (both & 0x3_ffff_ffff, both >> 34);
                date(seconds as f64 * 1e3 + nanos as f64 / 1e6)
            }
            (-1, false, 12) => {
                let (nanos, seconds) = data.split_at(4);
                date(uint(seconds).cast_signed() as f64 * 1e3 + uint(nanos) as f64 / 1e6)
            }
            (0, true, 1) => Meaning::Nothing,
            (0, true, 8) => date(uint(data).cast_signed() as f64),
            (0, false, _) => Meaning::Binary(data),
            (kind, ..) => Meaning::Unknown(kind, data),
        }
    }
}
