//! JSONP polling: payloads as script calls and form fields, for clients without XHR and CORS.
//!
//! A poll is answered with a call of the client's function, `___eio[N]("<payload>");`. A message is
//! sent as a form whose field `d` holds the payload, its newlines escaped, because browsers change
//! newlines in forms.

use crate::limits::MAX_FORM_FIELDS;

/// Content type of a JSONP response. The official server says `text/plain`, which browsers refuse
/// to run as a script under `X-Content-Type-Options: nosniff`.
pub const CONTENT_TYPE: &str = "text/javascript; charset=UTF-8";

/// The response that hands `payload` (a text form, UTF-8) to the function number `j` of the client.
///
/// Of the query value `j` only the digits are used, so that no script can be injected; without any,
/// the index is empty, as in the official server.
pub fn encode_response(j: &str, payload: &[u8]) -> Vec<u8> {
    let mut script = Vec::with_capacity(payload.len() + payload.len() / 8 + 32);
    script.extend_from_slice(b"___eio[");
    script.extend(j.bytes().filter(u8::is_ascii_digit));
    script.extend_from_slice(b"](");
    write_string(payload, &mut script);
    script.extend_from_slice(b");");
    script
}

/// Appends `text` (UTF-8) as a string literal that is valid JSON and valid JavaScript: as
/// `JSON.stringify` writes it, and with U+2028 and U+2029 escaped, which older scripts take for
/// line ends.
pub(super) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut plain = 0;
    let mut index = 0;
    while let Some(&byte) = text.get(index) {
        let mut length = 1;
        let unicode;
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            0x09 => b"\\t",
            0x0a => b"\\n",
            0x0c => b"\\f",
            0x0d => b"\\r",
            0x00..0x20 => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                unicode = [b'\\', b'u', b'0', b'0', high, low];
                &unicode
            }
            0xe2 if text[index..].starts_with("\u{2028}".as_bytes()) => {
                length = 3;
                b"\\u2028"
            }
            0xe2 if text[index..].starts_with("\u{2029}".as_bytes()) => {
                length = 3;
                b"\\u2029"
            }
            _ => {
                index += 1;
                continue;
            }
        };
        out.extend_from_slice(&text[plain..index]);
        out.extend_from_slice(escape);
        index += length;
        plain = index;
    }
    out.extend_from_slice(&text[plain..]);
    out.push(b'"');
}

/// The payload in a form body (`d=<percent-encoded payload>`), unescaped and ready for the decoder
/// of the session's version. It can be up to three times as long as the body, if that is full of
/// broken UTF-8.
///
/// `None` without a field `d`, or with two: the official server answers such a request `ok` and
/// ignores it.
pub fn decode_request(body: &[u8]) -> Option<String> {
    let mut values = body
        .split(|&byte| byte == b'&')
        .filter(|field| !field.is_empty())
        .take(MAX_FORM_FIELDS)
        .filter_map(|field| {
            let end = memchr::memchr(b'=', field).unwrap_or(field.len());
            let is_data = percent_decode(&field[..end]) == b"d";
            is_data.then(|| field.get(end + 1..).unwrap_or_default())
        });
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let unescaped = unescape_newlines(&percent_decode(value));
    // Like Node, broken UTF-8 becomes U+FFFD instead of an error.
    Some(
        String::from_utf8(unescaped)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Decodes `%HH` and `+`. What only looks like an escape stays as it is, as in Node's `querystring`.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(*first),
        }
    }
    out
}

fn hex_value(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// Undoes the client's escaping: `\n` (backslash, n) is a newline, `\\n` is `\n`. Every other
/// backslash stands for itself. One pass has the effect of the official server's two replacements,
/// since a newline made by the first never takes part in the second.
fn unescape_newlines(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(index);
        out.extend_from_slice(plain);
        rest = match escape {
            [b'\\', b'\\', b'n', after @ ..] => {
                out.extend_from_slice(b"\\n");
                after
            }
            [b'\\', b'n', after @ ..] => {
                out.push(b'\n');
                after
            }
            _ => {
                out.push(b'\\');
                &escape[1..]
            }
        };
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected values of this module come from the JSONP transport of engine.io 6.6.11.

    fn response(j: &str, payload: &str) -> String {
        String::from_utf8(encode_response(j, payload.as_bytes())).unwrap()
    }

    #[test]
    fn responses_are_scripts() {
        assert_eq!(response("0", "4hello"), r#"___eio[0]("4hello");"#);
        assert_eq!(response("12x3');alert(1)//", "4"), r#"___eio[1231]("4");"#);
        assert_eq!(response("", r#""\/"#), r#"___eio[]("\"\\/");"#);
        assert_eq!(response("1", "</script>"), r#"___eio[1]("</script>");"#);
        assert_eq!(
            response("7", "\x08\t\n\x0c\r\0\x1f\x1e\x7f"),
            "___eio[7](\"\\b\\t\\n\\f\\r\\u0000\\u001f\\u001e\x7f\");"
        );
        assert_eq!(
            response("1", "\u{2028}a\u{2029}\u{e9}\u{20ac}\u{1f600}\u{2027}\u{202a}"),
            "___eio[1](\"\\u2028a\\u2029\u{e9}\u{20ac}\u{1f600}\u{2027}\u{202a}\");"
        );
    }

    /// Whatever the payload holds, the client's JSON or JavaScript parser gets it back.
    #[test]
    fn strings_are_json() {
        let every: String = (0..0x3000).filter_map(char::from_u32).collect();
        let mut literal = Vec::new();
        write_string(every.as_bytes(), &mut literal);
        assert_eq!(serde_json::from_slice::<String>(&literal).unwrap(), every);
    }

    #[test]
    fn newlines_are_unescaped() {
        for (body, payload) in [
            ("d=4a", "4a"),
            ("d=4a%5Cnb", "4a\nb"),
            ("d=4a%5C%5Cnb", "4a\\nb"),
            ("d=%5C%5C%5Cn", "\\\\n"),
            ("d=%5C%5C%5C%5Cn", "\\\\\\n"),
            ("d=%5C%5Cn%5Cn%5C%5C%5Cnn", "\\n\n\\\\nn"),
            ("d=%5C", "\\"),
            ("d=%5Cx%5C%5C", "\\x\\\\"),
            ("d=a%0Ab", "a\nb"),
            ("d=%5C%0An", "\\\nn"),
        ] {
            assert_eq!(decode_request(body.as_bytes()).as_deref(), Some(payload), "{body}");
        }
    }

    #[test]
    fn forms_are_read_as_node_reads_them() {
        for (body, payload) in [
            ("d=a+b%2Bc", Some("a b+c")),
            ("d=a%zz%41", Some("a%zzA")),
            ("d=%", Some("%")),
            ("d=%4", Some("%4")),
            ("d=%E2%82%AC%f0%9f%98%80", Some("\u{20ac}\u{1f600}")),
            ("d=%E2%82", Some("\u{fffd}")),
            ("d=a=b", Some("a=b")),
            ("d", Some("")),
            ("d=", Some("")),
            ("%64=q", Some("q")),
            ("x=1&d=2&y=3", Some("2")),
            ("&&d=1&", Some("1")),
            ("d=1&d=2", None),
            ("D=1", None),
            ("=d", None),
            ("x=1", None),
            ("", None),
        ] {
            assert_eq!(decode_request(body.as_bytes()).as_deref(), payload, "{body}");
        }
        let late = "x=1&".repeat(MAX_FORM_FIELDS) + "d=1";
        assert_eq!(decode_request(late.as_bytes()), None);
    }
}
