//! Relative links in Markdown must lead to a file or folder of the workspace.

use std::path::Path;

use super::finding::{Finding, Kind};

/// Checks every link outside of code.
pub(super) fn check(root: &Path, path: &str, content: &str, findings: &mut Vec<Finding>) {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    for (line, target) in links(content) {
        let file = target.split(['#', '?']).next().unwrap_or("");
        if file.is_empty() || is_address(file) {
            continue;
        }
        // A leading slash means the workspace's root, as on the code host.
        let there = match file.strip_prefix('/') {
            Some(from_root) => root.join(from_root),
            None => root.join(folder).join(file),
        };
        if !there.exists() {
            let kind = Kind::Other(format!("the link to {target} leads nowhere"));
            findings.push(Finding { path: path.to_owned(), line, kind });
        }
    }
}

/// True for what has a scheme, such as `https:` or `mailto:`.
fn is_address(target: &str) -> bool {
    target.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// The targets of `[text](target)`, `![text](target)` and `[name]: target`, with their lines
/// counted from 1. Fenced blocks and code spans are left out.
fn links(content: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in content.lines().enumerate() {
        let start = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| start.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            (None, None) => {
                found.extend(in_line(line).into_iter().map(|target| (index + 1, target)));
            }
            _ => {}
        }
    }
    found
}

fn in_line(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut targets = Vec::new();
    if let Some(definition) = line.trim_start().strip_prefix('[')
        && let Some((name, target)) = definition.split_once("]:")
        && !name.contains(']')
        && !name.starts_with('^')
    {
        targets.extend(first_word(target));
    }
    for (at, mark) in line.match_indices("](") {
        let rest = &line[at + mark.len()..];
        let inner = rest.split(')').next().unwrap_or("");
        targets.extend(first_word(inner));
    }
    targets
}

/// The target without a title and angle brackets.
fn first_word(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    Some(word.trim_matches(['<', '>']).to_owned())
}

/// The line with code spans blanked out. A backtick without a partner is plain text.
fn without_code(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('`') {
        out.push_str(before);
        match after.split_once('`') {
            Some((_, behind)) => rest = behind,
            None => rest = after,
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_every_form_and_not_in_code() {
        let text = "See [a](x.md#part \"title\") and ![p](<img/p.png>).\n\
            `[code](no.md)` but [two](b.md), [three](c.md)\n\
            ```\n[fenced](no.md)\n```\n[ref]: d.md\n[^1]: a foot note\n";
        let wanted = [(1, "x.md#part"), (1, "img/p.png"), (2, "b.md"), (2, "c.md"), (6, "d.md")];
        let wanted: Vec<_> = wanted.into_iter().map(|(l, t)| (l, t.to_owned())).collect();
        assert_eq!(links(text), wanted);
    }

    #[test]
    fn only_relative_links_to_nothing_are_reported() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "[a](main.rs) [b](none.rs) [c](/Cargo.toml) [d](https://example.org/) [e](#here) \
            [f](mailto:a@example.org) [g](../src/tidy)\n";
        let mut findings = Vec::new();
        check(root, "src/page.md", text, &mut findings);
        let words: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["src/page.md:1: the link to none.rs leads nowhere"]);
    }
}
