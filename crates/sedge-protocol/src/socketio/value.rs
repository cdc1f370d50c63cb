//! A dynamic value: JSON plus binary data. It stands for payloads whose type is not known when
//! they arrive: those with attachments, those of custom parsers, and those that another node
//! sent.

use std::ops::Index;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ArgsError, EncodeError};
pub use super::number::Number;
use super::value_ser::ValueSerializer;

static NULL: Value = Value::Null;

/// A value as a peer may send it: JSON and binary data.
///
/// A clone shares binary data. Values that a program nests by hand deeper than [`DEPTH_MAX`](crate::limits::DEPTH_MAX) are
/// not stopped; dropping them takes stack in proportion.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// `null`; also JavaScript's `undefined`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// Binary data: an attachment in the JSON form, `bin` in msgpack.
    Binary(Bytes),
    /// An array.
    Array(Vec<Value>),
    /// An object, in the order it was sent. A key that was sent twice is there twice; the last
    /// one counts, as in JavaScript. Lookups are linear: objects in packets are small.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The value that `value` serializes to. serde's bytes become [`Value::Binary`], map keys
    /// become strings. Fails if something is nested deeper than [`DEPTH_MAX`](crate::limits::DEPTH_MAX), or is a map whose
    /// keys are neither strings, numbers nor booleans.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        value.serialize(ValueSerializer::new())
    }

    /// The value as `T`. A double that is whole may be taken as an integer.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        let decoded = T::deserialize(self).or_else(|error| {
            let mut value = self.clone();
            if value.make_whole() { T::deserialize(&value) } else { Err(error) }
        });
        decoded.map_err(|error| ArgsError::Refused(error.to_string()))
    }

    /// Turns all doubles that are whole numbers into integers; returns whether there were any.
    pub(super) fn make_whole(&mut self) -> bool {
        let one = |changed, value: &mut Value| value.make_whole() | changed;
        match self {
            Self::Number(number) => number.make_whole(),
            Self::Array(elements) => elements.iter_mut().fold(false, one),
            Self::Object(entries) => entries.iter_mut().map(|(_, value)| value).fold(false, one),
            _ => false,
        }
    }

    /// About how many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        let content = match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::String(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Array(elements) => elements.iter().map(Self::memory).sum(),
            Self::Object(entries) => entries
                .iter()
                .map(|(key, value)| size_of_val(key) + key.len() + value.memory())
                .sum(),
        };
        size_of::<Self>() + content
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The number, if it is one; whole numbers beyond 2^53 are rounded.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number.as_f64()),
            _ => None,
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The binary data, if it is some.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The entries, if it is an object.
    pub fn as_object(&self) -> Option<&[(String, Value)]> {
        match self {
            Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// What an object has under `key`; the last one if the key was sent twice.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let entries = self.as_object()?;
        entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Whether binary data is anywhere in the value.
    pub fn has_binary(&self) -> bool {
        match self {
            Self::Binary(_) => true,
            Self::Array(elements) => elements.iter().any(Self::has_binary),
            Self::Object(entries) => entries.iter().any(|(_, value)| value.has_binary()),
            _ => false,
        }
    }
}

/// The entry under a key; `Null` if there is none or the value is no object.
impl Index<&str> for Value {
    type Output = Value;

    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}

/// The element at a position; `Null` if there is none or the value is no array.
impl Index<usize> for Value {
    type Output = Value;

    fn index(&self, index: usize) -> &Value {
        self.as_array().and_then(|elements| elements.get(index)).unwrap_or(&NULL)
    }
}

macro_rules! from_numbers {
    ($($from:ty as $to:ty),*) => {
        $(impl From<$from> for Value {
            fn from(number: $from) -> Self {
                Self::Number(Number::from(number as $to))
            }
        })*
    };
}

from_numbers!(
    u8 as u64,
    u16 as u64,
    u32 as u64,
    u64 as u64,
    usize as u64,
    i8 as i64,
    i16 as i64,
    i32 as i64,
    i64 as i64,
    isize as i64,
    f32 as f64,
    f64 as f64
);

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Vec<Value>> for Value {
    fn from(elements: Vec<Value>) -> Self {
        Self::Array(elements)
    }
}

impl From<Vec<(String, Value)>> for Value {
    fn from(entries: Vec<(String, Value)>) -> Self {
        Self::Object(entries)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self::Array(elements.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<String>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Value {
    fn from(entries: [(K, V); N]) -> Self {
        Self::Object(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
