//! Keys of maps, as serde sees them. On the wire a key is text, but a Rust map may have numbers
//! or enum variants for keys; as `serde_json` does, the text is then read as such.

use std::borrow::Cow;

use serde::de::value::Error;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// The key of an object or the name of an enum variant.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

macro_rules! numeric_key {
    ($($method:ident => $visit:ident as $kind:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse::<$kind>() {
                Ok(number) => visitor.$visit(number),
                Err(_) => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    numeric_key! {
        deserialize_bool => visit_bool as bool;
        deserialize_i8 => visit_i64 as i64;
        deserialize_i16 => visit_i64 as i64;
        deserialize_i32 => visit_i64 as i64;
        deserialize_i64 => visit_i64 as i64;
        deserialize_u8 => visit_u64 as u64;
        deserialize_u16 => visit_u64 as u64;
        deserialize_u32 => visit_u64 as u64;
        deserialize_u64 => visit_u64 as u64;
        deserialize_f32 => visit_f64 as f64;
        deserialize_f64 => visit_f64 as f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.into_deserializer().deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}
