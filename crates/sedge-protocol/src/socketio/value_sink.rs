//! Arguments collected as values, for what does not write them into a message at once.

use serde::Serialize;

use super::error::EncodeError;
use super::ser::ArgumentSink;
use super::value::Value;

/// Collects arguments as values.
pub(super) struct ValueSink(pub(super) Vec<Value>);

impl ArgumentSink for ValueSink {
    fn begin(&mut self, _: usize) -> Result<(), EncodeError> {
        Ok(())
    }

    fn argument<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.0.push(Value::from_serialize(value)?);
        Ok(())
    }
}
