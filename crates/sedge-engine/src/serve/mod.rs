//! Connections, from their acceptance to the requests they bring: [`listener`] spreads them over the shards,
//! [`connection`] is one of them, and [`native`] and [`hyper`] read its requests, the latter through a [`screen`].

mod connection;
mod hyper;
pub(crate) mod listener;
mod native;
mod screen;

use sedge_protocol::request::head::Limits;

use crate::config::Config;

/// How much a request's head may have, whoever reads it.
fn head_limits(config: &Config) -> Limits {
    let local = &config.local;
    Limits { bytes_max: local.head_bytes_max, headers_max: local.headers_max }
}
