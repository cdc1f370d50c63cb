//! Rust source as text, for rules that need to know a little more than words.
//!
//! No parser: comments and literals are blanked out, then words are looked for and braces matched.

use std::ops::Range;

/// The code with the insides of comments and literals replaced by spaces. Newlines stay, so
/// lines keep their numbers.
pub(super) fn blank(content: &str) -> String {
    let mut out = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(first) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let length = literal_length(rest, after_word);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (inside, behind) = rest.split_at(length);
            out.extend(inside.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = behind;
        }
    }
    out
}

/// The length in bytes of the comment or literal at the start of `text`, 0 if there is none.
/// `after_word` says that a word goes on here, so that an `r` is no raw string's.
fn literal_length(text: &str, after_word: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    if text.starts_with('\'') {
        return character(text);
    }
    if after_word { 0 } else { raw_string(text) }
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A literal in quotes, the first character being the opening one.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => quoted(text, '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// A raw string such as `r"…"`, `r#"…"#`, `br"…"` or `cr"…"`.
fn raw_string(text: &str) -> usize {
    let letters = ["r", "br", "cr"].into_iter().find(|letters| {
        text.strip_prefix(letters).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    });
    let Some(letters) = letters else { return 0 };
    let hashes = text[letters.len()..].chars().take_while(|c| *c == '#').count();
    let start = letters.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    text[start..].find(&close).map_or(text.len(), |at| start + at + close.len())
}

/// Whether a name can have this character.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The number of a position's line, counted from 1.
pub(super) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Whether a file holds nothing but tests, by its name.
pub(super) fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "tests.rs" || name.ends_with("_tests.rs") || path.contains("/tests/")
}

/// Blanked code with the items that only tests have blanked out too.
pub(super) fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let end = at + MARK.len() + item_end(&rest[at + MARK.len()..]);
        out.push_str(&rest[..at]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

/// Where an item ends: behind its semicolon or its closing brace.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The next word in blanked code from a position on.
pub(super) fn next_word(code: &str, from: usize) -> Option<Range<usize>> {
    let start = from + code[from..].find(is_word)?;
    let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |end| start + end);
    Some(start..end)
}

/// The names of the path that starts at a position: `a::b::c`.
pub(super) fn path_at(code: &str, start: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = &code[start..];
    loop {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if end == 0 {
            return names;
        }
        names.push(rest[..end].to_owned());
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => return names,
        }
    }
}

/// The names of the modules written out around a position, from the outside in.
pub(super) fn modules_around(code: &str, at: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut from = 0;
    while let Some(word) = next_word(code, from).filter(|word| word.start < at) {
        from = word.end;
        if &code[word] != "mod" {
            continue;
        }
        let Some(name) = next_word(code, from) else { break };
        from = name.end;
        let inside =
            code[from..].trim_start().starts_with('{') && from + item_end(&code[from..]) > at;
        if inside {
            names.push(code[name].to_owned());
        }
    }
    names
}

/// The parts between the commas that are in no braces.
pub(super) fn split_outside_braces(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let at_comma = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(at_comma).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        assert_eq!(blank("a // {\nb"), "a     \nb");
        assert_eq!(blank("/* { /* } */ { */ x"), format!("{}x", " ".repeat(18)));
        let gaps = |lengths: [usize; 4]| lengths.map(|length| " ".repeat(length));
        let [text, brace, quote, byte] = gaps([6, 3, 4, 3]);
        assert_eq!(
            blank(r#"f("}\"{", '{', '\'', b'}')"#),
            format!("f({text}, {brace}, {quote}, b{byte})")
        );
        assert_eq!(
            blank("r#\"{\"}\"# + br\"}\""),
            format!("{} + {}", " ".repeat(8), " ".repeat(5))
        );
        assert_eq!(
            blank("fn f<'a>(x: &'a str) -> &'a str {}"),
            "fn f<'a>(x: &'a str) -> &'a str {}"
        );
        assert_eq!(blank("var\"x\""), "var   ");
    }

    #[test]
    fn what_only_tests_have_is_blanked_with_its_lines_kept() {
        let code = "use a;\n#[cfg(test)]\nuse b;\n#[cfg(test)]\n#[path = x]\nmod tests {\n {}\n}\nfn c() {}\n";
        let left = without_tests(code);
        let words: Vec<&str> = left.split_whitespace().collect();
        assert_eq!(words, ["use", "a;", "fn", "c()", "{}"]);
        assert_eq!(left.lines().count(), code.lines().count());
    }

    #[test]
    fn modules_around_a_place_are_named() {
        let code = "mod a;\nmod b { mod c { x } y }\nz";
        let around = |word| modules_around(code, code.find(word).expect("a word"));
        assert_eq!(around("x"), ["b", "c"]);
        assert_eq!(around("y"), ["b"]);
        assert!(around("z").is_empty());
    }
}
