//! The log: on standard error, as text for people or as JSON for programs.
//!
//! Whatever becomes of standard error (a full disk, a reader that has gone, or one that does not read) must
//! neither end nor delay serving. So a thread of its own writes the lines; what it cannot write, and what
//! does not fit into its queue, is lost, counted, and told of in a line once there can be one again.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sedge_log::Throttle;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::settings::Settings;
use crate::config::units::LogFormat;
use crate::limits::{LOG_FLUSH_TIMEOUT, LOG_LINES_MAX};

/// The log of this process, once it has started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: NonBlocking,
    /// Lines that were to be written.
    begun: AtomicU64,
    /// Lines that were taken from the queue, and those of them that could not be written.
    done: AtomicU64,
    failed: AtomicU64,
    /// Never dropped: it would write to standard output if the thread does not come to an end.
    _thread: WorkerGuard,
}

/// Starts logging, once per process. Panics are lines of the log from then on.
pub(crate) fn start(settings: &Settings) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LOG_LINES_MAX);
    let outlet = Outlet { out: io::stderr(), torn: false, told: 0, telling: Throttle::new() };
    let (queue, thread) = builder.thread_name("sedge-log").finish(outlet);
    let zero = AtomicU64::default;
    let log = Log { queue, begun: zero(), done: zero(), failed: zero(), _thread: thread };
    if LOG.set(log).is_err() {
        return;
    }
    let worker = std::env::var(sedge_cluster::WORKER_VARIABLE).ok();
    // It has been read before, to validate it.
    let filter = EnvFilter::new(&settings.log_level.0);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(|| Entrance);
    match settings.log_format {
        LogFormat::Text => {
            let lines = tracing_subscriber::fmt::format().with_ansi(io::stderr().is_terminal());
            log.event_format(Marked { lines, worker, json: false }).init();
        }
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt::format().json().flatten_event(true);
            let fields = tracing_subscriber::fmt::format::JsonFields::new();
            log.fmt_fields(fields).event_format(Marked { lines, worker, json: true }).init();
        }
    }
    std::panic::set_hook(Box::new(tell_panic));
}

/// Lines of the log that were lost since the start.
pub(crate) fn lines_lost() -> u64 {
    LOG.get().map_or(0, |log| log.failed.load(Ordering::Relaxed) + log.dropped())
}

/// The lost lines in Prometheus' text format, by this name.
pub(crate) fn prometheus(name: &str) -> String {
    let help = "Lines of the log that standard error did not take.";
    format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", lines_lost())
}

/// Writes a line that is none of the log's: why the command ends, for whoever started it.
pub(crate) fn say(line: &str) {
    let line = format!("{line}\n");
    // If nobody takes it, nobody is left to tell.
    let _ = match LOG.get() {
        Some(_) => Entrance.write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    };
}

/// Waits until what was logged is written, for a bounded time. To be called before the process ends.
pub(crate) fn flush() {
    let Some(log) = LOG.get() else { return };
    let begin = Instant::now();
    while log.is_behind() && begin.elapsed() < LOG_FLUSH_TIMEOUT {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Log {
    /// Lines for which there was no room.
    fn dropped(&self) -> u64 {
        self.queue.error_counter().dropped_lines() as u64
    }

    fn is_behind(&self) -> bool {
        self.done.load(Ordering::Acquire) + self.dropped() < self.begun.load(Ordering::Acquire)
    }
}

/// Where lines go in: it never waits and never fails.
struct Entrance;

impl Write for Entrance {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            log.begun.fetch_add(1, Ordering::AcqRel);
            log.queue.clone().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines come out, on the thread that may wait.
struct Outlet<W> {
    out: W,
    /// A line was written in part.
    torn: bool,
    /// Lost lines that the log has told of.
    told: u64,
    telling: Throttle,
}

impl<W: Write> Outlet<W> {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.torn = !rest.is_empty();
        }
        Ok(())
    }

    /// Says how many lines are missing, now that one has been written again.
    fn tell_lost(&mut self) {
        let lost = lines_lost();
        if lost > self.told && self.telling.pass().is_some() {
            let lines = lost - self.told;
            self.told = lost;
            tracing::warn!(lines, "lines of the log were lost: standard error did not take them");
        }
    }
}

impl<W: Write> Write for Outlet<W> {
    /// Takes a line, whatever becomes of it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.put(line).is_ok();
        if let Some(log) = LOG.get() {
            if !written {
                log.failed.fetch_add(1, Ordering::Relaxed);
            }
            log.done.fetch_add(1, Ordering::AcqRel);
        }
        if written {
            self.tell_lost();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines that say which worker they are from, whatever thread logs them: all workers and the supervisor
/// write to one place.
struct Marked<F> {
    lines: F,
    worker: Option<String>,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for Marked<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(worker) = &self.worker else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}') {
            Some(object) if self.json => writeln!(writer, "{object},\"worker\":{worker}}}"),
            _ => writeln!(writer, "{line} worker={worker}"),
        }
    }
}

/// Panics by their place in the code, of which there are only so many. Clients may be able to cause them.
static PANICS: Mutex<BTreeMap<String, Throttle>> = Mutex::new(BTreeMap::new());

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let mut places = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    let due = places.entry(place.clone()).or_default().pass();
    drop(places);
    let Some(left_out) = due else { return };
    let left_out = (left_out > 0).then_some(left_out);
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let words = panic.payload_as_str().unwrap_or("without words");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    if tracing::enabled!(Level::ERROR) {
        let backtrace = backtrace.as_ref().map(tracing::field::display);
        tracing::error!(left_out, thread = name, place, backtrace, "panic: {words}");
    } else {
        say(&format!("sedge: thread {name} panicked at {place}: {words}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a number of bytes, fails once, and takes everything from then on.
    struct Disk {
        room: Option<usize>,
        content: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = match self.room {
                Some(0) => {
                    self.room = None;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Some(room) => bytes.len().min(room),
                None => bytes.len(),
            };
            self.room = self.room.map(|room| room - len);
            self.content.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_torn_does_not_spoil_the_next() {
        let out = Disk { room: Some(8), content: Vec::new() };
        let mut outlet = Outlet { out, torn: false, told: 0, telling: Throttle::new() };
        for line in ["first\n", "second\n", "third\n"] {
            outlet.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(String::from_utf8(outlet.out.content).unwrap(), "first\nse\nthird\n");
    }
}
