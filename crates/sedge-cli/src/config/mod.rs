//! The configuration, in two stages.
//!
//! First, *what was typed*: for each option the text that was given, and where. A flag goes before an
//! environment variable, that before a file, and that before the default. Then, *what it means*:
//! [`Settings`](settings::Settings), in which everything has its type. Every fault is told with the
//! place where it can be mended, and all of them at once.

pub(crate) mod file;
mod nearest;
pub(crate) mod options;
pub(crate) mod settings;
pub(crate) mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::UdpSocket;
use std::path::Path;

use options::{CONFIG, Form, OPTIONS, PREFIX, Spec, variable_of};

/// What one layer (the flags, the environment, the file) gives, by the options' names.
pub(crate) type Layer = BTreeMap<&'static str, Given>;

/// What was typed for one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) values: Vec<String>,
    pub(crate) source: Source,
}

/// Where something was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    /// `PORT`, by which platforms tell their programs where to listen.
    Port,
    File {
        file: Box<str>,
        line: usize,
    },
    Default,
}

impl Source {
    /// The option as it is called at its source.
    pub(crate) fn name(&self, option: &str) -> String {
        match self {
            Source::Flag => format!("--{option}"),
            Source::Environment => variable_of(option),
            Source::Port => PORT.to_owned(),
            Source::File { file, line } => format!("{file}:{line}: {option}"),
            Source::Default => option.to_owned(),
        }
    }
}

/// What is wrong with the configuration; never empty.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\nsedge: "))
    }
}

/// The variable by which platforms tell their programs where to listen.
const PORT: &str = "PORT";

/// The variable by which service managers say that they have opened sockets.
const ACTIVATED: &str = "LISTEN_FDS";

/// Everything that was typed, and remarks for the log.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    given: Layer,
    /// A service manager has opened sockets.
    pub(crate) activated: bool,
    /// What is not wrong, but perhaps not meant.
    pub(crate) remarks: Vec<String>,
}

