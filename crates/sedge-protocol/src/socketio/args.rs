//! Typed access to the arguments of an event or acknowledgement.
//!
//! The mirror image of how arguments are sent (see `ser`): a tuple or an array `[T; N]` takes the list, `()`
//! takes nothing, and any other type takes the first argument. Nothing is decoded before it is asked for.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer, forward_to_deserialize_any};

use super::error::{ArgsError, EncodeError};
use super::json_read;
use super::msgpack_read::Reader;
use super::ser::write_arguments;
use super::span::Span;
use super::value::Value;
use super::value_sink::ValueSink;

/// The arguments of an event (without its name) or of an acknowledgement.
///
/// A clone is cheap: it borrows from the packet, or shares what [`Args::into_owned`] copied.
/// It can be sent on as the argument list of another packet.
#[derive(Clone)]
pub struct Args<'a>(Repr<'a>);

#[derive(Clone)]
enum Repr<'a> {
    Borrowed(ArgsView<'a>),
    Owned(Arc<OwnedArgs>),
}

/// Where the arguments are.
#[derive(Clone, Copy)]
pub(super) enum ArgsView<'a> {
    Json { text: &'a str, spans: &'a [Span] },
    Msgpack { bytes: &'a [u8], spans: &'a [Span] },
    Values(&'a [Value]),
}

enum OwnedArgs {
    Json { text: Box<str>, spans: Box<[Span]> },
    Msgpack { bytes: Box<[u8]>, spans: Box<[Span]> },
    Values(Vec<Value>),
}

impl<'a> Args<'a> {
    pub(super) fn from_view(view: ArgsView<'a>) -> Self {
        Self(Repr::Borrowed(view))
    }

    /// Arguments that are already values, for instance those that another node sent.
    pub fn from_values(values: Vec<Value>) -> Self {
        Self(Repr::Owned(Arc::new(OwnedArgs::Values(values))))
    }

    /// The arguments that `args` stands for where arguments are sent: a tuple or an array `[T; N]` is the
    /// list, `()` is the empty list, and anything else is one argument.
    pub fn from_serialize<T: Serialize + ?Sized>(args: &T) -> Result<Self, EncodeError> {
        let mut values = ValueSink(Vec::new());
        write_arguments(args, &mut values)?;
        Ok(Self::from_values(values.0))
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        match self.view() {
            ArgsView::Json { spans, .. } | ArgsView::Msgpack { spans, .. } => spans.len(),
            ArgsView::Values(values) => values.len(),
        }
    }

