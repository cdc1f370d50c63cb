//! `cargo xtask tidy`: the rules of the source that neither compiler nor linter checks.
//!
//! - every Rust file opens with a `//!` paragraph (generated files say `@generated`)
//! - files have at most 800 lines (not counting a test module at the end), functions at most 70;
//!   what is longer stands in `xtask/tidy-allow.txt` with its length, which may only shrink
//! - no more than three files of a crate import one another in a circle; limits stand in a `limits.rs`, and
//!   tasks are started in a `tasks.rs`
//! - no leftover notes or debug prints, no paths of one machine, no private registries
//! - relative links in Markdown lead somewhere
//!
//! The files are git's: tracked, and new ones that are not ignored.

mod finding;
mod imports;
mod links;
mod places;
mod rust;
mod source;
mod text;

use std::collections::BTreeMap;
use std::fs;

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::process;
use crate::workspace::Workspace;
use finding::{Finding, Kind};

const ALLOW_LIST: &str = "xtask/tidy-allow.txt";

/// The command line.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => step(workspace).map(drop),
        ["--circles"] => {
            let files = contents(workspace)?;
            let circles = imports::circles(&files);
            for circle in &circles {
                print!("{}", circle.describe());
            }
            println!("{} circles", circles.len());
            Ok(())
        }
        ["--help" | "-h"] => {
            println!("Check the rules of the source. Excuses: {ALLOW_LIST}");
            println!("  --circles  only show the files that import one another, with the lines");
            Ok(())
        }
        _ => Err(Error::Usage(format!("`cargo xtask tidy` takes no `{}`", args.join(" ")))),
    }
}

/// The step of `cargo xtask test`.
pub(crate) fn step(workspace: &Workspace) -> Result<Outcome> {
    let files = contents(workspace)?;
    let mut findings = Vec::new();
    for (path, text) in &files {
        check_file(workspace, path, text, &mut findings);
    }
    imports::check(&files, &mut findings);
    let allowed = fs::read_to_string(workspace.root.join(ALLOW_LIST)).unwrap_or_default();
    let findings = excuse(findings, &parse_allowed(&allowed)?);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files", files.len());
        return Ok(Outcome::passed());
    }
    Err(Error::Check(format!("tidy: {} findings", findings.len())))
}

fn check_file(workspace: &Workspace, path: &str, content: &str, findings: &mut Vec<Finding>) {
    let is = |extension| path.ends_with(extension);
    text::check(path, content, findings);
    if is(".rs") {
        rust::check(path, content, findings);
        places::check(path, content, findings);
    }
    if is(".md") {
        links::check(&workspace.root, path, content, findings);
    }
}

/// The files of text, each with its content.
fn contents(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    // One that cannot be read was deleted, but is still in git's index.
    let read = |path: String| Some((fs::read_to_string(workspace.root.join(&path)).ok()?, path));
    Ok(files(workspace)?.into_iter().filter_map(read).map(|(text, path)| (path, text)).collect())
}

fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut git = workspace.command("git");
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