impl Typed {
    /// Puts the layers together: the flags, the process's environment, and the file that one of
    /// these names with `config`.
    pub(crate) fn gather(
        flags: Layer,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Typed, Problems> {
        let variables: Vec<_> = variables.into_iter().collect();
        let value = |name| variables.iter().find(|(variable, _)| variable == name).map(|(_, v)| v);
        let port = value(PORT).and_then(|port| port.to_str()).map(str::to_owned);
        let activated = value(ACTIVATED).is_some();
        let (environment, mut problems, remarks) = environment(variables);
        let upper: Layer = environment.into_iter().chain(flags).collect();
        let file = match upper.get(CONFIG).and_then(|given| given.values.first()) {
            Some(path) => file::read(Path::new(path)),
            None => Ok(Layer::new()),
        };
        match file {
            Ok(mut given) if problems.is_empty() => {
                given.extend(upper);
                if let Some(port) = port.filter(|port| !port.is_empty() && !activated) {
                    let listen = || Given { values: everywhere(&port), source: Source::Port };
                    given.entry("listen").or_insert_with(listen);
                }
                Ok(Typed { given, activated, remarks })
            }
            Ok(_) => Err(Problems(problems)),
            Err(more) => {
                problems.extend(more);
                Err(Problems(problems))
            }
        }
    }

    /// What was typed for an option, or its default.
    pub(crate) fn get(&self, spec: &Spec) -> Option<Given> {
        let default = || {
            let values = split(spec, spec.default?);
            Some(Given { values, source: Source::Default })
        };
        self.given.get(spec.name).cloned().or_else(default)
    }

    /// Where an option was typed.
    pub(crate) fn source(&self, option: &str) -> Source {
        self.given.get(option).map_or(Source::Default, |given| given.source.clone())
    }
}

/// Addresses that mean all that this machine has, for both versions of IP where it has both.
fn everywhere(port: &str) -> Vec<String> {
    let host = if UdpSocket::bind("[::]:0").is_ok() { "[::]" } else { "0.0.0.0" };
    vec![format!("{host}:{port}")]
}

/// The values in one text.
pub(crate) fn split(spec: &Spec, text: &str) -> Vec<String> {
    match spec.form {
        Form::List(_) => text.split(',').map(|value| value.trim().to_owned()).collect(),
        _ => vec![text.to_owned()],
    }
}

/// The layer of the environment, what is wrong in it, and what may be. An empty variable counts as
/// none, as scripts and service managers cannot always leave one out.
fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Layer, Vec<String>, Vec<String>) {
    let (mut layer, mut problems, mut remarks) = (Layer::new(), Vec::new(), Vec::new());
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if value.is_empty() {
            continue;
        }
        let Some(value) = value.to_str() else {
            problems.push(format!("{variable} is not UTF-8 text"));
            continue;
        };
        let source = Source::Environment;
        if variable == variable_of(CONFIG) {
            layer.insert(CONFIG, Given { values: vec![value.to_owned()], source });
        } else if let Some(spec) = OPTIONS.iter().find(|spec| spec.variable() == variable) {
            layer.insert(spec.name, Given { values: split(spec, value), source });
        } else if let Some(meant) =
            nearest::nearest(&variable[PREFIX.len()..], OPTIONS.iter().map(|spec| spec.name))
        {
            // Other programs' variables may begin with our name too.
            remarks.push(format!("{variable} has no meaning; {} has", variable_of(meant)));
        }
    }
    (layer, problems, remarks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use options::find;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn flag(name: &'static str, value: &str) -> (&'static str, Given) {
        (name, Given { values: vec![value.to_owned()], source: Source::Flag })
    }

    fn values(typed: &Typed, name: &str) -> Vec<String> {
        typed.get(find(name).unwrap()).map(|given| given.values).unwrap_or_default()
    }

    #[test]
    fn a_flag_goes_before_a_variable_before_a_file_before_the_default() {
        let dir = std::env::temp_dir().join(format!("sedge-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("sedge.toml");
        std::fs::write(&file, "path = '/file'\nshards = 2\nping-timeout = '1s'\n").unwrap();
        let flags = Layer::from([flag("path", "/flag"), flag(CONFIG, file.to_str().unwrap())]);
        let environment =
            variables(&[("SEDGE_PATH", "/env"), ("SEDGE_SHARDS", "3"), ("PATH", "x")]);
        let typed = Typed::gather(flags, environment).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();

        assert_eq!(values(&typed, "path"), ["/flag"]);
        assert_eq!(typed.source("path"), Source::Flag);
        assert_eq!(values(&typed, "shards"), ["3"]);
        assert_eq!(typed.source("shards").name("shards"), "SEDGE_SHARDS");
        assert_eq!(values(&typed, "ping-timeout"), ["1s"]);
        assert!(typed.source("ping-timeout").name("x").ends_with("sedge.toml:3: x"));
        assert_eq!(values(&typed, "ping-interval"), ["25s"]);
        assert_eq!(typed.source("ping-interval"), Source::Default);
        assert!(typed.remarks.is_empty());
    }

    #[test]
    fn the_environment_can_name_the_file() {
        let environment = variables(&[("SEDGE_CONFIG", "/nowhere/s.toml")]);
        let problems = Typed::gather(Layer::new(), environment).unwrap_err();
        assert!(problems.to_string().starts_with("cannot read /nowhere/s.toml"), "{problems}");
    }

    #[test]
    fn lists_are_split_at_commas_and_empty_variables_are_none() {
        let environment =
            variables(&[("SEDGE_LISTEN", "127.0.0.1:1, [::1]:2"), ("SEDGE_COOKIE", "")]);
        let typed = Typed::gather(Layer::new(), environment).unwrap();
        assert_eq!(values(&typed, "listen"), ["127.0.0.1:1", "[::1]:2"]);
        assert!(typed.get(find("cookie").unwrap()).is_none());
    }

    #[test]
    fn port_is_for_when_nothing_else_says_where_to_listen() {
        let gather = |flags, pairs: &[(&str, &str)]| {
            let typed = Typed::gather(flags, variables(pairs)).unwrap();
            (values(&typed, "listen").join(","), typed.source("listen").name("listen"))
        };
        let (listen, source) = gather(Layer::new(), &[("PORT", "8080")]);
        assert!(["[::]:8080", "0.0.0.0:8080"].contains(&&*listen), "{listen}");
        assert_eq!(source, "PORT");
        let given = [
            (Layer::from([flag("listen", "127.0.0.1:1")]), &[("PORT", "8080")][..], "127.0.0.1:1"),
            (Layer::new(), &[("PORT", "8080"), ("SEDGE_LISTEN", "[::1]:2")], "[::1]:2"),
            (Layer::new(), &[("PORT", "8080"), ("LISTEN_FDS", "1")], "127.0.0.1:3000"),
            (Layer::new(), &[("PORT", "")], "127.0.0.1:3000"),
        ];
        for (flags, pairs, listen) in given {
            assert_eq!(gather(flags, pairs).0, listen, "{pairs:?}");
        }
    }

    #[test]
    fn a_variable_that_is_nearly_right_is_remarked_on() {
        let environment = variables(&[("SEDGE_PING_INTERVALL", "1s"), ("SEDGE_DEMO_URL", "x")]);
        let typed = Typed::gather(Layer::new(), environment).unwrap();
        assert_eq!(typed.remarks, ["SEDGE_PING_INTERVALL has no meaning; SEDGE_PING_INTERVAL has"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let pair = ("SEDGE_PATH".into(), OsString::from_vec(vec![b'/', 0xff]));
        let problems = Typed::gather(Layer::new(), [pair]).unwrap_err();
        assert_eq!(problems.to_string(), "SEDGE_PATH is not UTF-8 text");
    }
}
