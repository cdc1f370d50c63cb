//! Typed decoding of msgpack. The bytes were scanned before: they are well-formed and nested no
//! deeper than allowed, so that the recursion here is bounded. Malformed bytes are still only an
//! error, never a panic.

use std::borrow::Cow;

use serde::de::value::{Error, SeqDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::key::Key;
use super::msgpack_read::{Head, Meaning, Reader};
use super::number::float_to_js_string;

fn malformed() -> Error {
    de::Error::custom("malformed msgpack")
}

impl<'de> Reader<'de> {
    fn expect_head(&mut self) -> Result<Head<'de>, Error> {
        self.head().ok_or_else(malformed)
    }

    fn visit<V: Visitor<'de>>(&mut self, head: Head<'de>, visitor: V) -> Result<V::Value, Error> {
        match head {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Uint(number) => visitor.visit_u64(number),
            Head::Int(number) => visitor.visit_i64(number),
            Head::Float(number) => visitor.visit_f64(number),
            Head::Str(text) => match simdutf8::basic::from_utf8(text) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => visitor.visit_string(String::from_utf8_lossy(text).into_owned()),
            },
            Head::Bin(bytes) => visitor.visit_borrowed_bytes(bytes),
            Head::Array(len) => self.visit_array(len, visitor),
            Head::Map(len) => self.visit_map(len, visitor),
            Head::Ext(ext) => match ext.meaning() {
                Meaning::Nothing => visitor.visit_unit(),
                Meaning::Date(text) => visitor.visit_string(text),
                Meaning::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
                Meaning::Unknown(kind, data) => visitor.visit_seq(UnknownExt::Kind(kind, data)),
            },
        }
    }

    fn visit_array<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let mut items = Items { reader: self, left: len };
        let result = visitor.visit_seq(&mut items)?;
        match items.left {
            0 => Ok(result),
            _ => Err(de::Error::invalid_length(len, &"fewer elements in array")),
        }
    }

    fn visit_map<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let mut items = Items { reader: self, left: len };
        let result = visitor.visit_map(&mut items)?;
        match items.left {
            0 => Ok(result),
            _ => Err(de::Error::invalid_length(len, &"fewer elements in map")),
        }
    }

    /// The key of a map, as JavaScript names the property.
    fn key(&mut self) -> Result<Key<'de>, Error> {
        Ok(Key(match self.expect_head()? {
            Head::Str(text) => String::from_utf8_lossy(text),
            Head::Uint(number) => number.to_string().into(),
            Head::Int(number) => number.to_string().into(),
            Head::Float(number) => float_to_js_string(number).into(),
            Head::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Head::Nil => Cow::Borrowed("null"),
            _ => return Err(malformed()),
        }))
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let head = self.expect_head()?;
        self.visit(head, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let start = self.pos;
        if self.expect_head()?.is_nothing() {
            return visitor.visit_none();
        }
        self.pos = start;
        visitor.visit_some(self)
    }

    /// Binary data may be taken as a list of numbers: a `Vec<u8>` asks for one.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let bytes = match self.expect_head()? {
            Head::Bin(bytes) => bytes,
            Head::Ext(ext) => match ext.meaning() {
                Meaning::Binary(bytes) => bytes,
                _ => return self.visit(Head::Ext(ext), visitor),
            },
            head => return self.visit(head, visitor),
        };
        visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Our own encoder writes unit structs as empty arrays.
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.expect_head()? {
            Head::Array(0) => visitor.visit_unit(),
            head => self.visit(head, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.expect_head()? {
            Head::Str(text) => String::from_utf8_lossy(text)
                .into_deserializer()
                .deserialize_enum(name, variants, visitor),
            Head::Map(1) => visitor.visit_enum(Variant(self)),
            Head::Map(_) => {
                Err(de::Error::invalid_value(Unexpected::Map, &"map with a single key"))
            }
            _ => Err(de::Error::invalid_type(Unexpected::Other("value"), &"string or map")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.skip().map_err(de::Error::custom)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        tuple tuple_struct map struct identifier
    }
}

/// The elements of an array or the entries of a map.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl Items<'_, '_> {
    /// Counts one item off; false at the end.
    fn advance(&mut self) -> bool {
        let more = self.left > 0;
        self.left -= usize::from(more);
        more
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.advance() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.advance() { seed.deserialize(self.reader.key()?).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// An enum variant with content: a map whose only key is its name.
struct Variant<'a, 'de>(&'a mut Reader<'de>);

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name = seed.deserialize(self.0.key()?)?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        de::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_any(visitor)
    }
}

/// An extension that means nothing to us: its type, then its data.
enum UnknownExt<'de> {
    Kind(i8, &'de [u8]),
    Data(&'de [u8]),
    End,
}

impl<'de> SeqAccess<'de> for UnknownExt<'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        match *self {
            Self::Kind(kind, data) => {
                *self = Self::Data(data);
                seed.deserialize(kind.into_deserializer()).map(Some)
            }
            Self::Data(data) => {
                *self = Self::End;
                seed.deserialize(de::value::BorrowedBytesDeserializer::new(data)).map(Some)
            }
            Self::End => Ok(None),
        }
    }
}
