//! Words that no file may have: leftovers, paths of one machine, registries that others lack.

use super::finding::{Finding, Kind};

/// Leftovers, matched as whole words. Put together here so that this file passes its own check.
const LEFTOVERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!(")];

/// The beginnings of absolute paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/tmp", "/target"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];

/// Where a lock file may say that a package comes from.
const ORIGINS: [&str; 2] =
    ["https://registry.npmjs.org/", "registry+https://github.com/rust-lang/crates.io-index"];

/// Settings that redirect a package manager to a registry of one's own.
const REDIRECTS: [&str; 4] = ["--index-url", "--extra-index-url", "--find-links", "registry="];

/// Checks every line of a text file.
pub(super) fn check(path: &str, content: &str, findings: &mut Vec<Finding>) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let lock = ["package-lock.json", "Cargo.lock"].contains(&name);
    let settings = [".npmrc", "requirements.txt"].contains(&name);
    for (index, line) in content.lines().enumerate() {
        let mut report = |text: String| {
            findings.push(Finding {
                path: path.to_owned(),
                line: index + 1,
                kind: Kind::Other(text),
            });
        };
        if lock {
            if let Some(origin) = foreign_origin(line) {
                report(format!("a package from {origin}, not from a public registry"));
            }
            continue;
        }
        for word in LEFTOVERS.into_iter().filter(|word| has_word(line, word)) {
            report(format!("a leftover: {word}"));
        }
        for start in MACHINE_PATHS.into_iter().filter(|start| has_path(line, start)) {
            report(format!("a path of one machine: {start}"));
        }
        if settings && REDIRECTS.iter().any(|setting| line.contains(setting)) {
            report("a registry of one's own".to_owned());
        }
    }
}

/// True if `word` stands in the line with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        // What ends in punctuation ends the word itself.
        let closed = !word.ends_with(part_of_word) || !after.is_some_and(part_of_word);
        closed && !before.is_some_and(part_of_word)
    })
}

/// True if a path starting so stands in the line; `a/b` in the middle of another path does not count.
fn has_path(line: &str, start: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "._-~/*{}$@".contains(c);
    line.match_indices(start).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

/// The origin that a line of a lock file names, unless it is a public registry.
fn foreign_origin(line: &str) -> Option<&str> {
    let line = line.trim();
    let value = line.strip_prefix("\"resolved\":").or_else(|| line.strip_prefix("source = "))?;
    let origin = value.trim().trim_end_matches(',').trim_matches('"');
    (!ORIGINS.iter().any(|known| origin.starts_with(known))).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, content: &str) -> usize {
        let mut findings = Vec::new();
        check(path, content, &mut findings);
        findings.len()
    }

    #[test]
    fn leftovers_are_whole_words() {
        let note = LEFTOVERS[0];
        assert_eq!(count("a.rs", &format!("// {note}: later\n")), 1);
        assert_eq!(count("a.rs", &format!("const MAS{note}NS: u8 = 0;\n")), 0);
        assert_eq!(count("a.rs", &format!("let x = {}x);\n", LEFTOVERS[2])), 1);
        assert_eq!(count("a.rs", &format!("my_{}x);\n", LEFTOVERS[2])), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found_only_where_they_start() {
        let path = MACHINE_PATHS[0];
        assert_eq!(count("a.md", &format!("see `{path}main`\n")), 1);
        assert_eq!(count("a.md", &format!("see docs{path}flow.md\n")), 0);
    }

    #[test]
    fn lock_files_name_public_registries_only() {
        let npm = |host| format!("      \"resolved\": \"https://{host}/ws/-/ws-8.tgz\",\n");
        assert_eq!(count("web/package-lock.json", &npm("registry.npmjs.org")), 0);
        assert_eq!(count("web/package-lock.json", &npm("mirror.example")), 1);
        let cargo = "source = \"git+https://example.org/x\"\n";
        assert_eq!(count("Cargo.lock", cargo), 1);
        assert_eq!(count("a/.npmrc", "registry=https://mirror.example/\n"), 1);
    }
}
