//! Serde in the direction "from a Rust type": [`Value`] as something to serialize, and as
//! something that other types serialize into.

use serde::Serialize;
use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::error::EncodeError;
use super::value::{Number, Value};
use crate::limits::DEPTH_MAX;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Binary(bytes) => serializer.serialize_bytes(bytes),
            Self::Array(elements) => serializer.collect_seq(elements),
            Self::Object(entries) => serializer.collect_map(entries.iter().map(|(k, v)| (k, v))),
        }
    }
}

/// Builds a [`Value`]. `depth` is how many more containers may be opened inside each other.
#[derive(Clone, Copy)]
pub(super) struct ValueSerializer {
    depth: usize,
}

impl ValueSerializer {
    pub(super) fn new() -> Self {
        Self { depth: DEPTH_MAX }
    }

    fn deeper(self) -> Result<Self, EncodeError> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(EncodeError::Serialize("nested too deeply".to_owned())),
        }
    }

    fn array(self, variant: Option<&'static str>) -> Result<ArrayBuilder, EncodeError> {
        let inner = if variant.is_some() { self.deeper()?.deeper()? } else { self.deeper()? };
        Ok(ArrayBuilder { inner, variant, elements: Vec::new() })
    }

    fn object(self, variant: Option<&'static str>) -> Result<ObjectBuilder, EncodeError> {
        let inner = if variant.is_some() { self.deeper()?.deeper()? } else { self.deeper()? };
        Ok(ObjectBuilder { inner, variant, entries: Vec::new(), key: None })
    }
}

/// Wraps the content of an enum variant: `{"Variant": content}`.
fn tagged(variant: Option<&'static str>, content: Value) -> Value {
    match variant {
        Some(variant) => Value::Object(vec![(variant.to_owned(), content)]),
        None => content,
    }
}

macro_rules! plain {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method(self, value: $kind) -> Result<Value, EncodeError> {
            Ok(Value::from(value))
        })*
    };
}

impl Serializer for ValueSerializer {
    type Ok = Value;
    type Error = EncodeError;
    type SerializeSeq = ArrayBuilder;
    type SerializeTuple = ArrayBuilder;
    type SerializeTupleStruct = ArrayBuilder;
    type SerializeTupleVariant = ArrayBuilder;
    type SerializeMap = ObjectBuilder;
    type SerializeStruct = ObjectBuilder;
    type SerializeStructVariant = ObjectBuilder;

    plain! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_str(&str);
        serialize_bytes(&[u8]);
    }

    fn serialize_i128(self, value: i128) -> Result<Value, EncodeError> {
        let out_of_range = |_| ser::Error::custom("number out of range");
        i64::try_from(value)
            .map(Value::from)
            .or_else(|_| u64::try_from(value).map(Value::from).map_err(out_of_range))
    }

    fn serialize_u128(self, value: u128) -> Result<Value, EncodeError> {
        let out_of_range = |_| ser::Error::custom("number out of range");
        u64::try_from(value).map(Value::from).map_err(out_of_range)
    }

    fn serialize_char(self, value: char) -> Result<Value, EncodeError> {
        Ok(Value::String(value.to_string()))
    }

    fn serialize_none(self) -> Result<Value, EncodeError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, EncodeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, EncodeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, EncodeError> {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, EncodeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, EncodeError> {
        Ok(tagged(Some(variant), value.serialize(self.deeper()?)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ArrayBuilder, EncodeError> {
        self.array(None)
    }

    fn serialize_tuple(self, _: usize) -> Result<ArrayBuilder, EncodeError> {
        self.array(None)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<ArrayBuilder, EncodeError> {
        self.array(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ArrayBuilder, EncodeError> {
        self.array(Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<ObjectBuilder, EncodeError> {
        self.object(None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<ObjectBuilder, EncodeError> {
        self.object(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<ObjectBuilder, EncodeError> {
        self.object(Some(variant))
    }
}

pub(super) struct ArrayBuilder {
    inner: ValueSerializer,
    variant: Option<&'static str>,
    elements: Vec<Value>,
}

impl ArrayBuilder {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.elements.push(value.serialize(self.inner)?);
        Ok(())
    }

    fn finish(self) -> Value {
        tagged(self.variant, Value::Array(self.elements))
    }
}

macro_rules! array_builder {
    ($($trait:ident::$method:ident),*) => {
        $(impl $trait for ArrayBuilder {
            type Ok = Value;
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, EncodeError> {
                Ok(self.finish())
            }
        })*
    };
}

array_builder!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

pub(super) struct ObjectBuilder {
    inner: ValueSerializer,
    variant: Option<&'static str>,
    entries: Vec<(String, Value)>,
    /// The key whose value comes next.
    key: Option<String>,
}

impl ObjectBuilder {
    fn insert<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), EncodeError> {
        self.entries.push((key, value.serialize(self.inner)?));
        Ok(())
    }

    fn finish(self) -> Value {
        tagged(self.variant, Value::Object(self.entries))
    }
}

/// What JavaScript makes of a property name.
pub(super) fn key_text(key: Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(Number::to_js_string(&number)),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl SerializeMap for ObjectBuilder {
    type Ok = Value;
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        let key = key_text(key.serialize(self.inner)?);
        let no_text = || ser::Error::custom("a map key must be a string, number or boolean");
        self.key = Some(key.ok_or_else(no_text)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let key = self.key.take().ok_or_else(|| ser::Error::custom("a map value without a key"))?;
        self.insert(key, value)
    }

    fn end(self) -> Result<Value, EncodeError> {
        Ok(self.finish())
    }
}

macro_rules! object_builder {
    ($($trait:ident),*) => {
        $(impl $trait for ObjectBuilder {
            type Ok = Value;
            type Error = EncodeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), EncodeError> {
                self.insert(key.to_owned(), value)
            }

            fn end(self) -> Result<Value, EncodeError> {
                Ok(self.finish())
            }
        })*
    };
}

object_builder!(SerializeStruct, SerializeStructVariant);
