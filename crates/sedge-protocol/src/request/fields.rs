//! What several header lines of one name mean.
//!
//! Lines of a list are one list (RFC 9110 §5.3). Other headers may stand there once; the rules for those
//! that stand there twice are those of Node.js, so that applications see what they would see there.

use std::borrow::Cow;

/// Headers of which the first line counts. A list of two dates or two user agents is none.
const SINGLE: [&[u8]; 18] = [
    b"age",
    b"authorization",
    b"content-length",
    b"content-type",
    b"etag",
    b"expires",
    b"from",
    b"host",
    b"if-modified-since",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"max-forwards",
    b"proxy-authorization",
    b"referer",
    b"retry-after",
    b"server",
    b"user-agent",
];

/// What stands between the values of two lines of this name, which is in any case. `None` if only the
/// first line counts.
pub fn separator(name: &[u8]) -> Option<&'static [u8]> {
    // RFC 6265 §5.4 has one line; HTTP/2 splits it.
    if name.eq_ignore_ascii_case(b"cookie") {
        return Some(b"; ");
    }
    let single = SINGLE.iter().any(|known| known.eq_ignore_ascii_case(name));
    (!single).then_some(b", ")
}

/// The values of all lines of one name as one; `None` if there are none. One line is not copied.
pub fn join<'a>(name: &[u8], values: impl IntoIterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let mut values = values.into_iter();
    let mut joined = Cow::Borrowed(values.next()?);
    if let Some(separator) = separator(name) {
        for value in values {
            let joined = joined.to_mut();
            joined.extend_from_slice(separator);
            joined.extend_from_slice(value);
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined<'a>(name: &str, values: &[&'a str]) -> Option<Cow<'a, str>> {
        let values = values.iter().map(|value| value.as_bytes());
        Some(String::from_utf8_lossy(&join(name.as_bytes(), values)?).into_owned().into())
    }

    #[test]
    fn lines_of_a_list_are_one_list() {
        assert_eq!(joined("accept", &[]), None);
        assert_eq!(joined("Accept", &["a"]).as_deref(), Some("a"));
        assert_eq!(joined("X-Forwarded-For", &["a", "b, c", ""]).as_deref(), Some("a, b, c, "));
        assert_eq!(joined("Cookie", &["a=b", "c=d; e=f"]).as_deref(), Some("a=b; c=d; e=f"));
    }

    #[test]
    fn of_what_is_no_list_the_first_line_counts() {
        for name in ["Host", "user-agent", "Authorization", "CONTENT-TYPE"] {
            assert_eq!(joined(name, &["a", "b"]).as_deref(), Some("a"), "{name}");
        }
    }
}
