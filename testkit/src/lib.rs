//! Raw clients for tests: they show exactly what a server sends, and send exactly what they are told.
//!
//! They block, with a deadline on every wait; a failed expectation or a passed deadline panics, which
//! fails the test. They share no code with the server.

mod http;
mod log;
pub mod payload;
mod polling;
mod ports;
pub mod requests;
mod sio;
mod stream;
mod wait;
mod ws;

pub use http::{HttpResponse, RawHttp};
pub use log::MemoryLog;
pub use payload::{Form, Packet};
pub use polling::PollingSession;
pub use ports::free_ports;
pub use sio::SioClient;
pub use stream::{Endpoint, RawStream, Stream, Wrap};
pub use wait::{DEADLINE, eventually};
pub use ws::{Frame, RawFrame, RawWs, frame};
