//! The log: on standard error, as text for people or as JSON for programs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::settings::Settings;
use crate::config::units::LogFormat;

/// Starts logging. Once per process.
pub(crate) fn start(settings: &Settings) {
    // It has been read before, to validate it.
    let filter = EnvFilter::new(&settings.log_level.0);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
