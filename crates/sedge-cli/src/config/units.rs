//! How values are written: durations such as `25s`, sizes such as `16MiB`, and the other kinds that
//! options have. Every kind can be read from text and shown as a TOML value.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sedge::Transport;
use sedge_sticky::forwarded::Header;
use sedge_sticky::{Hash, Method, Network};
use tracing_subscriber::EnvFilter;

/// A kind of value.
pub(crate) trait Setting: Sized {
    /// Reads a value. The error is a clause about the text, such as `"x" is not a number`.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as it would stand in a TOML file.
    fn show(&self) -> String;
}

/// Text as a TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The units of a duration, the largest first.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of a size; of those that divide it, the first is used to show it.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

/// A whole number and what stands behind it.
fn number_and_unit(text: &str) -> (Option<u64>, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit.trim_start())
}

impl Setting for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text);
        if let (Some(number), "") = (number, unit) {
            return Err(format!("{text:?} has no unit: write {number}s or {number}ms"));
        }
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
        let millis = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        let wrong = || format!("{text:?} is not a duration: write it like 25s, 500ms, 2m or 1h");
        millis.map(Duration::from_millis).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        let millis = self.as_millis() as u64;
        let fits = |(_, factor): &&(&str, u64)| millis.is_multiple_of(*factor);
        match DURATION_UNITS.iter().find(fits) {
            Some((unit, factor)) if millis > 0 => format!("\"{}{unit}\"", millis / factor),
            _ => "\"0s\"".to_owned(),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl Setting for Size {
    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text);
        let unit = if unit.is_empty() { "B" } else { unit };
        let factor = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes =
            number.zip(factor).and_then(|(number, (_, factor))| number.checked_mul(*factor));
        let wrong = || format!("{text:?} is not a size: write it like 64kB, 1MB, 16MiB or 1000000");
        bytes.and_then(|bytes| usize::try_from(bytes).ok()).map(Size).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        let bytes = self.0 as u64;
        let fits = |(_, factor): &&(&str, u64)| bytes.is_multiple_of(*factor);
        match SIZE_UNITS.iter().find(fits) {
            Some((unit, factor)) if bytes > 0 => format!("\"{}{unit}\"", bytes / factor),
            _ => "\"0B\"".to_owned(),
        }
    }
}

/// Whether, and from which size on, something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Off,
    /// From the library's own threshold on.
    On,
    From(Size),
}

impl Setting for Compression {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" | "false" => Ok(Compression::Off),
            "on" | "true" => Ok(Compression::On),
            _ => Size::parse(text).map(Compression::From).map_err(|_| {
                format!(
                    "{text:?} is none of on, off and a size from which on to compress, like 4KiB"
                )
            }),
        }
    }

    fn show(&self) -> String {
        match self {
            Compression::Off => "\"off\"".to_owned(),
            Compression::On => "\"on\"".to_owned(),
            Compression::From(size) => size.show(),
        }
    }
}

/// How many threads serve connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shards {
    /// One for each processor.
    Auto,
    Count(usize),
}

impl Setting for Shards {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Shards::Auto),
            _ => text
                .parse()
                .map(Shards::Count)
                .map_err(|_| format!("{text:?} is neither a number nor auto")),
        }
    }

    fn show(&self) -> String {
        match self {
            Shards::Auto => "\"auto\"".to_owned(),
            Shards::Count(count) => count.to_string(),
        }
    }
}

/// How many processes serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    /// One for each processor.
    Auto,
    Count(u16),
}

impl Setting for Workers {
    fn parse(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Workers::Auto),
            (_, Ok(count @ 1..=256)) => Ok(Workers::Count(count)),
            _ => Err(format!("{text:?} is neither a number from 1 to 256 nor auto")),
        }
    }

    fn show(&self) -> String {
        match self {
            Workers::Auto => "\"auto\"".to_owned(),
            Workers::Count(count) => count.to_string(),
        }
    }
}

impl Setting for u16 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not a number from 0 to 65535"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Setting for Mode {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(bits @ 0..=0o777) => Ok(Mode(bits)),
            _ => Err(format!("{text:?} is not a mode: write octal digits as for chmod, like 660")),
        }
    }

    fn show(&self) -> String {
        quoted(&format!("{:03o}", self.0))
    }
}

/// Kinds that `sedge-sticky` can read and show itself.
macro_rules! of_sticky {
    ($($Kind:ty),+) => {$(
        impl Setting for $Kind {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error| format!("{text:?}: {error}"))
            }

            fn show(&self) -> String {
                quoted(&self.to_string())
            }
        }
    )+};
}
of_sticky!(Method, Hash, Network);

