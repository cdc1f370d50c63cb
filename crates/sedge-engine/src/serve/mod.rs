//! Connections, from their acceptance to the requests they bring: [`listener`] spreads them over the shards,
//! [`connection`] is one of them, and [`native`] and [`hyper`] read its requests.

mod connection;
mod hyper;
pub(crate) mod listener;
mod native;
