//! A server as one worker of many: it is given connections, passes on those that are its siblings',
//! and lets its clients go in batches when it has to end.

use std::fmt;

use sedge_engine::{Inlet, ListenOptions, Passed};
use tokio::sync::oneshot;

use super::Server;
use crate::core::ShardApp;
use crate::shard::command::Command;

/// A listener without a port; see [`Server::inlet`].
pub struct ServerInlet(Inlet<ShardApp>);

impl ServerInlet {
    /// Gives the server a connection. Never blocks. The connection is returned if the server has as
    /// many as it may, or has been closed.
    pub fn give(&self, connection: Passed) -> Result<(), Passed> {
        self.0.give(connection)
    }
}

impl fmt::Debug for ServerInlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerInlet").finish_non_exhaustive()
    }
}

impl Server {
    /// Serves connections that the process is given by others, with options as for a listener. One
    /// that is [`secure`](Passed::secure) already is not decrypted.
    pub fn inlet(&self, options: ListenOptions) -> ServerInlet {
        ServerInlet(self.engine().inlet(options))
    }

    /// Takes no new sessions from now on, or takes them again. Clients that ask for one get 503 with
    /// `Retry-After`; sessions that are open go on.
    pub fn refuse_sessions(&self, refuse: bool) {
        self.engine().refuse_sessions(refuse);
    }

    /// How many clients have an open session.
    pub fn session_count(&self) -> u64 {
        self.engine().session_count()
    }

    /// Closes the connections of some clients, as [`close`](Server::close) does for all: they see
    /// their transport close and reconnect by themselves. Returns how many were closed, which is fewer
    /// only if there are no more.
    pub async fn close_clients(&self, count: usize) -> usize {
        let shards = self.shard_count();
        let mut closed = 0;
        // Each shard gives its share of what is left; then those that have more give the rest.
        for evenly in [true, false] {
            for shard in 0..shards {
                let left = count - closed;
                let share = if evenly { left.div_ceil(shards - shard) } else { left };
                if share == 0 {
                    return closed;
                }
                let (reply, answer) = oneshot::channel();
                let command = Command::CloseSome { count: share, reply };
                if self.core().command(shard, command).is_ok() {
                    closed += answer.await.unwrap_or(0);
                }
            }
        }
        closed
    }
}