impl Setting for Header {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Header::None),
            "x-forwarded-for" => Ok(Header::XForwardedFor),
            "forwarded" => Ok(Header::Forwarded),
            _ => Err(format!("{text:?} is none of x-forwarded-for, forwarded and none")),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Header::None => "none",
            Header::XForwardedFor => "x-forwarded-for",
            Header::Forwarded => "forwarded",
        })
    }
}

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(PathBuf::from(text))
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Setting for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        let local = || {
            let port = text.strip_prefix("localhost:")?.parse().ok()?;
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        text.parse().ok().or_else(local).ok_or_else(|| {
            format!(
                "{text:?} is not an address to listen on: write IP:PORT, like 127.0.0.1:3000, \
                 0.0.0.0:80 or [::]:80 (port 0: a free one)"
            )
        })
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for Transport {
    fn parse(text: &str) -> Result<Self, String> {
        [Transport::Polling, Transport::WebSocket]
            .into_iter()
            .find(|transport| transport.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a transport: there are polling and websocket"))
    }

    fn show(&self) -> String {
        quoted(self.as_str())
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Setting for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }

    fn show(&self) -> String {
        match self {
            LogFormat::Text => "\"text\"".to_owned(),
            LogFormat::Json => "\"json\"".to_owned(),
        }
    }
}

/// What is logged: a level, or directives such as `info,sedge_engine=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLevel(pub(crate) String);

impl Setting for LogLevel {
    fn parse(text: &str) -> Result<Self, String> {
        // A bare word that is no level would be taken for the name of a module.
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let known = |part: &str| part.contains('=') || levels.contains(&part.trim());
        if text.split(',').all(known) && EnvFilter::try_new(text).is_ok() {
            return Ok(LogLevel(text.to_owned()));
        }
        Err(format!(
            "{text:?} is not a log level: write error, warn, info, debug, trace or off, or a list \
             like info,sedge_engine=debug"
        ))
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_in_their_largest_unit() {
        let table = [
            ("25s", 25_000, "25s"),
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("60m", 3_600_000, "1h"),
            ("0s", 0, "0s"),
            ("2 s", 2000, "2s"),
        ];
        for (text, millis, shown) in table {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(duration.show(), format!("{shown:?}"), "{text}");
        }
    }

    #[test]
    fn wrong_durations_say_how_to_write_them() {
        assert_eq!(Duration::parse("25").unwrap_err(), "\"25\" has no unit: write 25s or 25ms");
        for text in
            ["", "s", "-1s", "1.5s", "1 week", "99999999999999999999s", "18446744073709551615h"]
        {
            let error = Duration::parse(text).unwrap_err();
            assert!(error.contains("is not a duration: write it like 25s"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_decimal_and_binary() {
        let table = [
            ("1MB", 1_000_000, "1MB"),
            ("16MiB", 16 << 20, "16MiB"),
            ("1000000", 1_000_000, "1MB"),
            ("64kb", 64_000, "64kB"),
            ("1 KiB", 1024, "1KiB"),
            ("1025", 1025, "1025B"),
            ("0", 0, "0B"),
        ];
        for (text, bytes, shown) in table {
            let size = Size::parse(text).unwrap();
            assert_eq!(size, Size(bytes), "{text}");
            assert_eq!(size.show(), format!("{shown:?}"), "{text}");
            assert_eq!(Size::parse(size.show().trim_matches('"')), Ok(size), "{text}");
        }
        for text in ["", "MB", "1TBB", "-1", "1.5MB", "99999999999GiB"] {
            assert!(Size::parse(text).unwrap_err().contains("is not a size"), "{text}");
        }
    }

    #[test]
    fn addresses_need_an_ip_and_a_port() {
        assert_eq!(SocketAddr::parse("localhost:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(SocketAddr::parse("[::1]:3000").unwrap().to_string(), "[::1]:3000");
        for text in ["3000", ":3000", "127.0.0.1", "example.com:80", "127.0.0.1:70000"] {
            assert!(SocketAddr::parse(text).unwrap_err().contains("write IP:PORT"), "{text}");
        }
    }

    #[test]
    fn levels_are_levels_or_directives() {
        for text in ["info", "off", "info,sedge_engine=debug"] {
            assert!(LogLevel::parse(text).is_ok(), "{text}");
        }
        for text in ["loud", "info,sedge_engine", "sedge=loud", ""] {
            assert!(LogLevel::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_other_kinds_show_what_they_read() {
        assert_eq!(Compression::parse("4KiB").unwrap().show(), "\"4KiB\"");
        assert_eq!(Compression::parse("true").unwrap(), Compression::On);
        assert!(Compression::parse("maybe").is_err());
        assert_eq!(Shards::parse("auto").unwrap().show(), "\"auto\"");
        assert_eq!(Shards::parse("4").unwrap().show(), "4");
        assert!(Shards::parse("some").is_err());
        for text in ["660", "0660", "0o660"] {
            assert_eq!(Mode::parse(text).unwrap().show(), "\"660\"");
        }
        for text in ["", "1000", "68", "-1", "rw"] {
            assert!(Mode::parse(text).unwrap_err().contains("is not a mode"), "{text}");
        }
        assert_eq!(bool::parse("off"), Ok(false));
        assert!(bool::parse("maybe").is_err());
        assert_eq!(Transport::parse("websocket").unwrap().show(), "\"websocket\"");
        assert!(Transport::parse("WebSocket").is_err());
        assert_eq!(quoted("a\"b\\c"), "'a\"b\\c'");
    }
}
