//! Which file of a crate imports which, and the circles in that.
//!
//! A file imports another one if it names something of it: `use crate::…`, `use super::…`, such a path in
//! the middle of the code, or a child module's (`pub use child::Thing` in a `mod.rs`). Declaring a child is no
//! import, and test modules may import what they like. Files of which each reaches all others by imports are
//! a circle: none of them can be read, tested or moved without the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::finding::{Finding, Kind};
use super::source;

/// So many files that belong closely together may know one another.
const CIRCLE_FILES: usize = 3;

/// One crate's files by their module's path, the root being the empty one.
struct Files<'a> {
    by_module: BTreeMap<Vec<String>, (&'a str, String)>,
}

/// Who imports whom: for each pair the line of the first place that shows it.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// A circle: its files, each with the imports that stay within it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle<'a> {
    pub(super) root: &'a str,
    pub(super) imports: Imports<'a>,
}

/// The circles of all crates that are too large. `files` are paths with contents.
pub(super) fn circles(files: &[(String, String)]) -> Vec<Circle<'_>> {
    let crates = files.iter().filter_map(|(path, _)| path.strip_suffix("Cargo.toml"));
    crates.flat_map(|root| circles_of(root, files)).collect()
}

/// A finding for each of them.
pub(super) fn check(files: &[(String, String)], findings: &mut Vec<Finding>) {
    for circle in circles(files) {
        let names: Vec<&str> = circle.imports.keys().map(|path| circle.short(path)).collect();
        let count = names.len();
        let text = format!(
            "{count} files import one another, more than {CIRCLE_FILES}: {}; \
             `cargo xtask tidy --circles` shows where",
            names.join(", ")
        );
        findings.push(Finding {
            path: format!("{}src", circle.root),
            line: 1,
            kind: Kind::Other(text),
        });
    }
}

impl Circle<'_> {
    /// A file's path within its crate's sources.
    fn short<'a>(&self, path: &'a str) -> &'a str {
        let inside = path.strip_prefix(self.root).unwrap_or(path);
        inside.strip_prefix("src/").unwrap_or(inside)
    }

    /// All about it, for whoever has to undo it.
    pub(super) fn describe(&self) -> String {
        let mut text =
            format!("{}src: {} files import one another\n", self.root, self.imports.len());
        for (from, to) in &self.imports {
            let to: Vec<String> =
                to.iter().map(|(to, line)| format!("{} (line {line})", self.short(to))).collect();
            let _ = writeln!(text, "  {} imports {}", self.short(from), to.join(", "));
        }
        text
    }
}

fn circles_of<'a>(root: &'a str, files: &'a [(String, String)]) -> Vec<Circle<'a>> {
    let imports = Files::of(root, files).imports();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|from| (*from, reach(&imports, from))).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (from, all) in &reached {
        let members: BTreeSet<&str> =
            all.iter().copied().filter(|to| reached[to].contains(from)).collect();
        if members.len() <= CIRCLE_FILES || !seen.insert(members.clone()) {
            continue;
        }
        let within = |from: &&'a str| {
            let to = imports[from].iter().filter(|(to, _)| members.contains(*to));
            (*from, to.map(|(to, line)| (*to, *line)).collect())
        };
        found.push(Circle { root, imports: members.iter().map(within).collect() });
    }
    found
}

/// All files that one reaches by one import or more.
fn reach<'a>(imports: &Imports<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&'a str> = imports[from].keys().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(imports[file].keys());
        }
    }
    reached
}

impl<'a> Files<'a> {
    /// The files of a crate without tests; `root` ends with a slash, or is empty.
    fn of(root: &str, files: &'a [(String, String)]) -> Files<'a> {
        let mut by_module = BTreeMap::new();
        for (path, content) in files {
            let inside = path.strip_prefix(root).and_then(|path| path.strip_prefix("src/"));
            let Some(name) = inside.and_then(|path| path.strip_suffix(".rs")) else { continue };
            if source::is_test(path) {
                continue;
            }
            let mut module: Vec<String> = name.split('/').map(str::to_owned).collect();
            let own = module.last().is_some_and(|last| last == "mod");
            if own || module == ["lib"] || module == ["main"] {
                module.pop();
            }
            by_module.insert(module, (&**path, source::without_tests(&source::blank(content))));
        }
        Files { by_module }
    }

    fn imports(&self) -> Imports<'a> {
        let files = self.by_module.iter();
        files.map(|(module, (path, code))| (*path, self.imports_of(module, path, code))).collect()
    }

    fn imports_of(&self, module: &[String], own: &str, code: &str) -> BTreeMap<&'a str, usize> {
        let mut imports = BTreeMap::new();
        for (at, path) in paths(code) {
            let module = [module, &source::modules_around(code, at)].concat();
            if let Some(file) = self.resolve(&module, &path).filter(|file| *file != own) {
                imports.entry(file).or_insert_with(|| source::line_of(code, at));
            }
        }
        imports
    }

    /// The file that has what a path names, if it is one of this crate.
    fn resolve(&self, module: &[String], path: &[String]) -> Option<&'a str> {
        let mut place = module.to_vec();
        let mut rest = path;
        match path.first().map(String::as_str)? {
            "crate" => {
                place.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {}
            child => {
                let child = [module, &[child.to_owned()]].concat();
                self.by_module.get(&child)?;
            }
        }
        while let Some(("super", after)) = rest.split_first().map(|(f, rest)| (f.as_str(), rest)) {
            place.pop()?;
            rest = after;
        }
        for name in rest {
            place.push(name.clone());
            if !self.by_module.contains_key(&place) {
                place.pop();
                break;
            }
        }
        // Modules within a file belong to it.
        while !self.by_module.contains_key(&place) {
            place.pop()?;
        }
        self.by_module.get(&place).map(|(path, _)| *path)
    }
}