    /// Whether there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The arguments as `T`. A tuple or an array `[T; N]` takes them one by one, `()` takes
    /// none, and any other type takes the first. Surplus arguments are ignored. A missing
    /// argument is `None` for an `Option` and an error for other types.
    ///
    /// Binary arguments decode into `bytes::Bytes`, `serde_bytes` types and `Vec<u8>`. Where `T` would fail
    /// otherwise, the arguments are taken as JavaScript has them: whole numbers are integers however they
    /// were written (`3.0`), numbers out of range are infinite, and halves of surrogate pairs are U+FFFD.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.view().or_as_in_javascript(|view| {
            let wants_one = Cell::new(false);
            let list = T::deserialize(ListDeserializer { view, wants_one: &wants_one });
            if wants_one.get() { view.element_seed(0, PhantomData::<T>) } else { list }
        })
    }

    /// The argument at `index`, counted from 0. A missing argument is `None` for an `Option`.
    pub fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, ArgsError> {
        self.view().element(index)
    }

    /// The JSON text of the argument at `index`, counted from 0. `None` if there is no such
    /// argument, or if it did not arrive as JSON text: packets with attachments and those of
    /// other parsers have none.
    pub fn raw_json(&self, index: usize) -> Option<&str> {
        match self.view() {
            ArgsView::Json { text, spans } => spans.get(index).map(|span| span.text(text)),
            _ => None,
        }
    }

    /// All arguments as values. Attachments are shared, not copied.
    pub fn to_values(&self) -> Result<Vec<Value>, ArgsError> {
        self.view().to_values()
    }

    /// About how many bytes of memory the arguments take once they are [owned](Self::into_owned).
    pub fn memory(&self) -> usize {
        let (content, spans) = match self.view() {
            ArgsView::Json { text, spans } => (text.len(), spans),
            ArgsView::Msgpack { bytes, spans } => (bytes.len(), spans),
            ArgsView::Values(values) => return values.iter().map(Value::memory).sum(),
        };
        content + size_of_val(spans)
    }

    /// Copies what is borrowed, so that the arguments can outlive the message they came in.
    pub fn into_owned(self) -> Args<'static> {
        let view = match self.0 {
            Repr::Owned(owned) => return Args(Repr::Owned(owned)),
            Repr::Borrowed(view) => view,
        };
        Args(Repr::Owned(Arc::new(match view {
            ArgsView::Json { text, spans } => {
                OwnedArgs::Json { text: text.into(), spans: spans.into() }
            }
            ArgsView::Msgpack { bytes, spans } => {
                OwnedArgs::Msgpack { bytes: bytes.into(), spans: spans.into() }
            }
            ArgsView::Values(values) => OwnedArgs::Values(values.to_vec()),
        })))
    }

    fn view(&self) -> ArgsView<'_> {
        match &self.0 {
            Repr::Borrowed(view) => *view,
            Repr::Owned(owned) => match owned.as_ref() {
                OwnedArgs::Json { text, spans } => ArgsView::Json { text, spans },
                OwnedArgs::Msgpack { bytes, spans } => ArgsView::Msgpack { bytes, spans },
                OwnedArgs::Values(values) => ArgsView::Values(values),
            },
        }
    }
}

impl Default for Args<'_> {
    /// No arguments.
    fn default() -> Self {
        Self(Repr::Borrowed(ArgsView::Values(&[])))
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.view() {
            ArgsView::Json { text, spans } => {
                f.debug_list().entries(spans.iter().map(|span| span.text(text))).finish()
            }
            ArgsView::Msgpack { spans, .. } => write!(f, "[{} msgpack arguments]", spans.len()),
            ArgsView::Values(values) => f.debug_list().entries(values).finish(),
        }
    }
}

/// Arguments are sent on as the list that they are.
impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.view() {
            ArgsView::Values(values) => ArgList(values).serialize(serializer),
            view => {
                let values = view.to_values().map_err(serde::ser::Error::custom)?;
                ArgList(&values).serialize(serializer)
            }
        }
    }
}

/// A list of arguments whose number is only known at run time. A `Vec` or slice alone would be
/// sent as one argument, an array; wrapped in this its elements are the arguments.
#[derive(Debug, Clone, Copy)]
pub struct ArgList<'a, T = Value>(pub &'a [T]);

impl<T: Serialize> Serialize for ArgList<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for argument in self.0 {
            tuple.serialize_element(argument)?;
        }
        tuple.end()
    }
}

