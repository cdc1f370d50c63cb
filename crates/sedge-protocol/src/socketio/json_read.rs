//! JSON as JavaScript reads it, where `serde_json` and the types of Rust are stricter: a number beyond the
//! range of doubles is infinite, a whole number is an integer however it is written (`3.0`, `1e3`), and half
//! of a surrogate pair is U+FFFD.
//!
//! It is the second look at what could not be read at first, so it need not be fast. The text was scanned
//! before and is well-formed; if it is not, there is no value, and never a panic.

use memchr::memchr2;

use super::number::Number;
use super::surrogates::replace_lone_surrogates;
use super::value::Value;
use crate::limits::DEPTH_MAX;

/// The value of a JSON text, and whether it differs from what `serde_json` makes of it. `None` if it is
/// nested deeper than [`DEPTH_MAX`], or malformed.
pub(super) fn read(json: &str) -> Option<(Value, bool)> {
    let mut reader = Reader { rest: json, differs: false };
    let value = reader.value(DEPTH_MAX)?;
    Some((value, reader.differs))
}

struct Reader<'a> {
    rest: &'a str,
    differs: bool,
}

impl<'a> Reader<'a> {
    /// The next value, in which `depth` more containers may be opened inside each other.
    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.peek()? {
            b'[' => self.array(depth.checked_sub(1)?),
            b'{' => self.object(depth.checked_sub(1)?),
            b'"' => self.string().map(Value::String),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest.bytes().next()
    }

    /// Takes this many bytes.
    fn take(&mut self, len: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Takes the next byte that is no white space.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.take(1)?;
        Some(byte)
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        (self.take(word.len())? == word).then_some(value)
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut elements = Vec::new();
        self.next()?;
        if self.peek()? == b']' {
            self.next()?;
            return Some(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            match self.next()? {
                b',' => {}
                b']' => return Some(Value::Array(elements)),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut entries = Vec::new();
        self.next()?;
        if self.peek()? == b'}' {
            self.next()?;
            return Some(Value::Object(entries));
        }
        loop {
            let key = if self.peek()? == b'"' { self.string()? } else { return None };
            if self.next()? != b':' {
                return None;
            }
            entries.push((key, self.value(depth)?));
            match self.next()? {
                b',' => {}
                b'}' => return Some(Value::Object(entries)),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        loop {
            end += memchr2(b'"', b'\\', bytes.get(end..)?)?;
            match bytes.get(end)? {
                b'"' => break,
                _ => end += 2,
            }
        }
        let text = self.take(end + 1)?;
        serde_json::from_str(text).ok().or_else(|| {
            self.differs = true;
            serde_json::from_str(&replace_lone_surrogates(text)?).ok()
        })
    }

    fn number(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ']', '}', ' ', '\t', '\r', '\n']);
        let text = self.take(end.unwrap_or(self.rest.len()))?;
        let whole = text.parse::<u64>().map(Number::from);
        let whole = whole.or_else(|_| text.parse::<i64>().map(Number::from));
        if let Ok(whole) = whole {
            return Some(Value::Number(whole));
        }
        let float: f64 = text.parse().ok()?;
        let mut number = Number::from(float);
        self.differs |= number.make_whole() || float.is_infinite();
        Some(Value::Number(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read and how it shows; `None` if nothing is.
    fn shown(json: &str) -> Option<(String, bool)> {
        read(json).map(|(value, differs)| (format!("{value:?}"), differs))
    }

    #[test]
    fn what_serde_json_reads_is_read_alike() {
        let texts = [
            "null",
            " [ ] ",
            "{ }",
            "[1,-2,0.5,-1.25e-3,18446744073709551615,-9223372036854775808]",
            r#"{"a":{"b":[true,false,null]},"a":"again","\u00fc\"\\":""}"#,
            "[\t1\r\n,\n2 ]",
            r#""\ud83d\ude00 \\" "#,
        ];
        for text in texts {
            let (value, differs) = read(text).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
            assert!(!differs, "{text}");
        }
    }

    #[test]
    fn numbers_and_halves_of_emoji_are_as_in_javascript() {
        let cases = [
            ("3.0", "Number(3)"),
            ("-3.0", "Number(-3)"),
            ("1e3", "Number(1000)"),
            ("1e400", "Number(inf)"),
            ("-1e400", "Number(-inf)"),
            (r#""\ud83d""#, "String(\"\u{fffd}\")"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), Some((expected.to_owned(), true)), "{text}");
        }
        let digits = "9".repeat(400);
        assert_eq!(shown(&digits), Some(("Number(inf)".to_owned(), true)));
        // Too large for an integer, and small enough for a double.
        assert_eq!(shown("1e300"), Some(("Number(1e300)".to_owned(), false)));
    }

    #[test]
    fn what_is_malformed_or_too_deep_has_no_value() {
        for text in
            ["", "[", "[1", "[1;2]", "{1:2}", r#"{"a"1}"#, r#"{"a":1"#, r#""a"#, "tru", "-", "x"]
        {
            assert_eq!(shown(text), None, "{text}");
        }
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(DEPTH_MAX)).is_some());
        assert!(read(&nested(DEPTH_MAX + 1)).is_none());
        assert!(read(&nested(1_000_000)).is_none());
    }
}