/// All paths of at least two names in blanked code, each with its position. Those of a `use` are spelled
/// out one by one.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = source::next_word(code, at) {
        let before = code[..word.start].trim_end();
        let first = !before.ends_with(['.', '$']) && !before.ends_with("::");
        at = word.end;
        if &code[word.clone()] == "use" && code[at..].starts_with(char::is_whitespace) {
            let end = code[at..].find(';').map_or(code.len(), |end| at + end);
            let mut tree = Vec::new();
            leaves(&code[at..end], &mut Vec::new(), &mut tree);
            found.extend(tree.into_iter().map(|path| (word.start, path)));
            at = end;
        } else if first {
            let path = source::path_at(code, word.start);
            if path.len() > 1 && !code[..word.start].ends_with("pub(in ") {
                found.push((word.start, path));
            }
        }
    }
    found
}

/// The paths of a `use` tree.
fn leaves(tree: &str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let depth = prefix.len();
    if let Some(inside) = tree.strip_prefix('{').and_then(|tree| tree.strip_suffix('}')) {
        for part in source::split_outside_braces(inside) {
            leaves(part, prefix, found);
        }
        return;
    }
    if let Some((name, rest)) = tree.split_once("::").filter(|(name, _)| !name.contains('{')) {
        prefix.push(name.trim().to_owned());
        leaves(rest, prefix, found);
    } else if !tree.is_empty() {
        let name = tree.split_whitespace().next().unwrap_or(tree);
        // `{self}` is what stands in front of it; alone, it is the module.
        if name != "*" && (name != "self" || prefix.is_empty()) {
            prefix.push(name.to_owned());
        }
        found.push(prefix.clone());
    }
    prefix.truncate(depth);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let manifest = ("c/Cargo.toml", "");
        let all = [manifest].into_iter().chain(files.iter().copied());
        all.map(|(path, content)| (path.to_owned(), content.to_owned())).collect()
    }

    /// What each file imports, in short.
    fn imports(sources: &[(&str, &str)]) -> Vec<String> {
        let files = files(sources);
        let imports = Files::of("c/", &files).imports();
        let list = imports.into_iter().flat_map(|(from, to)| {
            to.into_iter().map(move |(to, line)| format!("{from}:{line} {to}"))
        });
        list.map(|text| text.replace("c/src/", "")).collect()
    }

    #[test]
    fn every_way_to_name_another_file_is_an_import() {
        let sources = [
            ("c/src/lib.rs", "mod a;\nmod b;\npub use a::Thing;\nuse std::fmt;\n"),
            ("c/src/a/mod.rs", "mod x;\nuse crate::{\n b::{self, C}, b::D as E};\n"),
            ("c/src/a/x.rs", "use super::y;\nfn f() { super::super::b::g(crate::Thing) }\n"),
            ("c/src/a/y.rs", "pub(in crate::a) fn f(x: self::X) { x.crate_::b() }\n"),
            ("c/src/b.rs", "// crate::a\nmod m { use super::C; use super::super::a::y::Z; }\n"),
        ];
        let wanted = ["lib.rs:3 a/mod.rs", "a/mod.rs:2 b.rs", "a/x.rs:1 a/y.rs", "a/x.rs:2 b.rs"];
        let wanted = wanted.into_iter().chain(["a/x.rs:2 lib.rs", "b.rs:2 a/y.rs"]);
        let sorted = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(sorted(imports(&sources)), sorted(wanted.map(str::to_owned).collect()));
    }

    #[test]
    fn tests_import_what_they_like() {
        let sources = [
            ("c/src/lib.rs", "mod a;\n"),
            ("c/src/a.rs", "#[cfg(test)]\nmod tests {\n    use crate::x;\n}\n"),
            ("c/src/a/tests.rs", "use crate::a;\n"),
        ];
        assert!(imports(&sources).is_empty());
    }

    #[test]
    fn a_circle_is_told_with_its_imports_if_it_is_too_large() {
        let ring = |count: usize| {
            let file = |i: usize| {
                let next = (i + 1) % count;
                (format!("c/src/f{i}.rs"), format!("use crate::f{next}::X;\nuse crate::other;\n"))
            };
            let mut all = files(&[("c/src/lib.rs", ""), ("c/src/other.rs", "")]);
            all.extend((0..count).map(file));
            all
        };
        assert!(circles(&ring(3)).is_empty());
        let four = ring(4);
        let found = circles(&four);
        assert_eq!(found.len(), 1);
        let text = found[0].describe();
        assert!(
            text.starts_with("c/src: 4 files import one another\n  f0.rs imports f1.rs (line 1)\n")
        );
        let mut findings = Vec::new();
        check(&four, &mut findings);
        assert!(findings[0].to_string().contains("more than 3: f0.rs, f1.rs, f2.rs, f3.rs;"));
    }
}
