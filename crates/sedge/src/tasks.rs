//! Every task of this crate is spawned here, each kind by a name of its own. All of them run on the thread of
//! their shard and end with it; how many there can be, `limits.rs` says.

use std::future::Future;

use sedge_engine::Shard;

/// A handler that waits at an `.await`.
pub(crate) fn handler(shard: &Shard, running: impl Future<Output = ()> + 'static) {
    shard.spawn(running);
}

/// The middlewares that a socket has to pass, if they wait.
pub(crate) fn examination(shard: &Shard, examining: impl Future<Output = ()> + 'static) {
    shard.spawn(examining);
}

/// A list of sockets that is given in parts, if whoever asked takes them more slowly than they are made.
pub(crate) fn listing(shard: &Shard, telling: impl Future<Output = ()> + 'static) {
    shard.spawn(telling);
}
