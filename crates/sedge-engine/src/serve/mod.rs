//! Connections, from their acceptance to the requests they bring: [`listener`] spreads them over the shards,
//! [`native`] and [`hyper`] read their requests.

pub(crate) mod hyper;
pub(crate) mod listener;
pub(crate) mod native;
