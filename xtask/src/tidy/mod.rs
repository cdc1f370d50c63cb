//! `cargo xtask tidy`: the rules of the source that neither compiler nor linter checks.
//!
//! - every Rust file opens with a `//!` paragraph (generated files say `@generated`)
//! - files have at most 800 lines (not counting a test module at the end), functions at most 70;
//!   what is longer stands in `xtask/tidy-allow.txt` with its length, which may only shrink
//! - no leftover notes or debug prints, no paths of one machine, no private registries
//! - relative links in Markdown lead somewhere
//!
//! The files are git's: tracked, and new ones that are not ignored.

mod links;
mod rust;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::process::Command;

use crate::error::{Error, Result};
use crate::test::Outcome;
use crate::{Workspace, process};

const ALLOW_LIST: &str = "xtask/tidy-allow.txt";

/// One thing that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// Counted from 1.
    line: usize,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A file, or a named function of it, has more lines than allowed. This kind alone can be
    /// excused by the allow list.
    TooLong {
        function: Option<String>,
        lines: usize,
        limit: usize,
    },
    Other(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path, self.line)?;
        match &self.kind {
            Kind::TooLong { function: None, lines, limit } => {
                write!(f, "the file has {lines} lines, more than {limit}")
            }
            Kind::TooLong { function: Some(name), lines, limit } => {
                write!(f, "function `{name}` has {lines} lines, more than {limit}")
            }
            Kind::Other(text) => f.write_str(text),
        }
    }
}

/// The command line: no options.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    if let Some(arg) = args.first() {
        if arg == "--help" || arg == "-h" {
            println!("Check the rules of the source. No options. Excuses: {ALLOW_LIST}");
            return Ok(());
        }
        return Err(Error::Usage(format!("`cargo xtask tidy` takes no `{arg}`")));
    }
    step(workspace).map(drop)
}

/// The step of `cargo xtask test`.
pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    let paths = files(workspace)?;
    let mut findings = Vec::new();
    for path in &paths {
        let Ok(bytes) = fs::read(workspace.root.join(path)) else {
            // Deleted, but still in git's index.
            continue;
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        check_file(workspace, path, &text, &mut findings);
    }
    let allowed = fs::read_to_string(workspace.root.join(ALLOW_LIST)).unwrap_or_default();
    let findings = excuse(findings, &parse_allowed(&allowed)?);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files", paths.len());
        return Ok(Outcome::passed());
    }
    Err(Error::Check(format!("tidy: {} findings", findings.len())))
}

fn check_file(workspace: &Workspace, path: &str, content: &str, findings: &mut Vec<Finding>) {
    let is = |extension| path.ends_with(extension);
    text::check(path, content, findings);
    if is(".rs") {
        rust::check(path, content, findings);
    }
    if is(".md") {
        links::check(&workspace.root, path, content, findings);
    }
}

fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root);
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = process::capture(&mut git)?;
    if !output.status.success() {
        let how = "The list of files comes from `git ls-files`";
        return Err(Error::missing("a git checkout", how));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    let mut paths: Vec<String> =
        list.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// What may be longer than allowed: (path, function or none) and the length it may have.
type Allowed = BTreeMap<(String, Option<String>), usize>;

/// Lines such as `path 912` or `path function 85`; `#` starts a comment.
fn parse_allowed(list: &str) -> Result<Allowed> {
    let mut allowed = Allowed::new();
    for line in list.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        let (path, function, lines) = match words[..] {
            [] => continue,
            [path, lines] => (path, None, lines),
            [path, function, lines] => (path, Some(function.to_owned()), lines),
            _ => return Err(Error::Check(format!("{ALLOW_LIST}: can't read `{line}`"))),
        };
        let lines = lines
            .parse()
            .map_err(|_| Error::Check(format!("{ALLOW_LIST}: no number in `{line}`")))?;
        allowed.insert((path.to_owned(), function), lines);
    }
    Ok(allowed)
}

/// Takes out what the list allows; adds a finding for each entry that allows more than is
/// needed, so that lengths only ever go down.
fn excuse(findings: Vec<Finding>, allowed: &Allowed) -> Vec<Finding> {
    let mut used = Allowed::new();
    let mut left = Vec::new();
    for finding in findings {
        if let Kind::TooLong { function, lines, .. } = &finding.kind {
            let key = (finding.path.clone(), function.clone());
            if allowed.get(&key).is_some_and(|limit| lines <= limit) {
                let longest = used.entry(key).or_default();
                *longest = (*lines).max(*longest);
                continue;
            }
        }
        left.push(finding);
    }
    for ((path, function), limit) in allowed {
        let now = used.get(&(path.clone(), function.clone())).copied().unwrap_or(0);
        let reported = left.iter().any(|f| f.path == *path);
        if now < *limit && !reported {
            let name = function.as_deref().unwrap_or("the file");
            let advice = if now == 0 { "remove it".to_owned() } else { format!("write {now}") };
            let text = format!("{path}: {limit} lines for {name} are no longer needed, {advice}");
            left.push(Finding { path: ALLOW_LIST.to_owned(), line: 1, kind: Kind::Other(text) });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(lines: usize) -> Finding {
        let kind = Kind::TooLong { function: Some("run".to_owned()), lines, limit: 70 };
        Finding { path: "a.rs".to_owned(), line: 9, kind }
    }

    #[test]
    fn the_allow_list_excuses_exactly_what_it_names() -> Result<()> {
        let allowed = parse_allowed("# reasons\na.rs run 90 # a table\n\n")?;
        assert_eq!(excuse(vec![long(90)], &allowed), vec![]);
        assert_eq!(excuse(vec![long(91)], &allowed), vec![long(91)]);
        Ok(())
    }

    #[test]
    fn an_excuse_that_is_too_wide_is_reported() -> Result<()> {
        let allowed = parse_allowed("a.rs run 90")?;
        let words =
            |findings: Vec<Finding>| findings.first().map(ToString::to_string).unwrap_or_default();
        assert!(words(excuse(vec![long(80)], &allowed)).ends_with("write 80"));
        assert!(words(excuse(vec![], &allowed)).ends_with("remove it"));
        Ok(())
    }

    #[test]
    fn an_unreadable_list_is_refused() {
        assert!(parse_allowed("a.rs").is_err());
        assert!(parse_allowed("a.rs many").is_err());
        assert!(parse_allowed("a.rs run 9 more").is_err());
    }
}
