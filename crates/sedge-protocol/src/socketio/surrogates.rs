//! Halves of characters, which JavaScript strings can hold and Rust strings cannot.

use memchr::memchr;

/// Replaces every surrogate that has no partner, spelled `\ud800` or the like, by `\ufffd`; `None`
/// if there is none. JavaScript sends such halves when it cuts a text inside an emoji, and no
/// Rust string can hold them. The length and all offsets stay the same.
pub(super) fn replace_lone_surrogates(json: &str) -> Option<String> {
    let mut repaired = String::with_capacity(json.len());
    let mut changed = false;
    let mut rest = json;
    // A backslash in JSON always starts an escape inside a string.
    while let Some(start) = memchr(b'\\', rest.as_bytes()) {
        let (before, escape) = rest.split_at(start);
        repaired.push_str(before);
        let next = escape.get(6..).and_then(escaped_unit);
        let low_follows = matches!(next, Some(0xdc00..0xe000));
        let (len, replacement) = match escaped_unit(escape) {
            Some(0xd800..0xdc00) if low_follows => (12, None),
            Some(0xd800..0xe000) => (6, Some("\\ufffd")),
            _ => (2, None),
        };
        let (escape, after) = escape.split_at_checked(len).unwrap_or((escape, ""));
        changed |= replacement.is_some();
        repaired.push_str(replacement.unwrap_or(escape));
        rest = after;
    }
    repaired.push_str(rest);
    changed.then_some(repaired)
}

/// The UTF-16 unit of the escape `\uXXXX` at the start of `text`.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}
