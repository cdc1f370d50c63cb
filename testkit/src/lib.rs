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

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
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

/// The first of so many ports in a row that were free a moment ago. They lie below those that systems
/// give to connections, so that none of them is taken by chance.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 1000) as u16 * 15;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let found = (0..1000).find_map(|_| {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let base = 15_000 + begin.wrapping_add(offset) % 15_000;
        (base..base + count).all(|port| free(&port)).then_some(base)
    });
    found.expect("free ports")
}
