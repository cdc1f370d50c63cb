//! Raw clients for tests: they show exactly what a server sends, and send exactly what they are told.
//!
//! They block, with a deadline on every wait; a failed expectation or a passed deadline panics, which
//! fails the test. They share no code with the server.

mod http;
pub mod payload;
mod polling;
mod sio;
mod stream;
mod ws;

use std::time::{Duration, Instant};

pub use http::{HttpResponse, RawHttp};
pub use payload::{Form, Packet};
pub use polling::PollingSession;
pub use sio::SioClient;
pub use stream::{Endpoint, RawStream, Stream, Wrap};
pub use ws::{Frame, RawFrame, RawWs, frame};

/// The longest a test waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until a condition holds, at most for `deadline`, and returns whether it does.
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::park_timeout(LOOK);
    }
}
