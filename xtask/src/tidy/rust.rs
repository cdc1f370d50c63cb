//! What a Rust file must look like: an opening paragraph, and nothing too long.
//!
//! Braces are matched in blanked code. That finds every function that is written out; what macros make
//! is not seen.

use super::finding::{Finding, Kind};
use super::source::{blank, is_word, line_of};

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
            let (line, lines) = (line_of(code, at), line_of(&code[at..], end));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(content: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check("a.rs", content, &mut findings);
        findings.iter().map(ToString::to_string).collect()
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
