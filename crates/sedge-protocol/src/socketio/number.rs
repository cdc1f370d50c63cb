//! Numbers of dynamic values. JavaScript has one kind, but whole numbers beyond 2^53 travel
//! unharmed between peers that are not written in it, so three are kept apart here.

use std::fmt;

/// A number: a whole number from -2^63 to 2^64 - 1, or a double.
///
/// A whole number and a double are never equal here, even if JavaScript would not see a difference.
#[derive(Clone, Copy, PartialEq)]
pub struct Number(Repr);

#[derive(Clone, Copy, PartialEq)]
enum Repr {
    Unsigned(u64),
    /// Always below zero, so that every whole number has one form only.
    Negative(i64),
    Float(f64),
}

/// The doubles that are whole numbers of 64 bits with a sign: from the first of these up to the second.
const I64_MIN: f64 = -9_223_372_036_854_775_808.0;
const I64_END: f64 = -I64_MIN;

impl Number {
    /// The number, if it is whole and fits; a double may be whole too.
    pub fn as_u64(&self) -> Option<u64> {
        match self.whole().0 {
            Repr::Unsigned(n) => Some(n),
            _ => None,
        }
    }

    /// The number, if it is whole and fits; a double may be whole too.
    pub fn as_i64(&self) -> Option<i64> {
        match self.whole().0 {
            Repr::Unsigned(n) => i64::try_from(n).ok(),
            Repr::Negative(n) => Some(n),
            Repr::Float(_) => None,
        }
    }

    /// Turns a double that is a whole number of 64 bits into an integer, as `3.0` is `3` to JavaScript;
    /// returns whether it was one.
    pub(super) fn make_whole(&mut self) -> bool {
        match self.0 {
            Repr::Float(n) if n.fract() == 0.0 && (I64_MIN..I64_END).contains(&n) => {
                *self = Self::from(n as i64);
                true
            }
            _ => false,
        }
    }

    /// The same number as an integer, where nothing is lost by that: an integer has no negative zero.
    fn whole(mut self) -> Self {
        if self.as_f64().to_bits() != (-0.0_f64).to_bits() {
            self.make_whole();
        }
        self
    }

    /// Whether it is kept as a double, as `3.0` and `-0.0` are too.
    pub fn is_double(&self) -> bool {
        matches!(self.0, Repr::Float(_))
    }

    /// The number as a double; whole numbers beyond 2^53 are rounded.
    pub fn as_f64(&self) -> f64 {
        match self.0 {
            Repr::Unsigned(n) => n as f64,
            Repr::Negative(n) => n as f64,
            Repr::Float(n) => n,
        }
    }

    /// The text that JavaScript's `String(n)` gives, except that whole numbers keep all digits.
    pub fn to_js_string(&self) -> String {
        match self.0 {
            Repr::Unsigned(n) => n.to_string(),
            Repr::Negative(n) => n.to_string(),
            Repr::Float(n) => float_to_js_string(n),
        }
    }
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self(Repr::Unsigned(n))
    }
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        Self(u64::try_from(n).map_or(Repr::Negative(n), Repr::Unsigned))
    }
}

impl From<f64> for Number {
    fn from(n: f64) -> Self {
        Self(Repr::Float(n))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Unsigned(n) => n.fmt(f),
            Repr::Negative(n) => n.fmt(f),
            Repr::Float(n) => n.fmt(f),
        }
    }
}

impl serde::Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Repr::Unsigned(n) => serializer.serialize_u64(n),
            Repr::Negative(n) => serializer.serialize_i64(n),
            Repr::Float(n) => serializer.serialize_f64(n),
        }
    }
}

/// The whole number that a double stands for, as far as doubles can tell whole numbers apart.
#[expect(clippy::cast_sign_loss, reason = "the range was checked")]
pub(super) fn whole(n: f64) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    (n.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&n)).then_some(n as u64)
}

/// ECMAScript's `Number::toString`: the shortest digits that read back as the same double, plain
/// from 1e-7 to 1e21 and with an exponent beyond.
pub(super) fn float_to_js_string(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if n == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&n.abs()) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_javascript() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e30, "-1.25e+30"),
            (0.000_001, "0.000001"),
            (0.000_000_1, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (n, text) in cases {
            assert_eq!(float_to_js_string(n), text);
        }
    }

    #[test]
    fn whole_numbers_have_one_form() {
        assert_eq!(Number::from(5_i64), Number::from(5_u64));
        assert_eq!(Number::from(-5_i64).as_i64(), Some(-5));
        assert_eq!(Number::from(u64::MAX).as_i64(), None);
        assert_eq!(Number::from(1.0).as_i64(), Some(1));
        assert_eq!(Number::from(0.0).as_u64(), Some(0));
        assert_eq!(Number::from(-0.0).as_i64(), None, "the sign would be lost");
        assert!(Number::from(1.0).is_double() && !Number::from(1_u64).is_double());
        assert_eq!(Number::from(-1.0).as_u64(), None);
        assert_eq!(Number::from(1.5).as_i64(), None);
        assert_eq!(Number::from(I64_MIN).as_i64(), Some(i64::MIN));
        assert_eq!(Number::from(I64_END).as_i64(), None);
        assert_eq!(Number::from(f64::INFINITY).as_u64(), None);
    }
}
