//! What the protocols ask of a server, behaviour by behaviour, at a server with one shard and at one with
//! several, where every request of a session arrives on a connection of its own and so on any shard.
//!
//! The public suites of the Socket.IO project check the same; `tests/suites` runs them where their code can
//! be had. These need nothing, know more versions, and wait for what happens, not for time to pass.

mod engine_io;
mod heartbeats;
mod socket_io;
mod subject;
mod upgrades;
