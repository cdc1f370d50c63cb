//! The command line: which command it is, and the flags as the first stage of the configuration.

use clap::builder::NonEmptyStringValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::options::{CONFIG, Form, OPTIONS, Spec, find};
use crate::config::{Given, Layer, Source, split};
use crate::hash_bench::{self, HashBench};
use crate::status::Question;

/// What the command is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Run the supervisor, or one of its workers.
    Cluster,
    /// Run one process.
    Serve,
    /// Ask a running cluster.
    Ask(Question),
    CheckConfig,
    /// Needs no configuration.
    HashBench(HashBench),
}

const JSON: &str = "json";
const WORKER: &str = "worker";

const ABOUT: &str = "\
A Socket.IO server: the official clients connect to it as they are.

Without a command it runs a cluster: one worker process for each processor, all on one port. It then
answers
  /            the chat demo, for browsers
  /socket.io/  Socket.IO; the files of the official client too, if they are found
  /health      200 while it serves, 503 while it drains
  /metrics     counters for Prometheus, of all workers";

const AFTER: &str = "\
Where options come from:
  A flag goes before an environment variable, that before the file of --config, and that before the
  default. --ping-interval is SEDGE_PING_INTERVAL in the environment and ping-interval in the file,
  which is TOML. Switches are true or false there; --NAME=false and --no-NAME are the same.
  What session ids are signed with (secret) has no flag, since others can see flags: use
  SEDGE_SECRET, the file, or --secret-file.

Values:
  DURATION  a whole number with a unit: 500ms, 25s, 2m, 1h
  SIZE      bytes, or with a unit: 1000000, 64kB, 1MB, 16MiB
  WHEN      on, off, or the SIZE from which on it is worth it; on is 1KiB

Examples:
  sedge                                      the demo at http://127.0.0.1:3000
  sedge status                               how its workers are doing
  sedge --workers 4 --trusted-proxy 10.0.0.0/8 --forwarded x-forwarded-for
  sedge --listen 0.0.0.0:8080 --listen [::1]:8080
  sedge --no-demo --cors-origin https://example.com --cors-credentials
  sedge --config /etc/sedge.toml check-config
  SEDGE_LOG_FORMAT=json SEDGE_LISTEN=0.0.0.0:80 sedge serve

Signals:
  SIGINT and SIGTERM end it in order: /health says 503, nobody is let in any more, and clients are
  closed batch by batch, so that they reconnect elsewhere by themselves and not all at once. A second
  one ends it at once. SIGQUIT ends it in order too; SIGHUP has certificates read again.

Exit codes:
  0  ended in order
  1  could not start, for example because the port is taken, or could not close everything in time
  2  wrong usage or configuration
  128 + N  ended at once by signal N, the second one";

/// The whole command line.
pub(crate) fn command() -> Command {
    let config = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .value_parser(NonEmptyStringValueParser::new())
        .help("Read options from this TOML file")
        .global(true);
    Command::new("sedge")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .subcommand(
            Command::new("cluster")
                .about("Serves with many processes; this is also what happens without a command")
                .after_help(AFTER),
        )
        .subcommand(Command::new("serve").about("Serves with this process alone").after_help(AFTER))
        .subcommand(
            Command::new("status")
                .about("Shows the workers of a running cluster; fails unless it serves")
                .arg(
                    Arg::new(JSON)
                        .long(JSON)
                        .action(ArgAction::SetTrue)
                        .help("As JSON, for programs"),
                ),
        )
        .subcommand(
            Command::new("drain")
                .about("Ends a running cluster in order, or replaces a worker")
                .arg(
                    Arg::new(WORKER)
                        .value_name("WORKER")
                        .value_parser(value_parser!(u8))
                        .help("Only this worker, which is started anew"),
                ),
        )
        .subcommand(Command::new("stop").about("Ends a running cluster at once"))
        .subcommand(
            Command::new("check-config")
                .about("Shows the configuration in effect, or what is wrong with it"),
        )
        .subcommand(hash_bench::command())
        .arg(config)
        .args(OPTIONS.iter().flat_map(flags))
}

/// The flags of one option.
fn flags(spec: &'static Spec) -> Vec<Arg> {
    let help = match (spec.form, spec.default) {
        (Form::One(_) | Form::List(_), Some(default)) => {
            format!("{} [default: {default}]", spec.help)
        }
        _ => spec.help.to_owned(),
    };
    let flag = Arg::new(spec.name).long(spec.name).help(help).help_heading(spec.group).global(true);
    match spec.form {
        Form::Hidden => Vec::new(),
        Form::One(value) => vec![flag.value_name(value)],
        Form::List(value) => vec![flag.value_name(value).action(ArgAction::Append)],
        Form::Switch => {
            let on = spec.default == Some("true");
            let no = Arg::new(no(spec))
                .long(no(spec))
                .help(spec.help)
                .help_heading(spec.group)
                .action(ArgAction::SetTrue)
                .conflicts_with(spec.name)
                .hide(!on)
                .global(true);
            let yes = flag
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .hide(on);
            vec![yes, no]
        }
    }
}

