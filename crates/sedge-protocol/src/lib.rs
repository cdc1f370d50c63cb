//! The protocols of Socket.IO as values: bytes and time go in, packets and decisions come out.
//!
//! Nothing here names a socket, a clock, a task or a random number generator. What needs the time
//! or randomness takes it as an argument, so every rule can be tested without waiting.
//!
//! The layers, from the wire up:
//!
//! - [`request`]: what an HTTP request is, and [`cookie`]s that an answer sets;
//! - [`ws`]: WebSocket frames as a server reads and writes them (RFC 6455, RFC 7692);
//! - [`engine`]: Engine.IO 3 and 4 packets and polling payloads, and the session state machine;
//! - [`socketio`]: Socket.IO packets, their JSON and msgpack forms, and binary attachments;
//! - [`sid`]: session ids that say which node, worker and shard own the session.

pub mod cookie;
pub mod engine;
pub mod limits;
pub mod request;
pub mod sid;
pub mod socketio;
pub mod ws;
