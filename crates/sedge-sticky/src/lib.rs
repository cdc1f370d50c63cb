//! Sticky routing for Socket.IO as values: from the head of a request, the address it came from and
//! a table of targets to a decision. No I/O, no clock, no random generator.
//!
//! ```
//! use sedge_sticky::{Config, Decision, Home, Opening, Reason, Router, Target};
//! use sedge_protocol::sid::{Owner, SidCodec};
//!
//! let sids = SidCodec::new(b"the cluster's secret");
//! let mut router = Router::new(Config { sids: Some(sids.clone()), ..Config::default() })?;
//! for worker in 0..2 {
//!     router.add(Target::new(format!("worker-{worker}")).home(Home::Worker { node: 7, worker }))?;
//! }
//!
//! // The first bytes of a connection, as far as they are here.
//! let sid = sids.encode(Owner { node: 7, worker: 1, shard: 0 }, [42; 8]);
//! let bytes = format!("GET /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n\r\n");
//! let Opening::Request(request) = router.read(bytes.as_bytes(), None) else { panic!() };
//! let Decision::To(route) = router.decide(&request, 0) else { panic!() };
//! assert_eq!((route.target.slot(), route.reason), (1, Reason::BySid));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`router`]: the order in which a request's ties are looked at, and the table of targets;
//! - [`head`], [`proxy`], [`forwarded`]: what a connection's first bytes say; the first and the last are
//!   [`sedge_protocol::request`]'s, so that the servers behind read the same;
//! - [`target`], [`method`]: how new sessions are spread;
//! - [`hash`]: where an address belongs; [`hash_bench`] compares the hashes;
//! - [`cookie`]: cookies that tie a client to a target;
//! - [`limits`]: every bound, with its reason.

#![forbid(unsafe_code)]

pub mod cookie;
pub mod hash;
pub mod hash_bench;
mod learned;
pub mod limits;
pub mod method;
pub mod proxy;
pub mod router;
pub mod target;

pub use cookie::CookieKey;
pub use hash::Hash;
pub use method::Method;
pub use router::{
    Config, ConfigError, Counters, Decision, Opening, Reason, Request, Route, Router, SidFinding,
    TargetStatus,
};
pub use sedge_protocol::cookie::{Cookie, CookieError, SameSite};
pub use sedge_protocol::request::head::Head;
pub use sedge_protocol::request::network::{Network, NetworkError, Networks};
pub use sedge_protocol::request::{forwarded, head};
pub use sedge_protocol::sid::SidCodec;
pub use target::{Availability, Home, Load, Report, Target, TargetError, TargetId};