/// The flag that turns a switch off.
fn no(spec: &Spec) -> String {
    format!("no-{}", spec.name)
}

/// The task and the flags.
pub(crate) fn read(matches: &ArgMatches) -> (Task, Layer) {
    let (task, matches) = match matches.subcommand() {
        Some(("check-config", matches)) => (Task::CheckConfig, matches),
        Some((hash_bench::NAME, matches)) => {
            return (Task::HashBench(hash_bench::read(matches)), Layer::new());
        }
        Some(("serve", matches)) => (Task::Serve, matches),
        Some(("status", matches)) => {
            (Task::Ask(Question::Status { json: matches.get_flag(JSON) }), matches)
        }
        Some(("drain", matches)) => {
            (Task::Ask(Question::Drain { worker: matches.get_one(WORKER).copied() }), matches)
        }
        Some(("stop", matches)) => (Task::Ask(Question::Stop), matches),
        Some((_, matches)) => (Task::Cluster, matches),
        None => (Task::Cluster, matches),
    };
    let mut layer = Layer::new();
    let mut give = |name, values| {
        layer.insert(name, Given { values, source: Source::Flag });
    };
    let typed = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if let Some(file) = matches.get_one::<String>(CONFIG) {
        give(CONFIG, vec![file.clone()]);
    }
    for spec in OPTIONS.iter().filter(|spec| spec.form != Form::Hidden) {
        if spec.form == Form::Switch && typed(&no(spec)) {
            give(spec.name, vec!["false".to_owned()]);
        } else if let Some(values) = matches.get_many::<String>(spec.name) {
            give(spec.name, values.flat_map(|value| split(spec, value)).collect());
        }
    }
    debug_assert!(layer.keys().all(|name| *name == CONFIG || find(name).is_some()));
    (task, layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (Task, Layer) {
        read(&command().try_get_matches_from(line.split(' ')).unwrap())
    }

    fn values(line: &str, name: &str) -> Vec<String> {
        parse(line).1.remove(name).map(|given| given.values).unwrap_or_default()
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_command_or_without_one() {
        for (line, task) in [
            ("sedge --path /a", Task::Cluster),
            ("sedge cluster --path /a", Task::Cluster),
            ("sedge serve --path /a", Task::Serve),
            ("sedge --path /a serve", Task::Serve),
            ("sedge --path /a status --json", Task::Ask(Question::Status { json: true })),
            ("sedge drain 3 --path /a", Task::Ask(Question::Drain { worker: Some(3) })),
        ] {
            assert_eq!(parse(line).0, task, "{line}");
            assert_eq!(values(line, "path"), ["/a"], "{line}");
        }
        assert_eq!(parse("sedge check-config --path /a").0, Task::CheckConfig);
        assert_eq!(parse("sedge").1, Layer::new());
    }

    #[test]
    fn lists_are_repeated_or_separated_by_commas() {
        let line = "sedge --listen 127.0.0.1:1,127.0.0.1:2 --listen [::1]:3";
        assert_eq!(values(line, "listen"), ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"]);
    }

    #[test]
    fn switches_go_both_ways() {
        for (line, name, value) in [
            ("sedge --allow-eio3", "allow-eio3", "true"),
            ("sedge --allow-eio3=false", "allow-eio3", "false"),
            ("sedge --no-allow-eio3", "allow-eio3", "false"),
            ("sedge --no-demo", "demo", "false"),
            ("sedge --demo serve", "demo", "true"),
        ] {
            assert_eq!(values(line, name), [value], "{line}");
        }
    }

    #[test]
    fn the_secret_has_no_flag_and_nonsense_is_refused() {
        for line in ["sedge --secret x", "sedge --weather", "sedge dance", "sedge --path"] {
            let error = command().try_get_matches_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_help_names_every_option_with_its_default() {
        let help = command().render_help().to_string();
        for spec in OPTIONS.iter().filter(|spec| spec.form != Form::Hidden) {
            let flag = match (spec.form, spec.default) {
                (Form::Switch, Some("true")) => format!("--no-{}", spec.name),
                _ => format!("--{}", spec.name),
            };
            assert!(help.contains(&flag), "{flag} in {help}");
        }
        for part in ["[default: 25s]", "Examples:", "Exit codes:", "/metrics", "SEDGE_SECRET"] {
            assert!(help.contains(part), "{part} in {help}");
        }
    }
}
