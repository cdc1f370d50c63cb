//! The engine as clients see it, good ones and bad ones, over real sockets.
//!
//! Every test has a server of its own. After each scenario nothing may be left of it, and a
//! well-behaved client on the same server must not have noticed it.

mod arrivals;
mod bodies;
mod common;
mod forwarded;
mod frames;
mod headers;
mod limits;
mod panics;
mod polling;
mod reading;
mod requests;
mod services;
mod shards;
mod timeouts;
mod transports;
mod upgrades;
mod workers;
