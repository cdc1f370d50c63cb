//! `sedge hash-bench`: compares ways to place clients by their address. The comparison is
//! `sedge-sticky`'s; here its time is measured and its outcome is written as tables.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sedge_sticky::hash_bench::{Addresses, Family, Outcome, SLOTS_MAX, SLOTS_MIN, compare};

use crate::limits::{BENCH_ADDRESSES_MAX, BENCH_SCATTER_SLOTS_MAX};

/// The name of the command.
pub(crate) const NAME: &str = "hash-bench";
/// As in the published benchmark.
const ADDRESSES: u64 = 1_000_000;

const HELP: &str = "\
Compares ways to place clients by their address, as sticky balancers do.

Usage: sedge hash-bench [--ipv6] [--addresses COUNT] [--seed NUMBER] N

It places random addresses over N slots (workers or servers) and shows for each way
  ms, ns each   how long that took, for all addresses and for each of them
  smallest, largest
                the share of addresses on the emptiest and the fullest slot: 1/N would be even
  added         the share of addresses that go elsewhere once there is one slot more
  removed       the same once the slot in the middle is gone. Whoever goes elsewhere loses its
                session, so less is better; the last line says how many have to move

and how many addresses each slot got, if there are at most 12.

The first five ways are those of the benchmark of the npm package node-cluster-socket.io, which this
reproduces: hashes of the address's text, modulo N. What its README says (Node.js, a million addresses,
4 slots) stands beside if N is 4. A way that makes `NaN` of an address places it nowhere.
  int31         sticky-session
  numeric_real  the four bytes as one number
  simple_regex, simple_loop
                the digits of the text as one number
  farmhash      node-cluster-socket.io
The others are Sedge's own, two of them exactly as nginx has them:
  ip_hash       nginx's ip_hash: the first three bytes of IPv4 addresses, all of IPv6
  consistent    nginx's `hash $remote_addr consistent`: a ring of 160 points a server
  rendezvous    every slot draws, the highest draw wins

Arguments:
  N                  how many slots, 2 to 1023

Options:
      --ipv6         IPv6 addresses instead of IPv4
      --addresses COUNT
                     how many addresses [default: 1000000]
      --seed NUMBER  which addresses: the same for the same number [default: 1]
  -h, --help         Print help

Examples:
  sedge hash-bench 4             the published benchmark
  sedge hash-bench 4 --ipv6      where most of its ways fail
  sedge hash-bench 16            what a seventeenth worker costs
";

/// What is to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashBench {
    slots: u16,
    family: Family,
    addresses: u64,
    seed: u64,
}

/// The command line. Its help is written out, since the options of the server, which are global, mean
/// nothing here.
pub(crate) fn command() -> Command {
    let slots = value_parser!(u16).range(i64::from(SLOTS_MIN)..=i64::from(SLOTS_MAX));
    let addresses = value_parser!(u64).range(1..=BENCH_ADDRESSES_MAX);
    Command::new(NAME)
        .about("Compares ways to place clients by their address")
        .override_help(HELP)
        .arg(Arg::new("slots").value_name("N").required(true).value_parser(slots))
        .arg(Arg::new("ipv6").long("ipv6").action(ArgAction::SetTrue))
        .arg(Arg::new("addresses").long("addresses").value_name("COUNT").value_parser(addresses))
        .arg(Arg::new("seed").long("seed").value_name("NUMBER").value_parser(value_parser!(u64)))
}

/// What the command line says.
pub(crate) fn read(matches: &ArgMatches) -> HashBench {
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    HashBench {
        slots: matches.get_one("slots").copied().unwrap_or(SLOTS_MIN),
        family: if matches.get_flag("ipv6") { Family::Ipv6 } else { Family::Ipv4 },
        addresses: number("addresses").unwrap_or(ADDRESSES),
        seed: number("seed").unwrap_or(1),
    }
}

