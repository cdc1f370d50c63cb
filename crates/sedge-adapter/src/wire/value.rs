//! Values of the application on the wire.

use bytes::Bytes;
use sedge_protocol::socketio::{Number, Value};

use super::WireError;
use super::bytes::{Reader, Writer};
use crate::limits::WIRE_DEPTH_MAX;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const UNSIGNED: u8 = 3;
/// Followed by the number's complement, which is not negative.
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const STRING: u8 = 6;
const BINARY: u8 = 7;
const ARRAY: u8 = 8;
const OBJECT: u8 = 9;

impl Writer {
    /// Writes a value; what is nested too deeply becomes null.
    pub(super) fn value(&mut self, value: &Value) {
        self.nested(value, WIRE_DEPTH_MAX);
    }

    /// Writes a value in which `depth` more containers may be opened inside each other.
    fn nested(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Null => self.byte(NULL),
            Value::Bool(false) => self.byte(FALSE),
            Value::Bool(true) => self.byte(TRUE),
            Value::Number(number) => self.a_number(*number),
            Value::String(text) => {
                self.byte(STRING);
                self.text(text);
            }
            Value::Binary(data) => {
                self.byte(BINARY);
                self.data(data);
            }
            Value::Array(_) | Value::Object(_) if depth == 0 => self.byte(NULL),
            Value::Array(elements) => {
                self.byte(ARRAY);
                self.number(elements.len() as u64);
                for element in elements {
                    self.nested(element, depth - 1);
                }
            }
            Value::Object(entries) => {
                self.byte(OBJECT);
                self.number(entries.len() as u64);
                for (key, value) in entries {
                    self.text(key);
                    self.nested(value, depth - 1);
                }
            }
        }
    }

    fn a_number(&mut self, number: Number) {
        if number.is_double() {
            self.byte(FLOAT);
            self.fixed(number.as_f64().to_bits());
        } else if let Some(unsigned) = number.as_u64() {
            self.byte(UNSIGNED);
            self.number(unsigned);
        } else if let Some(negative) = number.as_i64() {
            self.byte(NEGATIVE);
            self.number((!negative).cast_unsigned());
        }
    }
}

impl Reader<'_> {
    pub(super) fn value(&mut self) -> Result<Value, WireError> {
        self.nested(WIRE_DEPTH_MAX)
    }

    fn nested(&mut self, depth: usize) -> Result<Value, WireError> {
        Ok(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            UNSIGNED => Value::from(self.number()?),
            NEGATIVE => {
                let complement = i64::try_from(self.number()?);
                Value::from(!complement.map_err(|_| WireError::Invalid("number"))?)
            }
            FLOAT => Value::from(f64::from_bits(self.fixed()?)),
            STRING => Value::from(self.text()?),
            BINARY => Value::Binary(Bytes::copy_from_slice(self.data()?)),
            ARRAY => {
                let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
                Value::Array(self.list(|input| input.nested(depth))?)
            }
            OBJECT => {
                let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
                let entry = |input: &mut Self| Ok((input.text()?.to_owned(), input.nested(depth)?));
                Value::Object(self.list(entry)?)
            }
            _ => return Err(WireError::Invalid("kind of value")),
        })
    }
}
