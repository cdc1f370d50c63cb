//! What a Rust file must look like: an opening paragraph, and nothing too long.
//!
//! No parser: comments and literals are blanked out, then braces are matched. That finds every
//! function that is written out; what macros make is not seen.

use super::{Finding, Kind};

const FILE_LINES: usize = 800;
const FUNCTION_LINES: usize = 70;
/// A file that a program wrote says so near its top.
const GENERATED: &str = "@generated";

/// Checks one file.
pub(super) fn check(path: &str, content: &str, findings: &mut Vec<Finding>) {
    if content.lines().take(5).any(|line| line.contains(GENERATED)) {
        return;
    }
    let mut report = |line, kind| findings.push(Finding { path: path.to_owned(), line, kind });
    if !content.lines().find(|line| !line.trim().is_empty()).is_some_and(opens_well) {
        report(1, Kind::Other("does not open with a `//!` paragraph".to_owned()));
    }
    let code = blank(content);
    let lines = lines_without_tests(&code);
    if lines > FILE_LINES {
        report(1, Kind::TooLong { function: None, lines, limit: FILE_LINES });
    }
    for function in functions(&code) {
        if function.lines > FUNCTION_LINES {
            let kind = Kind::TooLong {
                function: Some(function.name),
                lines: function.lines,
                limit: FUNCTION_LINES,
            };
            report(function.line, kind);
        }
    }
}

fn opens_well(line: &str) -> bool {
    line.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty())
}

/// The number of lines before a test module that ends the file.
fn lines_without_tests(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let marked = lines.iter().rposition(|line| line.trim_end() == "#[cfg(test)]");
    let Some(at) = marked else { return lines.len() };
    let opens = lines.get(at + 1).is_some_and(|line| line.starts_with("mod tests {"));
    let is_last = lines.iter().skip(at + 2).position(|line| line.starts_with('}'));
    match is_last {
        Some(end) if opens && lines.iter().skip(at + 3 + end).all(|l| l.trim().is_empty()) => at,
        _ => lines.len(),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    /// Where `fn` stands, counted from 1.
    line: usize,
    /// From `fn` to the closing brace, both included.
    lines: usize,
}

/// The functions with a body in blanked code.
fn functions(code: &str) -> Vec<Function> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let signature = code[at + 3..].trim_start();
        let name: String = signature.chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[at..]) {
            let newlines = |text: &str| text.matches('\n').count();
            let (line, lines) = (newlines(&code[..at]) + 1, newlines(&code[at..at + end]) + 1);
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// Where the body ends that follows the signature at the start of `code`; none if the
/// declaration ends with a semicolon, as in a trait.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0_usize, 0_usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            ';' if round == 0 && curly == 0 => return None,
            '{' => curly += 1,
            '}' => {
                curly = curly.saturating_sub(1);
                // Braces within brackets of the signature are const generics, no body.
                if curly == 0 && round == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The code with the insides of comments and literals replaced by spaces. Newlines stay, so
/// lines keep their numbers.
fn blank(content: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(content: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check("a.rs", content, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

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
    fn functions_are_measured_from_signature_to_closing_brace() {
        let code = "trait T {\n    fn none(a: [u8; 4]) -> u8;\n}\n\nfn one(\n    a: [u8; 4],\n) -> u8\n{\n    \
            if true { 1 } else { 2 }\n}\n\nconst fn two() {}\ntype F = fn (u8);\n";
        let wanted = [("one", 5, 6), ("two", 12, 1)];
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(name, line, lines)| Function { name: name.to_owned(), line, lines })
            .collect();
        assert_eq!(functions(&blank(code)), wanted);
    }

    #[test]
    fn a_long_function_is_reported_with_its_name() {
        let body = |lines| format!("//! Doc.\nfn long() {{\n{}}}\n", "    step();\n".repeat(lines));
        assert!(findings(&body(FUNCTION_LINES - 2)).is_empty());
        let words = findings(&body(FUNCTION_LINES - 1));
        assert_eq!(words, ["a.rs:2: function `long` has 71 lines, more than 70"]);
    }

    #[test]
    fn a_closing_test_module_does_not_count_to_the_length_of_a_file() {
        let code = "const A: u8 = 0;\n".repeat(FILE_LINES - 1);
        let tests = "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
        assert!(findings(&format!("//! Doc.\n{code}{tests}")).is_empty());
        assert_eq!(findings(&format!("//! Doc.\n{code}const B: u8 = 0;\n")).len(), 1);
        assert_eq!(findings(&format!("//! Doc.\n{code}{tests}const B: u8 = 0;\n")).len(), 1);
    }

    #[test]
    fn a_file_opens_with_what_it_is_for() {
        assert!(findings("//! Doc.\n").is_empty());
        assert_eq!(findings("//!\nuse a;\n").len(), 1);
        assert_eq!(findings("use a;\n").len(), 1);
        assert!(findings("// @generated by protoc\nuse a;\n").is_empty());
    }
}