/// Compares, and writes what came out to standard output.
pub(crate) fn run(bench: HashBench) -> ExitCode {
    let begin = Instant::now();
    let count = usize::try_from(bench.addresses).unwrap_or(usize::MAX);
    let addresses = Addresses::new(bench.family, bench.seed).take(count);
    let outcomes = compare(bench.slots, addresses, || begin.elapsed());
    // Nobody may be reading, which is no fault.
    let _ = std::io::stdout().write_all(report(bench, &outcomes).as_bytes());
    ExitCode::SUCCESS
}

/// All that is to be said.
fn report(bench: HashBench, outcomes: &[Outcome]) -> String {
    let family = match bench.family {
        Family::Ipv4 => "IPv4",
        Family::Ipv6 => "IPv6",
    };
    let (addresses, slots) = (grouped(bench.addresses), bench.slots);
    let mut text = format!("{addresses} random {family} addresses over {slots} slots\n\n");
    text.push_str(&figures(bench, outcomes).aligned());
    if usize::from(slots) <= BENCH_SCATTER_SLOTS_MAX {
        text.push_str("\nAddresses in each slot\n\n");
        text.push_str(&scatter(bench, outcomes).aligned());
    }
    if cfg!(debug_assertions) {
        text.push_str("\nThis program was built without optimisation: the times say nothing.\n");
    }
    text
}

/// Whether there is something published to compare with.
fn is_published(bench: HashBench) -> bool {
    bench.slots == 4
}

fn figures(bench: HashBench, outcomes: &[Outcome]) -> Table {
    let mut table = Table::default();
    let mut head = vec!["", "ms", "ns each", "smallest", "largest", "added", "removed"];
    if is_published(bench) {
        head.extend(["published ms", "smallest", "largest"]);
    }
    table.row(head);
    for outcome in outcomes {
        let mut row = vec![
            outcome.scheme.as_str().to_owned(),
            format!("{:.0}", outcome.time.as_secs_f64() * 1e3),
            format!("{:.1}", outcome.time.as_secs_f64() * 1e9 / bench.addresses as f64),
        ];
        if outcome.unplaced == bench.addresses {
            row.extend(["NaN", "NaN", "-", "-"].map(str::to_owned));
        } else {
            row.extend(extremes(&outcome.scatter, bench.addresses));
            row.push(percent(outcome.moved_by_adding, bench.addresses));
            row.push(percent(outcome.moved_by_removing, bench.addresses));
        }
        if is_published(bench)
            && let Some(published) = outcome.scheme.published(bench.family)
        {
            row.push(grouped(published.millis));
            row.extend(match published.scatter {
                Some(scatter) => extremes(&scatter, ADDRESSES),
                None => ["NaN", "NaN"].map(str::to_owned),
            });
        }
        table.row(row);
    }
    let slots = u64::from(bench.slots);
    let even = percent(1, slots);
    let added = percent(1, slots + 1);
    table.row(["even, and has to move", "", "", &even, &even, &added, &even]);
    table
}

fn scatter(bench: HashBench, outcomes: &[Outcome]) -> Table {
    let mut table = Table::default();
    let slots = (0..bench.slots).map(|slot| slot.to_string());
    table.row([String::new()].into_iter().chain(slots).chain(["nowhere".to_owned()]));
    for outcome in outcomes {
        let counts = outcome.scatter.iter().chain([&outcome.unplaced]).map(|count| grouped(*count));
        table.row([outcome.scheme.as_str().to_owned()].into_iter().chain(counts));
        if !is_published(bench) {
            continue;
        }
        if let Some(published) = outcome.scheme.published(bench.family) {
            let (placed, nowhere) = match published.scatter {
                Some(scatter) => (scatter, 0),
                None => ([0; 4], ADDRESSES),
            };
            let counts = placed.into_iter().chain([nowhere]).map(grouped);
            table.row(["  published".to_owned()].into_iter().chain(counts));
        }
    }
    table
}

