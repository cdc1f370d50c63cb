//! A shard: one thread, and the sockets whose connections it owns.
//!
//! The engine calls [`app`], and so do other threads, with a [`command`]. From there a packet goes to its
//! socket ([`clients`]) and the event to its handlers ([`run`]); what another process has sent goes to
//! [`server_side`]. The other way, a socket's [`packets`] and [`operations`] on many sockets go to the
//! engine. The state of all this is [`local`].

mod app;
mod client;
mod clients;
pub(crate) mod command;
pub(crate) mod dispatch;
mod handshake_value;
mod listing;
pub(crate) mod local;
mod members;
pub(crate) mod operations;
pub(crate) mod packets;
mod run;
pub(crate) mod server_side;
mod slots;
mod tasks;
mod waiting;
