//! `cargo xtask test`: all tests, in named steps, with one summary at the end.
//!
//! What the steps need is there before the first one runs, so that green always means tested. Only the extra,
//! which tests nothing that the others do not, may be left out.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::outcome::Outcome;
use crate::workspace::Workspace;
use crate::{checks, clients, fuzz, needs, suites, tidy};

const HELP: &str = "\
Run all tests, step by step

Usage: cargo xtask test [--fast] [--only STEP[,STEP…]] [--list]

Options:
  --fast        Only the quick steps; one that lacks a tool is skipped instead of failing
  --only STEPS  Only these steps, in their usual order
  --list        Name the steps and what they do

What the chosen steps need of the machine is looked for first. Root, and CI=true, have it installed;
others are told in one list, with the command that gets it.
";

struct Step {
    name: &'static str,
    /// Part of `--fast`.
    fast: bool,
    about: &'static str,
    run: fn(&Workspace) -> Result<Outcome>,
}

/// All steps, cheap ones first.
const STEPS: [Step; 11] = [
    Step { name: "fmt", fast: true, about: "cargo fmt", run: checks::fmt },
    Step {
        name: "tidy",
        fast: true,
        about: "the source rules of `cargo xtask tidy`",
        run: tidy::step,
    },
    Step {
        name: "clippy",
        fast: true,
        about: "lints, warnings are errors; with all features, and `sedge` without any",
        run: checks::clippy,
    },
    Step {
        name: "unit",
        fast: true,
        about: "cargo test with all features, doc tests included",
        run: checks::unit,
    },
    Step {
        name: "doc",
        fast: false,
        about: "rustdoc with all features, warnings are errors",
        run: checks::doc,
    },
    Step {
        name: "pure",
        fast: false,
        about: "the crates that only compute depend on no I/O, and build for wasm32 where it can be had",
        run: checks::pure,
    },
    Step {
        name: "deny",
        fast: false,
        about: "cargo-deny: licences, duplicates, origins, and advisories where a database can be had",
        run: checks::deny,
    },
    Step {
        name: "clients",
        fast: false,
        about: "official JavaScript clients and python-socketio against one process and a cluster",
        run: clients::clients,
    },
    Step {
        name: "browser",
        fast: false,
        about: "the chat demo on a cluster of two workers, in a real Chromium",
        run: clients::browser,
    },
    Step { name: "fuzz", fast: false, about: "each fuzz target for 10 s", run: fuzz::step },
    Step {
        name: "suites",
        fast: false,
        about: "an extra: the public protocol suites, where their code can be had",
        run: suites::step,
    },
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    fast: bool,
    list: bool,
    help: bool,
    only: Option<Vec<String>>,
}

/// Runs the chosen steps; an error if any of them failed.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> Result<()> {
    let options = parse(args)?;
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    if options.list {
        for step in &STEPS {
            println!("{:8} {}  {}", step.name, if step.fast { "fast" } else { "    " }, step.about);
        }
        return Ok(());
    }
    let began = Instant::now();
    let steps: Vec<&Step> = STEPS.iter().filter(|step| chosen(step, &options)).collect();
    if !options.fast {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        needs::ensure(workspace, &names)?;
    }
    let mut rows = Vec::new();
    for step in steps {
        println!("\n=== {}: {}", step.name, step.about);
        let started = Instant::now();
        let ready = if options.fast { needs::ensure(workspace, &[step.name]) } else { Ok(()) };
        let result = lenient(ready.and_then(|()| (step.run)(workspace)), options.fast);
        if let Err(error) = &result {
            println!("error: {error}");
        }
        rows.push((step.name, result, started.elapsed()));
    }
    summarise(&rows, began.elapsed())
}

/// In a fast run, what lacks a tool is skipped: the developer did not ask for everything.
fn lenient(result: Result<Outcome>, fast: bool) -> Result<Outcome> {
    match result {
        Err(error @ Error::Missing { .. }) if fast => Ok(Outcome::Skipped(error.to_string())),
        other => other,
    }
}

fn chosen(step: &Step, options: &Options) -> bool {
    match &options.only {
        Some(names) => names.iter().any(|name| name == step.name),
        None => step.fast || !options.fast,
    }
}

fn summarise(rows: &[(&str, Result<Outcome>, Duration)], total: Duration) -> Result<()> {
    println!("\n=== summary");
    let mut failed = Vec::new();
    for (name, result, took) in rows {
        let (word, note) = match result {
            Ok(Outcome::Passed(note)) => ("ok", note.clone().unwrap_or_default()),
            Ok(Outcome::Skipped(why)) => ("skipped", why.clone()),
            Ok(Outcome::Extra(why)) => ("extra", format!("not run, and not needed: {why}")),
            Err(_) => {
                failed.push(*name);
                ("FAILED", format!("alone: cargo xtask test --only {name}"))
            }
        };
        println!("{name:8} {word:8} {:7.1} s  {note}", took.as_secs_f64());
    }
    println!("{:8} {:8} {:7.1} s", "total", "", total.as_secs_f64());
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::Check(format!(
        "{} of {} steps failed: {}",
        failed.len(),
        rows.len(),
        failed.join(", ")
    )))
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--fast" => options.fast = true,
            "--list" => options.list = true,
            "--help" | "-h" => options.help = true,
            "--only" => {
                let names = rest
                    .next()
                    .ok_or_else(|| Error::Usage("--only needs the names of steps".to_owned()))?;
                options.only.get_or_insert_default().extend(step_names(names)?);
            }
            other => {
                let text = format!("no option `{other}`; see `cargo xtask test --help`");
                return Err(Error::Usage(text));
            }
        }
    }
    Ok(options)
}

fn step_names(list: &str) -> Result<Vec<String>> {
    let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    for name in &names {
        if !STEPS.iter().any(|step| step.name == name) {
            let all: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            return Err(Error::Usage(format!("no step `{name}`; there are: {}", all.join(", "))));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn only_takes_a_list_and_refuses_unknown_steps() {
        let only = options("--only fmt,unit --fast").map(|o| (o.fast, o.only));
        let names = vec!["fmt".to_owned(), "unit".to_owned()];
        assert!(matches!(&only, Ok((true, Some(got))) if *got == names), "{only:?}");
        assert!(
            matches!(options("--only fmt,unti"), Err(Error::Usage(text)) if text.contains("unti"))
        );
        assert!(matches!(options("--only"), Err(Error::Usage(_))));
        assert!(matches!(options("fmt"), Err(Error::Usage(_))));
    }

    #[test]
    fn what_is_missing_fails_except_in_a_fast_run() {
        let missing = || Err(Error::missing("npm", "Get it"));
        assert!(lenient(missing(), false).is_err());
        assert!(matches!(lenient(missing(), true), Ok(Outcome::Skipped(_))));
        assert!(lenient(Err(Error::Check("wrong".to_owned())), true).is_err());
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let rows = [
            ("fmt", Ok(Outcome::passed()), Duration::ZERO),
            ("unit", Err(Error::Check("no".to_owned())), Duration::ZERO),
            ("suites", Ok(Outcome::Skipped("closed".to_owned())), Duration::ZERO),
        ];
        let Err(error) = summarise(&rows, Duration::ZERO) else { panic!("a failure was lost") };
        assert_eq!(error.to_string(), "1 of 3 steps failed: unit");
    }
}