/// The shares of the emptiest and the fullest slot.
fn extremes(scatter: &[u64], all: u64) -> [String; 2] {
    let of = |count: Option<&u64>| percent(count.copied().unwrap_or_default(), all);
    [of(scatter.iter().min()), of(scatter.iter().max())]
}

fn percent(part: u64, all: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / all as f64)
}

/// The number with a comma every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows of cells; the first of each is a name, the others are numbers.
#[derive(Default)]
struct Table(Vec<Vec<String>>);

impl Table {
    fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.push(cells.into_iter().map(Into::into).collect());
    }

    /// Names to the left and numbers to the right, two spaces between columns.
    fn aligned(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let widest =
            |column: usize| self.0.iter().filter_map(|row| row.get(column)).map(String::len).max();
        let widths: Vec<usize> = (0..columns).map(|c| widest(c).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a String cannot fail.
                let _ = match at {
                    0 => write!(line, "{cell:<width$}"),
                    _ => write!(line, "  {cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<HashBench, clap::Error> {
        command().try_get_matches_from(line.split(' ')).map(|matches| read(&matches))
    }

    fn bench(slots: u16, family: Family) -> HashBench {
        HashBench { slots, family, addresses: 5000, seed: 1 }
    }

    fn report_of(bench: HashBench) -> String {
        let addresses = Addresses::new(bench.family, bench.seed).take(5000);
        report(bench, &compare(bench.slots, addresses, Default::default))
    }

    #[test]
    fn the_command_line() {
        let four = HashBench { slots: 4, family: Family::Ipv4, addresses: 1_000_000, seed: 1 };
        assert_eq!(parse("hash-bench 4").unwrap(), four);
        let all = HashBench { slots: 2, family: Family::Ipv6, addresses: 10, seed: 9 };
        assert_eq!(parse("hash-bench --ipv6 2 --addresses 10 --seed 9").unwrap(), all);
        for wrong in ["", " 1", " 1024", " four", " 4 --addresses 0", " 4 5"] {
            assert!(parse(&format!("hash-bench{wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_help_says_what_is_true() {
        let command = command();
        for arg in command.get_arguments() {
            let long = arg.get_long().map_or("N ".to_owned(), |name| format!("--{name}"));
            assert!(HELP.contains(&long), "{long}");
        }
        let slots = format!("{SLOTS_MIN} to {SLOTS_MAX}");
        assert!(HELP.contains(&slots) && HELP.contains(&format!("[default: {ADDRESSES}]")));
        for scheme in sedge_sticky::hash_bench::Scheme::ALL {
            assert!(HELP.contains(scheme.as_str()), "{scheme:?}");
        }
    }

    #[test]
    fn four_slots_stand_beside_what_was_published() {
        let text = report_of(bench(4, Family::Ipv4));
        let of = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(text.starts_with("5,000 random IPv4 addresses over 4 slots\n"), "{text}");
        assert!(of("int31").ends_with("874    24.9 %   25.1 %"), "{text}");
        assert!(of("rendezvous").ends_with(" %"), "{text}");
        let published: Vec<&str> = of("  published").split_whitespace().collect();
        assert_eq!(published, ["published", "249,145", "250,189", "249,969", "250,697", "0"]);
        let ipv6 = report_of(bench(4, Family::Ipv6));
        assert!(ipv6.contains("NaN") && ipv6.contains("1,261"), "{ipv6}");
        assert!(!report_of(bench(5, Family::Ipv4)).contains("published"));
    }

    #[test]
    fn columns_stand_below_one_another() {
        let text = report_of(bench(5, Family::Ipv4));
        let table = text.split("\n\n").nth(1).unwrap();
        assert!(
            table.lines().all(|line| line.len() == table.lines().next().unwrap().len()),
            "{text}"
        );
        let wide = report_of(bench(100, Family::Ipv4));
        assert!(
            !wide.contains("in each slot") && wide.lines().all(|line| line.len() < 100),
            "{wide}"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
