//! The order in which requests of one session have arrived on several connections.
//!
//! A client that closes sends CLOSE by POST while its GET is on its way or waits. Each of the two has a
//! connection of its own, which another thread may read, and if the CLOSE went first the GET would find its
//! session gone. Everywhere else the order of a client's requests says nothing: it has one GET and one POST
//! under way at a time.

use crate::application::Application;
use crate::limits::{ORDER_ROUNDS, ORDER_TIMEOUT, READ_TURNS};
use crate::worker::Worker;
use crate::worker::command::Command;
use tokio::sync::oneshot;

impl<A: Application> Worker<A> {
    /// Returns when all requests have been begun that had reached the process before this was called. A
    /// shard that has no time for it is waited for no longer than [`ORDER_TIMEOUT`].
    pub(super) async fn let_earlier_requests_by(&self) {
        let all = async {
            // A connection may come by way of the shard that accepted it, and of the one that was given it.
            for _ in 0..ORDER_ROUNDS {
                let mut looked = Vec::new();
                for (index, shard) in self.shards.iter().enumerate() {
                    let (reply, answer) = oneshot::channel();
                    if index != self.shard.index()
                        && shard.sender.try_send(Command::ReadAll(reply)).is_ok()
                    {
                        looked.push(answer);
                    }
                }
                let_others_read().await;
                for answer in looked {
                    // A shard that has ended has nothing to send.
                    let _ = answer.await;
                }
            }
            let_others_read().await;
        };
        let _ = tokio::time::timeout(ORDER_TIMEOUT, all).await;
    }
}

/// Returns after the other tasks of this thread have read what had arrived when this was called.
pub(crate) async fn let_others_read() {
    // tokio looks for what has arrived before it goes on here. A connection that is new may have to be
    // accepted and registered first, which is a turn each.
    for _ in 0..READ_TURNS {
        tokio::task::yield_now().await;
    }
}