impl<'de> ArgsView<'de> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Json { spans, .. } | Self::Msgpack { spans, .. } => spans.is_empty(),
            Self::Values(values) => values.is_empty(),
        }
    }

    pub(super) fn element<T: DeserializeOwned>(self, index: usize) -> Result<T, ArgsError> {
        self.or_as_in_javascript(|view| view.element_seed(index, PhantomData))
    }

    /// Decodes, and if that fails tries once more with what JavaScript would have.
    fn or_as_in_javascript<T>(
        self,
        decode: impl Fn(ArgsView<'_>) -> Result<T, ArgsError>,
    ) -> Result<T, ArgsError> {
        let result = decode(self);
        match &result {
            Ok(_) | Err(ArgsError::Missing(_)) => result,
            Err(_) => match self.in_javascript() {
                Some(values) => decode(ArgsView::Values(&values)),
                None => result,
            },
        }
    }

    /// The arguments as JavaScript has them, if that is any different.
    fn in_javascript(self) -> Option<Vec<Value>> {
        let mut differ = false;
        let values = if let Self::Json { text, spans } = self {
            let read = |span: &Span| {
                let (value, differs) = json_read::read(span.text(text))?;
                differ |= differs;
                Some(value)
            };
            spans.iter().map(read).collect::<Option<_>>()?
        } else {
            let mut values = Self::try_to_values(self).ok()?;
            for value in &mut values {
                differ |= value.make_whole();
            }
            values
        };
        differ.then_some(values)
    }

    fn element_seed<S: DeserializeSeed<'de>>(
        self,
        index: usize,
        seed: S,
    ) -> Result<S::Value, ArgsError> {
        match self {
            Self::Json { text, spans } => match spans.get(index) {
                Some(span) => {
                    let mut json = serde_json::Deserializer::from_str(span.text(text));
                    seed.deserialize(&mut json).map_err(|error| json_error(index, &error))
                }
                None => seed.deserialize(MissingArgument(index)),
            },
            Self::Msgpack { bytes, spans } => match spans.get(index) {
                Some(span) => seed
                    .deserialize(&mut Reader::new(span.bytes(bytes)))
                    .map_err(|error| ArgsError::of_argument(index, error)),
                None => seed.deserialize(MissingArgument(index)),
            },
            Self::Values(values) => match values.get(index) {
                Some(value) => {
                    seed.deserialize(value).map_err(|error| ArgsError::of_argument(index, error))
                }
                None => seed.deserialize(MissingArgument(index)),
            },
        }
    }

    pub(super) fn to_values(self) -> Result<Vec<Value>, ArgsError> {
        self.or_as_in_javascript(ArgsView::try_to_values)
    }

    fn try_to_values(view: ArgsView<'_>) -> Result<Vec<Value>, ArgsError> {
        match view {
            ArgsView::Json { text, spans } => {
                let value = |(index, span): (usize, &Span)| {
                    serde_json::from_str(span.text(text)).map_err(|error| json_error(index, &error))
                };
                spans.iter().enumerate().map(value).collect()
            }
            ArgsView::Msgpack { bytes, spans } => {
                let value = |(index, span): (usize, &Span)| {
                    Value::deserialize(&mut Reader::new(span.bytes(bytes)))
                        .map_err(|error| ArgsError::of_argument(index, error))
                };
                spans.iter().enumerate().map(value).collect()
            }
            ArgsView::Values(values) => Ok(values.to_vec()),
        }
    }
}

/// `serde_json` ends its words with a position. The line is always 1 here and the column counts
/// from the start of one argument, so it would only mislead.
fn json_error(index: usize, error: &serde_json::Error) -> ArgsError {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    ArgsError::of_argument(index, message.get(..end).unwrap_or_default())
}

/// The top level of the requested type: looks whether it is a tuple or `()`. Any other type sets
/// `wants_one` and fails, and the caller hands it the first argument instead. The flag rather
/// than the failure decides, because a type may turn failures into defaults.
struct ListDeserializer<'a> {
    view: ArgsView<'a>,
    wants_one: &'a Cell<bool>,
}

impl<'de> Deserializer<'de> for ListDeserializer<'de> {
    type Error = ArgsError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ArgsError> {
        self.wants_one.set(true);
        Err(ArgsError::Missing(1))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        visitor.visit_seq(ListAccess { view: self.view, next: 0, len })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct newtype_struct seq tuple_struct map struct enum identifier ignored_any
    }
}

struct ListAccess<'a> {
    view: ArgsView<'a>,
    next: usize,
    len: usize,
}

impl<'de> SeqAccess<'de> for ListAccess<'de> {
    type Error = ArgsError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ArgsError> {
        if self.next == self.len {
            return Ok(None);
        }
        let index = self.next;
        self.next += 1;
        self.view.element_seed(index, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.next)
    }
}

/// Stands for an argument that was not sent.
struct MissingArgument(usize);

impl<'de> Deserializer<'de> for MissingArgument {
    type Error = ArgsError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ArgsError> {
        Err(ArgsError::Missing(self.0 + 1))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
