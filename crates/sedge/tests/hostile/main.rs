//! Clients that break the rules of Socket.IO, on purpose or not, and applications that fail. Whatever
//! one does, the server answers as the official one would, or as its own limits say; it keeps nothing
//! of it; and another client of the same thread notices nothing.
//!
//! What is beneath Socket.IO (requests, frames, transports) is tested in `sedge-engine`.

#[path = "../common/mod.rs"]
mod common;

mod acks;
mod binary;
mod closing;
mod floods;
mod joining;
mod msgpack;
mod nesting;
mod old;
mod packets;
mod panics;
mod rooms;
mod slow;
mod stage;
