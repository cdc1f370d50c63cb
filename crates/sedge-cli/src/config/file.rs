//! The configuration file: TOML with the options' names as keys, and nothing else.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::options::{CONFIG, Form, OPTIONS, find};
use super::{Given, Layer, Source};

/// Reads a file. All its faults are reported at once.
pub(crate) fn read(path: &Path) -> Result<Layer, Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(error) => Err(vec![format!("cannot read {}: {error}", path.display())]),
    }
}

/// Reads the text of the file of this name.
pub(crate) fn parse(file: &str, text: &str) -> Result<Layer, Vec<String>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        vec![format!("{file}:{line}: {}", error.message())]
    })?;
    let mut layer = Layer::default();
    let mut problems = Vec::new();
    // The table is sorted by name; people read files from top to bottom.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let line = line_of(text, key.span().start);
        match entry(key.get_ref(), value) {
            Ok((name, values)) => {
                let source = Source::File { file: file.into(), line };
                layer.insert(name, Given { values, source });
            }
            Err(problem) => problems.push(format!("{file}:{line}: {problem}")),
        }
    }
    if problems.is_empty() { Ok(layer) } else { Err(problems) }
}

/// One key with its value, in the notation of the command line.
fn entry(key: &str, value: &Spanned<DeValue<'_>>) -> Result<(&'static str, Vec<String>), String> {
    let Some(spec) = find(key) else {
        if key == CONFIG {
            return Err("a configuration file cannot name another one".to_owned());
        }
        let names = OPTIONS.iter().map(|spec| spec.name);
        let meant = nearest(key, names).map(|name| format!(", did you mean {name}?"));
        return Err(format!("there is no option {key}{}", meant.unwrap_or_default()));
    };
    let wrong = || format!("{key}: text, a number, true or false was expected");
    match value.get_ref() {
        DeValue::Array(items) => {
            if !matches!(spec.form, Form::List(_)) {
                return Err(format!("{key} has one value, not a list"));
            }
            let values: Option<Vec<String>> = items.iter().map(|i| scalar(i.get_ref())).collect();
            Ok((spec.name, values.ok_or_else(wrong)?))
        }
        single => Ok((spec.name, vec![scalar(single).ok_or_else(wrong)?])),
    }
}

/// A value as it would be written on the command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_types_are_taken() {
        let text =
            "listen = [\"127.0.0.1:1\", \"[::1]:2\"]\n# two\nshards = 3\n\nallow-eio3 = true\n";
        let layer = parse("s.toml", text).unwrap();
        let given = |name: &str| layer.get(name).unwrap();
        assert_eq!(given("listen").values, ["127.0.0.1:1", "[::1]:2"]);
        assert_eq!(given("shards").values, ["3"]);
        assert_eq!(given("shards").source.name("shards"), "s.toml:3: shards");
        assert_eq!(given("allow-eio3").values, ["true"]);
        assert_eq!(given("allow-eio3").source.name("allow-eio3"), "s.toml:5: allow-eio3");
    }

    #[test]
    fn faults_are_named_with_their_lines() {
        let table = [
            (
                "ping_interval = 1",
                "s.toml:1: there is no option ping_interval, did you mean ping-interval?",
            ),
            ("\nweather = 1", "s.toml:2: there is no option weather"),
            ("config = 'x'", "s.toml:1: a configuration file cannot name another one"),
            ("path = ['/a', '/b']", "s.toml:1: path has one value, not a list"),
            ("[listen]", "s.toml:1: listen: text, a number, true or false was expected"),
            ("listen = [['a']]", "s.toml:1: listen: text, a number, true or false was expected"),
        ];
        for (text, problem) in table {
            assert_eq!(parse("s.toml", text).unwrap_err(), [problem], "{text}");
        }
        let [problem] = &parse("s.toml", "shards = 1\npath = \n").unwrap_err()[..] else {
            panic!("one problem")
        };
        assert!(problem.starts_with("s.toml:2: "), "{problem}");
    }

    #[test]
    fn all_faults_of_a_file_are_reported_in_its_order() {
        let problems = parse("s.toml", "zebra = 1\nant = 2\n").unwrap_err();
        assert_eq!(
            problems,
            ["s.toml:1: there is no option zebra", "s.toml:2: there is no option ant"]
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let problems = read(Path::new("/nowhere/sedge.toml")).unwrap_err();
        assert!(problems[0].starts_with("cannot read /nowhere/sedge.toml: "), "{problems:?}");
    }
}
