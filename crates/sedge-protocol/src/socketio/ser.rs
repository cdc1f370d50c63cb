//! How a serializable value becomes a list of arguments: a tuple or an array `[T; N]` (serde cannot
//! tell the two apart) is the list, `()` is the empty list, and anything else is one argument. A `Vec` is
//! one argument, an array; so are `Option<(A, B)>` and tuple structs.
//!
//! `()` and JSON's null are both serde's unit. What may also be something else than `()` is never of size
//! zero, so that the number of arguments depends on their type and not on what happens to be in it.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{self, Impossible, SerializeTuple, Serializer};

use super::error::EncodeError;

/// Takes the arguments one by one.
pub(super) trait ArgumentSink {
    /// Says how many arguments will follow.
    fn begin(&mut self, count: usize) -> Result<(), EncodeError>;
    /// Takes the next one.
    fn argument<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError>;
}

/// Gives `sink` the arguments that `value` stands for.
pub(super) fn write_arguments<T: Serialize + ?Sized>(
    value: &T,
    sink: &mut impl ArgumentSink,
) -> Result<(), EncodeError> {
    let unit_is_list = size_of_val(value) == 0;
    match value.serialize(TopLevel { sink, unit_is_list }) {
        Ok(()) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
        Err(Stop::OneArgument) => {
            sink.begin(1)?;
            sink.argument(value)
        }
    }
}

/// Why the top level ended early. Finding anything but a tuple or `()` is told as an error at the
/// very first call, before anything was written, and the value is then serialized as a whole.
#[derive(Debug)]
enum Stop {
    OneArgument,
    Failed(EncodeError),
}

impl Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OneArgument => f.write_str("a single argument"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(message: T) -> Self {
        Self::Failed(EncodeError::Serialize(message.to_string()))
    }
}

struct TopLevel<'a, S> {
    sink: &'a mut S,
    /// Whether serde's unit is the empty list, and not an argument.
    unit_is_list: bool,
}

/// The elements of a tuple, on their way to the sink.
struct List<'a, S> {
    sink: &'a mut S,
    announced: usize,
    written: usize,
}

impl<S: ArgumentSink> SerializeTuple for List<'_, S> {
    type Ok = ();
    type Error = Stop;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        self.written += 1;
        self.sink.argument(value).map_err(Stop::Failed)
    }

    fn end(self) -> Result<(), Stop> {
        let Self { announced, written, .. } = self;
        if announced == written {
            Ok(())
        } else {
            Err(Stop::Failed(EncodeError::ArgumentCount { announced, written }))
        }
    }
}

macro_rules! one_argument {
    ($($method:ident($($kind:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<$ok, Stop> {
            Err(Stop::OneArgument)
        })*
    };
}

type Never = Impossible<(), Stop>;

impl<'a, S: ArgumentSink> Serializer for TopLevel<'a, S> {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = Never;
    type SerializeTuple = List<'a, S>;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_unit(self) -> Result<(), Stop> {
        if self.unit_is_list {
            self.sink.begin(0).map_err(Stop::Failed)
        } else {
            Err(Stop::OneArgument)
        }
    }

    fn serialize_tuple(self, len: usize) -> Result<List<'a, S>, Stop> {
        self.sink.begin(len).map_err(Stop::Failed)?;
        Ok(List { sink: self.sink, announced: len, written: 0 })
    }

    one_argument! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Stop> {
        Err(Stop::OneArgument)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), Stop> {
        Err(Stop::OneArgument)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Stop> {
        Err(Stop::OneArgument)
    }

    // The default would format the value only to throw the text away.
    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Stop> {
        Err(Stop::OneArgument)
    }
}
