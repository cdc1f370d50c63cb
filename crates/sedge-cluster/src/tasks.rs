//! Every task and thread of this crate is spawned here, each kind by a name of its own.
//!
//! A panic in a task that serves one connection is the end of that connection. The parts that serve all
//! of them are essential: without one there is half a process, so a panic in it ends the process with words.

use std::future::Future;
use std::io;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use crate::limits::LAST_WORDS;

/// The exit status of a process that has found a defect of its own.
pub(crate) const EXIT_DEFECT: i32 = 70;

/// A part of the supervisor that runs as long as it does, such as accepting on a listener.
pub(crate) fn supervisor_part(name: &'static str, part: impl Future<Output = ()> + 'static) {
    let part = tokio::task::spawn_local(part);
    tokio::task::spawn_local(end_if_it_panics(name, part));
}

/// What keeps one worker running. Whoever has the set sees its end, and a panic.
pub(crate) fn keeper(all: &mut JoinSet<()>, keeping: impl Future<Output = ()> + 'static) {
    all.spawn_local(keeping);
}

/// A part of a worker that runs as long as it does, such as listening for siblings, or until it is aborted.
pub(crate) fn worker_part(
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
) -> AbortHandle {
    let part = tokio::spawn(part);
    let abort = part.abort_handle();
    tokio::spawn(end_if_it_panics(name, part));
    abort
}

async fn end_if_it_panics(part: &'static str, task: JoinHandle<()>) {
    if let Err(error) = task.await
        && error.is_panic()
    {
        tracing::error!(part, "a defect: a part of this process has panicked; it ends");
        std::thread::sleep(LAST_WORDS);
        std::process::exit(EXIT_DEFECT);
    }
}

/// A connection to the control socket or the admin address.
pub(crate) fn own_connection(serving: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(serving);
}

/// A client's connection that waits for its head or for a worker.
pub(crate) fn undecided(waiting: impl Future<Output = ()> + 'static) -> AbortHandle {
    tokio::task::spawn_local(waiting).abort_handle()
}

/// The goodbye to a client that no worker can take.
pub(crate) fn refusal(answering: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(answering);
}

/// A sibling's link, over which it passes connections.
pub(crate) fn sibling(taking: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(taking);
}

/// The receipts of a link to a sibling. They are heard on the worker's own runtime, whoever opens the link.
pub(crate) fn receipts(runtime: &Handle, hearing: impl Future<Output = ()> + Send + 'static) {
    runtime.spawn(hearing);
}

/// A look at whether a worker's supervisor has a successor, which blocks for a bounded time.
pub(crate) fn look<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(run)
}

/// A task of the bus, on its thread.
pub(crate) fn bus(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}

/// Runs a function on a thread of its own.
pub(crate) fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
