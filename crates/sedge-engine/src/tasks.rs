//! Every task and thread of this crate is spawned here, each kind by a name of its own.
//!
//! Tasks of a shard end with its runtime. A panic in one that serves a single connection is the end of that
//! connection; the parts that serve all of them are [`essential`].

use std::future::Future;
use std::pin::pin;
use std::{io, thread};

use crate::lifeline::{Lifeline, ShardFailure};
use crate::panics;

/// The thread of a shard. Whatever panics there outside of tasks ends the engine.
pub(crate) fn shard_thread(
    lifeline: Lifeline,
    index: usize,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let guarded = move || {
        if let Err(words) = panics::catch(run) {
            lifeline.fail(ShardFailure::new(index, "thread", words));
        }
    };
    // Nobody joins it: it says when it has ended.
    thread::Builder::new().name(format!("sedge-shard-{index}")).spawn(guarded).map(drop)
}

/// A part of a shard that all its connections need, such as the driver or an accept loop: without it there is
/// half a server, so a panic in it ends the engine.
pub(crate) fn essential(
    lifeline: Lifeline,
    index: usize,
    part: &'static str,
    future: impl Future<Output = ()> + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(async move {
        if let Err(words) = panics::run(pin!(future)).await {
            lifeline.fail(ShardFailure::new(index, part, words));
        }
    })
}

/// A connection that is served HTTP, until it ends or becomes something else.
pub(crate) fn connection(serving: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(serving);
}

/// A WebSocket, as long as it carries or tests its session.
pub(crate) fn websocket(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

/// A connection carried to a sibling, until either end has ended.
pub(crate) fn tunnel(tunnel: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(tunnel);
}

/// A request from another thread, until it is answered or its client has gone.
pub(crate) fn request(answering: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(answering);
}

/// The connection over which a sibling is asked for one answer.
pub(crate) fn inquiry(connection: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(connection);
}

/// A connection on its way to the shard of its session, which may have to wait for room in that one's queue.
pub(crate) fn adoption(sending: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(sending);
}

/// The same from another server's runtime, once that server has let go of the connection.
pub(crate) fn adoption_from_elsewhere(sending: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(sending);
}

/// The goodbye of a WebSocket, which has a deadline of its own.
pub(crate) fn farewell(goodbye: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(goodbye);
}

/// What the application runs on its shard's thread.
pub(crate) fn application(future: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(future);
}
