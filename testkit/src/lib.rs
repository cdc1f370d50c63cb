//! Raw clients for tests: they show exactly what a server sends, and send exactly what they are told.
//!
//! They block, with a deadline on every wait; a failed expectation or a passed deadline panics, which
//! fails the test. Nothing here sleeps.

mod http;
mod sio;
mod ws;

use std::time::Duration;

pub use http::{HttpResponse, RawHttp};
pub use sio::SioClient;
pub use ws::{Frame, RawWs};

/// The longest a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(10);
