//! What has its place: limits stand in `limits.rs`, and what runs by itself is started in `tasks.rs`.
//!
//! Whoever looks for the limits of a crate, or for everything that goes on at the same time, finds all of
//! it in one file. Only what is shipped has to hold this, not its tests.

use super::finding::{Finding, Kind};
use super::source;

/// Checks one file.
pub(super) fn check(path: &str, content: &str, findings: &mut Vec<Finding>) {
    let shipped = path.starts_with("crates/") && path.contains("/src/") && !source::is_test(path);
    if !shipped {
        return;
    }
    let within = |place: &str| {
        path.ends_with(&format!("/{place}.rs")) || path.contains(&format!("/{place}/"))
    };
    let code = source::without_tests(&source::blank(content));
    let mut report = |line, text: String| {
        findings.push(Finding { path: path.to_owned(), line, kind: Kind::Other(text) });
    };
    for (index, line) in code.lines().enumerate() {
        if let Some(name) = limit(line).filter(|_| !within("limits")) {
            report(index + 1, format!("`{name}` is a limit: it stands in the crate's limits.rs"));
        }
        if spawns(line) && !within("tasks") {
            report(index + 1, "tasks and threads are started in the crate's tasks.rs".to_owned());
        }
    }
}

/// The name of the limit that a line declares outside of any item: a constant time, or a maximum.
fn limit(line: &str) -> Option<&str> {
    let start = line.find("const ")?;
    let visibility = line[..start].trim_end();
    if !(visibility.is_empty() || visibility.starts_with("pub")) || line.starts_with(' ') {
        return None;
    }
    let (name, rest) = line[start + "const ".len()..].split_once(':')?;
    let kind = rest.split('=').next().unwrap_or(rest).trim();
    (name.ends_with("_MAX") || kind.ends_with("Duration")).then_some(name)
}

/// Whether a line starts a task or a thread, by any of the names that there are for it, also if the call
/// goes on in the next line. Starting a process takes no argument.
fn spawns(line: &str) -> bool {
    const NAMES: [&str; 6] =
        ["spawn", "spawn_local", "spawn_blocking", "spawn_on", "spawn_local_on", "spawn_scoped"];
    let mut from = 0;
    while let Some(word) = source::next_word(line, from) {
        from = word.end;
        let declared = line[..word.start].trim_end().ends_with("fn");
        let call = line[from..].starts_with('(') && !line[from..].starts_with("()");
        if call && !declared && NAMES.contains(&&line[word]) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, content: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(path, content, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_stand_together() {
        let code = "const A_MAX: usize = 1;\npub(crate) const B: std::time::Duration = X;\n\
            pub const OTHER: usize = 1;\nfn f() {\n    const C_MAX: u8 = 2;\n}\n";
        let found = findings("crates/c/src/a.rs", code);
        assert_eq!(found.len(), 2);
        assert!(found[1].starts_with("crates/c/src/a.rs:2: `B` is a limit"), "{found:?}");
        for path in ["crates/c/src/limits.rs", "crates/c/src/a/tests.rs", "crates/c/tests/a.rs"] {
            assert!(findings(path, code).is_empty(), "{path}");
        }
        assert!(
            findings("crates/c/src/a.rs", "#[cfg(test)]\nmod tests {\nconst A_MAX: u8 = 1;\n}\n")
                .is_empty()
        );
    }

    #[test]
    fn tasks_are_started_in_one_place() {
        let calls = [
            "tokio::spawn(x);",
            "set.spawn_local(x)",
            "thread::Builder::new().spawn(|| {",
            "spawn(a)",
        ];
        for call in calls {
            let line = format!("fn f() {{\n    {call}\n}}\n");
            assert_eq!(findings("crates/c/src/a.rs", &line).len(), 1, "{call}");
            assert!(findings("crates/c/src/tasks.rs", &line).is_empty(), "{call}");
        }
        for other in
            ["Command::new(x).spawn()?;", "fn spawn(x: X) {}", "respawn(x);", "// spawn(x)"]
        {
            assert!(findings("crates/c/src/a.rs", other).is_empty(), "{other}");
        }
    }
}
