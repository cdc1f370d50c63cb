//! A listener without a port: it serves connections that the process is given.

use std::fmt;
use std::sync::Arc;

use super::Engine;
use crate::application::Application;
use crate::net::passed::Passed;
use crate::worker::command::{ShardHandle, least_loaded};
use crate::worker::listen::{ListenOptions, ListenerContext};

/// A listener without a port: it serves connections that the process is given.
pub struct Inlet<A: Application> {
    shards: Arc<[ShardHandle<A>]>,
    context: Arc<ListenerContext>,
    connections_max: usize,
}

impl<A: Application> Engine<A> {
    /// Serves connections that are given to the process, with options as for a listener. One that is
    /// [`secure`](Passed::secure) already is not decrypted.
    pub fn inlet(&self, options: ListenOptions) -> Inlet<A> {
        Inlet {
            shards: Arc::clone(self.shards()),
            context: Arc::new(ListenerContext::new(options)),
            connections_max: self.config().local.connections_max,
        }
    }
}

impl<A: Application> Inlet<A> {
    /// Gives a connection to the shard that has the fewest. Never blocks. The connection is returned if
    /// all shards have as many as they may, or have ended.
    pub fn give(&self, connection: Passed) -> Result<(), Passed> {
        match least_loaded(&self.shards, 0) {
            Some((shard, load)) if load < self.connections_max as u64 => {
                self.shards[shard].accept(connection, &self.context)
            }
            _ => Err(connection),
        }
    }
}

impl<A: Application> fmt::Debug for Inlet<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inlet").finish_non_exhaustive()
    }
}
